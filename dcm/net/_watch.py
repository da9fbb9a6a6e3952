"""The clock of an association: looks whether a peer is late, no more often than it must."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcm.net._deadlines import Deadlines, Phase

__all__ = ["Watch"]


class Watch:
    """Calls when a deadline has passed. A timer that turns out to be too early looks again: progress costs nothing.

    Parameters
    ----------
    deadlines : Deadlines
    phase : callable
        Says whose turn it is; None where the association is over.
    moves : callable
        Says whether the peer has done something since this was last asked that nobody was told of.
    late : callable
        Called with what the peer has not done in time.
    """

    def __init__(
        self,
        deadlines: Deadlines,
        phase: Callable[[], Phase | None],
        moves: Callable[[], bool],
        late: Callable[[str], None],
    ) -> None:
        self._deadlines = deadlines
        self._phase = phase
        self._moves = moves
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.start()

    def start(self) -> None:
        """The negotiation begins."""
        self._deadlines.start(self._loop.time())

    def progress(self) -> None:
        """The peer has shown a sign of life."""
        self._deadlines.progress(self._loop.time())

    def our_turn_ends(self) -> None:
        """The peer has waited for us, and does not any more: the clock runs for the peer again."""
        self._deadlines.resume(self._loop.time())
        self.arm()

    def reading(self, pdu: int | None) -> None:
        """Say which PDU is coming in, by its number, or that none is."""
        if self._deadlines.pdu(pdu):
            self.arm()

    def arm(self) -> None:
        """See to it that the next deadline is looked at in time."""
        due = self._due()
        if due is not None and (self._timer is None or due[0] < self._timer.when()):
            self.stop()
            self._timer = self._loop.call_at(due[0], self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> tuple[float, str] | None:
        phase = self._phase()
        return self._deadlines.due(phase) if phase is not None else None

    def _look(self) -> None:
        self._timer = None
        if self._moves():
            self.progress()
        due = self._due()
        if due is not None and due[0] <= self._loop.time():
            self._late(due[1])
        else:
            self.arm()
