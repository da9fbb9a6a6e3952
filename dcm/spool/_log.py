"""The log of a spool: the segments that small instances are written to, one after the other, and used again.

A segment in which nothing is needed any more is used again, and there is always one that is ready (`dcm.spool._pool`):
whoever writes an instance waits for the disk to take its bytes, and for nothing else. What little is needed in a
segment that is otherwise done with moves into a file of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dcm._atomic import Buffer
from dcm.errors import SpoolError
from dcm.spool._pool import FLAGS, Pool, name_of_segment, number_of_segment
from dcm.spool._segment import MOST_RECORDS, Record, Segment, read_header
from dcm.spool._shards import DIRECTORY, Name
from dcm.text import safe_text

__all__ = ["MOST_RECORDS", "Log"]

_log = logging.getLogger(__name__)

# A record has no more than such a part of a segment, so that what is left free at its end is little.
_RECORD_PART = 4
# So many segments, and so many times what is needed in them, may lie about before what is needed is moved.
_SLACK = 8
_SPARSE = 4


@dataclass(slots=True)
class _Use:
    """What is needed in a segment: so many instances, so many bytes; and the numbers of all that ever were in it."""

    n: int = 0
    n_bytes: int = 0
    first: int = 0
    last: int = 0
    looked: bool = True  # of a segment of an earlier run, the numbers are not known until somebody has looked

    def add(self, record: Record) -> None:
        self.n += 1
        self.n_bytes += record.offset + record.size
        self.first = self.first or record.number
        self.last = record.number

    def take(self, names: Sequence[Name]) -> None:
        # Never below nothing: what another process has dropped is counted anew before it is forgotten here.
        self.n = max(0, self.n - len(names))
        self.n_bytes = max(0, self.n_bytes - sum(name.offset + name.size for name in names))


class Log:
    """The segments of a spool.

    One thread at a time calls `append`; all else may be called by any. Only who has the spool for himself calls
    `begin`, and then may write.

    Parameters
    ----------
    root : Path
        Its directory.
    size : int
        Bytes of a segment; 0 where no more is to be written.
    check_room : callable
        Raises `SpoolFullError` where so many bytes do not fit on the disk.
    step : callable
        Told the name of each step before it is done.

    Raises
    ------
    OSError
        It cannot be used.
    """

    def __init__(self, root: Path, size: int, check_room: Callable[[int], None], step: Callable[[str], None]) -> None:
        self._root = root
        self._size = size
        self._check_room = check_room
        self._step = step
        self._lock = threading.Lock()
        self._pool: Pool | None = None
        self._current: Segment | None = None
        self._uses: dict[int, _Use] = {}
        self._still_needed: Callable[[int, int, int], bool] = lambda *_: False
        self._fd = -1
        if size:
            root.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self._fd = os.open(root, DIRECTORY)

    def begin(
        self, needed: Mapping[int, tuple[int, int]], still_needed: Callable[[int, int, int], bool] = lambda *_: False
    ) -> int:
        """Have it for ourselves, and prepare for what comes.

        Parameters
        ----------
        needed : mapping
            By the journal: segments, and how many instances with how many bytes are needed in each.
        still_needed : callable, optional
            Asked before a segment is used again whether, by the journal, anything in it is needed after all; gets the
            segment and the first and last number in it.

        Returns
        -------
        int
            The greatest number of an instance in it; 0 for none.

        Raises
        ------
        OSError
            It cannot be used.
        """
        if self._fd < 0:
            return 0
        self._still_needed = still_needed
        os.fsync(self._fd)
        for number in filter(None, map(number_of_segment, os.listdir(self._fd))):
            self._uses[number] = _Use(*needed.get(number, (0, 0)), looked=False)
        highest = self._highest()
        if self._size:
            # Entries whose segment is gone must not find another one in its place.
            self._pool = Pool(self._fd, self._size, self._check_room, max([0, *needed, *self._uses]))
        return highest

    def _highest(self) -> int:
        """The greatest number of an instance: later segments have greater ones."""
        for number in sorted(self._uses, reverse=True):
            highest = max((record.number for record in self.records(number)), default=0)
            if highest:
                return highest
        return 0

    def close(self) -> None:
        """Let go of it."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
        segment, self._current = self._current, None
        if segment is not None:
            segment.close()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    # -- writing --------------------------------------------------------------------------------------------------

    def takes(self, size: int) -> bool:
        """Whether a record of that many bytes is to be in a segment."""
        return self._pool is not None and size <= self._size // _RECORD_PART

    def append(self, records: Sequence[tuple[int, int, int, int]], images: Sequence[Sequence[Buffer]]) -> list[Name]:
        """Put instances on stable storage; gives where they are.

        Parameters
        ----------
        records : sequence of tuple
            Number, when it arrived, bytes before the data set and bytes of it, of each.
        images : sequence of sequence of buffers
            The bytes of each.

        Raises
        ------
        SpoolFullError
            There is no room for another segment.
        OSError
            It cannot be written. What was written before is not needed.
        """
        names: list[Name] = []
        try:
            while len(names) < len(records):
                start = len(names)
                segment, end = self._place(records, start)
                names += self._append(segment, records[start:end], images[start:end])
        except BaseException:
            self.forget(names)
            raise
        return names

    def _place(self, records: Sequence[tuple[int, int, int, int]], start: int) -> tuple[Segment, int]:
        """The segment that the next records go into, and up to which of them: the present one, or the one after it."""
        sizes = [offset + size for _, _, offset, size in records[start : start + MOST_RECORDS]]
        segment = self._current
        while True:
            n = len(sizes)
            while segment is not None and n and not segment.has_room(sizes[:n]):
                n -= 1
            if segment is not None and n:
                return segment, start + n
            segment = self._begin_next()

    def _append(
        self, segment: Segment, records: Sequence[tuple[int, int, int, int]], images: Sequence[Sequence[Buffer]]
    ) -> list[Name]:
        try:
            placed = segment.append(records, images, self._step)
        except BaseException:
            # What is on the disk now nobody knows: what comes next must not come behind it.
            self._leave(segment)
            raise
        with self._lock:
            for record in placed:
                self._uses[segment.number].add(record)
        return [Name(r.number, r.received_ns, r.offset, r.size, segment.number, r.position) for r in placed]

    def _begin_next(self) -> Segment:
        assert self._pool is not None
        segment = self._pool.take()
        before = self._current
        with self._lock:
            self._uses[segment.number] = _Use()
            self._current = segment
        if before is not None:
            self._leave(before)
        return segment

    def _leave(self, segment: Segment) -> None:
        """Write nothing more to a segment."""
        with self._lock:
            if self._current is segment:
                self._current = None
        segment.close()
        self._release(segment.number)

    # -- reading --------------------------------------------------------------------------------------------------

    def path(self, name: Name) -> str:
        """The file that an instance is in."""
        return f"{self._root}/{name_of_segment(name.segment)}"

    def read(self, name: Name, offset: int, n: int) -> bytes:
        """Bytes of a record.

        Raises
        ------
        FileNotFoundError
            It is there no more.
        OSError
            It cannot be read.
        """
        file = name_of_segment(name.segment)
        with self._open(name.segment) as fd:
            data = os.pread(fd, n, name.position + offset)
            # Before a segment is written over it loses its name: what still has it was not.
            os.stat(file, dir_fd=self._fd, follow_symlinks=False)
        return data

    def size_of(self, name: Name) -> int:
        """How many bytes of a record can be there.

        Raises
        ------
        OSError
            The segment is gone.
        """
        found = os.stat(name_of_segment(name.segment), dir_fd=self._fd, follow_symlinks=False)
        return max(0, min(found.st_size - name.position, name.offset + name.size))

    def records(self, number: int) -> Iterator[Record]:
        """Yield what is in a segment, in order of arrival.

        Raises
        ------
        OSError
            It cannot be read.
        """
        with self._open(number) as fd:
            segment = read_header(fd)
            if segment is not None and segment.number == number:
                yield from segment.scan()

    @contextlib.contextmanager
    def _open(self, number: int, flags: int = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC) -> Iterator[int]:
        fd = os.open(name_of_segment(number), flags, dir_fd=self._fd)
        try:
            yield fd
        finally:
            os.close(fd)

    # -- what is needed -------------------------------------------------------------------------------------------

    def segments(self) -> list[int]:
        """The segments that nobody writes to, in order of arrival."""
        with self._lock:
            return sorted(number for number in self._uses if not self._is_open(number))

    def looked(self, number: int, numbers: tuple[int, int]) -> None:
        """Say from which number to which there are records in a segment of an earlier run."""
        with self._lock:
            use = self._uses.get(number)
            if use is not None:
                use.looked = True
                use.first, use.last = numbers
        self._release(number)

    def adopted(self, name: Name) -> None:
        """Count an instance that is needed after all."""
        with self._lock:
            use = self._uses[name.segment]
            use.n += 1
            use.n_bytes += name.offset + name.size

    def recount(self, needed: Mapping[int, tuple[int, int]]) -> None:
        """Learn what is needed, where another process has changed the journal; nobody appends meanwhile."""
        for number in self.segments():
            with self._lock:
                use = self._uses.get(number)
                if use is not None:
                    use.n, use.n_bytes = needed.get(number, (0, 0))
            self._release(number)

    def forget(self, names: Sequence[Name]) -> None:
        """Say that instances are needed no more."""
        by_segment: dict[int, list[Name]] = defaultdict(list)
        for name in names:
            by_segment[name.segment].append(name)
        for number, gone in by_segment.items():
            # For the day on which the journal is damaged.
            with contextlib.suppress(OSError), self._open(number, FLAGS) as fd:
                for name in gone:
                    Segment(fd, number, b"", self._size).forget(name.position)
            with self._lock:
                use = self._uses.get(number)
                if use is not None:
                    use.take(gone)
            self._release(number)

    def is_needed(self, name: Name) -> bool:
        """Whether nobody has said of a record that it is needed no more.

        Raises
        ------
        OSError
            It cannot be read.
        """
        with self._open(name.segment) as fd:
            return Segment(fd, name.segment, b"", self._size).needs(name.position)

    def held(self, numbers: Iterable[int]) -> set[int]:
        """Those of some numbers that may be in a segment still, needed or not."""
        with self._lock:
            if not all(use.looked for use in self._uses.values()):
                return set(numbers)
            ranges = sorted((use.first, use.last) for use in self._uses.values())
        # Segments do not overlap: numbers are given in the order in which they are written.
        firsts = [first for first, _ in ranges]
        found = ((number, bisect_right(firsts, number) - 1) for number in numbers)
        return {number for number, i in found if i >= 0 and number <= ranges[i][1]}

    def sparse(self) -> list[int]:
        """Segments that what is needed should move away from: the room that they take is many times that."""
        with self._lock:
            left = [
                (use.n_bytes, number)
                for number, use in self._uses.items()
                if use.looked and not self._is_open(number)
            ]  # fmt: skip
        left.sort(reverse=True)
        found: list[int] = []
        while len(left) > _SLACK and len(left) * self._size > _SPARSE * sum(n_bytes for n_bytes, _ in left):
            found.append(left.pop()[1])
        return found

    def drop_spare(self, *, reserve: bool = False) -> bool:
        """Give room back that nobody uses, also what is kept for the journal if that is said; whether there was any."""
        return self._pool is not None and self._pool.drop(reserve=reserve)

    def _is_open(self, number: int) -> bool:
        return self._current is not None and self._current.number == number

    def _release(self, number: int) -> None:
        """Use a segment again, if nothing in it is needed, and nobody writes to it."""
        if self._pool is None:
            return
        with self._lock:
            use = self._uses.get(number)
            if use is None or use.n or not use.looked or self._is_open(number):
                return
            try:
                if self._still_needed(number, use.first, use.last):
                    _log.error("%s of the spool is needed still, and was miscounted", name_of_segment(number))
                    return
                self._pool.give(number)
                del self._uses[number]
            except (SpoolError, OSError) as exc:
                _log.warning("cannot use %s of the spool again: %s", name_of_segment(number), safe_text(exc))
