"""``Keyword=value`` as a query."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.attrs import Attributes
from dcm.cli._keywords import is_unlimited, parse_query, parse_usual, resolve_keyword
from dcm.errors import QueryError
from dcm.text import safe_text


@pytest.mark.parametrize("key", ["PatientID", "(0010,0020)", "0010,0020", "00100020"])
def test_an_attribute_is_a_keyword_or_a_tag(key: str) -> None:
    assert resolve_keyword(key) == (0x00100020, "LO")
    assert parse_query([f"{key}=Vamp001"]).PatientID == "Vamp001"


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("patientid", "PatientID"),
        ("PatientNam", "PatientName"),
        ("StudyDat", "StudyDate"),
        ("SeriesDesciption", "SeriesDescription"),
        ("PATIENTNAME", "PatientName"),
    ],
)
def test_a_typo_suggests_the_nearest_keyword(key: str, meant: str) -> None:
    with pytest.raises(QueryError, match=f"there is no attribute '{key}'") as caught:
        parse_query([f"{key}=x"])
    assert caught.value.hint == f"did you mean {meant}?"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("assignment", "why"),
    [
        ("PatientID", "'PatientID' has no value"),
        ("=x", "no attribute ''"),
        ("zzzzzz=x", "no attribute 'zzzzzz'"),
        ("0009,0010=x", "private"),
        ("00091001=x", "private"),
        ("0008,fffe=x", "there is no attribute 0008,fffe"),
        ("QueryRetrieveLevel=STUDY", "is not queried for"),
        ("TransferSyntaxUID=1.2", "no attribute of a data set"),
        ("PixelData=x", "cannot be queried"),
        ("ReferencedStudySequence=x", "cannot be queried"),
        ("Pat\x1b[31mient=x", r"no attribute 'Pat\\x1b\[31mient'"),
    ],
)
def test_what_cannot_be_queried_is_refused(assignment: str, why: str) -> None:
    with pytest.raises(QueryError, match=why):
        parse_query([assignment])


def test_a_key_is_given_once() -> None:
    with pytest.raises(QueryError, match="0010,0020 is given twice"):
        parse_query(["PatientID=1", "0010,0020=2"])


def test_values_keep_their_equals_signs() -> None:
    assert parse_query(["PatientName=A=B"]).PatientName == "A=B"


def test_text_beyond_ascii_is_sent_as_utf_8_unless_it_is_said_otherwise() -> None:
    assert parse_query(["PatientName=Müller*"]).SpecificCharacterSet == "ISO_IR 192"
    assert parse_query(["SpecificCharacterSet=ISO_IR 100", "PatientName=Müller"]).SpecificCharacterSet == "ISO_IR 100"
    assert parse_query(["PatientName=Müller", "SpecificCharacterSet=ISO_IR 100"]).SpecificCharacterSet == "ISO_IR 100"
    assert "SpecificCharacterSet" not in parse_query(["PatientName=Muller"])


def test_a_query_can_be_encoded() -> None:
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    query = parse_query(
        [
            *("StudyDate=20201001-20201031", "StudyTime=10-12", "PatientName=M*", "Rows=512", "SeriesNumber=3"),
            *("ModalitiesInStudy=CT\\MR", "StudyInstanceUID=1.2\\1.3", "PatientWeight=70.5", "PatientAge=045Y"),
            *("StudyDescription=", "NumberOfFrames=*", "ExposureTimeInms=1.5", "SmallestImagePixelValue=7"),
        ]
    )
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, True
    assert write_dataset(file, query) > 100


@pytest.mark.parametrize(
    ("assignments", "unlimited"),
    [
        ([], True),
        (["PatientID="], True),
        (["PatientID=*"], True),
        (["StudyDate=", "PatientName=**"], True),
        (["SpecificCharacterSet=ISO_IR 100"], True),
        (["PatientID=1"], False),
        (["PatientID=", "StudyDate=20201031"], False),
        (["Rows=0"], False),
    ],
)
def test_a_query_without_a_limit_is_known_as_one(assignments: list[str], unlimited: bool) -> None:
    assert is_unlimited(parse_query(assignments)) is unlimited


@given(st.text(max_size=30))
def test_any_text_is_a_query_or_a_query_error(text: str) -> None:
    for assignment in (text, f"PatientID={text}", f"{text}=1"):
        try:
            parse_query([assignment])
        except QueryError as exc:
            message = exc.message
        else:
            message = ""
        assert safe_text(message) == message


@pytest.mark.parametrize(
    "keys",
    [
        ["StudyDate=20201031"],
        ["StudyDate=20201031-"],
        ["StudyInstanceUID=1.2.3\\1.2.4"],
        ["PatientID=Vamp001", "Modality=MR", "StudyInstanceUID=1.2.3"],
        ["PatientName=Dracula*", "StudyTime=1230"],
    ],
)
def test_the_quick_way_reads_what_is_usual_just_as_the_other_does(keys: list[str]) -> None:
    assert parse_usual(keys) == Attributes.from_dataset(parse_query(keys))


@pytest.mark.parametrize(
    "keys", [["Modaliti=MR"], ["Modality"], ["Rows=3"], ["PatientID="], ["PatientID=1", "PatientID=2"]]
)
def test_what_is_not_usual_is_left_to_the_other_way(keys: list[str]) -> None:
    assert parse_usual(keys) is None
