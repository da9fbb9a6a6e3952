"""Data sets encoded by hand in any way that the standard allows, and in some that it does not; made by hypothesis."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom._dicom_dict import DicomDictionary
from pydicom.charset import convert_encodings, encode_string
from pydicom.datadict import dictionary_VR

from dcm.part10 import pack_meta

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
CT = "1.2.840.10008.5.1.4.1.1.2"
LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Encoding:
    """How to encode."""

    implicit: bool = False
    little: bool = True

    @property
    def order(self) -> str:
        return "<" if self.little else ">"


ENCODINGS = {
    IMPLICIT_LE: Encoding(implicit=True),
    EXPLICIT_LE: Encoding(),
    EXPLICIT_BE: Encoding(little=False),
    DEFLATED: Encoding(),
    JPEG: Encoding(),
}


@dataclass(frozen=True)
class Element:
    """An element: its value is bytes, numbers (encoded in the byte order), or the items of a sequence."""

    tag: int
    vr: str
    value: bytes | tuple[int | float, ...] | list[list[Element]] = b""
    undefined: bool = False  # the sequence has no length but a delimiter
    undefined_items: bool = False
    as_un: bool = False  # written as UN, the items in implicit VR
    implicit_items: bool = False  # implicit VR inside explicit VR, as some writers do
    fragments: list[bytes] = field(default_factory=list)


def encode(elements: list[Element], encoding: Encoding) -> bytes:
    """Encode a data set."""
    return b"".join([encode_element(element, encoding) for element in elements])


def encode_element(element: Element, encoding: Encoding) -> bytes:
    """Encode an element."""
    inner = encoding
    vr = element.vr
    if element.as_un and not encoding.implicit:
        # In big endian the standard wants little endian here, which pydicom does not read: a test of its own does.
        vr, inner = "UN", replace(encoding, implicit=True)
    elif element.implicit_items:
        inner = replace(encoding, implicit=True)
    if element.fragments:
        value = b"".join([_item(fragment, encoding) for fragment in element.fragments])
        value += _delimiter(0xFFFEE0DD, encoding)
        return _header(element.tag, vr, UNDEFINED, encoding) + value
    if not isinstance(element.value, list):
        value = _plain(element, encoding)
        return _header(element.tag, vr, len(value), encoding) + value
    items = []
    for item in element.value:
        content = encode(item, inner)
        if element.undefined_items:
            items.append(_header_of_item(UNDEFINED, inner) + content + _delimiter(0xFFFEE00D, inner))
        else:
            items.append(_item(content, inner))
    value = b"".join(items)
    if not element.undefined:
        return _header(element.tag, vr, len(value), encoding) + value
    return _header(element.tag, vr, UNDEFINED, encoding) + value + _delimiter(0xFFFEE0DD, inner)


def _plain(element: Element, encoding: Encoding) -> bytes:
    value = element.value
    if isinstance(value, tuple):
        if element.vr == "AT":
            value = tuple([half for tag in value for half in (int(tag) >> 16, int(tag) & 0xFFFF)])
        return struct.pack(f"{encoding.order}{len(value)}{NUMBERS.get(element.vr, 'H')}", *value)
    assert isinstance(value, bytes)
    return value + (b"\0" if element.vr in ("UI", "OB", "UN") else b" ") * (len(value) % 2)


def _header(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    o = encoding.order
    if encoding.implicit:
        return struct.pack(o + "HHL", tag >> 16, tag & 0xFFFF, length)
    if vr in LONG:
        return struct.pack(o + "HH2sHL", tag >> 16, tag & 0xFFFF, vr.encode(), 0, length)
    return struct.pack(o + "HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length)


def _header_of_item(length: int, encoding: Encoding) -> bytes:
    return struct.pack(encoding.order + "HHL", 0xFFFE, 0xE000, length)


def _item(content: bytes, encoding: Encoding) -> bytes:
    return _header_of_item(len(content), encoding) + content


def _delimiter(tag: int, encoding: Encoding) -> bytes:
    return struct.pack(encoding.order + "HHL", tag >> 16, tag & 0xFFFF, 0)


def deflate(data: bytes) -> bytes:
    """Deflate a data set (PS3.5 section A.5)."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = compressor.compress(data) + compressor.flush()
    return deflated + b"\0" * (len(deflated) % 2)


def encode_for(elements: list[Element], transfer_syntax_uid: str) -> bytes:
    """Encode a data set in a transfer syntax."""
    data = encode(elements, ENCODINGS[transfer_syntax_uid])
    return deflate(data) if transfer_syntax_uid == DEFLATED else data


