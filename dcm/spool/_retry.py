"""What the end of an attempt means: delivered, to be tried again and when, or for a human to look at. Pure."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from dcm.errors import (
    ConflictError,
    DataError,
    DcmError,
    NetworkError,
    NoContextError,
    StoreError,
    UnsafePathError,
    UsageError,
)
from dcm.report import Outcome
from dcm.text import safe_text

__all__ = ["Attempt", "Fate", "RetryPolicy", "Verdict", "judge"]

_REASON_LENGTH = 300
# What a store says of an instance that it could not even read: that is no fault of the destination.
_UNREAD = "cannot be read"

# PS3.7 annex C: no such SOP class, class and instance do not fit, SOP class not supported, unrecognised operation,
# mistyped argument, invalid object instance, duplicate SOP instance. Another try would end in the same way.
_PERMANENT = frozenset({0x0111, 0x0117, 0x0118, 0x0119, 0x0122, 0x0211, 0x0212})


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait before the next try: longer each time, and never the same for all that failed together.

    Parameters
    ----------
    first : float
        Seconds before the second try.
    factor : float
        By what each wait is longer than the one before.
    ceiling : float
        Seconds that no wait exceeds, but for the jitter.
    jitter : float
        By which part, 0 to 1, a wait may be shorter or longer.

    Raises
    ------
    UsageError
        One of these makes no sense.
    """

    first: float = 5.0
    factor: float = 2.0
    ceiling: float = 600.0
    jitter: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.ceiling:
            raise UsageError(f"the first wait must be more than 0 s and no more than the longest, not {self.first}")
        if self.factor < 1 or not 0 <= self.jitter < 1:
            raise UsageError("waits grow by a factor of 1 or more, with a jitter of 0 to less than 1")

    @property
    def longest(self) -> float:
        """Seconds that no wait exceeds."""
        return self.ceiling * (1 + self.jitter)

    def delay(self, n_failed: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
        """Seconds to wait after so many failures, 1 or more.

        Parameters
        ----------
        n_failed : int
        uniform : callable
            Gives a random number between two.
        """
        seconds = self.first
        for _ in range(n_failed - 1):
            seconds *= self.factor
            if seconds >= self.ceiling:
                seconds = self.ceiling
                break
        return seconds * uniform(1 - self.jitter, 1 + self.jitter)


class Fate(enum.Enum):
    """What becomes of a delivery after an attempt."""

    DELIVERED = "delivered"
    FILTERED = "filtered"
    RETRY = "retry"  #: it failed, and may get there another time
    QUARANTINE = "quarantine"  #: it failed, and would again
    UNTRIED = "untried"  #: the destination was lost before it was its turn
    LOST = "lost"  #: there is nothing that could be sent


class Attempt(NamedTuple):
    """What a destination has said of an instance, in the words of a report (`TransferReport.record`)."""

    outcome: Outcome
    reason: str = ""
    status: int | None = None
    error: Exception | None = None


class Verdict(NamedTuple):
    """What the end of an attempt means.

    Attributes
    ----------
    fate : Fate
        For the instance.
    reason : str
        Why, for people; '' where there is nothing to say.
    status : int or None
        The DIMSE status, where the destination gave one.
    sound : bool or None
        What it says of the destination: whether it is well; None where it says nothing.
    lost : bool
        Whether the destination cannot be used at all now.
    """

    fate: Fate
    reason: str = ""
    status: int | None = None
    sound: bool | None = None
    lost: bool = False


def judge(attempt: Attempt | None, *, safe: bool = False, error: Exception | None = None) -> Verdict:
    """Say what the end of an attempt means.

    Parameters
    ----------
    attempt : Attempt or None
        What the destination has said of the instance; None where it has said nothing.
    safe : bool
        Whether it says that it has it.
    error : Exception or None
        What handing it over has raised, which ends all that goes the same way.
    """
    if attempt is not None and (attempt.outcome is not Outcome.FAILED or attempt.status is not None):
        return _answered(attempt)
    if attempt is not None and attempt.error is not None:
        return _failed(attempt.error, attempt.reason)
    if error is not None:
        if isinstance(error, DcmError):
            # It never was the turn of this one.
            return Verdict(Fate.UNTRIED, _text(error.message), sound=False, lost=True)
        return Verdict(Fate.RETRY, _text(f"{type(error).__name__}: {error}"), sound=False)
    if attempt is None:
        # A store that keeps no books.
        return Verdict(Fate.DELIVERED, sound=True) if safe else Verdict(Fate.RETRY, "it was not taken", sound=False)
    # By itself, before it was sent: it is malformed, or in a transfer syntax that is not to go there.
    fate = Fate.RETRY if attempt.reason.startswith(_UNREAD) else Fate.QUARANTINE
    return Verdict(fate, _text(attempt.reason))


def _answered(attempt: Attempt) -> Verdict:
    """By an outcome or a DIMSE status (PS3.4 table B.2-1, PS3.7 annex C)."""
    outcome, status, reason = attempt.outcome, attempt.status, _text(attempt.reason)
    if outcome is Outcome.FILTERED:
        return Verdict(Fate.FILTERED, reason, status)
    if outcome is Outcome.MISSING:
        return Verdict(Fate.RETRY, reason, status)
    if outcome is not Outcome.FAILED:
        # A conflict is kept beside what was there: the destination has it.
        return Verdict(Fate.DELIVERED, reason, status, sound=True)
    assert status is not None
    if status & 0xFF00 == 0xA900 or status & 0xF000 == 0xC000 or status in _PERMANENT:
        return Verdict(Fate.QUARANTINE, reason, status, sound=True)
    # Out of resources, processing failure, not authorised, and whatever no standard knows.
    return Verdict(Fate.RETRY, reason, status, sound=False)


def _failed(error: Exception, reason: str) -> Verdict:
    """By an error that this very instance has met."""
    text = _text(reason or str(error))
    if isinstance(error, NoContextError):
        # It answers, and this is what it says.
        return Verdict(Fate.QUARANTINE, text, sound=True)
    if isinstance(error, NetworkError):
        return Verdict(Fate.RETRY, text, sound=False)
    if isinstance(error, (DataError, UnsafePathError, ConflictError)):
        return Verdict(Fate.QUARANTINE, text)
    return Verdict(Fate.RETRY, text, sound=False if isinstance(error, StoreError) and not _unread(reason) else None)


def _unread(reason: str) -> bool:
    return reason.startswith(_UNREAD)


def _text(reason: str) -> str:
    return safe_text(reason, _REASON_LENGTH)
