"""All attributes of an encoded data set at once: the identifiers of C-FIND, sequences, small data sets.

The other way round than the length scan: everything is at hand and everything is wanted, and it must be fast for
identifiers of ten or twenty elements that come by the million. So what repeats is looked up: decoded texts, and the
layout of tags and VRs that all answers to one query share.
"""

from __future__ import annotations

import struct
from collections.abc import Collection

from dcm.attrs import MAX_DEPTH, Attributes, Value, value_text
from dcm.errors import InvalidDicomError
from dcm.part10 import DEFLATED_SYNTAXES
from dcm.peek._inflate import inflate
from dcm.peek._level import Level, finish, resolve_vr
from dcm.peek._order import BIG, LITTLE, UNDEFINED, Order, encoding_of, is_vr, swapped
from dcm.peek._tables import CHARSET, dictionary_vr
from dcm.peek._values import DEFAULT_ENCODINGS, TEXT_CACHES, decode_value, encodings_of, text_value

__all__ = ["check_depth", "decode_element", "read_attributes"]

# What is most of an identifier: text with a short header. All else takes a slower way.
_EXPLICIT_TEXT = {
    order.little: {code: (vr, TEXT_CACHES[vr]) for code, vr in order.short.items() if vr in TEXT_CACHES}
    for order in (LITTLE, BIG)
}
_IMPLICIT_TEXT: dict[bool, dict[int, tuple[str, dict[bytes, Value]]]] = {True: {}, False: {}}
_CHARSETS = {True: swapped(CHARSET), False: CHARSET}
_MISSING = ("",)  # compares equal to no cached value by identity
_NOTHING: frozenset[int] = frozenset()


class _TooDeepError(InvalidDicomError):
    """Sequences are nested deeper than we, or pydicom, should follow them."""


class _Sequence:
    """A sequence that is being read."""

    __slots__ = ("delimited", "end", "items", "kept", "order", "owner", "tag")

    def __init__(self, owner: Level, tag: int, end: int, delimited: bool, order: Order, kept: bool) -> None:
        self.owner = owner
        self.tag = tag
        self.end = end
        self.delimited = delimited
        self.order = order
        self.kept = kept
        self.items: list[Attributes] = []


_END = _Sequence(Level(0, False, False, LITTLE, (), None), 0, 0, False, LITTLE, kept=False)
"""In the place of a sequence: the end of a data set."""


