"""Couriers, between a spool in memory and destinations that do as they are told."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterable

import pytest
from pydicom import Dataset

from dcm.errors import (
    AssociationAbortedError,
    ConnectionFailedError,
    InvalidDicomError,
    NoContextError,
    SpoolError,
    StoreError,
)
from dcm.filt import Filter
from dcm.instance import Instance
from dcm.report import Outcome
from dcm.route import Way
from dcm.spool import _courier
from dcm.spool._breaker import Breaker, BreakerState
from dcm.spool._courier import Courier, Window
from dcm.spool._dispatch import log_end
from dcm.spool._retry import Fate, RetryPolicy, Verdict
from dcm.spool._words import Delivery, DeliveryState, Origin, Settled
from dcm.store.base import TransferMethod
from dcm.store.memory import MemoryStore
from tests.spool.deliveries import (
    DELIVERED,
    FILTERED,
    LOST,
    QUARANTINED,
    QUEUED,
    Act,
    Answer,
    MemorySpool,
    ScriptedSink,
    running,
)
from tests.store.instances import CT, EXPLICIT_LE, make

SOON = RetryPolicy(first=0.02, factor=1, ceiling=0.02, jitter=0)
WIDE = Window()
LATER = RetryPolicy(first=3600, ceiling=3600, jitter=0)


@pytest.fixture
async def spool() -> MemorySpool:
    return MemorySpool()


def uids(n: int, start: int = 0) -> list[str]:
    return [f"1.2.3.{number}" for number in range(start, start + n)]


def instances(n: int, start: int = 0) -> list[Instance]:
    return [make(uid) for uid in uids(n, start)]


def courier_to(
    sink: ScriptedSink,
    spool: MemorySpool,
    *,
    filt: Filter | None = None,
    breaker: Breaker | None = None,
    retries: RetryPolicy = SOON,
    window: Window = WIDE,
    idle: float = 20.0,
) -> Courier:
    breaker = breaker if breaker is not None else Breaker(SOON)
    return Courier(Way(sink, filt), spool, breaker, retries=retries, window=window, idle=idle)


def once(answers: dict[str, Exception]) -> Act:
    """Some instances fail the first time."""
    left = dict(answers)

    async def act(instance: Instance) -> None:
        if (error := left.pop(instance.sop_instance_uid, None)) is not None:
            raise error

    return act


def always(answers: dict[str, Exception]) -> Act:
    async def act(instance: Instance) -> None:
        if (error := answers.get(instance.sop_instance_uid)) is not None:
            raise error

    return act


# -- what is delivered -------------------------------------------------------------------------------------------------


async def test_everything_gets_there_in_the_order_of_its_arrival(spool: MemorySpool) -> None:
    sink = ScriptedSink()
    spool.add(*instances(300))
    async with running(courier_to(sink, spool)):
        await spool.until(lambda: spool.all_in(DELIVERED))
        spool.add(*instances(5, 300))
    assert sink.has == uids(300)
    assert sink.n_opened == 1
    assert sink.n_open == 0


async def test_what_comes_later_is_delivered_when_the_courier_is_woken(spool: MemorySpool) -> None:
    sink = ScriptedSink()
    courier = courier_to(sink, spool)
    async with running(courier):
        await courier.drained()
        for number in range(3):
            spool.add(make(f"1.2.{number}"))
            courier.wake()
            await courier.drained()
            assert sink.has[-1] == f"1.2.{number}"
    assert spool.all_in(DELIVERED)


async def test_verdicts_are_written_in_batches(spool: MemorySpool) -> None:
    spool.add(*instances(300))
    async with running(courier_to(ScriptedSink(), spool)):
        await spool.until(lambda: spool.all_in(DELIVERED))
    assert len(spool.batches) < 60
    assert sum(map(len, spool.batches)) == 300


async def test_one_alone_is_written_at_once(spool: MemorySpool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender may be waiting for it."""
    monkeypatch.setattr("dcm.spool._settler._LINGER", 3600.0)
    spool.add(make("1.2"))
    async with running(courier_to(ScriptedSink(), spool)):
        await spool.until(lambda: spool.all_in(DELIVERED))


