"""The queues of a spool: what is to be delivered next, what became of it, and what goes when all is done."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from dcm.errors import SpoolFullError
from dcm.spool._files import Files
from dcm.spool._journal import WAY_BITS, Journal
from dcm.spool._records import (
    DELIVERED,
    DELIVERY_COLUMNS,
    FILTERED,
    FROM_DELIVERY,
    LOST,
    QUARANTINED,
    QUEUED,
    Tally,
    Ways,
    clean,
    code_of,
    delivery_of,
    fate_id,
    fate_of,
    name_of,
    span,
)
from dcm.spool._shards import Name
from dcm.spool._words import Delivery, DeliveryState, Settled, Settlement

__all__ = ["Queues"]

_SETTLED = frozenset({QUEUED, QUARANTINED, DELIVERED, FILTERED, LOST})
_LONGEST_REASON = 500
_TIDY_BATCH = 32
_LEAST_PRUNED = 64
_PRUNE_PAUSE = 600.0  # seconds between two looks at all that is past
# Nothing is put off for so many seconds: what seems to be was put off by a clock that has been set back since.
_FAR_OFF = 3600.0
_NOBODY: frozenset[int] = frozenset()
_WAITED = "SELECT id FROM delivery WHERE way = ? AND state = 0 AND not_before > 0"


class _Work:
    """What is being worked on, on one way."""

    def __init__(self) -> None:
        self.ids: set[int] = set()
        self.uids: dict[str, int] = {}  # UID → the delivery that is under way with it


class Queues:
    """Hands deliveries out, and records what became of them.

    Parameters
    ----------
    journal : Journal
        Where they are.
    files : Files
        The files of their entries.
    ways : Ways
        The numbers of the ways.
    step : callable
        Told the name of each step before it is done.
    remember : float
        For how many seconds what is through is remembered.
    owner : bool
        Whether the spool is ours: directories that are empty may go.
    """

    def __init__(
        self,
        journal: Journal,
        files: Files,
        ways: Ways,
        step: Callable[[str], None],
        *,
        remember: float,
        owner: bool,
    ) -> None:
        self._journal = journal
        self._files = files
        self._ways = ways
        self._step = step
        self._remember = remember
        self._owner = owner
        self._lock = threading.Lock()
        self._work: dict[str, _Work] = defaultdict(_Work)
        self._way_of: dict[int, tuple[str, str]] = {}  # delivery in work → way, UID
        self._tidying = threading.Lock()
        self._untidy = False
        self._digests: dict[int, bytes | None] = {}  # of what is being tidied up
        self._pruned_to = 0
        self._prune_at = 0.0

    def take(self, key: str, limit: int, now: float) -> list[Delivery]:
        """Some deliveries that are due on a way, in order of arrival; see `Spool.take`."""
        with self._lock, self._journal.read() as db:
            row = self._ways.row(db, key)
            if row is None or not row[1] or limit <= 0:
                return []
            work = self._work[key]
            taken: list[Delivery] = []
            for number in self._due(db, row[0], work, limit, now):
                found = db.execute(f"SELECT {DELIVERY_COLUMNS} {FROM_DELIVERY} WHERE d.id = ?", (number,)).fetchone()
                if found is None:
                    continue
                delivery = delivery_of(found, key, _NOBODY)
                if self._must_wait(db, number, work):
                    continue
                work.ids.add(number)
                work.uids[delivery.sop_instance_uid] = number
                self._way_of[number] = (key, delivery.sop_instance_uid)
                taken.append(delivery)
                if len(taken) == limit:
                    break
            return taken

    def _due(self, db: sqlite3.Connection, way: int, work: _Work, limit: int, now: float) -> Iterator[int]:
        """Deliveries that are due and not under way: those that wait no longer, then the others, in order of arrival.

        Of those that have waited as many are looked at as could be taken, those first whose time came first.
        """
        most = limit + len(work.ids)
        waited = [
            *db.execute(f"{_WAITED} AND not_before <= ? ORDER BY not_before LIMIT ?", (way, now, most)),
            *db.execute(f"{_WAITED} AND not_before > ? ORDER BY not_before LIMIT ?", (way, now + _FAR_OFF, most)),
        ]
        waiting = sorted(number for (number,) in waited if number not in work.ids)
        for (number,) in db.execute(
            "SELECT id FROM delivery WHERE way = ? AND state = 0 AND not_before = 0 ORDER BY id", (way,)
        ):
            while waiting and waiting[0] < number:
                yield waiting.pop(0)
            if number not in work.ids:
                yield number
        yield from waiting

    @staticmethod
    def _must_wait(db: sqlite3.Connection, number: int, work: _Work) -> bool:
        """Whether another one with the same UID goes first: it is under way, or came earlier and waits itself.

        Of two with different bytes the destination would else have the older one in the end.
        """
        entry, way = number >> WAY_BITS, number & ((1 << WAY_BITS) - 1)
        row = db.execute("SELECT uid, uid_hash, conflict FROM entry WHERE id = ?", (entry,)).fetchone()
        if row is None or row[0] in work.uids:
            return row is not None
        earlier = (
            "SELECT 1 FROM entry e CROSS JOIN delivery d ON d.id = (e.id << ?) | ?"
            " WHERE e.uid_hash = ? AND e.uid = ? AND e.id < ? AND d.state = 0 LIMIT 1"
        )
        return bool(row[2]) and db.execute(earlier, (WAY_BITS, way, row[1], row[0], entry)).fetchone() is not None

    def next_due(self, key: str) -> float | None:
        """When there is something to take; see `Spool.next_due`."""
        with self._lock, self._journal.read() as db:
            row = self._ways.row(db, key)
            if row is None or not row[1]:
                return None
            work = self._work[key]
            for (number,) in db.execute(
                "SELECT id FROM delivery WHERE way = ? AND state = 0 AND not_before = 0 ORDER BY id", (row[0],)
            ):
                if number not in work.ids and not self._must_wait(db, number, work):
                    return 0.0
            for number, not_before in db.execute(
                "SELECT id, not_before FROM delivery WHERE way = ? AND state = 0 AND not_before > 0"
                " ORDER BY not_before",
                (row[0],),
            ):
                if number not in work.ids and not self._must_wait(db, number, work):
                    return float(not_before)
            return None

    def give_back(self, deliveries: Iterable[int]) -> None:
        """Say that deliveries are not worked on any more."""
        with self._lock:
            for number in deliveries:
                key, uid = self._way_of.pop(number, ("", ""))
                work = self._work.get(key)
                if work is not None and number in work.ids:
                    work.ids.discard(number)
                    if work.uids.get(uid) == number:
                        del work.uids[uid]

    def settle(self, results: Sequence[Settled]) -> list[Settlement]:
        """Record what became of deliveries, on stable storage; see `Spool.settle`."""
        codes = [code_of(result.state) if result.state is not DeliveryState.HELD else -1 for result in results]
        if not _SETTLED.issuperset(codes):
            raise ValueError("a delivery ends as queued, quarantined, delivered, filtered or lost")
        self._step("settle")
        try:
            settlements = self._settle(results, codes)
        except SpoolFullError:
            self._journal.shrink()
            settlements = self._settle(results, codes)
        self.give_back(result.delivery_id for result in results)
        return settlements

    def _settle(self, results: Sequence[Settled], codes: Sequence[int]) -> list[Settlement]:
        with self._journal.write(durable=True) as db:
            tally = Tally()
            found = [self._settle_one(db, *each, tally) for each in zip(results, codes, strict=True)]
            tally.write(db)
        return [settlement for settlement in found if settlement is not None]

    def _settle_one(self, db: sqlite3.Connection, result: Settled, code: int, tally: Tally) -> Settlement | None:
        row = db.execute(
            f"SELECT d.way, d.state, e.size, e.id {FROM_DELIVERY} WHERE d.id = ?", (result.delivery_id,)
        ).fetchone()
        if row is None:
            return None
        way, before, size, entry = row
        key = self._ways.key(db, way)
        if code == QUEUED and not result.tried and not result.reason:
            return None
        # Somebody has dropped it meanwhile, or so: it is only of interest if the destination has it all the same.
        if before != QUEUED and (code != DELIVERED or before == DELIVERED):
            return None
        db.execute(
            "UPDATE delivery SET state = ?, attempts = attempts + ?, not_before = ?, reason = ?, status = ?"
            " WHERE id = ?",
            (
                *(code, int(result.tried), result.not_before if code == QUEUED else 0),
                *(clean(result.reason[:_LONGEST_REASON]), result.status, result.delivery_id),
            ),
        )
        tally.move(way, before, code, size)
        change_live(db, entry, before, code)
        return Settlement(result.delivery_id, entry, key, result.state, result.reason, result.status)

    # -- what is through ------------------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Remember what is through, remove its file, and forget what was remembered for long enough."""
        self._untidy = True
        # Who comes while another one is at it leaves the work to that.
        while self._untidy and self._tidying.acquire(blocking=False):
            try:
                self._untidy = False
                while self._tidy_some():
                    pass
            finally:
                self._tidying.release()

    def _tidy_some(self) -> bool:
        """Do that for some entries; False where there were no more."""
        with self._journal.read() as db:
            done = db.execute(
                "SELECT id, received_ns, offset, size, syntax FROM entry WHERE live = 0 LIMIT ?", (_TIDY_BATCH,)
            ).fetchall()
        if not done:
            return False
        names = [name_of(row) for row in done]
        if self._remember > 0:
            for name, row in zip(names, done, strict=True):
                if name.number not in self._digests:
                    self._digests[name.number] = self._files.digest(name, row[4])
        try:
            self._forget_entries(names)
            self._remove(names)
        except SpoolFullError:
            # No room to remember it, until the files are gone. They can go: that all of them are through is on stable
            # storage, and nothing more is ever delivered of one that is.
            self._remove(names)
            self._journal.shrink()
            self._forget_entries(names)
        self._digests.clear()
        return len(done) == _TIDY_BATCH

    def _forget_entries(self, names: Sequence[Name]) -> None:
        """Turn entries that are through into what is remembered of them."""
        with self._journal.write(durable=False) as db:
            tally = Tally()
            for name in names:
                move_to_past(db, name.number, self._digests.get(name.number), tally)
            tally.write(db)
            self._prune(db, max(2 * len(names), _LEAST_PRUNED))

    def _remove(self, names: Sequence[Name]) -> None:
        """Remove the files of entries that are through."""
        self._step("unlink")
        for name in names:
            self._files.remove(name)
        if self._owner:
            for shard in {name.shard for name in names}:
                self._files.shards.drop(shard)
            self._files.remove_stuck()

    def _prune(self, db: sqlite3.Connection, n: int) -> None:
        """Look at some of what is past, and forget what was remembered for long enough.

        Those that came first need not be through first: all of it is gone through, a part at a time.
        """
        # Others than the owner do not know for how long.
        if not self._owner or time.monotonic() < self._prune_at:
            return
        cutoff = int(time.time() - self._remember)
        rows = db.execute("SELECT id, done FROM past WHERE id > ? ORDER BY id LIMIT ?", (self._pruned_to, n)).fetchall()
        old = [(number,) for number, done in rows if done <= cutoff and number not in self._files.stuck]
        db.executemany("DELETE FROM past WHERE id = ?", old)
        if len(rows) == n:
            self._pruned_to = rows[-1][0]
        else:
            self._pruned_to = 0
            self._prune_at = time.monotonic() + _PRUNE_PAUSE


