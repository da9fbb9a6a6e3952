"""What is written to the journal of a spool, and read from it: each function is a part of one transaction."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dcm.errors import SpoolError
from dcm.spool._journal import WAY_BITS
from dcm.spool._shards import Name
from dcm.spool._words import Delivery, DeliveryState, Origin

__all__ = [
    "DELIVERED",
    "DROPPED",
    "FILTERED",
    "FORGET",
    "FORGOTTEN",
    "HAD",
    "LOST",
    "MADE",
    "PLACE_COLUMNS",
    "QUARANTINED",
    "QUEUED",
    "STATES",
    "Tally",
    "Ways",
    "clean",
    "code_of",
    "delivery_of",
    "fate_of",
    "name_of",
    "span",
    "uid_hash",
]

QUEUED, QUARANTINED, DELIVERED, FILTERED, DROPPED, LOST = range(6)
MADE = -1  # not a state: counts deliveries when they are made

STATES = {
    QUEUED: DeliveryState.QUEUED,
    QUARANTINED: DeliveryState.QUARANTINED,
    DELIVERED: DeliveryState.DELIVERED,
    FILTERED: DeliveryState.FILTERED,
    DROPPED: DeliveryState.DROPPED,
    LOST: DeliveryState.LOST,
}
_CODES = {state: code for code, state in STATES.items()}
HAD = frozenset({QUEUED, QUARANTINED, DELIVERED, FILTERED})
"""States of a way that the same instance is not sent on again."""

ENTRY_COLUMNS = "e.id, e.uid, e.sop_class, e.syntax, e.size, e.offset, e.received_ns, e.calling, e.called, e.address"
DELIVERY_COLUMNS = f"d.id, d.way, d.state, d.attempts, d.not_before, d.reason, d.status, e.conflict, {ENTRY_COLUMNS}"
FROM_DELIVERY = f"FROM delivery d CROSS JOIN entry e ON e.id = d.id >> {WAY_BITS}"


def clean(text: str) -> str:
    """A text as the journal can hold it: a path may have been decoded from bytes that are not UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def code_of(state: DeliveryState) -> int:
    """The number of a state in the journal; HELD has none, it is what a queued delivery is on an unknown way."""
    return _CODES[state]


