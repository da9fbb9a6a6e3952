"""Whether a journal can be believed: SQLite finds pages that are wrong, this finds values that are."""

from __future__ import annotations

import logging
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from dcm.errors import SpoolError
from dcm.spool._journal import WAY_BITS, DamagedError, Journal, set_aside
from dcm.spool._records import LOST, MADE, QUARANTINED, QUEUED, uid_hash
from dcm.text import safe_text

__all__ = ["ENTRY_COLUMNS", "check_of", "open_journal", "visit_journal"]

ENTRY_COLUMNS = (
    "id, uid_hash, uid, sop_class, syntax, size, offset, received_ns, calling, called, address, conflict,"
    " segment, position, data_check"
)


_log = logging.getLogger(__name__)


def check_of(row: Sequence[object]) -> int:
    """A checksum of an entry: all its columns but `live`, in their order."""
    return zlib.crc32("\0".join(map(str, row)).encode())


def open_journal(path: Path) -> tuple[Journal, str]:
    """The journal of a spool that is ours, and, where it was damaged, the file that it is now: a new one is empty.

    Raises
    ------
    SpoolError
        It cannot be opened, or was made by a later version.
    """
    journal: Journal | None = None
    try:
        journal = Journal(path, create=True)
        verify(journal)
    except DamagedError as exc:
        if journal is not None:
            journal.close()
        aside = set_aside(path, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
        _log.error(
            "the journal of the spool %s is damaged (%s): it is %s now, and a new one is made from the files",
            *(safe_text(path.parent), safe_text(exc), safe_text(aside.name)),
        )
        return Journal(path, create=True), str(aside)
    except BaseException:
        if journal is not None:
            journal.close()
        raise
    return journal, ""


def visit_journal(path: Path) -> Journal:
    """The journal of a spool that somebody else may have.

    Raises
    ------
    SpoolError
        It cannot be opened, or is damaged.
    """
    try:
        return Journal(path, create=False)
    except DamagedError as exc:
        raise SpoolError(
            f"the journal of the spool {safe_text(path.parent)} is damaged: {safe_text(exc)}",
            hint="start the forwarder: it rebuilds the journal from the files",
        ) from exc


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
    return iter(db.execute(f"SELECT {ENTRY_COLUMNS}, checksum FROM entry ORDER BY id"))  # noqa: S608 - our own words


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
