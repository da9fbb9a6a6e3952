"""The couriers of a forwarder: one for each way, made when a way is first used, never held up by one another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcm.net._tasks import cancel_all
from dcm.route._way import sink_key
from dcm.spool._breaker import Breaker, BreakerState
from dcm.spool._courier import Courier

if TYPE_CHECKING:
    from dcm.route import Way
    from dcm.spool._spool import Spool

__all__ = ["Fleet", "Lane"]

log = logging.getLogger(__name__)

# A courier that ended by a fault of ours begins anew after so many seconds: the others are not to suffer for it.
_AGAIN = 30.0
# How many times as long as for the next instance we wait for the end of many.
_STREAM = 10


@dataclass
class Lane:
    """One way, with who delivers on it."""

    way: Way
    courier: Courier
    breaker: Breaker
    task: asyncio.Task[None] | None = None
    again: asyncio.TimerHandle | None = None

    @property
    def trouble(self) -> str:
        """Why its destination is not used just now; '' where it is."""
        return self.breaker.reason if self.breaker.state is not BreakerState.CLOSED else ""


class Fleet:
    """All couriers of a forwarder.

    Parameters
    ----------
    spool : Spool
        What there is to deliver.
    idle : float
        Seconds after which an association that nothing is sent on is released.
    gather : float
        Seconds that what arrives waits for what comes after it, and ten times as long while more keeps coming: to
        deliver many at a time costs those who send much less than to deliver each at once.
    changed : callable
        Called when something has been delivered, or has become of a destination.
    """

    def __init__(self, spool: Spool, *, idle: float, gather: float, changed: Callable[[], None]) -> None:
        self.lanes: dict[str, Lane] = {}
        self._spool = spool
        self._idle = idle
        self._gather = gather
        self._to_wake: set[str] = set()
        self._first = self._last = 0.0
        self._changed = changed
        self._breakers: dict[str, Breaker] = {}
        self._stopping = False

    def add(self, ways: Iterable[Way]) -> list[Way]:
        """See to it that there is a courier on each of some ways.

        Returns
        -------
        list of Way
            Those that are new.
        """
        new = []
        for way in ways:
            if way.key in self.lanes:
                continue
            new.append(way)
            destination = sink_key(way.sink)
            breaker = self._breakers.get(destination)
            if breaker is None:
                breaker = self._breakers[destination] = Breaker()
                breaker.listeners.append(self._changed)
            lane = Lane(way, Courier(way, self._spool, breaker, idle=self._idle), breaker)
            self.lanes[way.key] = lane
            if not self._stopping:
                self._start(lane)
        return new

    def wake(self, ways: Iterable[Way]) -> None:
        """There is something new on some ways."""
        keys = [way.key for way in ways]
        if not keys:
            return
        loop = asyncio.get_running_loop()
        self._last = loop.time()
        if not self._to_wake:
            self._first = self._last
            loop.call_later(self._gather, self._gathered)
        self._to_wake.update(keys)

    def _gathered(self) -> None:
        """See whether more keeps coming."""
        loop = asyncio.get_running_loop()
        left = min(self._last + self._gather, self._first + _STREAM * self._gather) - loop.time()
        if left > 0:
            loop.call_later(left, self._gathered)
        else:
            self._wake_them()

    def _wake_them(self) -> None:
        while self._to_wake:
            self.lanes[self._to_wake.pop()].courier.wake()

    def wake_all(self) -> None:
        """There may be something new on any way, for a human has changed something: destinations are tried at once."""
        for breaker in self._breakers.values():
            breaker.retry_now()
        for lane in self.lanes.values():
            lane.courier.wake()

    async def drained(self) -> None:
        """Wait until nothing is left that could be delivered now."""
        self._wake_them()
        await asyncio.gather(*(lane.courier.drained() for lane in self.lanes.values()))

    async def stop(self, seconds: float) -> None:
        """Begin no more deliveries, and give those under way some seconds."""
        self._stopping = True
        for lane in self.lanes.values():
            if lane.again is not None:
                lane.again.cancel()
        await asyncio.gather(*(lane.courier.stop(seconds) for lane in self.lanes.values()))
        await cancel_all(*(lane.task for lane in self.lanes.values() if lane.task is not None))

    def _start(self, lane: Lane) -> None:
        lane.task = asyncio.get_running_loop().create_task(lane.courier.run(), name=f"courier {lane.way.key}")
        lane.task.add_done_callback(lambda task: self._ended(lane, task))

    def _ended(self, lane: Lane, task: asyncio.Task[None]) -> None:
        """A courier has ended: by a fault of ours, unless it was asked to."""
        if task.cancelled() or (error := task.exception()) is None or self._stopping:
            return
        log.error("delivering to %s failed, and begins anew in %g s", lane.way, _AGAIN, exc_info=error)
        lane.again = asyncio.get_running_loop().call_later(_AGAIN, self._start, lane)