class _Reader:
    """Reads one data set, iteratively.

    Parameters
    ----------
    buf : bytes
        The data.
    pos : int
        Where to begin.
    max_depth : int
        How deep sequences may be nested.
    probe : bool
        Only look how deep they are: go into all of them, keep nothing.
    """

    __slots__ = ("buf", "max_depth", "p", "probe")

    def __init__(self, buf: bytes, pos: int, max_depth: int, *, probe: bool = False) -> None:
        self.buf = buf
        self.p = pos
        self.max_depth = max_depth
        self.probe = probe

    def read(self, level: Level, opened: _Sequence | None = None) -> Attributes:
        """Read a data set to its end, or (where it is given) a sequence."""
        stack: list[_Sequence] = []
        try:
            while True:
                if opened is None:
                    opened = self._implicit(level) if level.implicit else self._explicit(level)
                if opened is _END:
                    if not stack:
                        return finish(level)
                    stack[-1].items.append(finish(level))
                else:
                    if len(stack) >= self.max_depth:
                        raise _TooDeepError(f"sequences are nested deeper than {self.max_depth}")
                    stack.append(opened)
                opened = None
                item = self._next_item(stack[-1])
                if item is not None:
                    level = item
                    continue
                sequence = stack.pop()
                level = sequence.owner
                if sequence.kept:
                    level.add(sequence.tag, "SQ", tuple(sequence.items) or None)
                if level.end < 0:  # asked for a sequence alone
                    return finish(level)
        except struct.error as exc:
            raise InvalidDicomError("the data set ends within the header of an element") from exc

    def _explicit(self, level: Level) -> _Sequence:
        """Read elements with explicit VR up to the end of the level, or to the next sequence."""
        buf, p, end = self.buf, self.p, level.end
        tags, vrs, values, encodings, wanted = level.tags, level.vrs, level.values, level.encodings, level.wanted
        unpack, charset = level.order.explicit, _CHARSETS[level.order.little]
        lookup = _EXPLICIT_TEXT[level.order.little].get
        while p < end:
            tag, code, length = unpack(buf, p)
            entry = lookup(code)
            if entry is None or (wanted is not None and tag not in wanted):
                self.p = p
                opened = self._other(level, tag, code, length)
                if opened is not None:
                    return opened
                p = self.p
                encodings = level.encodings
                continue
            raw = buf[p + 8 : p + 8 + length]
            p += 8 + length
            name, cache = entry
            value = cache.get(raw, _MISSING)
            if value is _MISSING:
                value = text_value(name, raw, encodings)
            if tag == charset and value:
                encodings = level.encodings = encodings_of(value_text(value))
            tags.append(tag)
            vrs.append(name)
            values.append(value)
        return self._at_end(level, p)

    def _implicit(self, level: Level) -> _Sequence:
        """Read elements with implicit VR."""
        buf, p, end = self.buf, self.p, level.end
        tags, vrs, values, encodings, wanted = level.tags, level.vrs, level.values, level.encodings, level.wanted
        unpack, charset = level.order.pair, _CHARSETS[level.order.little]
        lookup = _IMPLICIT_TEXT[level.order.little].get
        while p < end:
            tag, length = unpack(buf, p)
            entry = lookup(tag)
            if entry is None or length == UNDEFINED or (wanted is not None and tag not in wanted):
                self.p = p
                opened = self._other(level, tag, -1, length)
                if opened is not None:
                    return opened
                p = self.p
                encodings = level.encodings
                continue
            raw = buf[p + 8 : p + 8 + length]
            p += 8 + length
            name, cache = entry
            value = cache.get(raw, _MISSING)
            if value is _MISSING:
                value = text_value(name, raw, encodings)
            if tag == charset and value:
                encodings = level.encodings = encodings_of(value_text(value))
            tags.append(tag)
            vrs.append(name)
            values.append(value)
        return self._at_end(level, p)

    def _at_end(self, level: Level, p: int) -> _Sequence:
        if p > level.end:
            raise InvalidDicomError(f"an element is {p - level.end} bytes longer than what it is in")
        if level.delimited:
            raise InvalidDicomError("an item has no end")
        self.p = p
        return _END

    def _other(self, level: Level, tag: int, code: int, length: int) -> _Sequence | None:
        """Read an element of any kind; gives the sequence that begins here, if one does, or `_END`."""
        order, p = level.order, self.p
        start = p + 8
        if tag in order.marks and tag not in order.pixels:
            if tag == order.item_end and level.delimited:
                self.p = start
                return _END
            if tag == order.sequence_end:  # after a sequence that had a length
                self.p = start
                return None
            raise InvalidDicomError("a delimiter where an element should be")
        vr = ""
        if code in order.long:
            vr, start, length = order.long[code], p + 12, order.number(self.buf, p + 8)[0]
        elif code in order.short:
            vr = order.short[code]
        elif code >= 0:
            letters = order.vr_bytes(code)
            if b"AA" <= letters <= b"ZZ":
                vr = letters.decode("latin-1")
            else:  # implicit VR in the middle of explicit
                length = order.number(self.buf, p + 4)[0]
        natural = order.tag(tag)
        kept = level.wanted is None or tag in level.wanted
        name = resolve_vr(level, natural, vr, length)
        if name == "SQ":
            return self._open(level, tag, start, length, vr, kept)
        if length == UNDEFINED:
            length = self._fragments(level, start)
            self.p = start + length + 8
        else:
            self.p = start + length
        if self.p > level.end:
            raise InvalidDicomError(f"({natural >> 16:04x},{natural & 0xFFFF:04x}) is longer than what it is in")
        if not kept and natural != CHARSET:
            return None
        name, value = decode_value(name, self.buf[start : start + length], level.encodings, little=order.little)
        if natural == CHARSET and value:
            level.encodings = encodings_of(value_text(value))
        if kept:
            level.add(tag, name, value)
        if not vr and name in TEXT_CACHES and dictionary_vr(natural) == name:
            _IMPLICIT_TEXT[order.little][tag] = (name, TEXT_CACHES[name])
        return None

    def _open(self, level: Level, tag: int, start: int, length: int, vr: str, kept: bool) -> _Sequence | None:
        delimited = length == UNDEFINED
        end = level.end if delimited else start + length
        if end > level.end:
            raise InvalidDicomError("a sequence is longer than what it is in")
        order = level.order
        if vr == "UN" and not order.little and end - start >= 4 and LITTLE.number(self.buf, start)[0] == LITTLE.item:
            order = LITTLE  # PS3.5 section 6.2.2, note 4
        if not delimited and not kept and not self.probe:
            self.p = end
            return None
        self.p = start
        return _Sequence(level, tag, end, delimited, order, kept)

    def _next_item(self, sequence: _Sequence) -> Level | None:
        order, owner = sequence.order, sequence.owner
        while sequence.delimited or self.p < sequence.end:
            p = self.p
            tag, length = order.pair(self.buf, p)
            self.p = p + 8
            if tag == order.sequence_end:
                if not sequence.delimited:
                    self.p = sequence.end
                return None
            if tag == order.item_end:
                continue
            delimited = length == UNDEFINED
            end = sequence.end if delimited else p + 8 + length
            if tag != order.item or end > sequence.end:
                raise InvalidDicomError("a sequence has something else in it than items")
            implicit = owner.implicit or not is_vr(self.buf[p + 12 : p + 14])
            wanted = None if sequence.kept else _NOTHING
            return Level(end, delimited, implicit, order, owner.encodings, wanted)
        return None

    def _fragments(self, level: Level, start: int) -> int:
        """How long encapsulated pixel data is, without its delimiter."""
        order, p = level.order, start
        while p < level.end:
            tag, length = order.pair(self.buf, p)
            if tag == order.sequence_end:
                return p - start
            if tag != order.item or length == UNDEFINED:
                break
            p += 8 + length
        raise InvalidDicomError("a value of undefined length has no end")


