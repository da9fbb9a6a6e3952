"""The whole way: ask the sources what there is, the destinations what they have, and move what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dcm.errors import UsageError
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from dcm.report import TransferReport
from dcm.sync._manager import SyncManager

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.attrs import Attributes
    from dcm.store.base import DataBucket
    from dcm.sync._targets import Validator
    from dcm.sync._ways import Dest

__all__ = ["sync"]


async def sync(
    sources: DataBucket[Any] | Sequence[DataBucket[Any]],
    dests: Dest | Sequence[Dest],
    query: Dataset | Attributes | None = None,
    query_res: QueryResult | None = None,
    dry_run: bool = False,
    *,
    level: QueryLevel | None = None,
    trust_level: QueryLevel = QueryLevel.IMAGE,
    force_all: bool = False,
    keep_errors: bool = False,
    validators: Iterable[Validator] | None = None,
    report: TransferReport | None = None,
) -> TransferReport:
    """Copy what sources have and destinations miss, and make sure of it instance by instance.

    Parameters
    ----------
    sources : DataBucket or sequence of DataBucket
        One after the other. One that cannot be reached does not keep the others from being copied.
    dests : DataSink, StaticRoute, DynamicRoute or sequence of them
        Each gets what it misses; what several miss is fetched once. A route adds a filter and transfer methods; a
        dynamic one decides what is for whom.
    query : Dataset or Attributes, optional
        What to copy; everything where neither it nor `query_res` is given.
    query_res : QueryResult, optional
        What to copy, as an earlier query has found it; with `query`, what of it matches.
    dry_run : bool
        Only find out what would go where: it is pending in the report then.
    level : QueryLevel, optional
        The level of the query, see `LocalEntity.query`.
    trust_level, force_all, keep_errors, validators
        See `SyncManager`.
    report : TransferReport, optional
        Learns what became of each instance while that goes on, and is what is returned. With one, nothing is raised
        for what goes wrong at a source.

    Returns
    -------
    TransferReport

    Raises
    ------
    UsageError
        No source or no destination; one that is both; one that cannot be written to; one that cannot be reached by
        the methods given. Nothing has moved.
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
    managers = [
        SyncManager(source, all_dests, trust_level, force_all, keep_errors, validators, own) for source in all_sources
    ]
    for manager in managers[1:]:
        # Edits may give instances of different sources one UID.
        manager.claims = managers[0].claims
    try:
        # All of them, before anything moves for the first.
        for manager in managers:
            await manager.check()
        for manager in managers:
            async with manager:
                if dry_run:
                    await manager.preview(query_res, query=query, level=level)
                else:
                    await manager.sync(query_res, query=query, level=level)
    except asyncio.CancelledError:
        own.interrupted = True
        raise
    finally:
        if not dry_run:
            own.finish()
    if report is None:
        own.raise_failures()
    return own
