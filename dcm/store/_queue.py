"""The way from an event loop into a store whose calls block."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dcm._bridge import Bridge
from dcm.errors import DcmError, StoreError
from dcm.instance import Instance
from dcm.report import Outcome, TransferReport
from dcm.store._tree import reason_of
from dcm.store._under_way import UnderWay

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from pydicom.dataset import Dataset

    from dcm.store.base import Sendable

__all__ = ["StoreQueue"]

_SERIES_INSTANCE_UID = 0x0020000E
_UNDER_WAY = 16  # instances; their bytes are bounded by the bridge
_TOGETHER = 32  # instances, of no more bytes in memory than
_TOGETHER_BYTES = 16 << 20


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
    store_all : callable, optional
        Stores several, in a worker thread, and gives what it says of each, or its error. Where that is given, what
        comes while a thread is at it waits for it, and is then stored together.
    """

    def __init__(
        self,
        store: Callable[[Instance], _Placed],
        bridge: Bridge,
        report: TransferReport,
        dest: str,
        store_all: Callable[[Sequence[Instance]], Sequence[_Placed | DcmError]] | None = None,
    ) -> None:
        self._store = store
        self._store_all = store_all
        self._bridge = bridge
        self._report = report
        self._dest = dest
        self._under_way = UnderWay(_UNDER_WAY)
        self._gathered: deque[tuple[Sendable, asyncio.Future[_Result]]] = deque()
        self._storing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> StoreQueue:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._cancel()
        try:
            await self._under_way.wait()
        except asyncio.CancelledError:
            self._cancel()
            raise
        finally:
            if self._storing is not None:
                await asyncio.wait([self._storing])
        if kind is None and self._under_way.broken is not None:
            raise self._under_way.broken

    def _cancel(self) -> None:
        self._under_way.cancel()
        for _, future in self._gathered:
            future.cancel()

    async def put(self, item: Sendable) -> None:
        """Hand over an instance, a data set or the path of a file; waits while too much is under way.

        What becomes of it is in the report. An instance stays the caller's, but must not be closed before the end.

        Raises
        ------
        Exception
            An earlier one met something unforeseen, which ends the transfer.
        """
        await self._under_way.start(lambda: self._run(item))

    async def place(self, instance: Instance) -> bool:
        """Store an instance, and say whether it is there now; what became of it is in the report."""
        return await self._run(instance)

    async def _run(self, item: Sendable) -> bool:
        if self._store_all is not None:
            result = await self._together(item)
        else:
            # What is in a thread's hands when we are cancelled gets there all the same, and the report is to say so.
            result = await self._bridge.run(self._work, item, cost=_cost(item), late=self._record)
            self._record(result)
        return result.outcome.good or result.outcome is Outcome.CONFLICT

    def _together(self, item: Sendable) -> asyncio.Future[_Result]:
        """Have an instance stored with those that come before the next thread is free."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Result] = loop.create_future()
        self._gathered.append((item, future))
        if self._storing is None:
            self._storing = loop.create_task(self._store_gathered())
        return future

    async def _store_gathered(self) -> None:
        """Store what has come, some at a time, until nothing is left."""
        try:
            while batch := self._next_batch():
                cost = sum(_cost(item) for item, _ in batch)
                # What is in a thread's hands when its caller is cancelled gets there all the same.
                done = await self._bridge.run(self._work_all, [item for item, _ in batch], cost=cost)
                for (_, future), result in zip(batch, done, strict=True):
                    if isinstance(result, _Result):
                        self._record(result)
                    if future.done():
                        continue
                    if isinstance(result, _Result):
                        future.set_result(result)
                    else:
                        future.set_exception(result)
        finally:
            self._storing = None

    def _next_batch(self) -> list[tuple[Sendable, asyncio.Future[_Result]]]:
        batch: list[tuple[Sendable, asyncio.Future[_Result]]] = []
        n_bytes = 0
        while self._gathered and len(batch) < _TOGETHER and n_bytes < _TOGETHER_BYTES:
            item, future = self._gathered.popleft()
            if not future.done():  # nobody waits for it any more
                batch.append((item, future))
                n_bytes += _cost(item)
        return batch

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
        instance = _loaded(item)
        if isinstance(instance, _Result):
            return instance
        with instance:
            return self._place(instance)

    def _work_all(self, items: Sequence[Sendable]) -> Sequence[_Result | Exception]:
        """Store several, in a worker thread."""
        try:
            return self._place_all(items)
        except Exception:  # noqa: BLE001
            # Something unforeseen, which is one of them's only: each has an end of its own.
            return [self._work_or_error(item) for item in items]

    def _work_or_error(self, item: Sendable) -> _Result | Exception:
        try:
            return self._work(item)
        except Exception as exc:  # noqa: BLE001
            return exc

    def _place_all(self, items: Sequence[Sendable]) -> list[_Result]:
        assert self._store_all is not None
        with contextlib.ExitStack() as ours:
            loaded = [item if isinstance(item, Instance) else _loaded(item) for item in items]
            for instance, item in zip(loaded, items, strict=True):
                if isinstance(instance, Instance) and instance is not item:
                    ours.enter_context(instance)
            instances = [instance for instance in loaded if isinstance(instance, Instance)]
            stored = iter(self._store_all(instances))
            return [
                _result(instance, next(stored)) if isinstance(instance, Instance) else instance for instance in loaded
            ]

    def _place(self, instance: Instance) -> _Result:
        try:
            return _result(instance, self._store(instance))
        except DcmError as exc:
            return _result(instance, exc)


def _cost(item: Sendable) -> int:
    """Bytes that it has in memory."""
    return item.size if isinstance(item, Instance) and item.in_memory else 0


def _loaded(item: Dataset | str | os.PathLike[str]) -> Instance | _Result:
    """The instance that a file or a data set is, or why it is none."""
    try:
        if isinstance(item, (str, os.PathLike)):
            return Instance.from_file(item)
        return Instance.from_dataset(item)
    except (DcmError, OSError) as exc:
        cause = exc if isinstance(exc, OSError) else exc.__cause__
        why = cause.strerror if isinstance(cause, OSError) else exc
        name = os.fspath(item) if isinstance(item, (str, os.PathLike)) else str(item.get("SOPInstanceUID", ""))
        return _Result(name, Outcome.FAILED, f"cannot be read: {why}", error=exc)


def _result(instance: Instance, stored: _Placed | DcmError) -> _Result:
    """What a store says of an instance, as a report wants to know it."""
    uid = instance.sop_instance_uid
    if not isinstance(stored, DcmError):
        try:
            series_uid = instance.header.text(_SERIES_INSTANCE_UID)
            return _Result(uid, stored.outcome, stored.reason, stored.path, series_uid, instance.size)
        except DcmError as exc:
            stored = exc
    reason = reason_of(stored) if isinstance(stored, StoreError) else stored.message
    return _Result(uid, Outcome.FAILED, reason, error=stored)
