"""One owner of a spool at a time: a lock that ends with its owner, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dcm.errors import SpoolBusyError, UsageError
from dcm.text import safe_text

__all__ = ["OwnerLock", "check_place"]

# What a spool has beside its lock and its journal, and what may be in a directory that is empty to its owner.
_PARTS = frozenset({"log", "data", "ctl"})
_NOTHING = frozenset({"lost+found"})


def check_place(path: Path) -> None:
    """Refuse a directory that somebody has for other things, before anything is made in it.

    Raises
    ------
    UsageError
        It is one.
    OSError
        It cannot be read, or is no directory.
    """
    try:
        names = {name for name in os.listdir(path) if not name.startswith(".")} - _NOTHING
    except FileNotFoundError:
        return
    if names - _PARTS and not any(name == "lock" or name.startswith("journal.") for name in names):
        raise UsageError(
            f"{safe_text(path)} is no spool, and not empty: nothing was made in it",
            hint="give the spool a directory of its own, which need not be there yet",
        )


class OwnerLock:
    """The lock of a spool, with the process that has it written into it.

    Parameters
    ----------
    spool : Path
        The directory of the spool.

    Raises
    ------
    SpoolBusyError
        Another process has it, or this one does.
    OSError
        The file cannot be made.
    """

    def __init__(self, spool: Path) -> None:
        self._fd = os.open(spool / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._take(spool)
        except BaseException:
            self.release()
            raise

    def _take(self, spool: Path) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(self._fd, 32, 0).strip()
            pid = int(text) if text.isdigit() else 0
            who = f"process {pid}" if pid else "another process"
            raise SpoolBusyError(
                f"{who} has the spool {safe_text(spool)}", hint="give each forwarder a spool of its own", pid=pid
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go of it. May be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
