"""Asking a node or a directory many things, and putting the answers together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dcm.errors import InconsistentDataError, NetworkError, OperationFailedError
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from dcm.query._keys import level_of
from dcm.report import QueryReport

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.attrs import Attributes
    from dcm.store import DataRepo

__all__ = ["ask_all", "common_level"]

_Answer: TypeAlias = tuple[QueryResult, QueryReport]


async def ask_all(
    source: DataRepo[Any],
    queries: Sequence[Dataset],
    *,
    at_once: int = 1,
    level: QueryLevel | None = None,
    query_res: QueryResult | None = None,
) -> tuple[QueryResult, QueryReport]:
    """Ask several things, and merge the answers in their order.

    Parameters
    ----------
    source : DataRepo
        Who is asked.
    queries : sequence of Dataset
        At least one. A query that a node refuses is in the report, and the others go on.
    at_once : int
        How many queries are under way at a time.
    level : QueryLevel, optional
        Of all answers. By default as fine as the finest of the queries.
    query_res : QueryResult, optional
        An earlier result, which every query refines.

    Returns
    -------
    QueryResult
        What all of them found.
    QueryReport
        How it went, with all that failed.

    Raises
    ------
    NetworkError
        The only query failed, or nothing was answered before the node could not be reached any more.
    """
    level = common_level(queries) if level is None and len(queries) > 1 else level
    slots = asyncio.Semaphore(at_once)

    async def ask(query: Dataset) -> _Answer:
        async with slots:
            report = QueryReport()
            return await source.query(level, query, query_res, report), report

    tasks = [asyncio.ensure_future(ask(query)) for query in queries]
    try:
        return await _merge_all(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _merge_all(tasks: Sequence[asyncio.Future[_Answer]]) -> _Answer:
    merged: QueryResult | None = None
    report = QueryReport()
    for number, task in enumerate(tasks, 1):
        try:
            await asyncio.wait([task])  # and not the task itself: cancelling this is to cancel all of them at once
            result, one = task.result()
        except NetworkError as exc:
            hopeless = not isinstance(exc, OperationFailedError)
            if len(tasks) == 1 or (hopeless and merged is None):
                raise
            left = len(tasks) - number if hopeless else 0
            for failed in range(number, number + left + 1):
                report.n_queries += 1
                report.fail(f"query {failed}", exc.message)
            if hopeless:  # it would be the same for all the others
                break
            continue
        report.merge(one)
        if merged is None:
            merged = result
        else:
            _merge_into(merged, result, report)
    return merged if merged is not None else QueryResult(QueryLevel.STUDY), report


def _merge_into(merged: QueryResult, result: QueryResult, report: QueryReport) -> None:
    """Add a result; what contradicts the earlier answers is left out and reported."""

    def add(record: Attributes) -> None:
        try:
            merged.add(record)
        except InconsistentDataError as exc:
            report.drop("inconsistent", record.text(result.level.uid_tag), exc.message)

    try:
        merged |= result
    except InconsistentDataError:
        for record in result.records():
            add(record)


def common_level(queries: Sequence[Dataset]) -> QueryLevel | None:
    """The finest level that any of the queries has a key of; None where none of them has a key of any."""
    levels = [level_of(int(element.tag)) for query in queries for element in query]
    return max((level for level in levels if level is not None), default=None)
