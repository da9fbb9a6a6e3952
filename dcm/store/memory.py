"""A store in memory: for tests, for small jobs, and to see what every store has to do."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from dcm._atomic import TempFile
from dcm._bridge import Bridge
from dcm.attrs import Attributes
from dcm.errors import UsageError
from dcm.instance import Instance
from dcm.levels import QueryLevel
from dcm.peek import QUERY_TAGS, peek
from dcm.query import DataNode, QueryResult
from dcm.query._parts import parts_of
from dcm.query.match import matches
from dcm.report import Outcome, QueryReport, TransferReport
from dcm.store._giving import Books, give_all, give_each
from dcm.store._question import Question
from dcm.store._queue import StoreQueue
from dcm.store.base import DataSink, Features, TransferMethod

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from pydicom import Dataset
    from pydicom.dataset import FileDataset

__all__ = ["MemoryChunk", "MemoryStore"]

_SOP_CLASS_UID = 0x00080016
_MODALITY, _MODALITIES = 0x00080060, 0x00080061
_TRANSFER_SYNTAXES = 0x00083002


class MemoryChunk:
    """Some instances of a `MemoryStore`.

    Parameters
    ----------
    store : MemoryStore
        Where they are.
    uids : sequence of str
        Which they are.
    """

    def __init__(self, store: MemoryStore, uids: Sequence[str]) -> None:
        self.store = store
        self.uids = tuple(uids)

    async def gen_data(self) -> AsyncGenerator[Instance, None]:
        """Yield those that are still there."""
        for uid in self.uids:
            if uid in self.store:
                yield self.store[uid]


class _Held(NamedTuple):
    """What became of an instance, as `StoreQueue` wants to know it."""

    outcome: Outcome
    reason: str = ""
    path: None = None


class MemoryStore:
    """Instances in memory. A `DataRepo`, and the reference for what one does.

    Parameters
    ----------
    instances : iterable of Instance, optional
        What it holds from the beginning.
    name : str, optional
        What it is called in reports.
    chunk_size : int, optional
        How many instances are in a chunk.
    """

    features = Features(readable=True, queryable=True)

    def __init__(self, instances: Iterable[Instance] = (), name: str = "memory", chunk_size: int = 1000) -> None:
        self.name = name
        self.chunk_size = chunk_size
        self._held: dict[str, list[Instance]] = {}  # of several with one UID, the first is the one that counts
        self._lock = threading.Lock()
        for instance in instances:
            self.store(instance)

    def __repr__(self) -> str:
        return f"<MemoryStore {self.name}: {len(self)} instances>"

    def __str__(self) -> str:
        return self.name

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, uid: object) -> bool:
        return uid in self._held

    def __getitem__(self, uid: str) -> Instance:
        return self._held[uid][0]

    def __iter__(self) -> Iterator[Instance]:
        return (held[0] for held in [*self._held.values()])

    # -- as a destination

    def store(self, instance: Instance) -> _Held:
        """Keep an instance, unless it is here already. May be called from several threads at once.

        Other bytes under a UID that is here are kept beside the first ones, as in a directory.
        """
        data = b"".join(instance.chunks())
        uids = instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid
        with self._lock:
            held = self._held.setdefault(instance.sop_instance_uid, [])
            first = not held
            if all(uids[2] != one.transfer_syntax_uid or data != one.read(0, one.size) for one in held):
                held.append(Instance.from_buffer(*uids, data, instance.source_ae))
            elif len(held) == 1:
                return _Held(Outcome.PRESENT)
        return _Held(Outcome.SENT) if first else _Held(Outcome.CONFLICT, "other bytes under this UID are kept, too")

    def new_temp(self) -> TempFile:
        """Make a file for a large instance that is still arriving."""
        return TempFile.create(tempfile.gettempdir())

    def overlaps(self, other: object) -> bool:
        """Whether another store is this one."""
        return other is self

    def why_not(self, method: TransferMethod, source: DataSink) -> str:
        """Say why instances of a source cannot get here in some way, '' where they can."""
        return "" if method is TransferMethod.PROXY else f"{self.name} holds no files: nothing gets there otherwise"

    @contextlib.asynccontextmanager
    async def send(
        self,
        report: TransferReport | None = None,
        *,
        dest: str = "",
        method: TransferMethod = TransferMethod.PROXY,
    ) -> AsyncIterator[StoreQueue]:
        """Open it for instances; see `DataSink.send`."""
        own = report or TransferReport()
        async with Bridge(threads=1) as bridge, StoreQueue(self.store, bridge, own, dest) as queue:
            yield queue
        if report is None:
            own.finish()
            own.raise_failures()

    # -- as a source

    def check_source(self) -> None:
        """It can always be read."""

    def renew(self) -> None:
        """It is what is in it."""

    async def gen_chunks(self) -> AsyncGenerator[MemoryChunk, None]:
        """Name everything that it holds, chunk by chunk."""
        uids = [*self._held]
        for start in range(0, len(uids), self.chunk_size):
            yield MemoryChunk(self, uids[start : start + self.chunk_size])

    async def gen_query_chunks(self, query_res: QueryResult) -> AsyncGenerator[MemoryChunk, None]:
        """Name what belongs to a query result, chunk by chunk."""
        uids = [record.text(QueryLevel.IMAGE.uid_tag) for record in self._records_in(query_res)]
        for start in range(0, len(uids), self.chunk_size):
            yield MemoryChunk(self, uids[start : start + self.chunk_size])

    async def query(
        self,
        level: QueryLevel | None = None,
        query: Dataset | Attributes | None = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> QueryResult:
        """Find what matches; see `LocalEntity.query`."""
        question = Question(level, query, query_res)
        own = QueryReport() if report is None else report
        own.n_queries += 1
        result = question.answer(self._find(question, own), None, own)
        own.n_succeeded += 1
        return result

    async def queries(
        self,
        level: QueryLevel | None = None,
        query: Dataset | Attributes | None = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> AsyncGenerator[QueryResult, None]:
        """Find what matches, part by part."""
        for part in parts_of(await self.query(level, query, query_res, report), self.chunk_size):
            yield part

    async def retrieve(
        self, query_res: QueryResult, report: TransferReport | None = None, keep_errors: bool = False
    ) -> AsyncGenerator[Dataset, None]:
        """Give the data sets that a query result names."""

        async def prepare(instance: Instance) -> FileDataset:
            return instance.dataset

        own = TransferReport() if report is None else report
        found = self._give(query_res, Books(own, ("",)), keep_errors)
        async with contextlib.aclosing(give_each(found, prepare, own, report)) as data_sets:
            async for data_set in data_sets:
                yield data_set

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
        """Hand each instance that a query result names to a coroutine, several at a time; see `DataRepo.fetch`."""
        await give_all(self._give(query_res, Books(report, dests), keep_errors), deliver)

    async def remote_copy(
        self, query_res: QueryResult, to: DataSink, report: TransferReport, *, dest: str = ""
    ) -> None:
        """Raise UsageError: nobody here could send by himself."""
        raise UsageError(f"{self.name} cannot send to {to} by itself")

    async def _give(self, query_res: QueryResult, books: Books, keep_errors: bool) -> AsyncGenerator[Instance, None]:
        """Yield what a query result names, and keep books of what is asked for and not here."""
        records = self._records_in(query_res)
        found = {record.text(QueryLevel.IMAGE.uid_tag): record.text(QueryLevel.SERIES.uid_tag) for record in records}
        for uid, series_uid in found.items():
            books.expect([uid], series_uid)
        books.miss(query_res, {record.text(query_res.level.uid_tag) for record in records})
        for uid in found:
            first, *others = self._held[uid]
            yield first
            for other in others:
                books.report.anomaly("duplicate", uid, f"{self.name} has other bytes under this UID, too")
                if keep_errors:
                    yield other

    def _records_in(self, query_res: QueryResult) -> list[Attributes]:
        """The instances that belong to a query result."""
        return self._find(Question(QueryLevel.IMAGE, None, query_res))

    def _find(self, question: Question, report: QueryReport | None = None) -> list[Attributes]:
        """The records of what matches, at the level of the question; counts are of all that there is of a thing."""
        tags = QUERY_TAGS | frozenset(question.keys)
        instances = (_record_of(instance, tags) for instance in self)
        everything = Question(QueryLevel.IMAGE, None, None).answer(instances, None, report or QueryReport())
        records = [*everything.records()]
        modalities: dict[str, set[str]] = {}
        for record in records:
            modalities.setdefault(record.text(QueryLevel.STUDY.uid_tag), set()).add(record.text(_MODALITY))
        found: dict[str, Attributes] = {}
        for record in records:
            of_study = sorted(modalities[record.text(QueryLevel.STUDY.uid_tag)])
            record = record.replace([(_MODALITIES, "CS", tuple(of_study))])
            within = question.within
            if within is not None and record.text(within.level.uid_tag) not in within:
                continue
            uid = record.text(question.level.uid_tag)
            if uid not in found and matches(record, question.valued):
                found[uid] = everything.record(DataNode(question.level, uid))
                if question.level is not QueryLevel.PATIENT:
                    found[uid] = found[uid].replace([(_MODALITIES, "CS", tuple(of_study))])
        return [*found.values()]


def _record_of(instance: Instance, tags: frozenset[int]) -> Attributes:
    """The attributes of an instance, with what it was sent as for its identity."""
    header = peek(instance.read(0, instance.size), instance.transfer_syntax_uid, tags)
    return header.attributes.replace(
        [
            (_SOP_CLASS_UID, "UI", instance.sop_class_uid),
            (QueryLevel.IMAGE.uid_tag, "UI", instance.sop_instance_uid),
            (_TRANSFER_SYNTAXES, "UI", instance.transfer_syntax_uid),
        ]
    )
