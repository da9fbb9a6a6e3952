"""Which instance goes where, by any number of routes."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dcm.errors import RouteError, UsageError
from dcm.filt import Filter, MultiFilter, make_edit_filter
from dcm.instance import Instance
from dcm.levels import QueryLevel
from dcm.net import DcmNode, LocalEntity
from dcm.route import DynamicRoute, Router, SelectorDestMap, StaticRoute, UnroutedError, Way
from dcm.route import _router as router_module
from dcm.store import DataSink, TransferMethod
from dcm.store.local_dir import LocalDir
from dcm.store.memory import MemoryStore
from dcm.store.net_repo import NetRepo
from tests.data import data_set
from tests.route.objects import make, sinks

A, B, C = sinks("ABC")
EDIT = make_edit_filter({"PatientID": "ANON"})


def names(ways: tuple[Way, ...]) -> list[str]:
    return [str(way.sink) for way in ways]


def by_modality(**options: object) -> DynamicRoute:
    return DynamicRoute(SelectorDestMap([("Modality == CT", [A]), ("Modality == MR", [B, C])]), **options)  # type: ignore[arg-type]


def test_an_instance_goes_once_to_each_destination_by_the_first_route_that_names_it() -> None:
    router = Router([StaticRoute((A,), EDIT, name="first"), StaticRoute((A, B), name="second"), C])
    ways = router.decide(make())
    assert [(str(way.sink), way.filt, way.route) for way in ways] == [
        ("A", EDIT, "first"),
        ("B", None, "second"),
        ("C", None, ""),
    ]
    with pytest.raises(UsageError):
        Router([])


def _given(dests: tuple[DataSink, ...], ds: Dataset) -> tuple[DataSink, ...]:
    return dests


@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 2), max_size=3)), min_size=1, max_size=5))
def test_once_to_each_destination_that_any_route_names(plan: list[tuple[bool, list[int]]]) -> None:
    stores = (A, B, C)
    routes: list[StaticRoute | DynamicRoute] = []
    for static, numbers in plan:
        dests = tuple(stores[number] for number in numbers)
        if static and dests:
            routes.append(StaticRoute(dests))
        else:
            routes.append(DynamicRoute(functools.partial(_given, dests), required_elems=["Modality"]))
    ways = Router(routes).decide(make(Modality="CT"))
    wanted = {str(stores[number]) for _, numbers in plan for number in numbers}
    assert sorted(names(ways)) == sorted(wanted)


def test_a_study_stays_together() -> None:
    router = Router([by_modality()])
    assert names(router.decide(make(series=1, Modality="CT"))) == ["A"]
    assert names(router.decide(make(series=2, Modality="MR"))) == ["A"]
    assert names(router.decide(make(study=2, Modality="MR"))) == ["B", "C"]
    router.forget()
    assert names(router.decide(make(series=2, Modality="MR"))) == ["B", "C"]


@pytest.mark.parametrize(
    ("level", "other"),
    [
        (QueryLevel.PATIENT, make("P", 2, Modality="MR")),
        (QueryLevel.STUDY, make("P", 1, 2, Modality="MR")),
        (QueryLevel.SERIES, make("P", 1, 1, 2, Modality="MR")),
    ],
)
def test_what_stays_together_is_up_to_the_level(level: QueryLevel, other: Instance) -> None:
    router = Router([by_modality(route_level=level)])
    assert names(router.decide(make(Modality="CT"))) == ["A"]
    assert names(router.decide(other)) == ["A"]
    assert names(router.decide(make("Q", 3, 3, 3, Modality="MR"))) == ["B", "C"]


def test_images_are_decided_one_by_one() -> None:
    router = Router([by_modality(route_level=QueryLevel.IMAGE)])
    assert names(router.decide(make(Modality="CT"))) == ["A"]
    assert names(router.decide(make(Modality="MR"))) == ["B", "C"]


def test_patients_without_an_id_are_not_one_patient() -> None:
    router = Router([by_modality(route_level=QueryLevel.PATIENT)])
    assert names(router.decide(make("", 1, Modality="CT"))) == ["A"]
    assert names(router.decide(make("", 2, Modality="MR"))) == ["B", "C"]
    # Nor is there anything to remember where nothing says which study it is.
    assert names(router.decide(make("", 3, Modality="CT", StudyInstanceUID=""))) == ["A"]
    assert names(router.decide(make("", 3, Modality="MR", StudyInstanceUID=""))) == ["B", "C"]


def test_no_more_is_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_module, "_REMEMBERED", 2)
    router = Router([by_modality()])
    for study in (1, 2, 1, 3):
        router.decide(make(study=study, Modality="CT"))
    assert names(router.decide(make(study=1, Modality="MR"))) == ["A"]
    assert names(router.decide(make(study=2, Modality="MR"))) == ["B", "C"]


def test_threads_agree_on_a_study() -> None:
    barrier = threading.Barrier(4)

    def lookup(ds: Dataset) -> list[DataSink]:
        barrier.wait(10)
        return [A] if ds.Modality == "CT" else [B]

    router = Router([DynamicRoute(lookup, required_elems=["Modality"])])
    results: list[list[str]] = []
    instances = [make(number=i, Modality="CT" if i % 2 else "MR") for i in range(4)]
    threads = [threading.Thread(target=lambda one=one: results.append(names(router.decide(one)))) for one in instances]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert results[0] in (["A"], ["B"])
    assert all(result == results[0] for result in results)


def test_what_no_rule_matches_goes_where_the_other_routes_say() -> None:
    router = Router([A, by_modality(name="rules"), StaticRoute((B,)), StaticRoute((MemoryStore(name="D"),))])
    with pytest.raises(RouteError, match=r"^rules: no rule matches$") as caught:
        router.decide(make(Modality="US"))
    assert isinstance(caught.value, UnroutedError)
    # The rules might have named B, and have done something on the way there.
    assert names(caught.value.ways) == ["A", "D"]
    # That is not remembered.
    assert names(router.decide(make(Modality="CT"))) == ["A", "B", "D"]


def test_behind_a_function_that_fails_nothing_is_certain() -> None:
    def lookup(ds: Dataset) -> list[DataSink]:
        raise ValueError(str(ds.PatientName))

    router = Router([A, DynamicRoute(lookup, name="own"), StaticRoute((B,))])
    with pytest.raises(UnroutedError, match=r"own: the lookup failed: ValueError$") as caught:
        router.decide(make(PatientName="Dracula^Count"))
    assert names(caught.value.ways) == ["A"]


def test_a_function_is_given_what_it_asks_for() -> None:
    seen: list[Dataset] = []

    def lookup(ds: Dataset) -> None:
        seen.append(ds)

    assert Router([DynamicRoute(lookup, required_elems=["Modality", "(0010,0010)"])]).decide(make(Modality="CT")) == ()
    assert [element.keyword for element in seen[0]] == ["Modality"]
    Router([DynamicRoute(lookup)]).decide(make(Modality="CT", PatientName="X"))
    assert seen[1].PatientName == "X"
    assert seen[1].file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_elements_that_are_usually_not_looked_at_are_read_from_the_instance(tmp_path: Path) -> None:
    ds = data_set()
    ds.add_new(0x00190010, "LO", "ACME")
    ds.add_new(0x00191010, "LO", "special")
    path = tmp_path / "a.dcm"
    ds.save_as(path)
    rules = SelectorDestMap([("(0019,1010) == special", [A])], [B])
    nested = SelectorDestMap([("RequestAttributesSequence.RequestedProcedureID == 7", [C])], [B])
    router = Router([DynamicRoute(rules, QueryLevel.IMAGE), DynamicRoute(nested, QueryLevel.IMAGE)])
    assert names(router.decide(Instance.from_file(path))) == ["A", "B"]
    item = Dataset()
    item.RequestedProcedureID = "7"
    ds.RequestAttributesSequence = [item]
    assert names(router.decide(Instance.from_dataset(ds))) == ["A", "C"]


def test_what_may_be_cut_off_decides_nothing() -> None:
    whole = make(Modality="CT", StudyDescription="X")
    data = bytes(whole.read(0, whole.size))
    uids = whole.sop_class_uid, whole.sop_instance_uid, whole.transfer_syntax_uid
    # Behind the Study Description, and within it.
    late, early = (Instance.from_buffer(*uids, data[:n]) for n in (len(data) - 10, 70))
    route = DynamicRoute(SelectorDestMap([("ContentDate == ''", [A])]), name="rules")
    assert names(Router([route]).decide(late)) == ["A"]
    with pytest.raises(RouteError, match=r"StudyDescription.*ends within"):
        Router([DynamicRoute(SelectorDestMap([("StudyDescription == ''", [A])]))]).decide(early)
    with pytest.raises(RouteError, match="not complete"):
        Router([DynamicRoute(lambda ds: [A])]).decide(late)


def test_deflated_data_is_looked_at() -> None:
    ds = data_set()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert names(Router([by_modality()]).decide(Instance.from_dataset(ds))) == ["A"]


def test_what_only_answers_have_decides_nothing() -> None:
    with pytest.raises(UsageError, match=r"ModalitiesInStudy.*no instance has it"):
        DynamicRoute(SelectorDestMap([("ModalitiesInStudy == CT", [A])]))


@pytest.mark.parametrize(
    ("exclude", "level", "own"),
    [
        ("ImageType ~= SECONDARY", QueryLevel.STUDY, "image"),
        ("ImageType ~= SECONDARY", QueryLevel.SERIES, "image"),
        ("Modality == SR", QueryLevel.STUDY, "series"),
        ("StudyDescription == X", QueryLevel.PATIENT, "study"),
    ],
)
def test_what_excludes_some_must_not_exclude_all(exclude: str, level: QueryLevel, own: str) -> None:
    """A screenshot that comes first would keep out its whole study; one that comes later would get in with it."""
    rules = SelectorDestMap([("Modality == CT", [A])], [B], exclude=["PatientID == TEST", exclude])
    with pytest.raises(UsageError, match=f"exclude looks at .* decides for a whole {level.name.lower()}") as caught:
        DynamicRoute(rules, level)
    assert f'route_level = "{own}"' in caught.value.hint
    DynamicRoute(rules, QueryLevel[own.upper()])


def test_methods_of_destinations() -> None:
    link, proxy = (TransferMethod.LINK, TransferMethod.PROXY), (TransferMethod.PROXY,)
    route = by_modality(dest_methods={B: link, None: proxy})
    assert {str(way.sink): way.methods for way in Router([route]).ways} == {"A": proxy, "B": link, "C": proxy}
    with pytest.raises(UsageError, match="proxy"):
        by_modality(dest_methods={B: (TransferMethod.LINK,)}, filt=EDIT)


def test_a_way_has_the_same_key_in_every_process(tmp_path: Path) -> None:
    code = (
        "from dcm.filt import make_edit_filter\nfrom dcm.route import Way\nfrom dcm.store.local_dir import LocalDir\n"
        "print(Way(LocalDir('out'), make_edit_filter({'PatientID': 'ANON'})).key)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONHASHSEED": "7"}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert result.stdout.strip() == Way(LocalDir(tmp_path / "out"), EDIT).key
    plain = Way(LocalDir(tmp_path / "out"))
    assert plain.key == str(tmp_path / "out")
    assert str(Way(A, EDIT)) == "A through edit"


def writing(name: str) -> Filter:
    def write(ds: Dataset) -> Dataset:
        ds.PatientID = name
        return ds

    return Filter(write, ["PatientID"], ["PatientID"])


def _of_modality(modality: str, ds: Dataset) -> tuple[DataSink, ...]:
    return (A,) if ds.Modality == modality else ()


def test_filters_that_look_alike_are_not_taken_for_each_other() -> None:
    """What is known of a way in a journal is its key: one that anonymizes must not have that of one that does not."""
    one, other = writing("ANON"), writing("NAME")
    assert one.fingerprint == other.fingerprint
    rules = SelectorDestMap([("Modality == CT", [A])], ())
    for a, b in ((one, other), (MultiFilter([EDIT, one]), MultiFilter([EDIT, other]))):
        with pytest.raises(UsageError, match="on the way to A have the same fingerprint"):
            Router([StaticRoute((A,), a), DynamicRoute(rules, filt=b)])
        Router([StaticRoute((A,), a), DynamicRoute(rules, filt=a), StaticRoute((B,), b)])
    # A destination that only a function knows.
    router = Router([DynamicRoute(lambda ds: [A], filt=one), DynamicRoute(lambda ds: [B, A], filt=other)])
    assert names(router.decide(make())) == ["A", "B"]
    router = Router(
        [
            DynamicRoute(functools.partial(_of_modality, "CT"), required_elems=["Modality"], filt=one),
            DynamicRoute(functools.partial(_of_modality, "MR"), required_elems=["Modality"], filt=other),
        ]
    )
    assert [way.filt for way in router.decide(make(Modality="CT"))] == [one]
    with pytest.raises(RouteError, match="the same fingerprint"):
        router.decide(make(study=2, Modality="MR"))


def test_two_objects_of_one_destination_are_one(tmp_path: Path) -> None:
    local, node = LocalEntity(DcmNode("127.0.0.1", "ME")), DcmNode("127.0.0.1", "PACS", 104)
    router = Router([NetRepo(local, node), NetRepo(local, node), LocalDir(tmp_path), LocalDir(tmp_path)])
    assert names(router.decide(make())) == ["127.0.0.1:PACS:104", str(tmp_path)]
    assert len(router.ways) == 2
    (tmp_path / "link").symlink_to(tmp_path)
    nested = Router([LocalDir(tmp_path), LocalDir(tmp_path / "below"), LocalDir(tmp_path / "link")])
    assert names(nested.decide(make())) == [str(tmp_path), str(tmp_path / "below")]
    twins = Router([MemoryStore(), MemoryStore()])
    assert len(twins.decide(make())) == 2


def test_it_is_explained_where_an_instance_goes() -> None:
    router = Router([StaticRoute((A,), EDIT), by_modality(name="rules"), DynamicRoute(lambda ds: [C], name="own")])
    static, rules, own = router.explain(make(Modality="CT"))
    assert (static.route, static.level, names(static.ways)) == ("to A", None, ["A"])
    assert (rules.route, rules.level, rules.values) == ("rules", QueryLevel.STUDY, {"Modality": "CT"})
    assert rules.node == make().header.text(QueryLevel.STUDY.uid_tag)
    assert [rule.matches for rule in rules.rules] == [True, False]
    assert rules.dests == (A,)
    assert rules.ways == ()  # the first route goes there already
    assert (own.rules, names(own.ways), own.error) == ((), ["C"], "")
    assert static.to_json()["ways"] == [
        {"dest": "A", "filter": "edit", "methods": ["proxy"], "key": f"A | {EDIT.fingerprint}"}
    ]
    # What was decided for its study before does not matter.
    router.decide(make(Modality="CT"))
    _, rules, own = router.explain(make(Modality="US", number=2))
    assert rules.error == "rules: no rule matches"
    assert not any(rule.matches for rule in rules.rules)
    assert rules.to_json()["error"] == "rules: no rule matches"
    assert own.ways == ()
