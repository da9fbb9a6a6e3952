"""What of the answers of a peer is taken: only what is sound, and what was asked for."""

from __future__ import annotations

import datetime as dt

import pytest

from dcm.attrs import Attributes, Value
from dcm.levels import QueryLevel
from dcm.net._plan import FindPlan, FindRequest
from dcm.node import QueryModel, RemoteNode
from dcm.query import QueryResult
from tests.net.archive import LEVEL, PATIENT_ID, SERIES_UID, SOP_UID, STUDY_UID

PATIENT, STUDY, SERIES, IMAGE = QueryLevel
NAME, DATE = 0x00100010, 0x00080020

VRS = {LEVEL: "CS", NAME: "PN", PATIENT_ID: "LO", DATE: "DA", 0x00080005: "CS", 0x00080054: "AE", 0x00201206: "IS"}


def answer(values: dict[int, Value]) -> Attributes:
    return Attributes.from_items((tag, VRS.get(tag, "UI"), value) for tag, value in values.items())


def study(uid: str, patient: str = "P1") -> Attributes:
    return answer({STUDY_UID: uid, PATIENT_ID: patient, DATE: "20200101", NAME: "A^B"})


def below(level: QueryLevel, *uids: str) -> tuple[FindPlan, list[FindRequest]]:
    """A plan that has found studies, and its requests below them, in the order of the studies."""
    plan = FindPlan(RemoteNode("pacs"), level, today=dt.date(2024, 1, 1))
    (request,) = plan.ready()
    for uid in uids:
        plan.feed(request, study(uid))
    plan.done(request)
    return plan, sorted(plan.ready(), key=lambda one: one.key(STUDY_UID))


def problems(plan: FindPlan) -> list[tuple[str, str]]:
    return [(problem.kind, problem.message) for problem in plan.report.problems]


def test_what_the_peer_leaves_out_about_the_parents_is_filled_in() -> None:
    plan, (request,) = below(SERIES, "1.1")
    plan.feed(request, answer({LEVEL: "SERIES", SERIES_UID: "1.1.1"}))
    plan.done(request)
    (record,) = plan.result.records()
    assert record.text(STUDY_UID) == "1.1"
    assert record.text(PATIENT_ID) == "P1"
    assert record.text(DATE) == "20200101"
    assert record.text(NAME) == "A^B"
    assert plan.report.ok


def test_what_the_peer_says_is_kept() -> None:
    plan, (request,) = below(SERIES, "1.1")
    plan.feed(request, answer({SERIES_UID: "1.1.1", STUDY_UID: "1.1", PATIENT_ID: None, NAME: "A^C", DATE: None}))
    (record,) = plan.result.records()
    assert record.text(NAME) == "A^C"
    assert record.text(DATE) == "20200101"


def test_the_envelope_is_not_kept() -> None:
    plan, (request,) = below(SERIES, "1.1")
    plan.feed(request, answer({LEVEL: "SERIES", SERIES_UID: "1.1.1", 0x00080005: "ISO_IR 100", 0x00080054: "PACS"}))
    (record,) = plan.result.records()
    assert not {LEVEL, 0x00080005, 0x00080054} & set(record)


def test_what_was_asked_for_is_kept_whatever_it_is() -> None:
    query = Attributes.from_items([(0x00080054, "AE", None)])
    plan = FindPlan(RemoteNode("pacs"), STUDY, query)
    (request,) = plan.ready()
    plan.feed(request, answer({STUDY_UID: "1.1", 0x00080054: "PACS"}))
    (record,) = plan.result.records()
    assert record.text(0x00080054) == "PACS"


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({LEVEL: "STUDY", SERIES_UID: "1.1.1"}, "invalid", "SERIES query answered at another level"),
        ({STUDY_UID: "1.1"}, "invalid", "SERIES answers without SeriesInstanceUID"),
        ({SERIES_UID: "1.1.\ufffd"}, "invalid", "SERIES answers with a UID that no request can have in it"),
        ({SERIES_UID: None}, "invalid", "SERIES answers without SeriesInstanceUID"),
        ({SERIES_UID: ("1.1.1", "1.1.2")}, "invalid", "SERIES answers without one identifier for each level"),
        (
            {SERIES_UID: "1.2.1", STUDY_UID: "1.2"},
            "outside",
            "SERIES answers below another StudyInstanceUID than the one that was asked for",
        ),
        (
            {SERIES_UID: "1.1.1", PATIENT_ID: "P2"},
            "inconsistent",
            "SERIES answers below another PatientID than the one that was asked for",
        ),
    ],
)
def test_what_is_left_out(values: dict[int, Value], kind: str, message: str) -> None:
    plan, (request,) = below(SERIES, "1.1")
    plan.feed(request, answer(values))
    plan.feed(request, answer({SERIES_UID: "1.1.9"}))
    plan.done(request)
    assert set(plan.result.uids()) == {"1.1.9"}
    assert problems(plan) == [(kind, message)]
    assert plan.report.invalid == 1
    assert plan.report.n_responses == 3
    assert plan.report.exit_code == (0 if kind == "outside" else 5)


