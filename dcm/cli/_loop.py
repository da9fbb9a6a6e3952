"""Running a command's coroutine: signals become cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

__all__ = ["run_async", "run_service"]

_T = TypeVar("_T")

ENDS = (signal.SIGINT, signal.SIGTERM)
HANG_UP: tuple[signal.Signals, ...] = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()


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


def run_service(
    coroutine: Coroutine[Any, Any, _T], stop: Callable[[], None], hang_up: Callable[[], None] | None = None
) -> tuple[_T, int]:
    """Run a coroutine that ends by itself when it is asked to: SIGINT and SIGTERM ask it. A second one kills.

    Parameters
    ----------
    coroutine : coroutine
    stop : callable
        Asks it, in the event loop.
    hang_up : callable, optional
        Called in the event loop for each SIGHUP. Without it, that asks for the end, too.

    Returns
    -------
    result : object
        What the coroutine returned.
    number : int
        The signal that asked for the end; 0 where none did.
    """
    received: list[int] = []

    async def served() -> _T:
        ends = ENDS if hang_up is not None else (*ENDS, *HANG_UP)
        with _signals_call(ends, stop, received), _hang_up_calls(hang_up):
            return await coroutine

    return asyncio.run(served()), received[0] if received else 0


@contextlib.contextmanager
def _signals_call(numbers: Sequence[signal.Signals], stop: Callable[[], None], received: list[int]) -> Iterator[None]:
    """Let the first of some signals call a function, and note it."""
    loop = asyncio.get_running_loop()
    before: dict[signal.Signals, Any] = {}

    def on_signal(number: signal.Signals) -> None:
        received.append(number)
        for each in before:
            loop.remove_signal_handler(each)
            # asyncio puts Python's own handler back, which for SIGINT would have to wait for the event loop.
            signal.signal(each, signal.SIG_DFL)
        stop()

    for number in numbers:
        handler = signal.getsignal(number)
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, on_signal, number)
            before[number] = handler
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


@contextlib.contextmanager
def _hang_up_calls(call: Callable[[], None] | None) -> Iterator[None]:
    """Let SIGHUP call a function, where there are such signals."""
    if call is None or not HANG_UP:
        yield
        return
    loop = asyncio.get_running_loop()
    (number,) = HANG_UP
    handler = signal.getsignal(number)
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(number, call)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)
        signal.signal(number, handler)


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
