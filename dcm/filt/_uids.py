"""New UIDs for old ones: always the same for the same, in every process, and different for different ones.

An edited patient, study or series is another one, and so is everything in it: each needs a UID of its own, and whatever
refers to it has to follow (PS3.3 section A.1.2, PS3.5 section 9). Which kind of thing a UID names decides when it
changes:

===========  ==========================================================  ==========================================
kind         elements                                                    changes with an edit of
===========  ==========================================================  ==========================================
study        Study Instance UID, references to it and to its procedure   the patient or the study
frame        frames of reference, dimension organization, file set       the patient or the study
series       Series Instance UID                                         ... or the series
instance     SOP Instance UID, Referenced SOP Instance UID, what was      anything
             split into a concatenation or a pyramid
===========  ==========================================================  ==========================================

What is not copied keeps its name: SOP classes and everything else under 1.2.840.10008, transfer syntaxes, coding
schemes, devices, specimens, fiducials, tracked findings, radiation events; and what Original Attributes Sequence says
about earlier values.
"""

from __future__ import annotations

import enum
import hashlib
import re
import uuid
from collections.abc import Mapping
from typing import Final

from dcm.errors import UsageError
from dcm.levels import QueryLevel
from dcm.text import safe_text

__all__ = ["DEFAULT_UID_PREFIX", "HELD", "KINDS", "Kind", "UidMap", "kind_in_item"]

DEFAULT_UID_PREFIX = "2.25."
"""UIDs that are UUIDs (PS3.5 section B.2), which need no registered root."""


class Kind(enum.Enum):
    """What a UID names; the value is the finest level whose edit makes it another one."""

    STUDY = "study"
    FRAME = "frame"
    SERIES = "series"
    INSTANCE = "instance"

    @property
    def level(self) -> QueryLevel:
        """An edit of this level, or of one above it, makes it another one."""
        return _LEVELS[self]


_LEVELS: Final = {
    Kind.STUDY: QueryLevel.STUDY,
    Kind.FRAME: QueryLevel.STUDY,
    Kind.SERIES: QueryLevel.SERIES,
    Kind.INSTANCE: QueryLevel.IMAGE,
}

HELD: Final = {0x0020000D: Kind.STUDY, 0x0020000E: Kind.SERIES, 0x00080018: Kind.INSTANCE}
"""The UIDs of the instance itself, and of what it is in."""

KINDS: Final[dict[int, Kind]] = {
    **HELD,
    **dict.fromkeys(
        (
            0x0018991E,  # Target Frame of Reference UID
            0x00200052,  # Frame of Reference UID
            0x00200200,  # Synchronization Frame of Reference UID
            0x00209164,  # Dimension Organization UID
            0x00209312,  # Volume Frame of Reference UID
            0x00209313,  # Table Frame of Reference UID
            0x00640003,  # Source Frame of Reference UID
            0x00880140,  # Storage Media File-set UID
            0x30060024,  # Referenced Frame of Reference UID
            0x300600C2,  # Related Frame of Reference UID
        ),
        Kind.FRAME,
    ),
    **dict.fromkeys(
        (
            0x00080019,  # Pyramid UID
            0x00080058,  # Failed SOP Instance UID List
            0x00081155,  # Referenced SOP Instance UID
            0x00081167,  # Multi-frame Source SOP Instance UID
            0x00200242,  # SOP Instance UID of Concatenation Source
            0x00209161,  # Concatenation UID
        ),
        Kind.INSTANCE,
    ),
}
"""The elements whose UIDs change, and what they name."""

_REFERENCED_SOP_CLASS = 0x00081150
_REFERENCED_SOP_INSTANCE = 0x00081155
_UID = 0x0040A124

# What is referenced in these is a study, or a patient, visit, procedure step or report that goes with it; in old data
# the UID of the study itself is in the first one.
_STUDY_REFERENCES: Final = frozenset({0x00081100, 0x00081110, 0x00081111, 0x00081120, 0x00081125, 0x40080050})
_STUDY_CLASSES = "1.2.840.10008.3.1.2."

# The concepts of PS3.16 annex D by which structured reports name UIDs in content items (value type UIDREF).
_CONCEPTS: Final = {"110180": Kind.STUDY, "112002": Kind.SERIES, "112227": Kind.FRAME}


