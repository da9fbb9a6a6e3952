"""All elements of an encoded data set one after the other, with where they are (PS3.5 chapter 7).

The walk goes through everything, into each sequence and each item, and decodes nothing; long values it does not even
read, unless it is asked to. It never recurses, and holds one window of the data. Where the structure breaks, all that
came before has been given already: the error says what is wrong, and where.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from dcm.attrs import MAX_DEPTH, PIXEL_REPRESENTATION, SPECIFIC_CHARACTER_SET
from dcm.dump._elements import ELEMENT, FRAGMENT, FRAGMENTS, ITEM, SEQUENCE, UNDEFINED, Element, Level
from dcm.dump._source import FIRST_READ, InflatedSource, Layout, Source, layout_of
from dcm.errors import InvalidDicomError
from dcm.peek._order import LITTLE, Order, encoding_of, is_vr
from dcm.peek._scan import UNKNOWN_SIZE
from dcm.peek._tables import PIXEL_DATA_TAGS

__all__ = ["ELEMENT", "FRAGMENT", "FRAGMENTS", "ITEM", "SEQUENCE", "UNDEFINED", "Element", "Level", "walk", "walk_data"]

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SMALL = 4 << 10  # a value of so many bytes is read whatever it is
_LARGE_WINDOW = 256 << 10
_SPECIAL = frozenset({SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION})
_EXPLICIT = {True: struct.Struct("<HHHH").unpack_from, False: struct.Struct(">HHHH").unpack_from}
_IMPLICIT = {True: struct.Struct("<HHL").unpack_from, False: struct.Struct(">HHL").unpack_from}


Limit = Callable[[int, str, int], int]
"""``limit(tag, vr, length)``: how many bytes of a long value are wanted."""


def _everything(tag: int, vr: str, length: int) -> int:
    return length


def walk(source: Source, limit: Limit = _everything) -> Iterator[Element]:
    """Go through a DICOM file.

    Parameters
    ----------
    source : Source
        The file.
    limit : callable, optional
        ``limit(tag, vr, length)`` says how many bytes of a long value are wanted; by default all.

    Yields
    ------
    Element
        Those of the file meta information, then those of the data set.

    Raises
    ------
    InvalidDicomError
        If it is no DICOM file, or does not go on after what was given; the message says where.
    """
    layout = layout_of(source)
    if layout.meta_end:
        yield from _Walk(source, layout.window, layout.meta_start, layout.meta_end, limit, _META).run()
        if layout.meta_end >= source.size:
            return
    yield from walk_data(source, layout, limit)


def walk_data(source: Source, layout: Layout, limit: Limit = _everything) -> Iterator[Element]:
    """Go through the data set of a file; like `walk`."""
    implicit, order = encoding_of(layout.transfer_syntax_uid)
    level = Level(order, implicit)
    if layout.deflated:
        yield from _Walk(InflatedSource(source, layout.meta_end), b"", 0, UNKNOWN_SIZE, limit, level).run()
    else:
        yield from _Walk(source, layout.window, layout.meta_end, source.size, limit, level).run()


_META = Level(LITTLE, False)  # a mark: each file gets one of its own


class _Frame(NamedTuple):
    """What is around a sequence or an item that is open."""

    end: int
    delimited: bool
    overrun: str
    level: Level
    order: Order
    in_items: bool
    number: int
    fragments: bool


class _Walk:
    """One walk over one data set, from `start` to `end`."""

    def __init__(self, source: Source, window: bytes, start: int, end: int, limit: Limit, level: Level) -> None:
        self.source = source
        self.win = window
        self.base = 0
        self.pos = start
        self.end = end  # of the innermost thing that has one
        self.size = end
        self.limit = limit
        self.level = level
        self.order = level.order
        self.stack: list[_Frame] = []
        self.delimited = False  # the innermost thing ends with a delimiter
        self.overrun = ""  # it is longer than what it is in
        self.in_items = False  # at an item, not at an element
        self.fragments = False  # at a fragment
        self.number = 0  # of the item
        self.step = FIRST_READ

    def run(self) -> Iterator[Element]:
        if self._have(8):
            vr = self.win[self.pos - self.base + 4 : self.pos - self.base + 6]
            if is_vr(vr) == self.level.implicit:  # what is there counts, not what was declared
                self.level = Level(self.level.order, not self.level.implicit)
            elif self.level is _META:
                self.level = Level(LITTLE, False)
        while True:
            if self.in_items:
                yield from self._items()
            else:
                yield from self._elements()
                if not self.stack:
                    return
                if not self.in_items:
                    self._close()  # the end of an item with a length

    def _elements(self) -> Iterator[Element]:
        """The elements of the innermost data set, until it ends or a sequence begins."""
        level, end, depth, pos = self.level, self.end, len(self.stack), self.pos
        order, implicit = level.order, level.implicit
        explicit_header, implicit_header = _EXPLICIT[order.little], _IMPLICIT[order.little]
        short, new = order.short, tuple.__new__
        while pos < end:
            offset = pos - self.base
            if offset + 12 > len(self.win):
                self.pos = pos
                if not self._have(8):
                    if self._is_end():
                        return
                    raise self._broken("the data ends within the header of an element")
                offset = pos - self.base
            if implicit:
                group, number, length = implicit_header(self.win, offset)
                tag, start, vr = group << 16 | number, pos + 8, None
            else:
                group, number, code, length = explicit_header(self.win, offset)
                tag, start, vr = group << 16 | number, pos + 8, short.get(code)
            if vr is None:
                self.pos = pos
                if group == 0xFFFE or not tag:
                    if self._delimiter(tag):
                        return
                    pos = self.pos
                    continue
                vr, start, length, encoded_as = self._header(tag, offset)
                if vr == "SQ" or length == UNDEFINED:
                    yield self._open(tag, vr, start, length, encoded_as)
                    return
            stop = start + length
            missing = ""
            if stop <= end and stop <= self.base + len(self.win):
                value = self.win[start - self.base : stop - self.base]
            else:
                self.pos = pos
                value, missing = self._value(tag, vr, start, length)
            if group & 1 or tag in _SPECIAL:
                level.note(tag, value)
            yield new(Element, (ELEMENT, tag, vr, length, depth, pos, start, value, level, 0))
            if missing:
                raise self._broken(missing)
            pos = stop
        self.pos = pos
        if self.delimited and not self.stack[-1].end < self.size:
            raise self._broken("the data ends within an item")

    def _header(self, tag: int, offset: int) -> tuple[str, int, int, str]:
        """Where the VR is not a short one: the VR, where the value begins, its length, and the VR as encoded."""
        win, order, level, pos = self.win, self.level.order, self.level, self.pos
        length: int = order.number(win, offset + 4)[0]
        if not level.implicit:
            letters = win[offset + 4 : offset + 6]
            vr = order.long.get(int.from_bytes(letters, "little" if order.little else "big"))
            if vr is not None:
                if len(win) < offset + 12:
                    raise self._broken("the data ends within the header of an element")
                return vr, pos + 12, order.number(win, offset + 8)[0], vr
            if is_vr(letters):  # One that we do not know. pydicom, and so we, reads a length of 16 bits.
                return "UN", pos + 8, length >> 16 if order.little else length & 0xFFFF, letters.decode("latin-1")
        return level.vr_of(tag, length), pos + 8, length, ""

    def _delimiter(self, tag: int) -> bool:
        """Take what is no element; True where the data set ends with it."""
        if tag == _ITEM_END and self.delimited:
            self.pos += 8
            self._close()
            return True
        if tag == _SEQUENCE_END or (tag == _ITEM_END and self.stack):  # one too many, after what had a length
            self.pos += 8
            return False
        if not tag:
            raise self._broken("there are zeros where an element should be")
        raise self._broken(f"({tag >> 16:04x},{tag & 0xFFFF:04x}) where an element should be")

    def _value(self, tag: int, vr: str, start: int, length: int) -> tuple[bytes, str]:
        """A value that leaves the window, or what it is in; and what is wrong with it."""
        there = max(0, min(length, self.end - start))
        wanted = there if there <= _SMALL else min(there, self.limit(tag, vr, length))
        name = f"({tag >> 16:04x},{tag & 0xFFFF:04x})"
        if start - self.pos + wanted <= _SMALL + 12:
            self._have(start - self.pos + wanted)
            value = self.win[start - self.base : start - self.base + wanted]
        else:
            value = self.source.fetch(start, wanted)[:wanted]
        if self.end < UNKNOWN_SIZE and there < length:
            where = "what it is in" if self.stack else "the file"
            return value, f"{name} is longer than {where}: {length - there} of its {length} bytes are missing"
        if len(value) < wanted:
            return value, self._ended(f"the data ends within {name}")
        if wanted < length and self.end == UNKNOWN_SIZE and not self.source.fetch(start + length - 1, 1):
            return value, self._ended(f"the data ends within {name}")
        return value, ""

    def _open(self, tag: int, vr: str, start: int, length: int, encoded_as: str) -> Element:
        """Go into a sequence, or into encapsulated pixel data, which looks like one."""
        offset, depth, level = self.pos, len(self.stack), self.level
        if depth >= 2 * MAX_DEPTH:
            raise self._broken(f"sequences are nested deeper than {MAX_DEPTH}")
        order = level.order
        self.pos = start
        fragments = length == UNDEFINED and vr != "SQ" and (tag in PIXEL_DATA_TAGS or vr not in ("UN", ""))
        if (
            vr == "UN"
            and not order.little
            and self._have(4)
            and LITTLE.number(self.win, start - self.base)[0] == (LITTLE.item)
        ):
            order = LITTLE  # PS3.5 section 6.2.2, note 4: in implicit VR little endian, whatever is around it
        self._push()
        self.order = order
        self.in_items, self.number, self.fragments = True, 0, fragments
        self.delimited, self.overrun = length == UNDEFINED, ""
        if length != UNDEFINED:
            stop = start + length
            if stop > self.end:
                self.overrun = f"({tag >> 16:04x},{tag & 0xFFFF:04x}) is longer than what it is in"
            self.end = min(stop, self.end)
        kind = FRAGMENTS if fragments else SEQUENCE
        return Element(kind, tag, vr or "SQ", length, depth, offset, start, b"", level)

    def _items(self) -> Iterator[Element]:
        """The items of a sequence up to the first one to go into, or all fragments."""
        header = _IMPLICIT[self.order.little]
        while True:
            if self.pos >= self.end and not self.delimited:
                self._close()
                return
            if not self._have(8) or self.pos + 8 > self.end:
                raise self._broken(self._ended("the data ends within a sequence"))
            offset = self.pos
            group, number, length = header(self.win, offset - self.base)
            tag, start = group << 16 | number, offset + 8
            if tag == _ITEM_END:  # of an item that had a length: too much, and harmless
                self.pos = start
            elif tag == _SEQUENCE_END:
                self.pos = start
                self.overrun = ""
                self._close()
                return
            elif tag != _ITEM:
                raise self._broken(f"({group:04x},{number:04x}) where an item should be")
            elif self.fragments:
                if length == UNDEFINED:
                    raise self._broken("a fragment has no length")
                self.number += 1
                stop, missing = start + length, ""
                if stop <= min(self.end, self.base + len(self.win)):
                    value = self.win[start - self.base : stop - self.base]
                else:
                    value, missing = self._value(tag, "OB", start, length)
                yield Element(
                    FRAGMENT, tag, "pi", length, len(self.stack), offset, start, value, self.level, self.number
                )
                if missing:
                    raise self._broken(missing)
                self.pos = stop
            else:
                yield self._enter(offset, start, length)
                return

    def _enter(self, offset: int, start: int, length: int) -> Element:
        """Go into an item; its VR may be implicit where that of the data around it is not."""
        self.number += 1
        number, depth, around = self.number, len(self.stack), self.level
        implicit = around.implicit
        if not implicit:
            self._have(14)
            implicit = not is_vr(self.win[start - self.base + 4 : start - self.base + 6])
        self._push()
        self.level = Level(self.order, implicit, around.encodings, around.signed)
        self.in_items, self.fragments = False, False
        self.delimited, self.overrun = length == UNDEFINED, ""
        self.pos = start
        if length != UNDEFINED:
            if start + length > self.end:
                self.overrun = "an item is longer than what it is in"
            self.end = min(start + length, self.end)
        return Element(ITEM, _ITEM, "na", length, depth, offset, start, b"", around, number)

    def _push(self) -> None:
        self.stack.append(
            _Frame(
                *(self.end, self.delimited, self.overrun, self.level, self.order),
                *(self.in_items, self.number, self.fragments),
            )
        )

    def _close(self) -> None:
        if self.overrun:
            raise self._broken(self.overrun)
        self.end, self.delimited, self.overrun, self.level, self.order, self.in_items, self.number, self.fragments = (
            self.stack.pop()
        )

    def _have(self, n: int) -> bool:
        """See to it that the window has `n` bytes from the current position on; False where there are fewer."""
        have = self.base + len(self.win) - self.pos
        if have >= n:
            return True
        if self.pos >= self.size:
            return False
        self.step = min(self.step * 2, _LARGE_WINDOW) if have >= 0 else FIRST_READ
        wanted = max(n, self.step)
        self.win = self.source.fetch(self.pos, min(wanted, self.size - self.pos))
        self.base = self.pos
        return len(self.win) >= n

    def _is_end(self) -> bool:
        """Whether data whose size was not known ends here, and may."""
        return self.size == UNKNOWN_SIZE and not self.stack and not self.source.problem and not self._have(1)

    def _ended(self, problem: str) -> str:
        return f"{problem}: {self.source.problem}" if self.source.problem else problem

    def _broken(self, problem: str) -> InvalidDicomError:
        where = " of the inflated data set" if isinstance(self.source, InflatedSource) else ""
        return InvalidDicomError(f"{problem}, at offset {self.pos}{where}")
