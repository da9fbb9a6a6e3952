"""What became of deliveries, on its way into the journal: in batches, since each costs a commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from dcm.errors import DcmError
from dcm.spool._retry import RetryPolicy
from dcm.text import plural, safe_text

if TYPE_CHECKING:
    from dcm._bridge import Bridge
    from dcm.spool._words import Delivery, Settled

__all__ = ["Books", "Settler"]

log = logging.getLogger(__name__)

# So many are worth a commit of their own; fewer wait so many seconds for others.
_BATCH = 32
_LINGER = 0.02
_WAITS = RetryPolicy(first=0.5, factor=2.0, ceiling=30.0)


class Books(Protocol):
    """What a settler needs of a spool; all of it blocks."""

    def settle(self, results: Iterable[Settled]) -> object:
        """Record what became of deliveries."""

    def give_back(self, deliveries: Iterable[Delivery]) -> None:
        """Put deliveries back that were not tried."""


class Settler:
    """Writes into the journal what became of deliveries.

    Nothing gets lost where that fails: it is tried again, and what the process takes with it in the end is delivered
    once more by the next one.

    Parameters
    ----------
    spool : Spool
    bridge : Bridge
        In whose threads.
    written : callable
        Called in the event loop when something was written, or could not be.
    """

    def __init__(self, spool: Books, bridge: Bridge, written: Callable[[], None]) -> None:
        self._spool = spool
        self._bridge = bridge
        self._written = written
        self._waiting: list[Settled] = []
        self._untried: list[Delivery] = []
        self._hurry = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._flushing: list[asyncio.Future[None]] = []
        self._n_failed = 0
        self._ending = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether all is written."""
        return self._writer is None

    def add(self, *settled: Settled, at_once: bool = False) -> None:
        """Take note of what became of some deliveries.

        Parameters
        ----------
        *settled : Settled
        at_once : bool, optional
            Nothing else is going to come soon.
        """
        self._waiting += settled
        if (at_once and not self._n_failed) or len(self._waiting) == _BATCH:
            self._hurry.set()
        self._begin()

    def hand_back(self, deliveries: Iterable[Delivery]) -> None:
        """Put deliveries back that were not tried."""
        self._untried += deliveries
        self._begin()

    def _begin(self) -> None:
        if self._writer is None and (self._waiting or self._untried):
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def flush(self) -> None:
        """Write what waits, and wait until it is written, or until that fails."""
        while self._writer is not None and not self._n_failed:
            self._hurry.set()
            written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._flushing.append(written)
            await written

    async def finish(self) -> None:
        """Write what waits; what cannot be written now never will be."""
        self._ending = True
        self._hurry.set()
        if self._writer is not None:
            await asyncio.wait([self._writer])

    async def _write(self) -> None:
        while self._untried or (self._waiting and not (self._ending and self._n_failed)):
            await self._linger()
            batch, self._waiting = self._waiting, []
            untried, self._untried = self._untried, []
            try:
                await self._bridge.run(self._record, batch, untried)
            except Exception as error:  # noqa: BLE001
                # Whatever it is: these have reached an end, and that must not be forgotten because of it.
                self._waiting = batch + self._waiting
                self._failed(error)
            else:
                self._n_failed = 0
            self._tell()
        self._writer = None  # without a pause since the last of it was written: nobody sees us idle with something left
        if self._waiting:
            what = plural(len(self._waiting), "delivery")
            log.error("what became of %s could not be recorded: another run will try again", what)

    def _record(self, batch: Sequence[Settled], untried: Sequence[Delivery]) -> None:
        """Do it, in a worker thread."""
        if untried:
            self._spool.give_back(untried)
        if batch:
            self._spool.settle(batch)

    def _tell(self) -> None:
        flushing, self._flushing = self._flushing, []
        for written in flushing:
            if not written.done():
                written.set_result(None)
        self._written()

    def _failed(self, error: Exception) -> None:
        self._n_failed += 1
        if isinstance(error, DcmError):
            log.error("the journal cannot be written: %s", safe_text(error))
        else:
            log.error("the journal cannot be written", exc_info=error)

    async def _linger(self) -> None:
        seconds = _WAITS.delay(self._n_failed) if self._n_failed else _LINGER
        timer = asyncio.get_running_loop().call_later(seconds, self._hurry.set)
        try:
            await self._hurry.wait()
        finally:
            timer.cancel()
            self._hurry.clear()
