"""SOP classes, transfer syntaxes and statuses, from the registries of pydicom and pynetdicom."""

from __future__ import annotations

from functools import lru_cache

from pydicom.uid import UID, AllTransferSyntaxes
from pynetdicom import AllStoragePresentationContexts
from pynetdicom import status as registry

from dcm.levels import QueryLevel
from dcm.node import QueryModel

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
# What archives hold, the most frequent first: that is the order in which contexts are proposed where not all fit.
_FREQUENT = (
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
)
# PS3.5 annex A.6, A.12: JPIP only refers to pixels elsewhere, and the SMPTE ones are for streams of another protocol.
_NOT_STORED = ("1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205", "1.2.840.10008.1.2.7.")
STORAGE_SYNTAXES: tuple[str, ...] = _FREQUENT + tuple(
    str(uid) for uid in AllTransferSyntaxes if uid not in _FREQUENT and not uid.startswith(_NOT_STORED)
)

_STATUSES = {
    "C-ECHO": registry.VERIFICATION_SERVICE_CLASS_STATUS,
    "C-STORE": registry.STORAGE_SERVICE_CLASS_STATUS,
    "C-FIND": registry.QR_FIND_SERVICE_CLASS_STATUS,
    "C-GET": registry.QR_GET_SERVICE_CLASS_STATUS,
    "C-MOVE": registry.QR_MOVE_SERVICE_CLASS_STATUS,
}


@lru_cache(maxsize=1)
def storage_classes() -> tuple[str, ...]:
    """Every storage SOP class that pynetdicom knows (PS3.4 annex B.5), by UID."""
    return tuple(str(context.abstract_syntax) for context in AllStoragePresentationContexts)


def class_name(uid: str) -> str:
    """The name of a SOP class or transfer syntax, or the UID where it has none."""
    return UID(uid).name if uid else ""


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
    meaning = _STATUSES.get(operation, registry.GENERAL_STATUS).get(status, ("", ""))[1]
    return f"0x{status:04X} {meaning}" if meaning else f"0x{status:04X}"


def model_for(models: tuple[QueryModel, ...], level: QueryLevel) -> QueryModel:
    """The information model to use at a level: Study Root has no patient level (PS3.4 section C.6.2)."""
    if level is QueryLevel.PATIENT:
        return QueryModel.PATIENT_ROOT
    return models[0]
