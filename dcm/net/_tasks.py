"""Several coroutines as one, and coroutines with a time limit.

Python 3.10 has neither task groups nor `asyncio.timeout`. Its `wait_for`, up to 3.11, swallows a cancellation that
comes just as the inner task ends, and a worker that goes on after it was cancelled hangs its owner: hence our own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

__all__ = ["cancel_all", "run_all", "within"]

_T = TypeVar("_T")


async def run_all(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run coroutines side by side until all have ended.

    The first exception cancels the others, waits for their clean-up, and is raised. Cancelling the caller cancels all.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await cancel_all(*tasks)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def within(coroutine: Coroutine[Any, Any, _T], seconds: float | None) -> _T:
    """Await a coroutine, for a time.

    Raises
    ------
    asyncio.TimeoutError
        It has not ended in time; it was cancelled, and has ended now.
    """
    task = asyncio.ensure_future(coroutine)
    try:
        await asyncio.wait([task], timeout=seconds)
        in_time = task.done()
    finally:
        await cancel_all(task)
    if not in_time:
        raise asyncio.TimeoutError
    return task.result()


async def cancel_all(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
