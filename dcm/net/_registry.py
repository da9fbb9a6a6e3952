"""SOP classes, transfer syntaxes and statuses.

The names and the meanings are those of pydicom and pynetdicom, which are imported when one is asked for: most commands
need none, and importing both takes longer than fetching a small study.
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


_STORAGE = "1.2.840.10008.5.1.4.1.1."
# A table, as importing pynetdicom's takes as long as receiving some hundred instances, and whoever listens needs it for
# the first caller: in an event loop, which must not wait. A test holds it against theirs.
_STORAGE_CLASSES = """
    1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3.1 4 4.1 4.2 4.3 4.4 6.1 6.2 6.3 7 7.1 7.2 7.3 7.4 9.1.1 9.1.2 9.1.3
    9.1.4 9.2.1 9.3.1 9.4.1 9.4.2 9.5.1 9.6.1 9.6.2 9.7.1 9.7.2 9.7.3 9.7.4 9.8.1 9.100.1 9.100.2 11.1 11.2 11.3 11.4
    11.5 11.6 11.7 11.8 11.9 11.10 11.11 11.12 12.1 12.1.1 12.2 12.2.1 13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 14.1 14.2 20
    30 66 66.1 66.2 66.3 66.4 66.5 66.6 66.7 66.8 67 68.1 68.2 77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.3 77.1.4 77.1.4.1
    77.1.5.1 77.1.5.2 77.1.5.3 77.1.5.4 77.1.5.5 77.1.5.6 77.1.5.7 77.1.5.8 77.1.6 77.1.7 77.1.8 77.1.9 78.1 78.2 78.3
    78.4 78.5 78.6 78.7 78.8 79.1 80.1 81.1 82.1 88.11 88.22 88.33 88.34 88.35 88.40 88.50 88.59 88.65 88.67 88.68 88.69
    88.70 88.71 88.72 88.73 88.74 88.75 88.76 88.77 90.1 91.1 104.1 104.2 104.3 104.4 104.5 128 128.1 130 131 200.2
    200.8 481.1 481.2 481.3 481.4 481.5 481.6 481.7 481.8 481.9 481.10 481.11 481.12 481.13 481.14 481.15 481.16 481.17
    481.18 481.19 481.20 481.21 481.22 481.23 481.24 481.25
"""


@lru_cache(maxsize=1)
def storage_classes() -> tuple[str, ...]:
    """Every storage SOP class that pynetdicom knows (PS3.4 annex B.5), by UID."""
    others = ("1.2.840.10008.5.1.4.34.7", "1.2.840.10008.5.1.4.34.10")  # RT delivery instructions
    return (*(_STORAGE + end for end in _STORAGE_CLASSES.split()), *others)


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
