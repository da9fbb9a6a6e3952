"""Instances from the network, handed to whoever iterates over a generator."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from dcm.errors import DataError, StoreError
from dcm.report import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dcm.instance import Instance
    from dcm.report import TransferReport

__all__ = ["Gate"]

T = TypeVar("T")


class Gate(Generic[T]):
    """Hands instances over one by one: who puts one in waits until it is taken, so nothing piles up in between.

    Parameters
    ----------
    report : TransferReport
        Learns what was handed over.
    prepare : callable
        ``await prepare(instance)`` makes of an instance what is handed over; where it cannot, that instance fails.
    """

    def __init__(self, report: TransferReport, prepare: Callable[[Instance], Awaitable[T]]) -> None:
        self._report = report
        self._prepare = prepare
        self._waiting: deque[tuple[Instance, T, asyncio.Future[bool]]] = deque()
        self._changed = asyncio.Event()
        self._closed = False
        self._ended = False

    async def put(self, instance: Instance) -> bool:
        """Wait until the instance is taken; returns whether it was."""
        if self._closed:
            return False
        try:
            prepared = await self._prepare(instance)
        except (DataError, StoreError) as error:
            uid = instance.sop_instance_uid
            self._report.record(uid, Outcome.FAILED, reason=f"cannot be decoded: {error.message}")
            return False
        if self._closed:
            return False
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((instance, prepared, taken))
        self._changed.set()
        return await taken

    async def take(self) -> T | None:
        """Return the next instance, None at the end."""
        while not self._waiting:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        instance, prepared, taken = self._waiting.popleft()
        if not taken.done():
            taken.set_result(True)
        self._report.record(instance.sop_instance_uid, Outcome.SENT, n_bytes=instance.size)
        return prepared

    def end(self, _: object = None) -> None:
        """Nothing more will be put in."""
        self._ended = True
        self._changed.set()

    def close(self) -> None:
        """Nobody will take anything any more: whoever waits, or comes later, is refused."""
        self._closed = True
        while self._waiting:
            taken = self._waiting.popleft()[2]
            if not taken.done():
                taken.set_result(False)
