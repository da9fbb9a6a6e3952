"""A spool in memory and a destination that does as it is told, for the tests of couriers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dcm._atomic import TempFile
from dcm.errors import SpoolError
from dcm.instance import Instance
from dcm.report import Outcome, TransferReport
from dcm.spool._courier import Courier
from dcm.spool._words import Delivery, DeliveryState, Origin, Settled
from dcm.store.base import DataSink, Features, TransferMethod

if TYPE_CHECKING:
    from dcm.store.base import Sendable

QUEUED, DELIVERED = DeliveryState.QUEUED, DeliveryState.DELIVERED
QUARANTINED, FILTERED, LOST = DeliveryState.QUARANTINED, DeliveryState.FILTERED, DeliveryState.LOST


class Told:
    """Lets a test wait until something is so; whatever changes says so, from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def changed(self) -> None:
        self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        for condition, future in self._waiting:
            if not future.done() and condition():
                future.set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((condition, future))
        self._look()
        await future


class MemorySpool(Told):
    """What a courier needs of a spool.

    Attributes
    ----------
    deliveries : dict
        The deliveries as they are now, by their ids.
    batches : list
        What was settled together.
    taken : list of int
        How many were taken at a time.
    broken : Exception or None
        What everything raises.
    n_refused : int
        How often it was raised.
    """

    def __init__(self) -> None:
        super().__init__()
        self.deliveries: dict[int, Delivery] = {}
        self.batches: list[list[Settled]] = []
        self.taken: list[int] = []
        self.in_hand: set[int] = set()
        self.broken: Exception | None = None
        self.n_refused = 0
        self._instances: dict[int, Instance] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def add(self, *instances: Instance, way: str = "sink") -> list[int]:
        """Queue some instances, and give the ids of the deliveries."""
        added = []
        for instance in instances:
            number = next(self._numbers)
            uids = instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid
            delivery = Delivery(number, number, way, *uids, instance.size, 0, 0, Origin())
            with self._lock:
                self.deliveries[number] = delivery
                self._instances[number] = instance
            added.append(number)
        return added

    def states(self) -> dict[str, DeliveryState]:
        """Where each instance is."""
        return {delivery.sop_instance_uid: delivery.state for delivery in self.deliveries.values()}

    def of(self, uid: str) -> Delivery:
        """The delivery of an instance."""
        return next(delivery for delivery in self.deliveries.values() if delivery.sop_instance_uid == uid)

    def all_in(self, *states: DeliveryState) -> bool:
        """Whether all are in these states, and none is in anybody's hands."""
        return not self.in_hand and all(delivery.state in states for delivery in self.deliveries.values())

    # -- what a courier asks

    def take(self, way: str, limit: int, now: float) -> list[Delivery]:
        self._check()
        with self._lock:
            due = [
                delivery
                for delivery in self.deliveries.values()
                if delivery.way == way
                and delivery.state is QUEUED
                and delivery.not_before <= now
                and delivery.id not in self.in_hand
            ][:limit]
            self.in_hand.update(delivery.id for delivery in due)
        self.taken.append(len(due))
        self.changed()
        return due

    def next_due(self, way: str) -> float | None:
        with self._lock:
            return min(
                (d.not_before for d in self.deliveries.values() if d.state is QUEUED and d.id not in self.in_hand),
                default=None,
            )

    def instance(self, delivery: Delivery) -> Instance:
        found = self._instances.get(delivery.id)
        if found is None:
            raise SpoolError("cannot read it: no such file") from FileNotFoundError()
        return found

    def remove(self, number: int) -> None:
        """Its file is gone."""
        del self._instances[number]

    def give_back(self, deliveries: Iterable[Delivery]) -> None:
        with self._lock:
            for delivery in deliveries:
                self.in_hand.remove(delivery.id)
        self.changed()

    def settle(self, results: Iterable[Settled]) -> None:
        self._check()
        batch = list(results)
        with self._lock:
            for result in batch:
                self.in_hand.remove(result.delivery_id)
                self.deliveries[result.delivery_id] = _settled(self.deliveries[result.delivery_id], result)
            self.batches.append(batch)
        self.changed()

    def _check(self) -> None:
        broken = self.broken  # another thread may mend it just now
        if broken is not None:
            self.n_refused += 1
            self.changed()
            raise broken


