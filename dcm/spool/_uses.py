"""What is needed in the segments of a log: so much that each of them is used again in time, and none too early."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dcm.spool._segment import Record
from dcm.spool._shards import Name

__all__ = ["Uses"]

# So many segments, and so many times what is needed in them, may lie about before what is needed is moved.
_SLACK = 8
_SPARSE = 4
_NO_END = 1 << 62


@dataclass(slots=True)
class _Use:
    """One segment.

    Attributes
    ----------
    n, n_bytes : int
        Instances that have an entry which is not through, and their bytes.
    pending : int
        Instances that are written, and have no entry yet.
    first, last : int
        The numbers of all that ever were in it; 0 for none.
    known : bool
        Whether these are known: of a segment of an earlier run they are not until somebody has looked.
    kept : bool
        Something in it is not what was written: it is never used again.
    """

    n: int = 0
    n_bytes: int = 0
    pending: int = 0
    first: int = 0
    last: int = 0
    known: bool = True
    kept: bool = False

    @property
    def is_free(self) -> bool:
        return self.known and not (self.n or self.pending or self.kept)


class Uses:
    """The books of a log. Any thread may use them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._uses: dict[int, _Use] = {}

    def found(self, number: int, n: int, n_bytes: int) -> None:
        """There is a segment of an earlier run, in which so much is needed by the journal."""
        with self._lock:
            self._uses[number] = _Use(n, n_bytes, known=False)

    def begun(self, number: int) -> None:
        """There is a new segment."""
        with self._lock:
            self._uses[number] = _Use()

    def ended(self, number: int) -> None:
        """There is none with that number any more."""
        with self._lock:
            self._uses.pop(number, None)

    def numbers(self) -> list[int]:
        """All segments, in order of arrival."""
        with self._lock:
            return sorted(self._uses)

    def appended(self, number: int, records: Sequence[Record]) -> None:
        """Something was written: until it has an entry, or has not got one, the segment stays."""
        with self._lock:
            use = self._uses[number]
            use.pending += len(records)
            use.first = use.first or records[0].number
            use.last = records[-1].number

    def recorded(self, names: Iterable[Name]) -> None:
        """What was written has entries."""
        with self._lock:
            for name in names:
                use = self._uses[name.segment]
                use.pending -= 1
                use.n += 1
                use.n_bytes += name.offset + name.size

    def given_up(self, names: Iterable[Name]) -> None:
        """What was written gets no entries."""
        with self._lock:
            for name in names:
                self._uses[name.segment].pending -= 1

    def forgotten(self, names: Iterable[Name]) -> None:
        """What had entries is through; say it once of each."""
        with self._lock:
            for name in names:
                use = self._uses.get(name.segment)
                if use is not None:
                    # Never below nothing: what another process has dropped may have been counted anew before.
                    use.n = max(0, use.n - 1)
                    use.n_bytes = max(0, use.n_bytes - name.offset - name.size)

    def looked(self, number: int, numbers: tuple[int, int], *, sound: bool) -> None:
        """Say from which number to which there are records in an old segment, and whether all are sound."""
        with self._lock:
            use = self._uses.get(number)
            if use is not None:
                use.known = True
                use.kept = not sound
                use.first, use.last = numbers

    def recount(self, needed: Mapping[int, tuple[int, int]]) -> None:
        """Learn what the journal says; nobody changes it meanwhile."""
        with self._lock:
            for number, use in self._uses.items():
                use.n, use.n_bytes = needed.get(number, (0, 0))

    def is_free(self, number: int) -> bool:
        """Whether a segment can be used again, as far as the books tell."""
        with self._lock:
            use = self._uses.get(number)
            return use is not None and use.is_free

    def range_of(self, number: int) -> tuple[int, int]:
        """The numbers that may be in a segment."""
        with self._lock:
            use = self._uses.get(number)
            return (0, _NO_END) if use is None or not use.known else (use.first, use.last)

    def held(self, numbers: Iterable[int]) -> set[int]:
        """Those of some numbers that may be in a segment still, needed or not."""
        with self._lock:
            uses = list(self._uses.values())
        if not all(use.known for use in uses):
            return set(numbers)
        kept = [(use.first, use.last) for use in uses if use.kept]
        # The others do not overlap: numbers are given in the order in which they are written.
        ranges = sorted((use.first, use.last) for use in uses if not use.kept)
        firsts = [first for first, _ in ranges]
        held = set()
        for number in numbers:
            i = bisect_right(firsts, number) - 1
            if (i >= 0 and number <= ranges[i][1]) or any(first <= number <= last for first, last in kept):
                held.add(number)
        return held

    def sparse(self, size: int, current: int) -> list[int]:
        """Segments that what is needed should move away from: the room that they take is many times that.

        Parameters
        ----------
        size : int
            Bytes of a segment.
        current : int
            The one that is written to, which is left alone.
        """
        with self._lock:
            left = [
                (use.n_bytes, number)
                for number, use in self._uses.items()
                if use.known and not use.kept and not use.pending and number != current
            ]
        left.sort(reverse=True)
        total = sum(n_bytes for n_bytes, _ in left)
        found: list[int] = []
        while len(left) > _SLACK and len(left) * size > _SPARSE * total:
            n_bytes, number = left.pop()
            total -= n_bytes
            found.append(number)
        return found
