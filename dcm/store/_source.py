"""A directory as a source: what is in it, and giving that away. Its index knows what is in which file."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcm._bridge import Bridge
from dcm.errors import StoreError, UnusableIndexError, UsageError
from dcm.levels import QueryLevel
from dcm.report import QueryReport, TransferReport
from dcm.store._chunk import LocalChunk, as_it_is
from dcm.store._files import Read, batches, by_instance, chunks, read_copies
from dcm.store._giving import Books, give_all, give_each
from dcm.store._scanning import Scanning
from dcm.store.base import DataSink, TransferMethod

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from pydicom import Dataset
    from pydicom.dataset import FileDataset

    from dcm._atomic import TempFile
    from dcm.attrs import Attributes
    from dcm.instance import Instance
    from dcm.query import QueryResult
    from dcm.report import Progress, Report
    from dcm.store._question import Question
    from dcm.store.index import Index as IndexType
    from dcm.store.index import IndexedFile, ScanResult

__all__ = ["DirSource", "LocalChunk"]

log = logging.getLogger(__name__)

_PORTION = 500  # instances whose files are looked up at a time


class DirSource:
    """The half of `dcm.store.local_dir.LocalDir` that gives.

    Its index is brought up to date once, when something is first asked of it; see `refresh` and `renew`. What blocks is
    in threads.
    """

    path: Path
    recurse: bool
    in_file_ext: str
    max_chunk: int
    index: bool

    def __init__(self) -> None:
        self._index: IndexType | None = None
        self._fresh = False
        self._users: list[Bridge] = []
        self._index_lock = threading.RLock()

    @property
    def _name(self) -> str:
        """The directory as one gives it on a command line, from wherever that is."""
        return str(self.path.absolute())

    def renew(self) -> None:
        """Have the index brought up to date again when something is asked the next time."""
        self._fresh = False

    def close(self) -> None:
        """Let go of the index; the next use opens it again, and brings it up to date."""
        with self._index_lock:
            index, self._index, self._fresh = self._index, None, False
        if index is not None:
            index.close()

    @contextlib.asynccontextmanager
    async def _threads(self, n: int = 2) -> AsyncIterator[Bridge]:
        """Threads for one use of the directory; when the last use ends, no file of the index stays open."""
        async with Bridge(n) as bridge:
            self._users.append(bridge)  # a list, which threads with event loops of their own may change at once
            try:
                yield bridge
            finally:
                self._users.remove(bridge)
                if not self._users:
                    await bridge.run(self._rest)

    # -- the index; these block

    def _note(self, path: str, instance: Instance) -> None:
        """Tell the index, if somebody has asked it already, of a file that we have just written below the root."""
        index = self._index
        if index is None or not (self.recurse or "/" not in path):
            return
        try:
            index.add(path, instance.header)
        except StoreError as exc:
            self._give_up_index(index, exc)  # the instance is stored none the less

    def _give_up_index(self, index: IndexType, error: StoreError) -> None:
        """Go on without the index until it is asked again: what it has not been told, it will read.

        Several threads may find at once that it cannot be used; only the first says so. Where it is being brought up to
        date this waits: what it was not told meanwhile must be looked for afterwards.
        """
        with self._index_lock:
            if self._index is index:
                log.warning("%s", error.message)
                self._index, self._fresh = None, False

    def _rest(self) -> None:
        """Close the files of the index, where nothing is under way."""
        with self._index_lock:
            if self._index is None or not self.index or self._users:
                return
            try:
                self._index.close()
            except StoreError as exc:
                self._give_up_index(self._index, exc)

    def _opened(self) -> IndexType:
        """The index, opened; with the lock held."""
        from dcm.store.index import Index

        if self._index is None:
            if not self.path.is_dir():
                raise UsageError(f"there is no directory {self.path}")
            settings: dict[str, Any] = {"recurse": self.recurse, "file_ext": self.in_file_ext}
            self._index = Index(self.path, **settings) if self.index else Index.in_memory(self.path, **settings)
            weakref.finalize(self, self._index.close)
        return self._index

    def _refresh(
        self, report: Report | None, stop: threading.Event, progress: Progress | None, *, again: bool
    ) -> ScanResult | None:
        from dcm.store.index import Index

        with self._index_lock:
            if self._fresh and not again:
                return None
            try:
                scanned = self._opened().refresh(report, stop=stop.is_set, progress=progress)
            except UnusableIndexError as exc:
                # An index saves time, no more: without a place for it the headers are read, and forgotten afterwards.
                log.warning("%s; going on without an index", exc.message)
                self.index = False
                self._index = Index.in_memory(self.path, recurse=self.recurse, file_ext=self.in_file_ext)
                scanned = self._index.refresh(report, stop=stop.is_set, progress=progress)
            self._fresh = not stop.is_set()
            return scanned

    def _records(self, question: Question) -> list[Attributes]:
        with self._index_lock:
            return self._opened().records(question.level, question.keys, question.within)

    def _files_of(self, part: QueryResult) -> list[IndexedFile]:
        with self._index_lock:
            return list(self._opened().files(part))

    def _files_of_each(self, parts: Sequence[QueryResult]) -> list[tuple[QueryResult, list[IndexedFile]]]:
        return [(part, self._files_of(part)) for part in parts]

    def _all_files(self) -> list[IndexedFile]:
        with self._index_lock:
            return list(self._opened().all_files())

    # -- from the event loop

    async def refresh(self, report: Report | None = None) -> ScanResult:
        """Bring the index up to date: read the files that are new or have changed.

        Parameters
        ----------
        report : Report, optional
            Learns of files that are no instances, or cannot be read.

        Raises
        ------
        UsageError
            There is no such directory.
        StoreError
            It cannot be read.
        """
        async with self._threads(1) as bridge:
            scanned = await self._ready(bridge, report, again=True)
        assert scanned is not None
        return scanned

    async def _ready(self, bridge: Bridge, report: Report | None, *, again: bool = False) -> ScanResult | None:
        stop = threading.Event()
        try:
            progress = Scanning(self._name, report.progress) if report is not None else None
            return await bridge.run(lambda: self._refresh(report, stop, progress, again=again))
        except asyncio.CancelledError:
            stop.set()
            raise

    async def query(
        self,
        level: QueryLevel | None = None,
        query: Dataset | Attributes | None = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> QueryResult:
        """Find what matches.

        Parameters
        ----------
        level : QueryLevel, optional
            The level of the answer; by default that of the query's keys, else that of `query_res`, else STUDY.
        query : Dataset or Attributes, optional
            Matched as PS3.4 section C.2.2.2 says.
        query_res : QueryResult, optional
            Refine this: only what it names, and what is above or below that.
        report : QueryReport, optional
            Learns of what is left out. Without one, warnings are logged.

        Raises
        ------
        QueryError
            The query makes no sense.
        UsageError
            There is no such directory.
        StoreError
            It cannot be read.
        """
        from dcm.store._question import Question

        question = Question(level, query, query_res)
        own = QueryReport() if report is None else report
        own.n_queries += 1
        async with self._threads(1) as bridge:
            await self._ready(bridge, own)
            records = await bridge.run(self._records, question)
            result = await bridge.run(question.answer, records, self._name, own)
        own.n_succeeded += 1
        if report is None:
            for text in own.warnings:
                log.warning("%s", text)
        return result

    async def queries(
        self,
        level: QueryLevel | None = None,
        query: Dataset | Attributes | None = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> AsyncGenerator[QueryResult, None]:
        """Find what matches, part by part: whole studies, of about `max_chunk` instances."""
        from dcm.query._parts import parts_of

        for part in parts_of(await self.query(level, query, query_res, report), self.max_chunk):
            yield part

    async def retrieve(
        self, query_res: QueryResult, report: TransferReport | None = None, keep_errors: bool = False
    ) -> AsyncGenerator[Dataset, None]:
        """Give the data sets that a query result names."""
        async with self._threads() as bridge:

            async def prepare(instance: Instance) -> FileDataset:
                return await bridge.run(lambda: instance.dataset, cost=instance.size)

            data_sets = self._give_each(bridge, query_res, prepare, report, keep_errors)
            async with contextlib.aclosing(data_sets):
                async for data_set in data_sets:
                    yield data_set

    async def instances(
        self, query_res: QueryResult, report: TransferReport | None = None, keep_errors: bool = False
    ) -> AsyncGenerator[Instance, None]:
        """Give what a query result names, not decoded."""
        async with self._threads() as bridge:
            instances = self._give_each(bridge, query_res, as_it_is, report, keep_errors)
            async with contextlib.aclosing(instances):
                async for instance in instances:
                    yield instance

    def _give_each(
        self,
        bridge: Bridge,
        query_res: QueryResult,
        prepare: Callable[[Instance], Awaitable[Any]],
        report: TransferReport | None,
        keep_errors: bool,
    ) -> AsyncGenerator[Any, None]:
        own = TransferReport() if report is None else report
        found = self._give(bridge, query_res, Books(own, ("",)), keep_errors=keep_errors)
        return give_each(found, prepare, own, report)

    async def fetch(
        self,
        query_res: QueryResult,
        deliver: Callable[[Instance], Awaitable[bool]],
        report: TransferReport,
        *,
        dests: Sequence[str] = ("",),
        keep_errors: bool = False,
        new_temp: Callable[[], TempFile] | None = None,
        method: TransferMethod = TransferMethod.PROXY,
    ) -> None:
        """Hand each instance that a query result names to a coroutine, several at a time; see `DataRepo.fetch`.

        A file up to 1 MiB is read whole before, unless it is to be copied, moved or linked. A file that has vanished
        or changed since it was indexed fails, and the others go on. Of several files with one instance the first by
        path is taken; others with other bytes are reported, and handed over as well with `keep_errors`.
        """
        async with self._threads() as bridge:
            data = method is TransferMethod.PROXY
            found = self._give(bridge, query_res, Books(report, dests), keep_errors=keep_errors, data=data)
            await give_all(found, deliver)

    async def remote_copy(
        self, query_res: QueryResult, to: DataSink, report: TransferReport, *, dest: str = ""
    ) -> None:
        """Raise UsageError: a directory cannot send by itself."""
        raise UsageError(f"{self.path} is a directory, which cannot send to {to} by itself")

    async def gen_chunks(self) -> AsyncGenerator[LocalChunk, None]:
        """Name everything that it holds, in chunks of `max_chunk` files."""
        async with self._threads(1) as bridge:
            await self._ready(bridge, None)
            files = await bridge.run(self._all_files)
        for chunk in chunks(by_instance(files), self.max_chunk):
            yield LocalChunk(self, chunk)

    async def gen_query_chunks(self, query_res: QueryResult) -> AsyncGenerator[LocalChunk, None]:
        """Name what belongs to a query result, in chunks of up to `max_chunk` files."""
        from dcm.query._parts import parts_of

        async with self._threads(1) as bridge:
            await self._ready(bridge, None)
            for part in parts_of(query_res, self.max_chunk):
                files = await bridge.run(self._files_of, part)
                for chunk in chunks(by_instance(files), self.max_chunk):
                    yield LocalChunk(self, chunk)

    # -- reading

    async def _give(
        self, bridge: Bridge, query_res: QueryResult, books: Books, *, keep_errors: bool, data: bool = True
    ) -> AsyncGenerator[Instance, None]:
        """Yield what a query result names, and keep books of what is asked for and does not come."""
        from dcm.store._question import groups_of

        await self._ready(bridge, books.report)
        # Study by study, so that what has nothing left is known by its name, and a few hundred instances at a time.
        for parts in groups_of(query_res, _PORTION):
            files: list[IndexedFile] = []
            for part, found in await bridge.run(self._files_of_each, parts):
                files += found
                if query_res.level <= QueryLevel.STUDY:
                    books.miss(part, {*part.uids()} if found else ())
                elif query_res.level is QueryLevel.SERIES:
                    books.miss(part, {file.series_uid for file in found})
                else:
                    books.miss(part, {file.sop_instance_uid for file in found})
            async with contextlib.aclosing(
                self._read_files(bridge, files, books, keep_errors=keep_errors, data=data)
            ) as instances:
                async for instance in instances:
                    yield instance

    async def _read_files(
        self, bridge: Bridge, files: Sequence[IndexedFile], books: Books, *, keep_errors: bool, data: bool = True
    ) -> AsyncGenerator[Instance, None]:
        """Read files, several with each job of a thread."""
        wanted = by_instance(files)
        by_series: dict[str, list[str]] = {}
        for copies in wanted:
            by_series.setdefault(copies[0].series_uid, []).append(copies[0].sop_instance_uid)
        for series_uid, uids in by_series.items():
            books.expect(uids, series_uid)
        root = self._name
        for batch in batches(wanted, data=data):
            jobs = await bridge.run(lambda batch=batch: [read_copies(root, copies, data=data) for copies in batch])
            for read in jobs:
                for number, instance in enumerate(_settle(read, books)):
                    if number == 0 or keep_errors:
                        yield instance


def _settle(read: Read, books: Books) -> tuple[Instance, ...]:
    """Tell what is odd about an instance that was read, or was not."""
    if not read.instances:
        books.lose(read.uid, read.reason, path=read.path)
    for other in read.instances[1:]:
        first = read.instances[0].path
        books.report.anomaly("duplicate", read.uid, f"{other.path} has other bytes under this UID than {first}")
    return read.instances
