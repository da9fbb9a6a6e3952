"""Syncs whose destinations depend on the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom import Dataset

from dcm.errors import UsageError
from dcm.filt import Filter, make_edit_filter
from dcm.instance import Instance
from dcm.levels import QueryLevel
from dcm.net import DcmNode
from dcm.report import Outcome, TransferReport
from dcm.route import DynamicRoute, SelectorDestMap, StaticRoute
from dcm.store.base import DataSink, Features, TransferMethod
from dcm.store.local_dir import LocalDir
from dcm.store.memory import MemoryStore
from dcm.store.net_repo import NetRepo
from dcm.sync import SyncManager, sync
from tests.peers import HOST, free_port
from tests.store.instances import make
from tests.sync.test_manager import Watched, study, uids

BUCKET = Features(readable=True)
REPO = Features(readable=True, queryable=True)


def mixed(number: int, modality: str, serial: str = "SN-7") -> list[Instance]:
    uid = f"1.2.{number}"
    return [
        make(f"{uid}.9.{i}", study_uid=uid, patient_id=f"P{number}", modality=modality, serial=serial)
        for i in range(1, 4)
    ]


@pytest.mark.parametrize("features", [REPO, BUCKET], ids=["queried", "not queried"])
async def test_each_series_goes_where_its_rule_says(features: Features) -> None:
    ct, mr, pt = mixed(1, "CT"), mixed(2, "MR"), mixed(3, "PT")
    source = Watched([*ct, *mr, *pt], features=features)
    a, b, c = (MemoryStore(name=name) for name in "abc")
    rules = SelectorDestMap([("Modality == CT", [a, b]), ("Modality == MR", [b])], default_dests=[c])
    report = TransferReport()
    await sync(source, DynamicRoute(rules, QueryLevel.SERIES, name="rules"), report=report)
    assert (uids(a), uids(b), uids(c)) == (uids(ct), uids(ct) | uids(mr), uids(pt))
    assert (report.exit_code, report.adds_up(), report.counts[Outcome.SENT]) == (0, True, 12)
    if features.queryable:
        assert len([uid for part in source.fetched for uid in part]) == 3, "each series is fetched once, as a whole"
    again = await sync(source, DynamicRoute(rules, QueryLevel.SERIES))
    assert (again.counts[Outcome.SENT], again.counts[Outcome.PRESENT]) == (0, 12)


@pytest.mark.parametrize("features", [REPO, BUCKET], ids=["queried", "not queried"])
async def test_what_several_routes_name_goes_there_once(features: Features) -> None:
    """The first route that names a destination decides what becomes of the data on the way there."""
    ct, mr = mixed(1, "CT"), mixed(2, "MR")
    everything, backup = MemoryStore(name="everything"), MemoryStore(name="backup")
    anonymous = make_edit_filter({"PatientID": "ANON"}, update_uids=False)
    routes: list[StaticRoute | DynamicRoute] = [
        DynamicRoute(SelectorDestMap([("Modality == CT", [backup])], default_dests=()), filt=anonymous, name="ct"),
        StaticRoute((everything, backup), name="all"),
    ]
    report = TransferReport()
    await sync(Watched([*ct, *mr], features=features), routes, report=report)
    assert uids(everything) == uids(backup) == uids([*ct, *mr])
    assert {backup[uid].header.text(0x00100020) for uid in uids(ct)} == {"ANON"}
    assert {backup[uid].header.text(0x00100020) for uid in uids(mr)} == {"P2"}
    assert {everything[uid].header.text(0x00100020) for uid in uids(ct)} == {"P1"}
    assert (report.exit_code, report.adds_up(), report.counts[Outcome.SENT]) == (0, True, 12)


@pytest.mark.parametrize("features", [REPO, BUCKET], ids=["queried", "not queried"])
async def test_what_no_rule_matches_is_told(features: Features) -> None:
    ct, mr = mixed(1, "CT"), mixed(2, "MR")
    dest = MemoryStore(name="dest")
    report = TransferReport()
    route = DynamicRoute(SelectorDestMap([("Modality == CT", [dest])]), QueryLevel.SERIES, name="picky")
    await sync(Watched([*ct, *mr], features=features), route, report=report)
    assert uids(dest) == uids(ct)
    assert report.exit_code == 3
    assert any("picky: no rule matches" in line for line in report.warnings), report.warnings


@pytest.mark.parametrize("features", [REPO, BUCKET], ids=["queried", "not queried"])
async def test_what_goes_nowhere_on_purpose_is_no_trouble(features: Features) -> None:
    ct, mr = mixed(1, "CT"), mixed(2, "MR")
    dest = MemoryStore(name="dest")
    rules = SelectorDestMap([("Modality ~= .", [dest])], exclude=["Modality == MR"])
    for outcome in (Outcome.SENT, Outcome.PRESENT):
        report = await sync(Watched([*ct, *mr], features=features), DynamicRoute(rules, QueryLevel.SERIES))
        assert uids(dest) == uids(ct)
        assert (report.exit_code, report.adds_up()) == (0, True)
        assert (report.counts[outcome], report.counts[Outcome.FILTERED], report.n_instances) == (3, 3, 6)


async def test_an_element_that_no_query_returns_is_looked_up_in_an_example() -> None:
    old, new = mixed(1, "CT", serial="SN-1"), mixed(2, "CT", serial="SN-2")
    source = Watched([*old, *new])
    a, b = MemoryStore(name="a"), MemoryStore(name="b")
    rules = SelectorDestMap([("DeviceSerialNumber == SN-1", [a]), ("DeviceSerialNumber == SN-2", [b])])
    await sync(source, DynamicRoute(rules))
    assert (uids(a), uids(b)) == (uids(old), uids(new))


async def test_destinations_that_only_a_function_knows() -> None:
    stores = {name: MemoryStore(name=name) for name in ("P1", "P2")}

    def by_patient(ds: Dataset) -> Sequence[MemoryStore]:
        return [stores[ds.PatientID]]

    report = TransferReport()
    await sync(Watched([*study(1), *study(2)]), DynamicRoute(by_patient, required_elems=["PatientID"]), report=report)
    assert [uids(store) for store in stores.values()] == [uids(study(1)), uids(study(2))]
    assert sorted(report.dests) == ["P1", "P2"]


async def test_a_destination_that_is_dead_does_not_keep_those_that_come_up_later_from_theirs() -> None:
    dead = NetRepo(DcmNode(HOST, "ME", 0), DcmNode(HOST, "DEAD", free_port()))
    alive = MemoryStore(name="alive")
    for_the_dead = [instance for number in range(60) for instance in mixed(number, "CT")[:1]]
    for_the_alive = [instance for number in range(60, 120) for instance in mixed(number, "MR")[:1]]

    def choose(ds: Dataset) -> Sequence[DataSink]:
        return [dead] if ds.Modality == "CT" else [alive]

    report = TransferReport()
    await sync(
        Watched([*for_the_dead, *for_the_alive]), DynamicRoute(choose, required_elems=["Modality"]), report=report
    )
    assert uids(alive) == uids(for_the_alive)
    assert report.exit_code == 3
    assert set(report.uids(Outcome.FAILED, str(dead))) == uids(for_the_dead)


async def test_filters_that_look_alike_are_not_taken_for_each_other() -> None:
    dest = MemoryStore(name="dest")

    def to(modality: str, patient_id: str) -> DynamicRoute:
        def write(ds: Dataset) -> Dataset:
            ds.PatientID = patient_id
            return ds

        def choose(ds: Dataset) -> Sequence[MemoryStore]:
            return [dest] if ds.Modality == modality else []

        filt = Filter(write, ["PatientID"], ["PatientID"])
        return DynamicRoute(choose, QueryLevel.SERIES, ["Modality"], filt=filt)

    with pytest.raises(UsageError, match="the same fingerprint"):
        await sync(Watched([*mixed(1, "CT"), *mixed(2, "MR")]), [to("CT", "ANON"), to("MR", "NAME")])
    assert {dest[uid].header.text(0x00100020) for uid in uids(dest)} <= {"ANON", "NAME"}
    for uid in uids(dest):
        assert (uid in uids(mixed(1, "CT"))) is (dest[uid].header.text(0x00100020) == "ANON")


async def test_a_dry_run_says_what_would_go_where() -> None:
    a, b = MemoryStore(name="a"), MemoryStore(name="b")
    rules = SelectorDestMap([("Modality == CT", [a])], default_dests=[b])
    source = Watched([*mixed(1, "CT"), *mixed(2, "MR")])
    report = await sync(source, DynamicRoute(rules, QueryLevel.SERIES), dry_run=True)
    assert (set(report.pending("a")), set(report.pending("b"))) == (uids(mixed(1, "CT")), uids(mixed(2, "MR")))
    assert not source.fetched


async def test_bad_destinations_in_rules_are_refused_before_anything_moves(tmp_path: Path) -> None:
    source = Watched(mixed(1, "CT"))
    outer, inner = LocalDir(tmp_path / "x"), LocalDir(tmp_path / "x" / "y")
    with pytest.raises(UsageError, match="one is within the other"):
        await sync(source, DynamicRoute(SelectorDestMap([("Modality == CT", [outer])], default_dests=[inner])))
    with pytest.raises(UsageError, match="source and destination at once"):
        await sync(source, DynamicRoute(SelectorDestMap([("Modality == CT", [outer])], default_dests=[source])))
    assert not source.fetched
    assert not (tmp_path / "x").exists()


@pytest.fixture
def filled_dir(tmp_path: Path) -> LocalDir:
    source = LocalDir(tmp_path / "in", index=False)
    for instance in [*mixed(1, "CT"), *mixed(2, "MR")]:
        source.store(instance)
    return source


async def test_files_are_moved_to_one_place_only(filled_dir: LocalDir, tmp_path: Path) -> None:
    source = filled_dir
    a, b = LocalDir(tmp_path / "a"), LocalDir(tmp_path / "b")
    rules = SelectorDestMap([("Modality == CT", [a])], default_dests=[b])
    move: dict[DataSink | None, list[TransferMethod]] = {None: [TransferMethod.MOVE]}
    report = await sync(source, DynamicRoute(rules, QueryLevel.SERIES, dest_methods=move))
    assert (report.exit_code, report.counts[Outcome.SENT]) == (0, 6)
    assert (len([*a.path.rglob("*.dcm")]), len([*b.path.rglob("*.dcm")])) == (3, 3)
    assert not [*source.path.rglob("*.dcm")]
    both = SelectorDestMap([("Modality == CT", [LocalDir(tmp_path / "c"), LocalDir(tmp_path / "d")])])
    with pytest.raises(UsageError, match="one destination only"):
        await sync(a, DynamicRoute(both, dest_methods=move))


async def test_transfers_name_the_destinations_of_each_part() -> None:
    a, b = MemoryStore(name="a"), MemoryStore(name="b")
    rules = SelectorDestMap([("Modality == CT", [a])], default_dests=[a, b])
    source = Watched([*mixed(1, "CT"), *mixed(2, "MR")])
    async with SyncManager(source, [DynamicRoute(rules, QueryLevel.SERIES)]) as manager:
        found = {transfer.dests: transfer.query_res async for transfer in manager.gen_transfers()}
    assert set(found) == {(a,), (a, b)}
