"""A circuit breaker, with a clock of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.spool._breaker import Breaker, BreakerState
from dcm.spool._retry import RetryPolicy


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(RetryPolicy(1, 2, 60, jitter=0), in_a_row=3, clock=clock)


def begin(breaker: Breaker) -> int:
    ticket = breaker.begin()
    assert ticket is not None
    return ticket


def test_it_lets_everything_through_while_all_is_well(breaker: Breaker) -> None:
    for _ in range(100):
        begin(breaker)
        breaker.succeeded()
    assert breaker.closed
    assert breaker.wait() == 0
    assert breaker.reason == ""


def test_a_lost_destination_is_left_alone_at_once(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(begin(breaker), "nobody there", lost=True)
    assert (breaker.state, breaker.reason) == (BreakerState.OPEN, "nobody there")
    assert breaker.begin() is None
    assert breaker.wait() == 1
    clock.now += 0.75
    assert breaker.wait() == 0.25
    assert breaker.begin() is None


def test_so_many_in_a_row(breaker: Breaker) -> None:
    for _ in range(10):
        breaker.failed(begin(breaker), "full")
        breaker.failed(begin(breaker), "full")
        breaker.succeeded()
    assert breaker.closed
    for _ in range(3):
        assert breaker.closed
        breaker.failed(begin(breaker), "full")
    assert breaker.state is BreakerState.OPEN


def test_one_is_sent_to_see_and_the_waits_get_longer(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(begin(breaker), "nobody there", lost=True)
    for seconds in (1, 2, 4, 8, 16, 32, 60, 60):
        clock.now += seconds
        ticket = begin(breaker)
        assert breaker.wait() is None
        assert breaker.begin() is None  # one at a time
        breaker.failed(ticket, "still nobody")
        assert breaker.state is BreakerState.OPEN
    clock.now += 60
    begin(breaker)
    breaker.succeeded()
    assert breaker.closed
    assert breaker.reason == ""
    # It begins anew with short waits.
    breaker.failed(begin(breaker), "nobody there", lost=True)
    assert breaker.wait() == 1


def test_those_that_were_on_their_way_count_once(breaker: Breaker, clock: Clock) -> None:
    tickets = [begin(breaker) for _ in range(5)]
    for ticket in tickets:
        breaker.failed(ticket, "nobody there", lost=True)
    assert breaker.wait() == 1
    clock.now += 1
    probe = begin(breaker)
    breaker.failed(tickets[0], "from before")
    breaker.undecided(tickets[1])
    assert breaker.wait() is None
    breaker.failed(probe, "still nobody")
    assert breaker.wait() == 2


def test_one_from_before_that_gets_there_shows_that_it_works(breaker: Breaker) -> None:
    first, _second = begin(breaker), begin(breaker)
    breaker.failed(first, "gone", lost=True)
    breaker.succeeded()
    assert breaker.closed
    breaker.failed(first, "gone", lost=True)
    assert breaker.closed


def test_a_probe_that_says_nothing_is_followed_by_another(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(begin(breaker), "nobody there", lost=True)
    clock.now += 1
    breaker.undecided(begin(breaker))
    assert not breaker.closed
    assert breaker.wait() == 0
    breaker.failed(begin(breaker), "still nobody")
    assert breaker.wait() == 2


def test_somebody_says_that_it_works_again(breaker: Breaker) -> None:
    breaker.failed(begin(breaker), "nobody there", lost=True)
    breaker.retry_now()
    assert breaker.wait() == 0
    begin(breaker)
    breaker.retry_now()
    assert breaker.wait() is None


def test_listeners_hear_of_every_change(breaker: Breaker, clock: Clock) -> None:
    heard: list[BreakerState] = []
    breaker.listeners.append(lambda: heard.append(breaker.state))
    breaker.failed(begin(breaker), "nobody there", lost=True)
    clock.now += 1
    begin(breaker)
    breaker.succeeded()
    breaker.succeeded()
    assert heard == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]


@given(st.lists(st.sampled_from(["begin", "fail", "lose", "succeed", "shrug", "wait", "retry"]), max_size=60))
def test_whatever_happens_one_at_most_is_on_its_way_while_it_is_not_closed(steps: list[str]) -> None:
    clock = Clock()
    breaker = Breaker(RetryPolicy(1, 2, 60), in_a_row=2, clock=clock)
    tickets: list[int] = []
    n_probes = 0
    for step in steps:
        if step == "begin":
            closed = breaker.closed
            ticket = breaker.begin()
            if ticket is not None:
                tickets.append(ticket)
                n_probes += not closed
        elif step == "wait":
            clock.now += 100
        elif step == "retry":
            breaker.retry_now()
        elif tickets:
            ticket = tickets.pop()
            if step == "succeed":
                breaker.succeeded()
            elif step == "shrug":
                breaker.undecided(ticket)
            else:
                breaker.failed(ticket, "x", lost=step == "lose")
        if breaker.state is not BreakerState.HALF_OPEN:
            n_probes = 0
        assert n_probes <= 1
        assert (breaker.wait() is None) == (breaker.state is BreakerState.HALF_OPEN)
        assert bool(breaker.reason) == (not breaker.closed)
    # It is never stuck: whatever is still on its way comes to an end, and then another one may go.
    for ticket in tickets:
        breaker.undecided(ticket)
    clock.now += 1000
    assert breaker.begin() is not None
