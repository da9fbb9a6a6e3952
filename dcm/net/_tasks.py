"""Several coroutines as one (Python 3.10 has no task groups)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["run_all"]


async def run_all(*coroutines: Coroutine[None, None, None]) -> None:
    """Run coroutines side by side until all have ended.

    The first exception cancels the others, waits for their clean-up, and is raised. Cancelling the caller cancels all.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
