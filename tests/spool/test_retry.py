"""When to try again, and what the end of an attempt means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    ConflictError,
    ConnectionFailedError,
    InvalidDicomError,
    NoContextError,
    PeerTimeoutError,
    ProtocolError,
    StoreError,
    UnsafePathError,
    UsageError,
)
from dcm.report import Outcome
from dcm.spool._retry import Attempt, Fate, RetryPolicy, Verdict, judge


def longest(_least: float, most: float) -> float:
    return most


def exactly(least: float, most: float) -> float:
    return (least + most) / 2


def test_waits_get_longer_up_to_a_ceiling() -> None:
    policy = RetryPolicy(first=5, factor=2, ceiling=60)
    assert [policy.delay(n, exactly) for n in range(1, 7)] == [5, 10, 20, 40, 60, 60]
    assert policy.delay(1_000_000, exactly) == 60


@given(
    st.floats(0.001, 100),
    st.floats(1, 10),
    st.floats(0, 0.99),
    st.integers(1, 10_000),
)
def test_waits_stay_within_their_bounds(first: float, factor: float, jitter: float, n_failed: int) -> None:
    policy = RetryPolicy(first, factor, ceiling=200, jitter=jitter)
    assert first * (1 - jitter) * 0.999 <= policy.delay(n_failed) <= 200 * (1 + jitter) * 1.001


def test_those_that_failed_together_do_not_come_back_together() -> None:
    policy = RetryPolicy()
    assert len({policy.delay(3) for _ in range(100)}) > 90


@pytest.mark.parametrize(
    "wrong", [{"first": 0}, {"first": 10, "ceiling": 5}, {"factor": 0.5}, {"jitter": 1}, {"jitter": -0.1}]
)
def test_a_policy_that_makes_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        RetryPolicy(**wrong)


def failed(status: int) -> Attempt:
    return Attempt(Outcome.FAILED, f"0x{status:04X}", status)


@pytest.mark.parametrize("status", [0xA900, 0xA9FF, 0xC000, 0xC211, 0xCFFF, 0x0111, 0x0117, 0x0122, 0x0212])
def test_statuses_that_another_try_would_not_change(status: int) -> None:
    assert judge(failed(status)) == Verdict(Fate.QUARANTINE, f"0x{status:04X}", status, sound=True)


@pytest.mark.parametrize("status", [0xA700, 0xA7FF, 0x0110, 0x0124, 0x0213, 0xA800, 0xFE00, 0x0001, 0xFFFF])
def test_statuses_that_another_try_may_change(status: int) -> None:
    assert judge(failed(status)) == Verdict(Fate.RETRY, f"0x{status:04X}", status, sound=False)


@given(st.integers(0, 0xFFFF))
def test_every_failure_status_keeps_the_instance(status: int) -> None:
    assert judge(failed(status)).fate in (Fate.RETRY, Fate.QUARANTINE)


@pytest.mark.parametrize(
    "attempt",
    [
        Attempt(Outcome.SENT),
        Attempt(Outcome.PRESENT),
        Attempt(Outcome.WARNED, "0xB007 Data Set does not match SOP Class", 0xB007),
        Attempt(Outcome.CONFLICT, "kept beside"),
    ],
)
def test_what_counts_as_delivered(attempt: Attempt) -> None:
    assert judge(attempt, safe=True) == Verdict(Fate.DELIVERED, attempt.reason, attempt.status, sound=True)


def test_what_the_settings_of_a_peer_leave_out_is_filtered() -> None:
    attempt = Attempt(Outcome.FILTERED, "left out")
    assert judge(attempt, safe=True) == Verdict(Fate.FILTERED, "left out")


@pytest.mark.parametrize(
    ("error", "fate", "sound"),
    [
        (NoContextError("does not take it"), Fate.QUARANTINE, True),
        (AssociationAbortedError("gone"), Fate.RETRY, False),
        (PeerTimeoutError("silent"), Fate.RETRY, False),
        (ProtocolError("garbage"), Fate.RETRY, False),
        (StoreError("disk full"), Fate.RETRY, False),
        (UnsafePathError("a link in the way"), Fate.QUARANTINE, None),
        (ConflictError("something is there"), Fate.QUARANTINE, None),
        (InvalidDicomError("no header"), Fate.QUARANTINE, None),
        (OSError("input/output error"), Fate.RETRY, None),
    ],
)
def test_what_one_instance_failed_by(error: Exception, fate: Fate, sound: bool | None) -> None:
    attempt = Attempt(Outcome.FAILED, "why", error=error)
    assert judge(attempt) == Verdict(fate, "why", sound=sound)
    # Also where that was what ended all of it.
    assert judge(attempt, error=error) == Verdict(fate, "why", sound=sound)


def test_a_spool_that_cannot_be_read_says_nothing_of_the_destination() -> None:
    error = StoreError("cannot read x: Input/output error")
    attempt = Attempt(Outcome.FAILED, "cannot be read: Input/output error", error=error)
    assert judge(attempt) == Verdict(Fate.RETRY, "cannot be read: Input/output error")
    assert judge(Attempt(Outcome.FAILED, "cannot be read: no such file")).fate is Fate.RETRY


@pytest.mark.parametrize("error", [ConnectionFailedError("nobody"), AssociationRejectedError("no"), StoreError("ro")])
@pytest.mark.parametrize("attempt", [None, Attempt(Outcome.FAILED, "nobody")])
def test_a_destination_that_was_lost_before_it_was_its_turn(error: Exception, attempt: Attempt | None) -> None:
    assert judge(attempt, error=error) == Verdict(Fate.UNTRIED, str(error), sound=False, lost=True)


def test_what_is_malformed_waits_for_a_human() -> None:
    assert judge(Attempt(Outcome.FAILED, "an odd number of bytes")) == Verdict(
        Fate.QUARANTINE, "an odd number of bytes"
    )


def test_what_nobody_has_foreseen_is_tried_again() -> None:
    assert judge(None, error=KeyError("x")) == Verdict(Fate.RETRY, "KeyError: 'x'", sound=False)
    assert judge(None, safe=False).fate is Fate.RETRY
    assert judge(None, safe=True).fate is Fate.DELIVERED


def test_reasons_fit_on_a_line_and_in_a_journal() -> None:
    verdict = judge(Attempt(Outcome.FAILED, "\x1b[2J" + "x" * 5000, 0xC000))
    assert verdict.reason.isprintable()
    assert len(verdict.reason) <= 300
