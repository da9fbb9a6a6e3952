"""Which presentation contexts to propose: only those that the data at hand need.

For storage there is one transfer syntax a context, so that a peer cannot pick one that the data are not in. An
association has room for 128 contexts, which limits how many SOP classes fit with how many transfer syntaxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcm.net._registry import IMPLICIT_LE, STORAGE_SYNTAXES, UNCOMPRESSED, storage_classes, wants_class

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dcm.node import RemoteNode

__all__ = ["class_groups", "query_contexts", "storage_contexts"]

MAX_CONTEXTS = 128
# With fewer transfer syntaxes than these for each class, something that is common in archives would be left out.
_LEAST_SYNTAXES = 13
# Where nothing tells the class, better many classes in the most usual syntaxes than a handful of classes in all.
_LEAST_FOR_ANY = 3

# For a peer that does not say of which classes its instances are: what archives mostly hold (PS3.4 annex B.5), by what
# the modality of the series tells.
_IMAGES = "1.2.840.10008.5.1.4.1.1."
_BY_MODALITY = {
    "CT": ("2", "2.1", "7"),
    "MR": ("4", "4.1", "4.2", "7"),
    "CR": ("1", "1.1", "7"),
    "DX": ("1.1", "1", "7"),
    "MG": ("1.2", "13.1.3", "7"),
    "US": ("6.1", "3.1", "7"),
    "PT": ("128", "130", "7"),
    "NM": ("20", "7"),
    "XA": ("12.1", "12.1.1", "7"),
    "RF": ("12.2", "12.1", "7"),
    "OT": ("7", "7.2", "7.3", "7.4", "104.1"),
    "SC": ("7", "7.2", "7.3", "7.4"),
    "SR": ("88.11", "88.22", "88.33", "88.67", "88.34"),
    "KO": ("88.59",),
    "PR": ("11.1", "11.2"),
    "DOC": ("104.1",),
    "SEG": ("66.4",),
    "REG": ("66.1", "66.3"),
    "ECG": ("9.1.1", "9.1.2", "9.1.3"),
    "RTIMAGE": ("481.1",),
    "RTDOSE": ("481.2",),
    "RTSTRUCT": ("481.3",),
    "RTPLAN": ("481.5", "481.8"),
    "XC": ("77.1.4",),
    "ES": ("77.1.1",),
    "OP": ("77.1.5.1", "77.1.5.2"),
    "OPT": ("77.1.5.4",),
    "SM": ("77.1.6",),
}


def query_contexts(sop_classes: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Contexts for query, retrieve and verification: what is sent there is small, so any plain syntax does."""
    return [(uid, (UNCOMPRESSED[0], IMPLICIT_LE)) for uid in sop_classes]


def class_groups(
    classes: Iterable[str],
    remote: RemoteNode,
    room: int = MAX_CONTEXTS - 1,
    modality: str = "",
    again: bool = False,
) -> list[tuple[str, ...]]:
    """Divide storage SOP classes among as few associations as hold them with enough transfer syntaxes each.

    Parameters
    ----------
    classes : iterable of str
        UIDs. The empty UID among them, or nothing at all, means that the peer does not say.
    remote : RemoteNode
        Its settings leave classes out, add private ones and choose the transfer syntaxes.
    room : int
        How many contexts an association has room for.
    modality : str
        What tells the classes where the peer does not.
    again : bool
        Whether that has been tried in vain: then every class is proposed that there is.

    Returns
    -------
    list of tuple of str
        SOP class UIDs; at least one group unless the settings leave out all of them.
    """
    given = dict.fromkeys(classes)
    known = [uid for uid in given if uid]
    groups: list[tuple[str, ...]] = []
    if known:
        groups += _divided(known, remote, room, _LEAST_SYNTAXES)
    if len(known) < len(given) or not given:
        likely = [_IMAGES + end for end in _BY_MODALITY.get(modality, ())]
        if again:
            groups += _divided([*likely, *remote.private_store_classes], remote, room, len(STORAGE_SYNTAXES))
            groups += _divided([*_usual(), *storage_classes()], remote, room, _LEAST_FOR_ANY)
        elif likely:
            groups += _divided([*likely, *remote.private_store_classes], remote, room, _LEAST_SYNTAXES)
        else:
            # One association's worth: what is not among them is looked for again.
            groups += _divided([*remote.private_store_classes, *_usual()], remote, room, _LEAST_FOR_ANY)[:1]
    return groups


def _divided(classes: Iterable[str], remote: RemoteNode, room: int, least: int) -> list[tuple[str, ...]]:
    """Groups with room for at least so many transfer syntaxes for each class."""
    wanted = [uid for uid in dict.fromkeys(classes) if wants_class(remote, uid)]
    size = max(1, room // min(len(_syntaxes(remote)), least))
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


def _usual() -> list[str]:
    return [_IMAGES + end for ends in _BY_MODALITY.values() for end in ends]
