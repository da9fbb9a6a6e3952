"""Putting a spool right after a crash: files without an entry, entries without a file."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from dcm.spool._bulk import move_to_past, remove_entries
from dcm.spool._files import Files
from dcm.spool._journal import Journal
from dcm.spool._records import (
    FORGOTTEN,
    LOST,
    PLACE_COLUMNS,
    QUARANTINED,
    QUEUED,
    Tally,
    Ways,
    name_of,
    parse_fate,
    span,
)
from dcm.spool._segment_reader import Batch, DamagedSegmentError
from dcm.spool._shards import Name
from dcm.text import plural, safe_text

__all__ = ["Findings", "adopt_files", "adopt_records", "check_entries", "first_number"]

_log = logging.getLogger(__name__)

_PAGE = 500
_MOST_NAMED = 100


@dataclass
class Findings:
    """What was put right."""

    readmitted: int = 0
    removed: int = 0
    unreadable: int = 0
    lost: list[str] = field(default_factory=list)
    n_lost: int = 0


def first_number(journal: Journal, files: Files) -> int:
    """A number that no entry and no file has, or ever had."""
    with journal.read() as db:
        queries = ("SELECT max(id) FROM entry", "SELECT max(id) FROM past", FORGOTTEN)
        highest = max(db.execute(query).fetchone()[0] or 0 for query in queries)
    for shard in reversed(files.shards.all()):
        numbers = [name.number for name in files.names(shard)]
        if numbers:
            return max(highest, *numbers) + 1
    return highest + 1


def check_entries(journal: Journal, files: Files, ways: Ways, before: int) -> Findings:
    """Find entries whose file is gone; what had to be delivered of them is lost, and said to be.

    Parameters
    ----------
    before : int
        Only entries with smaller numbers: others are being made now.
    """
    findings = Findings()
    after = 0
    shard, there = "", dict[int, Name]()
    segments = frozenset(files.log.segments())
    while True:
        with journal.read() as db:
            query = f"SELECT {PLACE_COLUMNS}, uid FROM entry WHERE id > ? AND id < ? ORDER BY id LIMIT ?"  # noqa: S608
            rows = db.execute(query, (after, before, _PAGE)).fetchall()
        gone: list[tuple[Name, str, bool]] = []
        for row in rows:
            name = name_of(row)
            if name.segment and name.segment in segments:
                continue
            if name.shard != shard:
                shard, there = name.shard, {each.number: each for each in files.names(name.shard)}
            if there.get(name.number) != name:
                gone.append((name, row[-1], name.number in there))
        if gone:
            _lose(journal, ways, gone, findings)
        if len(rows) < _PAGE:
            return findings
        after = rows[-1][0]


def _lose(journal: Journal, ways: Ways, gone: list[tuple[Name, str, bool]], findings: Findings) -> None:
    """Record that files are gone. One that another file has the number of is forgotten: that one is adopted."""
    with journal.write(durable=True) as db:
        tally = Tally()
        for name, uid, replaced in gone:
            rows = db.execute(
                "SELECT id, way, state FROM delivery WHERE id BETWEEN ? AND ?", span(name.number)
            ).fetchall()
            live = [(number, way, state) for number, way, state in rows if state in (QUEUED, QUARANTINED)]
            for number, way, state in live:
                db.execute("UPDATE delivery SET state = ?, reason = ? WHERE id = ?", (LOST, "its file is gone", number))
                tally.move(way, state, LOST, name.size)
            db.execute("UPDATE entry SET live = 0 WHERE id = ?", (name.number,))
            if live:
                findings.n_lost += 1
                if len(findings.lost) < _MOST_NAMED:
                    findings.lost.append(uid)
                keys = ", ".join(safe_text(ways.key(db, way)) or "no route" for _, way, _ in live)
                _log.error("the file of %s is gone from the spool, it is LOST for: %s", safe_text(uid), keys)
            if replaced:
                remove_entries(db, {name.number: name.size}, tally)
            else:
                move_to_past(db, [name.number], {}, tally)
        tally.write(db)


def adopt_files(
    journal: Journal, files: Files, before: int, adopt: Callable[[Name], bool | None], findings: Findings
) -> None:
    """Find files that no entry has: those that are through are removed, the others brought in.

    Parameters
    ----------
    before : int
        Only files with smaller numbers: others are being written now.
    adopt : callable
        Gets a file an entry; says True, or False where it was not needed and is removed, or None where it cannot be
        read.
    """
    findings.removed += files.remove_leftovers()
    for shard in files.shards.all():
        names = sorted(name for name in files.names(shard) if name.number < before)
        if names:
            first, last = names[0].number, names[-1].number
            entries, past = _known(journal, first, last)
            for name in names:
                if entries.get(name.number):
                    files.remove(name)  # it was about to move here from the log, and is there still
                    findings.removed += 1
            strays = [name for name in names if name.number not in entries]
            if strays:
                # Their names may not be on stable storage yet, and what has an entry must be.
                files.shards.sync(shard)
            for name in strays:
                if name.number in past:
                    files.remove(name)
                    findings.removed += 1
                    continue
                adopted = adopt(name)
                findings.readmitted += adopted is True
                findings.removed += adopted is False
                findings.unreadable += adopted is None
        files.shards.drop(shard)


def adopt_records(
    journal: Journal, files: Files, before: int, adopt: Callable[[Name], bool | None], findings: Findings
) -> None:
    """Find instances in the log that no entry has: those that are not through are brought in.

    A segment in which something is not what was written is kept as it is. Parameters are those of `adopt_files`.
    """
    newest = _newest(files)
    for segment in files.log.segments():
        look = _Look(journal, files, segment, before)
        try:
            for name in look.strays():
                adopted = adopt(name)
                findings.readmitted += adopted is True
                findings.removed += adopted is False
                if adopted is None:
                    look.damaged = True
        except (OSError, DamagedSegmentError) as exc:
            _log.error("%s cannot be read, and is left as it is: %s", files.log.path_of(segment), safe_text(exc))
            findings.unreadable += 1
            # What else is in it nobody knows, but for what cannot be.
            files.log.looked(segment, (look.first, before - 1), sound=False)
            continue
        # What was being written when it ended was not acknowledged. That can be only the last of all.
        look.damaged |= bool(look.unsound) and segment != newest
        if look.damaged:
            _log.error("not all of %s is what was written: it is left as it is", files.log.path_of(segment))
            findings.unreadable += 1
        files.log.looked(segment, (look.first, look.last), sound=not look.damaged)
        if look.unsound and not look.damaged:
            n = len(look.unsound)
            _log.warning("%s not written to the end when the last forwarder ended, and removed", plural(n, "instance"))
            files.log.discard(look.unsound)


def _newest(files: Files) -> int:
    """The last segment that anything was written to."""
    for number in reversed(files.log.segments()):
        with contextlib.suppress(OSError, DamagedSegmentError), files.log.batches(number) as batches:
            if next(batches, None) is not None:
                return number
    return 0


class _Look:
    """A look through one segment.

    Attributes
    ----------
    first, last : int
        The numbers that are in it, as far as one has looked.
    damaged : bool
        Whether something is not what was written, other than at the end.
    unsound : list of Name
        What in the last batch is not, and has no entry.
    """

    def __init__(self, journal: Journal, files: Files, segment: int, before: int) -> None:
        self.first = self.last = 0
        self.damaged = False
        self._journal = journal
        self._files = files
        self._segment = segment
        self._before = before
        self.unsound: list[Name] = []

    def strays(self) -> Iterator[Name]:
        """Yield what has no entry, and is not through. What has one need not be read."""
        with self._files.log.batches(self._segment) as batches:
            while page := list(islice(batches, _PAGE)):
                yield from self._strays_of(page)

    def _strays_of(self, page: Sequence[Batch]) -> Iterator[Name]:
        numbers = [record.number for batch in page for record in batch.records]
        self.first, self.last = self.first or numbers[0], numbers[-1]
        entries, past = _known(self._journal, numbers[0], numbers[-1])
        for batch in page:
            # Only the last one may not have been finished.
            self.damaged |= batch.behind_damage or bool(self.unsound)
            self.unsound = []
            for r in batch.records:
                if r.number >= self._before or r.number in entries or r.number in past:
                    continue
                name = Name(r.number, r.received_ns, r.offset, r.size, self._segment, r.position, r.check)
                if not self._is_needed(name):
                    continue
                # Each by itself: a sector that is bad takes no more with it than it must.
                if batch.is_sound(r):
                    yield name
                else:
                    self.unsound.append(name)

    def _is_needed(self, name: Name) -> bool:
        try:
            return self._files.log.is_needed(name)
        except OSError:
            return True


def _known(journal: Journal, first: int, last: int) -> tuple[dict[int, int], set[int]]:
    """The entries of some numbers, each with its segment, and the numbers that are through."""
    with journal.read() as db:
        entries = dict(db.execute("SELECT id, segment FROM entry WHERE id BETWEEN ? AND ?", (first, last)).fetchall())
        fates = db.execute(
            "SELECT past.id, text FROM past JOIN fate ON fate.id = past.fate WHERE past.id BETWEEN ? AND ?",
            (first, last),
        )
        # One that was lost and is here again, from a backup say, is brought in.
        return entries, {n for n, text in fates if all(state != LOST for _, state in parse_fate(text))}
