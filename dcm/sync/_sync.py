"""The whole way: ask the sources what there is, fetch it, store it at every destination."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dcm.errors import DcmError, NetworkError, StoreError, UsageError
from dcm.levels import QueryLevel
from dcm.report import Outcome, QueryReport, TransferReport

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.attrs import Attributes
    from dcm.instance import Instance
    from dcm.query import QueryResult
    from dcm.store.base import DataRepo, DataSink, InstanceQueue

__all__ = ["sync"]


async def sync(
    sources: DataRepo[Any] | Sequence[DataRepo[Any]],
    dests: DataSink | Sequence[DataSink],
    query: Dataset | Attributes | None = None,
    query_res: QueryResult | None = None,
    dry_run: bool = False,
    *,
    level: QueryLevel | None = None,
    keep_errors: bool = False,
    report: TransferReport | None = None,
) -> TransferReport:
    """Copy what sources have to destinations, and make sure of it instance by instance.

    Parameters
    ----------
    sources : DataRepo or sequence of DataRepo
        One that cannot be reached does not keep the others from being copied.
    dests : DataSink or sequence of DataSink
        Each gets every instance, which is fetched once.
    query : Dataset or Attributes, optional
        What to copy; everything where neither it nor `query_res` is given.
    query_res : QueryResult, optional
        What to copy, as an earlier query has found it; with `query`, what of it matches.
    dry_run : bool
        Only find out what there is to copy: the report then says what would be asked for.
    level : QueryLevel, optional
        The level of the query, see `LocalEntity.query`.
    keep_errors : bool
        Also store duplicates, and instances that are unexpected or contradict what the source said of them.
    report : TransferReport, optional
        Learns what became of each instance while that goes on, and is what is returned. With one, nothing is raised
        for what goes wrong at a source.

    Returns
    -------
    TransferReport

    Raises
    ------
    UsageError
        No source or no destination.
    UsageError
        A destination is not possible: nothing has moved.
    StoreError
        Nothing can be stored at any destination: nothing has moved. One of several fails what is for it, and the rest
        goes on.
    NetworkError
        Without a report: nothing could be done.
    PartialError
        Without a report: some instances failed, are missing or conflict.
    """
    all_sources = [*sources] if isinstance(sources, Sequence) else [sources]
    all_dests = [*dests] if isinstance(dests, Sequence) else [dests]
    if not all_sources or not all_dests:
        raise UsageError(f"no {'destination' if all_sources else 'source'} to sync")
    own = report if report is not None else TransferReport()
    own.dry_run = dry_run
    names = _names(all_dests)
    try:
        async with contextlib.AsyncExitStack() as stack:
            targets = [] if dry_run else await _open(stack, all_dests, names, own)

            async def deliver(instance: Instance) -> bool:
                places = await asyncio.gather(*(target.place(instance) for target in targets))
                errors = [target.error for target in targets if target.error is not None]
                if len(errors) == len(targets):
                    raise next((error for error in errors if isinstance(error, NetworkError)), errors[0])
                return all(places)

            for source in all_sources:
                try:
                    found = await _find(source, query, query_res, level, own)
                    if dry_run:
                        await _list(source, found, own, names)
                    elif len(found):
                        new_temp = next(target.dest.new_temp for target in targets if target.error is None)
                        await source.fetch(found, deliver, own, dests=names, keep_errors=keep_errors, new_temp=new_temp)
                except NetworkError as error:  # noqa: PERF203
                    _give_up(own, names, error)
    except asyncio.CancelledError:
        own.interrupted = True
        raise
    finally:
        if not dry_run:
            own.finish()
    if report is None:
        own.raise_failures()
    return own


def _give_up(report: TransferReport, names: Sequence[str], error: NetworkError) -> None:
    """Say why what is still expected will not come."""
    report.error("", str(error))
    for name in names:
        for uid in report.pending(name):
            report.record(uid, Outcome.FAILED, dest=name, reason=error.message, refused=True)


class _Target:
    """A destination, and what has made it useless."""

    def __init__(self, name: str, dest: DataSink, report: TransferReport) -> None:
        self.dest = dest
        self.error: DcmError | None = None
        self._name = name
        self._queue: InstanceQueue | None = None
        self._report = report

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """Make it ready; one where nothing can be stored fails by itself."""
        try:
            self._queue = await stack.enter_async_context(self.dest.send(self._report, dest=self._name))
        except StoreError as error:
            self.error = error

    async def place(self, instance: Instance) -> bool:
        """Place an instance; a destination that is lost fails by itself, the others go on."""
        if self._queue is not None and self.error is None:
            try:
                return await self._queue.place(instance)
            except NetworkError as error:
                self.error = error
        reason = self.error.message if self.error is not None else ""
        refused = isinstance(self.error, NetworkError)
        uid = instance.sop_instance_uid
        self._report.record(uid, Outcome.FAILED, dest=self._name, reason=reason, refused=refused)
        return False


async def _open(
    stack: contextlib.AsyncExitStack, dests: Sequence[DataSink], names: Sequence[str], report: TransferReport
) -> list[_Target]:
    """Make destinations ready, of which one at least must be."""
    targets = [_Target(name, dest, report) for dest, name in zip(dests, names, strict=True)]
    for target in targets:
        await target.open(stack)
    errors = [target.error for target in targets if target.error is not None]
    if len(errors) == len(targets):
        raise errors[0]
    for error in errors:
        report.error("", error.message, refused=False)
    return targets


def _names(dests: Sequence[DataSink]) -> list[str]:
    """What the report calls the destinations; the only one needs no name."""
    if len(dests) == 1:
        return [""]
    names = [str(dest) for dest in dests]
    if len(set(names)) < len(names):
        raise UsageError("a destination is named twice")
    return names


async def _find(
    source: DataRepo[Any],
    query: Dataset | Attributes | None,
    query_res: QueryResult | None,
    level: QueryLevel | None,
    report: TransferReport,
) -> QueryResult:
    """What of a source is asked for."""
    if query_res is not None and query is None and level is None:
        found = query_res
    else:
        report.progress.phase(f"querying {source}")
        queried = QueryReport()
        found = await source.query(level, query, query_res, queried)
        for text in queried.warnings:
            report.doubt(text)
        for problem in queried.problems:
            if problem.kind == "refused":
                report.error(str(source), problem.message, problem.status)
    n_instances = found.n_instances()
    if n_instances:
        report.announce(n_instances)
    report.progress.phase(f"fetching from {source}")
    return found


async def _list(source: DataRepo[Any], found: QueryResult, report: TransferReport, names: Sequence[str]) -> None:
    """Say which instances a sync would ask for."""
    images = found
    if found.level is not QueryLevel.IMAGE and len(found):
        queried = QueryReport()
        images = await source.query(QueryLevel.IMAGE, None, found, queried)
        for text in queried.warnings:
            report.doubt(text)
    for record in images.records():
        for name in names:
            report.expect([record.text(QueryLevel.IMAGE.uid_tag)], record.text(QueryLevel.SERIES.uid_tag), name)
