"""One scan at a time: a lock that ends with its owner, however that ends."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["ScanLock"]

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
_INTERVAL = 0.1  # seconds


class ScanLock:
    """Keeps other threads, and other processes, from scanning a directory.

    Parameters
    ----------
    threads : threading.Lock
        The lock within this process.
    path : Path or None
        The file that is locked against other processes; None for an index that is in memory.
    """

    def __init__(self, threads: threading.Lock, path: Path | None) -> None:
        self._threads = threads
        self._path = path
        self._mine = False
        self._fd = -1

    def acquire(self, *, blocking: bool) -> bool:
        """Take the lock, or say that somebody else has it.

        Raises
        ------
        OSError
            The file cannot be made.
        """
        if not self._mine and not self._threads.acquire(blocking=blocking):
            return False
        self._mine = True
        if self._path is None:
            return True
        if self._fd < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            # The kernel releases it when we die. (A lock of fcntl() would be lost whenever a thread closes the file.)
            fcntl.flock(self._fd, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError as exc:
            # Where a file system has no locks, two scans do the same work; each of their transactions is sound.
            if exc.errno not in _NO_LOCKS:
                raise
        return True

    def wait(self, stop: Callable[[], bool] | None) -> bool:
        """Wait for the lock; False where it was not to be had before `stop` gave True."""
        if stop is None:
            return self.acquire(blocking=True)
        # Nobody wakes us when `stop` changes its mind, so it is asked ten times a second.
        while not self.acquire(blocking=False):
            if stop():
                return False
            time.sleep(_INTERVAL)
        return True

    def release(self) -> None:
        """Let go of it. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._mine:
            self._mine = False
            self._threads.release()