def _settled(before: Delivery, result: Settled) -> Delivery:
    return replace(
        before,
        state=result.state,
        attempts=before.attempts + result.tried,
        reason=result.reason,
        status=result.status,
        not_before=result.not_before,
    )


class Answer(Exception):
    """How a destination ends an instance, where it is no success."""

    def __init__(
        self, outcome: Outcome = Outcome.FAILED, reason: str = "", status: int | None = None, *, error: object = None
    ) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason
        self.status = status
        self.error = error if isinstance(error, Exception) else None


Act = Callable[[Instance], Awaitable[None]]


async def take_it(instance: Instance) -> None:
    """What a destination does that is well."""


class ScriptedSink(Told):
    """A destination that does as it is told.

    Attributes
    ----------
    act : coroutine function
        Called with each instance. It returns where that is taken, and raises an `Answer`, or any other error, which
        ends everything.
    came : list of str
        The UIDs in the order in which they came.
    has : list of str
        The UIDs in the order in which they were taken.
    n_opened, n_open : int
        How often it was opened, and how often it is open now.
    most : int
        How many were on their way at a time.
    """

    features = Features(frozenset({TransferMethod.LOCAL_COPY}))

    def __init__(self, act: Act = take_it, name: str = "sink") -> None:
        super().__init__()
        self.name = name
        self.act = act
        self.came: list[str] = []
        self.has: list[str] = []
        self.n_opened = self.n_open = self.n_under_way = self.most = 0
        self.open_error: Exception | None = None
        self.method: TransferMethod | None = None

    def __str__(self) -> str:
        return self.name

    def new_temp(self) -> TempFile:
        raise NotImplementedError

    def overlaps(self, other: object) -> bool:
        return other is self

    def why_not(self, method: TransferMethod, source: DataSink) -> str:
        return ""

    @contextlib.asynccontextmanager
    async def send(
        self,
        report: TransferReport | None = None,
        *,
        dest: str = "",
        method: TransferMethod = TransferMethod.PROXY,
    ) -> AsyncIterator[_Queue]:
        if self.open_error is not None:
            raise self.open_error
        assert report is not None
        self.n_opened += 1
        self.n_open += 1
        self.method = method
        self.changed()
        try:
            yield _Queue(self, report, dest)
        finally:
            self.n_open -= 1
            self.changed()


class _Queue:
    def __init__(self, sink: ScriptedSink, report: TransferReport, dest: str) -> None:
        self._sink = sink
        self._report = report
        self._dest = dest

    async def put(self, item: Sendable) -> None:
        raise NotImplementedError

    async def place(self, instance: Instance) -> bool:
        sink, uid = self._sink, instance.sop_instance_uid
        sink.came.append(uid)
        sink.n_under_way += 1
        sink.most = max(sink.most, sink.n_under_way)
        sink.changed()
        try:
            await sink.act(instance)
        except Answer as answer:
            self._report.record(
                uid,
                answer.outcome,
                dest=self._dest,
                reason=answer.reason,
                status=answer.status,
                error=answer.error,
            )
            return answer.outcome.good
        finally:
            sink.n_under_way -= 1
        sink.has.append(uid)
        self._report.record(uid, Outcome.SENT, dest=self._dest)
        sink.changed()
        return True


@contextlib.asynccontextmanager
async def running(*couriers: Courier, within: float = 5.0) -> AsyncIterator[None]:
    """Couriers at work; stopped in the end."""
    tasks: Sequence[asyncio.Task[None]] = [asyncio.ensure_future(courier.run()) for courier in couriers]
    try:
        yield
    finally:
        await asyncio.gather(*(courier.stop(within) for courier in couriers))
        await asyncio.gather(*tasks)
