"""Attribute matching by PS3.4 section C.2.2.2."""

from __future__ import annotations

import pytest
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement

from dcm.demo._match import element_matches, values_of


def element(keyword: str, value: object) -> DataElement:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE)


@pytest.mark.parametrize(
    ("keyword", "pattern", "value", "expected"),
    [
        # Universal matching
        ("PatientID", "", "Vamp001", True),
        ("PatientID", None, None, True),
        ("PatientID", "*", "", True),
        # Single value
        ("PatientID", "Vamp001", "Vamp001", True),
        ("PatientID", "Vamp001", "vamp001", False),
        ("PatientID", "Vamp00", "Vamp001", False),
        ("PatientID", "Vamp001", "", False),
        ("SeriesNumber", "7", "007", True),
        ("SeriesNumber", "7", "8", False),
        # Wildcards
        ("PatientID", "Vamp*", "Vamp001", True),
        ("PatientID", "Vamp00?", "Vamp001", True),
        ("PatientID", "Vamp0?", "Vamp001", False),
        ("StudyDescription", "[a-z]*", "b", False),
        ("StudyDescription", "[a-z]*", "[a-z] scan", True),
        ("StudyInstanceUID", "1.2.*", "1.2.3", False),
        # Names: whatever the case, and each group by itself
        ("PatientName", "dracula^count", "Dracula^Count", True),
        ("PatientName", "*CULA*", "Dracula^Count", True),
        ("PatientName", "Dracula^Count^^^", "Dracula^Count", True),
        ("PatientName", "山田*", "Yamada^Tarou=山田^太郎", True),
        ("PatientName", "Yamada^*", "Yamada^Tarou=山田^太郎", True),
        ("PatientName", "Tarou*", "Yamada^Tarou=山田^太郎", False),
        # Lists
        ("StudyInstanceUID", ["1.2.3", "1.2.4"], "1.2.4", True),
        ("StudyInstanceUID", ["1.2.3", "1.2.4"], "1.2.5", False),
        ("Modality", "CT", "MR", False),
        ("ModalitiesInStudy", "CT", ["CT", "SR"], True),
        ("ModalitiesInStudy", "MR", ["CT", "SR"], False),
        # Dates and times
        ("StudyDate", "20201031", "20201031", True),
        ("StudyDate", "20201031", "2020.10.31", True),
        ("StudyDate", "20201030-20201101", "20201031", True),
        ("StudyDate", "20201031-20201031", "20201031", True),
        ("StudyDate", "20201101-", "20201031", False),
        ("StudyDate", "20201031-", "20201031", True),
        ("StudyDate", "-20201030", "20201031", False),
        ("StudyDate", "-20201031", "20201031", True),
        ("StudyDate", "20201031", "", False),
        ("StudyTime", "16-17", "174315.866000", True),
        ("StudyTime", "16-17", "180000", False),
        ("StudyTime", "1643", "164315.866000", True),
        ("StudyTime", "164315.9-", "164315.866000", False),
        ("StudyTime", "-16:43:16", "164315.866000", True),
        ("StudyTime", "09", "090000", True),
    ],
)
def test_matching(keyword: str, pattern: object, value: object, expected: bool) -> None:
    assert element_matches(element(keyword, pattern), element(keyword, value)) is expected


def test_absent_attribute_matches_only_an_empty_key() -> None:
    assert element_matches(element("StudyDate", ""), None)
    assert not element_matches(element("StudyDate", "20201031"), None)


def test_a_number_that_is_none_matches_as_text() -> None:
    # As an archive keeps what a modality should not have sent.
    key, held = element("StudyID", "7"), element("SeriesNumber", "8")
    assert not element_matches(element("SeriesNumber", "7"), element("StudyID", "seven"))
    assert not element_matches(key, held)


def test_values() -> None:
    assert values_of(None) == []
    assert values_of(element("PatientID", "")) == []
    assert values_of(element("PatientID", " a ")) == ["a"]
    assert values_of(element("ImageType", ["ORIGINAL", "PRIMARY"])) == ["ORIGINAL", "PRIMARY"]
    assert values_of(element("ReferencedStudySequence", [])) == []
