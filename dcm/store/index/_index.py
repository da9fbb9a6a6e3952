"""The index of one directory."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dcm.attrs import Attributes
from dcm.errors import UnusableIndexError
from dcm.levels import QueryLevel
from dcm.store.index._database import DamagedError, Database, ReplacedError
from dcm.store.index._files import FILES, IN_ORDER, IndexedFile
from dcm.store.index._lock import ScanLock
from dcm.store.index._places import Place, default_directory
from dcm.store.index._reading import FileReader, Finding, stamp_of
from dcm.store.index._scan import Scan, ScanResult
from dcm.store.index._search import search
from dcm.store.index._writing import Writer, id_list
from dcm.text import safe_text

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from dcm.peek import Header
    from dcm.query import QueryResult
    from dcm.report import Progress, Report

__all__ = ["Index", "IndexedFile"]

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")
_HINT = "--no-index does without"
_PORTION = 500  # files or unique keys at a time
_MAX_ADDED = 500


class Index:
    """What is in the DICOM files of a directory, kept from one run to the next.

    Any number of processes and threads may use the index of a directory at the same time. One of them writes; another
    that wants to waits for it. A process may be killed at any moment: what it had read so far is there for the next
    one, or is not, and then is read again. A damaged index is built anew.

    Parameters
    ----------
    root : Path
        The directory.
    recurse : bool, optional
        Whether the files in its subdirectories belong to it.
    file_ext : str, optional
        Only files with this extension, in whatever case, with or without a dot. ``''``: all files that are DICOM by
        their content.
    path : Path, optional
        A directory to keep the index in. Default: one below the user's cache directory, which depends on the real path
        of the root and on the two other arguments.

    Notes
    -----
    A file is trusted to be the one that was read as long as its size, its time stamp and its inode are the same;
    `verify` trusts nothing. Only the attributes in `dcm.peek.QUERY_TAGS` are kept.

    All methods block.
    """

    def __init__(self, root: Path, *, recurse: bool = True, file_ext: str = "", path: Path | None = None) -> None:
        self._init(root, recurse, file_ext, path, in_memory=False)

    @classmethod
    def in_memory(cls, root: Path, *, recurse: bool = True, file_ext: str = "") -> Index:
        """The same, but kept in memory only, as long as this object."""
        self = cls.__new__(cls)
        self._init(root, recurse, file_ext, None, in_memory=True)
        return self

    def _init(self, root: Path, recurse: bool, file_ext: str, path: Path | None, *, in_memory: bool) -> None:
        self.root = Path(os.path.realpath(root))
        self.recurse = recurse
        self.file_ext = file_ext.removeprefix(".")
        self._place: Place | None = None
        if not in_memory:
            directory = path or default_directory(self.root, recurse=recurse, file_ext=self.file_ext)
            self._place = Place(Path(directory))
        self._database = Database(self._place)
        self._scanning = threading.Lock()
        self._adding = threading.Lock()
        self._added: dict[bytes, Finding] = {}
        self._reader = FileReader()

    @property
    def path(self) -> Path | None:
        """The file of the database; None for an index in memory."""
        return None if self._place is None else self._place.database(self._place.number())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Index of {self.root}>"

    # --- bringing it up to date

    def refresh(
        self,
        report: Report | None = None,
        *,
        stop: Callable[[], bool] | None = None,
        progress: Progress | None = None,
    ) -> ScanResult:
        """Bring it up to date: read the files that are new or have changed, forget those that have gone.

        Parameters
        ----------
        report : Report, optional
            Told about every file that is left out, be it read now or known from before; and about files that
            contradict one another.
        stop : callable, optional
            Asked now and then; the scan ends when it gives True, and what was read is kept.
        progress : Progress, optional
            Told how many files have to be read, and how many have been.

        Raises
        ------
        UsageError
            The root is not a directory.
        StoreError
            The root cannot be read, or the index cannot be written.
        """
        return self._scan(report, stop, progress, trusting=True)

    def verify(
        self,
        report: Report | None = None,
        *,
        stop: Callable[[], bool] | None = None,
        progress: Progress | None = None,
    ) -> ScanResult:
        """The same, but read every file again, whatever it looks like from outside."""
        return self._scan(report, stop, progress, trusting=False)

    def rebuild(
        self,
        report: Report | None = None,
        *,
        stop: Callable[[], bool] | None = None,
        progress: Progress | None = None,
    ) -> ScanResult:
        """Forget everything, and build it anew."""
        with self._only_writer(stop, progress) as mine:
            if mine:
                self._database.replace()
        return self._scan(report, stop, progress, trusting=True)

    def _scan(
        self,
        report: Report | None,
        stop: Callable[[], bool] | None,
        progress: Progress | None,
        *,
        trusting: bool,
    ) -> ScanResult:
        def scan() -> ScanResult:
            return Scan(
                self._database,
                self.root,
                recurse=self.recurse,
                file_ext=self.file_ext,
                trusting=trusting,
                report=report,
                stop=stop,
                progress=progress,
            ).run()

        with self._only_writer(stop, progress) as mine:
            if not mine:
                return ScanResult(interrupted=True)
            self._flush()
            try:
                return scan()
            except DamagedError as exc:
                self._replace(exc)
            result = self._or_give_up(scan)
            result.rebuilt = True
            return result

    @contextlib.contextmanager
    def _only_writer(self, stop: Callable[[], bool] | None, progress: Progress | None) -> Iterator[bool]:
        """Wait until nobody else scans; False where that was stopped."""
        lock = ScanLock(self._scanning, None if self._place is None else self._place.lock)
        try:
            if not lock.acquire(blocking=False):
                _LOGGER.warning("waiting for another process that indexes %s", safe_text(self.root))
                if progress is not None:
                    progress.phase("waiting for another process that indexes the same directory")
                if not lock.wait(stop):
                    yield False
                    return
            yield True
        except OSError as exc:
            cause = exc.strerror or exc
            raise UnusableIndexError(f"cannot use the index {self._database.name}: {cause}", hint=_HINT) from exc
        finally:
            lock.release()

    def add(self, path: str | os.PathLike[str], header: Header | None = None) -> None:
        """Take in a file that we have just written, complete, so that nobody need read it.

        Parameters
        ----------
        path : path
            Below the root; any other is ignored.
        header : Header, optional
            What `dcm.peek` says of it. Without one the file is read.

        Notes
        -----
        It is written to the database with others; until then a crash costs no more than a reading.
        """
        full = os.fsencode(path)
        root = os.fsencode(self.root)
        if not full.startswith(b"/"):
            full = root + b"/" + full
        if not full.startswith(root + b"/"):
            return
        finding: Finding | None
        with self._adding:
            if header is None:
                finding = self._reader.read(full)
            else:
                try:
                    stamp = stamp_of(os.stat(full))  # noqa: PTH116 - bytes
                except OSError:
                    return
                finding = self._reader.judge(header, stamp, trusted=True)
            if finding is None:
                return
            self._added[full[len(root) + 1 :]] = finding._replace(trusted=True)
            full_up = len(self._added) >= _MAX_ADDED
        if full_up:
            self._flush()

    def _flush(self) -> None:
        """Write what was added."""
        with self._adding:
            added, self._added = self._added, {}
            if not added:
                return
            try:
                with self._database.write() as connection:
                    writer = Writer(connection)
                    rows = []
                    for path, finding in added.items():
                        directory, _, name = path.rpartition(b"/")
                        rows.append((writer.directory(directory), name, finding))
                    writer.put(rows, known=True)
                    writer.finish()
            except DamagedError as exc:
                self._replace(exc)  # the next refresh reads them

    # --- asking

    def records(
        self, level: QueryLevel, query: Attributes | None = None, within: QueryResult | None = None
    ) -> list[Attributes]:
        """Find what matches, as an archive does (PS3.4 section C.2.2.2), ready for a `QueryResult`.

        Parameters
        ----------
        level : QueryLevel
            The level of the records.
        query : Attributes, optional
            Keys of whatever level. Those with a value limit; a patient, study or series matches if something in it
            does.
        within : QueryResult, optional
            Only what it names, and what is above or below that.

        Returns
        -------
        list of Attributes
            With the numbers of studies, series and instances below, and of a study the modalities and SOP classes.
        """

        def ask() -> list[Attributes]:
            with self._database.read() as connection:
                return search(connection, os.fsencode(self.root), level, query, within)

        return self._healed(ask)

    def files(self, query_res: QueryResult) -> Iterator[IndexedFile]:
        """Yield the files of all instances that a query result names.

        Several files of one instance follow each other, in the order of their paths.
        """
        column = ("h.patient_id", "h.study_uid", "h.series_uid", "f.sop_uid")[query_res.level]
        where = column + IN_ORDER
        for uids in _portions(query_res.uids()):
            yield from self._files(where, id_list(uids))

    def all_files(self) -> Iterator[IndexedFile]:
        """Yield all files that are instances, in the order of their paths."""

        def directories() -> list[bytes]:
            with self._database.read() as connection:
                return [path for (path,) in connection.execute("SELECT path FROM directory ORDER BY path")]

        for path in self._healed(directories):
            yield from self._files("d.path = ? ORDER BY f.name", path)

    def _files(self, where: str, parameter: str | bytes) -> list[IndexedFile]:
        def ask() -> list[IndexedFile]:
            with self._database.read() as connection:
                rows = connection.execute(FILES + where, (parameter,)).fetchall()
            return [
                IndexedFile(os.fsdecode(directory + b"/" + name if directory else name), *rest)
                for directory, name, *rest in rows
            ]

        return self._healed(ask)

    def close(self) -> None:
        """Write what was added, and let go of the database. The next use opens it again."""
        try:
            self._flush()
        finally:
            self._database.close()

    # --- damage

    def _healed(self, ask: Callable[[], _T]) -> _T:
        """Ask; if the database turns out to be damaged, build it anew and ask again."""
        self._flush()
        try:
            return ask()
        except DamagedError as exc:
            self._replace(exc)
        self.refresh()
        return self._or_give_up(ask)

    def _replace(self, exc: DamagedError) -> None:
        if isinstance(exc, ReplacedError):
            return
        _LOGGER.warning("the index %s is damaged (%s): it is built anew", self._database.name, exc)
        self._database.replace()

    def _or_give_up(self, ask: Callable[[], _T]) -> _T:
        try:
            return ask()
        except DamagedError as exc:
            raise UnusableIndexError(f"cannot use the index {self._database.name}: {exc}", hint=_HINT) from exc


def _portions(uids: Iterable[str]) -> Iterator[list[str]]:
    portion: list[str] = []
    for uid in uids:
        portion.append(uid)
        if len(portion) == _PORTION:
            yield portion
            portion = []
    if portion:
        yield portion
