"""What a query asks for, and that what it finds is all there is, or the report says that it may not be."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from dcm.attrs import Attributes
from dcm.errors import QueryError
from dcm.levels import QueryLevel
from dcm.net._plan import FindPlan
from dcm.node import QueryModel, RemoteNode
from dcm.query import DataNode, QueryResult
from tests.net.archive import NUMBER, SERIES_UID, STUDY_UID, TIME, Archive, Record, make_archive, run

PATIENT, STUDY, SERIES, IMAGE = QueryLevel
STUDY_ROOT, PATIENT_ROOT = QueryModel.STUDY_ROOT, QueryModel.PATIENT_ROOT
TODAY = dt.date(2024, 6, 1)


def peer(**manners: Any) -> Archive:
    return Archive(
        make_archive(
            [
                ("P1", "20200101", "101010", [("CT", 3), ("MR", 2)]),
                ("P1", "20200202", "1200", [("CT", 1)]),
                ("P2", "20200303", "", [("US", 2), ("SR", 1), ("US", 1)]),
            ]
        ),
        **manners,
    )


def keys(**values: str | list[str]) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def plan_of(
    level: QueryLevel | None = None,
    query: Dataset | None = None,
    query_res: QueryResult | None = None,
    *,
    list_size: int = 50,
    **setup: Any,
) -> FindPlan:
    return FindPlan(RemoteNode("pacs", **setup), level, query, query_res, list_size=list_size, today=TODAY)


def held(archive: Archive, level: QueryLevel, **values: str) -> set[str]:
    tags = {"StudyDate": 0x00080020, "Modality": 0x00080060, "PatientID": 0x00100020}
    return {
        record[level.uid_tag]
        for record in archive.instances
        if all(record[tags[keyword]] == value for keyword, value in values.items())
    }


def asked(archive: Archive) -> list[str]:
    return [identifier.text(0x00080052) for identifier in archive.seen]


# -- levels


@pytest.mark.parametrize(
    ("level", "query", "earlier", "result", "search"),
    [
        (None, None, None, STUDY, STUDY),
        (None, {"StudyDate": "20200101"}, None, STUDY, STUDY),
        (None, {"PatientID": "P1"}, None, PATIENT, PATIENT),
        (None, {"PatientID": "P1", "Modality": "CT"}, None, SERIES, SERIES),
        (None, {"PatientID": "P1", "SeriesDescription": ""}, None, SERIES, SERIES),
        (None, {"StudyDate": "20200101", "InstanceNumber": "1"}, None, IMAGE, IMAGE),
        (None, {"StudyDate": "20200101", "SpecificCharacterSet": "ISO_IR 100"}, None, STUDY, STUDY),
        (None, None, SERIES, SERIES, SERIES),
        (None, {"StudyDate": "20200101"}, SERIES, STUDY, STUDY),
        (IMAGE, {"StudyDate": "20200101"}, STUDY, IMAGE, IMAGE),
        (STUDY, {"Modality": "CT"}, None, STUDY, SERIES),
        (None, {"QueryRetrieveLevel": "IMAGE", "StudyDate": "20200101"}, None, IMAGE, IMAGE),
    ],
)
def test_level(
    level: QueryLevel | None,
    query: dict[str, str] | None,
    earlier: QueryLevel | None,
    result: QueryLevel,
    search: QueryLevel,
) -> None:
    query_res = None if earlier is None else QueryResult(earlier)
    plan = plan_of(level, None if query is None else keys(**query), query_res)
    assert (plan.level, plan.search_level) == (result, search)


def test_an_attribute_that_no_answer_can_have_is_an_error() -> None:
    with pytest.raises(QueryError, match="SeriesDescription belongs to the SERIES level"):
        plan_of(STUDY, keys(StudyDate="20200101", SeriesDescription=""))


def test_a_peer_without_patient_root_is_asked_for_studies() -> None:
    archive = peer()
    plan = run(plan_of(PATIENT, query_models=[STUDY_ROOT]), archive.find)
    assert set(plan.result.uids()) == {"P1", "P2"}
    assert asked(archive) == ["STUDY"]
    assert plan.models == (STUDY_ROOT,)


# -- what is asked


def identifiers(level: QueryLevel, query: Dataset | None = None, **manners: Any) -> list[dict[str, str]]:
    archive = peer(relational=manners.get("relational", False))
    run(plan_of(level, query, **manners), archive.find)
    shown = []
    for identifier in archive.seen:
        ds = identifier.to_dataset()
        shown.append({elem.keyword: str(elem.value) for elem in ds if elem.value or elem.VR == "SQ"})
    return shown


def test_keys_go_to_the_level_that_they_belong_to() -> None:
    found = identifiers(SERIES, keys(StudyDate="20200101", PatientName="Name*", Modality="CT"))
    assert found == [
        {"QueryRetrieveLevel": "STUDY", "StudyDate": "20200101", "PatientName": "Name*"},
        {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.1", "Modality": "CT"},
    ]


def test_the_patient_root_wants_patients_first() -> None:
    query = keys(StudyDate="20200101", PatientName="Name^P1", Modality="CT")
    found = identifiers(SERIES, query, query_models=[PATIENT_ROOT])
    assert found == [
        {"QueryRetrieveLevel": "PATIENT", "PatientName": "Name^P1"},
        {"QueryRetrieveLevel": "STUDY", "PatientID": "P1", "StudyDate": "20200101"},
        {"QueryRetrieveLevel": "SERIES", "PatientID": "P1", "StudyInstanceUID": "1.1", "Modality": "CT"},
    ]


def test_a_relational_peer_is_asked_at_once() -> None:
    query = keys(StudyDate="20200101", PatientName="Name*", Modality="CT")
    found = identifiers(IMAGE, query, relational=True)
    assert found == [
        {"QueryRetrieveLevel": "IMAGE", "PatientName": "Name*", "StudyDate": "20200101", "Modality": "CT"},
    ]


def test_return_keys_and_the_character_set_are_asked_for() -> None:
    plan = plan_of(IMAGE, keys(StudyDate="20200101", ImageType="", InstitutionName=""))
    archive = peer()
    run(plan, archive.find)
    study, series, image = archive.seen[0], archive.seen[1], archive.seen[-1]
    for identifier in (study, series, image):
        assert identifier[0x00080005] is None
    assert {0x00100010, 0x00100030, 0x0020000D, 0x00080061, 0x00201208} <= set(study)
    assert {0x00080060, 0x0008103E, 0x00201209, 0x00080080} <= set(series)
    assert {0x00080018, 0x00080016, 0x00083002, 0x00080008} <= set(image)
    assert {"ImageType", "StudyDate", "SOPClassUID"} <= set(plan.result.prov.queried_elems or ())
    assert plan.result.prov.source == RemoteNode("pacs").address


def test_sequences_and_private_keys_pass_through() -> None:
    ds = keys(StudyDate="20200101", Modality="CT")
    item = Dataset()
    item.ScheduledProcedureStepID = "S1"
    ds.RequestAttributesSequence = [item]
    ds.add_new(0x00091001, "LO", "private")
    archive = peer()
    run(plan_of(None, ds), archive.find)
    study, series = archive.seen
    assert 0x00400275 not in study
    assert 0x00091001 not in study
    assert series[0x00091001] == "private"
    assert series[0x00400275] == (Attributes.from_items([(0x00400009, "SH", "S1")]),)


def test_the_users_character_set_is_named() -> None:
    archive = peer()
    run(plan_of(None, keys(SpecificCharacterSet="ISO_IR 100", PatientName="M*", StudyDate="")), archive.find)
    assert archive.seen[0].text(0x00080005) == "ISO_IR 100"


def test_keys_below_the_level_of_the_result_are_matched_where_they_are() -> None:
    archive = peer()
    plan = run(plan_of(STUDY, keys(Modality="US")), archive.find)
    assert set(plan.result.uids()) == {"1.3"}
    assert plan.result.level is STUDY
    assert plan.result.get_count(IMAGE) == 4, "what the peer counts, not only the series that match"
    patients = run(plan_of(PATIENT, keys(StudyDate="20200202")), peer().find)
    assert set(patients.result.uids()) == {"P1"}


def test_a_series_query_finds_the_patient_and_the_date_of_its_study() -> None:
    plan = run(plan_of(SERIES, keys(StudyInstanceUID="1.1")), peer().find)
    assert set(plan.result.uids()) == {"1.1.1", "1.1.2"}
    record = plan.result["1.1.1"]
    assert record.PatientID == "P1"
    assert record.PatientName == "Name^P1"
    assert record.StudyDate == "20200101"
    assert "QueryRetrieveLevel" not in record


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("manners", [{}, {"names_parents": True}, {"counts": False}])
def test_a_list_of_studies_from_the_user(seed: int, manners: dict[str, Any]) -> None:
    for lists in (True, False):
        archive = peer(lists=lists, **manners)
        plan = run(plan_of(SERIES, keys(StudyInstanceUID=["1.1", "1.3"])), archive.find, seed)
        assert set(plan.result.studies()) == {"1.1", "1.3"}
        assert plan.report.ok
        assert asked(archive)[0] == "STUDY"
        assert asked(archive).count("STUDY") == (1 if lists else 3)


# -- refining


def find_all(level: QueryLevel, archive: Archive | None = None) -> QueryResult:
    return run(plan_of(level), (archive or peer()).find).result


def test_refining_asks_below_each_node() -> None:
    studies = find_all(STUDY)
    archive = peer()
    plan = run(plan_of(SERIES, None, studies), archive.find)
    assert set(plan.result.uids()) == held(archive, SERIES)
    assert asked(archive) == ["SERIES"] * 3
    assert {identifier.text(STUDY_UID) for identifier in archive.seen} == {"1.1", "1.2", "1.3"}
    assert plan.result["1.3.1"].StudyDate == "20200303"


def test_refining_by_two_levels() -> None:
    archive = peer()
    plan = run(plan_of(IMAGE, None, find_all(STUDY).sub_query(DataNode(STUDY, "1.1"))), archive.find)
    assert set(plan.result.series()) == {"1.1.1", "1.1.2"}
    assert len(plan.result) == 5
    assert asked(archive) == ["SERIES", "IMAGE", "IMAGE"]


def test_refining_with_a_key_of_a_level_that_is_known_asks_that_level() -> None:
    archive = peer()
    plan = run(plan_of(SERIES, keys(StudyDate="20200101-20200202"), find_all(STUDY)), archive.find)
    assert set(plan.result.studies()) == {"1.1", "1.2"}
    assert asked(archive).count("STUDY") == 3
    assert asked(archive).count("SERIES") == 2


def test_refining_asks_for_all_series_of_a_study_whose_date_is_a_key() -> None:
    before = find_all(IMAGE)
    plan = run(plan_of(IMAGE, keys(StudyDate="20200101"), before), peer().find)
    assert set(plan.result.series()) == {"1.1.1", "1.1.2"}
    assert len(plan.result) == 5


@pytest.mark.parametrize("models", [(STUDY_ROOT,), (PATIENT_ROOT,)])
@pytest.mark.parametrize("level", [SERIES, IMAGE])
def test_refining_stays_within_the_result_whatever_has_to_be_asked_above(
    level: QueryLevel, models: tuple[QueryModel, ...]
) -> None:
    before = QueryResult(
        SERIES, [r for r in find_all(SERIES).records() if r.text(SERIES_UID) in ("1.1.2", "1.3.1", "1.3.3")]
    )
    archive = peer()
    query = keys(PatientName="Name*", StudyDate="20200101-20200909", Modality="US")
    plan = run(plan_of(level, query, before, query_models=models), archive.find)
    assert set(plan.result.series()) == {"1.3.1", "1.3.3"}
    assert all(asked(archive).count(name) <= 2 for name in ("PATIENT", "STUDY"))
    record = next(iter(plan.result))
    assert (record.StudyDate, record.PatientName, record.Modality) == ("20200303", "Name^P2", "US")


def test_refining_with_unique_keys_takes_only_what_matches() -> None:
    archive = peer()
    plan = run(plan_of(SERIES, keys(PatientID="P?", StudyInstanceUID=["1.2", "1.9"]), find_all(STUDY)), archive.find)
    assert set(plan.result.studies()) == {"1.2"}
    assert asked(archive) == ["SERIES"]
    nothing = peer()
    assert len(run(plan_of(SERIES, keys(PatientID="X*"), find_all(STUDY)), nothing.find).result) == 0
    assert nothing.seen == []


def test_a_coarser_level_of_a_finer_result() -> None:
    archive = peer()
    plan = run(plan_of(STUDY, None, find_all(IMAGE)), archive.find)
    assert set(plan.result.uids()) == {"1.1", "1.2", "1.3"}
    assert asked(archive) == ["STUDY"]
    assert set(str(archive.seen[0].text(STUDY_UID)).split("\\")) == {"1.1", "1.2", "1.3"}


@pytest.mark.parametrize("level", list(QueryLevel))
@pytest.mark.parametrize("models", [(STUDY_ROOT, PATIENT_ROOT), (PATIENT_ROOT,), (STUDY_ROOT,)])
@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("relational", [True, False])
def test_the_same_level_is_asked_with_lists(
    level: QueryLevel, models: tuple[QueryModel, ...], lists: bool, relational: bool
) -> None:
    before = find_all(level)
    archive = peer(lists=lists, relational=relational)
    plan = run(plan_of(None, None, before, query_models=models, relational=relational), archive.find)
    assert set(plan.result.uids()) == set(before.uids())
    assert plan.report.ok
    if lists and models[0] is STUDY_ROOT and level > PATIENT:
        assert len(archive.seen) == len({path.parent for path in before.level_paths(level)}) if level > STUDY else 1


def test_lists_have_a_bounded_size_and_are_not_used_with_other_keys() -> None:
    before = find_all(STUDY)
    archive = peer()
    run(plan_of(None, None, before, list_size=2), archive.find)
    assert sorted(len(identifier.text(STUDY_UID).split("\\")) for identifier in archive.seen) == [1, 2]
    archive = peer()
    plan = run(plan_of(None, keys(StudyDate="20200101"), before), archive.find)
    assert set(plan.result.uids()) == {"1.1"}
    assert len(archive.seen) == 3


def test_patients_without_an_id_cannot_be_asked_for() -> None:
    archive = Archive(make_archive([("", "20200101", "", [("CT", 1)]), ("P1", "20200101", "", [("CT", 1)])]))
    studies = run(plan_of(STUDY), archive.find).result
    assert set(studies.patients()) == {"", "P1"}
    plan = run(plan_of(PATIENT, None, studies), archive.find)
    assert set(plan.result.uids()) == {"P1"}
    assert plan.report.capped == ["1 patient without PatientID cannot be asked for"]
    # by its study it can
    series = run(plan_of(SERIES, None, studies), archive.find)
    assert len(series.result) == 2
    assert series.report.ok


def test_an_empty_result_asks_nothing() -> None:
    archive = peer()
    plan = plan_of(SERIES, None, QueryResult(STUDY))
    assert not plan.finished
    assert plan.ready() == []
    assert plan.finished
    assert archive.seen == []
    assert plan.report.ok


# -- everything is found

STUDIES = st.lists(
    st.tuples(
        st.sampled_from(["P1", "P2", "P3"]),
        st.dates(dt.date(2019, 12, 1), dt.date(2020, 2, 1)).map(lambda day: day.strftime("%Y%m%d")),
        st.sampled_from(["", "1200", "120000", "120000.500000", "235959", "000000", "120001"]),
        st.lists(st.tuples(st.sampled_from(["CT", "MR", "SR"]), st.integers(1, 3)), min_size=1, max_size=3),
    ),
    max_size=14,
)
LEVELS = st.sampled_from(list(QueryLevel))
MODELS = st.sampled_from([(STUDY_ROOT,), (PATIENT_ROOT,), (STUDY_ROOT, PATIENT_ROOT), (PATIENT_ROOT, STUDY_ROOT)])


@given(
    studies=STUDIES,
    level=LEVELS,
    models=MODELS,
    relational=st.booleans(),
    counts=st.booleans(),
    names_parents=st.booleans(),
    query=st.fixed_dictionaries(
        {},
        optional={
            "PatientID": st.sampled_from(["P1", "P2"]),
            "StudyDate": st.just("20200101"),
            "Modality": st.sampled_from(["CT", "SR"]),
        },
    ),
    refine=st.one_of(st.none(), LEVELS),
    seed=st.integers(0, 9),
)
def test_all_is_found_and_nothing_else(
    studies: Any,
    level: QueryLevel,
    models: tuple[QueryModel, ...],
    relational: bool,
    counts: bool,
    names_parents: bool,
    query: dict[str, str],
    refine: QueryLevel | None,
    seed: int,
) -> None:
    archive = Archive(make_archive(studies), relational=relational, counts=counts, names_parents=names_parents)
    setup: dict[str, Any] = {"query_models": models, "relational": relational}
    earlier, expected = None, held(archive, level, **query)
    if refine is not None:
        found = run(plan_of(refine, **setup), archive.find).result
        earlier = QueryResult(refine, [record for i, record in enumerate(found.records()) if (seed + i) % 4])
        inside = set(earlier.uids())
        expected = held(Archive([r for r in archive.instances if r[refine.uid_tag] in inside]), level, **query)
    archive.seen.clear()
    plan = run(plan_of(level, keys(**query), earlier, **setup), archive.find, seed)
    assert set(plan.result.uids()) == expected
    assert plan.report.ok, plan.report.summary()
    assert plan.report.n_queries == len(archive.seen)
    asked_below = [above for above in QueryLevel if above < plan.search_level + (refine is not None)]
    assert len(archive.seen) <= 1 + sum(len(held(archive, above)) for above in asked_below)
    for record in plan.result:
        uid = record[level.uid_keyword].value
        assert record.PatientID == next(r[0x00100020] for r in archive.instances if r[level.uid_tag] == uid)


@given(studies=STUDIES, level=LEVELS, seed=st.integers(0, 99))
def test_the_parts_are_the_whole(studies: Any, level: QueryLevel, seed: int) -> None:
    archive = Archive(make_archive(studies))
    plan = plan_of(level)
    whole = QueryResult(level)
    rng = random.Random(seed)
    while not plan.finished:
        for request in plan.ready(2):
            answers, status = archive.find(request)
            for answer in answers:
                plan.feed(request, answer)
                if rng.random() < 0.2:
                    whole |= plan.partial()
            plan.done(request, status)
    part = plan.partial()
    assert not set(part.uids()) & set(whole.uids())
    whole |= part
    assert whole == plan.result
    assert len(plan.partial()) == 0


# -- capped answers


def spread(n: int, days: int, seed: int = 0, modality: str = "CT") -> list[Record]:
    """Studies on consecutive days, in no order."""
    rng = random.Random(seed)
    first = dt.date(2020, 1, 1)
    return make_archive(
        (
            f"P{i % 17}",
            (first + dt.timedelta(rng.randrange(days))).strftime("%Y%m%d"),
            f"{rng.randrange(24):02d}{rng.randrange(60):02d}{rng.randrange(60):02d}.{rng.randrange(1000000):06d}",
            [(modality, 1)],
        )
        for i in range(n)
    )


@pytest.mark.parametrize("order", ["none", "newest first", "oldest first"])
@pytest.mark.parametrize("status", [0x0000, 0xA700, 0xB000, 0xFE00])
@pytest.mark.parametrize("days", [1, 30, 900])
def test_a_cap_is_worked_around(order: str, status: int, days: int) -> None:
    instances = spread(500, days)
    if order != "none":
        instances.sort(key=lambda r: (r[0x00080020], r[0x00080030]), reverse=order == "newest first")
    archive = Archive(instances, cap=100, cap_status=status)
    plan = run(plan_of(STUDY), archive.find)
    assert set(plan.result.uids()) == held(archive, STUDY)
    assert plan.report.ok, plan.report.summary()
    assert len(archive.seen) < 45


def test_a_peer_that_gives_nothing_when_it_is_too_much() -> None:
    archive = Archive(spread(700, 900))

    def find(request: Any) -> tuple[list[Attributes], int]:
        answers, _ = archive.find(request)
        return ([], 0xA700) if len(answers) > 100 else (answers, 0)

    plan = run(plan_of(STUDY), find)
    assert set(plan.result.uids()) == held(archive, STUDY)
    assert plan.report.ok, plan.report.summary()
    assert len(archive.seen) < 100


def test_a_peer_that_refuses_everything_is_left_alone_soon() -> None:
    plan = run(plan_of(STUDY), lambda request: ([], 0xA700))
    assert plan.report.n_queries < 40
    assert plan.report.exit_code == 4
    assert len(plan.report.warnings) == 1


def test_a_refusal_that_no_smaller_question_helps_is_a_failure() -> None:
    plan = run(plan_of(SERIES, None, find_all(STUDY)), lambda request: ([], 0xA700))
    assert plan.report.exit_code == 4
    assert plan.report.n_failed == 3


@pytest.mark.parametrize("n", [100, 500, 1024])
def test_a_round_number_that_is_all_there_is_costs_two_queries(n: int) -> None:
    archive = Archive(spread(n, 50))
    plan = run(plan_of(STUDY), archive.find)
    assert len(plan.result) == n
    assert plan.report.ok
    assert len(archive.seen) <= 5


def test_a_cap_within_the_users_range_is_worked_around() -> None:
    archive = Archive(spread(700, 300), cap=100)
    plan = run(plan_of(STUDY, keys(StudyDate="20200201-20200331", StudyTime="060000-180000")), archive.find)
    expected = {
        r[STUDY_UID]
        for r in archive.instances
        if "20200201" <= r[0x00080020] <= "20200331" and "060000" <= r[0x00080030] <= "180000"
    }
    assert set(plan.result.uids()) == expected
    assert plan.report.ok
    for identifier in archive.seen:
        first, _, last = identifier.text(0x00080020).partition("-")
        assert "20200201" <= first <= (last or first) <= "20200331"


def test_a_cap_on_patients_is_worked_around_by_their_studies() -> None:
    archive = Archive(make_archive((f"P{i}", f"2020{i % 12 + 1:02d}01", "", [("CT", 1)]) for i in range(250)), cap=100)
    plan = plan_of(PATIENT)
    assert set(plan.models) == {PATIENT_ROOT, STUDY_ROOT}
    run(plan, archive.find)
    assert set(plan.result.uids()) == held(archive, PATIENT)
    assert plan.report.ok
    alone = run(plan_of(PATIENT, query_models=[PATIENT_ROOT]), Archive(archive.instances, cap=100).find)
    assert alone.report.exit_code == 5
    assert len(alone.result) == 100


@pytest.mark.parametrize("level", [SERIES, IMAGE])
def test_a_relational_query_that_is_capped_is_asked_level_by_level(level: QueryLevel) -> None:
    studies = [(f"P{i}", "20200101", f"12{i:02d}00", [("CT", 2), ("MR", 2)]) for i in range(60)]
    archive = Archive(make_archive(studies), relational=True, cap=100)
    plan = run(plan_of(level, relational=True), archive.find)
    assert set(plan.result.uids()) == held(archive, level)
    assert plan.report.ok
    assert asked(archive)[1] == "STUDY"


def one_series(n: int, **manners: Any) -> Archive:
    return Archive(make_archive([("P1", "20200101", "", [("CT", n)])]), **manners)


def test_five_hundred_instances_are_all_where_no_number_is_left_out() -> None:
    archive = one_series(500, counts=False)
    plan = run(plan_of(IMAGE), archive.find)
    assert len(plan.result) == 500
    assert plan.report.ok
    probes = [identifier.text(NUMBER) for identifier in archive.seen if identifier.text(NUMBER)]
    assert sorted(probes) == ["0", "501"]


def test_the_count_that_the_peer_gives_settles_it() -> None:
    archive = one_series(500, counts=True)
    assert run(plan_of(IMAGE), archive.find).report.ok
    assert asked(archive) == ["STUDY", "SERIES", "IMAGE"]


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("order", [1, -1])
def test_a_series_that_is_cut_is_possibly_incomplete(counts: bool, order: int) -> None:
    archive = one_series(600, counts=counts, cap=500)
    archive.instances = archive.instances[::order]
    plan = run(plan_of(IMAGE), archive.find)
    assert 500 <= len(plan.result) < 600
    assert plan.report.exit_code == 5
    assert "IMAGE query" in plan.report.capped[0]


def test_fewer_answers_than_the_peer_counts() -> None:
    archive = peer()

    def find(request: Any) -> tuple[list[Attributes], int]:
        answers, status = archive.find(request)
        return (answers[1:] if request.level is SERIES else answers), status

    plan = run(plan_of(SERIES), find)
    assert plan.report.exit_code == 5
    assert "1 answer, where the peer counts 2" in " ".join(plan.report.capped)


def test_a_larger_answer_shows_that_a_round_one_is_no_limit() -> None:
    studies = [("P1", "20200101", "", [("CT", n)]) for n in (100, 150, 200, 130)]
    archive = Archive(make_archive(studies), counts=False)
    for record in archive.instances:
        record[NUMBER] = ""  # nothing to probe with
    plan = run(plan_of(IMAGE), archive.find)
    # 100 is no limit of a peer that answers 150; 200 may be one
    assert len(plan.report.capped) == 1
    assert "exactly 200 answers" in plan.report.capped[0]


def test_a_peer_that_ignores_dates_is_not_asked_for_ever() -> None:
    archive = Archive(spread(700, 900), cap=100, ignores=frozenset({0x00080020, 0x00080030, 0x00080061}))
    plan = run(plan_of(STUDY), archive.find)
    assert len(plan.result) == 100
    assert plan.report.exit_code == 5
    assert len(archive.seen) < 5
    assert plan.report.capped == [
        "STUDY query: exactly 100 answers, which may be a limit of the peer; the peer ignores narrower keys"
    ]


def test_studies_of_one_second_are_split_by_modality() -> None:
    studies = [(f"P{i}", "20200101", "120000", [(["CT", "MR", "US"][i % 3], 1)]) for i in range(150)]
    archive = Archive(make_archive(studies), cap=100)
    plan = run(plan_of(STUDY), archive.find)
    assert set(plan.result.uids()) == held(archive, STUDY)
    assert plan.report.exit_code == 5, "there may be other modalities"


def test_splitting_ends_where_it_does_not_pay() -> None:
    # a peer with a cap of ten that admits to it, and studies that no key tells apart
    studies = [(f"P{i}", f"2020{i % 12 + 1:02d}01", "120000", [("CT", 1)]) for i in range(600)]
    archive = Archive(make_archive(studies), cap=10, cap_status=0xA700)
    plan = run(plan_of(STUDY), archive.find)
    assert plan.report.exit_code == 5
    assert len(archive.seen) <= 65 + len(plan.result) / 10
    assert len(plan.report.warnings) < 25


def test_studies_without_a_time_may_be_left_out_by_ranges_of_times() -> None:
    studies = [(f"P{i}", "20200101", f"{i // 60:02d}{i % 60:02d}00", [("XX", 1)]) for i in range(150)]
    studies += [("P", "20200101", "", [("XX", 1)]), ("P", "20200202", "", [("XX", 1)])]
    plan = run(plan_of(STUDY), Archive(make_archive(studies[:150]), cap=100).find)
    assert plan.report.ok
    assert len(plan.result) == 150
    plan = run(plan_of(STUDY), Archive(make_archive(studies), cap=100).find)
    assert len(plan.result) == 151
    assert plan.report.exit_code == 5
    assert "more studies without a StudyTime may be left out" in plan.report.capped[0]


@settings(max_examples=60)
@given(
    studies=STUDIES,
    cap=st.integers(1, 8),
    status=st.sampled_from([0x0000, 0xA700, 0xB000, 0xFE00]),
    level=LEVELS,
    models=MODELS,
    relational=st.booleans(),
    counts=st.booleans(),
    query=st.fixed_dictionaries({}, optional={"StudyDate": st.just("20200101"), "Modality": st.just("CT")}),
    seed=st.integers(0, 9),
)
def test_a_capped_query_finds_all_or_says_that_it_may_not(
    studies: Any,
    cap: int,
    status: int,
    level: QueryLevel,
    models: tuple[QueryModel, ...],
    relational: bool,
    counts: bool,
    query: dict[str, str],
    seed: int,
) -> None:
    archive = Archive(make_archive(studies), relational=relational, cap=cap, cap_status=status, counts=counts)
    suspicious = mock.Mock(side_effect=lambda n: n == cap)
    with mock.patch("dcm.net._split.is_suspicious", suspicious), mock.patch("dcm.net._plan.is_suspicious", suspicious):
        plan = run(plan_of(level, keys(**query), query_models=models, relational=relational), archive.find, seed)
    expected = held(archive, level, **query)
    found = set(plan.result.uids())
    assert found <= expected
    if plan.report.exit_code not in (3, 4, 5):
        # No range of times matches what has none. That cannot be known unless one of these was answered.
        timed = {record[level.uid_tag] for record in archive.instances if record[TIME]}
        assert not (expected - found) & timed
    nodes = sum(len(held(archive, above)) for above in QueryLevel)
    assert len(archive.seen) <= 2 * (1 + nodes) + 64 + nodes / 10


# -- failures


def test_a_failure_is_reported_and_the_rest_goes_on() -> None:
    archive = peer()

    def find(request: Any) -> tuple[list[Attributes], int]:
        if request.level is SERIES and request.identifier.text(STUDY_UID) == "1.1":
            return [], 0xC001
        return archive.find(request)

    plan = run(plan_of(SERIES), find)
    assert set(plan.result.studies()) == {"1.2", "1.3"}
    assert plan.report.exit_code == 3
    assert plan.report.warnings == [
        "1 requests refused: unable to process (0xC001) (SERIES query StudyInstanceUID=1.1)",
    ]


def test_everything_refused() -> None:
    plan = plan_of(STUDY, keys(PatientName="Secret^Name", StudyDate="20200101"))
    (request,) = plan.ready()
    plan.done(request, 0xA900, "bad \x1b key")
    assert plan.finished
    assert plan.report.exit_code == 4
    (line,) = plan.report.warnings
    assert "identifier does not match the SOP class (0xA900: bad \\x1b key)" in line
    assert "StudyDate=20200101" in line
    assert "Secret" not in line


def test_a_request_can_be_sent_again() -> None:
    archive = Archive(spread(130, 20))
    plan = plan_of(STUDY)
    (request,) = plan.ready()
    answers, _ = archive.find(request)
    for answer in answers[:50]:
        plan.feed(request, answer)
    plan.again(request)
    for answer in answers:
        plan.feed(request, answer)
    plan.done(request, 0)
    assert plan.finished, "130 answers are no limit"
    assert len(plan.result) == 130
    assert plan.report.n_queries == 2
    assert plan.report.ok


def test_giving_up_is_not_silent() -> None:
    plan = plan_of(STUDY)
    plan.ready()
    plan.close()
    assert plan.finished
    assert plan.report.exit_code == 5
    plan.close()
    assert len(plan.report.capped) == 1
    untouched = plan_of(STUDY)
    untouched.close()
    assert untouched.report.exit_code == 5


def test_unreadable_answers_are_counted() -> None:
    plan = plan_of(STUDY)
    (request,) = plan.ready()
    plan.unreadable(request, "cut short")
    plan.done(request, 0)
    assert plan.report.invalid == 1
    assert plan.report.n_responses == 1
    assert plan.report.exit_code == 5


def test_series_uid_alone_is_found_through_the_studies() -> None:
    archive = peer()
    plan = run(plan_of(SERIES, keys(SeriesInstanceUID="1.3.2")), archive.find)
    assert set(plan.result.uids()) == {"1.3.2"}
    assert {i.text(SERIES_UID) for i in archive.seen if i.text(0x00080052) == "SERIES"} == {"1.3.2"}
