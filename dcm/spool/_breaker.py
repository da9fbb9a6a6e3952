"""Leaving a destination alone that cannot be used, and finding out when it can be used again. Pure.

::

    closed ── lost, or N failures in a row ──▶ open ── its time has come ──▶ half open ── success ──▶ closed
                                                ▲                               │
                                                └────────── failure ────────────┘
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable

from dcm.spool._retry import RetryPolicy

__all__ = ["Breaker", "BreakerState"]

_WAITS = RetryPolicy(first=1.0, factor=2.0, ceiling=30.0, jitter=0.25)
_IN_A_ROW = 5


class BreakerState(enum.Enum):
    """Whether a destination is used."""

    CLOSED = "closed"  #: it is
    OPEN = "open"  #: it is not, for a while
    HALF_OPEN = "half open"  #: one is on its way, to see


class Breaker:
    """The circuit breaker of one destination, shared by all that send there.

    Parameters
    ----------
    waits : RetryPolicy, optional
        How long it stays open before the next try.
    in_a_row : int, optional
        How many instances in succession may fail before it opens. A destination that is lost opens it at once.
    clock : callable, optional
        Seconds from any beginning.

    Attributes
    ----------
    state : BreakerState
    reason : str
        What has opened it; '' while it is closed.
    n_hurried : int
        How often somebody has said that it is worth another try.
    waits : RetryPolicy
        How long it stays open.
    listeners : list of callable
        Called when its state or its time has changed.
    """

    def __init__(
        self, waits: RetryPolicy = _WAITS, in_a_row: int = _IN_A_ROW, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.state = BreakerState.CLOSED
        self.reason = ""
        self.n_hurried = 0
        self.listeners: list[Callable[[], None]] = []
        self.waits = waits
        self._in_a_row = in_a_row
        self._clock = clock
        self._n_failed = 0
        self._n_opened = 0
        self._until = 0.0
        self._turn = 0

    @property
    def closed(self) -> bool:
        """Whether the destination is used as ever."""
        return self.state is BreakerState.CLOSED

    def wait(self) -> float | None:
        """Seconds until something may be sent, 0 for now; None while one is on its way to see."""
        if self.state is BreakerState.HALF_OPEN:
            return None
        return 0.0 if self.closed else max(0.0, self._until - self._clock())

    def begin(self) -> int | None:
        """Ask whether an instance may be sent now.

        Returns
        -------
        int or None
            A ticket, to be handed in with what became of it; None where nothing may be sent.
        """
        if self.wait() != 0:
            return None
        if not self.closed:
            self._change(BreakerState.HALF_OPEN)
        return self._turn

    def succeeded(self) -> None:
        """The destination has answered as it should."""
        self._n_failed = self._n_opened = 0
        self.reason = ""
        if not self.closed:
            self._turn += 1
            self._change(BreakerState.CLOSED)

    def failed(self, ticket: int, reason: str, *, lost: bool = False) -> None:
        """An instance has failed in a way that speaks against the destination.

        Parameters
        ----------
        ticket : int
            From `begin`. What was begun before it opened or closed says nothing new.
        reason : str
        lost : bool, optional
            Whether it cannot be used at all.
        """
        if ticket != self._turn or self.state is BreakerState.OPEN:
            return
        self._n_failed += 1
        if lost or self._n_failed >= self._in_a_row or self.state is BreakerState.HALF_OPEN:
            self.reason = reason
            self._n_opened += 1
            self._turn += 1
            self._until = self._clock() + self.waits.delay(self._n_opened)
            self._change(BreakerState.OPEN)

    def undecided(self, ticket: int) -> None:
        """An instance has ended in a way that says nothing of the destination: another one may be sent to see."""
        if ticket == self._turn and self.state is BreakerState.HALF_OPEN:
            self._turn += 1
            self._change(BreakerState.OPEN)

    def retry_now(self) -> None:
        """Wait no longer before the next try."""
        self.n_hurried += 1
        if self.state is BreakerState.OPEN:
            self._until = self._clock()
            self._change(BreakerState.OPEN)

    def _change(self, state: BreakerState) -> None:
        self.state = state
        for listener in [*self.listeners]:
            listener()
