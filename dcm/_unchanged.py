"""Reading a file only as long as it is the one that was looked at before."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from dcm.errors import StoreError

__all__ = ["FileMark", "opened", "reader", "unreadable"]


class FileMark(NamedTuple):
    """What tells whether a file has been changed or replaced."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileMark:
        """The mark of a file."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], mark: FileMark) -> Iterator[int]:
    """Open a file for reading for as long as the block runs; gives its descriptor.

    Raises
    ------
    StoreError
        It cannot be read, or is not what it was: at the beginning, or in the end of a block that raises nothing.
    """
    name = os.fspath(path)
    try:
        # A named pipe that has the name now must not stop us.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as exc:
        raise unreadable(name, exc) from exc
    try:
        if FileMark.of(os.fstat(fd)) != mark:
            raise StoreError(f"{name} has changed since it was looked at")
        yield fd
        if FileMark.of(os.fstat(fd)) != mark:
            raise StoreError(f"{name} changed while it was read")
    finally:
        os.close(fd)


def reader(path: str | os.PathLike[str], fd: int) -> Callable[[int, int], bytes]:
    """Give ``read(position, n)`` for an open file, which reads all that is asked for or raises StoreError."""

    def read(pos: int, n: int) -> bytes:
        try:
            data = os.pread(fd, n, pos)
            while len(data) < n and (more := os.pread(fd, n - len(data), pos + len(data))):
                data += more
        except OSError as exc:
            raise unreadable(os.fspath(path), exc) from exc
        if len(data) < n:
            raise StoreError(f"{os.fspath(path)} is shorter than it was")
        return data

    return read


def unreadable(name: str, exc: OSError) -> StoreError:
    """Make the error for a file that cannot be read; raise it from the OSError."""
    return StoreError(f"cannot read {name}: {exc.strerror or exc}")
