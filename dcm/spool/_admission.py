"""How an instance gets into the spool: what it is compared with, and what is written for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dcm.instance import Instance
from dcm.spool._files import Files, digest_of
from dcm.spool._records import (
    DROPPED,
    HAD,
    LOST,
    PLACE_COLUMNS,
    QUARANTINED,
    QUEUED,
    Tally,
    Ways,
    clean,
    name_of,
    parse_fate,
    span,
    uid_hash,
)
from dcm.spool._shards import Name, Placed
from dcm.spool._verify import check_of
from dcm.spool._words import NO_WAY, Admitted, Arrival, Delivery, OnConflict, Origin

__all__ = [
    "Candidate",
    "Known",
    "There",
    "add_delivery",
    "candidate_of",
    "compare",
    "find_known",
    "record",
    "rerouted",
]

# A sender that gives one UID to all that it has must not make each arrival slower than the one before.
_MOST_COMPARED = 64
There: TypeAlias = "tuple[Sequence[Sequence[Any]], Sequence[Sequence[Any]]]"
_INSERT_ENTRY = (
    "INSERT INTO entry (id, uid_hash, uid, sop_class, syntax, size, offset, received_ns, calling, called, address,"
    " conflict, segment, position, data_check, checksum, live)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_DELIVERY = "INSERT INTO delivery (id, way, state, reason) VALUES (?, ?, ?, ?)"


@dataclass(slots=True)
class Known:
    """What the spool has of a UID: entries and past entries with the same bytes, and whether there are others."""

    entries: list[int] = field(default_factory=list)
    past: list[int] = field(default_factory=list)
    others: bool = False
    gone: bool = False  # something could not be compared, as it was not there

    @property
    def same(self) -> bool:
        return bool(self.entries or self.past)


@dataclass(slots=True, eq=False)
class Candidate:
    """An instance that asks for an entry; has a `result`, or an `error`, when it has got one, or none was needed."""

    instance: Instance
    sop_class: str
    uid: str
    syntax: str
    hash: int
    size: int
    origin: Origin
    ways: Sequence[str]
    trouble: str
    on_conflict: OnConflict
    there: There = ((), ())
    known: Known = field(default_factory=Known)
    file: Name | None = None
    placed: Placed | None = None
    adopted: Name | None = None
    used: bool = False
    needs_file: bool = False
    result: Admitted | None = None
    error: BaseException | None = None


def find_known(db: sqlite3.Connection, hashed: int, uid: str) -> There:
    """What there is of a UID: entries, and past entries whose bytes are known, the latest first."""
    entries = db.execute(
        f"SELECT {PLACE_COLUMNS}, syntax FROM entry WHERE uid_hash = ? AND uid = ? ORDER BY id DESC LIMIT ?",  # noqa: S608 - our own words
        (hashed, uid, _MOST_COMPARED),
    ).fetchall()
    past = db.execute(
        "SELECT id, size, digest FROM past WHERE uid_hash = ? AND uid = ? AND digest IS NOT NULL"
        " ORDER BY id DESC LIMIT ?",
        (hashed, uid, _MOST_COMPARED),
    ).fetchall()
    return entries, past


def compare(instance: Instance, files: Files, there: There) -> Known:
    """Compare an instance with what there is of its UID; reads files, outside of any transaction."""
    known = Known()
    entries, past = there
    for *place, syntax in entries:
        name = name_of(place)
        same: bool | None = False
        if name.size == instance.size and syntax == instance.transfer_syntax_uid:
            same = files.same_data(name, instance)
        if same:
            known.entries.append(name.number)
        elif same is False:
            known.others = True
        else:
            known.gone = True
    digest = b""
    for number, size, of_past in past:
        if size == instance.size:
            digest = digest or digest_of(instance)
            if of_past == digest:
                known.past.append(number)
                continue
        known.others = True
    return known


def candidate_of(
    instance: Instance, origin: Origin, ways: Sequence[str], trouble: str, on_conflict: OnConflict
) -> Candidate:
    """An instance as what asks for an entry."""
    uid = clean(instance.sop_instance_uid)
    return Candidate(
        instance,
        *(clean(instance.sop_class_uid), uid, clean(instance.transfer_syntax_uid), uid_hash(uid), instance.size),
        *(
            Origin(*map(clean, (origin.calling_ae, origin.called_ae, origin.address))),
            ways,
            clean(trouble),
            on_conflict,
        ),
    )


def record(db: sqlite3.Connection, new: Candidate, ways: Ways, tally: Tally) -> None:
    """Write what an instance needs, inside a transaction: entry, deliveries, counts; sets its `result`.

    What was compared before is looked up again here: meanwhile an entry may have been delivered, and its file be gone.
    """
    entries, had = _standing(db, new.known)
    kind = Arrival.REPEATED if new.known.same else Arrival.CONFLICT if new.known.others else Arrival.NEW
    numbers = {ways.known_id(db, key): key for key in new.ways}
    # What could be routed once is not put into quarantine because it cannot be now.
    spared = {way for way, key in numbers.items() if key == NO_WAY and had}
    missing = {way: _beginning(new, key, kind) for way, key in numbers.items() if way not in had and way not in spared}
    entry = entries[0] if entries else 0
    if missing and not entry:
        if new.file is None:
            return
        entry = _insert_entry(db, new, kind, len(missing), tally)
        first = span(entry)[0]
        db.executemany(_INSERT_DELIVERY, [(first | way, way, *beginning) for way, beginning in missing.items()])
        for way, (state, _) in missing.items():
            tally.made(way, state, new.size)
    elif missing:
        db.execute("UPDATE entry SET live = live + ? WHERE id = ?", (len(missing), entry))
        for way, (state, reason) in missing.items():
            add_delivery(db, entry, way, state, reason, new.size, tally)
    if entries and not new.trouble and new.ways:
        for number in entries:
            _replace_unrouted(db, number, ways, new.size, tally)
    tally.count("received")
    tally.count("repeated", int(kind is Arrival.REPEATED))
    tally.count("conflicts", int(kind is Arrival.CONFLICT))
    tally.count("nowhere", int(not new.ways))
    new.result = Admitted(entry, kind, len(missing))


def _beginning(new: Candidate, key: str, kind: Arrival) -> tuple[int, str]:
    """The state that a delivery begins in, and why."""
    if key == NO_WAY:
        return QUARANTINED, new.trouble
    if kind is Arrival.CONFLICT and new.on_conflict is OnConflict.QUARANTINE:
        return QUARANTINED, "other bytes under this UID were here before"
    return QUEUED, ""


def rerouted(db: sqlite3.Connection, delivery: Delivery, keys: Sequence[str], trouble: str, ways: Ways) -> bool:
    """Replace a delivery that had no way, inside a transaction; False where it still has none, or is gone."""
    row = db.execute("SELECT state FROM delivery WHERE id = ?", (delivery.id,)).fetchone()
    if row is None or row[0] not in (QUEUED, QUARANTINED):
        return False
    if trouble:
        settle_unrouted = "UPDATE delivery SET state = ?, reason = ?, attempts = attempts + 1 WHERE id = ?"
        db.execute(settle_unrouted, (QUARANTINED, clean(trouble), delivery.id))
    tally = Tally()
    if trouble:
        tally.move(ways.known_id(db, NO_WAY), row[0], QUARANTINED, delivery.size)
    else:
        rows = db.execute("SELECT way, state FROM delivery WHERE id BETWEEN ? AND ?", span(delivery.entry_id))
        there = {way for way, state in rows if state in HAD}
        missing = [way for way in (ways.known_id(db, key) for key in keys) if way not in there]
        db.execute("UPDATE entry SET live = live + ? WHERE id = ?", (len(missing), delivery.entry_id))
        for way in missing:
            add_delivery(db, delivery.entry_id, way, QUEUED, "", delivery.size, tally)
        _replace_unrouted(db, delivery.entry_id, ways, delivery.size, tally)
        tally.count("nowhere", int(not keys))
    tally.write(db)
    return not trouble


def _standing(db: sqlite3.Connection, known: Known) -> tuple[list[int], set[int]]:
    """The entries that are still there of those with the same bytes, and the ways that these bytes have had."""
    had: set[int] = set()
    entries = []
    fates: list[str] = []
    past = list(known.past)
    for number in known.entries:
        row = db.execute("SELECT live FROM entry WHERE id = ?", (number,)).fetchone()
        if row is not None:
            if row[0]:  # of one that is through, the file goes any moment
                entries.append(number)
            rows = db.execute("SELECT way, state FROM delivery WHERE id BETWEEN ? AND ?", span(number))
            had.update(way for way, state in rows if state in HAD)
        else:
            past.append(number)
    for number in past:
        query = "SELECT text FROM past JOIN fate ON fate.id = past.fate WHERE past.id = ?"
        fates += (text for (text,) in db.execute(query, (number,)))
    had.update(way for text in fates for way, state in parse_fate(text) if state in HAD)
    return entries, had


def _insert_entry(db: sqlite3.Connection, new: Candidate, kind: Arrival, live: int, tally: Tally) -> int:
    name = new.file
    assert name is not None
    row = (
        *(name.number, new.hash, new.uid, new.sop_class, new.syntax, name.size, name.offset, name.received_ns),
        *(new.origin.calling_ae, new.origin.called_ae, new.origin.address, int(kind is Arrival.CONFLICT)),
        *(name.segment, name.position, name.check),
    )
    db.execute(_INSERT_ENTRY, (*row, check_of(row), live))
    tally.count("entries")
    tally.count("entry_bytes", name.size)
    new.used = True
    return name.number


def add_delivery(
    db: sqlite3.Connection, entry: int, way: int, state: int, reason: str, size: int, tally: Tally
) -> None:
    """Give an entry a delivery on a way that it has none on, or one that was given up."""
    number = span(entry)[0] | way
    before = db.execute("SELECT state FROM delivery WHERE id = ?", (number,)).fetchone()
    if before is None:
        db.execute(_INSERT_DELIVERY, (number, way, state, reason))
        tally.made(way, state, size)
        return
    # It was dropped, and comes again before the last of its entry is through.
    assert before[0] in (DROPPED, LOST)
    db.execute(
        "UPDATE delivery SET state = ?, reason = ?, status = NULL, attempts = 0, not_before = 0 WHERE id = ?",
        (state, reason, number),
    )
    tally.move(way, before[0], state, size)


def _replace_unrouted(db: sqlite3.Connection, entry: int, ways: Ways, size: int, tally: Tally) -> None:
    """Take out the delivery to nowhere of an entry that can be routed now."""
    row = ways.row(db, NO_WAY)
    if row is None:
        return
    number = span(entry)[0] | row[0]
    before = db.execute("SELECT state FROM delivery WHERE id = ?", (number,)).fetchone()
    if before is not None and before[0] in (QUEUED, QUARANTINED):
        db.execute("DELETE FROM delivery WHERE id = ?", (number,))
        db.execute("UPDATE entry SET live = live - 1 WHERE id = ?", (entry,))
        tally.unmade(row[0], before[0], size)
