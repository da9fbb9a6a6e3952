"""By when a peer must have done what: pure arithmetic, the association owns the clock and the timer."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcm.node import Timeouts

__all__ = ["Deadlines", "Phase"]


class Phase(enum.Enum):
    """Whose turn it is on an association."""

    NEGOTIATING = "the peer must answer, or make, an association request"
    OPERATING = "the peer must go on with an operation of ours"
    READING = "the peer must read what we have sent"
    IDLE = "the peer may ask for something"
    OURS = "the peer waits for us"


class Deadlines:
    """The deadlines of one association.

    Parameters
    ----------
    timeouts : Timeouts
        For the association and for DIMSE; connecting is over.
    idle : float or None
        Seconds without a request after which an acceptor gives up on the requestor.

    Notes
    -----
    Data from the peer, or room for ours, is progress. It puts off the deadline of an operation, but neither that of the
    negotiation (the ARTIM timer of PS3.8 section 9.1.5), nor that of a PDU which has begun: a peer that sends a byte
    now and then would hold an association for ever.
    """

    def __init__(self, timeouts: Timeouts, idle: float | None = None) -> None:
        self._timeouts = timeouts
        self._idle = idle
        self._since = 0.0
        self._last_progress = 0.0
        self._pdu: int | None = None
        self._pdu_since = 0.0

    def hurry(self, idle: float) -> None:
        """Give up sooner on a requestor that asks for nothing."""
        self._idle = idle if self._idle is None else min(idle, self._idle)

    def start(self, now: float) -> None:
        """Begin to negotiate."""
        self._since = self._last_progress = now

    def progress(self, now: float) -> None:
        """The peer has shown a sign of life."""
        self._last_progress = now

    def resume(self, now: float) -> None:
        """The peer has waited for us until now: that time does not count."""
        self._last_progress = self._pdu_since = now

    def pdu(self, number: int | None) -> bool:
        """Say which PDU is coming in, by its number, or that none is.

        Returns
        -------
        bool
            Whether it is another one than before, so that there is a new deadline.
        """
        if number == self._pdu:
            return False
        self._pdu = number
        self._pdu_since = self._last_progress
        return number is not None

    def due(self, phase: Phase) -> tuple[float, str] | None:
        """Return the next deadline, and what the peer has not done if it passes; None where there is none."""
        timeouts = self._timeouts
        first: tuple[float, str] | None = None
        if phase is Phase.OPERATING:
            first = _after(self._last_progress, timeouts.dimse, "go on with the operation")
        elif phase is Phase.READING:
            first = _after(self._last_progress, timeouts.dimse, "read what we sent")
        elif phase is Phase.NEGOTIATING:
            first = _after(self._since, timeouts.association, "negotiate an association")
        elif phase is Phase.IDLE:
            first = _after(self._last_progress, self._idle, "ask for anything")
        if phase is not Phase.OURS and self._pdu is not None:
            second = _after(self._pdu_since, timeouts.dimse, "send the rest of a PDU")
            if first is None or (second is not None and second < first):
                return second
        return first


def _after(start: float, seconds: float | None, what: str) -> tuple[float, str] | None:
    return None if seconds is None else (start + seconds, f"{what} within {seconds:g} s")
