"""What comes on a connection: where it is put, when it is acknowledged, and when we do not take any."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["Input"]

# Most CT and MR images come in one piece, then. All connections of a thread share it: what has come is dealt with
# before anything else is read.
_BUFFER_SIZE = 1 << 20
_shared = threading.local()
# Linux only, and the kernel forgets it at each read: without it, a peer that leaves Nagle's algorithm on waits 40 ms
# for our delayed ACK with each instance.
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class Input:
    """The reading half of a connection.

    Parameters
    ----------
    transport : asyncio.Transport

    Attributes
    ----------
    buffer : memoryview
        What is read next goes here, over what was read before, on this connection or another one of the same thread.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        if not hasattr(_shared, "buffer"):
            _shared.buffer = memoryview(bytearray(_BUFFER_SIZE))
        self.buffer: memoryview = _shared.buffer
        self._transport = transport
        self._socket: socket.socket | None = transport.get_extra_info("socket")
        self._reasons: set[str] = set()
        self.acknowledge()

    def acknowledge(self) -> None:
        """Tell the peer's kernel at once that what has come has come."""
        if _QUICKACK is not None and self._socket is not None:
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            except OSError:
                # Not TCP, or closed under us: it was only an optimisation.
                self._socket = None

    @property
    def paused(self) -> bool:
        """Whether somebody wants nothing to be read."""
        return bool(self._reasons)

    def pause(self, why: str) -> None:
        """Stop reading, until each one that paused has resumed."""
        if not self._reasons and not self._transport.is_closing():
            self._transport.pause_reading()
        self._reasons.add(why)

    def resume(self, why: str) -> bool:
        """Go on reading, unless somebody else has paused too; False where this one had not."""
        if why not in self._reasons:
            return False
        self._reasons.discard(why)
        if not self._reasons and not self._transport.is_closing():
            self._transport.resume_reading()
        return True
