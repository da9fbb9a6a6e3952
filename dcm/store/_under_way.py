"""Things that are done at the same time, so many of them: what something unforeseen does to one ends them all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

__all__ = ["UnderWay"]


class UnderWay:
    """Tasks that whoever puts something in does not wait for.

    Parameters
    ----------
    most : int
        How many there are at a time.

    Attributes
    ----------
    broken : BaseException or None
        What the first of them raised.
    """

    def __init__(self, most: int) -> None:
        self.broken: BaseException | None = None
        self._slots = asyncio.Semaphore(most)
        self._tasks: set[asyncio.Task[bool]] = set()

    async def start(self, make: Callable[[], Coroutine[object, object, bool]]) -> None:
        """Begin one more; waits while there are too many.

        Raises
        ------
        Exception
            What an earlier one raised.
        """
        await self._slots.acquire()
        if self.broken is not None:
            self._slots.release()
            raise self.broken
        task = asyncio.ensure_future(make())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[bool]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.broken = self.broken or error

    async def wait(self) -> None:
        """Wait until all have ended, however."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cancel(self) -> None:
        """Cut them short."""
        for task in self._tasks:
            task.cancel()
