r"""Values as text: what `dcm dump` shows of them, and what ``--plain-fmt`` calls them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from dcm._dictionary import entry_of, private_entry_of
from dcm.attrs import SINGLE_TEXT_VRS
from dcm.attrs import value_text as value_as_text
from dcm.dump._walk import ELEMENT, FRAGMENT, ITEM, UNDEFINED, Element
from dcm.peek._values import TEXT_CACHES, decode_text, text_value

__all__ = [
    "BINARY_VRS",
    "BYTES_SHOWN",
    "NUMBER_SIZES",
    "PIECE",
    "bytes_text",
    "cut_text",
    "keyword_of_element",
    "length_text",
    "name_of_element",
    "numbers",
    "single",
    "value_pieces",
    "value_text",
    "vm_of",
]

# How many bytes one value has; of OB and UN one byte is shown after the other, of OW two by two.
NUMBER_SIZES = {
    **dict.fromkeys(("US", "SS"), 2),
    **dict.fromkeys(("AT", "UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "OD", "SV", "UV", "OV"), 8),
}
BINARY_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
"""Of what has no values that could be counted, be it long or not."""
BYTES_SHOWN = 32
"""Bytes of a binary value that is cut."""
PIECE = 1 << 20
"""Bytes of a value that become text at once, where all of it is shown: a multiple of all sizes of numbers."""
_CODES = dict(
    zip(["US", "SS", "UL", "SL", "FL", "OF", "OL", "FD", "OD", "SV", "UV", "OV"], "HhLlffLddqQQ", strict=True)
)
_KEYWORDS = {ITEM: "Item", FRAGMENT: "Item"}


def numbers(element: Element) -> tuple[int | float, ...]:
    """The numbers of a binary value, as many of them as were read; what is left over at the end is left out."""
    code, size = _CODES[element.vr], NUMBER_SIZES[element.vr]
    count = len(element.value) // size
    order = "<" if element.level.order.little else ">"
    return struct.unpack(f"{order}{count}{code}", element.value[: count * size])


def value_text(element: Element) -> str:
    r"""A value as text, several with ``\`` between them; bytes as hexadecimal digits.

    Not safe for a terminal yet.
    """
    vr, value = element.vr, element.value
    if vr in TEXT_CACHES:
        decoded = text_value(vr, value, element.level.encodings)
        if decoded is None:
            return ""
        return value_as_text(decoded)
    if vr == "AT":
        order = "<" if element.level.order.little else ">"
        parts = struct.unpack(f"{order}{len(value) // 4 * 2}H", value[: len(value) // 4 * 4])
        return "\\".join([f"({parts[i]:04x},{parts[i + 1]:04x})" for i in range(0, len(parts), 2)])
    if vr in ("FL", "OF"):
        return "\\".join([single(number) for number in numbers(element)])
    if vr in _CODES:
        return "\\".join(map(repr, numbers(element)))
    return bytes_text(element)


def value_pieces(element: Element) -> Iterator[str]:
    """The text of a long value that is none itself, piece by piece: all of it takes several times as much memory."""
    value, before = element.value, ""
    for start in range(0, len(value), PIECE):
        text = value_text(element._replace(value=value[start : start + PIECE]))
        if text:  # part of a number may be left over
            yield before + text
            before = "\\"


def cut_text(element: Element) -> str:
    r"""What comes first in a binary value, with ``\...`` behind it where there is more."""
    text = value_text(element._replace(value=element.value[:BYTES_SHOWN]))
    return f"{text}\\..." if element.length > BYTES_SHOWN else text


def bytes_text(element: Element) -> str:
    r"""Bytes as DCMTK shows them: ``00\01``, words as ``079a\0916``."""
    value = element.value
    if element.vr != "OW":
        return value.hex("\\") if value else ""
    if element.level.order.little:
        turned = bytearray(value[: len(value) // 2 * 2])
        turned[::2], turned[1::2] = value[1::2], value[: len(turned) : 2]
        return turned.hex("\\", 2) if turned else ""
    return value.hex("\\", -2) if value else ""


def vm_of(element: Element) -> int:
    """How many values there are (PS3.5 section 6.4): 1 for bytes and for sequences, 0 where it is empty."""
    if element.kind != ELEMENT:
        return 1
    if not element.length:
        return 0
    vr = element.vr
    if vr in BINARY_VRS or vr in SINGLE_TEXT_VRS:
        return 1
    size = NUMBER_SIZES.get(vr)
    if size:
        return max(1, element.length // size)
    if b"\\" not in element.value:
        return 1
    if element.value.isascii() and b"\x1b" not in element.value:
        return element.value.count(b"\\") + 1
    return decode_text(element.value, element.level.encodings).count("\\") + 1  # a byte of a letter may look like one


def keyword_of_element(element: Element) -> str:
    """The keyword; for a private element its name in brackets, '' where nothing is known."""
    tag = element.tag
    entry = entry_of(tag)
    if entry is not None:
        return entry.keyword or "Unknown"
    if tag & 0x10000:
        if 0x10 <= tag & 0xFFFF <= 0xFF:
            return "PrivateCreator"
        creator = element.level.creator_of(tag)
        entry = private_entry_of(tag, creator) if creator else None
        return f"[{entry.name}]" if entry else "Private"
    if not tag & 0xFFFF:
        return "GroupLength"
    return _KEYWORDS.get(element.kind, "Unknown")


def name_of_element(element: Element) -> str:
    """The name, ``Patient's Name``, '' where nothing is known."""
    entry = entry_of(element.tag)
    if entry is not None:
        return entry.name
    keyword = keyword_of_element(element)
    return {"PrivateCreator": "Private Creator", "GroupLength": "Group Length"}.get(keyword, keyword.strip("[]"))


def length_text(element: Element) -> str:
    """The length, ``u/l`` where it is undefined."""
    return "u/l" if element.length == UNDEFINED else str(element.length)


def single(number: float) -> str:
    """A float of 32 bits with no more digits than it has."""
    for digits in (6, 7, 8):
        text = f"{number:.{digits}g}"
        try:
            if struct.pack("<f", float(text)) == struct.pack("<f", number):
                return text
        except OverflowError:  # rounded up, the largest ones are too large
            continue
    return f"{number:.9g}"
