"""Fetching what a query result names, and making sure by UID that it came.

A peer's counters and its final 0x0000 prove nothing: what counts is which instances arrived. What is missing after a
request is asked for once more, by UID; what is then still missing is reported.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from dcm.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    ConnectionFailedError,
    MoveDestinationError,
    NetworkError,
    NoContextError,
    PeerTimeoutError,
)
from dcm.levels import QueryLevel
from dcm.net._account import Account
from dcm.net._backlog import Backlog
from dcm.net._incoming import OUT_OF_RESOURCES, PROCESSING_FAILURE, SUCCESS
from dcm.net._lines import StorageRefusedError
from dcm.net._tasks import cancel_all, run_all, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from dcm.instance import Instance
    from dcm.net._incoming import DicomEvent
    from dcm.net._lines import Line
    from dcm.net._operations import SubOperations
    from dcm.net._units import Unit
    from dcm.node import RemoteNode
    from dcm.report import TransferReport

    _Way = tuple[str, Callable[[], Line]]

__all__ = ["Retrieval"]

log = logging.getLogger(__name__)

CANCELLED = 0xFE00
# An association that breaks without having brought anything is tried again so often; a peer that is busy, or restarts,
# for half a minute: 0.5, 1, 2, ... seconds.
_FRUITLESS = 3
_FRUITLESS_WAITS = 6
_BACKOFF = 0.5
# One series after the other that ends every association: it is the peer that is broken, not they.
_MOST_CHOKED = 3
_UNITS_AHEAD = 64
# To find the one instance in a list that is to blame takes as many requests as its length can be halved.
_MOST_REFUSALS = 16


class Retrieval:
    """One retrieval from one peer.

    Parameters
    ----------
    remote : RemoteNode
    deliver : callable
        ``await deliver(instance)`` records what became of the instance, and returns whether it is safe: only then is
        the peer told of success.
    report : TransferReport
    dests : sequence of str
        The destinations in the report that each instance is for.
    keep_errors : bool
        Deliver duplicates, unexpected and inconsistent instances as well.
    """

    def __init__(
        self,
        remote: RemoteNode,
        deliver: Callable[[Instance], Awaitable[bool]],
        report: TransferReport,
        *,
        dests: Sequence[str] = ("",),
        keep_errors: bool = False,
    ) -> None:
        self._remote = remote
        self._deliver = deliver
        self._keep_errors = keep_errors
        self._account = Account(remote, report, dests)
        self._ledger = self._account.ledger
        self._ways: list[_Way] = []
        self._ease: Callable[[], Awaitable[None]] = _nothing
        self._hands: set[_Hand] = set()
        self._arrivals = 0
        self._arrived = asyncio.Event()
        self._in_hand = 0
        self._choked = 0
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(
        self,
        units: AsyncIterator[Unit],
        lines: Mapping[str, Callable[[], Line]],
        n_lines: int,
        ease: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Fetch units.

        Parameters
        ----------
        units : asynchronous iterator of Unit
            As they become known.
        lines : mapping of "GET" and "MOVE" to callable
            Makes a `Line` for each way to fetch that can be used.
        n_lines : int
            How many may be open at a time.
        ease : callable, optional
            Closes what else is open to the peer and idle, when it has no room for a line.

        Raises
        ------
        NetworkError
            The peer cannot be reached, or refuses in every way; or `deliver` raised it, and nothing can be delivered
            any more. What came until then is in the report.
        """
        self._ways = [(method, lines[method]) for method in self._remote.retrieve_methods if method in lines]
        self._ease = ease or _nothing
        backlog = Backlog(_UNITS_AHEAD)
        workers = [self._work(backlog) for _ in range(n_lines)]
        work = asyncio.ensure_future(run_all(self._feed(units, backlog), *workers))
        try:
            await asyncio.wait([work, self._broken], return_when=asyncio.FIRST_COMPLETED)
            # A peer may say that it is done, or be lost, before we are with the last instances that it sent.
            while self._in_hand and not self._broken.done():
                self._arrived.clear()
                await self._arrived.wait()
            if self._broken.done():
                self._broken.result()
            await work
        finally:
            self._broken.cancel()
            await cancel_all(work)

    async def _feed(self, units: AsyncIterator[Unit], backlog: Backlog) -> None:
        async for unit in units:
            for wanted in self._account.expect(unit):
                await backlog.put(wanted)
        await backlog.end()

    async def _work(self, backlog: Backlog) -> None:
        hand = _Hand()
        self._hands.add(hand)
        try:
            while (unit := await backlog.take()) is not None:
                self._ledger.open(unit)
                fetched = False
                try:
                    fetched = await self._fetch(hand, unit)
                    if fetched:
                        self._account.settle(unit)
                finally:
                    self._ledger.close(unit)
                    await backlog.done(None if fetched else unit)
                if not fetched:
                    log.info("%s takes no more associations; going on with fewer", self._remote)
                    return
        finally:
            self._hands.discard(hand)
            await hand.close()

    async def _fetch(self, hand: _Hand, unit: Unit) -> bool:
        """Fetch a unit; False where the peer has no room for this line while others work."""
        while True:
            way = self._ways[0]
            line = await hand.line(way)
            try:
                return await self._fetch_all_of(hand, line, unit)
            except StorageRefusedError as error:
                if len(self._ways) > 1 and not self._arrivals:
                    self._drop_way(way, error)
                elif len(self._ways) > 1:
                    return await self._fetch_otherwise(unit)
                else:
                    # It is these instances that the peer will not send; it may well send others.
                    self._account.blame(self._ledger.missing(unit), error.message)
                    return True
            except (NoContextError, MoveDestinationError) as error:
                if len(self._ways) == 1:
                    raise
                self._drop_way(way, error)

    def _drop_way(self, way: _Way, error: NetworkError) -> None:
        """Close a way to fetch for good; another worker may have found out before us."""
        if way is self._ways[0]:
            log.warning("%s; trying the next of retrieve_methods", error.message)
            self._ways.pop(0)

    async def _fetch_otherwise(self, unit: Unit) -> bool:
        """Fetch a single unit in the second way."""
        hand = _Hand()
        line = await hand.line(self._ways[1])
        try:
            return await self._fetch_all_of(hand, line, unit)
        except (NoContextError, MoveDestinationError) as error:
            self._account.blame(self._ledger.missing(unit), error.message)
            return True
        finally:
            await hand.close()

    async def _fetch_all_of(self, hand: _Hand, line: Line, unit: Unit) -> bool:
        """Ask for a unit, for what is missing once more, and again where the association breaks."""
        parts: list[Unit] = [unit]
        asked_again = False
        fruitless = 0
        while True:
            arrivals = self._arrivals
            broken = await self._ask(hand, line, parts)
            missing = self._ledger.missing(unit)
            if not missing and not (broken and unit.open_ended):
                self._choked = 0
                return True
            if broken is not None:
                fruitless = 0 if self._arrivals > arrivals else fruitless + 1
                if isinstance(broken, AssociationRejectedError) and any(h.worked for h in self._hands - {hand}):
                    return False
                if fruitless >= (_FRUITLESS if hand.worked else _FRUITLESS_WAITS):
                    self._choked += 1
                    perhaps_this_one = missing and isinstance(broken, (AssociationAbortedError, PeerTimeoutError))
                    if self._choked == _MOST_CHOKED or not perhaps_this_one:
                        raise broken
                    # It may be this one series that the peer chokes on, time and again: the others are not to blame.
                    self._account.blame(missing, broken.message)
                    return True
                log.warning("%s; trying again", broken.message)
                await self._ease()
                await asyncio.sleep(_BACKOFF * 2**fruitless)
            elif asked_again:
                self._account.blame(*line.refused(unit, missing))
                return True
            else:
                asked_again = True
            parts = list(unit.finer(missing)) or [unit]

    async def _ask(self, hand: _Hand, line: Line, parts: list[Unit]) -> NetworkError | None:
        """Ask for some units; returns what broke the association, where that may be tried again."""
        waiting = deque(parts)
        refusals = 0
        while waiting:
            part = waiting.popleft()
            try:
                finals = await line.ask(part, self._ledger.missing)
                hand.worked = True
            except (AssociationAbortedError, PeerTimeoutError) as error:
                return error
            except (AssociationRejectedError, ConnectionFailedError) as error:
                if self._may_pass(error):
                    hand.worked = False
                    return error
                raise
            for final in finals:
                self._account.note(part, final, line.operation)
            missing = self._ledger.missing(part)
            if len(missing) < len(part.expected) or not all(map(_refused, finals)):
                refusals = 0
                await self._settle(part, line.settle, sum(final.completed or 0 for final in finals))
                continue
            # Orthanc refuses a list of instances of which it has lost one, and some archives know no lists at all.
            refusals += 1
            if part.level is QueryLevel.IMAGE and len(missing) > 1 and refusals <= _MOST_REFUSALS:
                half = len(missing) // 2
                waiting.extendleft((*part.finer(missing[half:]), *part.finer(missing[:half])))
        return None

    def _may_pass(self, error: AssociationRejectedError | ConnectionFailedError) -> bool:
        """Whether waiting may help: the peer is busy, or it has sent something and may only be restarting."""
        return error.transient if isinstance(error, AssociationRejectedError) else self._arrivals > 0

    async def _settle(self, part: Unit, seconds: float, completed: int) -> None:
        """Wait for stores that come after the final response, for so long after the last one of this part."""
        loop = asyncio.get_running_loop()
        left = self._left_of(part, completed)
        until = loop.time() + seconds
        while left and (rest := until - loop.time()) > 0:
            self._arrived.clear()
            try:
                await within(self._arrived.wait(), rest)
            except asyncio.TimeoutError:
                return
            now_left = self._left_of(part, completed)
            if now_left < left:
                left, until = now_left, loop.time() + seconds

    def _left_of(self, part: Unit, completed: int) -> int:
        if part.open_ended:
            return completed - self._ledger.taken(part)
        return len(self._ledger.missing(part))

    async def received(self, event: DicomEvent) -> int:
        """Take an instance that the peer sent, and return the status of the answer."""
        instance = event.instance
        if instance is None:
            return SUCCESS
        verdict = self._account.judge(instance)
        if not verdict.kind or self._keep_errors:
            return await self._pass_on(instance)
        if verdict.kind == "duplicate":
            return SUCCESS
        if verdict.kind == "inconsistent":
            self._account.leave_out(instance.sop_instance_uid, verdict.message)
            self._arrived.set()
        return PROCESSING_FAILURE

    async def _pass_on(self, instance: Instance) -> int:
        self._in_hand += 1
        try:
            return SUCCESS if await self._deliver(instance) else OUT_OF_RESOURCES
        except NetworkError as error:
            if not self._broken.done():
                self._broken.set_exception(error)
            return OUT_OF_RESOURCES
        finally:
            self._in_hand -= 1
            self._arrivals += 1
            self._arrived.set()


class _Hand:
    """The line that a worker has in its hand; `worked` says whether the peer has ever answered on it."""

    def __init__(self) -> None:
        self.worked = False
        self._way: _Way | None = None
        self._line: Line | None = None

    async def line(self, way: _Way) -> Line:
        """The line of a way; that of another way is closed first."""
        if self._line is None or self._way is not way:
            await self.close()
            self._way, self._line = way, way[1]()
        return self._line

    async def close(self) -> None:
        """Close the line."""
        line, self._line = self._line, None
        if line is not None:
            await line.close()


async def _nothing() -> None:
    """There is nothing else that could be closed."""


def _refused(final: SubOperations) -> bool:
    """Whether the peer failed to do anything at all (PS3.4 sections C.4.2.1.5 and C.4.3.1.4)."""
    return final.status not in (SUCCESS, CANCELLED) and final.status & 0xF000 != 0xB000 and not final.completed
