"""Attribute records: there and back between pydicom and ours, equality, sharing."""

from __future__ import annotations

import io
import pickle
import sys
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, config, dcmread
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filewriter import dcmwrite
from pydicom.tag import Tag

from dcm.attrs import MAX_DEPTH, Attributes, Value
from dcm.errors import InvalidDicomError
from tests.data import SeriesSpec, data_set

PATIENT_ID, PATIENT_NAME, SERIES_NUMBER = 0x00100020, 0x00100010, 0x00200011
MODALITIES, CHARSET, ROWS = 0x00080061, 0x00080005, 0x00280010


def record(**changes: Value) -> Attributes:
    items: list[tuple[int, str, Value]] = [
        (PATIENT_ID, "LO", changes.get("patient_id", "Vamp001")),
        (PATIENT_NAME, "PN", changes.get("name", "Dracula^Count")),
        (SERIES_NUMBER, "IS", "7"),
    ]
    return Attributes.from_items(items)


def test_it_is_a_mapping_in_the_order_of_the_tags() -> None:
    attrs = Attributes.from_items([(SERIES_NUMBER, "IS", "7"), (PATIENT_ID, "LO", "x"), (PATIENT_NAME, "PN", None)])
    assert list(attrs) == [PATIENT_NAME, PATIENT_ID, SERIES_NUMBER]
    assert dict(attrs) == {PATIENT_NAME: None, PATIENT_ID: "x", SERIES_NUMBER: "7"}
    assert attrs[SERIES_NUMBER] == "7"
    assert attrs.get(ROWS, 3) == 3
    assert PATIENT_ID in attrs
    assert ROWS not in attrs
    assert len(attrs) == 3
    assert attrs.vr(PATIENT_NAME) == "PN"
    with pytest.raises(KeyError):
        attrs[ROWS]
    with pytest.raises(KeyError):
        attrs.vr(ROWS)


def test_of_two_with_one_tag_the_last_counts() -> None:
    assert Attributes.from_items([(ROWS, "US", 1), (ROWS, "US", 2)])[ROWS] == 2


def test_an_empty_record() -> None:
    assert Attributes() == Attributes.from_items([]) == {}
    assert len(Attributes()) == 0
    assert Attributes().text(PATIENT_ID) == ""
    assert Attributes().to_dataset() == Dataset()


@pytest.mark.parametrize(
    ("vr", "value", "text"),
    [
        ("LO", "plain", "plain"),
        ("LO", None, ""),
        ("LO", "", ""),
        ("CS", ("CT", "MR"), "CT\\MR"),
        ("CS", ("CT",), "CT"),
        ("CS", ("CT", "", "MR"), "CT\\\\MR"),
        ("US", 512, "512"),
        ("FD", (0.5, 2.0), "0.5\\2.0"),
        ("OB", b"abc", ""),
        ("SQ", (Attributes(),), ""),
    ],
)
def test_text_of_a_value(vr: str, value: Value, text: str) -> None:
    assert Attributes.from_items([(ROWS, vr, value)]).text(ROWS) == text


def test_equal_records_are_equal_whatever_their_vrs() -> None:
    assert record() == record()
    assert hash(record()) == hash(record())
    assert record() != record(name="Chocula^Count")
    assert record() != record().without([PATIENT_ID])
    assert record() == Attributes.from_items([(tag, "UN", value) for tag, _, value in record().elements()])
    assert record() != 3
    assert len({record(), record(), record(patient_id="2")}) == 2


def test_replace_without_only() -> None:
    attrs = record()
    assert attrs.replace([(PATIENT_ID, "LO", "new"), (ROWS, "US", 2)]) == {
        PATIENT_NAME: "Dracula^Count",
        PATIENT_ID: "new",
        SERIES_NUMBER: "7",
        ROWS: 2,
    }
    assert attrs == record()
    assert list(attrs.without({PATIENT_ID})) == [PATIENT_NAME, SERIES_NUMBER]
    assert list(attrs.only({PATIENT_ID, ROWS})) == [PATIENT_ID]
    assert attrs.without([ROWS]) is attrs


def test_it_survives_pickling() -> None:
    attrs = record().replace([(0x00081140, "SQ", (record(), record()))])
    copy = pickle.loads(pickle.dumps(attrs))
    assert copy == attrs
    assert copy.vr(PATIENT_NAME) == "PN"


def test_records_of_one_shape_share_it_and_are_small() -> None:
    first, second = record(), record(patient_id="other")
    assert first._shape is second._shape
    own = sys.getsizeof(first) + sys.getsizeof(first._values)
    assert own < 200
    assert not hasattr(first, "__dict__")


