"""Encoded values: character sets with and without escape sequences, numbers, padding, hostile input."""

from __future__ import annotations

import struct
import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.charset import convert_encodings, decode_bytes, encode_string, python_encoding
from pydicom.valuerep import TEXT_VR_DELIMS

from dcm.peek import _values
from dcm.peek._values import decode_text, decode_value, encodings_of, text_value
from tests.peek.encoding import CHARSETS

TERMS = sorted(term for term in python_encoding if term)


def as_pydicom(raw: bytes, charset: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return decode_bytes(raw, convert_encodings(charset.split("\\")), TEXT_VR_DELIMS)


@pytest.mark.parametrize("charset", sorted(CHARSETS))
def test_text_comes_back(charset: str) -> None:
    encodings = convert_encodings(charset.split("\\"))
    raw = b"=".join(
        [b"^".join([encode_string(c, encodings) for c in group.split("^")]) for group in CHARSETS[charset].split("=")]
    )
    assert decode_text(raw, encodings_of(charset)) == CHARSETS[charset]


@pytest.mark.parametrize("term", TERMS)
def test_every_defined_term_is_known(term: str) -> None:
    high = bytes(range(0xA1, 0xE0))
    assert decode_text(high, encodings_of(term)) == as_pydicom(high, term)


charsets = st.lists(st.sampled_from(["", *TERMS]), min_size=1, max_size=3).map("\\".join)
pieces = st.sampled_from(
    [
        b"\x1b(B",
        b"\x1b-A",
        b"\x1b)I",
        b"\x1b(J",
        b"\x1b$B",
        b"\x1b-F",
        b"\x1b$)C",
        b"\x1b$(D",
        b"\x1b-L",
        b"\x1b",
        b"\x1b%G",
    ]
)


@given(
    charsets, st.lists(st.one_of(pieces, st.binary(max_size=6), st.just(b"\r\nAB^C=D\\E")), max_size=8).map(b"".join)
)
@example("\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B")
@example("ISO 2022 IR 6\\ISO 2022 IR 149", b"\x1b$)C\xfb\xf3\r\n\xfb\xf3")
def test_agrees_with_pydicom_on_any_text(charset: str, raw: bytes) -> None:
    assert decode_text(raw, encodings_of(charset)) == as_pydicom(raw, charset)


def test_the_escape_sequence_of_chinese_is_not_part_of_the_text() -> None:
    raw = b"\x1b$)A\xcd\xf5 abc"
    assert decode_text(raw, encodings_of("ISO 2022 IR 6\\ISO 2022 IR 58")) == "王 abc"
    assert as_pydicom(raw, "ISO 2022 IR 6\\ISO 2022 IR 58") == "\x1b$)A王 abc"


@pytest.mark.parametrize(
    ("charset", "expected"),
    [
        ("", ("iso8859",)),
        ("ISO_IR 100", ("latin_1",)),
        (" ISO_IR 192 ", ("utf-8",)),
        ("ISO IR 144", ("iso_ir_144",)),
        ("ISO-IR 144", ("iso_ir_144",)),
        ("ISO_2022_IR_87", ("iso2022_jp",)),
        ("\\ISO 2022-IR-87", ("iso8859", "iso2022_jp")),
        ("ISO_IR 192\\ISO 2022 IR 87", ("utf-8",)),
        ("ISO 2022 IR 87\\ISO_IR 192", ("iso2022_jp",)),
        ("windows-1251", ("cp1251",)),
        ("UTF8", ("utf-8",)),
        ("no such thing", ("iso8859",)),
        ("utf-16", ("iso8859",)),
        ("idna", ("iso8859",)),
        ("rot13", ("iso8859",)),
        ("unicode_escape", ("iso8859",)),
        ("zip", ("iso8859",)),
        ("cp037", ("iso8859",)),
        ("../../etc/passwd", ("iso8859",)),
        ("\\\\\\", ("iso8859",) * 4),
    ],
)
def test_terms_that_are_misspelled_unknown_or_meant_to_harm(charset: str, expected: tuple[str, ...]) -> None:
    assert encodings_of(charset) == expected


@given(st.text(max_size=60), st.binary(max_size=40))
def test_no_term_and_no_text_is_refused(charset: str, raw: bytes) -> None:
    assert isinstance(decode_text(raw, encodings_of(charset)), str)


def test_bad_bytes_are_replaced() -> None:
    assert decode_text(b"M\xfcller", ("utf-8",)) == "M�ller"
    assert decode_text(b"\x1b$B\xff\xff\x1b(B", ("iso8859", "iso2022_jp")) == "\x1b$Bÿÿ"


@pytest.mark.parametrize(
    ("vr", "raw", "value"),
    [
        ("LO", b"", None),
        ("LO", b"  ", None),
        ("LO", b" a \0", " a"),
        ("LO", b"a \\ b \\", ("a", " b", "")),
        ("SH", b"\\", ("", "")),
        ("LT", b"a\\b ", "a\\b"),
        ("UT", b"", None),
        ("UR", b"http://x ", "http://x"),
        ("AE", b"  STORE  ", "STORE"),
        ("IS", b" 12 ", "12"),
        ("DS", b" 1.50\\ 2 ", ("1.50", "2")),
        ("UI", b"1.2.3\0", "1.2.3"),
        ("PN", b"A^B= =  ", "A^B"),
        ("PN", b"A^B\\C^D=", ("A^B", "C^D")),
        ("CS", b"CT\\MR ", ("CT", "MR")),
    ],
)
def test_padding(vr: str, raw: bytes, value: object) -> None:
    assert text_value(vr, raw, ("iso8859",)) == value
    assert decode_value(vr, raw, ("iso8859",), little=True) == (vr, value)


def test_a_backslash_in_a_multi_byte_character_is_none() -> None:
    raw = "十".encode("shift_jis")
    assert raw[-1:] == b"\\"
    assert text_value("LO", raw, ("shift_jis",)) == "十"


@pytest.mark.parametrize(
    ("vr", "code", "values"),
    [
        ("US", "H", (1, 65535)),
        ("SS", "h", (-1, 2)),
        ("UL", "L", (1 << 31,)),
        ("SL", "l", (-5,)),
        ("UV", "Q", (1 << 63,)),
        ("SV", "q", (-(1 << 63), 0)),
        ("FL", "f", (0.5,)),
        ("FD", "d", (0.1, -2.5, 3.0)),
    ],
)
def test_numbers(vr: str, code: str, values: tuple[float, ...]) -> None:
    expected = values[0] if len(values) == 1 else values
    for order, little in (("<", True), (">", False)):
        raw = struct.pack(f"{order}{len(values)}{code}", *values)
        assert decode_value(vr, raw, ("iso8859",), little=little) == (vr, expected)
        assert decode_value(vr, raw + b"\0", ("iso8859",), little=little) == ("UN", raw + b"\0")
    assert decode_value(vr, b"", ("iso8859",), little=True) == (vr, None)


def test_tags_as_values() -> None:
    assert decode_value("AT", b"\x08\x00\x18\x00", ("iso8859",), little=True) == ("AT", 0x00080018)
    assert decode_value("AT", b"\x00\x08\x00\x18" * 2 + b"\0", ("iso8859",), little=False) == ("AT", (0x00080018,) * 2)
    assert decode_value("AT", b"", ("iso8859",), little=True) == ("AT", None)
    assert decode_value("AT", b"\x08", ("iso8859",), little=True) == ("UN", b"\x08")


def test_bytes_stay_bytes() -> None:
    assert decode_value("OB", b"ab", ("iso8859",), little=True) == ("OB", b"ab")
    assert decode_value("OW", b"", ("iso8859",), little=True) == ("OW", None)
    assert decode_value("Z\x9b", b"ab", ("iso8859",), little=True) == ("UN", b"ab")


def test_what_repeats_is_one_object() -> None:
    first = text_value("UI", b"1.2.840.113619.2.1\0", ("iso8859",))
    again = text_value("UI", bytes(bytearray(b"1.2.840.113619.2.1\0")), ("utf-8",))
    assert first is again


def test_the_caches_have_a_bound() -> None:
    for i in range(2 * _values._MAX_CACHED):
        text_value("SH", b"%d" % i, ("iso8859",))
    assert len(_values.TEXT_CACHES["SH"]) <= _values._MAX_CACHED + 1
    assert text_value("SH", b"", ("iso8859",)) is None


def test_only_what_no_character_set_changes_is_cached() -> None:
    raw = "Müller^Jürgen".encode()
    assert text_value("PN", raw, ("utf-8",)) == "Müller^Jürgen"
    assert text_value("PN", raw, ("iso8859",)) == raw.decode("latin-1")
    escaped = b"\x1b$B;3ED\x1b(B"
    assert text_value("PN", escaped, ("iso8859", "iso2022_jp")) == "山田"
    assert text_value("PN", escaped, ("iso8859",)) != "山田"
