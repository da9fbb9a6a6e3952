"""What little is needed in a segment of the log moves into files of its own, so that the segment can be used again.

Else an instance that waits in quarantine would keep a segment of 32 MiB.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any

from dcm.errors import DcmError
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
        """Look whether there are any, and move them; gives how many were. One thread at a time may call it.

        Parameters
        ----------
        now : bool, optional
            Look in any case, and not only now and then.
        """
        if not now and time.monotonic() < self._look_at:
            return 0
        self._look_at = time.monotonic() + _PAUSE
        n = 0
        try:
            for segment in self._files.log.sparse():
                for page in self._pages(segment):
                    n += self._move(page)
        except (DcmError, OSError) as exc:
            # The room is not needed yet, or whoever needs it is told.
            _log.warning("cannot tidy up the spool: %s", safe_text(exc))
        return n

    def _pages(self, segment: int) -> Iterator[Sequence[Sequence[Any]]]:
        """The entries of a segment."""
        after = 0
        while True:
            with self._journal.read() as db:
                rows = db.execute(
                    f"SELECT {PLACE_COLUMNS}, sop_class, uid, syntax, calling FROM entry"  # noqa: S608 - our own words
                    " WHERE segment = ? AND id > ? AND live > 0 ORDER BY id LIMIT ?",
                    (segment, after, _PAGE),
                ).fetchall()
            if not rows:
                return
            yield rows
            after = rows[-1][0]

    def _move(self, rows: Sequence[Sequence[Any]]) -> int:
        placed: list[Placed] = []
        try:
            for row in rows:
                name = name_of(row)
                with self._files.open(name, *row[6:]) as instance:
                    self._files.check_room(instance.size)
                    placed.append(self._files.write(instance, name.received_ns, name.number))
            self._files.sync(placed)
            with self._journal.write(durable=True) as db:
                moved = [each.name for each in placed if _moved(db, each.name)]
        except BaseException:
            # The files are removed when the spool is opened again, if the journal does not have them.
            moved = []
            raise
        finally:
            for each in placed:
                self._files.shards.release(each)
        # Of those that were through meanwhile nobody needs the new file either.
        self._files.remove_all([each.name for each in placed if each.name not in moved])
        numbers = {name.number for name in moved}
        self._files.log.forget([name_of(row) for row in rows if row[0] in numbers])
        return len(moved)


def _moved(db: sqlite3.Connection, name: Name) -> bool:
    """Record that an instance is in a file of its own now; False where it has no entry any more."""
    change = "UPDATE entry SET offset = ?, segment = 0, position = 0 WHERE id = ? AND live > 0 AND segment > 0"
    if not db.execute(change, (name.offset, name.number)).rowcount:
        return False
    row = db.execute(f"SELECT {ENTRY_COLUMNS} FROM entry WHERE id = ?", (name.number,)).fetchone()  # noqa: S608
    db.execute("UPDATE entry SET checksum = ? WHERE id = ?", (check_of(row), name.number))
    return True
