"""The bell of a running forwarder: a unix datagram socket in its spool.

Whoever changes the journal from outside, as ``dcm spool retry`` does, rings it, and the forwarder looks again at once.
So neither has to ask the other over and over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["Bell", "ring"]

log = logging.getLogger(__name__)

_NAME = "ctl"
_FD_LINKS = Path("/proc/self/fd")
# Of `sun_path` in unix(7): 108 bytes on Linux, 104 on macOS and the BSDs, a zero at the end.
_MAX_PATH = 103


class Bell:
    """The end that is rung, of the one forwarder that has the lock of the spool.

    Parameters
    ----------
    spool : Path
        The directory of the spool.

    Notes
    -----
    `open` and `close` block, on the disk; `listen` and `ignore` are for the event loop.
    """

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Make the socket. Where that is not possible, changes are noticed at the next start only, which is logged."""
        path = self._spool / _NAME
        sock: socket.socket | None = None
        try:
            # Of a forwarder that was killed: ours is the lock, so that nobody uses it.
            path.unlink(missing_ok=True)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.setblocking(False)
            with _short(self._spool) as address:
                sock.bind(address)
        except (OSError, AttributeError) as error:  # AttributeError: a system without AF_UNIX
            if sock is not None:
                sock.close()
            log.warning("dcm spool retry cannot reach this forwarder while it runs: %s: %s", path, error)
            return
        self._socket = sock

    def listen(self, rung: Callable[[], None]) -> None:
        """Have a function called in the event loop whenever somebody rings."""
        if self._socket is None:
            return
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._readable, rung)

    def ignore(self) -> None:
        """Hear nothing any more."""
        if self._loop is not None and self._socket is not None:
            self._loop.remove_reader(self._socket)
        self._loop = None

    def close(self) -> None:
        """Remove the socket."""
        if self._socket is None:
            return
        self._socket.close()
        self._socket = None
        with contextlib.suppress(OSError):  # the spool is gone; the next one removes it in any case
            (self._spool / _NAME).unlink(missing_ok=True)

    def _readable(self, rung: Callable[[], None]) -> None:
        assert self._socket is not None
        with contextlib.suppress(BlockingIOError, InterruptedError):
            while True:  # however often it was rung meanwhile: once is enough
                self._socket.recv(64)
        rung()


def ring(spool: Path) -> bool:
    """Tell the forwarder of a spool, if one runs, that the journal has changed. Blocks no longer than a file system.

    Returns
    -------
    bool
        Whether somebody heard it.
    """
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sock, _short(spool) as address:
            sock.setblocking(False)
            sock.sendto(b"wake", address)
    except BlockingIOError:
        return True  # it has been rung more often than it could answer
    except (OSError, AttributeError):
        return False
    return True


@contextlib.contextmanager
def _short(spool: Path) -> Iterator[str]:
    """The path of the socket in a form that fits into an address."""
    path = os.fspath(spool / _NAME)
    if len(os.fsencode(path)) <= _MAX_PATH or not _FD_LINKS.is_dir():
        yield path
        return
    directory = os.open(spool, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"{_FD_LINKS}/{directory}/{_NAME}"
    finally:
        os.close(directory)
