"""Bringing an index up to date with its directory: only what has changed is read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dcm.errors import StoreError, UsageError
from dcm.report import Progress, Report
from dcm.store.index._database import Database
from dcm.store.index._reading import FileReader, Finding, LeftOut, Stamp
from dcm.store.index._walk import Folder, walk
from dcm.store.index._writing import Writer
from dcm.text import plural

__all__ = ["Scan", "ScanResult"]

_WINDOW = 20_000  # how many files wait to be read before any is: with so many the disk can be read in its order
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
        Of the files that are, or were, instances. What is not unchanged was read.
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
        Told what is left out.
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
        self._waiting: list[tuple[Folder, bytes, Stamp, bool]] = []  # directory, name, stamp, whether it is known
        self._gone: list[tuple[int, list[bytes]]] = []
        self._n_expected = 0
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
            raise UsageError(f"no such directory: {self._root}") from exc
        except OSError as exc:
            raise StoreError(f"cannot read {self._root}: {exc.strerror or exc}") from exc
        self._count()
        self.result.seconds = time.perf_counter() - start
        return self.result

    def _scan(self) -> None:
        with self._database.read() as connection:
            numbers = dict(connection.execute("SELECT path, id FROM directory").fetchall())
        seen: set[bytes] = set()
        for folder in walk(self._raw_root, recurse=self._recurse, file_ext=self._file_ext):
            if self._stopped():
                break
            seen.add(folder.path)
            self._compare(folder, numbers.get(folder.path))
            if len(self._waiting) >= _WINDOW:
                self._read_waiting()
        self._read_waiting()
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
                self._waiting.append((folder, name, stamp, before is not None and before[2] is None))
                self._n_expected += 1
        for name, why in folder.left_out:
            self._leave_out(folder.join(name), why)
        if known and number is not None:
            result.n_removed += sum(left_out is None for _, _, left_out in known.values())
            self._gone.append((number, list(known)))

    def _known_in(self, number: int) -> _Known:
        with self._database.read() as connection:
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
        if self._report is not None:
            self._report.leave_out(why.kind, os.fsdecode(self._raw_root + b"/" + path), why.reason)

    def _read_waiting(self) -> None:
        """Read what waits, in the order in which it probably lies on the disk, and write what it is."""
        waiting, self._waiting = self._waiting, []
        gone, self._gone = self._gone, []
        waiting.sort(key=lambda item: item[2].inode)
        if self._progress is not None and waiting:
            self._progress.expected(self._n_expected)
        for batch in self._batches(waiting):
            self._write(batch, [])
        if gone:
            self._write([], gone)

    def _batches(
        self, waiting: list[tuple[Folder, bytes, Stamp, bool]]
    ) -> Iterator[list[tuple[Folder, bytes, bool, Finding | None]]]:
        batch: list[tuple[Folder, bytes, bool, Finding | None]] = []
        due = time.monotonic() + _BATCH_SECONDS
        for n, (folder, name, _, known) in enumerate(waiting, 1):
            found = self._reader.read(self._raw_root + b"/" + folder.join(name))
            batch.append((folder, name, known, found))
            if n % 64 == 0:
                if self._progress is not None:
                    self._progress.advanced(64, 0)
                if self._stopped():
                    break
                if time.monotonic() > due:
                    yield batch
                    batch = []
                    due = time.monotonic() + _BATCH_SECONDS
        if batch:
            yield batch

    def _write(
        self, batch: list[tuple[Folder, bytes, bool, Finding | None]], gone: list[tuple[int, list[bytes]]]
    ) -> None:
        result = self.result
        with self._database.write() as connection:
            writer = Writer(connection)
            numbers: dict[bytes, int] = {}
            rows: dict[bool, list[tuple[int, bytes, Finding]]] = {True: [], False: []}
            for folder, name, known, found in batch:
                number = numbers.get(folder.path)
                if number is None:
                    number = numbers[folder.path] = writer.directory(folder.path)
                if found is None:
                    writer.remove(number, [name])
                    result.n_removed += known
                    continue
                rows[True].append((number, name, found))
                if found.left_out is not None:
                    self._leave_out(folder.join(name), found.left_out)
                    result.n_removed += known
                elif known:
                    result.n_changed += 1
                else:
                    result.n_new += 1
            writer.put(rows[True], new=False)
            for number, names in gone:
                writer.remove(number, names)
            writer.finish()

    def _remove(self, numbers: list[int]) -> None:
        """Take out directories that are not there any more."""
        if not numbers:
            return
        with self._database.write() as connection:
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
        result = self.result
        result.n_files = files[0]
        result.n_instances = files[0] - copies[0]
        result.n_series, result.n_studies, result.n_patients = tree