def read_attributes(
    buf: bytes | bytearray | memoryview,
    transfer_syntax_uid: str,
    *,
    charset: str = "",
    tags: Collection[int] | None = None,
    max_depth: int = MAX_DEPTH,
) -> Attributes:
    r"""Read all attributes of an encoded data set, the identifier of a C-FIND response for example.

    Parameters
    ----------
    buf : bytes, bytearray or memoryview
        The whole data set, without file meta information.
    transfer_syntax_uid : str
        How it is encoded. The VR may be implicit where it should be explicit, and the other way round.
    charset : str, optional
        The Specific Character Set, terms joined with ``\``, for data that has none (0008,0005).
    tags : collection of int, optional
        Only these, of the top level.
    max_depth : int, optional
        How deep sequences may be nested.

    Returns
    -------
    record : Attributes
        Values as pydicom decodes them, but never refused; group lengths are left out.

    Raises
    ------
    InvalidDicomError
        If the data is cut off, does not hold together, or is nested too deep.
    """
    data = bytes(buf)
    if transfer_syntax_uid in DEFLATED_SYNTAXES:
        data = inflate(data)
    implicit, order = encoding_of(transfer_syntax_uid)
    if len(data) >= 8:
        implicit = not is_vr(data[4:6])
    wanted = None
    if tags is not None:
        wanted = frozenset([swapped(tag) for tag in tags] if order.little else tags)
    encodings = encodings_of(charset) if charset else DEFAULT_ENCODINGS
    return _Reader(data, 0, max_depth).read(Level(len(data), False, implicit, order, encodings, wanted))


def check_depth(buf: bytes, transfer_syntax_uid: str, start: int = 0, max_depth: int = MAX_DEPTH) -> None:
    """Look how deep the sequences of a data set are nested: pydicom follows them until Python gives up.

    Parameters
    ----------
    buf : bytes
        The whole data set, not deflated.
    transfer_syntax_uid : str
        How it is encoded.
    start : int, optional
        Where in `buf` it begins.
    max_depth : int, optional
        How deep they may be.

    Raises
    ------
    InvalidDicomError
        If they are deeper. Whatever else may be wrong with the data is not looked at.
    """
    implicit, order = encoding_of(transfer_syntax_uid)
    if len(buf) >= start + 8:
        implicit = not is_vr(buf[start + 4 : start + 6])
    level = Level(len(buf), False, implicit, order, DEFAULT_ENCODINGS, _NOTHING)
    try:
        _Reader(buf, start, max_depth, probe=True).read(level)
    except _TooDeepError:
        raise
    except InvalidDicomError:
        return  # pydicom reads some data that we do not; what it cannot, it says


def decode_element(
    tag: int, vr: str, raw: bytes, encodings: tuple[str, ...], *, little: bool, implicit: bool
) -> tuple[str, Value]:
    """Decode the value of one element of the top level.

    Parameters
    ----------
    tag : int
        The tag.
    vr : str
        As encoded, "" for an element that has none.
    raw : bytes
        The encoded value; that of a sequence with or without its delimiter.
    encodings : tuple of str
        From `dcm.peek._values.encodings_of`.
    little : bool
        The byte order.
    implicit : bool
        Whether the VR is implicit around it.

    Returns
    -------
    vr : str
    value : Value

    Raises
    ------
    InvalidDicomError
        If it is a sequence that does not hold together.
    """
    order = LITTLE if little else BIG
    owner = Level(-1, False, implicit or not vr, order, encodings, None)
    name = resolve_vr(owner, tag, vr, len(raw))
    if name != "SQ":
        return decode_value(name, raw, encodings, little=little)
    if vr == "UN" and not little and raw[:4] == b"\xfe\xff\x00\xe0":
        order = LITTLE
    sequence = _Sequence(owner, tag, len(raw), False, order, kept=True)
    _Reader(raw, 0, MAX_DEPTH - 1).read(owner, sequence)
    return "SQ", owner.values[0]
