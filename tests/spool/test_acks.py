"""Who waits for the deliveries of an entry is told once all have ended, whenever that is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from dcm.errors import SpoolError
from dcm.spool._acks import Verdicts
from dcm.spool._words import DeliveryState, Settlement

QUEUED, DELIVERED, FILTERED = DeliveryState.QUEUED, DeliveryState.DELIVERED, DeliveryState.FILTERED


class Journal:
    """Settlements of entry 7, and what the journal says of it."""

    def __init__(self, *states: DeliveryState) -> None:
        self.verdicts = Verdicts(asyncio.get_running_loop())
        self.states = dict(enumerate(states, 1))
        self.between: list[tuple[int, DeliveryState]] = []  # recorded just after it was read

    def read(self, entry_id: int) -> Mapping[int, DeliveryState]:
        assert entry_id == 7
        seen = dict(self.states)
        for delivery_id, state in self.between:
            self.settle(delivery_id, state)
        return seen

    def settle(self, delivery_id: int, state: DeliveryState, entry_id: int = 7) -> None:
        self.states[delivery_id] = state
        self.verdicts.settled([Settlement(delivery_id, entry_id, "way", state)])


async def verdict(future: asyncio.Future[bool]) -> bool | None:
    """What was decided by now."""
    for _ in range(3):
        await asyncio.sleep(0)
    return future.result() if future.done() else None


async def test_all_have_it() -> None:
    journal = Journal(QUEUED, QUEUED)
    future = journal.verdicts.expect(7, journal.read)
    journal.settle(1, DELIVERED)
    journal.settle(1, DELIVERED, entry_id=8)
    assert await verdict(future) is None
    journal.settle(2, QUEUED)  # to be tried again
    assert await verdict(future) is None
    journal.settle(2, FILTERED)
    assert await verdict(future) is True


async def test_recorded_before_somebody_waits_or_while_the_journal_is_read() -> None:
    journal = Journal(DELIVERED, DELIVERED)
    assert await verdict(journal.verdicts.expect(7, journal.read)) is True
    journal = Journal(QUEUED, QUEUED)
    journal.between = [(1, DELIVERED), (2, DELIVERED)]
    assert await verdict(journal.verdicts.expect(7, journal.read)) is True
    assert await verdict(Journal().verdicts.expect(7, lambda _: {})) is True


@pytest.mark.parametrize(
    "state", [DeliveryState.QUARANTINED, DeliveryState.HELD, DeliveryState.DROPPED, DeliveryState.LOST]
)
async def test_one_that_does_not_take_it(state: DeliveryState) -> None:
    journal = Journal(QUEUED, DELIVERED)
    future = journal.verdicts.expect(7, journal.read)
    journal.settle(1, state)
    assert await verdict(future) is False
    assert await verdict(journal.verdicts.expect(7, journal.read)) is False
    journal.states[1] = DELIVERED  # a human has seen to it
    assert await verdict(journal.verdicts.expect(7, journal.read)) is True


async def test_several_wait_for_one() -> None:
    journal = Journal(QUEUED)
    one, other = (journal.verdicts.expect(7, journal.read) for _ in range(2))
    journal.verdicts.forget(7, one)
    journal.settle(1, DELIVERED)
    assert await verdict(one) is None
    assert await verdict(other) is True
    journal.verdicts.forget(7, other)
    journal.verdicts.forget(7, other)


async def test_a_journal_that_cannot_be_read() -> None:
    """It is kept all the same: that is no error of whoever brings it."""
    journal = Journal(QUEUED)

    def read(entry_id: int) -> Mapping[int, DeliveryState]:
        raise SpoolError("the journal is in use by another process")

    assert await verdict(journal.verdicts.expect(7, read)) is False


async def test_giving_up() -> None:
    journal = Journal(QUEUED)
    future = journal.verdicts.expect(7, journal.read)
    journal.verdicts.give_up()
    assert await verdict(future) is False
    assert await verdict(journal.verdicts.expect(7, journal.read)) is False
    journal.states[1] = DELIVERED
    assert await verdict(journal.verdicts.expect(7, journal.read)) is True
