"""What the tests of the spool's storage share."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from dcm.instance import Instance
from dcm.spool import Delivery, DeliveryState, Origin, Settled, Spool
from dcm.spool._segment_reader import DamagedSegmentError, read_header
from tests.store.instances import make

HERE = Origin("SCANNER", "DCM", "192.0.2.7")
DELIVERED = DeliveryState.DELIVERED
QUEUED = DeliveryState.QUEUED
QUARANTINED = DeliveryState.QUARANTINED
HELD = DeliveryState.HELD
FILTERED = DeliveryState.FILTERED
DROPPED = DeliveryState.DROPPED
LOST = DeliveryState.LOST


class Route:
    """A route that sends everything the same ways, which may be changed; counts how often it was asked."""

    def __init__(self, *ways: str) -> None:
        self.ways: Sequence[str] = ways
        self.asked = 0

    def __call__(self, instance: Instance) -> Sequence[str]:
        self.asked += 1
        return self.ways


def admit(spool: Spool, uid: str, *ways: str, pixels: bytes = b"pixels") -> int:
    """Bring an instance in; gives its entry."""
    return spool.admit(make(uid, pixels=pixels), HERE, Route(*ways)).entry_id


def files(path: Path) -> list[Path]:
    """The files that hold one instance each."""
    return sorted(path.glob("data/*/*"))


def in_log(path: Path) -> dict[int, tuple[int, int]]:
    """What is in the log, needed or not: numbers of entries, each with the segment and the place in it."""
    found = {}
    for file in sorted(path.glob("log/*.seg")):
        fd = os.open(file, os.O_RDWR)
        try:
            try:
                segment = read_header(fd)
            except DamagedSegmentError:
                continue
            for batch in segment.batches() if segment is not None else ():
                for record in batch.records:
                    if batch.is_sound(record):
                        found[record.number] = (int(file.stem, 16), record.position)
        finally:
            os.close(fd)
    return found


def held(path: Path) -> list[int]:
    """The numbers of all that a spool holds, wherever: in files of their own, or needed in the log."""
    db = sqlite3.connect(path / "journal.sqlite")
    try:
        rows = db.execute("SELECT id, segment, position FROM entry WHERE segment > 0").fetchall()
    finally:
        db.close()
    there = in_log(path)
    assert all(there[number] == (segment, position) for number, segment, position in rows)
    return sorted([number for number, _, _ in rows] + [int(file.name.split("-")[0]) for file in files(path)])


def take(spool: Spool, way: str, limit: int = 100, now: float = 1e12) -> list[Delivery]:
    return spool.take(way, limit, now)


def settle(spool: Spool, deliveries: Sequence[Delivery], state: DeliveryState = DELIVERED, reason: str = "") -> None:
    spool.settle([Settled(delivery.id, state, reason) for delivery in deliveries])


def uids(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.sop_instance_uid for delivery in deliveries]


def segments(path: Path, ending: str = "seg") -> list[Path]:
    """The files of the log."""
    return sorted(path.glob(f"log/*.{ending}"))


def pixels_of(uid: str) -> bytes:
    """Two hundred KiB that no other instance has: five of them fill a segment of a MiB."""
    return uid.encode() * ((200 << 10) // len(uid))


def fill_segments(spool: Spool, n: int, prefix: str = "1") -> list[str]:
    """Bring in what fills so many segments of a MiB; gives the UIDs."""
    named = [f"{prefix}.{i}" for i in range(5 * n)]
    for uid in named:
        admit(spool, uid, "pacs", pixels=pixels_of(uid))
    return named


def quarantine_some(spool: Spool, n: int) -> list[str]:
    """Deliver all but every tenth, which the destination refuses; gives the UIDs of those."""
    refused = []
    for round_ in range(n):
        fill_segments(spool, 2, str(round_))
        out = take(spool, "pacs")
        settle(spool, out[:-1])
        settle(spool, out[-1:], QUARANTINED, "refused")
        refused.append(out[-1].sop_instance_uid)
    return refused


def recount(path: Path) -> None:
    """Fail where the counts of a journal are not those of its rows, or a file and its entry do not match."""
    db = sqlite3.connect(path / "journal.sqlite")
    try:
        tally = {
            (way, state): (n, size)
            for way, state, n, size in db.execute("SELECT way, state, n, bytes FROM tally WHERE state IN (0, 1)")
            if n or size
        }
        rows = {
            (way, state): (n, size)
            for way, state, n, size in db.execute(
                "SELECT d.way, d.state, count(*), sum(e.size) FROM delivery d JOIN entry e ON e.id = d.id >> 20"
                " WHERE d.state IN (0, 1) GROUP BY d.way, d.state"
            )
        }
        assert tally == rows
        for entry, live in db.execute("SELECT id, live FROM entry"):
            (n,) = db.execute(
                "SELECT count(*) FROM delivery WHERE id >> 20 = ? AND state IN (0, 1)", (entry,)
            ).fetchone()
            assert n == live
            assert live > 0, "an entry that is through stays"
        names = {
            f"{number}-{received}-{offset}-{size}.dcm"
            for number, received, offset, size in db.execute(
                "SELECT id, received_ns, offset, size FROM entry WHERE segment = 0"
            )
        }
        logged = db.execute("SELECT id, segment, position FROM entry WHERE segment > 0").fetchall()
        counters = dict(db.execute("SELECT name, value FROM counter"))
        total = db.execute("SELECT count(*), coalesce(sum(size), 0) FROM entry").fetchone()
        assert (counters.get("entries", 0), counters.get("entry_bytes", 0)) == total
        made = dict(db.execute("SELECT way, n FROM tally WHERE state = -1 AND n > 0"))
        query = "SELECT way, sum(n) FROM tally WHERE state >= 0 GROUP BY way HAVING sum(n) > 0"
        assert made == dict(db.execute(query))
    finally:
        db.close()
    assert {os.path.basename(file) for file in files(path)} == names  # noqa: PTH119
    there = in_log(path)
    for number, segment, position in logged:
        assert there[number] == (segment, position)
