"""The two byte orders: how headers of elements are unpacked (PS3.5 sections 7.1 and 7.3)."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple, Protocol

from dcm.part10 import EXPLICIT_VR_BIG_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from dcm.peek._tables import LONG_VRS, PIXEL_DATA_TAGS, SHORT_VRS

__all__ = ["BIG", "LITTLE", "UNDEFINED", "Order", "encoding_of", "is_vr", "swapped"]

UNDEFINED = 0xFFFFFFFF
"""The length that says: up to the delimiter."""


class _Unpack(Protocol):
    def __call__(self, buffer: bytes, offset: int = ..., /) -> tuple[Any, ...]: ...


class Order(NamedTuple):
    """A byte order: how headers are unpacked in it, and what they look like then.

    A tag is unpacked as one number of four bytes. In little endian this swaps group and element, which costs nothing
    where the tags to compare it with are swapped as well. A VR is unpacked as one number of two bytes.
    """

    little: bool
    explicit: _Unpack  # tag, VR, length of 16 bits
    pair: _Unpack  # tag, length of 32 bits
    number: _Unpack  # a length of 32 bits
    short: dict[int, str]  # VRs with a length of 16 bits
    long: dict[int, str]  # VRs with one of 32 bits
    item: int
    item_end: int
    sequence_end: int
    pixels: frozenset[int]
    marks: frozenset[int]  # all of these

    def vr_bytes(self, code: int) -> bytes:
        """A VR that was unpacked, as it stands in the data."""
        return code.to_bytes(2, "little" if self.little else "big")

    def tag(self, unpacked: int) -> int:
        """A tag that was unpacked, as it is."""
        return swapped(unpacked) if self.little else unpacked


def swapped(tag: int) -> int:
    """A tag with group and element swapped."""
    return (tag & 0xFFFF) << 16 | tag >> 16


def _order(little: bool) -> Order:
    c = "<" if little else ">"
    short, long = (
        {struct.unpack(c + "H", vr.encode())[0]: vr for vr in vrs} for vrs in (sorted(SHORT_VRS), sorted(LONG_VRS))
    )
    tags = [0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, *PIXEL_DATA_TAGS]
    item, item_end, sequence_end, *pixels = [swapped(tag) for tag in tags] if little else tags
    return Order(
        little,
        struct.Struct(c + "LHH").unpack_from,
        struct.Struct(c + "LL").unpack_from,
        struct.Struct(c + "L").unpack_from,
        short,
        long,
        item,
        item_end,
        sequence_end,
        frozenset(pixels),
        # Nor may (0000,0000) be in a data set: where there are only zeros, they stand in the place of lost data.
        frozenset([item, item_end, sequence_end, *pixels, 0]),
    )


LITTLE = _order(little=True)
BIG = _order(little=False)


def is_vr(raw: bytes) -> bool:
    """True for what can be a VR: two capital letters."""
    return len(raw) == 2 and 0x40 < raw[0] < 0x5B and 0x40 < raw[1] < 0x5B


def encoding_of(transfer_syntax_uid: str) -> tuple[bool, Order]:
    """Whether the VR is implicit in a transfer syntax, and its byte order.

    All but two are explicit VR little endian (PS3.5 annex A), the unknown ones among them.
    """
    if transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN:
        return True, LITTLE
    return False, BIG if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else LITTLE
