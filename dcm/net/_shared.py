"""One listener for all who listen in an event loop: it is open while somebody uses it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from dcm._bridge import Bridge
from dcm.net._listener import CLOSE_WITHIN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from dcm.net._listener import Listener

__all__ = ["Listeners", "SharedListener"]


class Listeners:
    """The listeners of an entity, one for each event loop in which somebody listens.

    Parameters
    ----------
    make : callable
        Makes a listener with a bridge.
    """

    def __init__(self, make: Callable[[Bridge], Listener]) -> None:
        self._make = make
        self._shared: WeakKeyDictionary[asyncio.AbstractEventLoop, SharedListener] = WeakKeyDictionary()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Listener]:
        """The listener of the running event loop, which lives as long as somebody is in here."""
        loop = asyncio.get_running_loop()
        shared = self._shared.get(loop)
        if shared is None:
            shared = self._shared[loop] = SharedListener(self._make)
        shared.wanted += 1
        try:
            async with shared as listener:
                yield listener
        finally:
            shared.wanted -= 1
            if not shared.wanted:
                # Its lock may know the event loop: a weak key alone would not let go of that.
                del self._shared[loop]


class SharedListener:
    """The listener of an entity in one event loop: open while somebody uses it.

    Parameters
    ----------
    make : callable
        Makes a listener with a bridge.

    Attributes
    ----------
    wanted : int
        How many use it, or wait for it; kept by whoever keeps the listener.
    """

    def __init__(self, make: Callable[[Bridge], Listener]) -> None:
        self.wanted = 0
        self._make = make
        self._users = 0
        self._lock = asyncio.Lock()
        self._open: tuple[Bridge, Listener] | None = None

    async def __aenter__(self) -> Listener:
        async with self._lock:
            if self._open is None:
                bridge = Bridge()
                await bridge.__aenter__()
                listener = self._make(bridge)
                try:
                    await listener.open()
                except BaseException:
                    await bridge.__aexit__()
                    raise
                self._open = bridge, listener
            self._users += 1
            return self._open[1]

    async def __aexit__(self, *exc_info: object) -> None:
        # Before the lock: whoever is cancelled while he waits for it has left all the same.
        self._users -= 1
        failed = exc_info[:1] not in ((), (None,))
        async with self._lock:
            if self._users == 0 and self._open is not None:
                (bridge, listener), self._open = self._open, None
                try:
                    await listener.close(patience=CLOSE_WITHIN if failed else None)
                finally:
                    await bridge.__aexit__()
