"""The segments that a spool has in store: each one has its blocks on the disk before anything is written to it."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable

from dcm.errors import SpoolError, SpoolFullError
from dcm.spool._segment import LARGEST, Segment, fill, make_header
from dcm.text import safe_text

__all__ = ["FLAGS", "Pool", "drop_spare", "name_of_segment", "number_of_segment", "segment_size"]

_log = logging.getLogger(__name__)

_SMALLEST = 256 << 10
# Of the file system: a segment, and those that are spare.
_PART, _SPARE_PART = 256, 50
_FEWEST_SPARE, _MOST_SPARE = 2, 16
# Before anything comes: a study or two are to find blocks that were written before, which take their bytes faster.
_PREPARED = 8
# Then: one that is next, and one that is kept for the journal.
_NEXT, _RESERVE = 1, 1
_SEGMENT, _SPARE = ".seg", ".spare"
FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def segment_size(total: int) -> int:
    """Bytes of a segment in a file system of so many bytes."""
    size = LARGEST
    while size > _SMALLEST and size > total // _PART:
        size //= 2
    return size


def name_of_segment(number: int, ending: str = _SEGMENT) -> str:
    """The file of a segment."""
    return f"{number:012x}{ending}"


def number_of_segment(name: str, ending: str = _SEGMENT) -> int:
    """The number of a segment by the name of its file; 0 where it is none of ours."""
    text = name.removesuffix(ending)
    return int(text, 16) if text != name and len(text) == 12 and not set(text) - set("0123456789abcdef") else 0


def drop_spare(fd: int) -> None:
    """Remove all spare segments in a directory."""
    for name in os.listdir(fd):
        if number_of_segment(name, _SPARE):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=fd)


class Pool:
    """Segments that are spare: files with all their blocks, which a thread of its own makes beforehand.

    Parameters
    ----------
    fd : int
        The directory that they are in, which stays the caller's.
    size : int
        Bytes of a segment.
    check_room : callable
        Raises `SpoolFullError` where so many bytes do not fit on the disk.
    last : int
        The greatest number that a segment ever had.
    """

    def __init__(self, fd: int, size: int, check_room: Callable[[int], None], last: int) -> None:
        found = os.fstatvfs(fd)
        part = found.f_blocks * found.f_frsize // _SPARE_PART // size
        self._fd = fd
        self._size = size
        self._check_room = check_room
        self._most = min(max(part, _FEWEST_SPARE), _MOST_SPARE)
        self._lock = threading.Lock()
        self._spare = [name for name in os.listdir(fd) if number_of_segment(name, _SPARE)]
        self._last = max([last, *(number_of_segment(name, _SPARE) for name in self._spare)])
        self._wanted = threading.Event()
        self._used = False
        self._closing = False
        self._thread = threading.Thread(target=self._prepare_all, name="dcm-spool-log", daemon=True)
        self._thread.start()
        self._wanted.set()

    def close(self) -> None:
        """Make no more of them. What there is is found by the next one who opens the spool."""
        self._closing = True
        self._wanted.set()
        self._thread.join()

    def take(self) -> Segment:
        """A new segment; one that is taken later has a greater number.

        Raises
        ------
        SpoolFullError
            There is no room for one.
        OSError
            None can be made.
        """
        with self._lock:
            # The one that has waited longest: one that the disk does not write to is not the next again.
            spare = self._spare.pop(0) if len(self._spare) > self._kept else ""
            self._used = True
        try:
            return self._begin(spare or self._make(written=False))
        finally:
            self._wanted.set()

    def _begin(self, spare: str) -> Segment:
        """Make a segment of a spare one."""
        number = self._new_number()
        name = name_of_segment(number)
        try:
            fd = os.open(spare, FLAGS, dir_fd=self._fd)
            try:
                if os.fstat(fd).st_size != self._size:  # of an earlier run, on another disk
                    os.ftruncate(fd, 0)
                    fill(fd, self._size, written=False)
                # Its name first: what was read under the old one is not there any more when it is written over.
                os.rename(spare, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
                segment = make_header(fd, number, self._size)
                os.fsync(self._fd)
            except BaseException:
                os.close(fd)
                raise
        except BaseException:
            self._remove([spare, name])
            raise
        return segment

    def give(self, number: int) -> None:
        """Take a segment back that nothing is needed in any more.

        Raises
        ------
        OSError
            That is not possible.
        """
        name, spare = name_of_segment(number), name_of_segment(number, _SPARE)
        with self._lock, contextlib.suppress(FileNotFoundError):  # somebody has removed it
            if len(self._spare) < self._most:
                os.rename(name, spare, src_dir_fd=self._fd, dst_dir_fd=self._fd)
                self._spare.append(spare)
            else:
                os.unlink(name, dir_fd=self._fd)

    def drop(self, *, reserve: bool = False) -> bool:
        """Give the room of those that nobody uses back; whether there were any.

        Parameters
        ----------
        reserve : bool, optional
            Also that of the last one. It is kept for the journal, which must grow on a full disk, too.
        """
        with self._lock:
            kept = 0 if reserve else self._kept
            names, self._spare = self._spare[kept:], self._spare[:kept]
        self._remove(names)
        return bool(names)

    @property
    def _kept(self) -> int:
        """How many are kept for the journal, as soon as anything is written at all."""
        return _RESERVE if self._used else 0

    @property
    def _ready(self) -> int:
        """How many are to be ready."""
        return _NEXT + _RESERVE if self._used else min(_PREPARED, self._most)

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._fd)

    def _new_number(self) -> int:
        with self._lock:
            self._last += 1
            return self._last

    def _make(self, *, written: bool) -> str:
        """Make the file of a spare segment."""
        self._check_room(self._size)
        name = name_of_segment(self._new_number(), _SPARE)
        fd = os.open(name, FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._fd)
        try:
            os.fchmod(fd, 0o600)
            fill(fd, self._size, written=written)
        except BaseException:
            self._remove([name])
            raise
        finally:
            os.close(fd)
        return name

    def _prepare_all(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            try:
                while len(self._spare) < self._ready and not self._closing:
                    # Under load the disk has better things to do than to write zeros; what is used again was written.
                    name = self._make(written=not self._used)
                    with self._lock:
                        self._spare.append(name)
            except SpoolFullError:
                pass  # whoever needs one is told
            except (SpoolError, OSError) as exc:
                _log.warning("cannot make room in the spool beforehand: %s", safe_text(exc))
            if self._closing:
                return
