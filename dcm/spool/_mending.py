"""Looking into a spool, and mending it: lists, counts, trying again, giving up."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dcm.spool._admission import add_delivery
from dcm.spool._bulk import change_live
from dcm.spool._journal import WAY_BITS, Journal
from dcm.spool._records import (
    DELIVERY_COLUMNS,
    DROPPED,
    FROM_DELIVERY,
    HAD,
    MADE,
    QUARANTINED,
    QUEUED,
    STATES,
    Tally,
    Ways,
    code_of,
    delivery_of,
    parse_fate,
    span,
    uid_hash,
)
from dcm.spool._words import Counts, Delivery, DeliveryState, Origin, WayCounts

__all__ = ["Choice", "counts", "deliveries", "drop", "move", "of_entry", "retry"]

_COUNTERS = ("received", "repeated", "conflicts", "nowhere", "entries", "entry_bytes")
_PAGE = 500  # deliveries in one transaction: nobody waits long for us
_ALIVE = (DeliveryState.QUEUED, DeliveryState.HELD, DeliveryState.QUARANTINED)


@dataclass(frozen=True)
class Choice:
    """Which deliveries; what is empty chooses all.

    Attributes
    ----------
    uids : sequence of str
        SOP Instance UIDs.
    ways : sequence of str
        Keys of ways, or destinations.
    states : sequence of DeliveryState
        By default those that are not at an end.
    """

    uids: Sequence[str] = ()
    ways: Sequence[str] | None = None
    states: Sequence[DeliveryState] = _ALIVE

    def condition(self, db: sqlite3.Connection, ways: Ways) -> tuple[str, list[object]] | None:
        """A condition of SQL and what goes into it; None where nothing can match."""
        held = ways.unknown(db)
        terms: list[str] = []
        values: list[object] = []
        if self.ways is not None:
            chosen = ways.matching(db, self.ways)
            if not chosen:
                return None
            terms.append(f"d.way IN ({_numbers(chosen)})")
        if self.uids:
            terms.append(_BY_UID)
            values += _uid_values(self.uids)
        states = [f"d.state = {code_of(state)}" for state in self.states if state not in _QUEUED_OR_HELD]
        if DeliveryState.QUEUED in self.states and DeliveryState.HELD in self.states:
            states.append(f"d.state = {QUEUED}")
        elif DeliveryState.QUEUED in self.states:
            states.append(f"(d.state = {QUEUED} AND d.way NOT IN ({_numbers(held)}))")
        elif DeliveryState.HELD in self.states:
            states.append(f"(d.state = {QUEUED} AND d.way IN ({_numbers(held)}))")
        if not states:
            return None
        terms.append(f"({' OR '.join(states)})")
        return " AND ".join(terms), values


_LISTED = "(SELECT value FROM json_each(?))"
_BY_UID = f"e.uid_hash IN {_LISTED} AND e.uid IN {_LISTED}"
_QUEUED_OR_HELD = frozenset({DeliveryState.QUEUED, DeliveryState.HELD})


def _uid_values(uids: Sequence[str]) -> tuple[str, ...]:
    """What goes into `_BY_UID`."""
    return (json.dumps([uid_hash(uid) for uid in uids]), json.dumps(list(uids))) if uids else ()


def _numbers(numbers: Sequence[int] | frozenset[int]) -> str:
    return ", ".join(str(int(number)) for number in sorted(numbers))


def deliveries(journal: Journal, ways: Ways, choice: Choice) -> Iterator[Delivery]:
    """Yield the deliveries of a choice in order of arrival, then those of entries that are past.

    Each page is read by itself: whoever looks for long holds up nobody, and sees what changes meanwhile.
    """
    after = -1
    while True:
        page = _page(journal, ways, choice, after)
        yield from page
        if len(page) < _PAGE:
            break
        after = page[-1].id
    if any(state.final for state in choice.states):
        yield from _past(journal, ways, choice)


def _page(journal: Journal, ways: Ways, choice: Choice, after: int) -> list[Delivery]:
    with journal.read() as db:
        condition = choice.condition(db, ways)
        if condition is None:
            return []
        held = ways.unknown(db)
        rows = db.execute(
            f"SELECT {DELIVERY_COLUMNS} {_source(choice)} WHERE {condition[0]} AND d.id > ?"
            f" ORDER BY d.id LIMIT {_PAGE}",
            (*condition[1], after),
        )
        return [delivery_of(row, ways.key(db, row[1]), held) for row in rows.fetchall()]


def _source(choice: Choice) -> str:
    """Where rows come from: UIDs lead to few entries, anything else is found in the order of deliveries."""
    if choice.uids:
        return (
            f"FROM entry e CROSS JOIN delivery d"
            f" ON d.id BETWEEN e.id << {WAY_BITS} AND ((e.id + 1) << {WAY_BITS}) - 1"
        )
    return FROM_DELIVERY


def _past(journal: Journal, ways: Ways, choice: Choice) -> Iterator[Delivery]:
    after = 0
    while True:
        with journal.read() as db:
            chosen = None if choice.ways is None else set(ways.matching(db, choice.ways))
            uids = f"{_BY_UID} AND " if choice.uids else ""
            rows = db.execute(
                "SELECT e.id, uid, size, received_ns, text FROM past e JOIN fate ON fate.id = e.fate"  # noqa: S608
                f" WHERE {uids}e.id > ? ORDER BY e.id LIMIT ?",
                (*_uid_values(choice.uids), after, _PAGE),
            ).fetchall()
            found = [
                Delivery(
                    *((number << WAY_BITS) | way, number, ways.key(db, way), "", uid, "", size, 0, received_ns),
                    Origin(),
                    state=STATES[code],
                )
                for number, uid, size, received_ns, text in rows
                for way, code in parse_fate(text)
                if STATES[code] in choice.states and (chosen is None or way in chosen)
            ]
        yield from found
        if len(rows) < _PAGE:
            return
        after = rows[-1][0]


def of_entry(journal: Journal, ways: Ways, entry: int) -> tuple[Delivery, ...]:
    """The deliveries of an entry."""
    with journal.read() as db:
        held = ways.unknown(db)
        rows = db.execute(f"SELECT {DELIVERY_COLUMNS} {FROM_DELIVERY} WHERE d.id BETWEEN ? AND ?", span(entry))
        return tuple(delivery_of(row, ways.key(db, row[1]), held) for row in rows.fetchall())


def retry(journal: Journal, ways: Ways, choice: Choice) -> int:
    """Queue the deliveries of a choice anew, to be tried at once; gives how many."""
    return _change(journal, ways, choice, QUEUED)


def drop(journal: Journal, ways: Ways, choice: Choice) -> int:
    """Give up the deliveries of a choice; gives how many."""
    return _change(journal, ways, choice, DROPPED)


def move(journal: Journal, ways: Ways, choice: Choice, key: str) -> int:
    """Have the deliveries of a choice go another way instead; gives how many.

    What has gone that way already, or is about to, goes there no second time.
    """
    n = 0
    for db, rows in _pages(journal, ways, choice):
        tally = Tally()
        to = ways.number(db, key)
        for number, way, before, size, entry in rows:
            if way == to:
                continue
            there = db.execute("SELECT state FROM delivery WHERE id = ?", (span(entry)[0] | to,)).fetchone()
            if there is None or there[0] not in HAD:
                add_delivery(db, entry, to, QUEUED, "", size, tally)
                change_live(db, entry, DROPPED, QUEUED)
            db.execute("DELETE FROM delivery WHERE id = ?", (number,))
            change_live(db, entry, before, DROPPED)
            tally.unmade(way, before, size)
            n += 1
        tally.write(db)
    return n


def _pages(
    journal: Journal, ways: Ways, choice: Choice
) -> Iterator[tuple[sqlite3.Connection, list[tuple[int, int, int, int, int]]]]:
    """Give the deliveries of a choice that are not at an end, some in each transaction: id, way, state, size, entry."""
    after = -1
    choice = Choice(choice.uids, choice.ways, [each for each in choice.states if not each.final])
    while True:
        with journal.write(durable=True) as db:
            condition = choice.condition(db, ways)
            if condition is None:
                return
            rows = db.execute(
                f"SELECT d.id, d.way, d.state, e.size, e.id {_source(choice)} WHERE {condition[0]} AND d.id > ?"
                f" ORDER BY d.id LIMIT {_PAGE}",
                (*condition[1], after),
            ).fetchall()
            yield db, rows
        if len(rows) < _PAGE:
            return
        after = rows[-1][0]


def _change(journal: Journal, ways: Ways, choice: Choice, state: int) -> int:
    """Put the deliveries of a choice that are not at an end into a state."""
    n = 0
    for db, rows in _pages(journal, ways, choice):
        tally = Tally()
        for number, way, before, size, entry in rows:
            db.execute(
                "UPDATE delivery SET state = ?, attempts = 0, not_before = 0, reason = '', status = NULL WHERE id = ?",
                (state, number),
            )
            tally.move(way, before, state, size)
            change_live(db, entry, before, state)
        tally.write(db)
        n += len(rows)
    return n


def counts(journal: Journal) -> Counts:
    """What has passed through the spool, and what is in it."""
    with journal.read() as db:
        db.execute("BEGIN")
        try:
            counters = dict(db.execute("SELECT name, value FROM counter"))
            rows = db.execute(
                "SELECT key, known, state, n, bytes FROM tally JOIN way ON way.id = tally.way ORDER BY key"
            ).fetchall()
        finally:
            db.execute("ROLLBACK")
    states: dict[str, dict[DeliveryState, int]] = {}
    received: dict[str, int] = {}
    waiting: dict[str, int] = {}
    for key, known, code, n, size in rows:
        of_way = states.setdefault(key, dict.fromkeys(DeliveryState, 0))
        if code == MADE:
            received[key] = n
            continue
        of_way[DeliveryState.HELD if code == QUEUED and not known else STATES[code]] = n
        if code in (QUEUED, QUARANTINED):
            waiting[key] = waiting.get(key, 0) + size
    of_ways = {key: WayCounts(received.get(key, 0), each, waiting.get(key, 0)) for key, each in states.items()}
    return Counts(**{name: counters.get(name, 0) for name in _COUNTERS}, ways=of_ways)
