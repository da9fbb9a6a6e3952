"""Whether a journal can be believed: SQLite finds pages that are wrong, this finds values that are."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence

from dcm.spool._journal import WAY_BITS, DamagedError, Journal
from dcm.spool._records import LOST, MADE, QUARANTINED, QUEUED, uid_hash

__all__ = ["check_of", "verify"]

_COLUMNS = "id, uid_hash, uid, sop_class, syntax, size, offset, received_ns, calling, called, address, conflict"


def check_of(row: Sequence[object]) -> int:
    """A checksum of an entry: all its columns but `live`, in their order."""
    return zlib.crc32("\0".join(map(str, row)).encode())


def verify(journal: Journal) -> None:
    """Look at all of a journal, before anything is done with it.

    Raises
    ------
    DamagedError
        Something in it cannot be what was written: it must not decide what is delivered.
    """
    with journal.examine() as db:
        _verify_pages(db)
        _verify_entries(db)
        _verify_deliveries(db)
        _verify_counts(db)


def _verify_pages(db: sqlite3.Connection) -> None:
    found = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise DamagedError(str(found))


def _verify_entries(db: sqlite3.Connection) -> None:
    for *row, check in _entries(db):
        if check != check_of(row) or row[1] != uid_hash(str(row[2])):
            raise DamagedError(f"entry {row[0]} is not what was written")


def _entries(db: sqlite3.Connection) -> Iterator[tuple[object, ...]]:
    return iter(db.execute(f"SELECT {_COLUMNS}, checksum FROM entry ORDER BY id"))  # noqa: S608 - our own words


def _verify_deliveries(db: sqlite3.Connection) -> None:
    """Each one belongs to an entry and a way, and is in a state; each entry knows how many are not at an end."""
    odd = db.execute(
        "SELECT d.id FROM delivery d LEFT JOIN entry e ON e.id = d.id >> ? LEFT JOIN way ON way.id = d.way"
        " WHERE e.id IS NULL OR way.id IS NULL OR d.way <> d.id & ? OR d.state NOT BETWEEN ? AND ? LIMIT 1",
        (WAY_BITS, (1 << WAY_BITS) - 1, QUEUED, LOST),
    ).fetchone()
    if odd is not None:
        raise DamagedError(f"delivery {odd[0]} is not what was written")
    odd = db.execute(
        "SELECT e.id FROM entry e WHERE e.live <> (SELECT count(*) FROM delivery d"
        " WHERE d.id BETWEEN e.id << ? AND ((e.id + 1) << ?) - 1 AND d.state IN (?, ?)) LIMIT 1",
        (WAY_BITS, WAY_BITS, QUEUED, QUARANTINED),
    ).fetchone()
    if odd is not None:
        raise DamagedError(f"entry {odd[0]} does not have the deliveries that it had")


def _verify_counts(db: sqlite3.Connection) -> None:
    """What is counted when it changes, and what is there."""
    counted = db.execute(
        "SELECT way, state, n FROM tally WHERE state IN (?, ?) AND n <> 0", (QUEUED, QUARANTINED)
    ).fetchall()
    there = db.execute(
        "SELECT way, state, count(*) FROM delivery WHERE state IN (?, ?) GROUP BY way, state", (QUEUED, QUARANTINED)
    ).fetchall()
    sums = db.execute("SELECT way FROM tally GROUP BY way HAVING sum(CASE state WHEN ? THEN -n ELSE n END)", (MADE,))
    if sorted(counted) != sorted(there) or sums.fetchone() is not None:
        raise DamagedError("the deliveries are not those that were counted")
