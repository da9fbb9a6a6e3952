"""How two data sets differ."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dcm.diff import BytesDigest, DataDiff, DiffKind, diff_data_sets
from dcm.errors import UsageError
from tests.data import data_set, pydicom_part10_files
from tests.test_normalize import encoded


def edited(**values: Any) -> tuple[Dataset, Dataset]:
    """A data set, and a copy of it with other values."""
    left = data_set()
    right = copy.deepcopy(left)
    for keyword, value in values.items():
        if value is None:
            delattr(right, keyword)
        else:
            setattr(right, keyword, value)
    return left, right


def lines(left: Dataset, right: Dataset, **options: Any) -> list[str]:
    return [str(diff) for diff in diff_data_sets(left, right, **options)]


def test_the_same() -> None:
    assert diff_data_sets(*edited()) == []


def test_changed_missing_and_added() -> None:
    left, right = edited(PatientID="Other", StudyDescription=None, PatientComments="New")
    assert diff_data_sets(left, right) == [
        DataDiff("StudyDescription", DiffKind.MISSING, "Night scan", None, 0x00081030),
        DataDiff("PatientID", DiffKind.CHANGED, "Vamp001", "Other", 0x00100020),
        DataDiff("PatientComments", DiffKind.ADDED, None, "New", 0x00104000),
    ]
    assert lines(left, right) == [
        "- StudyDescription: 'Night scan'",
        "~ PatientID: 'Vamp001' -> 'Other'",
        "+ PatientComments: 'New'",
    ]


def test_an_empty_element_is_not_a_missing_one() -> None:
    left, right = edited(AccessionNumber=None)
    assert lines(left, right) == ["- AccessionNumber: (empty)"]
    assert lines(right, left) == ["+ AccessionNumber: (empty)"]


def test_nested_elements_have_paths() -> None:
    left, right = (data_set() for _ in range(2))
    for ds, uid in ((left, "1.2.3"), (right, "1.2.4")):
        item, inner = Dataset(), Dataset()
        inner.CodeValue = uid
        item.StudyInstanceUID = uid
        item.RequestedProcedureCodeSequence = [inner]
        ds.RequestAttributesSequence = [Dataset(), item]
    assert lines(left, right) == [
        "~ RequestAttributesSequence[1].StudyInstanceUID: '1.2.3' -> '1.2.4'",
        "~ RequestAttributesSequence[1].RequestedProcedureCodeSequence[0].CodeValue: '1.2.3' -> '1.2.4'",
    ]
    right.RequestAttributesSequence = []
    first, second = lines(left, right)
    assert first == "- RequestAttributesSequence[0]: <1 item: {}>"
    assert second.startswith("- RequestAttributesSequence[1]: <1 item: {StudyInstanceUID: '1.2.3', Req")
    del right.RequestAttributesSequence
    (line,) = lines(left, right)
    assert line.startswith("- RequestAttributesSequence: <2 items: {}, {StudyInstanceUID: '1.2.3', ")
    assert lines(right, left, ignore=["RequestAttributesSequence"]) == []


def test_ignored_at_any_depth_and_the_only_ones() -> None:
    left, right = edited(PatientID="Other", StudyID="9")
    left.ReferencedImageSequence, right.ReferencedImageSequence = [Dataset()], [Dataset()]
    left.ReferencedImageSequence[0].StudyID, right.ReferencedImageSequence[0].StudyID = "1", "2"
    assert lines(left, right, ignore=["StudyID"]) == ["~ PatientID: 'Vamp001' -> 'Other'"]
    assert lines(left, right, only=["(0008,1140)"]) == ["~ ReferencedImageSequence[0].StudyID: '1' -> '2'"]
    with pytest.raises(UsageError, match="StudyIDD"):
        diff_data_sets(left, right, ignore=["StudyIDD"])


def test_tags_are_shown_as_tags() -> None:
    left, right = edited(FrameIncrementPointer=0x00181063)
    left.FrameIncrementPointer = [0x00181063, 0x00181065]
    item = Dataset()
    item.FrameIncrementPointer = 0x00181063
    right.ContentSequence = [item]
    assert lines(left, right) == [
        "~ FrameIncrementPointer: [(0018,1063), (0018,1065)] -> (0018,1063)",
        "+ ContentSequence: <1 item: {FrameIncrementPointer: (0018,1063)}>",
    ]
    del left.FrameIncrementPointer  # one that is private, and known on one side only
    for ds, vr, value in ((left, "UN", b"\x18\0\x63\x10"), (right, "AT", 0x00181065)):
        ds.add_new(0x00190010, "LO", "ACME")
        ds.add_new(0x00191001, vr, value)
    assert lines(left, right)[0] == "~ (0019,1001) (ACME): (0018,1063) -> (0018,1065)"


def plan(meterset: float, text: str) -> Dataset:
    """A sequence in a sequence, another one in itself."""
    beam, group, inner, outer = Dataset(), Dataset(), Dataset(), Dataset()
    beam.BeamMeterset = meterset
    group.ReferencedBeamSequence = [beam]
    inner.TextValue = outer.TextValue = text
    outer.ContentSequence = [inner]
    ds = data_set()
    ds.FractionGroupSequence, ds.ContentSequence = [group], [outer]
    return ds


def test_paths_at_any_depth_unless_the_first_sequence_has_a_number() -> None:
    left, right = plan(1, "a"), plan(2, "b")
    content, inner = "~ ContentSequence[0].", "ContentSequence[0].TextValue: 'a' -> 'b'"
    meterset = "~ FractionGroupSequence[0].ReferencedBeamSequence[0].BeamMeterset: '1' -> '2'"
    found = [content + inner, content + inner.removeprefix("ContentSequence[0]."), meterset]
    assert sorted(lines(left, right)) == found
    for path, kept in (
        ("ReferencedBeamSequence.BeamMeterset", found[:2]),
        ("FractionGroupSequence.ReferencedBeamSequence[0].BeamMeterset", found[:2]),
        ("FractionGroupSequence[0].ReferencedBeamSequence[0].BeamMeterset", found[:2]),
        ("FractionGroupSequence.ReferencedBeamSequence[1].BeamMeterset", found),
        ("ReferencedBeamSequence[0].BeamMeterset", found),
        ("ContentSequence.TextValue", found[2:]),
        ("ContentSequence[0].TextValue", [found[0], found[2]]),  # as it is shown: not the one in itself
        ("ContentSequence[0]", found[2:]),
    ):
        assert sorted(lines(left, right, ignore=[path])) == kept, path
        assert sorted(lines(left, right, only=[path])) == [line for line in found if line not in kept], path


@pytest.mark.parametrize("path", ["PatientName[0]", "PatientName.StudyInstanceUID", "ContentSequence.0010,0010[1]"])
def test_what_has_no_items(path: str) -> None:
    left, right = edited(PatientID="Other")
    for options in ({"ignore": [path]}, {"only": [path]}):
        with pytest.raises(UsageError, match=r"(PatientName|0010,0010) is no sequence"):
            diff_data_sets(left, right, **options)  # type: ignore[arg-type]
    # What is private or not known may be one.
    assert diff_data_sets(left, right, only=["0019,1001[0].PatientID", "0019,1001.0018,9999[1]"]) == []


def test_file_meta_information_on_request() -> None:
    left, right = edited()
    right.file_meta.ImplementationVersionName = "OTHER"
    assert lines(left, right) == []
    assert lines(left, right, file_meta=True) == ["~ ImplementationVersionName: 'PYDICOM 3.0.2' -> 'OTHER'"]
    del right.file_meta
    assert "- TransferSyntaxUID: '1.2.840.10008.1.2.1'" in lines(left, right, file_meta=True)


def test_pixel_data_by_digest() -> None:
    left, right = edited()
    right["PixelData"].value = b"\xff" + right.PixelData[1:]
    (diff,) = diff_data_sets(left, right)
    assert diff.path == "PixelData"
    assert isinstance(diff.left, BytesDigest)
    assert isinstance(diff.right, BytesDigest)
    assert diff.left.length == diff.right.length == 2048
    assert str(diff) == (
        f"~ PixelData: <2048 bytes, sha256 {diff.left.sha256[:16]}>"
        f" -> <2048 bytes, sha256 {diff.right.sha256[:16]}>"
    )


@pytest.mark.parametrize(
    ("keyword", "left", "right"),
    [("SliceThickness", "1.5", "1.50"), ("SeriesNumber", "7", "007"), ("PixelSpacing", ["1", "2"], ["1.0", "2.0"])],
)
def test_numbers_are_compared_as_numbers(keyword: str, left: Any, right: Any) -> None:
    a, b = Dataset(), Dataset()
    setattr(a, keyword, left)
    setattr(b, keyword, right)
    assert diff_data_sets(a, b) == []


def test_private_elements_by_creator() -> None:
    left, right = Dataset(), Dataset()
    for ds, block, value in ((left, 0x10, "same"), (right, 0x11, "other")):
        ds.add_new(0x00190000 | block, "LO", "ACME")
        ds.add_new(0x00190001 | block << 8, "LO", "same")
        ds.add_new(0x00190002 | block << 8, "LO", value)
    right.add_new(0x00190010, "LO", "ELSE")
    right.add_new(0x00191001, "LO", "x")
    assert lines(left, right) == [
        "+ (0019,0010) (ELSE): 'ELSE'",
        "+ (0019,1001) (ELSE): 'x'",
        "~ (0019,1002) (ACME): 'same' -> 'other'",
    ]


def test_two_blocks_of_one_creator_are_told_apart() -> None:
    left, right = Dataset(), Dataset()
    for ds, value in ((left, "1"), (right, "2")):
        for block in (0x10, 0x11):
            ds.add_new(0x00190000 | block, "LO", "ACME")
            ds.add_new(0x00190001 | block << 8, "LO", value if block == 0x11 else "0")
    assert lines(left, right) == ["~ (0019,1101) (ACME): '1' -> '2'"]


def test_what_is_unknown_on_one_side_is_read_as_on_the_other() -> None:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.add_new(0x00190010, "LO", "ACME UNKNOWN")
    ds.add_new(0x00191001, "LO", "Größe")
    ds.add_new(0x00191002, "US", 7)
    ds.add_new(0x00191003, "DS", "1.0")
    explicit = encoded(copy.deepcopy(ds), ExplicitVRLittleEndian)
    implicit = encoded(copy.deepcopy(ds), ImplicitVRLittleEndian)
    assert implicit[0x00191001].VR == "UN"
    assert diff_data_sets(explicit, implicit) == []
    assert diff_data_sets(implicit, explicit) == []
    changed = encoded(copy.deepcopy(ds), ImplicitVRLittleEndian)
    changed[0x00191002].value = b"\x08\x00"
    assert lines(explicit, changed) == ["~ (0019,1002) (ACME UNKNOWN): 7 -> 8"]


def test_a_line_is_safe_on_a_terminal() -> None:
    left, right = edited(PatientComments="a\x1b[2J\nb" + "x" * 200)
    (line,) = lines(left, right)
    assert line.isprintable()
    assert len(line) < 120


def test_several_values() -> None:
    left, right = edited(ImageType=["DERIVED", "PRIMARY"])
    assert lines(left, right) == ["~ ImageType: ['ORIGINAL', 'PRIMARY', 'AXIAL'] -> ['DERIVED', 'PRIMARY']"]


def test_no_data_set_is_changed() -> None:
    left, right = (encoded(data_set(), ExplicitVRLittleEndian) for _ in range(2))
    before = [*left.elements(), *right.elements()]
    diff_data_sets(left, right, file_meta=True)
    assert all(now is then for now, then in zip([*left.elements(), *right.elements()], before, strict=True))


@pytest.mark.filterwarnings("ignore")  # pydicom's, about what is in its files
def test_every_file_of_pydicom_is_the_same_as_itself() -> None:
    n_files = 0
    for path in pydicom_part10_files():
        assert diff_data_sets(dcmread(path), dcmread(path), file_meta=True) == [], path
        n_files += 1
    assert n_files > 100


VALUES = st.dictionaries(
    st.sampled_from(["PatientID", "PatientName", "StudyID", "PatientComments", "AccessionNumber", "StudyDescription"]),
    st.text("abcÄ", max_size=5),
)


@given(VALUES, VALUES)
def test_one_way_and_the_other(left_values: dict[str, str], right_values: dict[str, str]) -> None:
    left, right = Dataset(), Dataset()
    for ds, values in ((left, left_values), (right, right_values)):
        for keyword, value in values.items():
            setattr(ds, keyword, value)
    there, back = diff_data_sets(left, right), diff_data_sets(right, left)
    assert [(diff.path, diff.left, diff.right) for diff in there] == [
        (diff.path, diff.right, diff.left) for diff in back
    ]
    assert {diff.path for diff in there} == {
        keyword for keyword in {*left_values, *right_values} if left_values.get(keyword) != right_values.get(keyword)
    }


def test_file_meta_alone() -> None:
    left, right = Dataset(), Dataset()
    left.file_meta = FileMetaDataset()
    left.file_meta.ImplementationVersionName = "A"
    assert lines(left, right, file_meta=True) == ["- ImplementationVersionName: 'A'"]