def test_the_number_of_shapes_that_are_remembered_is_bounded() -> None:
    from dcm import attrs

    kept = record()
    for element in range(2 * attrs._MAX_SHAPES):
        Attributes.from_items([(0x00090000 + element, "LO", "x")])
    assert len(attrs._shapes) <= attrs._MAX_SHAPES
    assert kept == record()


def encoded_and_read(ds: Dataset, *, implicit: bool = False) -> Dataset:
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, implicit_vr=implicit, little_endian=True, force_encoding=True)
    return dcmread(io.BytesIO(buffer.getvalue()), force=True)


@pytest.mark.parametrize("implicit", [True, False])
def test_from_a_dataset(implicit: bool) -> None:
    ds = data_set(SeriesSpec(patient_id="Vamp003", patient_name="Müller^Jürgen=", implicit=implicit))
    attrs = Attributes.from_dataset(ds)
    assert attrs.text(PATIENT_NAME) == "Müller^Jürgen"
    assert attrs.text(PATIENT_ID) == "Vamp003"
    assert attrs[0x00080008] == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert attrs[ROWS] == 32
    assert attrs[SERIES_NUMBER] == "1"
    assert attrs[0x00200037] == ("1.0", "0.0", "0.0", "0.0", "1.0", "0.0")
    assert attrs[0x00080050] is None
    assert attrs.vr(ROWS) == "US"
    assert isinstance(attrs[0x7FE00010], bytes)
    assert type(attrs[0x00080018]) is str
    assert list(Attributes.from_dataset(ds, {PATIENT_ID, PATIENT_NAME})) == [PATIENT_NAME, PATIENT_ID]


def test_from_a_dataset_made_by_hand() -> None:
    ds = Dataset()
    ds.add_new(0x00080000, "UL", 12)  # a group length
    ds.PatientID = ""
    ds.ModalitiesInStudy = ["CT", "MR"]
    ds.SeriesNumber = 7
    ds.PatientWeight = 70.5
    ds.StudyDate = "20201031"
    ds.FrameIncrementPointer = [0x00181063, 0x00181065]
    ds.RecommendedDisplayFrameRateInFloat = 2.5
    ds.SmallestImagePixelValue = -3
    ds.PixelRepresentation = 1
    ds.ReferencedStudySequence = [Dataset(), Dataset()]
    ds.ReferencedStudySequence[1].ReferencedSOPInstanceUID = "1.2"
    ds.ReferencedPatientSequence = []
    assert dict(Attributes.from_dataset(ds)) == {
        PATIENT_ID: None,
        MODALITIES: ("CT", "MR"),
        SERIES_NUMBER: "7",
        0x00101030: "70.5",
        0x00080020: "20201031",
        0x00280009: (0x00181063, 0x00181065),
        0x00089459: 2.5,
        0x00280106: -3,
        0x00280103: 1,
        0x00081110: (Attributes(), Attributes.from_items([(0x00081155, "UI", "1.2")])),
        0x00081120: None,
    }


def test_the_vr_that_the_dictionary_leaves_open_is_settled() -> None:
    ds = Dataset()
    ds.PixelRepresentation = 1
    ds.add_new(0x00280106, "SS", -3)
    ds.add_new(0x7FE00010, "OW", b"\x00\x01")
    read = encoded_and_read(ds, implicit=True)
    attrs = Attributes.from_dataset(read)
    assert (attrs.vr(0x00280106), attrs[0x00280106]) == ("SS", -3)
    assert (attrs.vr(0x7FE00010), attrs[0x7FE00010]) == ("OW", b"\x00\x01")
    assert Attributes.from_dataset(read, {0x00280106})[0x00280106] == -3


@pytest.mark.filterwarnings("ignore:Invalid value for VR IS:UserWarning")
@pytest.mark.parametrize(("vr", "raw"), [("XX", b"ab"), ("US", b"abc"), ("IS", b"1e400 "), ("SQ", b"abc")])
def test_what_pydicom_cannot_convert_is_kept_as_bytes(vr: str, raw: bytes) -> None:
    ds = Dataset()
    ds[0x00200011] = RawDataElement(Tag(0x00200011), vr, len(raw), raw, 0, False, True)
    attrs = Attributes.from_dataset(ds)
    assert (attrs.vr(0x00200011), attrs[0x00200011]) == ("UN", raw)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_text_where_a_number_should_be_is_text() -> None:
    ds = Dataset()
    ds[SERIES_NUMBER] = RawDataElement(Tag(SERIES_NUMBER), "IS", 6, b" 12a\\7", 0, False, True)
    attrs = Attributes.from_dataset(ds)
    assert attrs[SERIES_NUMBER] == ("12a", "7")
    assert attrs.to_dataset()[SERIES_NUMBER].value == ["12a", "7"]


