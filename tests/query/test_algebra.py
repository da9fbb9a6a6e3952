"""Set algebra of query results, against plain sets of instance numbers, within a level and across levels."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.errors import QueryError
from dcm.node import DcmNode, RemoteNode
from dcm.query import DataNode, QueryLevel, QueryProv, QueryResult
from tests.query.samples import (
    IMAGE,
    PATIENT,
    SERIES,
    STUDY,
    images,
    in_study,
    instance_sets,
    levels,
    nodes,
    record,
    result,
    studies,
    study,
    uids_of,
    uncounted,
)
from tests.query.test_sets import check_consistent

Numbers = frozenset[int]
OPERATORS: list[Callable[[Any, Any], Any]] = [operator.or_, operator.and_, operator.sub, operator.xor]
IN_PLACE: list[Callable[[Any, Any], Any]] = [operator.ior, operator.iand, operator.isub, operator.ixor]


def below(numbers: Numbers, level: QueryLevel, uid: str) -> Numbers:
    return frozenset(number for number in numbers if uids_of(number)[level] == uid)


# --- one level


@given(instance_sets, instance_sets, st.sampled_from(OPERATORS))
def test_instances_are_a_set(left: Numbers, right: Numbers, op: Callable[[Any, Any], Any]) -> None:
    found = op(images(left), images(right))
    assert set(found.uids()) == nodes(op(left, right), IMAGE)
    assert found == images(op(left, right))
    check_consistent(found)


@given(instance_sets, instance_sets, levels, st.sampled_from(OPERATORS))
def test_without_counts_any_level_is_a_set(
    left: Numbers, right: Numbers, level: QueryLevel, op: Callable[[Any, Any], Any]
) -> None:
    found = op(uncounted(left, level), uncounted(right, level))
    assert set(found.uids()) == op(nodes(left, level), nodes(right, level))
    check_consistent(found)


@given(instance_sets, instance_sets, levels, levels, st.sampled_from([*range(4)]))
def test_in_place_is_the_same_and_operands_stay(
    left: Numbers, right: Numbers, left_level: QueryLevel, right_level: QueryLevel, which: int
) -> None:
    a, b = result(left, left_level), result(right, right_level)
    a.prov, b.prov = QueryProv("a", ["StudyDate"]), QueryProv("b", ["StudyDate", "StudyTime"])
    expected = OPERATORS[which](a, b)
    assert a == result(left, left_level)
    assert b == result(right, right_level)
    changed = a.copy()
    done = IN_PLACE[which](changed, b)
    assert done == expected
    assert done.level == expected.level
    assert done.prov == expected.prov
    assert b == result(right, right_level)
    check_consistent(done)


@given(instance_sets, levels)
def test_with_itself(numbers: Numbers, level: QueryLevel) -> None:
    for qr in (result(numbers, level), uncounted(numbers, level)):
        assert qr | qr == qr & qr == qr
        assert not qr - qr
        assert not qr ^ qr
        assert qr.equivalent(qr.copy())
        qr |= qr
        assert set(qr.uids()) == nodes(numbers, level)
        qr -= qr
        assert not qr


@given(instance_sets, instance_sets, levels)
def test_left_is_what_is_in_both_and_what_is_left(left: Numbers, right: Numbers, level: QueryLevel) -> None:
    a, b = uncounted(left, level), uncounted(right, level)
    assert (a & b) | (a - b) == a
    assert a | b == (a - b) | (a & b) | (b - a)


# --- across levels


@given(instance_sets, instance_sets, levels, levels)
def test_union_is_at_the_coarser_level(left: Numbers, right: Numbers, one: QueryLevel, other: QueryLevel) -> None:
    found = result(left, one) | result(right, other)
    level = min(one, other)
    assert found.level == level
    assert set(found.uids()) == nodes(left | right, level)
    for uid in found.uids() if level < IMAGE else ():
        here, there = len(below(left, level, uid)), len(below(right, level, uid))
        agreed = here if here == there or not there else there if not here else None
        assert found.n_instances(DataNode(level, uid)) == agreed
    check_consistent(found)


@given(instance_sets, instance_sets, levels, levels)
def test_intersection_is_at_the_finer_level(left: Numbers, right: Numbers, one: QueryLevel, other: QueryLevel) -> None:
    found = result(left, one) & result(right, other)
    assert found.level == max(one, other)
    numbers = left if one >= other else right
    coarse = nodes(right if one >= other else left, min(one, other))
    inside = frozenset(number for number in numbers if uids_of(number)[min(one, other)] in coarse)
    assert set(found.uids()) == nodes(inside, found.level)
    check_consistent(found)


@given(instance_sets, instance_sets, levels, levels)
def test_a_part_is_taken_away_exactly(whole: Numbers, part: Numbers, one: QueryLevel, other: QueryLevel) -> None:
    part &= whole
    found = result(whole, one) - result(part, other)
    level = min(one, other)
    assert found.level == one
    # A node is gone if and only if all of it was taken away ...
    kept = {uid for uid in nodes(whole, level) if below(whole - part, level, uid)}
    if one == IMAGE == other:
        assert set(found.uids()) == nodes(whole - part, IMAGE)
    elif one <= other:
        # ... and of one that is not, what is left is known.
        assert set(found.uids()) == kept
        for uid in kept:
            assert found.n_instances(DataNode(level, uid)) == len(below(whole - part, level, uid))
    else:
        # ... and of one that is not, nobody knows which instances are left: all may be.
        assert set(found.uids()) == {uids_of(i)[one] for i in whole if uids_of(i)[level] in kept}
    # So never is anything lost that was not in the part.
    assert nodes(whole - part, one) <= set(found.uids())
    check_consistent(found)


@given(instance_sets, instance_sets, levels, levels)
def test_ignoring_subcounts_takes_away_whole_nodes(
    left: Numbers, right: Numbers, one: QueryLevel, other: QueryLevel
) -> None:
    level = min(one, other)
    gone = nodes(right, level)
    expected = {uids_of(number)[one] for number in left if uids_of(number)[level] not in gone}
    for a, b in ((result(left, one), result(right, other)), (uncounted(left, one), uncounted(right, other))):
        found = a.sub(b, ignore_subcounts=True)
        assert found.level == one
        assert set(found.uids()) == expected
        check_consistent(found)


@given(instance_sets, levels, levels)
def test_equivalent_across_levels(numbers: Numbers, one: QueryLevel, other: QueryLevel) -> None:
    a, b = result(numbers, one), result(numbers, other)
    assert a.equivalent(b)
    assert (a == b) == (one == other)
    assert not a - b
    for number in sorted(numbers)[:1]:
        fewer = result(numbers - {number}, other)
        assert not a.equivalent(fewer)
        assert not fewer.equivalent(a)


# --- counts that take part


def counts(qr: QueryResult, uid: str = "1") -> tuple[int | None, int | None]:
    node = DataNode(STUDY, uid)
    return qr.n_series(node), qr.n_instances(node)


def test_instances_taken_from_a_study() -> None:
    pacs = studies(study("1", 25, 3), study("2", 5, 1))
    rest = pacs - in_study("1", 20)
    assert rest.level == STUDY
    assert counts(rest) == (None, 5)  # in how many series they are, nobody knows
    assert counts(rest, "2") == (1, 5)
    assert counts(rest - in_study("1", 4, 20)) == (None, 1)
    assert list((rest - in_study("1", 5, 20)).uids()) == ["2"]
    assert list((pacs - in_study("1", 26)).uids()) == ["2"]
    assert rest["1"].StudyDate == "20200101"


def test_unknown_is_not_zero() -> None:
    unknown = studies(study("1"))
    rest = unknown - in_study("1", 20)
    assert counts(rest) == (None, None)
    # The instances are in a study that the other side has, but how much of it it has is not said.
    assert in_study("1", 20) - unknown == in_study("1", 20)
    assert not in_study("1", 20).sub(unknown, ignore_subcounts=True)


@pytest.mark.parametrize("text", ["0", "", "many", "-1", "1_0", "٣", "1" * 13])
def test_what_is_no_count_is_unknown(text: str) -> None:
    rec = study("1").replace([(0x00201208, "IS", text)])
    assert studies(rec).n_instances() is None
    assert len(studies(rec) - in_study("1", 3)) == 1


@pytest.mark.parametrize(
    ("left", "right", "rest"),
    [
        # (series, instances) here, there, and what is left: None where the study is gone
        ((3, 25), (3, 25), None),
        ((3, 25), (3, 24), (None, 1)),
        ((3, 25), (2, 25), None),  # instances decide
        ((3, 24), (3, 25), None),
        ((3, None), (3, None), None),
        ((3, None), (2, None), (None, None)),
        ((2, None), (3, None), None),
        ((3, 25), (3, None), (None, None)),
        ((3, None), (3, 25), (None, None)),
        ((None, 25), (3, None), (None, None)),
        ((None, None), (None, None), None),
        ((None, None), (3, 25), (None, None)),
    ],
)
def test_counts_of_two_peers(
    left: tuple[int | None, int | None],
    right: tuple[int | None, int | None],
    rest: tuple[int | None, int | None] | None,
) -> None:
    a, b = studies(study("1", left[1], left[0])), studies(study("1", right[1], right[0]))
    if rest is None:
        assert not a - b
    else:
        assert counts(a - b) == rest
    assert a.equivalent(b) == b.equivalent(a) == (not a - b and not b - a)


def test_series_taken_from_a_study_that_knows_only_how_many_series_it_has() -> None:
    def series(*uids: str) -> QueryResult:
        return QueryResult(SERIES, [record(PatientID="P", StudyInstanceUID="1", SeriesInstanceUID=uid) for uid in uids])

    assert not studies(study("1", None, 2)) - series("1.1", "1.2")
    assert counts(studies(study("1", None, 3)) - series("1.1", "1.2")) == (None, None)
    # Instances of both series, but not all of either perhaps.
    assert counts(studies(study("1", None, 2)) - in_study("1", 20)) == (None, None)


def test_patients() -> None:
    patients = QueryResult(
        PATIENT,
        [
            record(
                PatientID="P",
                PatientName="A^B",
                NumberOfPatientRelatedStudies="2",
                NumberOfPatientRelatedInstances="30",
            )
        ],
    )
    assert (patients - in_study("1", 20)).n_instances() == 10
    assert (patients - in_study("1", 20)).n_studies() is None
    assert not patients - (in_study("1", 20) | in_study("2", 10))
    assert in_study("1", 20) - patients == images([])
    assert (patients & in_study("1", 20)) == in_study("1", 20)


def test_counts_on_which_two_results_disagree_become_unknown() -> None:
    a, b = studies(study("1", 10, 2)), studies(study("1", 8, 2), study("2", 3))
    assert counts(a | b) == counts(b | a) == counts(a & b) == (2, None)
    assert counts(a | b, "2") == (None, 3)
    assert counts(a | studies(study("1"))) == (None, None)
    a |= in_study("1", 10)
    assert counts(a) == (None, 10)


def test_what_two_peers_file_under_different_patients_is_the_same_study() -> None:
    ours, theirs = studies(study("1", 10)), studies(study("1", 10, patient="Q"), study("2", 1, patient="Q"))
    assert not ours - theirs
    assert list((theirs - ours).uids()) == ["2"]
    assert ours & theirs == ours
    assert ours != theirs & ours
    assert not ours.equivalent(theirs & ours)


# --- equality


def test_equality_is_about_nodes_and_counts() -> None:
    assert studies(study("1", 10)) == studies(study("1", 10).replace([(0x00080020, "DA", "19990101")]))
    assert studies(study("1", 10)) != studies(study("1", 11))
    assert studies(study("1", 10)) != studies(study("1"))
    assert studies(study("1", 10)) != studies(study("2", 10))
    assert studies() != images([])
    assert studies() == studies()
    assert studies().equivalent(images([]))
    assert studies() != []
    assert studies(study("1", 10, 2)) != studies(study("1", 10))
    assert studies(study("1", 10, 2)).equivalent(studies(study("1", 10)))


def test_series_under_another_patient_differ() -> None:
    one = QueryResult(SERIES, [record(PatientID="A", StudyInstanceUID="1", SeriesInstanceUID="2")])
    other = QueryResult(SERIES, [record(PatientID="B", StudyInstanceUID="1", SeriesInstanceUID="2")])
    elsewhere = QueryResult(SERIES, [record(PatientID="A", StudyInstanceUID="9", SeriesInstanceUID="2")])
    assert one != other
    assert one != elsewhere


# --- provenance

MY, THEIRS = DcmNode("mypacs.org", "MYPACS", 104), "theirs"


def test_provenance_of_a_node_is_its_address() -> None:
    prov = QueryProv(RemoteNode("mypacs.org", "MYPACS", 104, max_assoc=1), ["StudyDate"])
    assert prov == QueryProv(MY, {"StudyDate"})
    assert hash(prov) == hash(QueryProv(MY, ("StudyDate",)))
    assert prov
    assert not QueryProv()
    with pytest.raises(Exception, match="several keywords"):
        QueryProv(queried_elems="StudyDate")


@given(instance_sets, instance_sets)
def test_provenance_of_parts_and_unions(left: Numbers, right: Numbers) -> None:
    a, b = images(left | {0}), images(right | {1})
    a.prov = QueryProv(MY, ["StudyDate", "Modality"], THEIRS)
    b.prov = QueryProv(MY, ["StudyDate", "StudyTime"])
    merged = QueryProv(MY, ["StudyDate"])
    assert (a | b).prov == (b | a).prov == (a ^ b).prov == merged
    assert (a - b).prov == (a & b).prov == a.sub_query(DataNode(PATIENT, "P0")).prov == a.prov
    assert (b - a).prov == b.prov
    b.prov = QueryProv(THEIRS)
    assert (a | b).prov == QueryProv()
    assert (images([]) | a).prov == (a | images([])).prov == a.prov
    assert (images([5]) | a).prov == QueryProv()


def test_provenance_across_levels() -> None:
    fine, coarse = images([0]), result([0], STUDY)
    fine.prov, coarse.prov = QueryProv(MY, ["Modality", "StudyDate", "Rows", "Odd"]), QueryProv(THEIRS)
    assert (fine & coarse).prov == (coarse & fine).prov == fine.prov
    assert (coarse - fine).prov == coarse.prov
    assert fine.reduced(STUDY).prov == QueryProv(MY, ["StudyDate"])
    assert fine.reduced(SERIES).prov == QueryProv(MY, ["StudyDate", "Modality"])
    assert fine.reduced(IMAGE).prov == fine.prov


def test_a_loop_of_unions_takes_the_provenance_of_the_first() -> None:
    total = QueryResult(IMAGE)
    for number in range(3):
        part = images([number])
        part.prov = QueryProv(MY, ["StudyDate"])
        total |= part
    assert total.prov == QueryProv(MY, ["StudyDate"])


# --- parts


@given(instance_sets, levels, levels)
def test_reduced(numbers: Numbers, level: QueryLevel, finer: QueryLevel) -> None:
    if level > finer:
        with pytest.raises(QueryError, match=f"query at {level.name} level"):
            result(numbers, finer).reduced(level)
        return
    qr = result(numbers, finer).reduced(level)
    assert set(qr.uids()) == nodes(numbers, level)
    assert qr == images(numbers).reduced(level)
    for counted in QueryLevel:
        assert qr.get_count(counted) == len(nodes(numbers, counted))
    check_consistent(qr)


@given(instance_sets.filter(bool), levels, levels)
def test_sub_queries(numbers: Numbers, node_level: QueryLevel, max_level: QueryLevel) -> None:
    qr = images(numbers)
    parts = list(qr.level_sub_queries(node_level))
    assert len(parts) == len(nodes(numbers, node_level))
    total = QueryResult(IMAGE)
    for part in parts:
        assert part.get_count(node_level) == 1
        total |= part
        check_consistent(part)
    assert total == qr
    node = DataNode(node_level, uids_of(min(numbers))[node_level])
    if max_level < node_level:
        with pytest.raises(ValueError, match="is coarser than a node"):
            qr.sub_query(node, max_level)
    else:
        assert qr.sub_query(node, max_level) == result(below(numbers, node_level, node.uid), max_level)


def test_sub_query_of_what_is_not_there() -> None:
    with pytest.raises(KeyError):
        images([0]).sub_query(DataNode(STUDY, "1.1.1"))
    with pytest.raises(KeyError):
        result([0], STUDY).sub_query(DataNode(IMAGE, "1.3.0"))
    with pytest.raises(QueryError, match="has no series"):
        next(result([0], STUDY).level_sub_queries(SERIES))


def test_other_types_are_refused() -> None:
    for op in (*OPERATORS, *IN_PLACE):
        with pytest.raises(TypeError):
            op(images([0]), {"1.3.0"})