async def test_no_more_is_under_way_than_the_window_lets_through(spool: MemorySpool) -> None:
    gate = asyncio.Event()

    async def act(instance: Instance) -> None:
        await gate.wait()

    sink = ScriptedSink(act)
    spool.add(*instances(30))
    async with running(courier_to(sink, spool, window=Window(8, 1 << 30))):
        await sink.until(lambda: len(sink.came) == 8)
        gate.set()
        await spool.until(lambda: spool.all_in(DELIVERED))
    assert sink.most == 8
    assert sink.has == uids(30)


async def test_nor_more_bytes_but_for_one_that_is_larger_than_all_of_it(spool: MemorySpool) -> None:
    sizes: list[int] = []

    async def act(instance: Instance) -> None:
        sizes.append(instance.size)
        assert sum(sizes) <= 10_000 or len(sizes) == 1
        await asyncio.sleep(0)
        sizes.remove(instance.size)

    sink = ScriptedSink(act)
    spool.add(*(make(uid, pixels=bytes(n)) for uid, n in zip(uids(20), [100, 6000, 3000, 50_000, 20] * 4, strict=True)))
    async with running(courier_to(sink, spool, window=Window(8, 10_000))):
        await spool.until(lambda: spool.all_in(DELIVERED))
    assert sink.has == uids(20)


async def test_the_files_of_the_spool_are_copied_and_never_linked(spool: MemorySpool) -> None:
    sink = ScriptedSink()
    sink.features = type(sink.features)(frozenset(TransferMethod))
    way = Way(sink, None, (TransferMethod.LINK, TransferMethod.MOVE))
    spool.add(make("1.2"))
    async with running(Courier(way, spool, Breaker())):
        await spool.until(lambda: spool.all_in(DELIVERED))
    assert sink.method is TransferMethod.LOCAL_COPY


# -- what fails --------------------------------------------------------------------------------------------------------


async def test_every_third_is_refused_once_and_the_others_do_not_wait(spool: MemorySpool) -> None:
    refused = uids(30)[2::3]
    sink = ScriptedSink(once({uid: Answer(reason="no room", status=0xA700) for uid in refused}))
    spool.add(*instances(30))
    async with running(courier_to(sink, spool)):
        await spool.until(lambda: spool.all_in(DELIVERED))
    others = [uid for uid in uids(30) if uid not in refused]
    assert [uid for uid in sink.has if uid not in refused] == others
    assert sorted(sink.came) == sorted(uids(30) + refused)
    assert {spool.of(uid).attempts for uid in refused} == {2}
    assert {spool.of(uid).attempts for uid in others} == {1}


async def test_what_is_to_be_tried_again_says_when_and_why(spool: MemorySpool) -> None:
    sink = ScriptedSink(always({"1.2": Answer(reason="0xA700 Refused: Out of Resources", status=0xA700)}))
    spool.add(make("1.2"))
    now = 1_000_000.0
    courier = Courier(Way(sink), spool, Breaker(SOON), retries=RetryPolicy(5, 2, 60, jitter=0), clock=lambda: now)
    async with running(courier):
        for n_tries, wait in enumerate([5, 10, 20, 40, 60, 60], 1):
            await spool.until(lambda n=n_tries: len(spool.batches) == n)  # type: ignore[misc]
            delivery = spool.of("1.2")
            assert (delivery.state, delivery.attempts) == (QUEUED, n_tries)
            assert (delivery.reason, delivery.status) == ("0xA700 Refused: Out of Resources", 0xA700)
            assert delivery.not_before == now + wait
            await courier.drained()  # not now
            now += wait
            courier.wake()


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Answer(reason="0xC000 Cannot Understand", status=0xC000), QUARANTINED),
        (Answer(reason="0xA900 Data Set does not match SOP Class", status=0xA900), QUARANTINED),
        (Answer(reason="does not take it", error=NoContextError("does not take it")), QUARANTINED),
        (Answer(reason="no header", error=InvalidDicomError("no header")), QUARANTINED),
        (Answer(reason="an odd number of bytes"), QUARANTINED),
        (Answer(Outcome.FILTERED, "the settings leave it out"), FILTERED),
        (Answer(Outcome.PRESENT, "it is there"), DELIVERED),
        (Answer(Outcome.CONFLICT, "kept beside what is there"), DELIVERED),
        (Answer(Outcome.WARNED, "0xB007", 0xB007), DELIVERED),
    ],
)
async def test_what_is_final_is_tried_once_and_the_journal_knows_why(
    spool: MemorySpool, answer: Answer, state: DeliveryState
) -> None:
    sink = ScriptedSink(always({"1.2.3.1": answer}))
    spool.add(*instances(3))
    async with running(courier_to(sink, spool)):
        await spool.until(lambda: spool.all_in(DELIVERED, QUARANTINED, FILTERED))
    delivery = spool.of("1.2.3.1")
    assert (delivery.state, delivery.reason, delivery.status) == (state, answer.reason, answer.status)
    assert sink.came == uids(3)


