"""New UIDs: which change, what follows them, and that they are always the same."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.datadict import dictionary_VR

from dcm.attrs import Attributes
from dcm.diff import diff_data_sets
from dcm.errors import UsageError
from dcm.filt import Filter, make_edit_filter
from dcm.filt._edit import level_of
from dcm.filt._uids import HELD, KINDS, Kind, UidMap, kind_in_item
from dcm.instance import Instance
from dcm.levels import QueryLevel
from tests.data import SeriesSpec, data_set

STUDY, SERIES, INSTANCE, FRAME = "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"
UIDS = (STUDY, SERIES, INSTANCE, FRAME)


def run(filt: Filter, ds: Dataset) -> Dataset:
    result = filt(ds)
    assert result is not None
    return result


def changed(edits: dict[Any, Any], ds: Dataset | None = None, **options: Any) -> set[str]:
    """The paths of what a filter changes."""
    ds = ds or data_set()
    return {diff.path for diff in diff_data_sets(ds, run(make_edit_filter(edits, **options), ds), file_meta=True)}


@pytest.mark.parametrize(
    ("edits", "uids"),
    [
        ({"PatientID": "ANON1"}, {*UIDS}),
        ({"PatientName": ""}, {*UIDS}),
        ({"PatientBirthDate": None}, {*UIDS}),
        ({"StudyDescription": "x"}, {*UIDS}),
        ({"AccessionNumber": "x"}, {*UIDS}),
        ({"SeriesDescription": "x"}, {SERIES, INSTANCE}),
        ({"Modality": "MR"}, {SERIES, INSTANCE}),
        ({"RequestAttributesSequence": [{"StudyID": "1"}]}, {SERIES, INSTANCE}),
        ({"ImageComments": "x"}, {INSTANCE}),
        ({"(0019,0010)": "x"}, {INSTANCE}),
        ({"SpecificCharacterSet": "ISO_IR 192"}, set()),
        ({"StudyInstanceUID": "1.2.3"}, {*UIDS}),
        ({"SeriesInstanceUID": "1.2.3"}, {SERIES, INSTANCE}),
        ({"SOPInstanceUID": "1.2.3"}, {INSTANCE}),
        ({"FrameOfReferenceUID": "1.2.3"}, {SERIES, INSTANCE, FRAME}),
    ],
)
def test_what_an_edit_makes_another_thing(edits: dict[str, Any], uids: set[str]) -> None:
    meta = {"MediaStorageSOPInstanceUID"} if INSTANCE in uids else set()
    assert changed(edits) - set(edits) == (uids | meta) - set(edits)
    assert changed(edits, update_uids=False) - meta == {key for key in edits if key != "(0019,0010)"} | (
        {"(0019,0010)"} if "(0019,0010)" in edits else set()
    )
    for keyword in set(edits) & set(UIDS):
        assert run(make_edit_filter(edits), data_set())[keyword].value == "1.2.3"


def test_the_same_everywhere_and_always() -> None:
    code = (
        "from tests.data import data_set; from dcm.filt import make_edit_filter;"
        "ds = make_edit_filter({'PatientID': 'ANON1', 'SeriesNumber': 7})(data_set());"
        "print(ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    # These are promised: what a sync of an earlier version has sent has to be found.
    assert outputs == {
        "2.25.287785713615382754064772859928794448243 2.25.189263324985822651532525638152806150887 "
        "2.25.52834767372505171702678416899340329290\n",
    }


def test_the_order_and_the_spelling_of_edits_do_not_matter() -> None:
    one = make_edit_filter({"PatientID": "A", "SeriesNumber": 7})
    other = make_edit_filter({"(0020,0011)": "7", "00100020": "A"})
    assert run(one, data_set()) == run(other, data_set())


def test_uids_depend_on_the_edits_of_their_level_and_above() -> None:
    plain = run(make_edit_filter({"PatientID": "A"}), data_set())
    series = run(make_edit_filter({"PatientID": "A", "SeriesDescription": "x"}), data_set())
    other = run(make_edit_filter({"PatientID": "B"}), data_set())
    assert plain.StudyInstanceUID == series.StudyInstanceUID
    assert plain.FrameOfReferenceUID == series.FrameOfReferenceUID
    assert plain.SeriesInstanceUID != series.SeriesInstanceUID
    assert plain.StudyInstanceUID != other.StudyInstanceUID


def test_entropy_makes_other_ones() -> None:
    results = [
        run(make_edit_filter({"PatientID": "A"}, add_uid_entropy=entropy), data_set()).StudyInstanceUID
        for entropy in (None, "secret", ["secret"], ["sec", "ret"], "other")
    ]
    assert results[1] == results[2]
    assert len(set(results)) == 4


def test_instances_of_a_study_stay_together() -> None:
    filt = make_edit_filter({"PatientID": "ANON1"})
    before = [data_set(SeriesSpec(series=series), number) for series in (1, 2) for number in (1, 2)]
    after = [run(filt, ds) for ds in before]
    assert len({ds.StudyInstanceUID for ds in after}) == 1
    assert [ds.SeriesInstanceUID for ds in after].count(after[0].SeriesInstanceUID) == 2
    assert len({ds.SOPInstanceUID for ds in after}) == 4
    assert len({ds.FrameOfReferenceUID for ds in after}) == 1


def reference(class_uid: str, uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = class_uid
    item.ReferencedSOPInstanceUID = uid
    return item


def referring() -> tuple[Dataset, Dataset]:
    """A data set, and one that refers to it in all ways."""
    target, ds = data_set(number=1), data_set(number=2)
    series = Dataset()
    series.SeriesInstanceUID = target.SeriesInstanceUID
    series.ReferencedInstanceSequence = [reference(target.SOPClassUID, target.SOPInstanceUID)]
    ds.ReferencedSeriesSequence = [series]
    ds.ReferencedStudySequence = [reference("1.2.840.10008.3.1.2.3.1", target.StudyInstanceUID)]
    ds.SourceImageSequence = [reference(target.SOPClassUID, target.SOPInstanceUID)]
    ds.ReferencedFrameOfReferenceUID = target.FrameOfReferenceUID
    ds.FailedSOPInstanceUIDList = [target.SOPInstanceUID, "1.2.3"]
    content = Dataset()
    content.ValueType = "UIDREF"
    content.UID = target.StudyInstanceUID
    content.ConceptNameCodeSequence = [Dataset()]
    content.ConceptNameCodeSequence[0].CodeValue = "110180"
    tracked = copy.deepcopy(content)
    tracked.ConceptNameCodeSequence[0].CodeValue = "112040"
    ds.ContentSequence = [content, tracked]
    private = Dataset()
    private.SourceImageSequence = [reference(target.SOPClassUID, target.SOPInstanceUID)]
    block = ds.private_block(0x2005, "ACME", create=True)
    block.add_new(1, "SQ", [private])
    return target, ds


@pytest.mark.parametrize("from_bytes", [False, True])
def test_references_follow(from_bytes: bool) -> None:
    target, ds = referring()
    filt = make_edit_filter({"PatientID": "ANON1"})
    new = run(filt, target)
    if from_bytes:
        ds = Instance.from_dataset(ds).dataset
    result = run(filt, ds)
    assert result.ReferencedSeriesSequence[0].SeriesInstanceUID == new.SeriesInstanceUID
    inner = result.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert inner.ReferencedSOPInstanceUID == new.SOPInstanceUID
    assert inner.ReferencedSOPClassUID == target.SOPClassUID
    assert result.ReferencedStudySequence[0].ReferencedSOPInstanceUID == new.StudyInstanceUID
    assert result.SourceImageSequence[0].ReferencedSOPInstanceUID == new.SOPInstanceUID
    assert result.ReferencedFrameOfReferenceUID == new.FrameOfReferenceUID
    assert result.FailedSOPInstanceUIDList[0] == new.SOPInstanceUID
    # A tracked finding is not copied.
    assert [item.UID for item in result.ContentSequence] == [new.StudyInstanceUID, target.StudyInstanceUID]
    block = result[0x20051001].value[0]
    assert block.SourceImageSequence[0].ReferencedSOPInstanceUID == new.SOPInstanceUID
    assert result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID


def test_references_to_what_stays_stay() -> None:
    _, ds = referring()
    paths = changed({"SeriesDescription": "x"}, ds)
    assert "ReferencedStudySequence[0].ReferencedSOPInstanceUID" not in paths
    assert "ContentSequence[0].UID" not in paths
    assert "ReferencedSeriesSequence[0].SeriesInstanceUID" in paths
    assert "SourceImageSequence[0].ReferencedSOPInstanceUID" in paths


def test_references_to_a_given_uid_follow_it_and_others_stay() -> None:
    target, ds = referring()
    ds.StudiesContainingOtherReferencedInstancesSequence = [Dataset()]
    ds.StudiesContainingOtherReferencedInstancesSequence[0].StudyInstanceUID = "1.2.99"
    result = run(make_edit_filter({STUDY: "1.2.3"}), ds)
    assert result.StudyInstanceUID == "1.2.3"
    assert result.ReferencedStudySequence[0].ReferencedSOPInstanceUID == "1.2.3"
    assert result.StudiesContainingOtherReferencedInstancesSequence[0].StudyInstanceUID == "1.2.99"
    assert result.SeriesInstanceUID != target.SeriesInstanceUID
    kept = run(make_edit_filter({STUDY: "1.2.3"}, update_uids=False), ds)
    assert kept.ReferencedStudySequence[0].ReferencedSOPInstanceUID == target.StudyInstanceUID


def test_a_nested_uid_that_is_given_is_taken_as_it_is() -> None:
    ds = data_set()
    ds.RequestAttributesSequence = [Dataset()]
    ds.RequestAttributesSequence[0].StudyInstanceUID = ds.StudyInstanceUID
    edits = {"PatientID": "A", "RequestAttributesSequence[0].StudyInstanceUID": "1.2.3"}
    assert run(make_edit_filter(edits), ds).RequestAttributesSequence[0].StudyInstanceUID == "1.2.3"


def test_what_it_was_before_is_not_rewritten() -> None:
    ds = data_set()
    original, attributes = Dataset(), Dataset()
    attributes.StudyInstanceUID = ds.StudyInstanceUID
    original.ModifiedAttributesSequence = [attributes]
    ds.OriginalAttributesSequence = [original]
    result = run(make_edit_filter({"PatientID": "A"}), ds)
    modified = result.OriginalAttributesSequence[0].ModifiedAttributesSequence[0]
    assert modified.StudyInstanceUID == ds.StudyInstanceUID


def test_well_known_uids_and_nothing_stay() -> None:
    ds = data_set()
    ds.FrameOfReferenceUID = "1.2.840.10008.1.4.1.1"
    ds.SynchronizationFrameOfReferenceUID = ""
    result = run(make_edit_filter({"PatientID": "A"}), ds)
    assert result.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"
    assert result.SynchronizationFrameOfReferenceUID in ("", None)


def test_over_its_own_output_nothing_changes() -> None:
    for edits in (
        {"PatientID": "A", "SeriesDescription": "x"},
        {"ImageComments": "x"},
        {STUDY: "1.2.3", "StudyID": "1"},
    ):
        for prefix in ("2.25.", "1.2.826.0.1.3680043.8.498", "1.2."):
            filt = make_edit_filter(edits, uid_prefix=prefix)
            _, ds = referring()
            once = run(filt, ds)
            assert diff_data_sets(once, run(filt, once), file_meta=True) == []
            record = Attributes.from_dataset(once, set(HELD))
            assert filt.on_record(record) == record


@pytest.mark.parametrize("level", list(QueryLevel))
@pytest.mark.parametrize(
    "edits", [{"PatientID": "A"}, {"SeriesDescription": "x"}, {STUDY: "1.2.3"}, {INSTANCE: "1.2.3"}]
)
def test_a_record_becomes_what_the_data_becomes(level: QueryLevel, edits: dict[str, str]) -> None:
    ds = data_set()
    tags = {one.uid_tag for one in QueryLevel if one <= level}
    counts = [(0x00201208, "IS", "12"), (0x00201204, "IS", "30")]
    record = Attributes.from_dataset(ds, tags).replace(counts)
    filt = make_edit_filter(edits)
    assert filt.on_record(record) == Attributes.from_dataset(run(filt, ds), tags).replace(counts)


def test_a_record_with_sequences() -> None:
    _, ds = referring()
    filt = make_edit_filter({"PatientID": "A", "ReferencedSeriesSequence[0].SeriesInstanceUID": "1.2.3"})
    tags = {0x00081115, 0x00100020, *HELD}
    assert filt.on_record(Attributes.from_dataset(ds, tags)) == Attributes.from_dataset(run(filt, ds), tags)


def test_what_the_filter_says_of_itself() -> None:
    filt = make_edit_filter({"PatientID": "A"})
    assert filt.changes_identity
    assert set(HELD) <= set(filt.invertible_elems)
    assert 0x00100020 not in filt.invertible_elems
    for tag in (0x00100020, 0x0020000D, 0x00081140, 0x20051001):
        assert tag in filt.write_elems
    for tag in (0x00100010, 0x00080020, 0x7FE00010):
        assert tag not in filt.write_elems
        assert tag not in filt.read_elems
    assert 0x00100020 not in filt.read_elems
    given_uid = make_edit_filter({STUDY: "1.2.3"})
    assert 0x0020000D not in given_uid.invertible_elems
    assert 0x0020000D in given_uid.read_elems
    assert not make_edit_filter({"SpecificCharacterSet": "ISO_IR 192"}).changes_identity


@pytest.mark.parametrize("prefix", ["", "1..2", "01.2", "1.2.840.10008.", "a", "1." * 20])
def test_a_prefix_that_is_no_good(prefix: str) -> None:
    with pytest.raises(UsageError, match="is no prefix for UIDs"):
        make_edit_filter({"PatientID": "A"}, uid_prefix=prefix)


KEY = b"k" * 32
PREFIXES = st.sampled_from(["2.25.", "1.2.", "1.2.826.0.1.3680043.8.498.", "1.2.3456789.123456789.123456789.12."])


@given(st.lists(st.from_regex(r"[1-9][0-9]{0,5}(\.[1-9][0-9]{0,5}){1,5}", fullmatch=True), unique=True), PREFIXES)
def test_new_uids_are_valid_different_and_final(uids: list[str], prefix: str) -> None:
    uid_map = UidMap({Kind.STUDY: KEY}, prefix)
    made = [uid_map.new(Kind.STUDY, uid) for uid in uids]
    assert len(set(made)) == len(uids)
    for uid, new in zip(uids, made, strict=True):
        assert len(new) <= 64
        assert new.startswith(prefix)
        assert new[len(prefix) :] == str(int(new[len(prefix) :]))
        assert uid_map.new(Kind.STUDY, new) == new
        assert uid_map.new(Kind.SERIES, uid) == uid  # which does not change
        assert UidMap({Kind.STUDY: b"other"}, prefix).new(Kind.STUDY, new) != new


@given(st.text())
def test_what_is_no_uid_gets_one(text: str) -> None:
    new = UidMap({Kind.STUDY: KEY}).new(Kind.STUDY, text)
    assert new == text or new.startswith("2.25.")


def test_uuids_are_uuids() -> None:
    import uuid

    for number in range(100):
        made = UidMap({Kind.STUDY: KEY}).new(Kind.STUDY, f"1.2.{number}")
        parsed = uuid.UUID(int=int(made.removeprefix("2.25.")))
        assert (parsed.version, parsed.variant) == (8, uuid.RFC_4122)


def test_every_element_that_changes_is_a_uid() -> None:
    assert {dictionary_VR(tag) for tag in KINDS} == {"UI"}
    assert kind_in_item(0x00081155, 0x00081140, "", "") is Kind.INSTANCE
    assert kind_in_item(0x00081155, 0x00081140, "1.2.840.10008.3.1.2.3.1", "") is Kind.STUDY
    assert kind_in_item(0x00081155, 0x00081110, "", "") is Kind.STUDY
    assert kind_in_item(0x0040A124, 0x0040A730, "", "x") is None


def test_levels() -> None:
    assert level_of(0x00100020) is QueryLevel.PATIENT
    assert level_of(0x00080201) is QueryLevel.IMAGE
    assert level_of(0x00080005) is None
