"""Running a command's coroutine: signals become cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

__all__ = ["run_async"]

_T = TypeVar("_T")


def run_async(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine; SIGINT and SIGTERM cancel it, so that it can end what it does on the wire and on the disk.

    A second signal ends the process the hard way.

    Raises
    ------
    KeyboardInterrupt
        It was cancelled by a signal, and has ended.
    """
    received: list[int] = []

    async def cancellable() -> _T:
        with _signals_cancel(received):
            return await coroutine

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        if received:
            raise KeyboardInterrupt from None
        raise


@contextlib.contextmanager
def _signals_cancel(received: list[int]) -> Iterator[None]:
    """Let the first signal cancel this task, and note it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    handled: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        received.append(number)
        while handled:
            loop.remove_signal_handler(handled.pop())
        task.cancel()

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            # Not on Windows, nor outside the main thread: there asyncio.run() sees to Ctrl-C as well as it can.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, on_signal, number)
                handled.append(number)
        yield
    finally:
        while handled:
            loop.remove_signal_handler(handled.pop())