async def test_a_file_that_is_gone(spool: MemorySpool) -> None:
    numbers = spool.add(*instances(3))
    spool.remove(numbers[1])
    sink = ScriptedSink()
    async with running(courier_to(sink, spool)):
        await spool.until(lambda: spool.all_in(DELIVERED, LOST))
    assert spool.of("1.2.3.1").state is LOST
    assert sink.has == ["1.2.3.0", "1.2.3.2"]


async def test_a_destination_with_a_fault_of_its_own(spool: MemorySpool, caplog: pytest.LogCaptureFixture) -> None:
    sink = ScriptedSink(once({"1.2.3.1": KeyError("oops")}))
    spool.add(*instances(3))
    async with running(courier_to(sink, spool)):
        await spool.until(lambda: spool.all_in(DELIVERED))
    assert sink.has == ["1.2.3.0", "1.2.3.2", "1.2.3.1"]
    assert "KeyError" in caplog.text


# -- filters -----------------------------------------------------------------------------------------------------------


def anonymise(ds: Dataset) -> Dataset | None:
    if ds.PatientID == "reject":
        return None
    if ds.PatientID == "break":
        raise ValueError(f"no such patient: {ds.PatientID}")
    ds.PatientID = "ANON"
    ds.SOPInstanceUID = f"9.{ds.SOPInstanceUID}"
    return ds


async def test_the_filter_of_the_way(spool: MemorySpool) -> None:
    seen: list[tuple[str, str]] = []
    threads: set[str] = set()

    def filtering(ds: Dataset) -> Dataset | None:
        threads.add(threading.current_thread().name)
        return anonymise(ds)

    async def act(instance: Instance) -> None:
        seen.append((instance.sop_instance_uid, instance.header.text(0x00100020)))

    sink = ScriptedSink(act)
    way = Way(sink, Filter(filtering, name="anonymise"))
    spool.add(
        *(make(uid, patient_id=name) for uid, name in zip(uids(4), ["A", "reject", "break", "B"], strict=True)),
        way=way.key,
    )
    async with running(Courier(way, spool, Breaker())):
        await spool.until(lambda: spool.all_in(DELIVERED, QUARANTINED, FILTERED))
    assert list(spool.states().values()) == [DELIVERED, FILTERED, QUARANTINED, DELIVERED]
    assert seen == [("9.1.2.3.0", "ANON"), ("9.1.2.3.3", "ANON")]
    assert spool.of("1.2.3.2").reason == "the filter failed: ValueError"  # what it says may name a patient
    assert all(name.startswith("dcm-disk") for name in threads)


async def test_two_that_a_filter_makes_one_of_do_not_meet(spool: MemorySpool) -> None:
    """What is said of the one is not taken for the other."""

    def same(ds: Dataset) -> Dataset:
        ds.SOPInstanceUID = "9.9"
        return ds

    answers = iter([Answer(reason="no", status=0xC000), None, Answer(reason="nor", status=0xC001)])

    async def act(instance: Instance) -> None:
        assert sink.n_under_way == 1
        answer = next(answers)
        await asyncio.sleep(0)
        if answer is not None:
            raise answer

    sink = ScriptedSink(act)
    way = Way(sink, Filter(same, name="same"))
    spool.add(*instances(3), way=way.key)
    async with running(Courier(way, spool, Breaker())):
        await spool.until(lambda: spool.all_in(DELIVERED, QUARANTINED))
    assert [delivery.reason for delivery in spool.deliveries.values()] == ["no", "", "nor"]


