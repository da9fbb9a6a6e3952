"""The way from an event loop into a store whose calls block."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dcm._bridge import Bridge
from dcm.errors import DcmError, StoreError
from dcm.instance import Instance
from dcm.report import Outcome, TransferReport
from dcm.store._tree import reason_of

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from dcm.store.base import Sendable

__all__ = ["StoreQueue"]

_SERIES_INSTANCE_UID = 0x0020000E
_UNDER_WAY = 16  # instances; their bytes are bounded by the bridge


class _Placed(Protocol):
    """What a store says of an instance that it was given."""

    @property
    def path(self) -> Path | None: ...
    @property
    def outcome(self) -> Outcome: ...
    @property
    def reason(self) -> str: ...


class _Result(NamedTuple):
    uid: str
    outcome: Outcome
    reason: str
    path: str | os.PathLike[str] | None = None
    series_uid: str = ""
    size: int = 0
    error: Exception | None = None


class StoreQueue:
    """Instances on their way into a store; an async context manager that waits for them on exit.

    Parameters
    ----------
    store : callable
        Stores one instance, in a worker thread.
    bridge : Bridge
        The threads.
    report : TransferReport
        Learns what became of each.
    dest : str
        The name of the destination in the report.
    """

    def __init__(self, store: Callable[[Instance], _Placed], bridge: Bridge, report: TransferReport, dest: str) -> None:
        self._store = store
        self._bridge = bridge
        self._report = report
        self._dest = dest
        self._slots = asyncio.Semaphore(_UNDER_WAY)
        self._tasks: set[asyncio.Task[bool]] = set()
        self._broken: BaseException | None = None

    async def __aenter__(self) -> StoreQueue:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._cancel()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        except asyncio.CancelledError:
            self._cancel()
            raise
        if kind is None and self._broken is not None:
            raise self._broken

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def put(self, item: Sendable) -> None:
        """Hand over an instance, a data set or the path of a file; waits while too much is under way.

        What becomes of it is in the report. An instance stays the caller's, but must not be closed before the end.

        Raises
        ------
        Exception
            An earlier one met something unforeseen, which ends the transfer.
        """
        await self._slots.acquire()
        if self._broken is not None:
            self._slots.release()
            raise self._broken
        task = asyncio.ensure_future(self._run(item))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[bool]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = self._broken or error

    async def place(self, instance: Instance) -> bool:
        """Store an instance, and say whether it is there now; what became of it is in the report."""
        return await self._run(instance)

    async def _run(self, item: Sendable) -> bool:
        cost = item.size if isinstance(item, Instance) and item.in_memory else 0
        # What is in a thread's hands when we are cancelled gets there all the same, and the report is to say so.
        result = await self._bridge.run(self._work, item, cost=cost, late=self._record)
        self._record(result)
        return result.outcome.good or result.outcome is Outcome.CONFLICT

    def _record(self, result: _Result) -> None:
        self._report.record(
            result.uid,
            result.outcome,
            dest=self._dest,
            n_bytes=result.size if result.outcome.moved else 0,
            series_uid=result.series_uid,
            reason=result.reason,
            path=result.path,
            error=result.error,
        )

    def _work(self, item: Sendable) -> _Result:
        """Store one, in a worker thread."""
        if isinstance(item, Instance):
            return self._place(item)
        try:
            if isinstance(item, (str, os.PathLike)):
                instance = Instance.from_file(item)
            else:
                instance = Instance.from_dataset(item)
        except (DcmError, OSError) as exc:
            cause = exc if isinstance(exc, OSError) else exc.__cause__
            why = cause.strerror if isinstance(cause, OSError) else exc
            name = os.fspath(item) if isinstance(item, (str, os.PathLike)) else str(item.get("SOPInstanceUID", ""))
            return _Result(name, Outcome.FAILED, f"cannot be read: {why}", error=exc)
        with instance:
            return self._place(instance)

    def _place(self, instance: Instance) -> _Result:
        uid = instance.sop_instance_uid
        try:
            stored = self._store(instance)
            series_uid = instance.header.text(_SERIES_INSTANCE_UID)
        except StoreError as exc:
            return _Result(uid, Outcome.FAILED, reason_of(exc), error=exc)
        except DcmError as exc:
            return _Result(uid, Outcome.FAILED, exc.message, error=exc)
        return _Result(uid, stored.outcome, stored.reason, stored.path, series_uid, instance.size)
