"""What a store holds is routed before it moves: by queries as far as they tell, else by an example."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from dcm.errors import NetworkError, RouteError, UsageError
from dcm.filt import make_edit_filter
from dcm.instance import Instance
from dcm.keywords import resolve_keyword
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from dcm.query._elements import level_of_keyword
from dcm.report import Outcome, TransferReport
from dcm.route import DynamicRoute, Router, SelectorDestMap, StaticRoute, UnroutedError
from dcm.store import DataSink, TransferMethod
from dcm.store.local_dir import LocalDir
from dcm.store.memory import MemoryStore
from tests.data import write_studies
from tests.route.objects import Archive, make, sinks

A, B, C = sinks("ABC")
PATIENT, STUDY, SERIES, IMAGE = QueryLevel
CT_AND_MR = (
    make("P", 1, 1, 1, Modality="CT", StudyDescription="X", Manufacturer="Acme"),
    make("P", 1, 1, 2, Modality="CT", StudyDescription="X", Manufacturer="Acme"),
    make("P", 2, 1, 1, Modality="MR", StudyDescription="Y", Manufacturer="Bolt"),
    make("Q", 1, 1, 1, Modality="MR", StudyDescription="X", Manufacturer="Acme"),
)


def rule(condition: str, dest: DataSink = A, **options: Any) -> SelectorDestMap:
    return SelectorDestMap([(condition, [dest])], options.pop("default", [B]), **options)


def tag(keyword: str) -> int:
    return resolve_keyword(keyword)[0]


def sent(shares: dict[tuple[StaticRoute, ...], QueryResult], archive: Archive) -> dict[str, set[str]]:
    """The instances that each destination would get."""
    found: dict[str, set[str]] = {}
    for routes, share in shares.items():
        for instance in archive:
            uids = [instance.header.text(level.uid_tag) for level in QueryLevel]
            if uids[share.level] in share.uids():
                for route in routes:
                    for sink in route.dests:
                        assert instance.sop_instance_uid not in found.setdefault(str(sink), set()), "sent twice"
                        found[str(sink)].add(instance.sop_instance_uid)
    return found


def one_by_one(router: Router, archive: Archive) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for instance in archive:
        try:
            ways = router.decide(instance)
        except UnroutedError as error:
            ways = error.ways
        for way in ways:
            found.setdefault(str(way.sink), set()).add(instance.sop_instance_uid)
    return found


async def test_the_query_that_lists_the_studies_decides() -> None:
    archive = Archive(CT_AND_MR, knows=["StudyDescription"])
    router = Router([DynamicRoute(rule("StudyDescription == X"), name="rules")])
    shares = await router.pre_route(archive)
    assert sent(shares, archive) == one_by_one(router, archive)
    assert [level for level, _ in archive.asked] == [STUDY]
    assert archive.given == []
    assert shares[StaticRoute((A,)),].level is STUDY
    assert [route.name for routes in shares for route in routes] == ["rules", "rules"]


async def test_what_only_series_have_is_asked_of_the_series() -> None:
    archive = Archive(CT_AND_MR, knows=["Modality"])
    router = Router([DynamicRoute(rule("Modality == CT"))])
    shares = await router.pre_route(archive)
    assert sent(shares, archive) == one_by_one(router, archive)
    assert [(level, tag("Modality") in tags) for level, tags in archive.asked] == [(STUDY, False), (SERIES, True)]
    assert archive.given == []


async def test_what_no_answer_has_is_seen_in_one_example_of_each_study() -> None:
    archive = Archive(CT_AND_MR, knows=["Modality"])
    router = Router([DynamicRoute(rule("Manufacturer == Acme"))])
    shares = await router.pre_route(archive)
    assert sent(shares, archive) == one_by_one(router, archive)
    assert archive.given == [CT_AND_MR[i].sop_instance_uid for i in (0, 2, 3)]


async def test_an_example_is_got_of_those_only_that_nothing_else_decides() -> None:
    rules = SelectorDestMap([("StudyDescription == Y", [B]), ("Manufacturer == Acme", [A])], [C])
    archive = Archive(CT_AND_MR, knows=["StudyDescription"])
    router = Router([DynamicRoute(rules)])
    assert sent(await router.pre_route(archive), archive) == one_by_one(router, archive)
    assert archive.given == [CT_AND_MR[i].sop_instance_uid for i in (0, 3)]


async def test_an_example_is_got_once_for_all_routes() -> None:
    archive = Archive(CT_AND_MR)
    router = Router([DynamicRoute(rule("Manufacturer == Acme")), DynamicRoute(rule("Modality == MR", C, default=()))])
    assert sent(await router.pre_route(archive), archive) == one_by_one(router, archive)
    assert archive.given == [CT_AND_MR[i].sop_instance_uid for i in (0, 2, 3)]


async def test_an_empty_value_in_an_answer_decides_nothing() -> None:
    """The archive says that there is no description, since it does not know what that is."""
    archive = Archive(CT_AND_MR, knows=[])
    router = Router([DynamicRoute(rule("StudyDescription == ''", C))])
    shares = await router.pre_route(archive)
    assert sent(shares, archive) == one_by_one(router, archive)
    assert set(sent(shares, archive)) == {"B"}
    assert len(archive.given) == 3


async def test_text_in_an_unknown_character_set_decides_nothing() -> None:
    archive = Archive(CT_AND_MR, knows=["StudyDescription"])
    found = QueryResult(STUDY)
    for record in (await archive.query(STUDY)).records():
        found.add(record.replace([(tag("StudyDescription"), "LO", "Gr\ufffd\ufffde")]))
    archive.knows.remove(tag("StudyDescription"))
    router = Router([DynamicRoute(rule("StudyDescription == X"))])
    assert sent(await router.pre_route(archive, query_res=found), archive) == one_by_one(router, archive)


async def test_what_a_study_says_of_its_modality_is_not_believed() -> None:
    """Some archives answer with an attribute of one of the series, or of the last one."""
    instances = [make(series=1, Modality="CT"), make(series=2, Modality="CT")]
    archive = Archive(instances, knows=["Modality"])
    found = QueryResult(STUDY)
    for record in (await archive.query(STUDY)).records():
        found.add(record.replace([(tag("Modality"), "CS", "SR")]))
    router = Router([DynamicRoute(rule("Modality == SR"))])
    assert sent(await router.pre_route(archive, query_res=found), archive) == one_by_one(router, archive)


async def test_an_archive_that_refuses_what_it_does_not_know_is_asked_without(caplog: pytest.LogCaptureFixture) -> None:
    archive = Archive(CT_AND_MR, refuses=["StudyDescription", "Modality", "ImageType"])
    rules = SelectorDestMap([("StudyDescription == X", [A]), ("Modality == MR", [B]), ("ImageType == Q", [C])], ())
    router = Router([DynamicRoute(rules)])
    report = TransferReport()
    shares = await router.pre_route(archive, report=report)
    assert sent(shares, archive) == one_by_one(router, archive)
    assert report.exit_code == 0, report.summary()


async def test_an_example_that_cannot_be_had_is_replaced_by_another() -> None:
    archive = Archive(CT_AND_MR, withholds=[CT_AND_MR[0].sop_instance_uid])
    router = Router([DynamicRoute(rule("Manufacturer == Acme"))])
    shares = await router.pre_route(archive)
    assert sent(shares, archive)["A"] == {CT_AND_MR[i].sop_instance_uid for i in (0, 1, 3)}
    assert CT_AND_MR[1].sop_instance_uid in archive.given


@pytest.mark.parametrize("level", [STUDY, PATIENT])
@pytest.mark.parametrize("listed", [None, SERIES, IMAGE])
async def test_an_example_is_of_another_series_where_the_first_gives_none(
    level: QueryLevel, listed: QueryLevel | None
) -> None:
    """One of a kind that is not retrieved, say."""
    first = [make(series=1, number=number, Manufacturer="Acme") for number in range(1, 6)]
    other = [make(series=2, Manufacturer="Acme"), make(series=3, Manufacturer="Acme")]
    withheld = [instance.sop_instance_uid for instance in first]
    archive = Archive([*first, *other], withholds=withheld)
    found = await archive.query(listed) if listed is not None else None
    report = TransferReport()
    router = Router([DynamicRoute(rule("Manufacturer == Acme"), level)])
    shares = await router.pre_route(archive, query_res=found, report=report)
    assert set(sent(shares, archive)) == {"A"}
    assert len(sent(shares, archive)["A"]) == 7
    assert (report.exit_code, archive.given) == (0, [other[0].sop_instance_uid])
    # There is an end to it, and it is told.
    withheld += [make(series=series).sop_instance_uid for series in (2, 3)]
    with pytest.raises(RouteError, match="no example of it could be retrieved"):
        await Router(router.routes).pre_route(Archive([*first, *other], withholds=withheld), query_res=found)


async def test_what_cannot_be_decided_is_left_out_and_reported() -> None:
    archive = Archive(CT_AND_MR, withholds=[CT_AND_MR[2].sop_instance_uid])
    router = Router([DynamicRoute(rule("Manufacturer == Acme"), name="rules"), C])
    report = TransferReport()
    shares = await router.pre_route(archive, report=report)
    study = CT_AND_MR[2].header.text(STUDY.uid_tag)
    assert sent(shares, archive)["A"] == {CT_AND_MR[i].sop_instance_uid for i in (0, 1, 3)}
    # The other route does not need the rules.
    assert len(sent(shares, archive)["C"]) == 4
    (problem,) = report.errors
    assert (problem.subject, problem.kind) == (study, "error")
    assert "rules: no example of it could be retrieved" in problem.message
    assert report.exit_code == 3
    with pytest.raises(RouteError, match="no example of it could be retrieved"):
        await router.pre_route(archive)


async def test_what_no_rule_matches_is_left_out_and_reported() -> None:
    archive = Archive(CT_AND_MR, knows=["StudyDescription"])
    router = Router([DynamicRoute(rule("StudyDescription == X", default=None), name="rules")])
    report = TransferReport()
    shares = await router.pre_route(archive, report=report)
    assert set(sent(shares, archive)) == {"A"}
    (problem,) = report.errors
    assert (problem.subject, problem.message) == (CT_AND_MR[2].header.text(STUDY.uid_tag), "rules: no rule matches")
    with pytest.raises(RouteError, match="no rule matches"):
        await router.pre_route(archive)


async def test_what_goes_nowhere_on_purpose_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    archive = Archive(CT_AND_MR, knows=["StudyDescription", "NumberOfStudyRelatedInstances"])
    rules = rule("StudyDescription == Y", exclude=["StudyDescription == X"])
    report = TransferReport()
    with caplog.at_level(logging.INFO, "dcm.route"):
        shares = await Router([DynamicRoute(rules)]).pre_route(archive, report=report)
    assert set(sent(shares, archive)) == {"A"}
    assert report.counts[Outcome.FILTERED] == 3
    assert "nowhere" in caplog.text
    assert (report.exit_code, report.n_instances) == (0, 3)


async def test_what_goes_nowhere_is_named_where_nobody_knows_how_many_instances_it_is() -> None:
    archive = Archive(CT_AND_MR, knows=["StudyDescription"])
    report = TransferReport()
    await Router([DynamicRoute(rule("StudyDescription == Y", default=()))]).pre_route(archive, report=report)
    assert report.exit_code == 0
    (line,) = report.warnings
    assert line.startswith("2 left out on purpose: the rules send this study nowhere")


async def test_a_study_of_which_parts_would_go_elsewhere_stays_together() -> None:
    mixed = [make(series=2, Modality="PT"), make(series=1, Modality="CT"), make(series=3, Modality="PT")]
    archive = Archive(mixed, knows=["Modality"])
    report = TransferReport()
    shares = await Router([DynamicRoute(rule("Modality == CT"), name="rules")]).pre_route(archive, report=report)
    assert set(sent(shares, archive)) == {"A"}  # by its first series
    (line,) = report.warnings
    assert line.startswith("1 kept together: rules would send parts of one study elsewhere")
    assert (report.exit_code, report.doubts) == (0, [])  # nothing is missing anywhere
    # Which a route of series does not have to say.
    report = TransferReport()
    shares = await Router([DynamicRoute(rule("Modality == CT"), SERIES)]).pre_route(archive, report=report)
    assert {name: len(uids) for name, uids in sent(shares, archive).items()} == {"A": 1, "B": 2}
    assert report.warnings == []


async def test_parts_that_would_be_anonymized_and_others_that_would_not_are_told() -> None:
    """They would go to the same place, but not as the same."""
    archive = Archive([make(series=1, Modality="CT"), make(series=2, Modality="PT")], knows=["Modality"])
    plain, hidden = MemoryStore(name="A"), MemoryStore(name="A")
    rules = SelectorDestMap([("Modality == CT", [hidden])], [plain])
    route = DynamicRoute(rules, dest_filters={hidden: make_edit_filter({"PatientID": "ANON"})})
    report = TransferReport()
    await Router([route]).pre_route(archive, report=report)
    assert report.anomalies.count("mixed") == 1


async def test_a_patient_stays_together_whatever_is_asked_for_at_once() -> None:
    """A large source is routed in parts, and a patient may be in several of them."""
    archive = Archive(
        [make(study=number, StudyDescription="X" if number == 1 else "Y") for number in range(1, 6)],
        knows=["StudyDescription"],
    )
    router = Router([DynamicRoute(rule("StudyDescription == X"), PATIENT)])
    whole = await archive.query(STUDY)
    for uid in whole.uids():
        shares = await router.pre_route(archive, query_res=whole.only([uid]))
        assert [route.dests for routes in shares for route in routes] == [(A,)]
    router.forget()
    shares = await router.pre_route(archive, query_res=whole.only([max(whole.uids())]))
    assert [route.dests for routes in shares for route in routes] == [(B,)]


async def test_a_study_goes_where_the_first_of_it_goes_that_a_rule_matches() -> None:
    instances = [make(series=1, Modality="SR"), make(series=2, Modality="CT")]
    archive = Archive(instances, knows=["Modality"])
    report = TransferReport()
    shares = await Router([DynamicRoute(rule("Modality == CT", default=None))]).pre_route(archive, report=report)
    assert len(sent(shares, archive)["A"]) == 2
    assert not report.errors
    assert report.anomalies.count("mixed") == 1


async def test_what_the_first_series_decides_is_not_looked_for_in_the_others() -> None:
    instances = [make(series=1, Modality="CT"), make(series=2, Modality="")]
    archive = Archive(instances, knows=["Modality"])
    shares = await Router([DynamicRoute(rule("Modality == CT"))]).pre_route(archive)
    assert len(sent(shares, archive)["A"]) == 2
    assert archive.given == []
    # Nor does one that cannot be had matter where another one tells.
    instances = [make(series=1, Modality=""), make(series=2, Modality="CT")]
    archive = Archive(instances, knows=["Modality"], withholds=[instances[0].sop_instance_uid])
    shares = await Router([DynamicRoute(rule("Modality == CT"))]).pre_route(archive)
    assert len(sent(shares, archive)["A"]) == 2


async def test_an_earlier_result_is_all_that_is_looked_at() -> None:
    archive = Archive(CT_AND_MR, knows=["StudyDescription", "Modality"])
    found = (await archive.query(IMAGE)).only([CT_AND_MR[1].sop_instance_uid, CT_AND_MR[3].sop_instance_uid])
    archive.asked.clear()
    router = Router([DynamicRoute(rule("Manufacturer == Acme"))])
    shares = await router.pre_route(archive, query_res=found)
    assert {routes[0].dests: list(share.uids()) for routes, share in shares.items()} == {(A,): list(found.uids())}
    assert archive.given == [CT_AND_MR[1].sop_instance_uid, CT_AND_MR[3].sop_instance_uid]
    # A query of it, too.
    query = Dataset()
    query.Modality = "MR"
    shares = await router.pre_route(archive, query, found)
    assert set(sent(shares, archive)) == {"A"}
    assert len(sent(shares, archive)["A"]) == 1


async def test_results_of_patients_are_divided_where_routes_ask_for_more() -> None:
    archive = Archive(CT_AND_MR, knows=["StudyDescription"])
    found = await archive.query(PATIENT)
    router = Router([DynamicRoute(rule("StudyDescription == X"))])
    shares = await router.pre_route(archive, query_res=found)
    assert sent(shares, archive) == one_by_one(router, archive)
    assert {share.level for share in shares.values()} == {STUDY}
    static = await Router([A, B]).pre_route(archive, query_res=found)
    assert static == {(StaticRoute((A,)), StaticRoute((B,))): found}


async def test_static_routes_ask_nothing_more() -> None:
    archive = Archive(CT_AND_MR)
    edit = make_edit_filter({"PatientID": "X"})
    shares = await Router([StaticRoute((A, B), edit), StaticRoute((B, C))]).pre_route(archive, level=SERIES)
    assert list(shares) == [(StaticRoute((A, B), edit), StaticRoute((C,)))]
    assert [level for level, _ in archive.asked] == [SERIES]


async def test_methods_are_those_of_the_destination() -> None:
    archive = Archive(CT_AND_MR, knows=["StudyDescription"])
    link, proxy = (TransferMethod.LINK, TransferMethod.PROXY), (TransferMethod.PROXY,)
    rules = SelectorDestMap([("StudyDescription == X", [A, B, C])], ())
    shares = await Router([DynamicRoute(rules, dest_methods={B: link})]).pre_route(archive)
    assert list(shares) == [(StaticRoute((A, C), methods=proxy), StaticRoute((B,), methods=link))]


async def test_filters_are_those_of_the_destination() -> None:
    archive = Archive(CT_AND_MR, knows=["StudyDescription"])
    edit, other = make_edit_filter({"PatientID": "X"}), make_edit_filter({"PatientID": "Y"})
    rules = SelectorDestMap([("StudyDescription == X", [A, B, C])], ())
    shares = await Router([DynamicRoute(rules, filt=edit, dest_filters={B: other, C: None})]).pre_route(archive)
    assert list(shares) == [(StaticRoute((A,), edit), StaticRoute((B,), other), StaticRoute((C,)))]


async def test_a_function_that_says_what_it_reads_is_asked_without_an_example() -> None:
    archive = Archive(CT_AND_MR, knows=["StudyDescription"])
    asked: list[list[str]] = []

    def lookup(ds: Dataset) -> list[DataSink]:
        asked.append([element.keyword for element in ds])
        return [A] if ds.get("StudyDescription") == "X" else [B]

    router = Router([DynamicRoute(lookup, required_elems=["StudyDescription"])])
    assert sent(await router.pre_route(archive), archive) == one_by_one(router, archive)
    assert archive.given == []
    assert asked[0] == ["StudyDescription"]
    # One that does not say is given an example.
    router = Router([DynamicRoute(lambda ds: [A] if ds.Manufacturer == "Acme" else [B])])
    assert sent(await router.pre_route(archive), archive) == one_by_one(router, archive)
    assert len(archive.given) == 3


async def test_a_source_that_cannot_be_asked() -> None:
    class Bucket(Archive):
        features = type(Archive.features)(readable=True)

    with pytest.raises(UsageError, match="cannot be queried"):
        await Router([A]).pre_route(Bucket([]))

    class Silent(Archive):
        async def query(self, *args: Any, **options: Any) -> QueryResult:
            raise NetworkError("gone", peer="silent")

    with pytest.raises(NetworkError, match="gone"):
        await Router([A]).pre_route(Silent([]))


@pytest.mark.parametrize("condition", ["StudyDescription ~= scan", "Modality == MR", "RescaleIntercept == -1024"])
async def test_a_directory(tmp_path: Path, condition: str) -> None:
    samples = write_studies(tmp_path)
    router = Router([DynamicRoute(rule(condition), SERIES)])
    shares = await router.pre_route(LocalDir(tmp_path))
    expected = await asyncio.to_thread(
        lambda: {sample.series_uid: router.decide(Instance.from_file(sample.path))[0].sink for sample in samples}
    )
    found = {uid: routes[0].dests[0] for routes, share in shares.items() for uid in share.series()}
    assert found == expected
    assert set(found.values()) == {A, B}


async def test_nothing_at_all() -> None:
    archive = Archive([])
    assert await Router([DynamicRoute(rule("Manufacturer == Acme"))]).pre_route(archive) == {}


ELEMENTS = {PATIENT: "PatientSex", STUDY: "StudyDescription", SERIES: "Modality", IMAGE: "ImageType"}
VALUES = st.sampled_from(["X", "Y", ""])


@st.composite
def archives(draw: st.DrawFn, level: QueryLevel) -> list[Instance]:
    """Instances that agree, within what a route of a level keeps together, on all that may decide."""
    instances = []
    for patient in draw(st.sets(st.sampled_from(["P", "Q", ""]), min_size=1)):
        for study in range(draw(st.integers(1, 2))):
            for series in range(draw(st.integers(1, 2))):
                for number in range(draw(st.integers(1, 2))):
                    instances.append((patient, study, series, number))
    values: dict[tuple[Any, ...], str] = {}

    def value(path: tuple[Any, ...], finest: QueryLevel) -> str:
        at = min(level, finest)
        if at is PATIENT and not path[0]:
            at = STUDY if finest > PATIENT else PATIENT
        key = (finest, *path[: at + 1])
        return values.setdefault(key, draw(VALUES))

    elements: list[dict[str, Any]] = [
        {keyword: value(path, finest) for finest, keyword in ELEMENTS.items()} for path in instances
    ]
    return [make(*path, **own) for path, own in zip(instances, elements, strict=True)]


def conditions(keywords: Sequence[str]) -> st.SearchStrategy[str]:
    return st.tuples(st.sampled_from(keywords), st.sampled_from(["==", "!="]), st.sampled_from(["X", "Y", "''"])).map(
        " ".join
    )


@st.composite
def routes(draw: st.DrawFn, level: QueryLevel) -> DynamicRoute:
    common = [keyword for keyword in ELEMENTS.values() if level_of_keyword(keyword) <= level]
    rules = SelectorDestMap(
        draw(
            st.lists(
                st.tuples(conditions(list(ELEMENTS.values())), st.lists(st.sampled_from([A, B, C]), max_size=2)),
                max_size=3,
            )
        ),
        draw(st.lists(st.sampled_from([A, B, C]), max_size=1)),
        draw(st.lists(conditions(common), max_size=1)),
        draw(st.booleans()),
    )
    return DynamicRoute(rules, level)


@pytest.mark.parametrize("level", QueryLevel)
@settings(max_examples=15)
@given(st.data())
async def test_it_is_the_same_as_deciding_each_instance_by_itself(level: QueryLevel, data: st.DataObject) -> None:
    knows = data.draw(st.sets(st.sampled_from(list(ELEMENTS.values()))))
    refuses: Sequence[str] = data.draw(st.lists(st.sampled_from(list(ELEMENTS.values())), max_size=1))
    archive = Archive(data.draw(archives(level)), knows=sorted(knows), refuses=refuses)
    router = Router(data.draw(st.lists(routes(level) | st.sampled_from([A, B]), min_size=1, max_size=3)))
    found = None
    if data.draw(st.booleans()):
        found = await archive.query(data.draw(st.sampled_from([STUDY, SERIES, IMAGE])))
    report = TransferReport()
    shares = await router.pre_route(archive, query_res=found, report=report)
    assert sent(shares, archive) == one_by_one(router, archive)
    assert not report.errors