# -- destinations that are lost ----------------------------------------------------------------------------------------


def down(message: str = "nobody there") -> Callable[[Instance], Awaitable[None]]:
    async def act(instance: Instance) -> None:
        raise ConnectionFailedError(message)

    return act


async def test_a_destination_that_is_lost_is_found_again_and_the_order_is_kept(spool: MemorySpool) -> None:
    sink = ScriptedSink(down())
    spool.add(*instances(100))
    breaker = Breaker(SOON)
    opened: list[BreakerState] = []
    breaker.listeners.append(lambda: opened.append(breaker.state))
    async with running(courier_to(sink, spool, breaker=breaker)):
        await sink.until(lambda: opened.count(BreakerState.OPEN) > 2)
        n_first = len(sink.came)
        await spool.until(lambda: not spool.in_hand)
        assert spool.of("1.2.3.0").reason == "nobody there"
        assert {delivery.attempts for delivery in spool.deliveries.values()} == {0}

        async def act(instance: Instance) -> None:
            pass

        sink.act = act
        await spool.until(lambda: spool.all_in(DELIVERED))
    assert sink.has == uids(100)
    assert n_first < 70  # a window of them, and then one at a time
    assert breaker.closed


async def test_a_destination_that_cannot_be_opened(spool: MemorySpool) -> None:
    sink = ScriptedSink()
    sink.open_error = StoreError("read-only file system")
    spool.add(*instances(3))
    breaker = Breaker(SOON)
    courier = courier_to(sink, spool, breaker=breaker)
    async with running(courier):
        await spool.until(lambda: spool.of("1.2.3.0").reason == "read-only file system" and not spool.in_hand)
        assert sink.came == []
        sink.open_error = None
        await spool.until(lambda: spool.all_in(DELIVERED))
    assert sink.has == uids(3)


async def test_one_that_breaks_every_association_does_not_hold_up_the_others(spool: MemorySpool) -> None:
    """Even if it is the first, and nothing else is sent while the destination seems to be lost."""
    lost = AssociationAbortedError("the association was aborted")
    sink = ScriptedSink(always({"1.2.3.0": Answer(reason="the association was aborted", error=lost)}))
    spool.add(*instances(20))
    courier = courier_to(sink, spool, breaker=Breaker(SOON, in_a_row=1), retries=LATER, window=Window(1))
    async with running(courier):
        await spool.until(lambda: sum(state is DELIVERED for state in spool.states().values()) == 19)
    assert spool.of("1.2.3.0").state is QUEUED
    assert spool.of("1.2.3.0").reason == "the association was aborted"


async def test_a_full_destination_is_left_alone_after_a_while(spool: MemorySpool) -> None:
    full = Answer(reason="no room", status=0xA700)
    sink = ScriptedSink(always(dict.fromkeys(uids(200), full)))
    spool.add(*instances(200))
    breaker = Breaker(LATER, in_a_row=5)
    courier = courier_to(sink, spool, breaker=breaker, retries=LATER, window=Window(8))
    async with running(courier):
        await courier.drained()
        await spool.until(lambda: not spool.in_hand)
        assert len(sink.came) <= 16
        assert breaker.reason == "no room"
        sink.act = ScriptedSink().act
        breaker.retry_now()
        await spool.until(lambda: sum(state is DELIVERED for state in spool.states().values()) >= 184)


async def test_ways_to_one_destination_learn_from_one_another(spool: MemorySpool) -> None:
    breaker = Breaker(LATER)
    first, second = ScriptedSink(down(), "first"), ScriptedSink(name="second")
    spool.add(*instances(3), way="first")
    couriers = [courier_to(sink, spool, breaker=breaker) for sink in (first, second)]
    async with running(*couriers):
        await spool.until(lambda: not breaker.closed)
        await spool.until(lambda: not spool.in_hand)
        spool.add(*instances(3, 10), way="second")
        couriers[1].wake()
        await asyncio.gather(*(courier.drained() for courier in couriers))
        assert second.came == []
        first.act = second.act
        breaker.retry_now()
        await spool.until(lambda: spool.all_in(DELIVERED))


