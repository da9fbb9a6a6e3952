"""What leaves on a connection: handed to the kernel as it lies in memory, and kept only where the kernel is full."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcm.net.wire.pdu import Buffer

__all__ = ["Output"]

# The kernel takes no more of them in one call (UIO_MAXIOV).
_MOST_BUFFERS = 1024


class Output:
    """The writing half of a connection.

    asyncio's transports join the buffers that they are given, and, before Python 3.12, keep another copy of what the
    kernel has no room for. Where a connection is plain TCP and nothing waits, the buffers go straight to the kernel.

    Parameters
    ----------
    transport : asyncio.Transport
    resumed : callable
        Called when the peer reads again.
    """

    def __init__(self, transport: asyncio.Transport, resumed: Callable[[], None]) -> None:
        self._transport = transport
        self._resumed = resumed
        self._can_write: asyncio.Future[None] | None = None
        self._left = 0
        self._socket = _same_socket(transport)

    @property
    def paused(self) -> bool:
        """Whether the peer does not read, so that what we have sent piles up here."""
        return self._can_write is not None

    def write(self, buffers: list[Buffer]) -> None:
        """Send, now or as soon as the kernel has room."""
        if self._socket is not None and not self._transport.get_write_buffer_size() and not self._closing():
            buffers = self._send_now(buffers)
        if buffers:
            self._transport.write(buffers[0] if len(buffers) == 1 else b"".join(buffers))

    def _closing(self) -> bool:
        return self._transport.is_closing()

    def _send_now(self, buffers: list[Buffer]) -> list[Buffer]:
        """Give the kernel what it takes; returns the rest."""
        assert self._socket is not None
        done = 0
        while done < len(buffers):
            some = buffers[done : done + _MOST_BUFFERS]
            try:
                n = self._socket.sendmsg(some)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                # The transport meets the same error, and knows whom to tell.
                break
            for buffer in some:
                if n < len(buffer):
                    return [memoryview(buffer)[n:], *buffers[done + 1 :]]
                n -= len(buffer)
                done += 1
        return buffers[done:]

    def pause(self) -> None:
        """The transport has more than it likes to keep."""
        self._can_write = asyncio.get_running_loop().create_future()
        self._left = self._transport.get_write_buffer_size()

    def resume(self) -> None:
        """The transport has nearly nothing left."""
        self.release()
        self._can_write = None
        self._resumed()

    def release(self) -> None:
        """Let nobody wait any more, whatever is left."""
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_result(None)

    def moves(self) -> bool:
        """Whether the peer reads after all: some of what was left has gone since the last time that this was asked."""
        if not self.paused:
            return False
        # asyncio says when nearly all has left; a peer that reads slowly but steadily goes on, too.
        before, self._left = self._left, self._transport.get_write_buffer_size()
        return self._left < before

    async def drained(self) -> None:
        """Wait while the peer does not read."""
        if self._can_write is not None:
            await asyncio.shield(self._can_write)

    def close(self) -> None:
        """The connection is gone."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _same_socket(transport: asyncio.Transport) -> socket.socket | None:
    """The socket of a transport under a descriptor of our own: asyncio gives no other that can be written to."""
    if transport.get_extra_info("sslcontext") is not None or not hasattr(socket.socket, "sendmsg"):
        return None
    sock = transport.get_extra_info("socket")
    return sock.dup() if sock is not None else None