def test_the_level_of_an_answer_may_be_written_in_any_way() -> None:
    plan, (request,) = below(SERIES, "1.1")
    plan.feed(request, answer({LEVEL: "series ", SERIES_UID: "1.1.1"}))
    plan.feed(request, answer({LEVEL: None, SERIES_UID: "1.1.2"}))
    assert len(plan.result) == 2


def test_one_series_in_two_studies_contradicts() -> None:
    plan, (first, second) = below(SERIES, "1.1", "1.2")
    plan.feed(first, answer({SERIES_UID: "1.1.1"}))
    plan.feed(second, answer({SERIES_UID: "1.1.1"}))
    plan.done(first)
    plan.done(second)
    assert problems(plan) == [("inconsistent", "SERIES answers that contradict earlier ones")]
    (record,) = plan.result.records()
    assert record.text(STUDY_UID) == "1.1"
    assert plan.report.exit_code == 5


def test_one_study_of_two_patients_is_asked_for_once() -> None:
    plan = FindPlan(RemoteNode("pacs"), SERIES)
    (request,) = plan.ready()
    plan.feed(request, study("1.1", "P1"))
    plan.feed(request, study("1.1", "P2"))
    plan.done(request)
    assert len(plan.ready()) == 1
    assert problems(plan) == [("inconsistent", "STUDY answers that contradict earlier ones")]


def test_repeated_answers_are_not_worth_mentioning() -> None:
    plan, (request,) = below(SERIES, "1.1")
    for _ in range(3):
        plan.feed(request, answer({SERIES_UID: "1.1.1"}))
    plan.done(request)
    assert len(plan.result) == 1
    assert plan.report.ok
    assert len(plan.partial()) == 1


def test_a_peer_that_ignores_the_uid_is_cut_to_what_was_asked_for() -> None:
    query = Attributes.from_items([(STUDY_UID, "UI", "1.1")])
    plan = FindPlan(RemoteNode("pacs"), STUDY, query)
    (request,) = plan.ready()
    for i in range(1, 4):
        plan.feed(request, study(f"1.{i}"))
    plan.done(request)
    assert set(plan.result.uids()) == {"1.1"}
    assert plan.report.invalid == 2
    assert plan.report.ok


def test_a_peer_that_ignores_a_list_is_cut_to_what_was_asked_for() -> None:
    before = QueryResult(STUDY, [study("1.1"), study("1.2")])
    plan = FindPlan(RemoteNode("pacs"), None, None, before)
    (request,) = plan.ready()
    for i in range(1, 5):
        plan.feed(request, study(f"1.{i}"))
    plan.done(request)
    assert plan.finished
    assert set(plan.result.uids()) == {"1.1", "1.2"}
    assert plan.report.invalid == 2


def test_patients_found_through_other_patients_are_left_out() -> None:
    """A PatientID with a star in it matches others, too."""
    before = QueryResult(PATIENT, [answer({PATIENT_ID: "P*"})])
    for model in QueryModel:
        plan = FindPlan(RemoteNode("pacs", query_models=(model,)), STUDY, None, before)
        (request,) = plan.ready()
        assert request.key(PATIENT_ID) == "P*"
        plan.feed(request, study("1.1", "P*"))
        plan.feed(request, study("1.2", "P2"))
        plan.done(request)
        assert set(plan.result.uids()) == {"1.1"}


def test_the_users_patient_id_may_match_as_the_peer_sees_fit() -> None:
    query = Attributes.from_items([(PATIENT_ID, "LO", "vamp001")])
    plan = FindPlan(RemoteNode("pacs"), STUDY, query)
    (request,) = plan.ready()
    plan.feed(request, study("1.1", "Vamp001"))
    assert len(plan.result) == 1


def test_a_patient_of_many_studies_is_one_result() -> None:
    plan = FindPlan(RemoteNode("pacs", query_models=(QueryModel.STUDY_ROOT,)), PATIENT)
    (request,) = plan.ready()
    plan.feed(request, study("1.1", "P1"))
    plan.feed(request, study("1.2", "P1"))
    plan.feed(request, study("1.3", ""))
    plan.done(request)
    assert list(plan.result.uids()) == ["P1"]
    (record,) = plan.result.records()
    assert STUDY_UID not in record
    assert DATE not in record
    assert plan.report.exit_code == 5, "there is a patient that cannot be named"


def test_instances_get_all_of_their_parents() -> None:
    plan, (series,) = below(IMAGE, "1.1")
    plan.feed(series, answer({SERIES_UID: "1.1.1"}))
    plan.done(series)
    (request,) = plan.ready()
    plan.feed(request, answer({SOP_UID: "1.1.1.1"}))
    plan.done(request)
    (record,) = plan.result.records()
    assert [record.text(level.uid_tag) for level in QueryLevel] == ["P1", "1.1", "1.1.1", "1.1.1.1"]


def test_a_hostile_number_of_bad_answers_costs_no_memory() -> None:
    plan, (request,) = below(SERIES, "1.1")
    for i in range(5000):
        plan.feed(request, answer({SERIES_UID: f"1.2.{i}", STUDY_UID: f"1.2.{i}"}))
    assert plan.report.invalid == 5000
    assert len(plan.report.problems) == 100
    assert len(plan.report.warnings) == 1
    assert plan.report.warnings[0].startswith("5000 answers left out that were not asked for")
