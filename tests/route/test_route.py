"""Instances that come one by one go where the routes say."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from dcm.errors import ConnectionFailedError, PartialError, UsageError
from dcm.filt import Filter, make_edit_filter, make_reject_filter, parse_selector
from dcm.instance import Instance
from dcm.levels import QueryLevel
from dcm.report import Outcome, TransferReport
from dcm.route import DynamicRoute, Router, SelectorDestMap, StaticRoute
from dcm.store import TransferMethod
from dcm.store.local_dir import LocalDir
from dcm.store.memory import MemoryStore
from tests.data import data_set, write_series
from tests.route.objects import make, sinks
from tests.route.test_outlet import Doors

EDIT = make_edit_filter({"PatientID": "ANON"})


def by_modality(*dests: MemoryStore, **options: Any) -> DynamicRoute:
    rules = [(f"Modality == {name}", [dest]) for name, dest in zip(("CT", "MR"), dests, strict=False)]
    return DynamicRoute(SelectorDestMap(rules, **options), QueryLevel.SERIES, name="rules")


async def test_each_instance_goes_once_to_each_destination() -> None:
    a, b, c = sinks("ABC")
    report = TransferReport()
    instances = [make(series=i, Modality="CT" if i % 2 else "MR") for i in range(1, 7)]
    async with Router([a, by_modality(a, b), c]).route(report=report) as queue:
        for instance in instances:
            await queue.put(instance)
    report.finish()
    everything = {instance.sop_instance_uid for instance in instances}
    assert {uid for uid in everything if uid in a} == {uid for uid in everything if uid in c} == everything
    assert {instance.sop_instance_uid for instance in b} == {one.sop_instance_uid for one in instances[1::2]}
    assert set(report.dests) == {"A", "B", "C"}
    assert report.counts[Outcome.SENT] == 15
    assert report.exit_code == 0
    assert report.adds_up()


async def test_what_is_put_in_may_be_a_path_or_a_data_set(tmp_path: Path) -> None:
    (store,) = sinks("A")
    sample = write_series(tmp_path)[0]
    report = TransferReport()
    async with Router([store]).route(report=report) as queue:
        await queue.put(sample.path)
        await queue.put(data_set(number=2))
        assert await queue.place(make())
        assert not await queue.place(tmp_path / "missing")
        (tmp_path / "text").write_text("no DICOM")
        assert not await queue.place(tmp_path / "text")
        assert not await queue.place(Dataset())
    assert len(store) == 3
    assert store[sample.sop_instance_uid].size == len(sample.data_set_bytes)
    assert report.counts[Outcome.SENT] == 3
    assert report.counts[Outcome.FAILED] == 3
    # A single destination has no name.
    assert report.dests == [""]


async def test_filters_apply_to_what_was_decided_on_before() -> None:
    a, b, c = sinks("ABC")
    rules = SelectorDestMap([("PatientID == P", [a, b])], ())
    reject = StaticRoute((c,), make_reject_filter(parse_selector("PatientID == P")))
    report = TransferReport()
    instance = make()
    async with Router([StaticRoute((a,)), DynamicRoute(rules, filt=EDIT), reject]).route(report=report) as queue:
        assert await queue.place(instance)
    assert [one.sop_instance_uid for one in a] == [instance.sop_instance_uid]
    (changed,) = b
    assert changed.header.text(QueryLevel.PATIENT.uid_tag) == "ANON"
    assert changed.sop_instance_uid != instance.sop_instance_uid
    # The report knows it by the UID that it came with.
    states = {dest: report.state(instance.sop_instance_uid, dest) for dest in report.dests}
    assert states == {"A": Outcome.SENT, "B": Outcome.SENT, "C": Outcome.FILTERED}
    assert report.n_instances == 1


async def test_what_no_rule_matches_fails_and_the_rest_goes_on() -> None:
    a, b = sinks("AB")
    report = TransferReport()
    async with Router([b, by_modality(a)]).route(report=report) as queue:
        assert not await queue.place(make(Modality="US"))
        assert await queue.place(make(series=2, Modality="CT"))
    assert len(b) == 2  # the other route does not need the rules
    assert report.state(make().sop_instance_uid) is Outcome.FAILED
    assert "rules: no rule matches" in report.summary()
    with pytest.raises(PartialError, match="no rule matches"):
        async with Router([b, by_modality(a)]).route() as queue:
            await queue.put(make(Modality="US"))


async def test_what_goes_nowhere_on_purpose_is_filtered() -> None:
    (a,) = sinks("A")
    report = TransferReport()
    async with Router([by_modality(a, default_dests=())]).route(report=report) as queue:
        assert await queue.place(make(Modality="US"))
    assert report.state(make().sop_instance_uid) is Outcome.FILTERED
    assert report.exit_code == 0


async def test_a_filter_that_fails_fails_its_destination_only() -> None:
    def fail(ds: Dataset) -> Dataset:
        raise ValueError("not today")

    a, b = sinks("AB")
    report = TransferReport()
    async with Router([StaticRoute((a,), Filter(fail)), b]).route(report=report) as queue:
        assert not await queue.place(make())
    assert (len(a), len(b)) == (0, 1)
    assert report.state(make().sop_instance_uid, "A") is Outcome.FAILED
    assert "not today" in report.summary()


async def test_a_destination_that_is_lost_fails_alone_and_may_come_back() -> None:
    doors = Doors()
    doors.fails_to_open = [ConnectionFailedError("nobody there")]
    (b,) = sinks("B")
    report = TransferReport()
    async with Router([doors, b]).route(report=report) as queue:
        assert not await queue.place(make())
        assert report.state(make().sop_instance_uid, "doors") is Outcome.FAILED
        # It may come again after that.
        assert await queue.place(make())
    assert doors.n_opened == 2
    assert not report.anomalies


@pytest.mark.parametrize("keep", [False, True])
async def test_duplicates_and_what_contradicts_itself(keep: bool) -> None:
    (a,) = sinks("A")
    report = TransferReport()
    whole = make()
    uids = whole.sop_class_uid, "1.2.3.4", whole.transfer_syntax_uid
    cut = Instance.from_buffer(*uids, bytes(whole.read(0, whole.size - 3)))
    other = make(number=2, PatientID="Q")
    async with Router([a]).route(keep, report) as queue:
        for instance in (whole, whole, cut, other):
            await queue.place(instance)
    assert len(a) == (3 if keep else 1)
    kinds = sorted(problem.kind for problem in report.anomalies)
    assert kinds == ([] if keep else ["duplicate", "inconsistent"])
    assert report.counts[Outcome.FAILED] == (0 if keep else 2)


async def test_what_cannot_go_one_by_one(tmp_path: Path) -> None:
    route = StaticRoute((LocalDir(tmp_path),), methods=(TransferMethod.MOVE,))
    with pytest.raises(UsageError, match="by move"):
        async with Router([route]).route():
            pass


async def test_it_ends_with_its_owner() -> None:
    doors = Doors()
    doors.go.clear()

    async def own() -> None:
        async with Router([doors]).route(report=TransferReport()) as queue:
            await queue.put(make())
            await asyncio.Event().wait()

    task = asyncio.ensure_future(own())
    for _ in range(100):
        await asyncio.sleep(0.001)
        if doors.n_under_way:
            break
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert doors.n_opened == doors.n_closed == 1


async def test_something_unforeseen_ends_all_of_it() -> None:
    doors = Doors()
    doors.fails = [RuntimeError("a bug")]
    with pytest.raises(RuntimeError, match="a bug"):
        async with Router([doors]).route(report=TransferReport()) as queue:
            await queue.put(make())