def kind_in_item(tag: int, parent: int, sop_class_uid: str, concept: str) -> Kind | None:
    """What a UID in an item of a sequence names.

    Parameters
    ----------
    tag : int
        The element.
    parent : int
        The sequence.
    sop_class_uid : str
        Referenced SOP Class UID in the same item.
    concept : str
        Code of the concept name of the item, in structured reports.

    Returns
    -------
    Kind or None
        None: nothing that changes.
    """
    if tag == _REFERENCED_SOP_INSTANCE and (parent in _STUDY_REFERENCES or sop_class_uid.startswith(_STUDY_CLASSES)):
        return Kind.STUDY
    if tag == _UID:
        return _CONCEPTS.get(concept)
    return KINDS.get(tag)


_STANDARD = "1.2.840.10008."
_PREFIX: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*\.")
_CHECK_BITS = 32
_MAX_PREFIX = 35  # leaves 29 digits: 64 bits for the hash, and those of the check


class UidMap:
    """Makes new UIDs: a hash of the old one and a key, so that nobody has to remember which became which.

    A new UID holds a check of itself, by which the map knows those that it has made and leaves them alone: what went
    through a filter once stays as it is if it goes through it again.

    Parameters
    ----------
    keys : mapping of Kind to bytes
        A key for each kind that changes.
    prefix : str
        What new UIDs begin with, ``2.25.`` for UUIDs (PS3.5 section B.2).

    Raises
    ------
    UsageError
        The prefix is no good.
    """

    def __init__(self, keys: Mapping[Kind, bytes], prefix: str = DEFAULT_UID_PREFIX) -> None:
        prefix = prefix if prefix.endswith(".") else f"{prefix}."
        if not _PREFIX.fullmatch(prefix) or len(prefix) > _MAX_PREFIX or prefix.startswith(_STANDARD):
            raise UsageError(
                f"'{safe_text(prefix, 100)}' is no prefix for UIDs",
                hint=f"it has digits and dots, no part that begins with a zero, at most {_MAX_PREFIX} characters",
            )
        self.keys = dict(keys)
        self.prefix = prefix
        # A UUID of version 8 (RFC 9562) has 122 bits for us. Else as many as there is room for, up to 128.
        self._is_uuid = prefix == DEFAULT_UID_PREFIX
        self._bits = 122 if self._is_uuid else min(128, int((64 - len(prefix)) * 3.3219))

    def __contains__(self, kind: object) -> bool:
        return kind in self.keys

    def new(self, kind: Kind, uid: str) -> str:
        """The UID that stands for another one; the same one where it names nothing that changes."""
        key = self.keys.get(kind)
        if key is None or not uid or uid.startswith(_STANDARD) or self._is_ours(key, uid):
            return uid
        n_hash = self._bits - _CHECK_BITS
        digest = _bits(key, b"uid", uid.encode("utf-8", "surrogatepass"), n_hash)
        number = digest << _CHECK_BITS | self._check(key, digest)
        if self._is_uuid:
            # 48 bits, the version, 12 bits, the variant, 62 bits
            high, middle, low = number >> 74, number >> 62 & 0xFFF, number & (1 << 62) - 1
            number = high << 80 | 8 << 76 | middle << 64 | 2 << 62 | low
        return f"{self.prefix}{number}"

    def _is_ours(self, key: bytes, uid: str) -> bool:
        digits = uid[len(self.prefix) :]
        if not uid.startswith(self.prefix) or not (digits.isascii() and digits.isdigit()) or len(digits) > 39:
            return False
        number = int(digits)
        if self._is_uuid:
            if number >> 128 or uuid.UUID(int=number).version != 8:
                return False
            number = number >> 80 << 74 | (number >> 64 & 0xFFF) << 62 | number & (1 << 62) - 1
        digest = number >> _CHECK_BITS
        return not number >> self._bits and number & (1 << _CHECK_BITS) - 1 == self._check(key, digest)

    def _check(self, key: bytes, digest: int) -> int:
        return _bits(key, b"check", digest.to_bytes(16, "big"), _CHECK_BITS)


def _bits(key: bytes, purpose: bytes, data: bytes, n_bits: int) -> int:
    """The first bits of a keyed hash."""
    digest = hashlib.blake2b(data, key=key, person=purpose, digest_size=16).digest()
    return int.from_bytes(digest, "big") >> (128 - n_bits)