def test_a_value_of_the_wrong_kind_is_an_error_that_names_the_element() -> None:
    ds = Dataset()
    ds.add_new(ROWS, "US", 3)
    ds[ROWS]._value = "many"
    with pytest.raises(InvalidDicomError, match=r"\(0028,0010\).* VR US"):
        Attributes.from_dataset(ds)


def nested(depth: int) -> Dataset:
    ds = Dataset()
    for _ in range(depth):
        outer = Dataset()
        outer.add_new(0x00081140, "SQ", [ds])
        ds = outer
    return ds


def test_nesting_has_a_limit() -> None:
    attrs = Attributes.from_dataset(nested(MAX_DEPTH))
    assert Attributes.from_dataset(attrs.to_dataset()) == attrs
    with pytest.raises(InvalidDicomError, match="deeper than 64"):
        Attributes.from_dataset(nested(MAX_DEPTH + 1))


def test_to_a_dataset_and_back() -> None:
    ds = data_set(SeriesSpec(implicit=True))
    attrs = Attributes.from_dataset(ds)
    made = attrs.to_dataset()
    assert made.PatientName == "Dracula^Count"
    assert made.SeriesNumber == 1
    assert made.ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert made.SpecificCharacterSet == "ISO_IR 100"
    assert Attributes.from_dataset(made) == attrs
    assert Attributes.from_dataset(encoded_and_read(made)) == attrs


def test_text_that_is_not_ascii_makes_the_dataset_utf_8() -> None:
    inner = Attributes.from_items([(CHARSET, "CS", "GB18030"), (PATIENT_NAME, "PN", "王^小东")])
    attrs = Attributes.from_items([(CHARSET, "CS", ("", "ISO 2022 IR 87")), (0x00081140, "SQ", (inner,))])
    made = attrs.to_dataset()
    assert made.SpecificCharacterSet == "ISO_IR 192"
    read = encoded_and_read(made)
    assert read[0x00081140].value[0].PatientName == "王^小东"
    assert "SpecificCharacterSet" not in read[0x00081140].value[0]


def test_invalid_values_pass_without_a_warning() -> None:
    attrs = Attributes.from_items(
        [
            (0x00080018, "UI", "not a uid"),
            (0x00080020, "DA", "yesterday"),
            (0x00100020, "LO", "x" * 100),
            (0x00101030, "DS", "heavy"),
            (0x00280010, "US", 70000),
        ]
    )
    made = attrs.to_dataset()
    assert Attributes.from_dataset(made) == attrs
    assert isinstance(made[0x00280010], DataElement)


values: dict[str, st.SearchStrategy[Any]] = {
    "LO": st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\\"), max_size=8),
    "LT": st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=8),
    "PN": st.text(st.sampled_from("aé^=丁 "), max_size=8),
    "IS": st.integers(-(2**31), 2**31 - 1).map(str),
    "DS": st.floats(allow_nan=False, allow_infinity=False, width=16).map(lambda f: f"{f:.6g}"),
    "UI": st.from_regex(r"1(\.[1-9][0-9]{0,3}){1,5}", fullmatch=True),
    "US": st.integers(0, 65535),
    "SS": st.integers(-32768, 32767),
    "FD": st.floats(allow_nan=False),
    "AT": st.integers(0, 2**32 - 1),
    "OB": st.binary(min_size=1, max_size=4).map(lambda b: b + bytes(len(b) % 2)),
}
PADDING = {"LO": "\0 ", "LT": "\0 ", "PN": "\0 =", "IS": " ", "DS": " ", "UI": "\0 "}


@st.composite
def elements(draw: st.DrawFn) -> list[tuple[int, str, Value]]:
    items: list[tuple[int, str, Value]] = []
    for element in draw(st.sets(st.integers(0x1001, 0x10FF), max_size=6)):
        vr = draw(st.sampled_from(sorted(values)))
        some = draw(st.lists(values[vr], max_size=1 if vr in ("LT", "OB") else 3))
        clean = [v.rstrip(PADDING[vr]) if isinstance(v, str) else v for v in some]
        items.append((0x00110000 | element, vr, tuple(clean)))
    return items


@given(elements())
def test_any_record_survives_a_dataset_and_its_encoding(items: list[tuple[int, str, Value]]) -> None:
    attrs = Attributes.from_items(items)
    made = attrs.to_dataset()
    assert Attributes.from_dataset(made).without([CHARSET]) == attrs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = Attributes.from_dataset(encoded_and_read(made))
    assert read.without([CHARSET]) == attrs


def test_pydicom_settings_are_left_alone() -> None:
    before = config.settings.reading_validation_mode
    record().to_dataset()
    assert config.settings.reading_validation_mode == before
