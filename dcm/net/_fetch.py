"""A retrieval with all that it needs: the queries that name the instances, both ways to fetch, the threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, TypeVar

from dcm._bridge import Bridge
from dcm.errors import NetworkError, OperationFailedError, UsageError
from dcm.levels import QueryLevel
from dcm.net._finder import Finder
from dcm.net._gate import Gate
from dcm.net._incoming import Nobody, StoreService
from dcm.net._lines import GetLine, MoveLine
from dcm.net._listener import temp_file
from dcm.net._policy import EventFilter
from dcm.net._retrieve import Retrieval
from dcm.net._units import Unit, units_of
from dcm.node import DicomOpType
from dcm.report import QueryReport, TransferReport
from dcm.store._queue import StoreQueue

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

    from dcm._atomic import TempFile
    from dcm.attrs import Attributes
    from dcm.instance import Instance
    from dcm.net._entity import LocalEntity
    from dcm.net._lines import Line
    from dcm.node import RemoteNode
    from dcm.query import QueryResult
    from dcm.store.local_dir import LocalDir, Stored

__all__ = ["Fetch", "settle_report"]

log = logging.getLogger(__name__)

# Orthanc serves four associations at a time, one of them for our queries: with one more than it has threads it lets
# each wait for a second, and takes forty times as long.
_MOST_LINES = 3
_T = TypeVar("_T")
_PATIENT_ID, _STUDY_UID, _SERIES_UID = 0x00100020, 0x0020000D, 0x0020000E


class Fetch:
    """Fetches from one peer. An asynchronous context manager.

    Parameters
    ----------
    entity : LocalEntity
    remote : RemoteNode
    new_temp : callable
        Makes the files for large instances, best where they will stay.
    """

    def __init__(self, entity: LocalEntity, remote: RemoteNode, new_temp: Callable[[], TempFile] | None = None) -> None:
        self.bridge = Bridge()
        self._entity = entity
        self._remote = remote
        self._new_temp = new_temp or temp_file
        # The other associations that the peer allows are for fetching.
        self._finder = Finder(entity.local, remote, Nobody(), most=1)
        self._stack = contextlib.AsyncExitStack()
        self._lock = asyncio.Lock()
        self._listening = False

    async def __aenter__(self) -> Fetch:
        await self._stack.enter_async_context(self.bridge)
        self._stack.push_async_callback(self._finder.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def run(
        self,
        query_res: QueryResult,
        deliver: Callable[[Instance], Awaitable[bool]],
        report: TransferReport,
        *,
        dests: Sequence[str] = ("",),
        keep_errors: bool = False,
    ) -> None:
        """Fetch all that a query result names; see `Retrieval`.

        Raises
        ------
        NetworkError
            The peer cannot be reached, or refuses in every way.
        """
        retrieval = Retrieval(self._remote, deliver, report, dests=dests, keep_errors=keep_errors)
        service = StoreService(self.bridge, lambda _: self._new_temp, retrieval.received)
        entity, remote = self._entity, self._remote

        async def listening() -> None:
            await self._listen(retrieval)

        lines: dict[str, Callable[[], Line]] = {}
        if remote.supports(DicomOpType.GET):
            lines["GET"] = lambda: GetLine(entity.local, remote, service)
        if remote.supports(DicomOpType.MOVE):
            lines["MOVE"] = lambda: MoveLine(entity.local, remote, service, listening)
        if not any(method in lines for method in remote.retrieve_methods):
            raise UsageError(
                f"{remote} has no way to fetch from it in its settings",
                hint="retrieve_methods and supported_ops must both name GET or MOVE",
            )
        try:
            units = self.units(query_res, report)
            await retrieval.run(units, lines, max(1, min(remote.max_assoc - 1, _MOST_LINES)), self._finder.close)
        finally:
            await service.close()

    async def stream(
        self,
        query_res: QueryResult,
        prepare: Callable[[Instance], Awaitable[_T]],
        report: TransferReport | None,
        keep_errors: bool = False,
    ) -> AsyncGenerator[_T, None]:
        """Fetch, and yield what `prepare` makes of each instance that comes."""
        own = report if report is not None else TransferReport()
        gate = Gate(own, prepare)
        task = asyncio.ensure_future(self.run(query_res, gate.put, own, keep_errors=keep_errors))
        task.add_done_callback(gate.end)
        error: NetworkError | None = None
        try:
            while (instance := await gate.take()) is not None:
                yield instance
            await task
        except NetworkError as exc:
            error = exc
        except (asyncio.CancelledError, GeneratorExit):
            own.interrupted = True
            raise
        finally:
            # Let go of the peer first: it may be waiting for our answer, and would not hear a C-CANCEL before.
            gate.close()
            task.cancel()
            await asyncio.wait([task])
            own.finish()
        settle_report(own, report, error)

    async def into(self, dest: LocalDir, query_res: QueryResult, report: TransferReport | None) -> list[Path]:
        """Fetch, and store in a directory; returns the files that are there now."""
        await self.bridge.run(dest.check)
        own = report if report is not None else TransferReport()
        paths: list[Path] = []

        def store(instance: Instance) -> Stored:
            stored = dest.store(instance)
            paths.append(stored.path)
            return stored

        error: NetworkError | None = None
        try:
            await self.run(query_res, StoreQueue(store, self.bridge, own, "").place, own)
        except NetworkError as exc:
            error = exc
        except asyncio.CancelledError:
            own.interrupted = True
            raise
        finally:
            own.finish()
        settle_report(own, report, error)
        return paths

    async def _listen(self, retrieval: Retrieval) -> None:
        """Open our listener, once, for what the peer will send."""
        async with self._lock:
            if not self._listening:
                listener = await self._stack.enter_async_context(self._entity.listening())
                event_filter = EventFilter(frozenset({DicomOpType.STORE}))
                private = self._remote.private_store_classes
                entry = await listener.register(retrieval.received, event_filter, self._new_temp, private)
                self._stack.push_async_callback(listener.unregister, entry)
                self._listening = True

    # -- which instances there are -------------------------------------------------------------------------------------

    async def units(self, query_res: QueryResult, report: TransferReport) -> AsyncGenerator[Unit, None]:
        """Yield what to fetch, study by study, asking the peer for the instances of each.

        The queries have an association of their own, which is gone when the last unit is known. From a peer that
        allows only one, all units are known before the first is yielded.
        """
        units = self._units(query_res, report)
        if self._remote.max_assoc == 1:
            units = _each([unit async for unit in units])
            await self._finder.close()
        async with contextlib.aclosing(units):
            async for unit in units:
                yield unit
        await self._finder.close()

    async def _units(self, query_res: QueryResult, report: TransferReport) -> AsyncGenerator[Unit, None]:
        if query_res.level is QueryLevel.IMAGE:
            for unit in units_of(query_res.records(), whole_series=False):
                yield unit
            return
        if query_res.level is QueryLevel.PATIENT and len(query_res):
            queried = QueryReport()
            n_patients = len(query_res)
            query_res = await self._finder.query(QueryLevel.STUDY, None, query_res, queried)
            for text in queried.warnings:
                report.doubt(text)
            if sum(1 for _ in query_res.patients()) < n_patients:
                report.doubt("some of the patients have no studies any more")
        for study in query_res.level_sub_queries(QueryLevel.STUDY) if len(query_res) else ():
            queried = QueryReport()
            try:
                images = await self._finder.query(QueryLevel.IMAGE, None, study, queried)
            except OperationFailedError as error:
                log.warning("%s", error.message)
                images = None
            for text in queried.warnings:
                report.doubt(text)
            if images is not None and len(images):
                for unit in units_of(images.records(), whole_series=True):
                    yield unit
            else:
                for record in study.records():
                    yield _open_ended(record, study.level)


def _open_ended(record: Attributes, level: QueryLevel) -> Unit:
    """A unit for a study or series whose instances the peer does not name."""
    level = max(level, QueryLevel.STUDY)
    return Unit(level, record.text(_PATIENT_ID), record.text(_STUDY_UID), record.text(_SERIES_UID))


async def _each(units: Iterable[Unit]) -> AsyncGenerator[Unit, None]:
    for unit in units:
        yield unit


def settle_report(own: TransferReport, given: TransferReport | None, error: NetworkError | None = None) -> None:
    """End an operation: with a report the caller looks there, without one failures are raised and warnings logged."""
    if given is not None:
        if error is not None:
            given.error("", str(error))
        return
    if error is not None:
        raise error
    for text in own.warnings:
        log.warning("%s", text)
    own.raise_failures()
