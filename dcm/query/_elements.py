"""Which attribute belongs to which level, which are counts, and what of a Dataset is worth keeping.

The levels follow the keys of the query/retrieve information models (PS3.4 tables C.6-1 to C.6-4) and, for what archives
return beyond them, the modules of the composite information object definitions (PS3.3 section A.1.2).
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

from dcm.attrs import Attributes, Value
from dcm.errors import QueryError
from dcm.keywords import keyword_of
from dcm.levels import QueryLevel
from dcm.text import safe_text

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "UID_TAGS",
    "describes",
    "keyword_of",
    "kept_of",
    "level_of_keyword",
    "plain_value",
    "tag_of",
    "up_to",
]

_TAG = re.compile(r"\(([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\)")

UID_TAGS: Final = tuple(level.uid_tag for level in QueryLevel)
"""The unique keys, by level."""

# Group 0010 is the patient's, apart from the Patient Study module (PS3.3 section C.7.2.2) and a few of its neighbours.
_STUDY_IN_0010 = frozenset({0x1010, 0x1020, 0x1021, 0x1022, 0x1023, 0x1024, 0x1030, 0x2180, 0x21B0, 0x21C0, 0x21D0})

_PATIENT: Final = (0x00081120, 0x00201200, 0x00201202, 0x00201204)
_STUDY: Final = (
    *(0x00080020, 0x00080030, 0x00080050, 0x00080051, 0x00080061, 0x00080062, 0x00080063),
    *(0x00080090, 0x00080092, 0x00080094, 0x00080096, 0x0008009C, 0x0008009D),
    *(0x00081030, 0x00081032, 0x00081048, 0x00081049, 0x00081060, 0x00081062, 0x00081080, 0x00081084, 0x00081110),
    *(0x0020000D, 0x00200010, 0x00201070, 0x00201206, 0x00201208, 0x00401012),
)
_SERIES: Final = (
    *(0x00080021, 0x00080031, 0x00080060, 0x00080068, 0x00080070, 0x00080080, 0x00080081, 0x00080082),
    *(0x00081010, 0x0008103E, 0x0008103F, 0x00081040, 0x00081041, 0x00081050, 0x00081052, 0x00081070, 0x00081072),
    *(0x00081090, 0x00081111, 0x00081250, 0x00180015, 0x00181000, 0x00181020, 0x00181030, 0x00185100),
    *(0x0020000E, 0x00200011, 0x00200052, 0x00200060, 0x00201040, 0x00201209),
    *(0x00400244, 0x00400245, 0x00400250, 0x00400251, 0x00400253, 0x00400254, 0x00400260, 0x00400275),
    *(0x00400280, 0x00400281),
)
# How to read a record, and so part of it at every level.
_ANY_LEVEL = frozenset({0x00080005, 0x00080201})

_LEVELS: Final[dict[int, QueryLevel]] = {
    **dict.fromkeys(_PATIENT, QueryLevel.PATIENT),
    **dict.fromkeys(_STUDY, QueryLevel.STUDY),
    **dict.fromkeys(_SERIES, QueryLevel.SERIES),
}


def _level_of(tag: int) -> QueryLevel:
    """The level that an attribute describes; one that is in no table describes what it came with: the finest."""
    group = tag >> 16
    if group == 0x0010:
        return QueryLevel.STUDY if tag & 0xFFFF in _STUDY_IN_0010 else QueryLevel.PATIENT
    if group in (0x0032, 0x0038):  # the request for the study, and the visit
        return QueryLevel.STUDY
    return _LEVELS.get(tag, QueryLevel.IMAGE)


def describes(tag: int, level: QueryLevel, leaf_level: QueryLevel) -> bool:
    """Whether an attribute of a record at `leaf_level` says something about the node at `level` above it, or is it."""
    if tag in _ANY_LEVEL:
        return False
    own = _level_of(tag)
    return own >= level if level == leaf_level else own == level


@functools.cache
def up_to(level: QueryLevel) -> _UpTo:
    """The attributes that describe a level or one above it: a container of tags."""
    return _UpTo(level)


class _UpTo:
    def __init__(self, level: QueryLevel) -> None:
        self._level = level

    def __contains__(self, tag: object) -> bool:
        return isinstance(tag, int) and (tag in _ANY_LEVEL or _level_of(tag) <= self._level)


# Groups that hold the payload of presentation states, hanging protocols and radiotherapy objects, and the few sequences
# elsewhere that do: what no query is answered with, and what makes a file large.
_PAYLOAD_GROUPS = frozenset({0x0070, 0x0072, *range(0x3002, 0x3020, 2)})
_PAYLOAD = frozenset({0x00081115, 0x00400555, 0x0040A375, 0x0040A385, 0x0040A730})
_MAX_BYTES = 1024


class _Kept:
    """The attributes that `kept_of` takes: a container of tags."""

    def __contains__(self, tag: object) -> bool:
        if not isinstance(tag, int):
            return False
        group = tag >> 16
        return not group & 1 and 0x0008 <= group < 0x5000 and group not in _PAYLOAD_GROUPS and tag not in _PAYLOAD


def kept_of(data_set: Dataset) -> Attributes:
    """What a query result keeps of a pydicom Dataset.

    All standard attributes that describe, be it an answer to a query or a whole file: no file meta or command
    elements, no private ones, no pixel data, overlays, waveforms, multi-frame functional groups, contours, structured
    content or other payload, and no binary value longer than 1 KiB.
    """
    record = Attributes.from_dataset(data_set, _Kept())
    return record.without(
        {tag for tag, value in record.items() if isinstance(value, bytes) and len(value) > _MAX_BYTES}
    )


def tag_of(keyword: str) -> int:
    """The tag of a keyword, or of what `keyword_of` gives where there is none.

    Raises
    ------
    QueryError
        There is no such keyword.
    """
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is not None:
        return tag
    match = _TAG.fullmatch(keyword)
    if match is None:
        raise QueryError(f"unknown keyword '{safe_text(keyword, 64)}'")
    return int(match[1] + match[2], 16)


def level_of_keyword(keyword: str) -> QueryLevel:
    """The level that an attribute describes, by keyword; the finest for one that is unknown."""
    try:
        return _level_of(tag_of(keyword))
    except QueryError:
        return QueryLevel.IMAGE


def plain_value(vr: str, value: Value) -> Value:
    """A value for people and formats: an IS is an int and a DS a float where they are numbers, '' stands for empty."""
    if value is None:
        return ""
    if isinstance(value, tuple) and vr in ("IS", "DS"):
        return tuple([plain_value(vr, item) for item in value])
    if isinstance(value, str) and vr in ("IS", "DS"):
        try:
            return int(value) if vr == "IS" else float(value)
        except ValueError:
            return value
    return value
