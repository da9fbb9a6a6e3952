r"""Encoded values to Python ones (PS3.5 section 6.2), for bytes that anyone may have sent.

Nothing in here raises for its input: text that does not fit its character set is decoded with replacement characters,
a number of the wrong length stays bytes. Where both can, results are those of pydicom, which warns or raises instead.
"""

from __future__ import annotations

import codecs
import functools
import re
import struct
from typing import Final

from dcm.attrs import SINGLE_TEXT_VRS, Value, strip_padding

__all__ = ["DEFAULT_ENCODINGS", "TEXT_CACHES", "decode_text", "decode_value", "encodings_of", "text_value"]

# ISO-IR 6 has no characters above 127; what stands there all the same is most often Latin-1. Python knows that by
# many names. Two of them tell apart whether it is the default or was announced: an escape sequence may only switch to
# a character set that was.
DEFAULT = "iso8859"
LATIN_1 = "latin_1"
DEFAULT_ENCODINGS: Final = (DEFAULT,)

# PS3.5 section 6.1.2.3: Specific Character Set changes these, all other text is ASCII.
_CHARSET_VRS = frozenset({"SH", "LO", "UC", "ST", "LT", "UT", "PN"})
_PLAIN_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_SIZES = {code: struct.calcsize("<" + code) for code in _NUMBERS.values()}

_ESC = b"\x1b"
_FRAGMENTS = re.compile(b"(^[^\x1b]+|[\x1b][^\x1b]*)")
_LINE_ENDS = re.compile(b"[\t\n\f\r]")
_COMMON = {
    "": DEFAULT,
    "ISO_IR 6": DEFAULT,
    "ISO_IR 100": LATIN_1,
    "ISO_IR 192": "utf-8",
    "ISO 2022 IR 6": DEFAULT,
    "ISO 2022 IR 100": LATIN_1,
}

# One cache of short ASCII texts for each text VR: what repeats in a study (its UIDs, dates, names) is decoded once and
# is one object in however many records. Peers choose the texts, so the caches are emptied when they are full.
TEXT_CACHES: dict[str, dict[bytes, Value]] = {vr: {b"": None} for vr in sorted(_CHARSET_VRS | _PLAIN_VRS)}
_MAX_CACHED = 8192
_UNKNOWN = "\0unknown"  # nothing that is in a cache is this object
_MAX_CACHED_LENGTH = 64


def text_value(vr: str, raw: bytes, encodings: tuple[str, ...]) -> Value:
    r"""Decode a text VR.

    Parameters
    ----------
    vr : str
        One of `TEXT_CACHES`.
    raw : bytes
        The encoded value.
    encodings : tuple of str
        From `encodings_of`.

    Returns
    -------
    str, tuple of str, or None
        Without padding; None where nothing else is left; a tuple where there is a ``\`` and the VR allows several.
    """
    cache = TEXT_CACHES[vr]
    known = cache.get(raw, _UNKNOWN)
    if known is not _UNKNOWN:
        return known
    shared = raw.isascii() and _ESC not in raw
    if shared:
        text = raw.decode("ascii")
    else:
        text = decode_text(raw, encodings) if vr in _CHARSET_VRS else raw.decode(DEFAULT)
    value: Value
    if "\\" not in text or vr in SINGLE_TEXT_VRS:
        value = strip_padding(vr, text) or None
    else:
        value = tuple([strip_padding(vr, item) for item in text.split("\\")])
    if shared and len(raw) <= _MAX_CACHED_LENGTH:
        if len(cache) >= _MAX_CACHED:
            cache.clear()
            cache[b""] = None
        cache[raw] = value
    return value


