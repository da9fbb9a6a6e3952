"""How two data sets differ, element by element, at any depth.

What counts is what an element means, not how it is encoded, see :mod:`dcm.normalize`: transfer syntax, byte order,
padding, the form of a number and the VR that an element is written with are no differences; an element that is empty
and one that is missing are. Private elements belong together by their creator, wherever its block is (PS3.5 section
7.8.1). Items of a sequence belong together by their number.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from dcm.attrs import BYTES_VRS, SPECIFIC_CHARACTER_SET, Attributes, Value
from dcm.keywords import keyword_of, resolve_keyword
from dcm.normalize import normalize, reread
from dcm.text import plural, safe_text

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["BytesDigest", "DataDiff", "DiffKind", "diff_data_sets"]

_MAX_BYTES = 32  # of a binary value that is kept as it is
_MAX_SHOWN = 80
_FILE_META_LENGTH = 0x00020000

# A standard element by its tag; a private one by its group, creator and number in the block.
_Key: TypeAlias = "tuple[int, str, int]"


class DiffKind(enum.Enum):
    """What is different about an element."""

    MISSING = "missing"  #: only the left data set has it
    ADDED = "added"  #: only the right one has it
    CHANGED = "changed"  #: both have it, with other values


class BytesDigest(NamedTuple):
    """What is kept of a binary value that is too long to be shown, pixel data say."""

    length: int
    sha256: str

    def __str__(self) -> str:
        return f"{plural(self.length, 'byte')}, sha256 {self.sha256[:16]}"


Shown: TypeAlias = "Value | BytesDigest"


@dataclass(frozen=True, slots=True)
class DataDiff:
    """One difference.

    Attributes
    ----------
    path : str
        Where: ``RequestAttributesSequence[0].StudyInstanceUID``, ``(0019,1010)``; ``Seq[2]`` for a whole item.
    kind : DiffKind
    left, right : Value or BytesDigest
        The values, as :mod:`dcm.normalize` makes them; None where the element is empty, or missing.
    tag : int
        The element; where it is private, as the left data set numbers it if it has it.
    creator : str
        The creator of a private element.
    """

    path: str
    kind: DiffKind
    left: Shown
    right: Shown
    tag: int
    creator: str = ""

    def __str__(self) -> str:
        """One line that is safe on a terminal: ``~ PatientID: 'A' -> 'B'``, ``- …`` if missing, ``+ …`` if added."""
        path = safe_text(self.path) + (f" ({safe_text(self.creator, 64)})" if self.creator else "")
        if self.kind is DiffKind.CHANGED:
            return f"~ {path}: {_shown(self.left)} -> {_shown(self.right)}"
        if self.kind is DiffKind.MISSING:
            return f"- {path}: {_shown(self.left)}"
        return f"+ {path}: {_shown(self.right)}"


def diff_data_sets(
    left: Dataset,
    right: Dataset,
    *,
    file_meta: bool = False,
    ignore: Iterable[str | int] = (),
    only: Iterable[str | int] | None = None,
) -> list[DataDiff]:
    """Compare two data sets, which stay as they are.

    Parameters
    ----------
    left, right : Dataset
    file_meta : bool, optional
        Whether to compare the file meta information, too. What differs there comes first.
    ignore : iterable of keywords or tags, optional
        Elements to leave out, at any depth.
    only : iterable of keywords or tags, optional
        The only elements to compare: of the top level, with all that is in them.

    Returns
    -------
    list of DataDiff
        In the order of the tags; empty where the two are the same.

    Raises
    ------
    InvalidDicomError
        One of them cannot be read, or is nested too deeply.
    UsageError
        There is no such keyword.
    """
    compare = _Comparison(frozenset(map(_tag, ignore)), None if only is None else frozenset(map(_tag, only)))
    diffs: list[DataDiff] = []
    if file_meta:
        metas = [vars(ds).get("file_meta") for ds in (left, right)]
        sides = [_side(meta) if meta is not None else _EMPTY for meta in metas]
        diffs += compare.data_sets(sides[0], sides[1], "", 0)
    diffs += compare.data_sets(_side(left), _side(right), "", 0)
    return diffs


def _tag(key: str | int) -> int:
    return key if isinstance(key, int) else resolve_keyword(key)[0]


class _Side(NamedTuple):
    """A data set, or an item in one, and what its bytes are encoded in."""

    record: Attributes
    charset: str
    big_endian: bool

    def item(self, record: Attributes) -> _Side:
        return self._replace(record=record, charset=record.text(SPECIFIC_CHARACTER_SET) or self.charset)


_EMPTY = _Side(Attributes(), "", False)


def _side(ds: Dataset) -> _Side:
    record = normalize(ds, skip=(_FILE_META_LENGTH,))
    return _Side(record, record.text(SPECIFIC_CHARACTER_SET), ds.original_encoding[1] is False)


@dataclass(frozen=True, slots=True)
class _Comparison:
    ignore: frozenset[int]
    only: frozenset[int] | None

    def data_sets(self, left: _Side, right: _Side, path: str, depth: int) -> Iterator[DataDiff]:
        lefts, rights = _keyed(left.record), _keyed(right.record)
        for key in sorted({**lefts, **rights}, key=lambda key: (lefts.get(key) or rights[key], key)):
            left_tag, right_tag = lefts.get(key), rights.get(key)
            tag = left_tag if left_tag is not None else rights[key]
            if tag in self.ignore or (depth == 0 and self.only is not None and tag not in self.only):
                continue
            where, creator = path + keyword_of(tag), key[1]
            if right_tag is None:
                yield DataDiff(where, DiffKind.MISSING, _kept(left.record[tag]), None, tag, creator)
            elif left_tag is None:
                yield DataDiff(where, DiffKind.ADDED, None, _kept(right.record[tag]), tag, creator)
            else:
                yield from self._elements(left, left_tag, right, right_tag, where, creator, depth)

    def _elements(
        self, left: _Side, left_tag: int, right: _Side, right_tag: int, path: str, creator: str, depth: int
    ) -> Iterator[DataDiff]:
        a, b = left.record[left_tag], right.record[right_tag]
        if a == b:
            return
        left_vr, right_vr = left.record.vr(left_tag), right.record.vr(right_tag)
        if left_vr == right_vr == "SQ":
            yield from self._items(left, _items(a), right, _items(b), path, left_tag, creator, depth)
            return
        # Unknown on one side: take the other one's word for what it is.
        if left_vr == "UN" and isinstance(a, bytes) and right_vr not in BYTES_VRS:
            a = reread(a, right_vr, left.charset, big_endian=left.big_endian)
        elif right_vr == "UN" and isinstance(b, bytes) and left_vr not in BYTES_VRS:
            b = reread(b, left_vr, right.charset, big_endian=right.big_endian)
        if a != b:
            yield DataDiff(path, DiffKind.CHANGED, _kept(a), _kept(b), left_tag, creator)

    def _items(
        self,
        left: _Side,
        lefts: tuple[Attributes, ...],
        right: _Side,
        rights: tuple[Attributes, ...],
        path: str,
        tag: int,
        creator: str,
        depth: int,
    ) -> Iterator[DataDiff]:
        for number in range(max(len(lefts), len(rights))):
            where = f"{path}[{number}]"
            if number >= len(rights):
                yield DataDiff(where, DiffKind.MISSING, (lefts[number],), None, tag, creator)
            elif number >= len(lefts):
                yield DataDiff(where, DiffKind.ADDED, None, (rights[number],), tag, creator)
            else:
                sides = left.item(lefts[number]), right.item(rights[number])
                yield from self.data_sets(*sides, f"{where}.", depth + 1)


def _keyed(record: Attributes) -> Mapping[_Key, int]:
    """The tags of a record by what they are, blocks of private elements by their creators."""
    blocks = {tag: record.text(tag) for tag in record if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF}
    creators: dict[tuple[int, str], list[int]] = {}
    for tag, creator in blocks.items():
        creators.setdefault((tag >> 16, creator), []).append(tag)
    keys: dict[_Key, int] = {}
    for tag in record:
        block = tag if tag in blocks else tag >> 16 << 16 | (tag >> 8 & 0xFF)
        creator = blocks.get(block, "")
        if not creator or len(creators[tag >> 16, creator]) > 1:
            keys[tag, creator, -1] = tag  # two blocks of one creator are told apart by their numbers
        else:
            keys[tag >> 16, creator, -2 if tag in blocks else tag & 0xFF] = tag
    return keys


def _items(value: Value) -> tuple[Attributes, ...]:
    return tuple([item for item in value if isinstance(item, Attributes)]) if isinstance(value, tuple) else ()


def _kept(value: Value) -> Shown:
    if isinstance(value, bytes) and len(value) > _MAX_BYTES:
        return BytesDigest(len(value), hashlib.sha256(value).hexdigest())
    return value


def _shown(value: Shown) -> str:
    if isinstance(value, BytesDigest):
        return f"<{value}>"
    if value is None or value == ():
        return "(empty)"
    if isinstance(value, tuple):
        if isinstance(value[0], Attributes):
            return f"<{plural(len(value), 'item')}>"
        return "[" + ", ".join(map(_shown, value[:16])) + (", …" if len(value) > 16 else "") + "]"
    if isinstance(value, bytes):
        return f"<{value.hex(' ')}>"
    return "'" + safe_text(value, _MAX_SHOWN) + "'" if isinstance(value, str) else safe_text(repr(value), _MAX_SHOWN)
