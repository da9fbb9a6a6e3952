"""The report of a courier: what is said of an instance while it is on its way, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from dcm.errors import StoreError
from dcm.report import Outcome
from dcm.spool._ledger import Ledger
from dcm.spool._retry import Attempt


async def test_what_is_said_of_an_instance() -> None:
    ledger = Ledger()
    error = StoreError("full")
    await ledger.begin("1.2")
    ledger.record("1.2", Outcome.FAILED, dest="there", reason="full", error=error)
    assert ledger.end("1.2") == Attempt(Outcome.FAILED, "full", None, error)
    await ledger.begin("1.2")
    assert ledger.end("1.2") is None


async def test_the_state_that_says_more_stands() -> None:
    """A thread has stored it, and then it is said that all was given up."""
    ledger = Ledger()
    await ledger.begin("1.2")
    ledger.record("1.2", Outcome.SENT)
    ledger.record("1.2", Outcome.FAILED, reason="the transfer was stopped")
    assert ledger.end("1.2") == Attempt(Outcome.SENT)


async def test_what_nobody_waits_for_is_forgotten() -> None:
    ledger = Ledger()
    for number in range(10):
        ledger.expect([f"1.{number}"])
        ledger.record(f"1.{number}", Outcome.SENT, n_bytes=7)
        ledger.anomaly("duplicate", f"1.{number}", "twice")
        ledger.error("peer", f"trouble {number}")
        ledger.doubt(f"doubt {number}")
        ledger.arriving(5)
        ledger.count(Outcome.PRESENT, 3)
    assert ledger.n_instances == ledger.n_bytes == 0
    assert not ledger.problems
    assert not ledger.doubts
    assert not ledger.anomalies


async def test_of_several_with_one_uid_each_has_its_turn() -> None:
    ledger = Ledger()
    order: list[int] = []

    async def send(number: int) -> None:
        await ledger.begin("1.2")
        order.append(number)
        ledger.record("1.2", Outcome.SENT, reason=str(number))
        await asyncio.sleep(0)
        attempt = ledger.end("1.2")
        assert attempt is not None
        assert attempt.reason == str(number)

    await asyncio.gather(*map(send, range(5)))
    assert order == [0, 1, 2, 3, 4]
    await send(5)


@pytest.mark.parametrize("has_turn", [False, True])
async def test_one_that_is_cancelled_while_it_waits_holds_up_nobody(has_turn: bool) -> None:
    ledger = Ledger()
    await ledger.begin("1.2")
    waiting = [asyncio.ensure_future(ledger.begin("1.2")) for _ in range(3)]
    await asyncio.sleep(0)
    if has_turn:
        ledger.end("1.2")  # it is told, but has not heard it yet
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    assert waiting[0].cancelled()
    if not has_turn:
        ledger.end("1.2")
    await waiting[1]
    ledger.end("1.2")
    await waiting[2]
    ledger.end("1.2")
    await ledger.begin("1.2")
