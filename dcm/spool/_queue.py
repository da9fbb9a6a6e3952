"""The queues of a spool: what is to be delivered next, what became of it, and what goes when all is done."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from dcm.errors import SpoolFullError
from dcm.spool._bulk import move_to_past, settle_all
from dcm.spool._files import Files
from dcm.spool._journal import WAY_BITS, Journal
from dcm.spool._moving import Mover
from dcm.spool._records import (
    DELIVERED,
    DELIVERY_COLUMNS,
    FILTERED,
    FORGET,
    FROM_DELIVERY,
    LOST,
    PLACE_COLUMNS,
    QUARANTINED,
    QUEUED,
    Tally,
    Ways,
    code_of,
    delivery_of,
    name_of,
    uid_hash,
)
from dcm.spool._shards import Name
from dcm.spool._words import Delivery, DeliveryState, Settled, Settlement

__all__ = ["Queues"]

_SETTLED = frozenset({QUEUED, QUARANTINED, DELIVERED, FILTERED, LOST})
_TIDY_BATCH = 32
_LEAST_PRUNED = 64
_PRUNE_PAUSE = 600.0  # seconds between two looks at all that is past
# Nothing is put off for so many seconds: what seems to be was put off by a clock that has been set back since.
_FAR_OFF = 3600.0
_NOBODY: frozenset[int] = frozenset()
_FRESH = f"SELECT {DELIVERY_COLUMNS} {FROM_DELIVERY} WHERE d.way = ? AND d.state = 0 AND d.not_before = 0"
_WAITED = f"SELECT {DELIVERY_COLUMNS} {FROM_DELIVERY} WHERE d.way = ? AND d.state = 0 AND d.not_before > 0"


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
        self._mover = Mover(journal, files)
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
            for found in self._due(db, row[0], work, limit, now):
                delivery, number = delivery_of(found, key, _NOBODY), found[0]
                if self._must_wait(db, number, delivery.sop_instance_uid, delivery.conflict, work):
                    continue
                work.ids.add(number)
                work.uids[delivery.sop_instance_uid] = number
                self._way_of[number] = (key, delivery.sop_instance_uid)
                taken.append(delivery)
                if len(taken) == limit:
                    break
            return taken

    def _due(self, db: sqlite3.Connection, way: int, work: _Work, limit: int, now: float) -> Iterator[Sequence[Any]]:
        """Deliveries that are due and not under way: those that wait no longer, then the others, in order of arrival.

        Of those that have waited as many are looked at as could be taken, those first whose time came first.
        """
        most = limit + len(work.ids)
        waited = [
            *db.execute(f"{_WAITED} AND d.not_before <= ? ORDER BY d.not_before LIMIT ?", (way, now, most)),
            *db.execute(f"{_WAITED} AND d.not_before > ? ORDER BY d.not_before LIMIT ?", (way, now + _FAR_OFF, most)),
        ]
        waiting = deque(sorted((row for row in waited if row[0] not in work.ids), key=itemgetter(0)))
        for row in db.execute(f"{_FRESH} ORDER BY d.id", (way,)):
            while waiting and waiting[0][0] < row[0]:
                yield waiting.popleft()
            if row[0] not in work.ids:
                yield row
        yield from waiting

    @staticmethod
    def _must_wait(db: sqlite3.Connection, number: int, uid: str, conflict: bool, work: _Work) -> bool:
        """Whether another one with the same UID goes first: it is under way, or came earlier and waits itself.

        Of two with different bytes the destination would else have the older one in the end.
        """
        if uid in work.uids:
            return True
        entry, way = number >> WAY_BITS, number & ((1 << WAY_BITS) - 1)
        earlier = (
            "SELECT 1 FROM entry e CROSS JOIN delivery d ON d.id = (e.id << ?) | ?"
            " WHERE e.uid_hash = ? AND e.uid = ? AND e.id < ? AND d.state = 0 LIMIT 1"
        )
        return conflict and db.execute(earlier, (WAY_BITS, way, uid_hash(uid), uid, entry)).fetchone() is not None

    def next_due(self, key: str) -> float | None:
        """When there is something to take; see `Spool.next_due`."""
        with self._lock, self._journal.read() as db:
            row = self._ways.row(db, key)
            if row is None or not row[1]:
                return None
            work = self._work[key]
            select = f"SELECT d.id, d.not_before, e.uid, e.conflict {FROM_DELIVERY} WHERE d.way = ? AND d.state = 0"
            for order in ("d.not_before = 0 ORDER BY d.id", "d.not_before > 0 ORDER BY d.not_before"):
                for number, not_before, uid, conflict in db.execute(f"{select} AND {order}", (row[0],)):
                    if number not in work.ids and not self._must_wait(db, number, uid, bool(conflict), work):
                        return float(not_before)
            return None

    def place(self, delivery: Delivery) -> Name:
        """Where the instance of a delivery is now."""
        with self._journal.read() as db:
            query = f"SELECT {PLACE_COLUMNS} FROM entry WHERE id = ?"  # noqa: S608 - our own words
            row = db.execute(query, (delivery.entry_id,)).fetchone()
        if row is None:  # somebody has dropped it
            return Name(delivery.entry_id, delivery.received_ns, delivery.offset, delivery.size)
        return name_of(row)

    def still_needed(self, segment: int, first: int, last: int) -> bool:
        """Whether anything is needed in a segment that has had instances of these numbers."""
        with self._journal.read() as db:
            query = "SELECT 1 FROM entry WHERE id BETWEEN ? AND ? AND segment = ? LIMIT 1"
            return db.execute(query, (first, last, segment)).fetchone() is not None

    def recount(self) -> None:
        """Count anew what is needed in the log; nobody may write to it meanwhile."""
        with self._tidying:
            self._files.log.recount(self.needed())

    def needed(self) -> dict[int, tuple[int, int]]:
        """How many instances with how many bytes are needed in each segment of the log."""
        with self._journal.read() as db:
            rows = db.execute(
                "SELECT segment, count(*), sum(offset + size) FROM entry WHERE segment > 0 GROUP BY segment"
            ).fetchall()
        return {segment: (n, n_bytes) for segment, n, n_bytes in rows}

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
            self._files.log.drop_spare(reserve=True)
            self._journal.shrink()
            settlements = self._settle(results, codes)
        self.give_back(result.delivery_id for result in results)
        return settlements

    def _settle(self, results: Sequence[Settled], codes: Sequence[int]) -> list[Settlement]:
        with self._journal.write(durable=True) as db:
            tally = Tally()
            settlements = settle_all(db, results, codes, self._ways, tally)
            tally.write(db)
        return settlements

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
                if self._owner:
                    self._mover.move_some()
            finally:
                self._tidying.release()

    def _tidy_some(self) -> bool:
        """Do that for some entries; False where there were no more."""
        with self._journal.read() as db:
            query = f"SELECT {PLACE_COLUMNS}, syntax FROM entry WHERE live = 0 LIMIT ?"  # noqa: S608 - our own words
            done = db.execute(query, (_TIDY_BATCH,)).fetchall()
        if not done:
            return False
        names = [name_of(row) for row in done]
        if self._remember > 0:
            for name, row in zip(names, done, strict=True):
                if name.number not in self._digests:
                    self._digests[name.number] = self._files.digest(name, row[-1])
        try:
            self._forget_entries(names)
            self._remove(names)
        except SpoolFullError:
            # No room to remember it, until the files are gone. They can go: that all of them are through is on stable
            # storage, and nothing more is ever delivered of one that is.
            self._remove(names)
            self._files.log.drop_spare(reserve=True)
            self._journal.shrink()
            self._forget_entries(names)
        self._digests.clear()
        return len(done) == _TIDY_BATCH

    def _forget_entries(self, names: Sequence[Name]) -> None:
        """Turn entries that are through into what is remembered of them."""
        with self._journal.write(durable=False) as db:
            tally = Tally()
            move_to_past(db, [name.number for name in names], self._digests, tally)
            tally.write(db)
            self._prune(db, max(2 * len(names), _LEAST_PRUNED))

    def _remove(self, names: Sequence[Name]) -> None:
        """Remove the files of entries that are through."""
        self._step("unlink")
        self._files.remove_all(names)
        if self._owner:
            for shard in {name.shard for name in names if not name.segment}:
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
        old = [number for number, done in rows if done <= cutoff]
        held = self._files.held(old)
        forgotten = [(number,) for number in old if number not in held]
        if forgotten:
            db.executemany("DELETE FROM past WHERE id = ?", forgotten)
            db.execute(FORGET, max(forgotten))
        if len(rows) == n:
            self._pruned_to = rows[-1][0]
        else:
            self._pruned_to = 0
            self._prune_at = time.monotonic() + _PRUNE_PAUSE
