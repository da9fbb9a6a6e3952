"""The levels of the query/retrieve information models (PS3.4 annex C.6)."""

from __future__ import annotations

import enum

__all__ = ["QueryLevel"]


class QueryLevel(enum.IntEnum):
    """The levels of the hierarchy, from the coarsest to the finest: ``PATIENT < STUDY < SERIES < IMAGE``."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3

    @property
    def uid_keyword(self) -> str:
        """The keyword of the unique key at this level (PS3.4 section C.6.1.1)."""
        return _UID_KEYWORDS[self]

    @property
    def uid_tag(self) -> int:
        """The tag of the unique key at this level."""
        return _UID_TAGS[self]

    @property
    def parent(self) -> QueryLevel | None:
        """The next coarser level; None for PATIENT."""
        return QueryLevel(self - 1) if self > 0 else None

    @property
    def child(self) -> QueryLevel | None:
        """The next finer level; None for IMAGE."""
        return QueryLevel(self + 1) if self < 3 else None


_UID_KEYWORDS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_UID_TAGS = (0x00100020, 0x0020000D, 0x0020000E, 0x00080018)