def uid_hash(uid: str) -> int:
    """What UIDs are found by: an index of them would be ten times as large."""
    digest = hashlib.blake2b(uid.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def span(entry: int) -> tuple[int, int]:
    """The ids of the first and the last delivery that an entry could have."""
    return entry << WAY_BITS, ((entry + 1) << WAY_BITS) - 1


class Tally:
    """The counts that one transaction changes; written in its end."""

    def __init__(self) -> None:
        self._moved: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
        self._counters: dict[str, int] = defaultdict(int)

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter."""
        self._counters[name] += n

    def add(self, way: int, state: int, n: int, size: int) -> None:
        """Count deliveries, or, with a negative number, take them out."""
        cell = self._moved[way, state]
        cell[0] += n
        cell[1] += n * size

    def made(self, way: int, state: int, size: int) -> None:
        """Count a delivery that was not there before."""
        self.add(way, MADE, 1, size)
        self.add(way, state, 1, size)

    def unmade(self, way: int, state: int, size: int) -> None:
        """Take out a delivery that was replaced by others."""
        self.add(way, MADE, -1, size)
        self.add(way, state, -1, size)

    def move(self, way: int, before: int, after: int, size: int) -> None:
        """Count a delivery in another state."""
        self.add(way, before, -1, size)
        self.add(way, after, 1, size)

    def write(self, db: sqlite3.Connection) -> None:
        """Record them."""
        db.executemany(
            "INSERT INTO tally (way, state, n, bytes) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (way, state) DO UPDATE SET n = n + excluded.n, bytes = bytes + excluded.bytes",
            [(way, state, n, size) for (way, state), (n, size) in self._moved.items() if n or size],
        )
        db.executemany(
            "INSERT INTO counter (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            [(name, n) for name, n in self._counters.items() if n],
        )


class Ways:
    """The numbers of ways, and which the forwarder that runs knows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: dict[str, int] = {}
        self._keys: dict[int, str] = {}

    def forget(self) -> None:
        """After a transaction that was rolled back, or where another process may have changed something."""
        with self._lock:
            self._ids.clear()
            self._keys.clear()

    def known_id(self, db: sqlite3.Connection, key: str) -> int:
        """The number of a way that a route has just named, inside a transaction that writes.

        Raises
        ------
        SpoolError
            There are more ways than numbers.
        """
        found = self._ids.get(key)
        if found is None:
            key = clean(key)
            found = self.number(db, key)
            db.execute("UPDATE way SET known = 1 WHERE id = ?", (found,))
            with self._lock:
                self._ids[key] = found
                self._keys[found] = key
        return found

    @staticmethod
    def number(db: sqlite3.Connection, key: str) -> int:
        """The number of a way, inside a transaction that writes; one that there never was is held."""
        key = clean(key)
        db.execute("INSERT INTO way (key, known) VALUES (?, 0) ON CONFLICT (key) DO NOTHING", (key,))
        number = int(db.execute("SELECT id FROM way WHERE key = ?", (key,)).fetchone()[0])
        if number >> WAY_BITS:
            raise SpoolError("the spool has more destinations than it can count")
        return number

    def key(self, db: sqlite3.Connection, way: int) -> str:
        """The key of a way by its number."""
        found = self._keys.get(way)
        if found is None:
            found = str(db.execute("SELECT key FROM way WHERE id = ?", (way,)).fetchone()[0])
            with self._lock:
                self._keys[way] = found
        return found

    @staticmethod
    def row(db: sqlite3.Connection, key: str) -> tuple[int, bool] | None:
        """The number of a way and whether it is known; None where there never was such a way."""
        found = db.execute("SELECT id, known FROM way WHERE key = ?", (clean(key),)).fetchone()
        return None if found is None else (int(found[0]), bool(found[1]))

    @staticmethod
    def unknown(db: sqlite3.Connection) -> frozenset[int]:
        """The ways that are held."""
        return frozenset(way for (way,) in db.execute("SELECT id FROM way WHERE NOT known"))

    @staticmethod
    def matching(db: sqlite3.Connection, texts: Iterable[str]) -> list[int]:
        """The ways with one of some keys, or to one of some destinations: a key begins with that, then comes " | "."""
        wanted = tuple(map(clean, texts))
        return [
            way
            for way, key in db.execute("SELECT id, key FROM way").fetchall()
            if any(key == text or (text and key.startswith(f"{text} | ")) for text in wanted)
        ]


# The greatest number that nothing is remembered of any more: a number never comes again.
FORGOTTEN = "SELECT max(value) FROM counter WHERE name = 'forgotten'"
FORGET = (
    "INSERT INTO counter (name, value) VALUES ('forgotten', ?)"
    " ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
)

PLACE_COLUMNS = "id, received_ns, offset, size, segment, position, data_check"


def name_of(row: Sequence[int]) -> Name:
    """Where an instance is, of `PLACE_COLUMNS`."""
    return Name(*row[:7])


def delivery_of(row: Sequence[Any], key: str, held: frozenset[int]) -> Delivery:
    """A delivery, of `DELIVERY_COLUMNS`."""
    number, way, code, attempts, not_before, reason, status, conflict, *entry = row
    entry_id, uid, sop_class, syntax, size, offset, received_ns, calling, called, address = entry
    state = DeliveryState.HELD if code == QUEUED and way in held else STATES[code]
    return Delivery(
        *(number, entry_id, key, sop_class, uid, syntax, size, offset, received_ns),
        Origin(calling, called, address),
        bool(conflict),
        state,
        *(attempts, not_before, reason, status),
    )


def fate_of(states: Iterable[tuple[int, int]]) -> str:
    """What became of the deliveries of an entry, as a text: pairs of way and state."""
    return " ".join(f"{way} {state}" for way, state in sorted(states))


def fate_id(db: sqlite3.Connection, text: str) -> int:
    """The number of a fate."""
    found = db.execute("SELECT id FROM fate WHERE text = ?", (text,)).fetchone()
    if found is None:
        return int(db.execute("INSERT INTO fate (text) VALUES (?)", (text,)).lastrowid or 0)
    return int(found[0])


def parse_fate(text: str) -> Iterator[tuple[int, int]]:
    """The pairs of way and state of a fate."""
    numbers = [int(word) for word in text.split()]
    return zip(numbers[::2], numbers[1::2], strict=True)
