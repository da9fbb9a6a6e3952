"""Where the elements of a file are, remembered: the next file of a series most often has them at the same places.

A length scan looks at the headers of elements and at nothing else. A file that has the same bytes in all of these
places, and the same size, leads it the same way to the same end; what has to be taken from it are its values. To see
that takes one `struct.Struct` for all headers and one for all values, in place of a walk.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from dcm.part10 import DEFLATED_SYNTAXES, FileMeta
from dcm.peek._alike import Alike, gaps_between, merged, struct_of
from dcm.peek._order import Order, encoding_of
from dcm.peek._scan import Scan
from dcm.peek._tables import LONG_VRS, SOP_CLASS_UID, SOP_INSTANCE_UID

if TYPE_CHECKING:
    from dcm.peek._header import Header

__all__ = ["Layout", "layout_for", "note_layout"]

_PREFIX = 128
_MAX_LAYOUTS = 512
_MANY_MISSES = 4  # after so many, more of them than hits, sizes say nothing about these files
_MAX_TOKENS = 2000
# A file that is not alike the one before it, but has its layout, begins a new series, or shows one more value that
# differs. Where that goes on, every file is of another series than the one before it.
_SOME_SERIES = 32
_IN_SERIES = 16


class Layout:
    """Where everything is in the files of one size that are like the one that was scanned.

    Attributes
    ----------
    header : Header
        Of that file.
    hits, misses : int
        How many files were like it, and how many were not.
    """

    __slots__ = (
        *("_alike", "_expected", "_gaps", "_heads", "_meta_uid", "_n_series", "_pieces", "_places", "_tags", "_uid_at"),
        *("_values", "_varying", "_vrs", "header", "hits", "misses"),
    )

    def __init__(self, header: Header, window: bytes, heads: list[tuple[int, int]], values: list[_Value]) -> None:
        self.header = header
        self.hits = self.misses = 0
        self._heads = struct_of(heads)
        self._expected = self._heads.unpack_from(window)
        # The first one is the UID in the file meta information; it should be that in the data set.
        meta_uid, *values = values
        self._meta_uid = slice(meta_uid.start, meta_uid.start + meta_uid.length)
        self._values = struct_of([(value.start, value.length) for value in values])
        self._tags = [value.tag for value in values]
        self._vrs = [value.vr for value in values]
        self._uid_at = self._tags.index(SOP_INSTANCE_UID)
        self._places = values
        self._pieces = heads
        self._gaps = gaps_between(heads)
        self._varying: set[int] = set()  # which of the gaps have been seen to differ
        self._n_series = 0
        self._alike: Alike | None = None

    def found_in(self, window: bytes) -> dict[int, tuple[str, bytes]] | None:
        """What a scan of such a file finds; None where the file is another one."""
        try:
            alike = self._alike
            if alike is not None:
                found = alike.found_in(window)
                if found is not None and window[self._meta_uid] == found[SOP_INSTANCE_UID][1]:
                    self.hits += 1
                    return found
            if self._heads.unpack_from(window) == self._expected:
                values = self._values.unpack_from(window)
                if window[self._meta_uid] == values[self._uid_at]:
                    self.hits += 1
                    found = dict(zip(self._tags, zip(self._vrs, values, strict=True), strict=True))
                    self._remember(window, found)
                    return found
        except struct.error:  # it is shorter than it was a moment ago
            pass
        self.misses += 1
        return None

    def _remember(self, window: bytes, found: dict[int, tuple[str, bytes]]) -> None:
        """Take a file for the one that the next ones are alike, in all that has not been seen to differ."""
        self._n_series += 1
        if self._n_series > max(_SOME_SERIES, self.hits // _IN_SERIES):
            self._alike = None
            return
        alike = self._alike
        if alike is not None:
            before = alike.window
            for number, (start, length) in enumerate(self._gaps):
                if before[start : start + length] != window[start : start + length]:
                    self._varying.add(number)
        same = [gap for number, gap in enumerate(self._gaps) if number not in self._varying]
        # At the end of all values, a piece without bytes: a file that is shorter than that must not be taken for whole.
        end = max(value.start + value.length for value in self._places)
        pieces = merged([*self._pieces, *same, (end, 0)])
        own = [
            (value.tag, value.vr, slice(value.start, value.start + value.length))
            for value in self._places
            if not any(start <= value.start <= value.start + value.length <= start + length for start, length in pieces)
        ]
        self._alike = Alike(window, found, pieces, own)


class _Value(NamedTuple):
    """One of the values: that of an element of the top level, or the UID in the file meta information (tag 0)."""

    start: int
    length: int
    tag: int
    vr: str


# By the size of the file and the attributes wanted. None: seen once; what two files have in common, a third may have.
_layouts: dict[tuple[int, frozenset[int]], Layout | None] = {}


def layout_for(size: int, tags: frozenset[int]) -> Layout | None:
    """The layout that a file of such a size may have."""
    return _layouts.get((size, tags))


def note_layout(header: Header, found: dict[int, tuple[str, bytes]], window: bytes, size: int, meta: FileMeta) -> None:
    """Remember the layout of a file that was scanned, where files of this size have been seen before.

    Parameters
    ----------
    header : Header
        What came out.
    found : dict of int to tuple
        What the scan has found.
    window : bytes
        The beginning of the file.
    size : int
        Of the file.
    meta : FileMeta
        Its file meta information.
    """
    key = (size, header.wanted)
    if key not in _layouts:
        if len(_layouts) >= _MAX_LAYOUTS:
            _layouts.clear()
        _layouts[key] = None
        return
    before = _layouts[key]
    if before is not None and before.misses > max(before.hits, _MANY_MISSES):
        return
    layout = _layout_of(header, found, window, size, meta)
    if layout is not None:
        if before is not None:
            layout.hits, layout.misses = before.hits, before.misses
        _layouts[key] = layout


def _layout_of(
    header: Header, found: dict[int, tuple[str, bytes]], window: bytes, size: int, meta: FileMeta
) -> Layout | None:
    """Make one; None where a file has what cannot be told by headers alone."""
    syntax = header.transfer_syntax_uid
    if not header.complete or header.problem or syntax in DEFLATED_SYNTAXES or window[_PREFIX : _PREFIX + 4] != b"DICM":
        return None
    uid = found.get(SOP_INSTANCE_UID, ("", b""))[1]
    at = window.find(b"\x02\x00\x03\x00UI" + len(uid).to_bytes(2, "little") + uid, _PREFIX, meta.data_offset) + 8
    if at < 8 or not uid or SOP_CLASS_UID not in found:
        return None
    scan = _NotingScan(window, meta.data_offset, size, syntax, header.wanted)
    scan.run()
    values = scan.values(found)
    if not scan.complete or values is None or scan.found != found or len(scan.heads) > _MAX_TOKENS:
        return None
    # All of the file meta information but the UID is to be the same, and so is what kind of object it is.
    (sop_class,) = (value for value in values if value.tag == SOP_CLASS_UID)
    heads = [
        *((_PREFIX, at - _PREFIX), (at + len(uid), meta.data_offset - at - len(uid))),
        *((sop_class.start, sop_class.length), *scan.heads),
    ]
    return Layout(header, window, merged(heads), [_Value(at, len(uid), 0, "UI"), *values])


class _NotingScan(Scan):
    """A scan that notes which bytes it looks at."""

    __slots__ = ("heads", "tops")

    def __init__(self, window: bytes, start: int, size: int, syntax: str, tags: frozenset[int]) -> None:
        implicit, order = encoding_of(syntax)
        super().__init__(window, 0, start, size, None, self._noting(order), implicit, tags)
        self.heads: list[tuple[int, int]] = []
        self.tops: dict[int, list[int]] = {}  # tags as they are unpacked, to where they are at the top level

    def _noting(self, order: Order) -> Order:
        def explicit(buffer: bytes, offset: int = 0, /) -> tuple[int, ...]:
            return note(offset, 8, order.explicit(buffer, offset))

        def pair(buffer: bytes, offset: int = 0, /) -> tuple[int, ...]:
            return note(offset, 8, order.pair(buffer, offset))

        def number(buffer: bytes, offset: int = 0, /) -> tuple[int, ...]:
            self.heads.append((offset, 4))
            return order.number(buffer, offset)

        def note(offset: int, length: int, unpacked: tuple[int, ...]) -> tuple[int, ...]:
            self.heads.append((offset, length))
            if not self.stack:
                self.tops.setdefault(order.tag(unpacked[0]), []).append(offset)
            return unpacked

        return order._replace(explicit=explicit, pair=pair, number=number)

    def values(self, found: dict[int, tuple[str, bytes]]) -> list[_Value] | None:
        """Where the values are that were found; None where that cannot be told for sure."""
        values = []
        for tag, (vr, raw) in found.items():
            places = set(self.tops.get(tag, ()))
            if len(places) != 1 or vr == "SQ":
                return None
            start = places.pop() + (12 if vr in LONG_VRS else 8)
            if self.win[start : start + len(raw)] != raw:
                return None
            values.append(_Value(start, len(raw), tag, vr))
        return sorted(values)
