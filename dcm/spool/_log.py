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
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from dcm._atomic import Buffer
from dcm.errors import SpoolError
from dcm.spool._pool import FLAGS, Pool, drop_spare, name_of_segment, number_of_segment
from dcm.spool._segment import LARGEST, MOST_RECORDS, Segment, checksum, is_needed, mark_done
from dcm.spool._segment_reader import Batch, DamagedSegmentError, read_all, read_header
from dcm.spool._shards import DIRECTORY, Name
from dcm.spool._uses import Uses
from dcm.text import safe_text

__all__ = ["MOST_RECORDS", "Log"]

_log = logging.getLogger(__name__)

# A record has no more than such a part of a segment, so that what is left free at its end is little.
_RECORD_PART = 4
# Of a segment that cannot be read: no record takes less than so many bytes.
_LEAST_RECORD = 256


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
        self._owner = False
        self._bad: set[int] = set()
        self.uses = Uses()
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
        self._owner = True
        self._still_needed = still_needed
        os.fsync(self._fd)
        for number in filter(None, map(number_of_segment, os.listdir(self._fd))):
            self.uses.found(number, *needed.get(number, (0, 0)))
        highest = self._highest()
        if self._size:
            # Entries whose segment is gone must not find another one in its place.
            self._pool = Pool(self._fd, self._size, self._check_room, max([0, *needed, *self.uses.numbers()]))
        else:
            drop_spare(self._fd)
        return highest

    def _highest(self) -> int:
        """The greatest number of an instance, or one that is greater: later segments have greater ones."""
        margin = 0
        for number in reversed(self.uses.numbers()):
            try:
                with self.batches(number) as batches:
                    highest = max((record.number for batch in batches for record in batch.records), default=0)
            except (OSError, DamagedSegmentError):
                margin += LARGEST // _LEAST_RECORD  # who knows what was in there
                continue
            if highest:
                return highest + margin
        return margin

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
            self.give_up(names)
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
            # What is on the disk now nobody knows: what comes next must not come behind it, nor ever in that file.
            self._leave(segment, bad=True)
            raise
        self.uses.appended(segment.number, placed)
        return [Name(r.number, r.received_ns, r.offset, r.size, segment.number, r.position, r.check) for r in placed]

    def _begin_next(self) -> Segment:
        assert self._pool is not None
        segment = self._pool.take()
        self.uses.begun(segment.number)
        with self._lock:
            before, self._current = self._current, segment
        if before is not None:
            self._leave(before)
        return segment

    def _leave(self, segment: Segment, *, bad: bool = False) -> None:
        """Write nothing more to a segment; where the disk does not take what is written to it, never again."""
        with self._lock:
            if self._current is segment:
                self._current = None
            if bad:
                self._bad.add(segment.number)
        segment.close()
        self._release(segment.number)

    def recorded(self, names: Sequence[Name]) -> None:
        """Say that instances that were appended have entries in the journal."""
        self.uses.recorded(names)

    def give_up(self, names: Sequence[Name]) -> None:
        """Say that instances that were appended get no entries."""
        self._mark_done(names)
        self.uses.given_up(names)
        self._release_all(names)

    # -- reading --------------------------------------------------------------------------------------------------

    def path(self, name: Name) -> str:
        """The file that an instance is in."""
        return self.path_of(name.segment)

    def path_of(self, number: int) -> str:
        """The file of a segment."""
        return f"{self._root}/{name_of_segment(number)}"

    def read(self, name: Name, offset: int, n: int) -> bytes:
        """Bytes of a record, all of those that are asked for.

        Raises
        ------
        FileNotFoundError
            It is there no more.
        OSError
            It cannot be read.
        """
        file = name_of_segment(name.segment)
        with self._open(name.segment) as fd:
            data = read_all(fd, n, name.position + offset)
            # Before a segment is written over it loses its name: what still has it was not.
            os.stat(file, dir_fd=self._fd, follow_symlinks=False)
        return data

    def is_sound(self, name: Name) -> bool:
        """Whether a record is what was written; raises as `read` does."""
        return checksum([self.read(name, 0, name.offset + name.size)]) == name.check

    def size_of(self, name: Name) -> int:
        """How many bytes of a record can be there.

        Raises
        ------
        OSError
            The segment is gone.
        """
        found = os.stat(name_of_segment(name.segment), dir_fd=self._fd, follow_symlinks=False)
        return max(0, min(found.st_size - name.position, name.offset + name.size))

    @contextlib.contextmanager
    def batches(self, number: int) -> Iterator[Iterator[Batch]]:
        """Give what is in a segment, in order of arrival; nothing where nothing was ever written to it.

        Raises
        ------
        DamagedSegmentError
            It is not what was written.
        OSError
            It cannot be read.
        """
        with self._open(number) as fd:
            segment = read_header(fd)
            # One with another number was about to be used again.
            yield segment.batches() if segment is not None and segment.number == number else iter(())

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
        return [number for number in self.uses.numbers() if not self._is_open(number)]

    def looked(self, number: int, numbers: tuple[int, int], *, sound: bool) -> None:
        """Say what is in a segment of an earlier run; see `Uses`. It is used again if nothing in it is needed."""
        self.uses.looked(number, numbers, sound=sound)
        self._release(number)

    def recount(self, needed: Mapping[int, tuple[int, int]]) -> None:
        """Learn what is needed, where another process has changed the journal; nobody appends or forgets meanwhile."""
        self.uses.recount(needed)
        for number in self.segments():
            self._release(number)

    def forget(self, names: Sequence[Name]) -> None:
        """Say once of instances that had entries that they are needed no more."""
        if self._owner:  # what another process writes could be in a segment that is used again meanwhile
            # First: as soon as the books say that nothing is needed in a segment, it may be used again under our hands.
            self._mark_done(names)
            self.uses.forgotten(names)
            self._release_all(names)

    def discard(self, names: Sequence[Name]) -> None:
        """Write that instances are needed no more; then see what is free."""
        self._mark_done(names)
        self._release_all(names)

    def _mark_done(self, names: Sequence[Name]) -> None:
        """Write that instances are needed no more, for the day on which the journal is lost."""
        by_segment: dict[int, list[Name]] = defaultdict(list)
        for name in names:
            by_segment[name.segment].append(name)
        for number, gone in by_segment.items():
            with contextlib.suppress(OSError), self._open(number, FLAGS) as fd:
                for name in gone:
                    mark_done(fd, name.position)

    def _release_all(self, names: Sequence[Name]) -> None:
        for number in {name.segment for name in names}:
            self._release(number)

    def is_needed(self, name: Name) -> bool:
        """Whether nobody has said of a record that it is needed no more.

        Raises
        ------
        OSError
            It cannot be read.
        """
        with self._open(name.segment) as fd:
            return is_needed(fd, name.position)

    def sparse(self) -> list[int]:
        """Segments that what is needed should move away from."""
        current = self._current
        return self.uses.sparse(self._size, 0 if current is None else current.number) if self._pool is not None else []

    def drop_spare(self, *, reserve: bool = False) -> bool:
        """Give room back that nobody uses, also what is kept for the journal if that is said; whether there was any."""
        pool = self._pool
        return pool is not None and pool.drop(reserve=reserve)

    def _is_open(self, number: int) -> bool:
        current = self._current
        return current is not None and current.number == number

    def _release(self, number: int) -> None:
        """Use a segment again, if nothing in it is needed, and nobody writes to it."""
        pool = self._pool
        with self._lock:
            if not self._owner or self._is_open(number) or not self.uses.is_free(number):
                return
            try:
                if self._still_needed(number, *self.uses.range_of(number)):
                    _log.error("%s of the spool is needed still, and was miscounted", name_of_segment(number))
                    return
                if pool is None or number in self._bad:
                    os.unlink(name_of_segment(number), dir_fd=self._fd)
                    self._bad.discard(number)
                else:
                    pool.give(number)
                self.uses.ended(number)
            except (SpoolError, OSError) as exc:
                _log.warning("cannot use %s of the spool again: %s", name_of_segment(number), safe_text(exc))