async def test_a_peer_that_lets_only_one_of_us_in_is_not_knocked_at_all_the_time(spool: MemorySpool) -> None:
    """Each instance that the one gets through shows that the peer is well, and yet the other one has to wait."""
    breaker = Breaker(RetryPolicy(first=0.01, factor=100, ceiling=3600, jitter=0))
    begun = asyncio.Event()

    async def slow(instance: Instance) -> None:
        await begun.wait()
        await asyncio.sleep(0.005)

    first, second = ScriptedSink(slow, "first"), ScriptedSink(down("too many associations"), "second")
    spool.add(*instances(200), way="first")
    couriers = [
        courier_to(first, spool, breaker=breaker, window=Window(4)),
        courier_to(second, spool, breaker=breaker),
    ]
    async with running(*couriers):
        await first.until(lambda: len(first.came) == 4)
        spool.add(*instances(3, 1000), way="second")
        couriers[1].wake()
        await second.until(lambda: bool(second.came))
        begun.set()
        await first.until(lambda: len(first.has) == 200)
    assert len(second.came) <= 12


async def test_one_that_stalls_holds_up_no_other(spool: MemorySpool) -> None:
    for_ever = asyncio.Event()

    async def stall(instance: Instance) -> None:
        await for_ever.wait()

    stalled, well = ScriptedSink(stall, "stalled"), ScriptedSink(name="well")
    spool.add(*instances(200), way="stalled")
    spool.add(*instances(200, 1000), way="well")
    async with running(courier_to(stalled, spool), courier_to(well, spool), within=0.01):
        await well.until(lambda: len(well.has) == 200)
        assert stalled.has == []
        assert stalled.n_under_way == 64
    assert {delivery.state for delivery in spool.deliveries.values() if delivery.way == "stalled"} == {QUEUED}
    assert not spool.in_hand


# -- stopping ----------------------------------------------------------------------------------------------------------


async def test_what_is_under_way_may_end_when_it_is_stopped(spool: MemorySpool) -> None:
    gate = asyncio.Event()

    async def act(instance: Instance) -> None:
        await gate.wait()

    sink = ScriptedSink(act)
    spool.add(*instances(20))
    courier = courier_to(sink, spool, window=Window(4))
    task = asyncio.ensure_future(courier.run())
    await sink.until(lambda: len(sink.came) == 4)
    stopping = asyncio.ensure_future(courier.stop(60))
    await asyncio.sleep(0)
    gate.set()
    await stopping
    await task
    assert sink.has == uids(4)
    assert list(spool.states().values()) == [DELIVERED] * 4 + [QUEUED] * 16
    assert not spool.in_hand
    assert sink.n_open == 0


async def test_what_does_not_end_in_time_is_given_up_and_stays_in_the_queue(spool: MemorySpool) -> None:
    for_ever = asyncio.Event()

    async def act(instance: Instance) -> None:
        if instance.sop_instance_uid != "1.2.3.0":
            await for_ever.wait()

    sink = ScriptedSink(act)
    spool.add(*instances(20))
    courier = courier_to(sink, spool, window=Window(4))
    task = asyncio.ensure_future(courier.run())
    await sink.until(lambda: len(sink.came) == 4)
    await courier.stop(0.01)
    await task
    assert list(spool.states().values()) == [DELIVERED] + [QUEUED] * 19
    assert {delivery.attempts for delivery in spool.deliveries.values()} == {0, 1}
    assert not spool.in_hand
    assert sink.n_open == 0


async def test_a_filter_that_is_at_work_when_time_is_up(spool: MemorySpool) -> None:
    begun, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(ds: Dataset) -> Dataset:
        loop.call_soon_threadsafe(begun.set)
        gate.wait()
        return ds

    sink = ScriptedSink()
    way = Way(sink, Filter(slow, name="slow"))
    spool.add(*instances(5), way=way.key)
    courier = Courier(way, spool, Breaker())
    task = asyncio.ensure_future(courier.run())
    await begun.wait()
    stopping = asyncio.ensure_future(courier.stop(0.01))
    await asyncio.sleep(0.05)
    gate.set()
    await stopping
    await task
    assert sink.came == []
    assert spool.all_in(QUEUED)