def change_live(db: sqlite3.Connection, entry: int, before: int, after: int) -> None:
    """Count how many deliveries of an entry are not at their end, where one changes its state."""
    change = int(after in (QUEUED, QUARANTINED)) - int(before in (QUEUED, QUARANTINED))
    if change:
        db.execute("UPDATE entry SET live = live + ? WHERE id = ?", (change, entry))


def move_to_past(db: sqlite3.Connection, entry: int, digest: bytes | None, tally: Tally) -> bool:
    """Replace an entry by what is remembered of it; False where it is not through, or gone."""
    row = db.execute("SELECT live, uid_hash, uid, size, received_ns FROM entry WHERE id = ?", (entry,)).fetchone()
    if row is None or row[0]:
        return False
    states = db.execute("SELECT way, state FROM delivery WHERE id BETWEEN ? AND ?", span(entry)).fetchall()
    had = any(state in (DELIVERED, FILTERED) for _, state in states)
    db.execute(
        "INSERT OR REPLACE INTO past (id, uid_hash, uid, size, received_ns, done, digest, fate)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (entry, *row[1:], int(time.time()), digest if had else None, fate_id(db, fate_of(states))),
    )
    remove_entry(db, entry, row[3], tally)
    return True


def remove_entry(db: sqlite3.Connection, entry: int, size: int, tally: Tally) -> None:
    """Take an entry and its deliveries out of the journal; the counts of its deliveries stay."""
    db.execute("DELETE FROM delivery WHERE id BETWEEN ? AND ?", span(entry))
    db.execute("DELETE FROM entry WHERE id = ?", (entry,))
    tally.count("entries", -1)
    tally.count("entry_bytes", -size)
