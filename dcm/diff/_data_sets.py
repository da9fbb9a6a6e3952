"""Comparing two data sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from dcm.attrs import BYTES_VRS, SPECIFIC_CHARACTER_SET, Attributes, Value
from dcm.diff._differences import BytesDigest, DataDiff, DiffKind, Shown, kept
from dcm.diff._selection import Place, Selection, Step
from dcm.keywords import keyword_of
from dcm.normalize import normalize, reread

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["NOTHING", "Side", "compare", "diff_data_sets", "meta_of"]

_FILE_META_LENGTH = 0x00020000

# A standard element by its tag; a private one by its group, creator and number in the block.
_Key: TypeAlias = "tuple[int, str, int]"


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
        Elements to leave out, at any depth; also paths: ``Seq.Keyword``, at any depth as well, or from the top level
        down ``Seq[0].Keyword``.
    only : iterable of keywords or tags, optional
        The only elements to compare, at any depth, with all that is in them. Paths, too.

    Returns
    -------
    list of DataDiff
        In the order of the tags; empty where the two are the same.

    Raises
    ------
    InvalidDicomError
        One of them cannot be read, or is nested too deeply.
    UsageError
        There is no such keyword, or something has items in a path that is no sequence.
    """
    selection = Selection.of(ignore, only)
    diffs = list(compare(meta_of(left), meta_of(right), selection)) if file_meta else []
    return [*diffs, *compare(Side.of(left), Side.of(right), selection)]


@dataclass(frozen=True, slots=True)
class Side:
    """A data set, or an item in one, and what its bytes are encoded in.

    Attributes
    ----------
    record : Attributes
        What it means.
    charset : str
    big_endian : bool
    digests : mapping of int to BytesDigest
        Elements of the top level that are not in `record`, since they are too large to be held.
    """

    record: Attributes
    charset: str = ""
    big_endian: bool = False
    digests: Mapping[int, BytesDigest] = field(default_factory=dict)

    @classmethod
    def of(cls, ds: Dataset, digests: Mapping[int, BytesDigest] | None = None) -> Side:
        """A data set, and what is known of elements that are not in it."""
        record = normalize(ds, skip=(_FILE_META_LENGTH,))
        return cls(record, record.text(SPECIFIC_CHARACTER_SET), ds.original_encoding[1] is False, digests or {})

    def item(self, record: Attributes) -> Side:
        """An item of one of its sequences."""
        return Side(record, record.text(SPECIFIC_CHARACTER_SET) or self.charset, self.big_endian)

    def value(self, tag: int) -> Shown:
        """What it has there."""
        return self.digests[tag] if tag in self.digests else self.record[tag]

    def vr(self, tag: int) -> str:
        """The VR of an element that is there."""
        return "OB" if tag in self.digests else self.record.vr(tag)

    def keyed(self) -> dict[_Key, int]:
        """The tags by what they are, blocks of private elements by their creators."""
        record = self.record
        blocks = {tag: record.text(tag) for tag in record if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF}
        creators: dict[tuple[int, str], int] = {}
        for tag, creator in blocks.items():
            creators[tag >> 16, creator] = creators.get((tag >> 16, creator), 0) + 1
        keys: dict[_Key, int] = {}
        for tag in (*record, *self.digests):
            block = tag if tag in blocks else tag >> 16 << 16 | (tag >> 8 & 0xFF)
            creator = blocks.get(block, "")
            if not creator or creators[tag >> 16, creator] > 1:
                keys[tag, creator, -1] = tag  # two blocks of one creator are told apart by their numbers
            else:
                keys[tag >> 16, creator, -2 if tag in blocks else tag & 0xFF] = tag
        return keys


NOTHING = Side(Attributes())


def meta_of(ds: Dataset) -> Side:
    """The file meta information of a data set."""
    meta = vars(ds).get("file_meta")
    return NOTHING if meta is None else Side.of(meta)


def compare(left: Side, right: Side, selection: Selection) -> Iterator[DataDiff]:
    """Compare two data sets, element by element."""
    return _Comparison(selection).data_sets(left, right, "", (), chosen=selection.everything)


