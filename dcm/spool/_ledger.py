"""The report of a courier: it keeps nothing but what is on its way, however long it runs."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterable

from dcm.report import Outcome, TransferReport
from dcm.spool._retry import Attempt

__all__ = ["Ledger"]


class Ledger(TransferReport):
    """Learns what a destination says of the instances that are on their way there.

    What became of them is for the journal to remember: nothing is counted here, and what nobody waits for is forgotten.
    """

    patient = False  # the queue that outlives us waits better than whoever sends

    def __init__(self) -> None:
        super().__init__()
        self._under_way: dict[str, Attempt | None] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def begin(self, uid: str) -> None:
        """Say that an instance is about to be sent; waits for its turn while another one with its UID is on its way."""
        if uid not in self._under_way:
            self._under_way[uid] = None
            return
        # A filter has given two of them one UID: what is said of it must be said of one of them.
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(uid, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.end(uid)
            raise

    def end(self, uid: str) -> Attempt | None:
        """It is not on its way any more; gives what was said of it, None for nothing."""
        attempt = self._under_way.pop(uid)
        waiting = self._waiting.get(uid, deque())
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                self._under_way[uid] = None
                turn.set_result(None)
                break
        if not waiting:
            self._waiting.pop(uid, None)
        return attempt

    def record(
        self,
        uid: str,
        outcome: Outcome,
        *,
        dest: str = "",
        n_bytes: int = 0,
        series_uid: str = "",
        reason: str = "",
        status: int | None = None,
        refused: bool = False,
        path: str | os.PathLike[str] | None = None,
        error: Exception | None = None,
    ) -> Outcome:
        """Learn what became of an instance; as in any report, the state that says more stands."""
        if uid not in self._under_way:
            return outcome
        before = self._under_way[uid]
        if before is not None and before.outcome.rank > outcome.rank:
            return before.outcome
        self._under_way[uid] = Attempt(outcome, reason, status, error)
        return outcome

    # What else a report is told, nobody asks for.

    def expect(self, uids: Iterable[str], series_uid: str = "", dest: str = "") -> None:
        """Nothing: a courier knows what it has handed over."""

    def count(self, outcome: Outcome, n_instances: int, dest: str = "") -> None:
        """Nothing: there are no instances without a UID here."""

    def arriving(self, n_bytes: int) -> None:
        """Nothing: nobody watches."""

    def anomaly(self, kind: str, uid: str, message: str, status: int | None = None) -> None:
        """Nothing: what was not handed over cannot turn up."""

    def error(self, subject: str, message: str, status: int | None = None, *, refused: bool = True) -> None:
        """Nothing: whoever hands something over is told what has ended it."""

    def doubt(self, reason: str) -> None:
        """Nothing: each instance is known."""
