"""What little is needed in a segment of the log moves into files of its own, so that the segment can be used again.

Else an instance that waits in quarantine would keep a segment of 32 MiB.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

from dcm.errors import DcmError, SpoolFullError
from dcm.spool._files import Files
from dcm.spool._journal import Journal
from dcm.spool._records import PLACE_COLUMNS, name_of
from dcm.spool._shards import Name, Placed
from dcm.spool._verify import ENTRY_COLUMNS, check_of
from dcm.text import safe_text

__all__ = ["Mover"]

_log = logging.getLogger(__name__)

_PAUSE = 5.0  # seconds between two looks
_PAGE = 50


class Mover:
    """Moves instances out of segments that hold few of them.

    Parameters
    ----------
    journal : Journal
        Where they are recorded.
    files : Files
        Where they are.
    """

    def __init__(self, journal: Journal, files: Files) -> None:
        self._journal = journal
        self._files = files
        self._look_at = 0.0

    def move_some(self, *, now: bool = False) -> int:
        """Look whether there are any, and move some; gives how many were. One thread at a time may call it.

        Parameters
        ----------
        now : bool, optional
            Look in any case, and not only now and then.
        """
        if not now and time.monotonic() < self._look_at:
            return 0
        n = 0
        rows: list[Sequence[Any]] = []
        try:
            for segment in self._files.log.sparse():
                rows += self._needed_in(segment, _PAGE - len(rows))
                if len(rows) >= _PAGE:
                    break
            n = self._move(rows) if rows else 0
            if n == _PAGE:
                return n  # who waits for this need not wait for all: the others come with the next call
        except (DcmError, OSError) as exc:
            # The room is not needed yet, or whoever needs it is told.
            _log.warning("cannot tidy up the spool: %s", safe_text(exc))
        self._look_at = time.monotonic() + _PAUSE
        return n

    def _needed_in(self, segment: int, limit: int) -> Sequence[Sequence[Any]]:
        """Some entries of a segment."""
        with self._journal.read() as db:
            return db.execute(
                f"SELECT {PLACE_COLUMNS}, sop_class, uid, syntax, calling FROM entry"  # noqa: S608 - our own words
                " WHERE id BETWEEN ? AND ? AND segment = ? AND live > 0 ORDER BY id LIMIT ?",
                (*self._files.log.uses.range_of(segment), segment, limit),
            ).fetchall()

    def _move(self, rows: Sequence[Sequence[Any]]) -> int:
        """Move what there is room for; gives how many that were."""
        placed: dict[int, Placed] = {}
        full: SpoolFullError | None = None
        for row in rows:
            try:
                copy = self._copy(name_of(row), row[7:])
            except SpoolFullError as exc:
                full = exc
                break
            if copy is not None:
                placed[row[0]] = copy
        moved = self._record(placed)
        self._files.log.forget([name_of(row) for row in rows if row[0] in moved])
        if full is not None and not moved:
            raise full
        return len(moved)

    def _record(self, placed: Mapping[int, Placed]) -> set[int]:
        """Put copies on stable storage, then where they are into the journal; gives the numbers of those that are."""
        moved: set[int] = set()
        try:
            if placed:
                self._files.sync(list(placed.values()))
                with self._journal.write(durable=True) as db:
                    moved = {number for number, each in placed.items() if _moved(db, each.name)}
        finally:
            for each in placed.values():
                self._files.shards.release(each)
                if each.name.number not in moved:  # it was through meanwhile, or the journal cannot be written
                    self._drop(each.name)
        return moved

    def _copy(self, name: Name, ids: Sequence[str]) -> Placed | None:
        """A file of its own for an instance; None where it cannot be read."""
        try:
            with self._files.open(name, ids[0], ids[1], ids[2], ids[3]) as instance:
                self._files.check_room(instance.size)
                self._files.remove(Name(name.number, name.received_ns, name.offset, name.size))  # of an earlier try
                return self._files.write(instance, name.received_ns, name.number)
        except SpoolFullError:
            raise
        except (DcmError, OSError) as exc:
            _log.warning("%s stays where it is in the spool: %s", safe_text(ids[1], 80), safe_text(exc))
            return None

    def _drop(self, name: Name) -> None:
        """Remove a copy, unless the journal says that the instance is there."""
        with self._journal.read() as db:
            row = db.execute("SELECT segment FROM entry WHERE id = ?", (name.number,)).fetchone()
        if row is None or row[0]:
            self._files.remove(name)


def _moved(db: sqlite3.Connection, name: Name) -> bool:
    """Record that an instance is in a file of its own now; False where it has no entry any more."""
    change = (
        "UPDATE entry SET offset = ?, segment = 0, position = 0, data_check = 0"
        " WHERE id = ? AND live > 0 AND segment > 0"
    )
    if not db.execute(change, (name.offset, name.number)).rowcount:
        return False
    row = db.execute(f"SELECT {ENTRY_COLUMNS} FROM entry WHERE id = ?", (name.number,)).fetchone()  # noqa: S608
    db.execute("UPDATE entry SET checksum = ? WHERE id = ?", (check_of(row), name.number))
    return True
