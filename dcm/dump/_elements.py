"""What a walk gives: elements, items and fragments, and what their values have to be read with."""

from __future__ import annotations

from typing import NamedTuple

from dcm._dictionary import private_entry_of
from dcm.attrs import PIXEL_REPRESENTATION, SPECIFIC_CHARACTER_SET
from dcm.peek._order import UNDEFINED, Order
from dcm.peek._tables import dictionary_vr
from dcm.peek._values import DEFAULT_ENCODINGS, encodings_of, text_value

__all__ = ["ELEMENT", "FRAGMENT", "FRAGMENTS", "ITEM", "SEQUENCE", "UNDEFINED", "Element", "Level"]

ELEMENT, SEQUENCE, ITEM, FRAGMENTS, FRAGMENT = range(5)
"""What an `Element` is; fragments are those of encapsulated pixel data (PS3.5 section A.4)."""


class Level:
    """A data set that is being walked through, the top level or an item: what its values have to be read with.

    Attributes
    ----------
    order : Order
        The byte order.
    implicit : bool
        Whether the VR is.
    encodings : tuple of str
        How text is encoded.
    signed : bool
        Whether "US or SS" is SS.
    creators : dict of int to str
        The private creators, by the tags of their blocks.
    memo : dict or None
        For who renders the elements: what depends on nothing else than an element and this. None at first.
    """

    __slots__ = ("creators", "encodings", "implicit", "memo", "order", "signed")

    def __init__(
        self, order: Order, implicit: bool, encodings: tuple[str, ...] = DEFAULT_ENCODINGS, signed: bool = False
    ) -> None:
        self.order = order
        self.implicit = implicit
        self.encodings = encodings
        self.signed = signed
        self.creators: dict[int, str] = {}
        self.memo: dict[object, str] | None = None

    def creator_of(self, tag: int) -> str:
        """The creator of a private attribute, '' if it is not there."""
        return self.creators.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF, "")

    def note(self, tag: int, value: bytes) -> None:
        """Take notice of an element that says how others are to be read."""
        if tag == SPECIFIC_CHARACTER_SET:
            self.encodings = encodings_of(value.decode("latin-1").strip(" \0"))
            self.memo = None
        elif tag == PIXEL_REPRESENTATION:
            self.signed = value[:2] == (b"\1\0" if self.order.little else b"\0\1")
        elif 0x10 <= tag & 0xFFFF <= 0xFF:
            creator = text_value("LO", value, self.encodings)
            self.creators[tag] = creator if isinstance(creator, str) else ""

    def vr_of(self, tag: int, length: int) -> str:
        """The VR of an element that has none, by the rules of pydicom."""
        vr = dictionary_vr(tag)
        if not vr and tag & 0x10000:
            if 0x10 <= tag & 0xFFFF <= 0xFF:
                return "LO"
            creator = self.creator_of(tag)
            entry = private_entry_of(tag, creator) if creator else None
            vr = entry.vr if entry else ""
        if len(vr) > 2:
            if vr == "US or SS":
                return "SS" if self.signed else "US"
            return "OB" if length == UNDEFINED else "OW"
        return vr or ("SQ" if length == UNDEFINED else "UN")


class Element(NamedTuple):
    """An element, or an item, or a fragment.

    Attributes
    ----------
    kind : int
        `ELEMENT`, `SEQUENCE`, `ITEM`, `FRAGMENTS` or `FRAGMENT`.
    tag : int
    vr : str
        As encoded, or where it is implicit, as the dictionary has it.
    length : int
        As encoded; `UNDEFINED` where a delimiter ends the value.
    depth : int
        0 at the top level; an item is one deeper than its sequence, and its elements are one deeper than it.
    offset, start : int
        Where it and its value begin. In deflated data, where they do when it is inflated.
    value : bytes
        The value, or as much of it as was wanted.
    level : Level
        The data set that it is in.
    number : int
        Of an item or a fragment, from 1 on.
    """

    kind: int
    tag: int
    vr: str
    length: int
    depth: int
    offset: int
    start: int
    value: bytes
    level: Level
    number: int = 0
