"""Filters say what they read and write, and leave their argument alone."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import UID

from dcm.attrs import Attributes
from dcm.errors import InvalidDicomError, UndecidedError
from dcm.filt import Filter, MultiFilter, make_edit_filter, make_reject_filter, parse_selector
from dcm.instance import Instance
from dcm.lazyset import AllSet, LazySet
from tests.data import data_set

A, B, C = 0x00081030, 0x0008103E, 0x00181030  # Study Description, Series Description, Protocol Name


def shout(ds: Dataset) -> Dataset:
    ds.StudyDescription = ds.StudyDescription.upper()
    return ds


def test_keywords_and_tags_name_elements() -> None:
    filt = Filter(shout, ["StudyDescription"], LazySet(["(0008,1030)", B]), AllSet - {"PatientID"})
    assert filt.read_elems == {A}
    assert filt.write_elems == {A, B}
    assert filt.invertible_elems == AllSet - {0x00100020}
    assert Filter(shout).read_elems == AllSet
    assert Filter(shout).invertible_elems == set()
    assert "shout" in repr(filt)


@pytest.mark.parametrize(
    ("writes", "changes"),
    [(AllSet, True), (["PatientID"], True), (["SeriesInstanceUID"], True), (["PatientName"], False), ([], False)],
)
def test_whether_it_changes_the_identity(writes: LazySet[int], changes: bool) -> None:
    assert Filter(shout, AllSet, writes).changes_identity is changes


def test_the_argument_stays_as_it_is_whatever_the_function_does() -> None:
    def ruin(ds: Dataset) -> None:
        ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "9"
        ds.ReferencedImageSequence.append(Dataset())
        ds.PatientName = "X"
        ds.file_meta.TransferSyntaxUID = UID("9")
        ds.private_block(0x0009, "ACME", create=True)
        for element in ds:
            del ds[element.tag]

    ds = data_set()
    ds.ReferencedImageSequence = [Dataset()]
    ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2"
    before, elements = copy.deepcopy(ds), list(ds.elements())
    assert Filter(ruin)(ds) is None
    assert all(now is then for now, then in zip(ds.elements(), elements, strict=True))
    assert ds == before
    assert ds.file_meta == before.file_meta


def test_what_writes_nothing_gives_back_the_same() -> None:
    ds = data_set()
    assert Filter(lambda ds: ds, AllSet, ())(ds) is ds
    instance = Instance.from_dataset(ds)
    assert Filter(lambda ds: ds, AllSet, ()).apply(instance) is instance
    assert Filter(lambda ds: None, AllSet, ()).apply(instance) is None


def test_an_instance_through_a_filter() -> None:
    with Instance.from_dataset(data_set()) as instance:
        instance.source_ae = "SCANNER"
        edited = Filter(shout).apply(instance)
        assert edited is not None
        assert edited.dataset.StudyDescription == "NIGHT SCAN"
        assert (edited.source_ae, edited.transfer_syntax_uid) == ("SCANNER", instance.transfer_syntax_uid)
        assert instance.dataset.StudyDescription == "Night scan"


def test_half_an_instance_is_not_made_whole() -> None:
    whole = Instance.from_dataset(data_set())
    cut = Instance.from_buffer(
        *(whole.sop_class_uid, whole.sop_instance_uid, whole.transfer_syntax_uid), bytes(whole.read(0, whole.size - 10))
    )
    with pytest.raises(InvalidDicomError, match="is not complete: ends within"):
        Filter(shout).apply(cut)


def test_a_function_that_fails_says_for_which_instance() -> None:
    def fail(ds: Dataset) -> Dataset:
        raise KeyError("nothing")

    instance = Instance.from_dataset(data_set())
    with pytest.raises(InvalidDicomError, match=f"fail failed for {instance.sop_instance_uid}: 'nothing'"):
        Filter(fail).apply(instance)


def test_a_record_by_the_function_where_it_holds_what_is_read() -> None:
    filt = Filter(shout, ["StudyDescription"], ["StudyDescription"])
    record = Attributes.from_items([(A, "LO", "Night scan"), (0x00201208, "IS", "12")])
    assert filt.on_record(record) == record.replace([(A, "LO", "NIGHT SCAN")])
    with pytest.raises(UndecidedError, match="shout depends on StudyDescription, which the query result does not have"):
        filt.on_record(record.without({A}))
    with pytest.raises(UndecidedError):
        filt.on_record(record.replace([(A, "LO", None)]))
    with pytest.raises(UndecidedError, match="has to see the data itself"):
        Filter(shout).on_record(record)
    rejecting = Filter(lambda ds: None, ["StudyDescription"], ())
    assert rejecting.on_record(record) is None


def test_several_run_in_their_order_until_one_rejects() -> None:
    seen = []

    def note(name: str) -> Filter:
        def func(ds: Dataset) -> Dataset:
            seen.append(name)
            return ds

        return Filter(func, (), ())

    filt = MultiFilter([note("a"), make_reject_filter(parse_selector("PatientID == Vamp001")), note("b")])
    assert filt(data_set()) is None
    assert seen == ["a"]
    assert "then" in filt.name


def test_a_later_one_does_not_read_from_the_original_what_an_earlier_one_wrote() -> None:
    first = Filter(shout, [A], [B], [B])
    second = Filter(shout, [B, C], [C])
    both = MultiFilter([first, second])
    assert both.read_elems == {A, C}
    assert both.write_elems == {B, C}
    assert both.invertible_elems == {B}
    assert MultiFilter([second, first]).read_elems == {A, B, C}


def test_what_one_of_them_cannot_invert_cannot_be_inverted() -> None:
    assert MultiFilter([Filter(shout, [], [A], [A]), Filter(shout, [], [A])]).invertible_elems == set()
    assert MultiFilter([Filter(shout, [], [A], [A]), Filter(shout, [], [A], [A])]).invertible_elems == {A}


def test_none_at_all_changes_nothing() -> None:
    filt, ds, record = MultiFilter([]), data_set(), Attributes.from_items([(A, "LO", "x")])
    assert all(elems == set() for elems in (filt.read_elems, filt.write_elems, filt.invertible_elems))
    assert filt(ds) is ds
    assert filt.on_record(record) is record


def test_records_go_through_all_of_them() -> None:
    edit = make_edit_filter({"StudyDescription": "ProjectB"}, update_uids=False)
    keep = make_reject_filter(parse_selector("StudyDescription != ProjectB"))
    record = Attributes.from_items([(A, "LO", "ProjectA")])
    assert MultiFilter([edit, keep]).on_record(record) == Attributes.from_items([(A, "LO", "ProjectB")])
    assert MultiFilter([keep, edit]).on_record(record) is None


TAGS = st.frozensets(st.sampled_from([A, B, C]))


@given(st.lists(st.tuples(TAGS, TAGS), max_size=4))
def test_the_sets_tell_what_the_result_depends_on(parts: list[tuple[frozenset[int], frozenset[int]]]) -> None:
    """Each filter writes a digest of what it reads: only an element of `read_elems` can have an influence."""

    def digest(reads: frozenset[int], writes: frozenset[int]) -> Filter:
        def func(ds: Dataset) -> Dataset:
            text = "".join(str(ds[tag].value) for tag in sorted(reads))
            for tag in writes:
                ds[tag].value = f"{abs(hash(text)) % 10**9}"
            return ds

        return Filter(func, reads, writes)

    filt = MultiFilter([digest(reads, writes) for reads, writes in parts])
    base = Dataset()
    for tag in (A, B, C):
        base.add_new(tag, "LO", "x")
    expected = filt(base)
    assert expected is not None
    for tag in (A, B, C):
        other = copy.deepcopy(base)
        other[tag].value = "y"
        result = filt(other)
        assert result is not None
        changed = {one for one in (A, B, C) if result[one] != expected[one]}
        if tag not in filt.read_elems:
            assert changed <= ({tag} - set(filt.write_elems))


def test_importing_it_imports_no_dicom_library() -> None:
    code = (
        "import sys; import dcm.filt, dcm.diff, dcm.normalize; dcm.filt.parse_selector('PatientID == x');"
        "dcm.filt.make_reject_filter(dcm.filt.parse_selector('StudyDate > 20200101'));"
        "sys.exit(bool({'pydicom', 'numpy'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
