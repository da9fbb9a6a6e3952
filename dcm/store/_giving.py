"""Handing out the instances of a store that reads them itself: to a coroutine, several at a time, or one by one."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from dcm.errors import DataError, StoreError
from dcm.levels import QueryLevel
from dcm.report import Outcome, TransferReport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Iterable, Sequence

    from dcm.instance import Instance
    from dcm.query import QueryResult

__all__ = ["Books", "give_all", "give_each"]

_MOST = 32  # instances in the hands of the receiver
_MOST_BYTES = 64 << 20
_T = TypeVar("_T")


class Books:
    """The report of what is asked of a source, for several destinations at once.

    Parameters
    ----------
    report : TransferReport
    dests : sequence of str
        The destinations in the report that each instance is for.
    """

    def __init__(self, report: TransferReport, dests: Sequence[str]) -> None:
        self.report = report
        self._dests = dests

    def expect(self, uids: Iterable[str], series_uid: str = "") -> None:
        """Say that instances are asked for."""
        uids = [*uids]
        for dest in self._dests:
            self.report.expect(uids, series_uid, dest)

    def miss(self, query_res: QueryResult, found: Container[str]) -> None:
        """Say what of a query result is not there.

        Parameters
        ----------
        query_res : QueryResult
            What was asked for.
        found : container of str
            The unique keys at its level that something is there of.
        """
        level = query_res.level
        for record in query_res.records():
            uid = record.text(level.uid_tag)
            if uid in found:
                continue
            if level is QueryLevel.IMAGE:
                self.expect([uid], record.text(QueryLevel.SERIES.uid_tag))
                self.lose(uid, "it is not there", outcome=Outcome.MISSING)
            else:
                # A PatientID is nothing for a report.
                subject = "" if level is QueryLevel.PATIENT else uid
                self.report.error(subject, f"nothing is there of the {level.name.lower()}", refused=False)

    def lose(self, uid: str, reason: str, *, outcome: Outcome = Outcome.FAILED, path: str | None = None) -> None:
        """Say that an instance will not come."""
        for dest in self._dests:
            self.report.record(uid, outcome, dest=dest, reason=reason, path=path)


async def give_all(found: AsyncGenerator[Instance, None], deliver: Callable[[Instance], Awaitable[bool]]) -> None:
    """Hand instances to a coroutine, several at a time, as long as they do not hold too much memory.

    Parameters
    ----------
    found : asynchronous generator of Instance
        It is closed in the end.
    deliver : callable
        What it raises ends everything, and is raised here.
    """
    tasks: dict[asyncio.Task[bool], int] = {}
    done: deque[asyncio.Task[bool]] = deque()
    changed = asyncio.Event()
    n_bytes = 0

    def ended(task: asyncio.Task[bool]) -> None:
        done.append(task)
        changed.set()

    def settle() -> None:
        nonlocal n_bytes
        changed.clear()
        while done:
            task = done.popleft()
            n_bytes -= tasks.pop(task)
            if not task.cancelled():
                task.result()

    async def run(instance: Instance) -> bool:
        with instance:
            return await deliver(instance)

    try:
        async with contextlib.aclosing(found):
            async for instance in found:
                cost = instance.size if instance.in_memory else 0
                settle()
                while tasks and (len(tasks) >= _MOST or n_bytes + cost > _MOST_BYTES):
                    await changed.wait()
                    settle()
                task = asyncio.ensure_future(run(instance))
                tasks[task] = cost
                n_bytes += cost
                task.add_done_callback(ended)
        while tasks:
            await changed.wait()
            settle()
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def give_each(
    found: AsyncGenerator[Instance, None],
    prepare: Callable[[Instance], Awaitable[_T]],
    own: TransferReport,
    given: TransferReport | None,
) -> AsyncGenerator[_T, None]:
    """Yield what a coroutine makes of each instance.

    Parameters
    ----------
    found : asynchronous generator of Instance
        It is closed in the end.
    prepare : callable
        Makes of an instance what is yielded; where it cannot, that instance fails.
    own, given : TransferReport
        The report, and the one of the caller: without that, failures are raised in the end.
    """
    try:
        async with contextlib.aclosing(found):
            async for instance in found:
                try:
                    prepared = await prepare(instance)
                except (DataError, StoreError) as error:
                    reason = f"cannot be decoded: {error.message}"
                    own.record(instance.sop_instance_uid, Outcome.FAILED, reason=reason)
                    continue
                own.record(instance.sop_instance_uid, Outcome.SENT, n_bytes=instance.size)
                yield prepared
    except (asyncio.CancelledError, GeneratorExit):
        own.interrupted = True
        raise
    finally:
        own.finish()
    if given is None:
        own.raise_failures()