def decode_value(vr: str, raw: bytes, encodings: tuple[str, ...], *, little: bool) -> tuple[str, Value]:
    """Decode a value of any VR but SQ.

    Parameters
    ----------
    vr : str
        The VR; bytes where it is an unknown one.
    raw : bytes
        The encoded value.
    encodings : tuple of str
        From `encodings_of`.
    little : bool
        The byte order.

    Returns
    -------
    vr : str
        The same, but UN where the VR does not exist or the length does not fit it.
    value : Value
        None where it is empty.
    """
    if vr in TEXT_CACHES:
        return vr, text_value(vr, raw, encodings)
    order = "<" if little else ">"
    code = _NUMBERS.get(vr)
    if code is not None:
        count, rest = divmod(len(raw), _SIZES[code])
        if rest:
            return "UN", raw
        return vr, _one_or_more(struct.unpack(f"{order}{count}{code}", raw))
    if vr == "AT":
        if len(raw) < 4 and raw:
            return "UN", raw
        pairs = struct.unpack(f"{order}{len(raw) // 4 * 2}H", raw[: len(raw) // 4 * 4])
        return vr, _one_or_more(tuple([pairs[i] << 16 | pairs[i + 1] for i in range(0, len(pairs), 2)]))
    return vr if vr in ("OB", "OD", "OF", "OL", "OV", "OW") else "UN", raw or None


def _one_or_more(values: tuple[Value, ...]) -> Value:
    if len(values) == 1:
        return values[0]
    return values or None


def decode_text(raw: bytes, encodings: tuple[str, ...]) -> str:
    """Decode text with code extensions (PS3.5 section 6.1.2.5): escape sequences switch between character sets.

    Parameters
    ----------
    raw : bytes
        The text, with padding and delimiters.
    encodings : tuple of str
        From `encodings_of`: the first is in force at the beginning and after each end of line.

    Returns
    -------
    str
        With replacement characters for what cannot be decoded.
    """
    if _ESC not in raw:
        return _decode(raw, encodings[0], encodings[0])
    return "".join([_decode_fragment(fragment, encodings) for fragment in _FRAGMENTS.findall(raw)])


def _decode(raw: bytes, encoding: str, fallback: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeError:
        return raw.decode(fallback, "replace")


def _decode_fragment(raw: bytes, encodings: tuple[str, ...]) -> str:
    first = encodings[0]
    if not raw.startswith(_ESC):
        return _decode(raw, first, first)
    from pydicom.charset import CODES_TO_ENCODINGS, handled_encodings

    length = 4 if raw.startswith((b"\x1b$(", b"\x1b$)")) else 3
    encoding = CODES_TO_ENCODINGS.get(raw[:length], "")
    if encoding != DEFAULT and encoding not in encodings:
        return _decode(raw, first, first)  # not one of those that were announced: the escape sequence stays visible
    if encoding in handled_encodings and encoding != "iso_ir_58":
        return _decode(raw, encoding, first)  # Python's codec wants to see the escape sequence
    body = raw[length:]
    reset = _LINE_ENDS.search(body)
    end = reset.start() if reset else len(body)
    try:
        return body[:end].decode(encoding) + body[end:].decode(first)
    except UnicodeError:
        return raw.decode(first, "replace")


@functools.lru_cache(maxsize=256)
def encodings_of(charset: str) -> tuple[str, ...]:
    r"""The Python encodings for a Specific Character Set (0008,0005), PS3.3 section C.12.1.1.2.

    Parameters
    ----------
    charset : str
        The defined terms, joined with ``\``; misspelled and unknown ones are tolerated.

    Returns
    -------
    tuple of str
        At least one; Latin-1 where a term is unknown.
    """
    terms = [term.strip(" \0") for term in charset.split("\\")]
    if all(term in _COMMON for term in terms) and len(terms) == 1:
        return (_COMMON[terms[0]],)
    from pydicom.charset import STAND_ALONE_ENCODINGS

    if terms[0] in STAND_ALONE_ENCODINGS:
        return (_python_encoding(terms[0]),)
    return tuple([_python_encoding(term) for term in terms if term not in STAND_ALONE_ENCODINGS])


def _python_encoding(term: str) -> str:
    from pydicom.charset import python_encoding

    if term in _COMMON:
        return _COMMON[term]
    if re.match("ISO[^_]IR", term):
        term = "ISO_IR" + term[6:]
    elif re.match("ISO.2022.IR.", term):
        term = "ISO 2022 IR " + term[12:]
    if term in python_encoding:
        return str(python_encoding[term])
    # Some writers put the name of an encoding here instead of a defined term. The name comes from outside: take
    # it only where it is one of an encoding of text that has ASCII in it, so that delimiters are what they seem.
    if re.fullmatch("[A-Za-z0-9_-]{3,20}", term):
        try:
            if codecs.lookup(term).name not in _NOT_CHARSETS and _PRINTABLE.decode(term) == _PRINTABLE.decode("ascii"):
                return codecs.lookup(term).name
        except (LookupError, UnicodeError, ValueError):
            pass
    return DEFAULT


_PRINTABLE = bytes(range(0x20, 0x7F))
# Python codecs that are transformations rather than character sets, some of them slow or with surprising results.
_NOT_CHARSETS = frozenset(
    {"idna", "punycode", "raw-unicode-escape", "unicode-escape", "utf-7", "undefined", "mbcs", "oem", "charmap"}
)
