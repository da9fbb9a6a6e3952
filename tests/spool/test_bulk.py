"""What became of many deliveries is recorded at once, and is the same as one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dcm.spool import Settled, Spool
from tests.spool.support import (
    DELIVERED,
    FILTERED,
    QUARANTINED,
    QUEUED,
    admit,
    held,
    recount,
    settle,
    take,
    uids,
)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool") as opened:
        yield opened


def test_more_than_one_statement_takes(spool: Spool) -> None:
    for i in range(103):
        admit(spool, f"1.{i}", "pacs", "archive")
    settle(spool, take(spool, "pacs", 200))
    assert len(held(spool.path)) == 103
    settle(spool, take(spool, "archive", 200))
    assert not held(spool.path)
    assert spool.counts().ways["pacs"].states[DELIVERED] == 103
    recount(spool.path)


def test_each_has_its_own_end(spool: Spool) -> None:
    for i in range(6):
        admit(spool, f"1.{i}", "pacs")
    out = take(spool, "pacs")
    ends = [
        Settled(out[0].id, DELIVERED),
        Settled(out[1].id, QUARANTINED, "refused", 0xA900),
        Settled(out[2].id, QUEUED, "busy", 0xA700, 50.0),
        Settled(out[3].id, QUEUED, "busy", 0xA700, 60.0),
        Settled(out[4].id, FILTERED),
        Settled(out[5].id, DELIVERED, "a warning", 0xB000),
    ]
    spool.settle(ends)
    left = {delivery.sop_instance_uid: delivery for delivery in spool.ls()}
    assert set(left) == {"1.1", "1.2", "1.3"}
    assert [(one.reason, one.status, one.not_before, one.attempts) for one in left.values()] == [
        ("refused", 0xA900, 0.0, 1),
        ("busy", 0xA700, 50.0, 1),
        ("busy", 0xA700, 60.0, 1),
    ]
    recount(spool.path)


@pytest.mark.parametrize("first", [DELIVERED, QUEUED])
def test_one_delivery_twice_in_one_batch(first: object, spool: Spool) -> None:
    """The later word counts, unless it has been delivered."""
    for i in range(2):
        admit(spool, f"1.{i}", "pacs")
    one, other = take(spool, "pacs")
    words = [Settled(one.id, DELIVERED), Settled(one.id, QUEUED, "busy", None, 50.0)]
    spool.settle([Settled(other.id, DELIVERED), *(words if first is DELIVERED else reversed(words))])
    assert not uids(list(spool.ls()))
    assert not held(spool.path)
    recount(spool.path)


def test_those_under_way_and_those_that_wait_are_passed_by(spool: Spool) -> None:
    for i in range(4):
        admit(spool, f"1.{i}", "pacs")
    first = take(spool, "pacs", 2)
    spool.settle([Settled(first[0].id, QUEUED, "busy", None, 50.0)])
    assert uids(take(spool, "pacs", 1, now=10.0)) == ["1.2"]
    admit(spool, "1.1", "pacs", pixels=b"others")
    assert spool.next_due("pacs") == 0.0
    assert uids(take(spool, "pacs", 9, now=60.0)) == ["1.0", "1.3"]
    assert spool.next_due("pacs") is None
    settle(spool, first[1:])
    assert spool.next_due("pacs") == 0.0
    assert uids(take(spool, "pacs")) == ["1.1"]
