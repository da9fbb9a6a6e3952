"""A QueryResult as a set of data sets: what goes in, what comes out, what is refused."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.filereader import dcmread

from dcm.attrs import Attributes
from dcm.errors import InconsistentDataError, InvalidDicomError
from dcm.query import DataNode, DataPath, QueryLevel, QueryProv, QueryResult
from tests.query.samples import (
    IMAGE,
    N_INSTANCES,
    PATIENT,
    SERIES,
    STUDY,
    image,
    images,
    instance_sets,
    levels,
    nodes,
    record,
    result,
    study,
    uids_of,
)


def check_consistent(qr: QueryResult) -> None:
    """Whatever way a result is looked at, it shows the same tree, and nothing is left of what was removed."""
    walked = {level: [path for path, _ in qr.walk() if path.level == level] for level in QueryLevel}
    assert [path.uids[-1] for path in walked[PATIENT]] == list(qr.patients())
    listing = (qr.patients, qr.studies, qr.series, qr.instances)
    for level in range(qr.level + 1):
        assert sorted(path.uids[-1] for path in walked[QueryLevel(level)]) == sorted(listing[level]())
        for path in walked[QueryLevel(level)]:
            assert qr.get_path(path.end) == path
            assert path in qr
            assert path.end in qr
    assert {path.uids[-1] for path in walked[qr.level]} == set(qr.uids())
    assert len(qr) == len(walked[qr.level]) == qr.get_count(qr.level)


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "del"]), st.integers(0, N_INSTANCES - 1))), levels)
def test_adding_and_removing_keeps_the_tree_in_order(steps: list[tuple[str, int]], level: QueryLevel) -> None:
    qr = QueryResult(level)
    model: dict[str, None] = {}
    for step, number in steps:
        uid = uids_of(number)[level]
        if step == "add":
            assert qr.add(image(number)) == (uid not in model)
            model.setdefault(uid)
        elif uid in model:
            if step == "remove":
                qr.remove(image(number))
            else:
                del qr[uid]
            del model[uid]
        else:
            with pytest.raises(KeyError):
                qr.remove(image(number))
            with pytest.raises(KeyError):
                del qr[uid]
    assert list(qr.uids()) == list(model)
    check_consistent(qr)
    for number in range(N_INSTANCES):
        assert (image(number) in qr) == (uids_of(number)[level] in qr) == (uids_of(number)[level] in model)


def test_a_data_set_of_a_finer_level_is_taken_for_what_it_says_about_this_one() -> None:
    qr = result([], STUDY)
    assert qr.add(image(0))
    assert not qr.add(image(1))  # another instance of the same study
    (rec,) = qr.records()
    assert rec == record(
        PatientID="P0", PatientName="Name^P0", StudyInstanceUID="1.1.0", StudyDate="20200101", StudyTime="120000"
    )
    assert qr.n_instances() is None


def test_the_first_data_set_stays() -> None:
    qr = QueryResult(STUDY, [study("1", 10)])
    assert not qr.add(study("1", 20))
    assert qr.n_instances() == 10


def test_datasets_come_out_as_they_went_in_and_independent() -> None:
    ds = Dataset()
    ds.PatientID, ds.StudyInstanceUID, ds.StudyDescription = "P", "1.2", "Zähne"
    qr = QueryResult(STUDY, [ds])
    assert qr["1.2"].StudyDescription == "Zähne"
    assert [item.StudyInstanceUID for item in qr] == ["1.2"]
    qr["1.2"].StudyDescription = "changed"
    ds.StudyDescription = "changed"
    assert qr["1.2"].StudyDescription == "Zähne"
    with pytest.raises(KeyError):
        qr["1.3"]
    assert ds in qr
    qr.remove(ds)
    assert ds not in qr
    assert not qr


def test_what_describes_is_kept_of_a_file_and_the_payload_is_not() -> None:
    path = get_testdata_file("CT_small.dcm")
    assert isinstance(path, str)
    ds = dcmread(path)
    ds.add_new(0x00091001, "LO", "private")
    (rec,) = QueryResult(IMAGE, [ds]).records()
    assert rec.text(0x00080080) == ds.InstitutionName
    assert rec[0x00280010] == ds.Rows
    assert 0x7FE00010 not in rec
    assert all(not tag >> 16 & 1 and tag >> 16 >= 8 for tag in rec)
    assert len(pickle.dumps(rec)) < 5000


def test_clear_keeps_where_it_came_from() -> None:
    qr = QueryResult(IMAGE, [image(0)], QueryProv("mypacs"))
    qr.clear()
    assert len(qr) == qr.n_patients() == 0
    assert qr.prov.source == "mypacs"
    check_consistent(qr)


def test_membership() -> None:
    qr = result([0, 1, 5], SERIES)
    assert "1.2.0" in qr
    assert "1.1.0" not in qr  # a study, not a data set
    assert DataNode(STUDY, "1.1.0") in qr
    assert DataNode(IMAGE, "1.3.0") not in qr
    assert DataPath(SERIES, ("P0", "1.1.0", "1.2.0")) in qr
    assert DataPath(SERIES, ("P0", "1.1.1", "1.2.0")) not in qr
    assert DataPath(IMAGE, uids_of(0)) not in qr
    assert image(0).without([0x0020000E]) not in qr
    assert 5 not in qr
    elsewhere = image(0).replace([(0x0020000D, "UI", "9.9")])
    assert elsewhere not in qr
    with pytest.raises(KeyError):
        qr.remove(elsewhere)


# --- identifiers


@pytest.mark.parametrize(
    ("level", "missing"),
    [(level, key) for level in (STUDY, SERIES, IMAGE) for key in QueryLevel if STUDY <= key <= level]
    + [(PATIENT, PATIENT)],
)
@pytest.mark.parametrize("how", ["absent", "empty", "blank"])
def test_a_data_set_without_its_identifiers_is_invalid(level: QueryLevel, missing: QueryLevel, how: str) -> None:
    rec = image(0).without([missing.uid_tag])
    if how != "absent":
        rec = rec.replace([(missing.uid_tag, "UI", "" if how == "empty" else None)])
    qr = QueryResult(level)
    with pytest.raises(InvalidDicomError, match=f"{level.name} level has no {missing.uid_keyword}"):
        qr.add(rec)
    with pytest.raises(InvalidDicomError):
        qr.remove(rec)
    assert not qr
    check_consistent(qr)


def test_a_list_of_uids_is_no_identifier() -> None:
    qr = QueryResult(IMAGE, [image(0)])
    for uids in (("1.3.1", "1.3.2"), "1.3.1\\1.3.2"):
        with pytest.raises(InvalidDicomError, match=r"several values of SOPInstanceUID for series 1\.2\.0"):
            qr.add(image(1).replace([(0x00080018, "UI", uids)]))
    assert len(qr) == 1


def test_uids_pass_as_they_are() -> None:
    qr = QueryResult(STUDY, [study("1.02.a*", 3)])
    assert list(qr.studies()) == ["1.02.a*"]


def test_messages_are_one_safe_line_without_names() -> None:
    qr = QueryResult(IMAGE, [image(0).replace([(0x0020000D, "UI", "1\x1b[31m\n2")])])
    with pytest.raises(InconsistentDataError) as caught:
        qr.add(image(0).replace([(0x0020000D, "UI", "1\x1b[31m\n2"), (0x00100020, "LO", "Secret")]))
    assert str(caught.value).isprintable()
    assert "Secret" not in str(caught.value)
    assert "P0" not in str(caught.value)


# --- contradictions


@pytest.mark.parametrize(
    ("level", "tag", "value", "message"),
    [
        (STUDY, 0x00100020, "Other", "study 1.1.0 is in two patients"),
        (SERIES, 0x00100020, "Other", "study 1.1.0 is in two patients"),
        (IMAGE, 0x00100020, "P1", "study 1.1.0 is in two patients"),
        (SERIES, 0x0020000D, "1.1.1", "series 1.2.0 is in two studies"),
        (IMAGE, 0x0020000D, "1.9", "series 1.2.0 is in two studies"),
        (IMAGE, 0x0020000E, "1.2.1", "instance 1.3.0 is in two series"),
        (IMAGE, 0x0020000E, "1.2.99", "instance 1.3.0 is in two series"),
    ],
)
def test_a_contradiction_is_refused_and_changes_nothing(level: QueryLevel, tag: int, value: str, message: str) -> None:
    qr = result([0, 2, 4, 8], level)
    before = qr.copy()
    other = image(0).replace([(tag, "UI", value)])
    with pytest.raises(InconsistentDataError, match=f"^{message}$"):
        qr.add(other)
    assert qr == before
    check_consistent(qr)
    with pytest.raises(InconsistentDataError, match=message):
        qr | QueryResult(level, [other])
    with pytest.raises(InconsistentDataError, match=message):
        qr |= QueryResult(level, [image(20), other])
    assert qr == before


def test_one_uid_at_two_levels_is_no_contradiction() -> None:
    rec = record(PatientID="1", StudyInstanceUID="1", SeriesInstanceUID="1", SOPInstanceUID="1")
    qr = QueryResult(IMAGE, [rec])
    assert qr.get_path(DataNode(IMAGE, "1")).uids == ("1", "1", "1", "1")
    check_consistent(qr)


# --- patients without a PatientID


def nameless(number: int) -> Attributes:
    return image(number).without([0x00100020])


@pytest.mark.parametrize("level", [STUDY, SERIES, IMAGE])
def test_a_patient_may_have_no_id(level: QueryLevel) -> None:
    qr = QueryResult(level, [nameless(0), nameless(9), image(20)])
    assert list(qr.patients()) == ["", "P2"]
    assert list(qr.studies("")) == ["1.1.0", "1.1.2"]
    assert nameless(0) in qr
    assert image(0) in qr  # add would find it there, too
    assert nameless(20) in qr
    qr.remove(nameless(20))
    assert list(qr.patients()) == [""]
    assert qr.reduced(PATIENT).n_studies(DataNode(PATIENT, "")) == 2
    assert QueryResult.from_json(qr.reduced(PATIENT).to_json()) == qr.reduced(PATIENT)
    check_consistent(qr)


@given(st.lists(st.tuples(st.integers(0, N_INSTANCES - 1), st.booleans()), unique_by=lambda item: item[0]), levels)
def test_an_absent_patient_id_contradicts_nothing(items: list[tuple[int, bool]], level: QueryLevel) -> None:
    if level == PATIENT:
        items = [(number, True) for number, _ in items]
    qr = QueryResult(level, [image(number) if named else nameless(number) for number, named in items])
    check_consistent(qr)
    known = {uids_of(number)[STUDY] for number, named in items if named}
    for number, _ in items:
        path = qr.get_path(DataNode(level, uids_of(number)[level]))
        assert path.uids[0] == (uids_of(number)[0] if uids_of(number)[STUDY] in known else "")
        assert (
            next(rec for rec in qr.records() if rec.text(level.uid_tag) == path.uids[-1]).text(0x00100020)
            == path.uids[0]
        )


@given(instance_sets, instance_sets)
def test_union_finds_the_patient_of_a_study(named: frozenset[int], other: frozenset[int]) -> None:
    left, right = images(named), QueryResult(IMAGE, map(nameless, sorted(other)))
    for both in (left | right, right | left):
        assert set(both.uids()) == nodes(named | other, IMAGE)
        known = nodes(named, STUDY)
        for number in other:
            patient = both.get_path(DataNode(IMAGE, uids_of(number)[IMAGE])).uids[0]
            assert patient == (uids_of(number)[0] if uids_of(number)[STUDY] in known else "")
        check_consistent(both)


# --- copies


@given(instance_sets, levels)
def test_copies_are_equal_and_independent(numbers: frozenset[int], level: QueryLevel) -> None:
    qr = result(numbers, level)
    qr.prov = QueryProv("mypacs", ["StudyDate"])
    for other in (qr.copy(), copy.copy(qr), copy.deepcopy(qr), pickle.loads(pickle.dumps(qr))):
        assert other == qr
        assert other.prov == qr.prov
        assert list(other.records()) == list(qr.records())
        other.clear()
        other.add(image(0))
        check_consistent(qr)
        assert set(qr.uids()) == nodes(numbers, level)


def test_texts_in_common_are_held_once() -> None:
    def fresh(rec: Attributes) -> Attributes:
        return Attributes.from_items(
            [
                (tag, vr, bytes(value, "ascii").decode() if isinstance(value, str) else value)
                for tag, vr, value in rec.elements()
            ]
        )

    words = ("ORIGINAL", "PRIMARY")
    many = [
        fresh(image(i).replace([(0x00080008, "CS", tuple(f"{word}" for word in words)), (0x00189074, "FD", -0.0)]))
        for i in range(4)
    ]
    many.append(many[-1].replace([(0x00080018, "UI", "1.3.9"), (0x00189074, "FD", 0.0)]))
    qr = QueryResult(IMAGE, many)
    for tag in (0x00100010, 0x0020000D, 0x00080060, 0x00080008):
        assert len({id(rec[tag]) for rec in qr.records()}) == 1
    assert [str(rec[0x00189074]) for rec in qr.records()] == ["-0.0"] * 4 + ["0.0"]
    assert list(qr.records()) == many


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="4"):
        QueryResult(4)  # type: ignore[arg-type]


def test_results_cannot_be_keys() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(images([0]))


def test_repr_counts_and_names_nobody() -> None:
    assert repr(images([0, 1, 2])) == "<QueryResult IMAGE: 1 patients | 1 studies | 2 series | 3 instances>"
