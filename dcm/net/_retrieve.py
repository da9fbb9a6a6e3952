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
    InvalidDicomError,
    MoveDestinationError,
    NetworkError,
    NoContextError,
    PeerTimeoutError,
)
from dcm.levels import QueryLevel
from dcm.net._incoming import OUT_OF_RESOURCES, PROCESSING_FAILURE, SUCCESS
from dcm.net._ledger import Ledger
from dcm.net._registry import status_text
from dcm.net._tasks import cancel_all, run_all, within
from dcm.net._units import Unit
from dcm.peek import read_attributes
from dcm.report import Outcome
from dcm.text import safe_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from dcm.instance import Instance
    from dcm.net._incoming import DicomEvent
    from dcm.net._lines import Line
    from dcm.net._operations import SubOperations
    from dcm.node import RemoteNode
    from dcm.report import TransferReport

__all__ = ["Retrieval"]

log = logging.getLogger(__name__)

CANCELLED = 0xFE00
_FAILED_UIDS = 0x00080058
_RETRIES_WITHOUT_PROGRESS = 3
_BACKOFF = 0.5
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
        self._report = report
        self._dests = dests
        self._keep_errors = keep_errors
        self._ledger = Ledger()
        self._makers: list[Callable[[], Line]] = []
        self._reasons: dict[str, tuple[str, int | None]] = {}
        self._arrivals = 0
        self._arrived = asyncio.Event()
        self._in_hand = 0
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, units: AsyncIterator[Unit], lines: Mapping[str, Callable[[], Line]], n_lines: int) -> None:
        """Fetch units.

        Parameters
        ----------
        units : asynchronous iterator of Unit
            As they become known.
        lines : mapping of "GET" and "MOVE" to callable
            Makes a `Line` for each way to fetch that can be used.
        n_lines : int
            How many may be open at a time.

        Raises
        ------
        NetworkError
            The peer cannot be reached, or refuses in every way; or `deliver` raised it, and nothing can be delivered
            any more. What came until then is in the report.
        """
        self._makers = [lines[method] for method in self._remote.retrieve_methods if method in lines]
        queue: asyncio.Queue[Unit | None] = asyncio.Queue(_UNITS_AHEAD)
        workers = [self._work(queue) for _ in range(n_lines)]
        work = asyncio.ensure_future(run_all(self._feed(units, queue, n_lines), *workers))
        try:
            await asyncio.wait([work, self._broken], return_when=asyncio.FIRST_COMPLETED)
            if not self._broken.done():
                await work
            # A peer may say that it is done before we are with the last instances that it sent.
            while self._in_hand and not self._broken.done():
                self._arrived.clear()
                await self._arrived.wait()
            if self._broken.done():
                self._broken.result()
        finally:
            self._broken.cancel()
            await cancel_all(work)

    async def _feed(self, units: AsyncIterator[Unit], queue: asyncio.Queue[Unit | None], n_lines: int) -> None:
        async for unit in units:
            for dest in self._dests:
                self._report.expect(unit.expected, unit.series_uid, dest)
            if unit.open_ended:
                self._report.doubt(f"{self._remote} does not say which instances it has")
            await queue.put(unit)
        for _ in range(n_lines):
            await queue.put(None)

    async def _work(self, queue: asyncio.Queue[Unit | None]) -> None:
        line: Line | None = None
        make: Callable[[], Line] | None = None
        try:
            while (unit := await queue.get()) is not None:
                self._ledger.open(unit)
                try:
                    while True:
                        if line is None or make is not self._makers[0]:
                            if line is not None:
                                await line.close()
                            make = self._makers[0]
                            line = make()
                        if await self._fetch(line, make, unit):
                            break
                    self._settle_account(unit)
                finally:
                    self._ledger.close(unit)
        finally:
            if line is not None:
                await line.close()

    async def _fetch(self, line: Line, make: Callable[[], Line], unit: Unit) -> bool:
        """Fetch a unit; False where another way of fetching has to be tried."""
        try:
            await self._fetch_all_of(line, unit)
        except (NoContextError, MoveDestinationError) as error:
            # This way is closed for good. Another worker may have found out before us.
            if make is not self._makers[0]:
                return False
            if len(self._makers) == 1:
                raise
            log.warning("%s; trying the next of retrieve_methods", error.message)
            self._makers.pop(0)
            return False
        return True

    async def _fetch_all_of(self, line: Line, unit: Unit) -> None:
        parts: list[Unit] = [unit]
        asked_again = False
        fruitless = 0
        while True:
            arrivals = self._arrivals
            broken = await self._ask(line, parts)
            missing = self._ledger.missing(unit)
            if not missing and not (broken and unit.open_ended):
                return
            if broken is not None:
                # The association was lost: open another, and go on with what has not come.
                fruitless = 0 if self._arrivals > arrivals else fruitless + 1
                if fruitless >= _RETRIES_WITHOUT_PROGRESS:
                    raise broken
                await asyncio.sleep(_BACKOFF * 2**fruitless)
            elif asked_again:
                return
            else:
                asked_again = True
            parts = list(unit.finer(missing)) or [unit]

    async def _ask(self, line: Line, parts: list[Unit]) -> NetworkError | None:
        """Ask for some units; returns what broke the association, where that may be tried again."""
        waiting = deque(parts)
        refusals = 0
        while waiting:
            part = waiting.popleft()
            try:
                finals = await line.ask(part)
            except (AssociationAbortedError, PeerTimeoutError) as error:
                log.warning("%s", error)
                return error
            except AssociationRejectedError as error:
                if not error.transient or not self._arrivals:
                    raise
                return error
            for final in finals:
                self._note(part, final)
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

    def _note(self, part: Unit, final: SubOperations) -> None:
        """Keep what the final response says of failures, in case instances are missing in the end."""
        if final.status == SUCCESS:
            return
        said = f" ({safe_text(final.comment, 64)})" if final.comment else ""
        reason = f"{status_text('C-MOVE', final.status)}{said}", final.status
        failed = _failed_uids(final)
        for uid in failed or part.expected:
            if uid in part.expected:
                self._reasons[uid] = reason
        if part.open_ended:
            self._report.error(part.series_uid or part.study_uid, *reason)

    async def _settle(self, part: Unit, seconds: float, completed: int) -> None:
        """Wait for stores that come after the final response."""
        while self._ledger.taken(part) < completed if part.open_ended else self._ledger.missing(part):
            self._arrived.clear()
            try:
                await within(self._arrived.wait(), seconds)
            except asyncio.TimeoutError:
                return

    def _settle_account(self, unit: Unit) -> None:
        """Report what did not come."""
        for uid in self._ledger.missing(unit):
            reason, status = self._reasons.pop(uid, ("", None))
            for dest in self._dests:
                if reason:
                    self._report.record(uid, Outcome.FAILED, dest=dest, reason=reason, status=status)
                else:
                    self._report.record(uid, Outcome.MISSING, dest=dest, reason="never arrived, though asked for twice")
        if unit.open_ended and not self._ledger.taken(unit):
            self._report.error(unit.series_uid or unit.study_uid, "nothing came")

    async def received(self, event: DicomEvent) -> int:
        """Take an instance that the peer sent, and return the status of the answer."""
        instance = event.instance
        if instance is None:
            return SUCCESS
        verdict = self._ledger.judge(instance)
        if not verdict.kind:
            return await self._pass_on(instance)
        uid = instance.sop_instance_uid
        self._report.anomaly(verdict.kind, uid, verdict.message)
        if self._keep_errors:
            return await self._pass_on(instance)
        if verdict.kind == "duplicate":
            return SUCCESS
        if verdict.kind == "inconsistent":
            for dest in self._dests:
                self._report.record(uid, Outcome.FAILED, dest=dest, reason=verdict.message)
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


def _refused(final: SubOperations) -> bool:
    """Whether the peer failed to do anything at all (PS3.4 sections C.4.2.1.5 and C.4.3.1.4)."""
    return final.status not in (SUCCESS, CANCELLED) and final.status & 0xF000 != 0xB000 and not final.completed


def _failed_uids(final: SubOperations) -> list[str]:
    """The Failed SOP Instance UID List (0008,0058), as far as the peer gives one that can be read."""
    if not final.identifier:
        return []
    try:
        text = read_attributes(final.identifier, final.transfer_syntax).text(_FAILED_UIDS)
    except InvalidDicomError:
        # It only adds a reason: which instances did not come is known without it.
        return []
    return text.split("\\") if text else []
