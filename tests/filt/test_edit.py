"""Editing elements: new values, deletions, items of sequences, character sets; the rest stays as it came."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, config, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dcm.attrs import Attributes
from dcm.diff import diff_data_sets
from dcm.errors import InvalidDicomError, UsageError
from dcm.filt import make_edit_filter
from dcm.filt._paths import parse_path
from dcm.instance import Instance
from tests.data import SeriesSpec, data_set, pydicom_charset_files, pydicom_files, pydicom_part10_files
from tests.test_normalize import encoded


def edit(ds: Dataset, edits: dict[Any, Any]) -> Dataset:
    """The data set with edits, and no new UIDs."""
    edited = make_edit_filter(edits, update_uids=False)(ds)
    assert edited is not None
    return edited


def nested() -> Dataset:
    ds = data_set()
    ds.RequestAttributesSequence = [Dataset(), Dataset()]
    for number, item in enumerate(ds.RequestAttributesSequence):
        item.ScheduledProcedureStepID = str(number)
        item.ScheduledProtocolCodeSequence = [Dataset()]
        item.ScheduledProtocolCodeSequence[0].CodeValue = f"code {number}"
    return ds


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("PatientID", "ANON1", "ANON1"),
        ("(0010,0020)", "ANON1", "ANON1"),
        (0x00100020, "ANON1", "ANON1"),
        ("PatientID", "", ""),
        ("PatientID", [], ""),
        ("PatientComments", "new", "new"),
        ("SeriesNumber", 7, 7),
        ("SeriesNumber", "7", 7),
        ("SliceThickness", 1.5, 1.5),
        ("PixelSpacing", [0.25, "0.5"], [0.25, 0.5]),
        ("PixelSpacing", "0.25\\0.5", [0.25, 0.5]),
        ("ImageType", "DERIVED\\\\AXIAL", ["DERIVED", "", "AXIAL"]),
        ("Rows", "32", 32),
        ("RealWorldValueSlope", "0.5", 0.5),
        ("FrameIncrementPointer", "FrameTime", 0x00181063),
        ("PatientComments", "a\\b\nc", "a\\b\nc"),
        ("StudyDate", "20201101", "20201101"),
        ("PatientAge", "045Y", "045Y"),
        ("SmallestImagePixelValue", 3, 3),
        ("ContentSequence", [], []),
    ],
)
def test_a_new_value(key: str | int, value: Any, expected: Any) -> None:
    ds = data_set()
    path = parse_path(key)
    result = edit(ds, {key: value})[path.tag].value
    assert (result or "") == (expected or "")
    # ... as somebody reads it who gets it.
    again = Instance.from_dataset(edit(ds, {key: value})).dataset
    assert (again[path.tag].value or "") == (expected or "")
    assert {diff.path for diff in diff_data_sets(ds, again)} <= {str(path)}


def test_deleted_elements_are_gone() -> None:
    edited = edit(data_set(), {"StudyDescription": None, "PixelData": None, "PatientComments": None})
    assert [diff.path for diff in diff_data_sets(data_set(), edited)] == ["StudyDescription", "PixelData"]


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("RequestAttributesSequence[0].ScheduledProcedureStepID", "9", ["[0].ScheduledProcedureStepID"]),
        ("RequestAttributesSequence[-1].ScheduledProcedureStepID", "9", ["[1].ScheduledProcedureStepID"]),
        ("RequestAttributesSequence[0].ScheduledProcedureStepID", None, ["[0].ScheduledProcedureStepID"]),
        ("(0040,0275)[1].(0040,0009)", "9", ["[1].ScheduledProcedureStepID"]),
        ("RequestAttributesSequence.StudyInstanceUID", "1.2", ["[0].StudyInstanceUID", "[1].StudyInstanceUID"]),
        (
            "RequestAttributesSequence[*].ScheduledProtocolCodeSequence[0].CodeValue",
            "9",
            ["[0].ScheduledProtocolCodeSequence[0].CodeValue", "[1].ScheduledProtocolCodeSequence[0].CodeValue"],
        ),
        ("RequestAttributesSequence", {"StudyID": "9"}, ["[0].StudyID", "[1].StudyID"]),
        (
            "RequestAttributesSequence[1]",
            {"StudyID": "9", "ScheduledProtocolCodeSequence[0]": {"CodeMeaning": "m"}},
            ["[1].StudyID", "[1].ScheduledProtocolCodeSequence[0].CodeMeaning"],
        ),
        ("RequestAttributesSequence[2].StudyID", "9", []),
        ("ProcedureCodeSequence[0].CodeValue", "9", []),
    ],
)
def test_in_items_of_sequences(key: str, value: Any, changed: list[str]) -> None:
    ds = nested()
    edited = edit(ds, {key: value})
    expected = {f"RequestAttributesSequence{path}" for path in changed}
    assert {diff.path for diff in diff_data_sets(ds, edited)} == expected
    # ... from bytes, too.
    instance = Instance.from_dataset(ds)
    again = make_edit_filter({key: value}, update_uids=False).apply(instance)
    assert again is not None
    assert {diff.path for diff in diff_data_sets(ds, again.dataset)} == expected
    if not changed:
        assert bytes(again.read(0, again.size)) == bytes(instance.read(0, instance.size))


def test_new_items() -> None:
    items = [
        {"CodeValue": "1", "CodeMeaning": "Größe"},
        {"CodeValue": "2", "EquivalentCodeSequence": [{"CodeValue": "3"}]},
    ]
    edited = edit(data_set(), {"ProcedureCodeSequence": items})
    again = Instance.from_dataset(edited).dataset
    assert [item.CodeValue for item in again.ProcedureCodeSequence] == ["1", "2"]
    assert again.ProcedureCodeSequence[0].CodeMeaning == "Größe"
    assert again.ProcedureCodeSequence[1].EquivalentCodeSequence[0].CodeValue == "3"


def test_private_elements() -> None:
    ds = data_set()
    block = ds.private_block(0x0019, "ACME", create=True)
    block.add_new(1, "DS", "1.5")
    block.add_new(2, "UN", b"text")
    implicit = encoded(copy.deepcopy(ds), ImplicitVRLittleEndian)
    edits = {"(0019,1001)": "2.5", "(0019,1002)": "odd", "(0019,1003)": "never", "(0019,2001)": "never"}
    assert implicit[0x00191001].VR == "UN"
    edited = edit(ds, edits)
    assert (edited[0x00191001].VR, edited[0x00191001].value) == ("DS", 2.5)
    assert edited[0x00191002].value == b"odd "
    assert 0x00191003 not in edited
    assert 0x00192001 not in edited
    assert edit(implicit, edits)[0x00191001].value == b"2.5 "
    assert 0x00191001 not in edit(ds, {"00191001": None})
    assert edit(ds, {"(0019,0010)": "OTHER"})[0x00190010].value == "OTHER"
    with pytest.raises(InvalidDicomError, match=r"\(0019,1001\) cannot be \['much'\]: it must be a number"):
        edit(ds, {"(0019,1001)": "much"})


def test_a_private_element_that_is_known_is_added_to_its_block() -> None:
    ds = data_set()
    ds.private_block(0x0019, "GEMS_ACQU_01", create=True)
    edited = edit(ds, {"(0019,1002)": 7})
    assert (edited[0x00191002].VR, edited[0x00191002].value) == ("SL", 7)


@pytest.mark.parametrize("representation", [0, 1])
def test_a_vr_that_depends_on_the_data_set(representation: int) -> None:
    ds = data_set()
    ds.PixelRepresentation = representation
    if representation:
        assert edit(ds, {"SmallestImagePixelValue": -3})["SmallestImagePixelValue"].VR == "SS"
    else:
        with pytest.raises(InvalidDicomError, match="from 0 to 65535"):
            edit(ds, {"SmallestImagePixelValue": -3})


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({}, "no edits"),
        ({"PatientNam": "x"}, "there is no attribute 'PatientNam'; did you mean PatientName"),
        ({"PatientID": "x" * 65}, "the VR LO has at most 64 characters"),
        ({"PatientID": "a\\b"}, "it has one value, not 2"),
        ({"PatientID": ["a", "b"]}, "it has one value, not 2"),
        ({"PatientID": "a\x1bb"}, "there are control characters in it"),
        ({"PatientID": True}, "it must be text"),
        ({"PatientID": b"x"}, "it must be text"),
        ({"PatientID": object()}, "is no value of an element"),
        ({"PatientName": "a^b^c^d^e^f"}, "a name is Family"),
        ({"Modality": "ct"}, "did you mean CT"),
        ({"StudyDate": "2020-10-31"}, "a date is YYYYMMDD, 20201031 say"),
        ({"StudyDate": "20201032"}, "a date is YYYYMMDD"),
        ({"StudyDate": "20201001-20201031"}, "a date is YYYYMMDD"),
        ({"StudyTime": "25"}, "a time is HHMMSS"),
        ({"AcquisitionDateTime": "20200230"}, "a date with time is"),
        ({"PatientAge": "45"}, "an age is three digits"),
        ({"SeriesNumber": "x"}, "it must be a whole number"),
        ({"SeriesNumber": 1 << 31}, "from -2147483648 to 2147483647"),
        ({"SliceThickness": float("inf")}, "Cannot encode non-finite"),
        ({"SliceThickness": "1.2345678901234567"}, "a number of at most 16 characters"),
        ({"Rows": 70000}, "from 0 to 65535"),
        ({"Rows": 1.5}, "it must be a whole number"),
        ({"RealWorldValueSlope": "x"}, "it must be a number"),
        ({"FrameIncrementPointer": "Nonsense"}, "it must be a keyword or a tag"),
        ({"StudyInstanceUID": "1.02"}, "a UID is at most 64"),
        ({"StudyInstanceUID": None}, "cannot be deleted"),
        ({"SOPInstanceUID": ""}, "cannot be empty"),
        ({"PixelData": "x"}, "which only Python can give"),
        ({"ProcedureCodeSequence": "x"}, "a sequence is edited by items"),
        ({"ProcedureCodeSequence": ["x"]}, "an item of ProcedureCodeSequence cannot be 'x'"),
        ({"ProcedureCodeSequence": [{"CodeValue": None}]}, "has no value"),
        ({"ProcedureCodeSequence": [{"EquivalentCodeSequence[0].CodeValue": "x"}]}, "has no value"),
        ({"PatientID": {"x": "y"}}, "PatientID is no sequence, its VR is LO"),
        ({"PatientID": [{"x": "y"}]}, "it is no sequence"),
        ({"PatientID.StudyID": "x"}, "PatientID is no sequence"),
        ({"ProcedureCodeSequence[0]": "x"}, "names an item of a sequence, not an element"),
        ({"ProcedureCodeSequence[x].CodeValue": "x"}, "nothing to make of|names no element"),
        ({"ProcedureCodeSequence..CodeValue": "x"}, "names no element"),
        ({"": "x"}, "names no element"),
        ({1.5: "x"}, "names no element"),
        ({"TransferSyntaxUID": "1.2"}, "is not edited: it is no attribute of the data set"),
        ({"(0010,0000)": "1"}, "is not edited"),
        ({"PatientID": "1", "(0010,0020)": "2"}, r"'\(0010,0020\)' is edited twice, as 'PatientID' too"),
        ({"SpecificCharacterSet": "ISO_IR 100"}, "it can be ISO_IR 192"),
        ({"RequestAttributesSequence.SpecificCharacterSet": "ISO_IR 192"}, "the character set of items"),
    ],
)
def test_what_makes_no_sense_is_said_at_once(edits: dict[Any, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_edit_filter(edits)


def test_text_that_the_character_set_holds_leaves_it() -> None:
    ds = data_set(SeriesSpec("Vamp003", "Müller^Jürgen", series_description="Übersicht"))
    edited = edit(ds, {"PatientName": "Größe", "StudyDescription": "ascii"})
    assert edited.SpecificCharacterSet == "ISO_IR 100"
    again = Instance.from_dataset(edited).dataset
    assert again.PatientName == "Größe"
    assert again.SeriesDescription == "Übersicht"


@pytest.mark.filterwarnings("ignore:Unknown encoding", "ignore:Failed to (de|en)code")  # of pydicom
@pytest.mark.parametrize("declared", ["ISO_IR 100", "ISO_IR 6", None, "", "ISO_IR 13", "NONSENSE"])
def test_text_that_it_cannot_hold_makes_it_utf_8(declared: str | None) -> None:
    ds = data_set()
    item, inner = Dataset(), Dataset()
    inner.CodeMeaning = "Fuß"
    item.CodeMeaning = "Größe"
    item.EquivalentCodeSequence = [inner]
    item.add_new(0x00190010, "LO", "ACME")
    item.add_new(0x00191001, "UN", b"\xfcnknown!")
    ds.ProcedureCodeSequence = [item]
    ds.SeriesDescription = "Übersicht"
    ds.PatientName = "Müller^Jürgen"
    instance = Instance.from_dataset(ds)
    data = bytes(instance.read(0, instance.size))
    head = data.index(b"CS\x0a\x00ISO_IR 100")
    term = (declared or "").encode().ljust(10)
    patched = data[: head + 4] + term + data[head + 14 :]
    if declared is None:
        patched = data[: head - 4] + data[head + 14 :]
    instance = Instance.from_buffer(
        *(instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid), patched
    )
    edited = make_edit_filter({"StudyDescription": "漢字"}, update_uids=False).apply(instance)
    assert edited is not None
    again = edited.dataset
    assert again.SpecificCharacterSet == "ISO_IR 192"
    assert again.StudyDescription == "漢字"
    assert again[0x00080005].value == "ISO_IR 192"
    assert again.ProcedureCodeSequence[0][0x00191001].value == b"\xfcnknown!"
    if declared not in ("ISO_IR 13", "NONSENSE"):
        assert again.PatientName == "Müller^Jürgen"
        assert again.SeriesDescription == "Übersicht"
        assert again.ProcedureCodeSequence[0].CodeMeaning == "Größe"
        assert again.ProcedureCodeSequence[0].EquivalentCodeSequence[0].CodeMeaning == "Fuß"


def test_items_with_a_character_set_of_their_own() -> None:
    ds = data_set()
    ds.ProcedureCodeSequence = [Dataset(), Dataset()]
    for item, term, text in zip(ds.ProcedureCodeSequence, ("ISO_IR 144", "ISO_IR 192"), ("Люк", "漢"), strict=True):
        item.SpecificCharacterSet = term
        item.CodeMeaning = text
    instance = Instance.from_dataset(ds)
    kept = make_edit_filter({"ProcedureCodeSequence[0].CodeMeaning": "Ключ"}, update_uids=False).apply(instance)
    assert kept is not None
    assert kept.dataset.SpecificCharacterSet == "ISO_IR 100"
    assert [item.CodeMeaning for item in kept.dataset.ProcedureCodeSequence] == ["Ключ", "漢"]
    changed = make_edit_filter({"ProcedureCodeSequence[0].CodeMeaning": "漢字"}, update_uids=False).apply(instance)
    assert changed is not None
    assert changed.dataset.SpecificCharacterSet == "ISO_IR 192"
    assert [item.CodeMeaning for item in changed.dataset.ProcedureCodeSequence] == ["漢字", "漢"]
    assert [item.SpecificCharacterSet for item in changed.dataset.ProcedureCodeSequence] == ["ISO_IR 192"] * 2


def test_utf_8_on_request() -> None:
    ds = data_set(SeriesSpec("Vamp003", "Müller^Jürgen"))
    filt = make_edit_filter({"SpecificCharacterSet": "ISO_IR 192"})
    edited = filt.apply(Instance.from_dataset(ds))
    assert edited is not None
    assert [diff.path for diff in diff_data_sets(ds, edited.dataset)] == ["SpecificCharacterSet"]
    assert "Müller".encode() in bytes(edited.read(0, edited.size))


@given(st.text(st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters="\\"), max_size=64))
def test_any_text_arrives(text: str) -> None:
    edited = Instance.from_dataset(edit(data_set(SeriesSpec("V", "Müller^J")), {"PatientComments": text})).dataset
    assert (edited.PatientComments or "") == text.rstrip(" ")
    assert edited.PatientName == "Müller^J"


def test_what_a_filter_says_of_itself() -> None:
    plain = make_edit_filter({"StudyDescription": "x"}, update_uids=False)
    assert plain.read_elems == set()
    assert plain.write_elems == {0x00081030}
    assert not plain.changes_identity
    inside = make_edit_filter({"RequestAttributesSequence[0].StudyID": "Ü"}, update_uids=False)
    assert inside.read_elems == {0x00400275, 0x00080005}
    assert inside.write_elems == {0x00400275, 0x00080005}
    private = make_edit_filter({"(0019,1001)": "x"}, update_uids=False)
    assert private.read_elems == {0x00191001}
    assert make_edit_filter({"PatientID": "x"}, update_uids=False).changes_identity


def test_records_without_uids() -> None:
    filt = make_edit_filter(
        {"PatientID": "A", "StudyDate": None, "PatientSex": "", "SeriesNumber": 7}, update_uids=False
    )
    items = [(0x00100020, "LO", "B"), (0x00080020, "DA", "2020"), (0x00100040, "CS", "M"), (0x00201208, "IS", "12")]
    record = filt.on_record(Attributes.from_items(items))
    assert record == Attributes.from_items(
        [(0x00100020, "LO", "A"), (0x00100040, "CS", None), (0x00201208, "IS", "12")]
    )


# What pydicom cannot encode again, and why; those that say not who they are, or are cut short, never get to a filter.
CANNOT_BE_ENCODED = {"SC_rgb_jpeg.dcm"}  # encoded with implicit VR, but its transfer syntax says explicit
# Those with VRs that are implicit where the transfer syntax says explicit: pydicom mends it, element by element.
WRITTEN_ANEW = {"rtdose_rle.dcm", "rtdose_rle_1frame.dcm"}


TEXT_VRS = ("LO", "LT", "PN", "SH", "ST", "UT", "SQ", "UN", None)


def sound_instances() -> list[Instance]:
    found = []
    for path in pydicom_part10_files():
        try:
            instance = Instance.from_file(path)
            instance.dataset["SOPClassUID"]
        except (InvalidDicomError, KeyError):
            continue
        if instance.header.complete is not False and path.name not in CANNOT_BE_ENCODED:
            found.append(instance)
    return found


def raw_elements(instance: Instance) -> dict[int, tuple[str | None, Any]]:
    """The top level of an instance, as it is encoded."""
    elements = {}
    for element in instance.dataset.elements():
        if element.tag & 0xFFFF:  # pydicom writes no group lengths, as PS3.5 section 7.2 says
            value = element.value if element.is_raw else (element.value if element.VR != "SQ" else str(element))
            elements[int(element.tag)] = (element.VR, value)
    return elements


@pytest.mark.filterwarnings("ignore")  # pydicom's, about what is in its files
@pytest.mark.parametrize("comments", ["ascii", "Größe 漢字"])
def test_all_files_of_pydicom_differ_in_the_edited_elements_only(comments: str) -> None:
    instances = sound_instances()
    assert len(instances) > 140
    filt = make_edit_filter({"PatientID": "ANON1", "PatientComments": comments}, update_uids=False)
    for instance in instances:
        assert instance.path is not None
        edited = filt.apply(instance)
        assert edited is not None
        changed = {diff.path for diff in diff_data_sets(instance.dataset, edited.dataset)}
        assert {"PatientComments"} <= changed <= {"PatientID", "PatientComments", "SpecificCharacterSet"}
        if instance.path.name in WRITTEN_ANEW:
            continue
        before, after = raw_elements(instance), raw_elements(edited)
        rewritten = {tag for tag in {*before, *after} if before.get(tag) != after.get(tag)}
        allowed = {0x00100020, 0x00104000}
        if comments.isascii() or instance.dataset.get("SpecificCharacterSet") == "ISO_IR 192":
            assert rewritten <= allowed, instance.path
        else:
            text = {tag for tag, (vr, _) in after.items() if vr in TEXT_VRS}
            assert rewritten <= allowed | text | {0x00080005}, instance.path


@pytest.mark.filterwarnings("ignore")
def test_every_character_set_of_pydicom_s_files_survives_the_change_to_utf_8() -> None:
    filt = make_edit_filter({"SpecificCharacterSet": "ISO_IR 192"})
    n_files = 0
    for path in pydicom_charset_files():
        ds = dcmread(path)
        edited = filt(ds)
        assert edited is not None
        edited.file_meta = copy.deepcopy(ds.file_meta)
        edited.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        again = encoded(edited, ExplicitVRLittleEndian)
        assert {diff.path.rpartition(".")[2] for diff in diff_data_sets(ds, again)} <= {"SpecificCharacterSet"}, path
        n_files += 1
    assert n_files > 15


def test_pixel_data_is_not_decoded() -> None:
    path = next(path for path in pydicom_files() if path.name == "JPEG2000.dcm")
    instance = Instance.from_file(path)
    edited = make_edit_filter({"PatientID": "ANON1"}).apply(instance)
    assert edited is not None
    tag = 0x7FE00010
    assert edited.dataset.get_item(tag).value == instance.dataset.get_item(tag).value
    assert edited.transfer_syntax_uid == instance.transfer_syntax_uid


def test_what_cannot_be_read_is_an_error_with_its_name() -> None:
    ds = data_set()
    ds[0x00080020] = DataElement(0x00080020, "DA", "20201031", validation_mode=config.IGNORE)
    deep = Dataset()
    for _ in range(70):
        outer = Dataset()
        outer.ContentSequence = [deep]
        deep = outer
    ds.ContentSequence = deep.ContentSequence
    with pytest.raises(InvalidDicomError, match="nested deeper than 64"):
        make_edit_filter({"PatientID": "ANON1"})(ds)
