"""The length scan: a walk over the headers of an encoded data set (PS3.5 chapter 7) that jumps over its values.

It collects the values that are wanted and tells whether the data ends where its last element does. It never
recurses, holds one window of the data, and makes no more of it than it must: a sequence with a length is jumped over
as a whole, one without is walked through from item to item, and so are the fragments of encapsulated pixel data.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache

from dcm.attrs import MAX_DEPTH
from dcm.peek._inflate import UnreadableError
from dcm.peek._order import BIG, LITTLE, UNDEFINED, Order, is_vr, swapped
from dcm.peek._tables import CHARSET, PIXEL_DATA_TAGS, PIXEL_DATA_URL, ROWS

__all__ = ["MAX_VALUE", "SCAN_LIMIT", "UNKNOWN_SIZE", "Scan"]

UNKNOWN_SIZE = 1 << 62
MAX_VALUE = 256 << 10
"""A wanted value of more bytes is not read: no name or description is that long, but a peer may say so."""

_MAX_HEADER = 12
_SMALL_WINDOW, _WINDOW, _LARGE_WINDOW = 256, 4 << 10, 64 << 10
SCAN_LIMIT = 64 << 20
"""How many bytes beyond the first window are looked at: a million fragments or frames have less, and who sends
gigabytes of empty elements shall not keep us busy for a minute."""


@lru_cache(maxsize=64)
def _wanted(tags: frozenset[int], little: bool) -> tuple[dict[int, int], frozenset[int]]:
    """Tags as they are unpacked, to what they are: those asked for, and those that the scan itself looks at.

    And these together with the tags that mean something to the structure.
    """
    every = tags | {CHARSET, ROWS, PIXEL_DATA_URL}
    wanted = {swapped(tag) if little else tag: tag for tag in every}
    return wanted, (LITTLE if little else BIG).marks.union(wanted)


class Scan:
    """One walk over one data set.

    Parameters
    ----------
    window : bytes
        The first bytes that are at hand.
    base : int
        Position of the first byte of `window`; all positions are counted from where `fetch` counts them from.
    start : int
        Position of the data set.
    size : int
        Position of its end, `UNKNOWN_SIZE` where only `fetch` will tell.
    fetch : callable or None
        ``fetch(position, n)`` gives at least `n` bytes, fewer only at the end. None where there is only the window.
    order : Order
        The byte order.
    implicit : bool
        Whether the VR is implicit, as the transfer syntax says. The first element may show otherwise.
    tags : frozenset of int
        The attributes wanted.

    Attributes
    ----------
    found : dict of int to tuple
        What was found of them at the top level, as (VR, value): the last where there are several. The VR is "" for
        an element that has none, the value of a sequence of undefined length includes its delimiter.
    complete : bool or None
        Whether the data ends where its last element does; None where that was not to be seen.
    problems : list of str
        What is odd, at the end of it why the walk ended early.
    top_implicit : bool
        Whether the VR is implicit at the top level.
    pixel_offset : int or None
        Position of the value of the pixel data.
    lost : bool
        The structure cannot be followed. pydicom may find its way.
    """

    __slots__ = (
        *("base", "complete", "declared_implicit", "done", "fetch", "found", "implicit", "lost", "order", "p"),
        *("pixel_offset", "problems", "size", "stack", "tags", "top_implicit", "top_order", "win"),
        *("_in_items", "_last", "_looked_at", "_opened", "_start", "_step"),
    )

    def __init__(
        self,
        window: bytes,
        base: int,
        start: int,
        size: int,
        fetch: Callable[[int, int], bytes] | None,
        order: Order,
        implicit: bool,
        tags: frozenset[int],
    ) -> None:
        self.win = window
        self.base = base
        self.p = start - base
        self.size = size
        self.fetch = fetch
        self.order = order
        self.implicit = self.top_implicit = self.declared_implicit = implicit
        self.top_order = order
        self.tags = tags
        self.found: dict[int, tuple[str, bytes]] = {}
        self.stack: list[tuple[bool, Order]] = []  # of each sequence that is open: how the data around it is encoded
        self.complete: bool | None = None
        self.problems: list[str] = []
        self.pixel_offset: int | None = None
        self.lost = False
        self.done = False
        self._in_items = False  # at an item of the innermost sequence, not at an element
        self._opened: tuple[int, str, int] | None = None  # the wanted sequence that is open: tag, VR, start
        self._last = 0
        self._start = start
        self._step = _WINDOW
        self._looked_at = 0

    def run(self) -> None:
        """Walk to the end."""
        try:
            self._first_element()
            while not self.done:
                if self._in_items:
                    self._items()
                elif self.implicit:
                    self._implicit()
                else:
                    self._explicit()
        except UnreadableError as exc:
            self._finish(exc.complete, exc.problem)

    def _first_element(self) -> None:
        """See whether the VR is explicit or implicit, as pydicom does: what is there counts, not what was declared."""
        if len(self.win) < self.p + 6:
            self._load(_MAX_HEADER)
        vr = self.win[self.p + 4 : self.p + 6]
        if len(vr) == 2 and is_vr(vr) == self.implicit and not self.done:
            self.implicit = self.top_implicit = not self.implicit
            kinds = ("explicit", "implicit") if self.implicit else ("implicit", "explicit")
            self.problems.append("declared as {} VR, encoded in {} VR".format(*kinds))

    def _wanted_here(self) -> tuple[dict[int, int], frozenset[int]]:
        return ({}, self.order.marks) if self.stack else _wanted(self.tags, self.order.little)

    def _explicit(self) -> None:
        """Walk over elements with explicit VR, until a sequence or an item begins or ends or the window does."""
        win, p, found, order = self.win, self.p, self.found, self.order
        unpack, number, short, long = order.explicit, order.number, order.short, order.long
        wanted, special = self._wanted_here()
        tag, code, length = self._last, 0, 0
        try:
            while True:
                tag, code, length = unpack(win, p)
                if code in short:
                    if tag in wanted:
                        found[wanted[tag]] = (short[code], win[p + 8 : p + 8 + length])
                    p += 8 + length
                elif code in long and tag not in special and number(win, p + 8)[0] != UNDEFINED:
                    p += 12 + number(win, p + 8)[0]
                else:
                    self.p, self._last = p, tag
                    if self._other(tag, code):
                        return
                    p = self.p
        except struct.error:
            if p > len(win) and tag in wanted and code in short:  # it was a wanted value that left the window
                del found[wanted[tag]]
                p -= 8 + length
            else:
                length = 4
            self.p, self._last = p, tag
            self._load(8 + length)

    def _other(self, tag: int, code: int) -> bool:
        """Take an element that is special; True where the walk has to be taken up anew."""
        order, p = self.order, self.p
        length: int = order.number(self.win, p + 4)[0]
        if code in order.long:
            return self._value(tag, order.long[code], p + 12, order.number(self.win, p + 8)[0])
        if tag in order.marks and tag not in order.pixels:
            return self._delimiter(tag)
        vr = order.vr_bytes(code)
        if not b"AA" <= vr <= b"ZZ":  # implicit VR: some writers switch to it in the middle
            return self._value(tag, "", p + 8, length)
        # No VR that we know. PS3.5 gives later ones a length of 32 bits; pydicom, and so we, reads 16.
        self._note(f"({self._name(tag)}) has the unknown VR {vr.decode('latin-1')!a}")
        return self._value(tag, vr.decode("latin-1"), p + 8, length >> 16 if order.little else length & 0xFFFF)

    def _implicit(self) -> None:
        """Walk over elements with implicit VR."""
        win, p, found = self.win, self.p, self.found
        unpack = self.order.pair
        wanted, special = self._wanted_here()
        tag, length = self._last, 0
        try:
            while True:
                tag, length = unpack(win, p)
                if tag not in special and length != UNDEFINED:
                    p += 8 + length
                elif tag in wanted and length <= MAX_VALUE:
                    found[wanted[tag]] = ("", win[p + 8 : p + 8 + length])
                    p += 8 + length
                else:
                    self.p, self._last = p, tag
                    if tag in self.order.marks and tag not in self.order.pixels:
                        again = self._delimiter(tag)
                    else:
                        again = self._value(tag, "", p + 8, length)
                    if again:
                        return
                    p = self.p
        except struct.error:
            if p > len(win) and tag in wanted and length <= MAX_VALUE:
                found.pop(wanted[tag], None)
                p -= 8 + length
            else:
                length = 4
            self.p, self._last = p, tag
            self._load(8 + length)

    def _value(self, tag: int, vr: str, start: int, length: int) -> bool:
        """Go past a value, keep it if it is wanted; True where the walk has to be taken up anew."""
        wanted = None
        if not self.stack:
            wanted = _wanted(self.tags, self.order.little)[0].get(tag)
            if tag in self.order.pixels:
                self.pixel_offset = self.base + start
        if length == UNDEFINED:
            return self._open(wanted, vr, start)
        if wanted is not None and length > MAX_VALUE:
            self._note(f"({self._name(tag)}) has {length} bytes, not read")
        elif wanted is not None:
            value = self.win[start : start + length]
            if len(value) < length:
                self._load(start - self.p + length)
                return True
            self.found[wanted] = (vr, value)
        self.p = start + length
        return False

    def _open(self, wanted: int | None, vr: str, start: int) -> bool:
        """Go into a value of undefined length: a sequence, or encapsulated pixel data, which looks like one."""
        if len(self.stack) >= MAX_DEPTH:
            self._finish(None, f"sequences are nested deeper than {MAX_DEPTH}")
            return True
        order = self.order
        if vr == "UN" and not order.little and LITTLE.number(self.win, start)[0] == LITTLE.item:
            order = LITTLE  # PS3.5 section 6.2.2, note 4: in implicit VR little endian, whatever is around it
        if wanted is not None:
            self._opened = (wanted, vr, self.base + start)
        self.stack.append((self.implicit, self.order))
        self.order = order
        self.p = start
        self._in_items = True
        return True

    def _items(self) -> None:
        """Walk over the items of a sequence, or over fragments, until an item must be gone into or all are passed."""
        win, p, order = self.win, self.p, self.order
        tag = self._last
        try:
            while True:
                tag, length = order.pair(win, p)
                if tag == order.item:
                    if length == UNDEFINED:
                        self._enter_item(p)
                        return
                    p += 8 + length
                elif tag == order.sequence_end:
                    self.p = p + 8
                    self._close()
                    return
                elif tag == order.item_end:  # of an item that had a length: too much, and harmless
                    p += 8
                else:
                    self.p = p
                    self._lose(f"({self._name(tag)}) where an item should be")
                    return
        except struct.error:
            self.p, self._last = p, tag
            self._load(_MAX_HEADER)

    def _enter_item(self, p: int) -> None:
        """Go into an item of undefined length; its VR may be implicit where that of the data around it is not."""
        self.p = p
        if not self.stack[-1][0]:
            vr = self.win[p + 12 : p + 14]
            if len(vr) < 2:
                self._load(16)  # an item has at least its delimiter
                return
            self.implicit = not is_vr(vr)
        self.p = p + 8
        self._in_items = False

    def _close(self) -> None:
        self.implicit, self.order = self.stack.pop()
        self._in_items = False
        if self._opened is not None and not self.stack:
            tag, vr, start = self._opened
            end = self.base + self.p
            self._opened = None
            if end - start > MAX_VALUE:
                self._note(f"({tag >> 16:04x},{tag & 0xFFFF:04x}) has {end - start} bytes, not read")
            else:
                self._keep(tag, vr, start, end)

    def _keep(self, tag: int, vr: str, start: int, end: int) -> None:
        """Keep a value that has been walked through, of which the window may hold no more than the end."""
        try:
            if start >= self.base or self.fetch is None:
                value = self.win[start - self.base : end - self.base]
            else:
                value = self.fetch(start, end - start)[: end - start]
        except UnreadableError as exc:
            self._note(f"({tag >> 16:04x},{tag & 0xFFFF:04x}): {exc.problem}")
            return
        self.found[tag] = (vr or ("OB" if tag in PIXEL_DATA_TAGS else "SQ"), value)

    def _delimiter(self, tag: int) -> bool:
        if tag == self.order.item_end and self.stack:
            self._in_items = True
            self.p += 8
            return True
        if tag == self.order.sequence_end and not self.stack:  # after a sequence that had a length
            self.p += 8
            return False
        self._lose(f"({self._name(tag)}) where an element should be")
        return True

    def _load(self, n: int) -> None:
        """See to it that the window has `n` bytes from the current position on, or finish where there are no more."""
        pos = self.base + self.p
        known = self.base + len(self.win)
        if pos >= self.size or known >= self.size:
            self._end(pos)
            return
        if self.fetch is None:
            self._finish(None, f"only the first {known - self._start} bytes were looked at")
            return
        # Where element follows element, larger and larger pieces; after a jump, for a fragment say, a small one.
        self._step = min(self._step * 2, _LARGE_WINDOW) if pos - known < _SMALL_WINDOW else _SMALL_WINDOW
        data = self.fetch(pos, min(max(n, self._step), self.size - pos))
        self._looked_at += len(data)
        if self._looked_at > SCAN_LIMIT:
            self._finish(None, f"has more than {SCAN_LIMIT >> 20} MiB of elements, not read further")
            return
        if self.size == UNKNOWN_SIZE:
            if len(data) < n:
                self.size = pos + len(data)
        elif len(data) < min(n, self.size - pos):
            self._finish(False, "is shorter than it was a moment ago")
        self.win, self.base, self.p = data, pos, 0

    def _end(self, pos: int) -> None:
        """Finish where nothing more is to come."""
        missing = pos - self.size
        if missing > 0:
            self._finish(False, f"ends within ({self._name(self._last)}), {missing} bytes are missing")
        elif missing < 0:
            self._finish(False, f"ends within an element, {-missing} bytes after its beginning")
        elif self.stack:
            self._finish(False, "ends within a sequence or within encapsulated pixel data")
        elif pos == self._start:
            self._finish(False, "the data set is empty")
        else:
            self._finish(True, "")

    def _lose(self, problem: str) -> None:
        self.lost = True
        self._finish(None, problem)

    def _finish(self, complete: bool | None, problem: str) -> None:
        self.done = True
        self.complete = complete
        if problem:
            self.problems.append(problem)

    def _note(self, problem: str) -> None:
        if len(self.problems) < 8 and problem not in self.problems:
            self.problems.append(problem)

    def _name(self, tag: int) -> str:
        tag = self.order.tag(tag)
        return f"{tag >> 16:04x},{tag & 0xFFFF:04x}"