@dataclass(frozen=True, slots=True)
class _Comparison:
    selection: Selection

    def data_sets(self, left: Side, right: Side, path: str, place: Place, *, chosen: bool) -> Iterator[DataDiff]:
        """Compare; where not `chosen`, only what the selection names."""
        lefts, rights = left.keyed(), right.keyed()
        for key in sorted({**lefts, **rights}, key=lambda key: (lefts.get(key, rights.get(key, 0)), key)):
            left_tag, right_tag = lefts.get(key), rights.get(key)
            tag = left_tag if left_tag is not None else rights[key]
            here = (*place, Step(tag))
            if self.selection.leaves_out(here):
                continue
            element = _Element(left, left_tag, right, right_tag, path + keyword_of(tag), tag, key[1], here)
            yield from self._elements(element, chosen=chosen or self.selection.names(here))

    def _elements(self, element: _Element, *, chosen: bool) -> Iterator[DataDiff]:
        left, right = element.left_value, element.right_value
        both = element.left_tag is not None and element.right_tag is not None
        if both and left == right:
            return
        left_vr, right_vr = element.vrs
        # Unknown on one side: take the other one's word for what it is.
        if both and left_vr == "UN" and isinstance(left, bytes) and right_vr not in BYTES_VRS:
            left = reread(left, right_vr, element.left.charset, big_endian=element.left.big_endian)
            left_vr = right_vr if not isinstance(left, bytes) else left_vr
        elif both and right_vr == "UN" and isinstance(right, bytes) and left_vr not in BYTES_VRS:
            right = reread(right, left_vr, element.right.charset, big_endian=element.right.big_endian)
            right_vr = left_vr if not isinstance(right, bytes) else right_vr
        if left_vr == right_vr == "SQ" and (both or not chosen):
            yield from self._items(element, _items(left), _items(right), chosen=chosen)
        elif chosen and (not both or left != right):
            yield element.difference(left, right)

    def _items(
        self, element: _Element, lefts: tuple[Attributes, ...], rights: tuple[Attributes, ...], *, chosen: bool
    ) -> Iterator[DataDiff]:
        for number in range(max(len(lefts), len(rights))):
            here = (*element.place[:-1], Step(element.tag, number))
            if self.selection.leaves_out(here):
                continue
            where = f"{element.path}[{number}]"
            named = chosen or self.selection.names(here)
            if named and number >= len(rights):
                yield DataDiff(where, DiffKind.MISSING, (lefts[number],), None, element.tag, element.creator, vr="SQ")
            elif named and number >= len(lefts):
                yield DataDiff(where, DiffKind.ADDED, None, (rights[number],), element.tag, element.creator, vr="SQ")
            else:
                left = element.left.item(lefts[number]) if number < len(lefts) else NOTHING
                right = element.right.item(rights[number]) if number < len(rights) else NOTHING
                yield from self.data_sets(left, right, f"{where}.", here, chosen=named)


@dataclass(frozen=True, slots=True)
class _Element:
    """One element of one or both data sets."""

    left: Side
    left_tag: int | None
    right: Side
    right_tag: int | None
    path: str
    tag: int
    creator: str
    place: Place

    @property
    def left_value(self) -> Shown:
        return None if self.left_tag is None else self.left.value(self.left_tag)

    @property
    def right_value(self) -> Shown:
        return None if self.right_tag is None else self.right.value(self.right_tag)

    @property
    def vrs(self) -> tuple[str, str]:
        """The VRs; of one that is not there, that of the other one."""
        left = "" if self.left_tag is None else self.left.vr(self.left_tag)
        right = "" if self.right_tag is None else self.right.vr(self.right_tag)
        return left or right, right or left

    def difference(self, left: Shown, right: Shown) -> DataDiff:
        """That the two differ."""
        vr = next((vr for vr in self.vrs if vr != "UN"), "UN")
        if self.right_tag is None:
            return DataDiff(self.path, DiffKind.MISSING, _kept(left), None, self.tag, self.creator, vr=vr)
        if self.left_tag is None:
            return DataDiff(self.path, DiffKind.ADDED, None, _kept(right), self.tag, self.creator, vr=vr)
        return DataDiff(self.path, DiffKind.CHANGED, _kept(left), _kept(right), self.tag, self.creator, vr=vr)


def _kept(value: Shown) -> Shown:
    return value if isinstance(value, BytesDigest) else kept(value)


def _items(value: Value) -> tuple[Attributes, ...]:
    return tuple([item for item in value if isinstance(item, Attributes)]) if isinstance(value, tuple) else ()
