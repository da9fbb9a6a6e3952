"""What became of each file."""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from dcm.report import Problem, ProblemLog, Progress, Report
from dcm.report._base import cause_lines, human_bytes
from dcm.text import plural

__all__ = ["SortReport", "SortState", "SortedFile"]


class SortState(enum.Enum):
    """The eight states in which a file can end."""

    SORTED = "sorted"  #: it is at its place now
    DUPLICATE = "duplicate"  #: the same data set is at its place already
    CONFLICT = "conflict"  #: other bytes under its UID, or, where nothing is renamed, anything else has its name
    FOREIGN = "foreign"  #: it is not DICOM, or no instance, and nobody will miss it
    TRUNCATED = "truncated"  #: an instance that is not whole; left alone
    UNREADABLE = "unreadable"  #: nobody knows what it is
    FAILED = "failed"  #: it could not be written, or not be removed from where it was after a move
    NOT_REACHED = "not reached"  #: it was looked at, and then the run ended: nothing was done

    @property
    def good(self) -> bool:
        """True where nothing needs to be looked after."""
        return self is SortState.SORTED or self is SortState.DUPLICATE or self is SortState.FOREIGN


_LABELS = {
    SortState.CONFLICT.value: "conflicting",
    SortState.FOREIGN.value: "left alone",
    SortState.TRUNCATED.value: "left alone",
    SortState.UNREADABLE.value: "could not be read",
}


class SortedFile(NamedTuple):
    """What became of one file.

    Attributes
    ----------
    path : str
        The file; a member of an archive is ``ARCHIVE!/NAME``.
    state : SortState
    dest : str
        Where it is now, or what is there in its place, relative to the destination; '' where it did not get that far.
    reason : str
        What there is to say about it; '' in the usual case.
    """

    path: str
    state: SortState
    dest: str = ""
    reason: str = ""

    def to_json(self) -> dict[str, str]:
        """As a JSON object; what is empty is left out."""
        fields = {"path": self.path, "state": self.state.value, "dest": self.dest, "reason": self.reason}
        # The name of a file need not be text; JSON has to be.
        return {name: value.encode("utf-8", "backslashreplace").decode() for name, value in fields.items() if value}


class SortReport(Report):
    """What became of each file.

    Parameters
    ----------
    progress : Progress, optional
        Told how far it is.
    each_file : bool, optional
        Keep what became of every file; else only the counts, and the first files of each cause of trouble.
    clock : callable, optional
        Seconds, for tests.

    Attributes
    ----------
    found : list of SortedFile
        Every file, where that is kept, in the order in which they came to an end.
    counts : dict of SortState to int
        How many files are in each state.
    n_files : int
        How many files were looked at.
    n_bytes : int
        How many bytes the sorted ones have.
    dry_run : bool
        Nothing was written: the states are those that would come out.
    ended_early : bool
        A conflict has ended the run: what comes after it in the sources was not sorted, nor all of it looked at.
    """

    def __init__(
        self,
        progress: Progress | None = None,
        *,
        each_file: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(progress)
        self.found: list[SortedFile] = []
        self.counts = dict.fromkeys(SortState, 0)
        self.n_files = 0
        self.n_bytes = 0
        self.dry_run = False
        self.ended_early = False
        self._each_file = each_file
        self._clock = clock
        self._started = clock()
        self._ended: float | None = None

    def expect(self, n_files: int) -> None:
        """So many more files are going to be looked at, of which more may come."""
        self.n_files += n_files

    def expect_in_all(self, n_more: int) -> None:
        """No more files are going to be looked at than these, besides those that were told."""
        self.progress.expected(self.n_files + n_more)

    def record(self, path: str | bytes, state: SortState, dest: str = "", reason: str = "", n_bytes: int = 0) -> None:
        """Note the end of a file."""
        self.counts[state] += 1
        if state is SortState.SORTED:
            self.n_bytes += n_bytes
        if not (self._each_file or reason) and state.good:
            return
        path = os.fsdecode(path)
        if self._each_file:
            self.found.append(SortedFile(path, state, dest, reason))
        if reason or not state.good:
            self.files.add(Problem(state.value, path, reason, path=path))

    @property
    def keeps_each(self) -> bool:
        """Whether it keeps what became of every file."""
        return self._each_file

    def count_sorted(self, n_files: int, n_bytes: int) -> None:
        """Note the end of files of which nothing else is to be kept."""
        self.counts[SortState.SORTED] += n_files
        self.n_bytes += n_bytes

    def finish(self) -> None:
        """End the measurement of time, and the progress."""
        if self._ended is None:
            self._ended = self._clock()
        self.progress.finished()

    def adds_up(self) -> bool:
        """True where every file that was looked at has a state."""
        return sum(self.counts.values()) == self.n_files

    @property
    def n_lost_files(self) -> int:
        """How many files need to be looked after: those that conflict, are not whole, or could not be used."""
        return sum(n for state, n in self.counts.items() if not state.good)

    @property
    def seconds(self) -> float:
        """How long it took, or has taken by now."""
        return (self._clock() if self._ended is None else self._ended) - self._started

    @property
    def exit_code(self) -> int:
        """0, 3 where some files need to be looked after, 130 where it was interrupted."""
        if self.interrupted:
            return 130
        return 3 if self.n_lost_files or not self.adds_up() else 0

    @property
    def warnings(self) -> list[str]:
        """One line for each cause, with its count and the first files."""
        return self._lines(self.files)

    @property
    def failures(self) -> list[str]:
        """The same, without what nobody needs to look after: none where the exit code is 0."""
        return self._lines(self.files.of_kinds([state.value for state in SortState if not state.good]))

    def _lines(self, files: ProblemLog) -> list[str]:
        lines = cause_lines(files, _LABELS)
        if self.ended_early:
            lines.append("ended at the first conflict: nothing that comes after it was sorted, nor all of it looked at")
        if self.interrupted:
            lines.append("interrupted: what has its name is whole, the other files are where they were")
        return lines

    def summary(self) -> str:
        """Lines for people.

        ``500 files, 250.1 MB in 2.1 s: 498 sorted, 2 duplicate``, then the warnings.
        """
        states = ", ".join(f"{n} {state.value}" for state, n in self.counts.items() if n)
        done = f"{plural(self.n_files, 'file')}"
        if self.n_bytes and not self.dry_run:
            done += f", {human_bytes(self.n_bytes)} in {self.seconds:.1f} s"
        return "\n".join([f"{done}: {states}" if states else "No files.", *self.warnings])

    def to_json(self) -> dict[str, object]:
        """The whole report as a JSON object."""
        return {
            "files": self.n_files,
            "bytes": self.n_bytes,
            "seconds": round(self.seconds, 3),
            "counts": {state.value: n for state, n in self.counts.items()},
            "adds_up": self.adds_up(),
            "interrupted": self.interrupted,
            "ended_early": self.ended_early,
            "dry_run": self.dry_run,
            "exit_code": self.exit_code,
            "each": [file.to_json() for file in self.found],
        }
