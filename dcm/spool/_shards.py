"""Where the files of a spool get their names: numbered directories, a thousand files in each."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import NamedTuple

__all__ = ["DIRECTORY", "Name", "Placed", "Shards", "sync_directory"]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SHARD_BITS = 10  # as many files in a directory, at most


class Name(NamedTuple):
    """Where an instance is: the name of a file of its own says all of this, or it is in a segment of the log.

    Attributes
    ----------
    number : int
        Of its entry.
    received_ns : int
        When it arrived, in nanoseconds since 1970.
    offset : int
        Where its data set begins: preamble and file meta information go before.
    size : int
        Bytes of the data set.
    segment, position : int
        The segment, and where in it the instance begins; 0 for a file of its own.
    check : int
        The checksum of what is in the segment; 0 for a file of its own.
    """

    number: int
    received_ns: int
    offset: int
    size: int
    segment: int = 0
    position: int = 0
    check: int = 0

    def __str__(self) -> str:
        return f"{self.number}-{self.received_ns}-{self.offset}-{self.size}.dcm"

    @property
    def shard(self) -> str:
        """The directory that it is in."""
        return f"{self.number >> _SHARD_BITS:06x}"

    @classmethod
    def parse(cls, name: str) -> Name | None:
        """What a name says; None where it is not one of ours."""
        parts = name.removesuffix(".dcm").split("-")
        if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts):
            return None
        found = cls(*map(int, parts))
        return found if str(found) == name else None


class Shard:
    """A directory in which files get their names now."""

    __slots__ = ("fd", "key", "users")

    def __init__(self, key: str, fd: int) -> None:
        self.key = key
        self.fd = fd
        self.users = 0


class Placed(NamedTuple):
    """A file that has its name; whether the name is on stable storage is another question."""

    name: Name
    shard: Shard


class Shards:
    """The directories below one; files get their names in the last of them.

    Parameters
    ----------
    fd : int
        The directory that they are in, which stays the caller's.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._open: dict[str, Shard] = {}
        self._current = ""
        self._next = 1

    def begin(self, number: int) -> None:
        """Say which number the next file gets; earlier ones belong to those who were here before."""
        with self._lock:
            self._next = number

    def number(self) -> int:
        """A number for an instance that gets no file of its own."""
        with self._lock:
            self._next += 1
            return self._next - 1

    def close(self) -> None:
        """Let go of the directories."""
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1].fd)

    def name(self, offset: int, size: int, received_ns: int) -> Placed:
        """A number, and the directory that its file goes into, which stays until that is released.

        Raises
        ------
        OSError
            The directory cannot be made.
        """
        with self._lock:
            name = Name(self._next, received_ns, offset, size)
            placed = self._placed(name)
            if name.shard != self._current:
                before, self._current = self._open.get(self._current), name.shard
                if before is not None and not before.users:
                    os.close(self._open.pop(before.key).fd)
            self._next += 1
            return placed

    def place(self, name: Name) -> Placed:
        """The directory of a file that has its number already, which stays until it is released.

        Raises
        ------
        OSError
            The directory cannot be made.
        """
        with self._lock:
            return self._placed(name)

    def _placed(self, name: Name) -> Placed:
        shard = self._open.get(name.shard)
        if shard is None:
            shard = self._open[name.shard] = self._make(name.shard)
        shard.users += 1
        return Placed(name, shard)

    def _make(self, key: str) -> Shard:
        try:
            os.mkdir(key, 0o700, dir_fd=self._fd)
        except FileExistsError:
            pass  # of an earlier run
        os.fsync(self._fd)
        return Shard(key, os.open(key, DIRECTORY, dir_fd=self._fd))

    def release(self, placed: Placed) -> None:
        """Say that nothing more is done with a file that got its name."""
        with self._lock:
            shard = placed.shard
            shard.users -= 1
            if not shard.users and shard.key != self._current and self._open.pop(shard.key, None) is not None:
                os.close(shard.fd)

    def drop(self, key: str) -> None:
        """Remove a directory if there is nothing in it, and nobody is going to put something there."""
        with self._lock:
            if key in self._open or key == self._current:
                return
            with contextlib.suppress(OSError):  # not empty, mostly; one that stays is only untidy
                os.rmdir(key, dir_fd=self._fd)

    def all(self) -> list[str]:
        """All directories, in order of arrival."""
        return sorted(
            (name for name in os.listdir(self._fd) if len(name) >= 6 and not set(name) - set("0123456789abcdef")),
            key=lambda name: (len(name), name),
        )

    def sync(self, key: str) -> None:
        """Put all names in a directory on stable storage, and its own.

        Raises
        ------
        OSError
            That failed.
        """
        fd = os.open(key, DIRECTORY, dir_fd=self._fd)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        os.fsync(self._fd)


def sync_directory(path: Path) -> None:
    """Put the names in a directory on stable storage.

    Raises
    ------
    OSError
        That failed.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
