"""Units that wait to be fetched: put in by the queries, taken by workers, put back by a worker that has to stop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcm.net._units import Unit

__all__ = ["Backlog"]


class Backlog:
    """A bounded queue whose takers know when there is nothing more to come.

    Parameters
    ----------
    room : int
        How many units may wait before `put` does.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._units: deque[Unit] = deque()
        self._held = 0
        self._ended = False
        self._changed = asyncio.Condition()

    async def put(self, unit: Unit) -> None:
        """Add a unit, as soon as there is room."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._units) < self._room)
            self._units.append(unit)
            self._changed.notify_all()

    async def end(self) -> None:
        """Say that no unit will be added any more."""
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def take(self) -> Unit | None:
        """Take a unit, to be followed by `done` or `put_back`.

        Returns
        -------
        Unit or None
            None where none is left, and nobody holds one that he might put back.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._units or (self._ended and not self._held))
            if not self._units:
                return None
            self._held += 1
            self._changed.notify_all()
            return self._units.popleft()

    async def done(self, put_back: Unit | None = None) -> None:
        """Let go of the unit that was taken, or put it back for somebody else."""
        async with self._changed:
            self._held -= 1
            if put_back is not None:
                self._units.appendleft(put_back)
            self._changed.notify_all()
