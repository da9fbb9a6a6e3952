"""Identifiers are packed as pydicom writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dcm.attrs import Attributes, Value
from dcm.errors import QueryError
from dcm.net._identifier import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, encode_identifier

SYNTAXES = [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN]

Items = list[tuple[int, str, Value]]


def written(items: Attributes, syntax: str) -> bytes:
    """What pydicom makes of it."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = syntax == IMPLICIT_VR_LITTLE_ENDIAN
    write_dataset(buffer, items.to_dataset())
    return buffer.getvalue()


IDENTIFIER: Items = [
    (0x00080005, "CS", None),
    (0x00080016, "UI", None),
    (0x00080020, "DA", "20200101-20201231"),
    (0x00080030, "TM", "-120000"),
    (0x00080052, "CS", "STUDY"),
    (0x00080061, "CS", ("CT", "MR")),
    (0x00081030, "LO", "*head*"),
    (0x00100010, "PN", "Dracula^Count"),
    (0x0020000D, "UI", ("1.2.3", "1.2.345")),
    (0x00200013, "IS", "7"),
    (0x00280010, "US", 512),
    (0x00280009, "AT", (0x00181063, 0x00181065)),
    (0x00180050, "DS", ("1.5", "2")),
    (0x00189087, "FD", 1000.5),
    (0x00420011, "OB", b"abc"),
    (0x00081199, "UR", "http://pacs.example/1"),
    (0x00081190, "UT", None),
]
NESTED: Items = [
    (
        0x00400275,
        "SQ",
        (
            Attributes.from_items([(0x00321060, "LO", "heart"), (0x00400007, "LO", None)]),
            Attributes.from_items([(0x00400008, "SQ", (Attributes.from_items([(0x00080100, "SH", "C1")]),))]),
        ),
    ),
    (0x00081110, "SQ", None),
    (0x00081140, "SQ", (Attributes.from_items([]),)),
]


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("items", [[], IDENTIFIER, NESTED, IDENTIFIER + NESTED])
def test_the_bytes_are_those_of_pydicom(items: Items, syntax: str) -> None:
    record = Attributes.from_items(items)
    data = encode_identifier(record, syntax)
    assert data == written(record, syntax)
    assert len(data) % 2 == 0


ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\^="), max_size=20)
UNICODE = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=("Cs", "Cc", "Z")), max_size=9
)
UIDS = st.lists(st.from_regex(r"[12]\.[0-9]{1,9}(\.[1-9][0-9]{0,5}){0,4}", fullmatch=True), max_size=5)


@given(
    name=UNICODE.filter(lambda text: not set(text) & set("\\^=")),
    description=ASCII.map(str.strip),
    uids=UIDS,
    syntax=st.sampled_from(SYNTAXES),
)
def test_any_text_is_encoded_as_pydicom_does(name: str, description: str, uids: list[str], syntax: str) -> None:
    record = Attributes.from_items(
        [
            (0x00080052, "CS", "STUDY"),
            (0x00081030, "LO", description),
            (0x00100010, "PN", name),
            (0x0020000D, "UI", tuple(uids)),
        ]
    )
    assert encode_identifier(record, syntax) == written(record, syntax)


@pytest.mark.parametrize(
    ("name", "own", "charset", "chosen", "encoded"),
    [
        ("Muller", "", "ISO_IR 100", "", b"Muller"),
        ("Müller", "", "", "ISO_IR 192", b"M\xc3\xbcller "),
        ("Müller", "", "ISO_IR 100", "ISO_IR 100", b"M\xfcller"),
        ("Müller", "ISO_IR 192", "ISO_IR 100", "ISO_IR 192", b"M\xc3\xbcller "),
        ("山田", "", "ISO_IR 100", "ISO_IR 192", "山田".encode()),
        ("山田", "", "GB18030", "GB18030", "山田".encode("gb18030")),
        ("Müller", "", "ISO_IR 999", "ISO_IR 192", b"M\xc3\xbcller "),
    ],
)
def test_the_character_set_is_one_that_has_the_text(
    name: str, own: str, charset: str, chosen: str, encoded: bytes
) -> None:
    record = Attributes.from_items([(0x00080005, "CS", own or None), (0x00100010, "PN", name)])
    data = encode_identifier(record, IMPLICIT_VR_LITTLE_ENDIAN, charset)
    assert data.endswith(encoded)
    expected = chosen.encode() + b" " * (len(chosen) % 2)
    assert data[:8] == b"\x08\x00\x05\x00" + len(expected).to_bytes(4, "little")
    assert data[8 : 8 + len(expected)] == expected


def test_a_japanese_peer_gets_its_escape_sequences() -> None:
    from pydicom import dcmread

    record = Attributes.from_items(
        [(0x00080005, "CS", None), (0x00100010, "PN", "Yamada^Tarou=山田^太郎=やまだ^たろう")]
    )
    data = encode_identifier(record, IMPLICIT_VR_LITTLE_ENDIAN, "ISO 2022 IR 6\\ISO 2022 IR 87")
    ds = dcmread(DicomBytesIO(data), force=True)
    assert list(ds.SpecificCharacterSet) == ["ISO 2022 IR 6", "ISO 2022 IR 87"]
    assert str(ds.PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert b"\x1b$B" in data


@pytest.mark.parametrize(
    ("item", "word"),
    [
        ((0x00280010, "US", 70000), "Rows"),
        ((0x00080060, "CS", "MÜ"), "Modality"),
        ((0x0020000D, "UI", tuple(f"1.2.{i:040d}" for i in range(2000))), "StudyInstanceUID"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_keyword(item: tuple[int, str, Value], word: str) -> None:
    with pytest.raises(QueryError, match=word):
        encode_identifier(Attributes.from_items([item]), EXPLICIT_VR_LITTLE_ENDIAN)


def test_other_transfer_syntaxes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.2\.840\.10008\.1\.2\.2"):
        encode_identifier(Attributes.from_items([]), "1.2.840.10008.1.2.2")
