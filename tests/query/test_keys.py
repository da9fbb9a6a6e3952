"""The keys that users give: which level they are of, and which make no sense."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement

from dcm.attrs import Attributes, Value
from dcm.errors import QueryError
from dcm.levels import QueryLevel
from dcm.query._keys import RETURN_KEYS, QueryKeys, level_of, parse_date, uid_matches

PATIENT, STUDY, SERIES, IMAGE = QueryLevel


def one(keyword: str, vr: str, value: Value) -> Attributes:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return Attributes.from_items([(tag, vr, value)])


@pytest.mark.parametrize(
    ("keyword", "level"),
    [
        ("PatientID", PATIENT),
        ("IssuerOfPatientID", PATIENT),
        ("PatientBirthDate", PATIENT),
        ("NumberOfPatientRelatedStudies", PATIENT),
        ("PatientAge", STUDY),
        ("StudyDate", STUDY),
        ("AccessionNumber", STUDY),
        ("ModalitiesInStudy", STUDY),
        ("ReferringPhysicianName", STUDY),
        ("Modality", SERIES),
        ("ProtocolName", SERIES),
        ("PerformedProcedureStepStartDate", SERIES),
        ("InstanceNumber", IMAGE),
        ("ImageType", IMAGE),
        ("SOPClassUID", IMAGE),
        ("RetrieveAETitle", None),
        ("InstanceAvailability", None),
    ],
)
def test_levels_of_keys(keyword: str, level: QueryLevel | None) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    assert level_of(tag) is level


def test_private_keys_are_of_no_level() -> None:
    assert level_of(0x00091001) is None


def test_return_keys_are_of_their_level_and_have_the_vr_of_the_dictionary() -> None:
    from pydicom.datadict import dictionary_VR

    for level, keys in RETURN_KEYS.items():
        assert level.uid_tag in {tag for tag, _ in keys}
        for tag, vr in keys:
            assert level_of(tag) is level
            assert dictionary_VR(tag) == vr


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("StudyDate", "DA", "20201031"),
        ("StudyDate", "DA", "20201031-"),
        ("StudyDate", "DA", "-20201031"),
        ("StudyDate", "DA", "20200101-20201231"),
        ("StudyDate", "DA", "2020.10.31"),
        ("StudyTime", "TM", "12"),
        ("StudyTime", "TM", "1200-120059.999"),
        ("StudyTime", "TM", "-12:30:00"),
        ("StudyInstanceUID", "UI", ("1.2", "1.3")),
        ("StudyInstanceUID", "UI", "01.2 odd"),
        ("PatientName", "PN", "*^B?b"),
    ],
)
def test_good_values(keyword: str, vr: str, value: Value) -> None:
    record = one(keyword, vr, value)
    keys = QueryKeys.of(record)
    assert keys.items == record
    assert keys.finest(valued=True) is not None


@pytest.mark.parametrize(
    ("keyword", "vr", "value", "words"),
    [
        ("StudyDate", "DA", "2020-10-31", "StudyDate: not a date or a range.*YYYYMMDD-YYYYMMDD"),
        ("StudyDate", "DA", "20201301", "not a date"),
        ("StudyDate", "DA", "2020*", "not a date"),
        ("StudyDate", "DA", "-", "not a date"),
        ("StudyDate", "DA", "20201231-20200101", "ends before it starts"),
        ("StudyDate", "DA", ("20200101", "20200102"), "only one value"),
        ("StudyTime", "TM", "2500", "StudyTime: not a time or a range"),
        ("StudyTime", "TM", "1300-12", "ends before it starts"),
        ("StudyInstanceUID", "UI", "1.2.*", "StudyInstanceUID: a UID is matched as a whole"),
        ("StudyInstanceUID", "UI", ("1.2", "1.3?"), "as a whole"),
        ("QueryRetrieveLevel", "CS", "SERIE", "no such QueryRetrieveLevel: SERIE"),
    ],
)
def test_values_that_make_no_sense(keyword: str, vr: str, value: Value, words: str) -> None:
    with pytest.raises(QueryError, match=words):
        QueryKeys.of(one(keyword, vr, value))


@pytest.mark.parametrize(("keyword", "vr"), [("PatientName", "PN"), ("StudyDate", "DA"), ("StudyInstanceUID", "UI")])
def test_a_star_alone_only_asks_for_the_attribute(keyword: str, vr: str) -> None:
    keys = QueryKeys.of(one(keyword, vr, "*"))
    assert keys.finest(valued=True) is None
    assert keys.finest(valued=False) in (PATIENT, STUDY)


def test_sequences_count_where_something_in_them_has_a_value() -> None:
    empty = one("RequestAttributesSequence", "SQ", (one("RequestedProcedureID", "SH", None),))
    assert QueryKeys.of(empty).finest(valued=True) is None
    assert QueryKeys.of(empty).finest(valued=False) is SERIES
    full = one("RequestAttributesSequence", "SQ", (one("RequestedProcedureID", "SH", "1"),))
    assert QueryKeys.of(full).finest(valued=True) is SERIES


def test_what_a_pydicom_dataset_has_that_is_no_key() -> None:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.QueryRetrieveLevel = "SERIES"
    ds.add(DataElement(0x00020010, "UI", "1.2.840.10008.1.2"))
    ds.add(DataElement(0x00080000, "UL", 10))
    ds.PatientName = "Müller*"
    keys = QueryKeys.of(ds)
    assert list(keys.items) == [0x00100010]
    assert keys.level is SERIES
    assert keys.charset == "ISO_IR 192"


@pytest.mark.parametrize(
    ("asked", "uid", "matches"),
    [
        (None, "P1", True),
        ("P1", "P1", True),
        ("P1", "P2", False),
        ("P*", "P2", True),
        ("P[1]", "P1", False),
        ("P[1]", "P[1]", True),
        ("P?", "P22", False),
        (("1.2", "1.3"), "1.3", True),
        (("1.2", "1.3"), "1.4", False),
        ("*", "", True),
    ],
)
def test_uid_matches(asked: Value, uid: str, matches: bool) -> None:
    assert uid_matches(asked, uid) is matches


def test_dates() -> None:
    assert str(parse_date("20200229")) == "2020-02-29"
    assert str(parse_date("2020.02.29")) == "2020-02-29"
    assert parse_date("20190229") is None
    assert parse_date("") is None
    assert parse_date("٢٠٢٠٠١٠١") is None
