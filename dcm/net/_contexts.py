"""Which presentation contexts to propose: only those that the data at hand need.

For storage there is one transfer syntax a context, so that a peer cannot pick one that the data are not in. An
association has room for 128 contexts, which limits how many SOP classes fit with how many transfer syntaxes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dcm.net._registry import IMPLICIT_LE, STORAGE_SYNTAXES, UNCOMPRESSED, class_name, storage_classes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dcm.node import RemoteNode

__all__ = ["class_groups", "query_contexts", "storage_contexts"]

MAX_CONTEXTS = 128
# With fewer transfer syntaxes than these for each class, something that is common in archives would be left out.
_LEAST_SYNTAXES = 13
# For a peer that does not say of which classes its instances are: what archives mostly hold.
_USUAL = re.compile(
    r"^(Computed Radiography Image|Digital (X-Ray|Mammography X-Ray) .*For Presentation|(Enhanced )?(CT|MR) Image"
    r"|Ultrasound (Multi-frame )?Image|Secondary Capture Image|Multi-frame (Grayscale (Byte|Word)|True Color) Sec.*"
    r"|(Enhanced )?(XA|X-Ray Angiographic|X-Ray Radiofluoroscopic) Image|Nuclear Medicine Image|(Enhanced )?PET Image"
    r"|Positron Emission Tomography Image|RT (Image|Dose|Structure Set|Plan)|Segmentation|Encapsulated PDF"
    r"|Basic Text SR|Enhanced SR|Comprehensive SR|X-Ray Radiation Dose SR|Key Object Selection Document"
    r"|Grayscale Softcopy Presentation State|VL Photographic Image|Breast Tomosynthesis Image) ?(Storage)?$"
)


def query_contexts(sop_classes: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Contexts for query, retrieve and verification: what is sent there is small, so any plain syntax does."""
    return [(uid, (UNCOMPRESSED[0], IMPLICIT_LE)) for uid in sop_classes]


def class_groups(classes: Iterable[str], remote: RemoteNode, room: int = MAX_CONTEXTS - 1) -> list[tuple[str, ...]]:
    """Divide storage SOP classes among as few associations as hold them with enough transfer syntaxes each.

    Parameters
    ----------
    classes : iterable of str
        UIDs; nothing in it (or the empty UID) means that the peer does not say: the usual classes are taken.
    remote : RemoteNode
        Its settings leave classes out, add private ones and choose the transfer syntaxes.
    room : int
        How many contexts an association has room for.

    Returns
    -------
    list of tuple of str
        SOP class UIDs; at least one group unless the settings leave out all of them.
    """
    known = dict.fromkeys(uid for uid in classes if uid)
    if not known:
        known = dict.fromkeys((*_usual_classes(), *remote.private_store_classes))
        # Better all of the usual classes with the most usual syntaxes than a handful of classes with all.
        least = min(len(_syntaxes(remote)), 3)
    else:
        least = min(len(_syntaxes(remote)), _LEAST_SYNTAXES)
    wanted = list(known)
    if remote.include_storage_classes or remote.exclude_storage_classes:
        wanted = [uid for uid in known if remote.wants_storage_class(uid, class_name(uid))]
    size = max(1, room // least)
    return [tuple(wanted[i : i + size]) for i in range(0, len(wanted), size)]


def storage_contexts(
    classes: Sequence[str], remote: RemoteNode, room: int = MAX_CONTEXTS - 1
) -> list[tuple[str, tuple[str, ...]]]:
    """Contexts in which a peer may send us instances of these SOP classes, within the room that there is."""
    if not classes:
        return []
    syntaxes = _syntaxes(remote)[: max(1, room // len(classes))]
    contexts: list[tuple[str, tuple[str, ...]]] = [(uid, (syntax,)) for uid in classes for syntax in syntaxes]
    return contexts[:room]


def _syntaxes(remote: RemoteNode) -> tuple[str, ...]:
    return remote.transfer_syntaxes or STORAGE_SYNTAXES


def _usual_classes() -> tuple[str, ...]:
    return tuple(uid for uid in storage_classes() if _USUAL.match(class_name(uid)))