@pytest.mark.parametrize("broken", [False, True])
async def test_deliveries_that_are_being_taken_when_time_is_up(broken: bool) -> None:
    begun, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Slow(MemorySpool):
        def take(self, way: str, limit: int, now: float) -> list[Delivery]:
            loop.call_soon_threadsafe(begun.set)
            gate.wait()
            if broken:
                raise SpoolError("it cannot be read")
            return super().take(way, limit, now)

    spool, sink = Slow(), ScriptedSink()
    spool.add(*instances(5))
    courier = courier_to(sink, spool)
    task = asyncio.ensure_future(courier.run())
    await begun.wait()
    stopping = asyncio.ensure_future(courier.stop(0.01))
    await asyncio.sleep(0.05)
    gate.set()
    await stopping
    await task
    assert sink.came == []
    assert spool.all_in(QUEUED)


async def test_what_was_taken_when_the_journal_could_not_be_read_further_is_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_courier, "_UNREADABLE", 0.01)

    class Shaky(MemorySpool):
        n_asked = 0

        def next_due(self, way: str) -> float | None:
            self.n_asked += 1
            if self.n_asked == 1:
                raise SpoolError("the journal is in use by another process")
            return super().next_due(way)

    spool, sink = Shaky(), ScriptedSink()
    spool.add(*instances(5))
    async with running(courier_to(sink, spool)):
        await spool.until(lambda: spool.all_in(DELIVERED))
    assert sink.has == uids(5)


async def test_a_clock_that_is_put_back_delays_nothing() -> None:
    """What was put off by a clock that was a year ahead is looked at again as soon as anything could be."""
    now = 1e9 + 365 * 86400

    class Mended(MemorySpool):
        def take(self, way: str, limit: int, now: float) -> list[Delivery]:
            # As the spool does: nobody puts anything off for that long.
            return super().take(way, limit, 1e12 if self.deliveries[1].not_before > now + 3600 else now)

    spool, sink = Mended(), ScriptedSink(once({"1.2.3.0": Answer(status=0xA700)}))
    spool.add(*instances(1))
    courier = Courier(Way(sink), spool, Breaker(SOON), retries=SOON, clock=lambda: now)

    def tried() -> bool:
        nonlocal now
        if spool.batches:
            now = 1e9
        return bool(spool.batches)

    async with running(courier):
        await spool.until(tried)
        await spool.until(lambda: spool.all_in(DELIVERED))
    assert sink.has == uids(1)


