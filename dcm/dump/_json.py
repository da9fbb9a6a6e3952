"""Elements as the DICOM JSON Model (PS3.18 annex F)."""

from __future__ import annotations

import base64
import math
import re
from typing import Any

from dcm.dump._values import BINARY_VRS, numbers, single, value_text
from dcm.dump._walk import FRAGMENT, FRAGMENTS, ITEM, SEQUENCE, Element
from dcm.normalize import normal_value
from dcm.peek._scan import UNKNOWN_SIZE
from dcm.peek._values import TEXT_CACHES
from dcm.text import UNSAFE_CHARS

__all__ = ["INLINE_LIMIT", "JsonBuilder", "encode_json", "json_limit"]

INLINE_LIMIT = 4 << 10
"""Binary values of more bytes are referred to, and not in the JSON."""

_NUMBER = re.compile(r"([+-]?)0*([0-9]*)(?:\.([0-9]*))?([eE][+-]?[0-9]+)?")
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_EXACT = 1 << 53  # what a program that takes all numbers for doubles can tell apart
_CHARSET = 0x00080005
_UNSAFE = re.compile(rf"(?![\x00-\x1f])[{UNSAFE_CHARS}]")


def json_limit(tag: int, vr: str, length: int) -> int:
    """How many bytes of a long value are read where binary ones are referred to."""
    return 0 if vr in BINARY_VRS else length


class JsonBuilder:
    """Makes an object of one data set, element by element: what has come before something breaks is in it.

    Parameters
    ----------
    uri : str
        That of the file. Long binary values become a ``BulkDataURI`` of it with ``offset`` and ``length``, the way
        dcm4che writes it. '' puts all of them in as ``InlineBinary``; they have to be read then.
    size : int, optional
        Of the file: where it breaks off, a ``length`` is that of what is there.
    meta : bool, optional
        With the file meta information, which the standard leaves out.

    Attributes
    ----------
    result : dict
        The object.
    """

    def __init__(self, uri: str = "", *, size: int = UNKNOWN_SIZE, meta: bool = False) -> None:
        self.result: dict[str, Any] = {}
        self._uri = uri
        self._size = size
        self._meta = meta
        # For each depth: the object to put elements into, or the list to put items into.
        self._open: list[Any] = [self.result]
        self._fragments: tuple[dict[str, Any], bytearray] | None = None

    def add(self, element: Element) -> None:
        """Take the next element."""
        kind, depth = element.kind, element.depth
        if self._fragments is not None and kind != FRAGMENT:
            self.finish()
        if kind == FRAGMENT:
            if self._fragments is not None:
                size = len(element.value).to_bytes(4, "little")
                self._fragments[1].extend(b"\xfe\xff\x00\xe0" + size + element.value)
            return
        del self._open[depth + 1 :]
        if kind == ITEM:
            item: dict[str, Any] = {}
            self._open[depth].append(item)
            self._open.append(item)
            return
        tag = element.tag
        if not tag & 0xFFFF or (tag >> 16 == 2 and not self._meta):
            if kind == SEQUENCE:  # there is no such one, but for broken files
                self._open.append([])
            return
        entry: dict[str, Any] = {"vr": "SQ" if kind == SEQUENCE else element.vr}
        self._open[depth][f"{tag:08X}"] = entry
        if kind == SEQUENCE:
            self._open.append(_Items(entry))
        elif kind == FRAGMENTS:
            if self._uri:
                entry["BulkDataURI"] = f"{self._uri}?offset={element.start}&length=-1"
            else:
                self._fragments = entry, bytearray()
        elif tag == _CHARSET:
            entry["Value"] = ["ISO_IR 192"]  # that of JSON, whatever that of the file was
        elif element.length:
            self._value(element, entry)

    def finish(self) -> dict[str, Any]:
        """Put in what has not ended by itself; gives the object."""
        if self._fragments is not None:
            entry, value = self._fragments
            self._fragments = None
            entry["InlineBinary"] = _base64(value)
        return self.result

    def _value(self, element: Element, entry: dict[str, Any]) -> None:
        vr = element.vr
        if vr in BINARY_VRS:
            if element.length > INLINE_LIMIT and self._uri:
                there = min(element.length, self._size - element.start)
                if there > 0:
                    entry["BulkDataURI"] = f"{self._uri}?offset={element.start}&length={there}"
            elif element.value:
                value = normal_value(vr, element.value, big_endian=not element.level.order.little)
                assert isinstance(value, bytes)
                entry["InlineBinary"] = _base64(value)
            return
        values = _values(element)
        if values and values != [None]:
            entry["Value"] = values


class _Items(list[Any]):
    """The items of a sequence, which is empty in JSON until there is one."""

    def __init__(self, entry: dict[str, Any]) -> None:
        super().__init__()
        self._entry = entry

    def append(self, item: Any) -> None:
        if not self:
            self._entry["Value"] = self
        super().append(item)


def _values(element: Element) -> list[Any]:
    vr = element.vr
    if vr == "AT":
        return [text[1:5].upper() + text[6:10].upper() for text in value_text(element).split("\\") if text]
    if vr in TEXT_CACHES:
        text = value_text(element)
        parts = [text] if vr in ("ST", "LT", "UT", "UR") else text.split("\\")
        return [_text(vr, part) for part in parts]
    return [_number(vr, number) for number in numbers(element)]


def _text(vr: str, text: str) -> Any:
    if not text:
        return None
    if vr == "PN":
        return {name: group for name, group in zip(_GROUPS, text.split("="), strict=False) if group}
    if vr not in ("DS", "IS"):
        return text
    match = _NUMBER.fullmatch(text.strip())
    if match is None or not (match[2] or match[3] or text.strip("+-").startswith("0")):
        return text  # no number, whatever its VR says
    digits = f"{match[2]}{match[3] or ''}"
    if math.isinf(value := float(text)) or (not value and digits.strip("0")):
        return text  # most programs would take it for another number, the largest one say
    import msgspec

    sign = "-" if match[1] == "-" else ""
    fraction = f".{match[3]}" if match[3] else ""
    return msgspec.Raw(f"{sign}{match[2] or '0'}{fraction}{match[4] or ''}".encode())  # every digit stays


def _number(vr: str, number: float) -> Any:
    if not isinstance(number, float):
        return number if -_EXACT <= number <= _EXACT else str(number)
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return float(single(number)) if vr == "FL" else number


def _base64(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode("ascii")


def encode_json(document: object, *, indent: int = 0) -> bytes:
    """JSON in UTF-8 without an end of line, with what acts on a terminal escaped.

    Parameters
    ----------
    document : object
        What `JsonBuilder` made.
    indent : int, optional
        0 for one line.
    """
    import msgspec.json

    encoded = msgspec.json.encode(document)
    if indent:
        encoded = msgspec.json.format(encoded, indent=indent)
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    return _UNSAFE.sub(_escape, encoded.decode()).encode()


def _escape(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be", "surrogatepass").hex()
    return "".join([f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4)])
