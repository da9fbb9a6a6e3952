"""What is left of a data set when the accidents of its encoding are gone."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dcm.attrs import Attributes, Value
from dcm.normalize import normal_value, normalize, reread


def encoded(ds: Dataset, syntax: str) -> Dataset:
    """The data set as it is read from a file in some transfer syntax."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian)
    buffer.seek(0)
    return dcmread(buffer, force=True)


def sample(charset: str = "ISO_IR 100") -> Dataset:
    item = Dataset()
    item.CodeMeaning = "Größe"
    item.ReferencedSOPInstanceUID = "1.2.3"
    ds = Dataset()
    ds.SpecificCharacterSet = charset
    ds.PatientName = "Müller^Jürgen"
    ds.PatientID = "Odd"
    ds.StudyInstanceUID = "1.2.3"
    ds.SliceThickness = "1.50"
    ds.Rows, ds.Columns = 2, 3
    ds.FrameIncrementPointer = 0x00181063
    ds.RecommendedDisplayFrameRateInFloat = 0.1
    ds.ProcedureCodeSequence = [item]
    ds.BitsAllocated, ds.PixelRepresentation = 16, 1
    ds.SmallestImagePixelValue = -3
    ds.add_new(0x7FE00010, "OW", bytes(range(12)))
    return ds


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_how_it_is_encoded_makes_no_difference(syntax: str) -> None:
    ds = sample()
    if syntax == ExplicitVRBigEndian:
        ds["PixelData"].value = bytes([1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10])
    record = normalize(encoded(ds, syntax))
    assert record == normalize(encoded(sample(), ExplicitVRLittleEndian))
    assert record[0x00180050] == "1.5"


def test_the_character_set_makes_no_difference_to_text() -> None:
    latin, utf_8 = (
        normalize(encoded(sample(charset), ExplicitVRLittleEndian)) for charset in ("ISO_IR 100", "ISO_IR 192")
    )
    assert latin != utf_8
    assert latin.without({0x00080005}) == utf_8.without({0x00080005})


def test_the_data_set_stays_as_it_is() -> None:
    ds = encoded(sample(), ExplicitVRLittleEndian)
    before = list(ds.elements())
    normalize(ds)
    assert all(now is then for now, then in zip(ds.elements(), before, strict=True))


def test_what_is_left_out() -> None:
    ds = sample()
    ds.add_new(0x00080000, "UL", 10)
    ds.add_new(0xFFFCFFFC, "OB", b"\0\0")
    record = normalize(ds, skip=[0x00100010])
    assert {0x00080000, 0xFFFCFFFC, 0x00100010}.isdisjoint(record)


@pytest.mark.parametrize(
    ("vr", "value", "normal"),
    [
        ("DS", "1.50", "1.5"),
        ("DS", "+1.5e0", "1.5"),
        ("DS", "-0.0", "0"),
        ("DS", "1e-30", "1E-30"),
        ("IS", "007", "7"),
        ("IS", "12a", "12a"),
        ("DS", "nan", "nan"),
        ("DS", ("1.0", "2"), ("1", "2")),
        ("LO", "1.50", "1.50"),
        ("FD", float("nan"), "nan"),
        ("OB", b"abc", b"abc\0"),
        ("UN", None, None),
    ],
)
def test_one_form_of_a_value(vr: str, value: Value, normal: Value) -> None:
    assert normal_value(vr, value) == normal


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_in_text_keeps_its_value(number: float) -> None:
    text = normal_value("DS", repr(number))
    assert isinstance(text, str)
    assert float(text) == number
    assert normal_value("DS", text) == text


@given(st.sampled_from(["OW", "OF", "OL", "OD", "OV"]), st.binary(max_size=40))
def test_turning_words_round_loses_nothing(vr: str, value: bytes) -> None:
    turned = normal_value(vr, value, big_endian=True)
    assert isinstance(turned, bytes)
    assert sorted(turned) == sorted(value + b"\0" * (len(value) % 2))


def test_bytes_read_again_by_a_vr_that_is_known() -> None:
    assert reread(b"1.50", "DS", "") == "1.5"
    assert reread(b"\x01\x00", "US", "") == 1
    assert reread(b"\x00\x01", "US", "", big_endian=True) == 1
    assert reread("Größe ".encode(), "LO", "ISO_IR 192") == "Größe"
    assert reread(b"", "LO", "") is None
    assert reread(b"\x00" * 70000, "LO", "") == b"\x00" * 70000
    assert reread(b"1 ", "UT", "") == "1"
    assert reread(bytes(7) + b"\x01", "UV", "", big_endian=True) == 1
    assert reread(b"1 ", "OB", "") == b"1 "
    items = b"\xfe\xff\x00\xe0\x0a\0\0\0" + b"\x10\x00\x20\x00\x02\0\0\0A "
    assert reread(items, "SQ", "", big_endian=True) == (Attributes.from_items([(0x00100020, "LO", "A")]),)
    assert reread(b"no items", "SQ", "") == b"no items"


def test_nothing_stays_nothing() -> None:
    assert normalize(Dataset()) == Attributes()
