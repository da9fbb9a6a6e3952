"""Bringing an index up to date with its directory: only what has changed is read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dcm.errors import StoreError, UsageError
from dcm.report import Problem, ProblemLog, Progress, Report
from dcm.store.index._database import Database, ReplacedError
from dcm.store.index._reading import FileReader, Finding, LeftOut, Stamp
from dcm.store.index._walk import Folder, walk
from dcm.store.index._writing import Writer
from dcm.text import plural, safe_text

__all__ = ["Scan", "ScanResult"]

_WINDOW = 20_000  # how many files wait to be read before any is: with so many the disk can be read in its order
_STEP = 64
_BATCH_SECONDS = 0.5  # what a crash loses at most


@dataclass
class ScanResult:
    """What a scan has found.

    Attributes
    ----------
    n_files : int
        Files that are instances.
    n_instances, n_series, n_studies, n_patients : int
        What is in them: several files may be one instance.
    n_new, n_changed, n_removed, n_unchanged : int
        Of the files that are, or were, instances.
    left_out : dict of str to int
        How many files were left out, by the kinds of `Report.leave_out`.
    rebuilt : bool
        The index was damaged, and everything was read.
    interrupted : bool
        It was stopped before its end. What was read until then is kept.
    seconds : float
    """

    n_files: int = 0
    n_instances: int = 0
    n_series: int = 0
    n_studies: int = 0
    n_patients: int = 0
    n_new: int = 0
    n_changed: int = 0
    n_removed: int = 0
    n_unchanged: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    rebuilt: bool = False
    interrupted: bool = False
    seconds: float = 0.0

    def summary(self) -> str:
        """What there is, and what has changed, in a line."""
        what = (
            f"{plural(self.n_files, 'file')}: {plural(self.n_instances, 'instance')} of "
            f"{plural(self.n_studies, 'study')} of {plural(self.n_patients, 'patient')}"
        )
        return f"{what}; {self.n_new} new, {self.n_changed} changed, {self.n_removed} removed"


_Known = dict[bytes, tuple[Stamp, bool, LeftOut | None]]


class _Waiting(NamedTuple):
    """A file that has to be read."""

    folder: Folder
    name: bytes
    stamp: Stamp
    known: bool  # whether the index has it
    was_instance: bool

    @property
    def path(self) -> bytes:
        return self.folder.join(self.name)


class Scan:
    """One scan.

    Parameters
    ----------
    database : Database
    root : Path
        The directory.
    recurse : bool
    file_ext : str
    trusting : bool
        False to read every file, whatever it looks like from outside.
    report : Report or None
        Told at the end what is left out, and which files contradict others.
    stop : callable or None
        Asked now and then whether to stop.
    progress : Progress or None
    """

    def __init__(
        self,
        database: Database,
        root: Path,
        *,
        recurse: bool,
        file_ext: str,
        trusting: bool,
        report: Report | None,
        stop: Callable[[], bool] | None,
        progress: Progress | None,
    ) -> None:
        self._database = database
        self._root = root
        self._raw_root = os.fsencode(root)
        self._recurse = recurse
        self._file_ext = file_ext
        self._trusting = trusting
        self._report = report
        self._stop = stop
        self._progress = progress
        self._reader = FileReader()
        # Kept until the end: a scan that finds the index damaged is done again, and nothing is told twice.
        self._log = ProblemLog()
        self._waiting: list[_Waiting] = []
        self._gone: list[tuple[int, list[bytes]]] = []
        self._n_expected = 0
        self._number = 0
        self.result = ScanResult()

    def run(self) -> ScanResult:
        """Do it.

        Raises
        ------
        UsageError
            There is no such directory.
        StoreError
            It cannot be listed, or the index cannot be written.
        DamagedError
            The index is damaged.
        """
        start = time.perf_counter()
        try:
            self._scan()
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise UsageError(f"no such directory: {safe_text(self._root)}") from exc
        except OSError as exc:
            raise StoreError(f"cannot read {safe_text(self._root)}: {exc.strerror or exc}") from exc
        self._count()
        if self._report is not None:
            self._report.files.extend(self._log)
        self.result.seconds = time.perf_counter() - start
        return self.result

    def _scan(self) -> None:
        with self._database.read() as connection:
            numbers = dict(connection.execute("SELECT path, id FROM directory").fetchall())
            self._number = self._database.number
        seen: set[bytes] = set()
        before = _identity(self._raw_root)
        for folder in walk(self._raw_root, recurse=self._recurse, file_ext=self._file_ext):
            if self._stopped():
                break
            seen.add(folder.path)
            self._compare(folder, numbers.get(folder.path))
            if len(self._waiting) >= _WINDOW:
                self._read_waiting()
        self._read_waiting()
        if _identity(self._raw_root) != before:  # a disk that was unmounted, say: what is gone is not gone for good
            raise StoreError(f"{safe_text(self._root)} was replaced while it was read")
        if not self.result.interrupted:
            self._remove([number for path, number in numbers.items() if path not in seen])

    def _stopped(self) -> bool:
        if not self.result.interrupted and self._stop is not None and self._stop():
            self.result.interrupted = True
        return self.result.interrupted

    def _compare(self, folder: Folder, number: int | None) -> None:
        """Sort out what of a directory has to be read, and what has gone."""
        known = self._known_in(number) if number is not None else {}
        result = self.result
        for name, stamp in folder.files:
            before = known.pop(name, None)
            if before is not None and before[0] == stamp and before[1] and self._trusting:
                if before[2] is None:
                    result.n_unchanged += 1
                else:
                    self._leave_out(folder.join(name), before[2])
            else:
                was_instance = before is not None and before[2] is None
                self._waiting.append(_Waiting(folder, name, stamp, before is not None, was_instance))
                self._n_expected += 1
        for name, why in folder.left_out:
            self._leave_out(folder.join(name), why)
        if known and number is not None:
            result.n_removed += sum(left_out is None for _, _, left_out in known.values())
            self._gone.append((number, list(known)))

    def _known_in(self, number: int) -> _Known:
        with self._database.read() as connection:
            self._check()
            rows = connection.execute(
                "SELECT name, size, mtime_ns, inode, trusted, kind, reason FROM file WHERE directory = ?", (number,)
            ).fetchall()
        return {
            name: (Stamp(size, mtime, inode), bool(trusted), None if kind is None else LeftOut(kind, reason))
            for name, size, mtime, inode, trusted, kind, reason in rows
        }

    def _leave_out(self, path: bytes, why: LeftOut) -> None:
        counts = self.result.left_out
        counts[why.kind] = counts.get(why.kind, 0) + 1
        self._tell(why.kind, path, why.reason)

    def _tell(self, kind: str, path: bytes, reason: str) -> None:
        full = os.fsdecode(self._raw_root + b"/" + path)
        self._log.add(Problem(kind, full, reason, path=full))

    def _read_waiting(self) -> None:
        """Read what waits, in the order in which it probably lies on the disk, and write what it is."""
        waiting, self._waiting = self._waiting, []
        gone, self._gone = self._gone, []
        waiting.sort(key=lambda file: file.stamp.inode)
        if self._progress is not None and waiting:
            self._progress.expected(self._n_expected)
        for batch in self._batches(waiting):
            self._write(batch, [])
        if gone:
            self._write([], gone)

    def _batches(self, waiting: list[_Waiting]) -> Iterator[list[tuple[_Waiting, Finding | None]]]:
        batch: list[tuple[_Waiting, Finding | None]] = []
        root = self._raw_root + b"/"
        due = time.monotonic() + _BATCH_SECONDS
        for n, file in enumerate(waiting, 1):
            batch.append((file, self._reader.read(root + file.path)))
            if n % _STEP == 0:
                if self._progress is not None:
                    self._progress.advanced(_STEP, 0)
                if self._stopped():
                    break
                if time.monotonic() > due:
                    yield batch
                    batch = []
                    due = time.monotonic() + _BATCH_SECONDS
        if self._progress is not None and not self.result.interrupted:
            self._progress.advanced(len(waiting) % _STEP, 0)
        if batch:
            yield batch

    def _write(self, batch: list[tuple[_Waiting, Finding | None]], gone: list[tuple[int, list[bytes]]]) -> None:
        """Write what was found in one transaction."""
        new: list[tuple[int, bytes, Finding]] = []
        known: list[tuple[int, bytes, Finding]] = []
        with self._database.write() as connection:
            self._check()
            writer = Writer(connection)
            for file, found in batch:
                number = writer.directory(file.folder.path)
                if found is not None:
                    (known if file.known else new).append((number, file.name, found))
                elif file.known:
                    writer.remove(number, [file.name])
            writer.put(new, known=False)
            same = writer.put(known, known=True)
            for number, names in gone:
                writer.remove(number, names)
            writer.finish()
            for file, found in batch:
                self._note(file, found, (writer.directory(file.folder.path), file.name) in same)

    def _note(self, file: _Waiting, found: Finding | None, same: bool) -> None:
        """Count a file that was read."""
        result = self.result
        if found is None or found.left_out is not None:
            result.n_removed += file.was_instance
            if found is not None and found.left_out is not None:
                self._leave_out(file.path, found.left_out)
        elif not file.was_instance:
            result.n_new += 1
        elif same:
            result.n_unchanged += 1
        else:
            result.n_changed += 1

    def _check(self) -> None:
        """See to it that the numbers of directories are those of this database."""
        if self._database.number != self._number:
            raise ReplacedError("another process has built it anew")

    def _remove(self, numbers: list[int]) -> None:
        """Take out directories that are not there any more."""
        if not numbers:
            return
        with self._database.write() as connection:
            self._check()
            writer = Writer(connection)
            for number in numbers:
                self.result.n_removed += writer.remove_directory(number)
            writer.finish()

    def _count(self) -> None:
        with self._database.read() as connection:
            files = connection.execute("SELECT count(*) FROM file WHERE header IS NOT NULL").fetchone()
            copies = connection.execute("SELECT count(*) FROM file WHERE copy > 0").fetchone()
            tree = connection.execute(
                "SELECT count(DISTINCT series_uid), count(DISTINCT study_uid), count(DISTINCT patient_id) FROM header"
            ).fetchone()
            for reason, query in _CONTRADICTIONS.items():
                for directory, name in connection.execute(query):
                    self._tell("inconsistent", b"/".join(filter(None, (directory, name))), reason)
        result = self.result
        result.n_files = files[0]
        result.n_instances = files[0] - copies[0]
        result.n_series, result.n_studies, result.n_patients = tree


def _identity(root: bytes) -> tuple[int, int]:
    status = os.stat(root)  # noqa: PTH116 - bytes
    return status.st_dev, status.st_ino


# The first file of each header, and each file of an instance, that says something else than those that it gives way to.
_CONTRADICTIONS = {
    "a study of two patients": (
        "SELECT min(d.path), f.name FROM header h JOIN file f ON f.header = h.id "
        "JOIN directory d ON d.id = f.directory WHERE h.id IN (SELECT id FROM header "
        "WHERE said_patient_id NOT IN (patient_id, '') AND said_study_uid = study_uid) GROUP BY h.id"
    ),
    "a series of two studies": (
        "SELECT min(d.path), f.name FROM header h JOIN file f ON f.header = h.id "
        "JOIN directory d ON d.id = f.directory WHERE h.id IN (SELECT id FROM header "
        "WHERE said_study_uid <> study_uid) GROUP BY h.id"
    ),
    "an instance of two series": (
        "SELECT d.path, f.name FROM file f JOIN header h ON h.id = f.header JOIN directory d ON d.id = f.directory "
        "JOIN file o ON o.sop_uid = f.sop_uid AND o.copy = 0 JOIN header oh ON oh.id = o.header "
        "WHERE f.copy > 0 AND h.series_uid <> oh.series_uid"
    ),
}
