"""SOP classes, transfer syntaxes and statuses.

The names and the long lists are those of pydicom and pynetdicom, which are imported when one is asked for: most
commands need none, and importing both takes longer than fetching a small study.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from dcm.node import QueryModel
from dcm.text import safe_text

if TYPE_CHECKING:
    from dcm.node import RemoteNode

__all__ = [
    "FIND_CLASSES",
    "GET_CLASSES",
    "IMPLICIT_LE",
    "MOVE_CLASSES",
    "STORAGE_SYNTAXES",
    "UNCOMPRESSED",
    "VERIFICATION",
    "class_name",
    "status_text",
    "storage_classes",
    "wants_class",
]

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"

# PS3.4 section C.6: the SOP classes of both information models.
FIND_CLASSES = {
    QueryModel.PATIENT_ROOT: "1.2.840.10008.5.1.4.1.2.1.1",
    QueryModel.STUDY_ROOT: "1.2.840.10008.5.1.4.1.2.2.1",
}
MOVE_CLASSES = {
    QueryModel.PATIENT_ROOT: "1.2.840.10008.5.1.4.1.2.1.2",
    QueryModel.STUDY_ROOT: "1.2.840.10008.5.1.4.1.2.2.2",
}
GET_CLASSES = {
    QueryModel.PATIENT_ROOT: "1.2.840.10008.5.1.4.1.2.1.3",
    QueryModel.STUDY_ROOT: "1.2.840.10008.5.1.4.1.2.2.3",
}

UNCOMPRESSED = (EXPLICIT_LE, IMPLICIT_LE, "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
# Every transfer syntax in which instances are stored (PS3.5 annex A). Those that archives mostly hold come first, as
# contexts are proposed in this order where not all fit. JPIP only refers to pixels elsewhere, and the SMPTE ones
# are for streams of another protocol (annexes A.6, A.12): they are left out.
STORAGE_SYNTAXES: tuple[str, ...] = (
    EXPLICIT_LE,
    IMPLICIT_LE,
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.4.92",
    "1.2.840.10008.1.2.4.93",
    "1.2.840.10008.1.2.4.100",
    "1.2.840.10008.1.2.4.100.1",
    "1.2.840.10008.1.2.4.101",
    "1.2.840.10008.1.2.4.101.1",
    "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.4.102.1",
    "1.2.840.10008.1.2.4.103",
    "1.2.840.10008.1.2.4.103.1",
    "1.2.840.10008.1.2.4.104",
    "1.2.840.10008.1.2.4.104.1",
    "1.2.840.10008.1.2.4.105",
    "1.2.840.10008.1.2.4.105.1",
    "1.2.840.10008.1.2.4.106",
    "1.2.840.10008.1.2.4.106.1",
    "1.2.840.10008.1.2.4.107",
    "1.2.840.10008.1.2.4.108",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
)


@lru_cache(maxsize=1)
def storage_classes() -> tuple[str, ...]:
    """Every storage SOP class that pynetdicom knows (PS3.4 annex B.5), by UID."""
    from pynetdicom import AllStoragePresentationContexts

    return tuple(str(context.abstract_syntax) for context in AllStoragePresentationContexts)


def class_name(uid: str) -> str:
    """The name of a SOP class or transfer syntax, or the UID where it has none."""
    from pydicom.uid import UID

    return safe_text(UID(uid).name, 100) if uid else ""


def wants_class(remote: RemoteNode, uid: str) -> bool:
    """Whether the settings of a peer let instances of a SOP class go to and from it.

    Its name is looked up only where the settings may name it: that imports pydicom.
    """
    if not (remote.include_storage_classes or remote.exclude_storage_classes):
        return True
    return remote.wants_storage_class(uid, class_name(uid))


def status_text(operation: str, status: int | None) -> str:
    """A DIMSE status for people (PS3.7 annex C, PS3.4 annexes B and C).

    Parameters
    ----------
    operation : str
        ``C-STORE`` and so on.
    status : int or None

    Returns
    -------
    str
        Code and meaning: ``0xA700 Refused: Out of Resources``.
    """
    if status is None:
        return "no status"
    from pynetdicom import status as registry

    statuses = {
        "C-ECHO": registry.VERIFICATION_SERVICE_CLASS_STATUS,
        "C-STORE": registry.STORAGE_SERVICE_CLASS_STATUS,
        "C-FIND": registry.QR_FIND_SERVICE_CLASS_STATUS,
        "C-GET": registry.QR_GET_SERVICE_CLASS_STATUS,
        "C-MOVE": registry.QR_MOVE_SERVICE_CLASS_STATUS,
    }
    meaning = statuses.get(operation, registry.GENERAL_STATUS).get(status, ("", ""))[1]
    return f"0x{status:04X} {meaning}" if meaning else f"0x{status:04X}"