async def test_a_courier_that_is_cancelled_leaves_nothing_behind(spool: MemorySpool) -> None:
    for_ever = asyncio.Event()

    async def act(instance: Instance) -> None:
        await for_ever.wait()

    sink = ScriptedSink(act)
    spool.add(*instances(5))
    courier = courier_to(sink, spool)
    task = asyncio.ensure_future(courier.run())
    await sink.until(lambda: len(sink.came) == 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert spool.all_in(QUEUED)
    assert sink.n_open == 0
    await courier.stop(60)  # there is nothing to wait for


async def test_a_courier_can_be_stopped_before_it_runs_and_run_again(spool: MemorySpool) -> None:
    sink = ScriptedSink()
    courier = courier_to(sink, spool)
    spool.add(make("1.2"))
    task = asyncio.ensure_future(courier.run())
    await spool.until(lambda: spool.all_in(DELIVERED))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    spool.add(make("1.3"))
    async with running(courier):
        await spool.until(lambda: spool.all_in(DELIVERED))
    await courier.run()  # it was stopped for good
    assert sink.has == ["1.2", "1.3"]


# -- the destination is closed when it is idle -------------------------------------------------------------------------


async def test_an_idle_destination_is_closed_and_opened_again(spool: MemorySpool) -> None:
    sink = ScriptedSink()
    spool.add(*instances(50))
    courier = courier_to(sink, spool, idle=0.05)
    async with running(courier):
        await spool.until(lambda: spool.all_in(DELIVERED))
        assert sink.n_opened == 1
        await sink.until(lambda: sink.n_open == 0)
        spool.add(make("1.2"))
        courier.wake()
        await spool.until(lambda: spool.all_in(DELIVERED))
        assert sink.n_opened == 2


# -- the journal -------------------------------------------------------------------------------------------------------


async def test_a_journal_that_cannot_be_written_for_a_while(
    spool: MemorySpool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dcm.spool._settler._WAITS", SOON)
    monkeypatch.setattr("dcm.spool._courier._UNREADABLE", 0.02)
    sink = ScriptedSink()

    async def act(instance: Instance) -> None:
        if instance.sop_instance_uid == "1.2.3.20":
            spool.broken = SpoolError("no space left on device")

    sink.act = act
    spool.add(*instances(40))
    async with running(courier_to(sink, spool)):
        await spool.until(lambda: spool.n_refused > 2)
        spool.broken = None
        await spool.until(lambda: spool.all_in(DELIVERED))
    assert sink.has == uids(40)  # each of them once
    assert "the journal cannot be written: no space left" in caplog.text


async def test_a_journal_that_cannot_be_written_any_more_does_not_keep_us(
    spool: MemorySpool, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(instance: Instance) -> None:
        spool.broken = SpoolError("gone")

    spool.add(*instances(3))
    courier = courier_to(ScriptedSink(act), spool)
    async with running(courier):
        await spool.until(lambda: spool.n_refused > 0)
    assert "could not be recorded" in caplog.text


async def test_a_journal_with_a_fault_ends_the_courier(spool: MemorySpool) -> None:
    spool.broken = RuntimeError("a fault of ours")
    courier = courier_to(ScriptedSink(), spool)
    with pytest.raises(RuntimeError, match="fault of ours"):
        await courier.run()
    await courier.drained()


async def test_memory_stays_flat() -> None:
    """Nothing is kept for an instance that has reached an end."""
    spool, sink = _Endless(), _Forgetful()
    spool.left = 200
    courier = courier_to(sink, spool)
    async with running(courier):
        await courier.drained()
        gc.collect()
        before = len(gc.get_objects())
        spool.left = 1500
        courier.wake()
        await courier.drained()
        gc.collect()
        grown = len(gc.get_objects()) - before
    assert (spool.n_given, spool.n_settled) == (1700, 1700)
    assert grown < 300


class _Endless(MemorySpool):
    """One after the other, each under a UID of its own; it remembers nothing."""

    left = n_given = n_settled = 0

    def take(self, way: str, limit: int, now: float) -> list[Delivery]:
        n_taken = min(limit, self.left)
        self.left -= n_taken
        numbers = range(self.n_given, self.n_given + n_taken)
        self.n_given += n_taken
        return [Delivery(n, n, way, CT, f"1.2.{n}", EXPLICIT_LE, 2, 0, 0, Origin()) for n in numbers]

    def instance(self, delivery: Delivery) -> Instance:
        return Instance.from_buffer(CT, delivery.sop_instance_uid, EXPLICIT_LE, b"12")

    def next_due(self, way: str) -> float | None:
        return None

    def settle(self, results: Iterable[Settled]) -> None:
        self.n_settled += len(list(results))


class _Forgetful(ScriptedSink):
    def changed(self) -> None:
        self.came.clear()
        self.has.clear()


@pytest.mark.parametrize(
    ("verdict", "level", "said"),
    [
        (Verdict(Fate.DELIVERED), "INFO", "delivered 1.2 to memory"),
        (Verdict(Fate.RETRY, "no room", 0xA700), "INFO", "1.2 is tried again later at memory: no room"),
        (
            Verdict(Fate.QUARANTINE, "0xC000"),
            "WARNING",
            "1.2 is not delivered to memory: in quarantine now, see dcm spool ls: 0xC000",
        ),
        (Verdict(Fate.LOST, "gone"), "WARNING", "1.2 is not delivered to memory: LOST: gone"),
        (Verdict(Fate.UNTRIED), "DEBUG", "1.2 was not tried at memory"),
    ],
)
def test_each_end_is_logged(verdict: Verdict, level: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        log_end("1.2", Way(MemoryStore()), verdict)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [(level, said)]
