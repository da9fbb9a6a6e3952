"""Reading a file only as long as it is the one that was looked at before."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from dcm.errors import StoreError

__all__ = ["FileMark", "check_unchanged", "opened", "reader", "unreadable"]


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

    def fits(self, status: os.stat_result) -> bool:
        """Whether it is the mark of a file."""
        return (
            self.mtime_ns == status.st_mtime_ns
            and self.size == status.st_size
            and self.inode == status.st_ino
            and self.device == status.st_dev
        )


def check_unchanged(path: str | os.PathLike[str], mark: FileMark) -> os.stat_result:
    """See whether a file is still what it was; what it looks like.

    Raises
    ------
    StoreError
        It is not, or it is gone.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - no Path for each of a million files
    except OSError as exc:
        raise unreadable(os.fspath(path), exc) from exc
    if not mark.fits(status):
        raise StoreError(f"{os.fspath(path)} has changed since it was looked at")
    return status


class opened:
    """Open a file for reading for as long as the block runs; gives its descriptor.

    Parameters
    ----------
    path : path
        The file.
    mark : FileMark
        What it looked like.
    fd : int, optional
        The file itself, where somebody has it open and leaves it so; else -1.

    Raises
    ------
    StoreError
        It cannot be read, or is not what it was: at the beginning, or in the end of a block that raises nothing.
    """

    __slots__ = ("_fd", "_mark", "_name", "_own")

    def __init__(self, path: str | os.PathLike[str], mark: FileMark, fd: int = -1) -> None:
        self._name = os.fspath(path)
        self._mark = mark
        self._fd = fd
        self._own = fd < 0

    def __enter__(self) -> int:
        if self._own:
            try:
                # A named pipe that has the name now must not stop us.
                self._fd = os.open(self._name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            except OSError as exc:
                raise unreadable(self._name, exc) from exc
        try:
            if not self._mark.fits(os.fstat(self._fd)):
                raise StoreError(f"{self._name} has changed since it was looked at")
        except BaseException:
            self._close()
            raise
        return self._fd

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None and not self._mark.fits(os.fstat(self._fd)):
                raise StoreError(f"{self._name} changed while it was read")
        finally:
            self._close()

    def _close(self) -> None:
        if self._own:
            os.close(self._fd)


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
