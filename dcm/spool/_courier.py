"""Delivers what is in the spool on one way, in the order in which it arrived, and tells the journal what became of it.

What must wait, because the destination has no room for it just now, lets those behind it pass. What the destination
will never take is put aside. When the destination itself cannot be used, nothing is sent there until it can
(`dcm.spool._breaker`). Every way has a courier of its own, with tasks, threads and associations of its own: none is
ever held up by another.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from dcm._bridge import Bridge
from dcm.errors import DcmError
from dcm.net._tasks import cancel_all
from dcm.spool._dispatch import Dispatch, log_end, unopened
from dcm.spool._retry import Fate, RetryPolicy, Verdict
from dcm.spool._settler import Books, Settler
from dcm.spool._words import DeliveryState, Settled
from dcm.text import safe_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dcm.instance import Instance
    from dcm.route import Way
    from dcm.spool._breaker import Breaker
    from dcm.spool._words import Delivery

__all__ = ["Backlog", "Courier", "Window"]

log = logging.getLogger(__name__)

_ENDS = {
    Fate.DELIVERED: DeliveryState.DELIVERED,
    Fate.FILTERED: DeliveryState.FILTERED,
    Fate.QUARANTINE: DeliveryState.QUARANTINED,
    Fate.LOST: DeliveryState.LOST,
}
# The journal says that something is due which it does not give, or cannot be read: nobody is to spin.
_SECOND_LOOK = 1.0
_UNREADABLE = 10.0
# By how much longer than others we wait when it was us who found that a destination does not work yet.
_AFTER_YOU = 1.3
# So many that reached an end and are not in the journal yet stop the work: they are what memory grows by.
_MOST_UNSETTLED = 1000


class Backlog(Books, Protocol):
    """What a courier needs of a spool; all of it blocks."""

    def take(self, way: str, limit: int, now: float) -> Sequence[Delivery]:
        """Give deliveries that are due, in the order of their arrival; they are in our hands until they are settled."""

    def next_due(self, way: str) -> float | None:
        """Say when the next delivery is due, in seconds since 1970; None where there is none."""

    def instance(self, delivery: Delivery) -> Instance:
        """Give the instance that is to be delivered."""


class Window(NamedTuple):
    """How much may be under way at a time; one instance that is larger than all of it goes alone.

    Attributes
    ----------
    n_instances : int
    n_bytes : int
    """

    n_instances: int = 64
    n_bytes: int = 32 << 20


_RETRIES = RetryPolicy()
_WINDOW = Window()


class _Load(NamedTuple):
    """A delivery in our hands, and the instance, or why there is none."""

    delivery: Delivery
    instance: Instance | Verdict


class Courier:
    """Delivers on one way.

    Parameters
    ----------
    way : Way
    spool : Spool
        Has what is to be delivered, and is told what became of it.
    breaker : Breaker
        Of the destination: all couriers that go there share it.
    retries : RetryPolicy, optional
        When an instance is tried again that could not be delivered.
    window : Window, optional
    idle : float, optional
        After how many seconds without work the destination is closed.
    clock : callable, optional
        Seconds since 1970.
    """

    def __init__(
        self,
        way: Way,
        spool: Backlog,
        breaker: Breaker,
        *,
        retries: RetryPolicy = _RETRIES,
        window: Window = _WINDOW,
        idle: float = 20.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.way = way
        self._spool = spool
        self._breaker = breaker
        self._retries = retries
        self._window = window
        self._idle = idle
        self._clock = clock
        self._flights: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._dry = False  # there was nothing more to take, and nothing has come since
        self._due: float | None = None  # by the clock of the event loop, which nobody sets
        self._n_lost = 0
        self._lost_turn = -1
        self._pause_until = 0.0
        self._after_you = 0.0
        self._hurried = 0
        self._bell = asyncio.Event()
        self._landed = asyncio.Event()
        self._quiet = asyncio.Event()
        self._over = asyncio.Event()
        self._over.set()
        self._stopping = False
        self._work: asyncio.Task[None] | None = None
        self._loading: asyncio.Future[tuple[list[_Load], float | None]] | None = None

    def __repr__(self) -> str:
        return f"<Courier to {self.way}: {len(self._flights)} under way>"

    @property
    def under_way(self) -> int:
        """How many are on their way now."""
        return len(self._flights)

    def wake(self) -> None:
        """Say that there may be something new to deliver."""
        self._dry = False
        self._quiet.clear()
        self._bell.set()

    async def drained(self) -> None:
        """Wait until nothing is left that could be delivered now.

        What is in quarantine is not waited for, nor what is to be tried again later, nor a destination that is lost.
        """
        await self._quiet.wait()

    async def stop(self, seconds: float) -> None:
        """Begin no more deliveries, and return when those under way have ended.

        Parameters
        ----------
        seconds : float
            How long they may take; then they are given up, and will be tried again by the next run.
        """
        self._stopping = True
        self._bell.set()
        self._landed.set()
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait([over], timeout=seconds)
            if not over.done():
                await self._give_up()
                await asyncio.wait([over])
        finally:
            await cancel_all(over)

    async def run(self) -> None:
        """Deliver until it is stopped. May be called again when it has ended."""
        self._over.clear()
        self._dry = False
        self._loading = None
        self._dispatch = Dispatch(self.way, self._breaker, self._idle)
        self._breaker.listeners.append(self._bell.set)
        try:
            async with Bridge() as self._bridge:
                self._settler = Settler(self._spool, self._bridge, self.wake)
                self._work = asyncio.get_running_loop().create_task(self._deliver_all())
                try:
                    await asyncio.wait([self._work])
                    await self._end()
                except BaseException:
                    await self._give_up()
                    await self._end()
                    raise
            if not self._work.cancelled():
                self._work.result()
        finally:
            self._breaker.listeners.remove(self._bell.set)
            self._quiet.set()
            self._over.set()

    # -- the end

    async def _end(self) -> None:
        """Wait for what is under way, and see that everything is in the journal."""
        if self._loading is not None:
            # It was cancelled, but a thread that has begun goes on.
            await asyncio.wait([self._loading])
            if self._loading.exception() is None:
                self._hand_back(self._loading.result()[0])
        while self._flights:
            await asyncio.wait(self._flights)
        await self._dispatch.close()
        await self._settler.finish()

    async def _give_up(self) -> None:
        """Cut short what is under way; what gets there all the same is delivered."""
        if self._work is not None:
            await cancel_all(self._work)
        await self._dispatch.close(now=True)
        for flight in self._flights:
            flight.cancel()

    # -- what there is to do

    async def _deliver_all(self) -> None:
        while not self._stopping:
            self._bell.clear()
            delay = await self._step()
            if delay != 0 and not self._stopping:
                await self._rest(delay)

    async def _rest(self, seconds: float | None) -> None:
        """Wait until the bell rings, or for a time."""
        if not (self._flights or self._bell.is_set()) and self._settler.idle:
            self._quiet.set()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, self._bell.set) if seconds is not None else None
        try:
            await self._bell.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _step(self) -> float | None:
        """Take and send what can be; how many seconds to wait then, None until the bell rings."""
        wait = self._breaker.wait()
        if wait != 0:
            return wait
        if (pause := self._pause_left()) > 0:
            return pause
        if self._dry and (self._due is None or self._due > asyncio.get_running_loop().time()):
            return self._until_due()
        if len(self._flights) > self._window.n_instances // 2 or len(self._settler) > _MOST_UNSETTLED:
            return None
        if not self._breaker.closed:
            # One is sent to see whether it works again: the first one, if those that failed are back in their places.
            await self._settler.flush()
        limit = self._window.n_instances - len(self._flights) if self._breaker.closed else 1
        self._dry = True  # whatever comes from here on rings
        self._loading = asyncio.ensure_future(self._bridge.run(self._load, limit))
        await asyncio.wait([self._loading])
        loading, self._loading = self._loading, None
        try:
            loads, wait = loading.result()
        except DcmError as error:
            log.error("cannot read what is to go to %s: %s", self.way, safe_text(error))
            self._dry = False
            return _UNREADABLE
        self._due = None if wait is None else asyncio.get_running_loop().time() + wait
        if len(loads) == limit:
            self._dry = False
        await self._send_all(deque(loads))
        return 0 if loads else self._until_due()

    def _until_due(self) -> float | None:
        """Seconds until something is due, None where nothing is."""
        if self._due is None:
            return None
        seconds = self._due - asyncio.get_running_loop().time()
        return seconds if seconds > 0 else _SECOND_LOOK

    def _load(self, limit: int) -> tuple[list[_Load], float | None]:
        """Take deliveries and open their files, in a worker thread; and say in how many seconds there will be more."""
        deliveries = self._spool.take(self.way.key, limit, self._clock())
        try:
            due = self._spool.next_due(self.way.key) if len(deliveries) < limit else None
            # Where the clock was put back, what is due seems to be far away.
            wait = None if due is None else min(due - self._clock(), self._retries.longest)
            return [_Load(delivery, self._open(delivery)) for delivery in deliveries], wait
        except BaseException:
            # In our hands, and nobody knows of them: they would stay there.
            self._spool.give_back(deliveries)
            raise

    def _open(self, delivery: Delivery) -> Instance | Verdict:
        try:
            return self._spool.instance(delivery)
        except DcmError as error:
            return unopened(error)

    def _hand_back(self, loads: Iterable[_Load]) -> None:
        self._settler.hand_back(load.delivery for load in loads)

    # -- sending it

    async def _send_all(self, loads: deque[_Load]) -> None:
        """Send deliveries in their order; those that cannot be sent now are handed back."""
        try:
            while loads and not self._stopping:
                load = loads[0]
                instance = load.instance
                if not isinstance(instance, Verdict):
                    instance = await self._dispatch.filtered(instance, self._bridge)
                if isinstance(instance, Verdict):
                    loads.popleft()
                    self._settle(load.delivery, instance)
                    continue
                size = max(load.delivery.size, instance.size)
                await self._room(size)
                closed = self._breaker.closed
                if (ticket := self._may_go()) is None:
                    break
                loads.popleft()
                self._bytes += size
                flight = self._fly(load, instance, size, ticket, probe=not closed)
                self._flights.add(asyncio.get_running_loop().create_task(flight))
        finally:
            self._hand_back(loads)

    async def _room(self, size: int) -> None:
        """Wait while too much is under way."""
        while self._bytes and self._bytes + size > self._window.n_bytes and not self._stopping:
            self._landed.clear()
            await self._landed.wait()

    def _may_go(self) -> int | None:
        return None if self._stopping else self._breaker.begin()

    async def _fly(self, load: _Load, instance: Instance, size: int, ticket: int, *, probe: bool) -> None:
        """See one delivery through."""
        try:
            verdict = await self._dispatch.place(instance, ticket)
        finally:
            self._flights.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            self._bytes -= size
            self._landed.set()
            self._bell.set()
        if verdict is None:
            self._hand_back([load])
        else:
            self._pause(verdict, ticket, probe=probe)
            self._settle(load.delivery, verdict)

    def _pause(self, verdict: Verdict, ticket: int, *, probe: bool) -> None:
        """Wait where we are not let in, time and again, though others are: a peer need not have room for all of us."""
        now = asyncio.get_running_loop().time()
        if verdict.sound:
            self._n_lost, self._pause_until, self._after_you = 0, 0.0, 0.0
        elif verdict.lost:
            # Another way to the same peer may be the next to see whether it works.
            self._after_you = now + (self._breaker.wait() or 0.0) * _AFTER_YOU
            self._hurried = self._breaker.n_hurried
            if not probe and ticket != self._lost_turn:
                self._lost_turn = ticket
                self._pause_until = now + self._breaker.waits.delay(self._n_lost) if self._n_lost else 0.0
                self._n_lost += 1

    def _pause_left(self) -> float:
        """Seconds that we leave to others, 0 or less for none."""
        if self._hurried != self._breaker.n_hurried:
            return 0.0
        until = self._pause_until if self._breaker.closed else max(self._pause_until, self._after_you)
        return until - asyncio.get_running_loop().time()

    # -- what became of it

    def _settle(self, delivery: Delivery, verdict: Verdict) -> None:
        """Have the journal told what became of a delivery."""
        fate, reason, status = verdict.fate, verdict.reason, verdict.status
        if fate in _ENDS:
            settled = Settled(delivery.id, _ENDS[fate], reason, status)
        else:
            tried = fate is Fate.RETRY
            not_before = self._clock() + self._retries.delay(delivery.attempts + 1) if tried else 0.0
            settled = Settled(delivery.id, DeliveryState.QUEUED, reason, status, not_before, tried)
        log_end(delivery.sop_instance_uid, self.way, verdict)
        self._settler.add(settled, at_once=not self._flights)
