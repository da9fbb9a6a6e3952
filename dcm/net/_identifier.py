"""C-FIND, C-MOVE and C-GET identifiers as bytes (PS3.5 section 7, PS3.4 section C.4.1.1.3).

An identifier is a dozen short elements, so it is packed directly. That costs a tenth of what building and writing a
pydicom Dataset costs, and a query of a large archive sends thousands of them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

from dcm.attrs import BYTES_VRS, Attributes, Value
from dcm.errors import QueryError
from dcm.query._elements import keyword_of

__all__ = ["EXPLICIT_VR_LITTLE_ENDIAN", "IMPLICIT_VR_LITTLE_ENDIAN", "encode_identifier"]

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

SPECIFIC_CHARACTER_SET = 0x00080005
UTF_8 = "ISO_IR 192"

# The VRs whose text the Specific Character Set applies to (PS3.5 section 6.1.2.2).
_TEXT_VRS = frozenset({"SH", "LO", "ST", "LT", "PN", "UC", "UT"})
# Two bytes are reserved and four are the length in explicit VR (PS3.5 section 7.1.2).
_LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_NUMBERS = {
    "US": "<H", "SS": "<h", "UL": "<L", "SL": "<l", "UV": "<Q", "SV": "<q", "FL": "<f", "FD": "<d"
}  # fmt: skip

_Encode = Callable[[str, str], bytes]


def encode_identifier(items: Attributes, transfer_syntax_uid: str, charset: str = "") -> bytes:
    """Encode an identifier.

    Text that is ASCII needs no Specific Character Set, and (0008,0005) stays as `items` has it. Other text is encoded
    by the first that can do it of the one that `items` names, `charset`, and ISO_IR 192 (UTF-8).

    Parameters
    ----------
    items : Attributes
        The elements.
    transfer_syntax_uid : str
        Of the presentation context: implicit or explicit VR little endian.
    charset : str, optional
        A Specific Character Set that the peer is known to use, several values separated by a backslash.

    Returns
    -------
    bytes
        The data set, of even length.

    Raises
    ------
    QueryError
        A value cannot be encoded with its VR.
    ValueError
        Another transfer syntax.
    """
    if transfer_syntax_uid not in (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN):
        raise ValueError(f"an identifier is not encoded in {transfer_syntax_uid}")
    encode: _Encode = _encode_ascii
    texts = [text for text in _texts(items) if not text.isascii()]
    if texts:
        chosen, encode = _choose(texts, [items.text(SPECIFIC_CHARACTER_SET), charset])
        items = items.replace([(SPECIFIC_CHARACTER_SET, "CS", tuple(chosen.split("\\")))])
    return _pack(items, transfer_syntax_uid == EXPLICIT_VR_LITTLE_ENDIAN, encode)


def _texts(items: Attributes) -> Iterator[str]:
    for _, vr, value in items.elements():
        if vr == "SQ":
            for item in value if isinstance(value, tuple) else ():
                if isinstance(item, Attributes):
                    yield from _texts(item)
        elif vr in _TEXT_VRS:
            yield from (str(one) for one in (value if isinstance(value, tuple) else (value,)) if one is not None)


def _choose(texts: Sequence[str], charsets: Sequence[str]) -> tuple[str, _Encode]:
    """The first character set that has all characters, and how to encode with it."""
    from pydicom.charset import encode_string, python_encoding
    from pydicom.valuerep import PersonName

    characters = set().union(*texts)
    for charset in filter(None, charsets):
        terms = charset.split("\\")
        if not all(term in python_encoding for term in terms):
            continue
        encodings = [python_encoding[term] for term in terms]
        if all(any(_has(encoding, char) for encoding in encodings) for char in characters):

            def encode(vr: str, text: str, encodings: list[str] = encodings) -> bytes:
                return PersonName(text).encode(encodings) if vr == "PN" else encode_string(text, encodings)

            return charset, encode
    return UTF_8, lambda vr, text: text.encode("utf-8", "replace")


def _has(encoding: str, char: str) -> bool:
    try:
        char.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _encode_ascii(vr: str, text: str) -> bytes:
    return text.encode("ascii")


def _pack(items: Attributes, explicit: bool, encode: _Encode) -> bytes:
    parts: list[bytes] = []
    for tag, vr, value in items.elements():
        data = _value(tag, vr, value, explicit, encode)
        group, element = tag >> 16, tag & 0xFFFF
        if not explicit:
            parts.append(struct.pack("<HHL", group, element, len(data)))
        elif vr in _LONG_VRS:
            parts.append(struct.pack("<HH2sHL", group, element, vr.encode("ascii"), 0, len(data)))
        elif len(data) > 0xFFFE:
            raise QueryError(f"{keyword_of(tag)}: the value is too long for its VR {vr}")
        else:
            parts.append(struct.pack("<HH2sH", group, element, vr.encode("ascii"), len(data)))
        parts.append(data)
    return b"".join(parts)


def _value(tag: int, vr: str, value: Value, explicit: bool, encode: _Encode) -> bytes:
    if value is None:
        return b""
    values = value if isinstance(value, tuple) else (value,)
    try:
        if vr == "SQ":
            return b"".join([_item(item, explicit, encode) for item in values])
        if vr in BYTES_VRS:
            data = b"".join([one for one in values if isinstance(one, bytes)])
        elif vr == "AT":
            data = b"".join([struct.pack("<HH", int(str(one)) >> 16, int(str(one)) & 0xFFFF) for one in values])
        elif vr in _NUMBERS:
            data = b"".join([struct.pack(_NUMBERS[vr], one) for one in values])
        else:
            texts = ["" if one is None else str(one) for one in values]
            data = b"\\".join([encode(vr, text) if vr in _TEXT_VRS else text.encode("ascii") for text in texts])
    except (UnicodeEncodeError, ValueError, struct.error) as err:
        raise QueryError(f"{keyword_of(tag)}: the value does not fit its VR {vr}") from err
    if len(data) % 2:
        data += b"\0" if vr == "UI" or vr in BYTES_VRS else b" "
    return data


def _item(item: Value, explicit: bool, encode: _Encode) -> bytes:
    """One item of a sequence, with its length (PS3.5 section 7.5.1)."""
    data = _pack(item, explicit, encode) if isinstance(item, Attributes) else b""
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(data)) + data
