"""`SyncManager` between stores in memory: what moves, what does not, and what the report says of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

import pytest
from pydicom import Dataset

from dcm._atomic import TempFile
from dcm.errors import (
    AssociationAbortedError,
    ConnectionFailedError,
    NetworkError,
    OperationFailedError,
    PartialError,
    StoreError,
    UsageError,
)
from dcm.filt import Filter, make_edit_filter, make_reject_filter, parse_selector
from dcm.instance import Instance
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from dcm.report import Outcome, QueryReport, TransferReport
from dcm.route import StaticRoute
from dcm.store.base import Features, TransferMethod
from dcm.store.memory import MemoryChunk, MemoryStore
from dcm.sync import SyncManager, sync
from dcm.sync import _manager as manager_module
from tests.store.instances import make


def study(number: int, n_instances: int = 3) -> list[Instance]:
    uid = f"1.2.{number}"
    return [make(f"{uid}.9.{i}", study_uid=uid, patient_id=f"P{number}") for i in range(1, n_instances + 1)]


def uids(instances: Iterable[Instance]) -> set[str]:
    return {instance.sop_instance_uid for instance in instances}


class Watched(MemoryStore):
    """Remembers what it was asked, and fails where a test wants it."""

    def __init__(
        self, instances: Iterable[Instance] = (), name: str = "memory", features: Features | None = None
    ) -> None:
        super().__init__(instances, name)
        if features is not None:
            self.features = features
        self.asked: list[tuple[QueryLevel | None, frozenset[str] | None]] = []
        self.fetched: list[frozenset[str]] = []
        self.query_error: Exception | None = None
        self.fetch_errors: list[NetworkError] = []
        self.fail_after = 0

    async def query(
        self,
        level: QueryLevel | None = None,
        query: Any = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> QueryResult:
        self.asked.append((level, frozenset(query_res.uids()) if query_res is not None else None))
        if self.query_error is not None:
            raise self.query_error
        return await super().query(level, query, query_res, report)

    async def fetch(
        self,
        query_res: QueryResult,
        deliver: Callable[[Instance], Awaitable[bool]],
        report: TransferReport,
        *,
        dests: Sequence[str] = ("",),
        keep_errors: bool = False,
        new_temp: Callable[[], TempFile] | None = None,
        method: TransferMethod = TransferMethod.PROXY,
    ) -> None:
        self.fetched.append(frozenset(query_res.uids()))
        if self.fetch_errors:
            left = self.fail_after

            async def deliver_some(instance: Instance) -> bool:
                nonlocal left
                left -= 1
                return await deliver(instance) if left >= 0 else False

            await super().fetch(query_res, deliver_some, report, dests=dests, keep_errors=keep_errors)
            raise self.fetch_errors.pop(0)
        await super().fetch(query_res, deliver, report, dests=dests, keep_errors=keep_errors)


async def test_only_what_is_missing_moves() -> None:
    source = Watched([*study(1), *study(2), *study(3)])
    dest = Watched([*study(2), *study(3)[:1]], name="there")
    report = await sync(source, dest)
    assert uids(dest) == uids(source)
    assert set(report.uids(Outcome.SENT)) == uids(study(1)) | uids(study(3)[1:])
    assert set(report.uids(Outcome.PRESENT)) == uids(study(2)) | uids(study(3)[:1])
    assert (report.exit_code, report.adds_up(), report.n_instances) == (0, True, 9)
    # The study that is not there at all goes as a whole; of the others nothing goes that is there.
    assert source.fetched == [frozenset({"1.2.1"}), uids(study(3)[1:])]
    again = await sync(source, dest)
    assert again.counts[Outcome.PRESENT] == 9
    assert again.counts[Outcome.SENT] == 0
    assert again.n_bytes == 0


async def test_several_sources_and_destinations() -> None:
    """What two sources have goes once, and what several destinations miss is fetched once."""
    sources = [Watched([*study(1), *study(2)], name="a"), Watched([*study(2), *study(3)], name="b")]
    dests = [MemoryStore(name="x"), MemoryStore(study(1), name="y"), MemoryStore(study(3)[:2], name="z")]
    report = TransferReport()
    await sync(sources, dests, report=report)
    everything = uids([*study(1), *study(2), *study(3)])
    assert [uids(dest) for dest in dests] == [everything] * 3
    assert (report.exit_code, report.adds_up()) == (0, True)
    assert set(report.uids(Outcome.SENT, "z")) == everything - uids(study(3)[:2])
    assert sources[0].fetched == [frozenset({"1.2.1"}), frozenset({"1.2.2"})]
    assert sources[1].fetched == [frozenset({"1.2.3"})], "study 2 is there by now"


async def test_a_query_limits_what_moves() -> None:
    query = Dataset()
    query.PatientID = "P2"
    dest = MemoryStore()
    await sync(Watched([*study(1), *study(2)]), dest, query)
    assert uids(dest) == uids(study(2))


async def test_trusted_counts_are_in_the_report() -> None:
    source = Watched([*study(1), *study(2)])
    other = [make(f"1.2.1.9.{i}", study_uid="1.2.1", patient_id="P1") for i in (7, 8, 9)]
    dest = Watched(other)
    report = await sync(source, dest, trust_level=QueryLevel.STUDY)
    assert uids(dest) == uids(other) | uids(study(2))
    assert (report.counts[Outcome.PRESENT], report.counts[Outcome.SENT], report.n_instances) == (3, 3, 6)
    assert report.n_numbered == 3
    assert "3 already there" in report.summary()
    assert report.to_json()["by_number_only"] == 3
    assert {level for level, _ in dest.asked} == {QueryLevel.STUDY}


async def test_force_all_sends_what_is_there() -> None:
    source, dest = Watched(study(1)), Watched(study(1))
    report = await sync(source, dest, force_all=True)
    assert source.fetched == [frozenset({"1.2.1"})]
    assert not dest.asked
    assert report.counts[Outcome.PRESENT] == 3, "the store itself sees that it has them"


@pytest.mark.parametrize(
    "error", [OperationFailedError("no", peer="p", status=0xA700), StoreError("gone"), UsageError("not there yet")]
)
async def test_a_destination_that_cannot_be_asked_gets_everything(error: Exception) -> None:
    source, dest = Watched([*study(1), *study(2)]), Watched(study(1))
    dest.query_error = error
    report = await sync(source, dest)
    assert uids(dest) == uids(source)
    assert (report.counts[Outcome.SENT], report.counts[Outcome.PRESENT]) == (3, 3)
    assert len(dest.asked) == 1


async def test_a_destination_that_is_not_there_keeps_nobody_waiting() -> None:
    source, dest, lost = Watched(study(1)), Watched(name="good"), Watched(name="lost")
    lost.query_error = ConnectionFailedError("lost refused the connection", peer="lost")
    report = TransferReport()
    await sync(source, [dest, lost], report=report)
    assert uids(dest) == uids(source)
    assert set(report.uids(Outcome.FAILED, "lost")) == uids(source)
    assert (report.exit_code, report.adds_up()) == (3, True)
    alone = TransferReport()
    source.fetched.clear()
    await sync(source, lost, report=alone)
    assert alone.exit_code == 4
    assert not source.fetched, "nothing is fetched for nobody"


async def test_a_source_that_cannot_be_queried_is_copied_as_a_whole() -> None:
    source = Watched([*study(1), *study(2)], features=Features(readable=True))
    dest = MemoryStore(study(1))
    report = await sync(source, dest)
    assert uids(dest) == uids(source)
    assert (report.counts[Outcome.SENT], report.counts[Outcome.PRESENT], report.adds_up()) == (3, 3, True)
    preview = await sync(source, MemoryStore(), dry_run=True)
    assert set(preview.pending()) == uids(source)


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_module, "_BACKOFF", 0.0)


@pytest.mark.usefixtures("_no_waiting")
async def test_what_another_try_may_cure_is_tried_again() -> None:
    source, dest = Watched(study(1, 5)), MemoryStore()
    source.fetch_errors = [AssociationAbortedError("hung up", peer="p"), ConnectionFailedError("refused", peer="p")]
    source.fail_after = 2
    report = TransferReport()
    await sync(source, dest, report=report)
    assert len(source.fetched) == 3
    assert uids(dest) == uids(source)
    assert (report.exit_code, report.adds_up(), report.counts[Outcome.SENT]) == (0, True, 5)


@pytest.mark.usefixtures("_no_waiting")
async def test_a_source_that_was_never_there_is_not_asked_again() -> None:
    source = Watched(study(1))
    source.fetch_errors = [ConnectionFailedError("refused", peer="p") for _ in range(9)]
    report = TransferReport()
    await sync(source, MemoryStore(), report=report)
    assert len(source.fetched) == 1
    assert (report.exit_code, report.adds_up()) == (4, True)


async def test_one_bad_transfer_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Watched([one for n in range(1, 61) for one in study(n, 1)])
    source.fetch_errors = [OperationFailedError("out of order", peer="p", status=0xC000)]
    dest = MemoryStore()
    report = TransferReport()
    await sync(source, dest, report=report)
    assert len(source.fetched) == 2
    assert len(dest) == 10
    assert (report.counts[Outcome.FAILED], report.counts[Outcome.SENT]) == (50, 10)
    assert (report.exit_code, report.adds_up()) == (3, True)


async def test_validators_refuse() -> None:
    def no_second(instance: Instance) -> str:
        return "the second is suspicious" if instance.sop_instance_uid.endswith(".2") else ""

    dest = MemoryStore()
    report = TransferReport()
    await sync(MemoryStore(study(1)), dest, validators=[no_second], report=report)
    assert len(dest) == 2
    assert report.uids(Outcome.FAILED) == ["1.2.1.9.2"]
    assert any("the second is suspicious" in line for line in report.warnings)


def rename(data_set: Dataset) -> Dataset | None:
    """What a filter may do: it gives new UIDs, lets one not pass, and fails for another."""
    if data_set.SOPInstanceUID.endswith(".2"):
        return None
    if data_set.SOPInstanceUID.endswith(".3"):
        raise RuntimeError("no idea")
    changed = Dataset()
    changed.update(data_set)
    changed.file_meta = data_set.file_meta
    changed.PatientID = "ANON"
    changed.SOPInstanceUID = data_set.SOPInstanceUID + ".77"
    changed.file_meta.MediaStorageSOPInstanceUID = changed.SOPInstanceUID
    return changed


async def test_a_filter_on_the_way_to_one_of_two() -> None:
    plain, anonymous = MemoryStore(name="plain"), MemoryStore(name="anonymous")
    report = TransferReport()
    await sync(MemoryStore(study(1)), [plain, StaticRoute((anonymous,), Filter(rename))], report=report)
    assert uids(plain) == uids(study(1))
    assert uids(anonymous) == {"1.2.1.9.1.77"}
    assert anonymous["1.2.1.9.1.77"].header.text(0x00100020) == "ANON"
    assert plain["1.2.1.9.1"].read(0, 10000) == study(1)[0].read(0, 10000)
    states = [report.state(uid, "anonymous") for uid in sorted(uids(study(1)))]
    assert states == [Outcome.SENT, Outcome.FILTERED, Outcome.FAILED]
    assert (report.exit_code, report.adds_up()) == (3, True)
    assert any("rename failed for 1.2.1.9.3: no idea" in line for line in report.warnings)


async def test_what_a_filter_leaves_alone_gets_there_as_it_is() -> None:
    dest = MemoryStore(name="there")
    await sync(MemoryStore(study(1)), StaticRoute((dest,), make_reject_filter(parse_selector("Modality == XX"))))
    assert uids(dest) == uids(study(1))
    assert dest["1.2.1.9.1"].read(0, 10000) == study(1)[0].read(0, 10000)


async def test_what_makes_no_sense_moves_nothing() -> None:
    source, dest = Watched(study(1)), MemoryStore(name="there")
    with pytest.raises(UsageError, match="source and destination at once"):
        await sync([MemoryStore(study(2)), source], [dest, source])
    assert not len(dest)
    with pytest.raises(UsageError, match="holds no files"):
        await sync(source, StaticRoute((dest,), methods=(TransferMethod.LINK,)))
    with pytest.raises(UsageError, match="filter"):
        StaticRoute((dest,), Filter(rename), methods=(TransferMethod.LINK,))
    await sync(source, StaticRoute((dest,), methods=(TransferMethod.LINK, TransferMethod.PROXY)))
    assert uids(dest) == uids(source)


async def test_step_by_step() -> None:
    source, dest = Watched([*study(1), *study(2)]), Watched(study(1)[:1])
    async with SyncManager(source, [dest]) as manager:
        transfers = [transfer async for transfer in manager.gen_transfers()]
        assert [sorted(t.query_res.uids()) for t in transfers if t.query_res is not None] == [
            ["1.2.2"],
            ["1.2.1.9.2", "1.2.1.9.3"],
        ]
        assert all(t.dests == (dest,) for t in transfers)
        assert not source.fetched
        await manager.exec_transfer(transfers[1])
        assert uids(dest) == uids(study(1))


class Slow(Watched):
    """Its second part takes until the first has been transferred, if nobody looks ahead: then for ever."""

    def __init__(self, instances: Iterable[Instance], at_once: int) -> None:
        super().__init__(instances, features=Features(readable=True, queryable=True, at_once=at_once))
        self.order: list[str] = []
        self.second = asyncio.Event()

    async def queries(
        self,
        level: QueryLevel | None = None,
        query: Any = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> AsyncGenerator[QueryResult, None]:
        whole = await self.query(level, query, query_res, report)
        for number, part in enumerate(whole.level_sub_queries(QueryLevel.STUDY)):
            self.order.append(f"found {number}")
            if number:
                self.second.set()
            yield part

    async def fetch(self, query_res: QueryResult, *args: Any, **kwargs: Any) -> None:
        if self.features.at_once == 0:
            await self.second.wait()
        self.order.append("fetched")
        await super().fetch(query_res, *args, **kwargs)


async def test_the_next_is_looked_for_while_one_moves() -> None:
    source, dest = Slow([*study(1), *study(2)], at_once=0), MemoryStore()
    await sync(source, dest)
    assert uids(dest) == uids(source)
    assert source.order == ["found 0", "found 1", "fetched", "fetched"]


async def test_a_source_with_few_associations_is_asked_first() -> None:
    source, dest = Slow([*study(1), *study(2)], at_once=2), MemoryStore()
    await sync(source, dest)
    assert source.order == ["found 0", "found 1", "fetched", "fetched"]
    assert uids(dest) == uids(source)


async def test_with_few_associations_finding_and_moving_take_turns() -> None:
    """The first data moves before all is compared, and nothing is open to send on while a destination is asked."""
    order: list[str] = []

    class Narrow(Watched):
        async def query(self, *args: Any, **kwargs: Any) -> QueryResult:
            order.append("asked")
            return await super().query(*args, **kwargs)

        @contextlib.asynccontextmanager
        async def send(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            async with super().send(*args, **kwargs) as queue:
                order.append("open")
                yield queue
                order.append("closed")

    source, dest = Slow([*study(1), *study(2)], at_once=2), Narrow(features=MemoryStore.features._replace(at_once=1))
    source.order = order
    await sync(source, dest)
    assert order[:6] == ["open", "found 0", "found 1", "asked", "fetched", "closed"]
    assert order[6:] == ["open", "asked", "fetched", "closed"]
    assert uids(dest) == uids(source)


async def test_what_fails_leaves_nothing_running() -> None:
    """One destination fails in a way that ends the sync while another is still at it."""
    begun = asyncio.Event()
    ended: list[str] = []

    class Slowly(MemoryStore):
        @contextlib.asynccontextmanager
        async def send(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            yield self.Queue()

        class Queue:
            async def place(self, instance: Instance) -> bool:
                begun.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0)
                    ended.append("slowly")
                return True

    class Broken(MemoryStore):
        @contextlib.asynccontextmanager
        async def send(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            yield self.Queue()

        class Queue:
            async def place(self, instance: Instance) -> bool:
                await begun.wait()
                raise StoreError("no room")

    report = TransferReport()
    await sync(MemoryStore(study(1, 1)), [Slowly(name="slowly"), Broken(name="broken")], report=report)
    assert ended == ["slowly"]
    assert report.exit_code != 0
    assert report.adds_up()


async def test_a_bucket_that_cannot_give_all() -> None:
    class Bucket(MemoryStore):
        async def gen_chunks(self) -> AsyncGenerator[Any, None]:
            for number in (1, 2):
                yield Chunk(study(number, 1))

    class Chunk:
        def __init__(self, instances: list[Instance]) -> None:
            self.instances = instances

        async def gen_data(self) -> AsyncGenerator[Instance, None]:
            for instance in self.instances:
                yield instance
            raise PartialError("one tape was torn")

    dest, report = MemoryStore(name="there"), TransferReport()
    source = Bucket()
    source.features = Features(readable=True)
    await sync(source, dest, report=report)
    assert uids(dest) == {"1.2.1.9.1", "1.2.2.9.1"}, "the other chunks still come"
    assert (report.exit_code, report.adds_up()) == (3, True)
    assert "one tape was torn" in report.summary()
    assert (await sync(source, dest, dry_run=True, report=TransferReport())).exit_code == 3


async def test_stopped_in_the_middle() -> None:
    class Stuck(MemoryStore):
        async def fetch(self, *args: Any, **kwargs: Any) -> None:
            started.set()
            await asyncio.Event().wait()

    started = asyncio.Event()
    report = TransferReport()
    task = asyncio.ensure_future(sync(Stuck(study(1)), MemoryStore(), report=report))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (report.interrupted, report.exit_code, report.adds_up()) == (True, 130, True)


async def test_a_chunk_says_what_it_is() -> None:
    store = MemoryStore(study(1))
    chunks = [chunk async for chunk in store.gen_chunks()]
    assert [type(chunk) for chunk in chunks] == [MemoryChunk]


async def test_a_lost_destination_does_not_end_the_others() -> None:
    """What only the lost one misses comes first; what the other one misses later gets there."""
    source = Watched([one for n in range(1, 121) for one in study(n, 1)])
    good = Watched([one for n in range(1, 51) for one in study(n, 1)], name="good")
    lost = Watched(name="lost")
    lost.query_error = ConnectionFailedError("lost refused the connection", peer="lost")
    report = TransferReport()
    await sync(source, [good, lost], report=report)
    assert uids(good) == uids(source)
    assert (report.exit_code, report.adds_up()) == (3, True)


class Growing(Watched):
    """Something arrives while a study is fetched."""

    async def fetch(self, *args: Any, **kwargs: Any) -> None:
        self.store(make("1.2.1.9.7", study_uid="1.2.1", patient_id="P1"))
        await super().fetch(*args, **kwargs)


async def test_what_has_just_arrived_is_not_taken_for_present() -> None:
    source = Growing(study(1))
    empty, partly = MemoryStore(name="empty"), MemoryStore(study(1)[:1], name="partly")
    report = TransferReport()
    await sync(source, [empty, partly], report=report)
    assert report.uids(Outcome.PRESENT, "partly") == ["1.2.1.9.1"]
    assert uids(empty) == uids(partly) == uids(source)


async def test_trusted_counts_of_what_others_get() -> None:
    same_count = [make(f"1.2.1.9.{i}", study_uid="1.2.1", patient_id="P1") for i in (7, 8, 9)]
    partly, empty = MemoryStore([*same_count, *study(2)[:1]], name="partly"), MemoryStore(name="empty")
    report = TransferReport()
    await sync(MemoryStore([*study(1), *study(2)]), [empty, partly], trust_level=QueryLevel.STUDY, report=report)
    assert report.n_in_state(Outcome.PRESENT, "partly") == 4
    assert uids(partly) == uids(same_count) | uids(study(2))
    assert (report.adds_up(), report.exit_code) == (True, 0)


async def test_how_many_instances_it_is_about() -> None:
    """What one destination has by its count, and what others get of it, are the same instances."""
    both, none = MemoryStore([*study(1), *study(2)], name="both"), MemoryStore(study(2), name="none")
    report = TransferReport()
    await sync(MemoryStore([*study(1), *study(2)]), [both, none], trust_level=QueryLevel.STUDY, report=report)
    assert (report.n_in_state(Outcome.PRESENT, "both"), report.n_in_state(Outcome.PRESENT, "none")) == (6, 3)
    assert set(report.uids(Outcome.SENT, "none")) == uids(study(1))
    assert report.n_instances == 6
    assert report.to_json()["instances"] == 6


async def test_nothing_is_fetched_for_a_destination_that_is_dead() -> None:
    """It shares a study with one that is not, and misses more of it; what it misses is named."""
    source = Watched([*study(1), *study(2)])
    dead, alive = Watched(name="dead"), Watched([*study(1)[:2], *study(2)], name="alive")
    dead.query_error = ConnectionFailedError("refused", peer="dead")
    report = TransferReport()
    await sync(source, [dead, alive], report=report)
    assert source.fetched == [frozenset({"1.2.1.9.3"})]
    assert uids(alive) == uids(source)
    assert set(report.uids(Outcome.SENT, "alive")) == {"1.2.1.9.3"}
    assert set(report.uids(Outcome.FAILED, "dead")) == uids(source)
    assert (len(dead), report.exit_code, report.adds_up()) == (0, 3, True)


async def test_a_filter_that_gives_two_instances_one_uid() -> None:
    """One gets there; that the other does not is said, each time."""
    dest = MemoryStore(name="there")
    route = StaticRoute((dest,), make_edit_filter({"SOPInstanceUID": "1.9.9"}))
    for outcome in (Outcome.SENT, Outcome.PRESENT):
        report = TransferReport()
        await sync(MemoryStore(study(1)), route, report=report)
        assert len(dest) == 1
        assert set(report.uids(outcome)) | set(report.uids(Outcome.FAILED)) == uids(study(1))
        assert (report.counts[outcome], report.counts[Outcome.FAILED], report.exit_code) == (1, 2, 3)
        assert report.adds_up()


async def test_sources_whose_instances_get_one_uid() -> None:
    """As within one source: never silently one of them."""
    dest, report = MemoryStore(name="there"), TransferReport()
    route = StaticRoute((dest,), make_edit_filter({"SOPInstanceUID": "1.9.9"}))
    sources = [MemoryStore(study(1, 1), name="a"), MemoryStore(study(2, 1), name="b")]
    await sync(sources, route, report=report)
    assert len(dest) == 1
    assert report.uids(Outcome.SENT) == ["1.2.1.9.1"]
    assert report.uids(Outcome.FAILED) == ["1.2.2.9.1"]
    assert (report.exit_code, report.adds_up()) == (3, True)


async def test_copies_of_one_instance_behind_a_filter_are_one() -> None:
    source, dest = MemoryStore(study(1)), MemoryStore(name="there")
    source.store(make("1.2.1.9.1", study_uid="1.2.1", patient_id="P1", description="other bytes"))
    report = TransferReport()
    route = StaticRoute((dest,), make_edit_filter({"PatientID": "ANON"}))
    await sync(source, route, keep_errors=True, report=report)
    assert report.n_instances == 3
    assert report.uids(Outcome.CONFLICT) == ["1.2.1.9.1"]


async def test_a_source_whose_disk_is_gone_does_not_keep_the_others() -> None:
    broken, good, dest = Watched(study(1), name="broken"), Watched(study(2), name="good"), MemoryStore()
    broken.query_error = StoreError("the disk is gone")
    report = TransferReport()
    await sync([broken, good], dest, report=report)
    assert uids(dest) == uids(study(2))
    assert report.exit_code == 3
    assert "the disk is gone" in report.summary()


async def test_what_a_lost_destination_misses_has_a_name_in_the_report() -> None:
    """Also where nobody else misses it, so that nothing of it is fetched."""
    source, dest, lost = Watched([*study(1), *study(2)]), Watched(study(1), name="good"), Watched(name="lost")
    lost.query_error = ConnectionFailedError("lost refused the connection", peer="lost")
    report = TransferReport()
    await sync(source, [dest, lost], report=report)
    assert set(report.uids(Outcome.FAILED, "lost")) == uids(source)
    assert uids(dest) == uids(source)
    assert (report.exit_code, report.adds_up()) == (3, True)


async def test_a_dry_run_says_that_a_destination_is_not_there() -> None:
    source, lost = Watched(study(1)), Watched(name="lost")
    lost.query_error = ConnectionFailedError("lost refused the connection", peer="lost")
    report = TransferReport()
    await sync(source, lost, dry_run=True, report=report)
    assert report.exit_code != 0
    assert any("refused the connection" in line for line in report.warnings)
