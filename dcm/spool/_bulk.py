"""Changes of many rows of the journal at once: each statement costs more than what it does to a row."""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dcm.spool._journal import WAY_BITS
from dcm.spool._records import (
    DELIVERED,
    FILTERED,
    FROM_DELIVERY,
    QUARANTINED,
    QUEUED,
    Tally,
    Ways,
    clean,
    fate_id,
    fate_of,
)
from dcm.spool._words import Settled, Settlement

__all__ = ["change_live", "move_to_past", "remove_entries", "settle_all"]

_LONGEST_REASON = 500
_AT_ONCE = 100  # rows: SQLite may take no more than 999 values
_DELIVERIES_OF = (
    f"FROM entry e CROSS JOIN delivery d ON d.id BETWEEN e.id << {WAY_BITS} AND ((e.id + 1) << {WAY_BITS}) - 1"
)


def settle_all(
    db: sqlite3.Connection, results: Sequence[Settled], codes: Sequence[int], ways: Ways, tally: Tally
) -> list[Settlement]:
    """Record what became of deliveries, inside a transaction; gives what was of interest."""
    rows: dict[int, tuple[int, int, int, int]] = {}
    for part in _parts([result.delivery_id for result in results]):
        query = f"SELECT d.id, d.way, d.state, e.size, e.id {FROM_DELIVERY} WHERE d.id IN ({_marks(part)})"
        rows.update((number, (way, state, size, entry)) for number, way, state, size, entry in db.execute(query, part))
    changes = _Changes(db)
    settlements = []
    for result, code in zip(results, codes, strict=True):
        row = rows.get(result.delivery_id)
        if row is None or (code == QUEUED and not result.tried and not result.reason):
            continue
        way, before, size, entry = row
        # Somebody has dropped it meanwhile, or so: it is only of interest if the destination has it all the same.
        if before != QUEUED and (code != DELIVERED or before == DELIVERED):
            continue
        changes.settled(result, code, entry, live_change(before, code))
        rows[result.delivery_id] = (way, code, size, entry)
        tally.move(way, before, code, size)
        key = ways.key(db, way)
        settlements.append(Settlement(result.delivery_id, entry, key, result.state, result.reason, result.status))
    changes.write()
    return settlements


class _Changes:
    """What is to be written: rows that get the same values get them at once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._rows: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        self._touched: set[int] = set()
        self._live: dict[int, int] = defaultdict(int)

    def settled(self, result: Settled, code: int, entry: int, live: int) -> None:
        """A delivery has another state."""
        if result.delivery_id in self._touched:
            self.write()  # one after the other
        self._touched.add(result.delivery_id)
        values = (code, int(result.tried), result.not_before if code == QUEUED else 0)
        key = (*values, clean(result.reason[:_LONGEST_REASON]), result.status)
        self._rows[key].append(result.delivery_id)
        self._live[entry] += live

    def write(self) -> None:
        """Write all of it."""
        change = "UPDATE delivery SET state = ?, attempts = attempts + ?, not_before = ?, reason = ?, status = ?"
        for values, numbers in self._rows.items():
            for part in _parts(numbers):
                self._db.execute(f"{change} WHERE id IN ({_marks(part)})", (*values, *part))
        entries: dict[int, list[int]] = defaultdict(list)
        for entry, live in self._live.items():
            entries[live].append(entry)
        for live, numbers in entries.items():
            for part in _parts(numbers if live else ()):
                change = f"UPDATE entry SET live = live + ? WHERE id IN ({_marks(part)})"  # noqa: S608 - marks only
                self._db.execute(change, (live, *part))
        self._rows.clear()
        self._touched.clear()
        self._live.clear()


def live_change(before: int, after: int) -> int:
    """By how much the number of deliveries changes that are not at their end, where one changes its state."""
    return int(after in (QUEUED, QUARANTINED)) - int(before in (QUEUED, QUARANTINED))


def change_live(db: sqlite3.Connection, entry: int, before: int, after: int) -> None:
    """Count how many deliveries of an entry are not at their end, where one changes its state."""
    change = live_change(before, after)
    if change:
        db.execute("UPDATE entry SET live = live + ? WHERE id = ?", (change, entry))


def move_to_past(
    db: sqlite3.Connection, entries: Iterable[int], digests: Mapping[int, bytes | None], tally: Tally
) -> None:
    """Replace entries by what is remembered of them, but for those that are not through, or gone."""
    for part in _parts(entries):
        _move_to_past(db, part, digests, tally)


def _move_to_past(
    db: sqlite3.Connection, entries: Sequence[int], digests: Mapping[int, bytes | None], tally: Tally
) -> None:
    columns = "id, uid_hash, uid, size, received_ns"
    query = f"SELECT {columns} FROM entry WHERE live = 0 AND id IN ({_marks(entries)})"  # noqa: S608 - marks only
    through = db.execute(query, entries).fetchall()
    numbers = [row[0] for row in through]
    states: dict[int, list[tuple[int, int]]] = defaultdict(list)
    query = f"SELECT e.id, d.way, d.state {_DELIVERIES_OF} WHERE e.id IN ({_marks(numbers)})"
    for entry, way, state in db.execute(query, numbers):
        states[entry].append((way, state))
    fates: dict[str, int] = {}
    now = int(time.time())
    rows: list[Any] = []
    for row in through:
        entry = row[0]
        text = fate_of(states[entry])
        fate = fates.get(text) or fates.setdefault(text, fate_id(db, text))
        had = any(state in (DELIVERED, FILTERED) for _, state in states[entry])
        rows += (*row, now, digests.get(entry) if had else None, fate)
    if through:
        marks = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * len(through))
        insert = (
            f"INSERT OR REPLACE INTO past ({columns}, done, digest, fate) VALUES {marks}"  # noqa: S608 - marks only
        )
        db.execute(insert, rows)
        remove_entries(db, {row[0]: row[3] for row in through}, tally)


def remove_entries(db: sqlite3.Connection, sizes: Mapping[int, int], tally: Tally) -> None:
    """Take entries, given with their sizes, and their deliveries out of the journal; the counts of these stay."""
    for part in _parts(sizes):
        chosen = f"e.id IN ({_marks(part)})"
        deliveries = f"SELECT d.id {_DELIVERIES_OF} WHERE {chosen}"
        db.execute(f"DELETE FROM delivery WHERE id IN ({deliveries})", part)  # noqa: S608 - marks only
        db.execute(f"DELETE FROM entry AS e WHERE {chosen}", part)  # noqa: S608 - marks only
    tally.count("entries", -len(sizes))
    tally.count("entry_bytes", -sum(sizes.values()))


def _parts(numbers: Iterable[int]) -> Iterator[list[int]]:
    rest = list(numbers)
    for start in range(0, len(rest), _AT_ONCE):
        yield rest[start : start + _AT_ONCE]


def _marks(values: Sequence[int]) -> str:
    return ", ".join("?" * len(values))