def read_with_pydicom(data: bytes, transfer_syntax_uid: str) -> Dataset:
    """What pydicom makes of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dcmread(io.BytesIO(pack_meta("", "", transfer_syntax_uid) + data))


CHARSETS = {
    "": "Dracula^Count",
    "ISO_IR 100": "Müller^Jürgen",
    "ISO_IR 144": "Люкceмбypг",
    "ISO_IR 126": "Διονυσιος",
    "ISO_IR 192": "Wang^XiaoDong=王^小東",
    "GB18030": "Wang^XiaoDong=王^小东",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "ISO 2022 IR 13\\ISO 2022 IR 87": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "ISO 2022 IR 6\\ISO 2022 IR 100\\ISO 2022 IR 144": "Müller Люкceмбypг",
}

QUERY = [
    *(0x00080008, 0x00080020, 0x00080030, 0x00080050, 0x00080060, 0x00081030, 0x0008103E, 0x00100010, 0x00100020),
    *(0x00100030, 0x00101010, 0x00180015, 0x00181030, 0x0020000D, 0x0020000E, 0x00200010, 0x00200011, 0x00200013),
    *(0x00280008, 0x00280010, 0x00280011),
]
# The first tag in the dictionary of each VR, whatever it means.
OTHER = sorted(
    {entry[0]: tag for tag, entry in sorted(DicomDictionary.items(), reverse=True) if tag > 0x00080006}.values()
)
PRIVATE = [0x00091001, 0x00091002, 0x00291010, 0x00191001]
SEQUENCES = [0x00081110, 0x00081140, 0x00400275, 0x00540016, 0x300A00B0]


@st.composite
def plain_elements(draw: st.DrawFn, tag: int, vr: str, charset: str) -> Element:
    """An element with a value that fits its VR."""
    if vr in NUMBERS or vr == "AT":
        return Element(tag, vr, tuple(draw(st.lists(_number(vr), max_size=3))))
    if vr in ("OB", "OW", "OF", "OD", "OL", "OV", "UN"):
        return Element(tag, vr, draw(st.binary(max_size=24).map(lambda b: b[: len(b) // 8 * 8])))
    texts = draw(st.lists(_text(vr, charset), max_size=1 if vr in ("LT", "ST", "UT", "UR") else 3))
    return Element(tag, vr, b"\\".join(texts))


def _number(vr: str) -> st.SearchStrategy[int | float]:
    if vr in ("FL", "FD"):
        return st.floats(allow_nan=False, width=32)
    if vr == "AT":
        return st.integers(0, UNDEFINED)
    bits = 8 * struct.calcsize("<" + NUMBERS[vr])
    return st.integers(0, 2**bits - 1) if vr[0] == "U" else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _text(vr: str, charset: str) -> st.SearchStrategy[bytes]:
    samples = {
        "UI": ["1.2.840.1", "1.2.003", "", "1.2.3.4.5.6.7.8.9", " 1.2"],
        "DA": ["20201031", "", "20201031 ", "19000101"],
        "TM": ["164315.866", "", "1643", "164315 "],
        "DT": ["20201031164315.5+0100", ""],
        "IS": ["1", " 12", "-3 ", "", "007", "1.5"],
        "DS": ["1.5", " 2.25e3 ", "", "-0"],
        "CS": ["CT", "ORIGINAL", "", "MR "],
        "AS": ["042Y", ""],
        "AE": [" STORE ", "ANYAE"],
        "UR": ["http://a.b/c?d", ""],
    }
    if vr in samples:
        return st.sampled_from([text.encode() for text in samples[vr]])
    encodings = convert_encodings(charset.split("\\"))
    texts = [
        "plain",
        " leading and trailing  ",
        "",
        "A^B^C^D^E",
        CHARSETS[charset],
        "x=",
        "line\r\nbreak " + CHARSETS[charset],
    ]
    return st.sampled_from([encode_string(text, encodings) for text in texts])


@st.composite
def data_sets(draw: st.DrawFn, depth: int = 0, charset: str | None = None) -> list[Element]:
    """A data set, tags ascending, identity and character set first."""
    elements: dict[int, Element] = {}
    if charset is None:
        charset = draw(st.sampled_from(sorted(CHARSETS)))
        elements[0x00080005] = Element(0x00080005, "CS", charset.encode())
        elements[0x00080016] = Element(0x00080016, "UI", CT.encode())
        elements[0x00080018] = Element(0x00080018, "UI", b"1.2.3.4")
    for tag in draw(st.sets(st.sampled_from(QUERY + OTHER + PRIVATE), max_size=8)):
        vr = dictionary_VR(tag) if tag not in PRIVATE else draw(st.sampled_from(["LO", "OB", "DS", "UN", "US"]))
        if tag in PRIVATE:
            creator = tag & 0xFFFF0000 | (tag & 0xFF00) >> 8
            elements[creator] = Element(creator, "LO", draw(st.sampled_from([b"GEMS_ACQU_01", b"unknown", b""])))
        if len(vr) == 2 and vr != "SQ":
            elements[tag] = draw(plain_elements(tag, vr, charset))
    if depth < 3:
        for tag in draw(st.sets(st.sampled_from(SEQUENCES), max_size=2)):
            items = draw(st.lists(data_sets(depth + 1, charset), max_size=2))
            flags = draw(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)))
            as_un = flags[2] == 3 and flags[0]
            elements[tag] = Element(tag, "SQ", items, flags[0], flags[1], as_un, implicit_items=flags[2] == 2)
    if draw(st.booleans()):
        for group in {tag >> 16 for tag in elements}:
            elements[group << 16] = Element(group << 16, "UL", (12,))
    return [elements[tag] for tag in sorted(elements)]


@st.composite
def whole_data_sets(draw: st.DrawFn) -> tuple[list[Element], str]:
    """A data set with or without pixel data, and a transfer syntax."""
    elements = draw(data_sets())
    syntax = draw(st.sampled_from(sorted(ENCODINGS)))
    if syntax == JPEG:
        fragments = draw(
            st.lists(st.binary(max_size=9).map(lambda b: b + b"\0" * (len(b) % 2)), min_size=1, max_size=4)
        )
        elements.append(Element(0x7FE00010, "OB", fragments=fragments))
    elif draw(st.booleans()):
        elements.append(Element(0x7FE00010, "OW", draw(st.binary(max_size=40).map(lambda b: b[: len(b) // 2 * 2]))))
    return elements, syntax


def boundaries(elements: list[Element], encoding: Encoding) -> Iterator[int]:
    """Where elements of the top level end."""
    end = 0
    for element in elements:
        end += len(encode_element(element, encoding))
        yield end
