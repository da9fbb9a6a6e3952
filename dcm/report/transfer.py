"""What became of the instances that a transfer was asked for: one state for each instance and destination."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from dcm.report._base import Report
from dcm.report._states import ORDER, State, States
from dcm.report._words import headline, warning_lines
from dcm.report.outcome import Outcome, Problem, ProblemLog
from dcm.report.progress import Progress
from dcm.report.query import QueryReport

__all__ = ["TransferReport"]


class TransferReport(Report):
    """What became of each instance at each destination.

    For each instance it holds the UID and a reference to its state, about 200 bytes, and more only for the ones that
    are in trouble.

    Parameters
    ----------
    progress : Progress, optional
        Told about all that is recorded here.
    clock : callable, optional
        A clock in seconds, for `seconds`.

    Attributes
    ----------
    n_bytes : int
        Bytes that are at their destination because of this transfer.
    anomalies : ProblemLog
        What came that should not have come: kinds "duplicate", "unexpected", "inconsistent". They stand apart from
        the states: they say nothing about whether what was asked for has arrived.
    errors : ProblemLog
        Failures of more than one instance: an association, a whole series whose instances nobody knows.
    doubts : list of str
        Why completeness is unknown.
    dry_run : bool
        Nothing is to move: what is expected is what would be asked for, and none of it is missing.
    patient : bool
        Whether whoever transfers tries again by itself what a peer did not take because it was busy, full or gone. Not
        where whoever reads the report does that, from a queue that outlives both.
    only_dest : str
        What the destination is called in JSON where there is one only, which has no name elsewhere.
    """

    dry_run: bool = False
    patient: bool = True
    only_dest: str = ""

    def __init__(self, progress: Progress | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(progress)
        self.n_bytes = 0
        self.anomalies = ProblemLog()
        self.errors = ProblemLog()
        self.doubts: list[str] = []
        self._clock = clock
        self._started = clock()
        self._ended: float | None = None
        self._states = States()
        self._numbered: dict[tuple[Outcome, str], int] = {}
        self._n_unnamed: int | None = None
        self._series: set[str] = set()
        self._planned: dict[str, set[str]] = {}
        self._paths: dict[tuple[str, str], str] = {}
        self._announced: tuple[int, int | None] = (0, None)
        self._told: tuple[int, int | None] = (0, None)
        self._ahead = 0

    # -- what is asked for

    def announce(self, n_instances: int, n_bytes: int | None = None) -> None:
        """Say how many instances are asked for in all, where only counts are known; for the progress."""
        self._announced = (n_instances, n_bytes)
        self._tell()

    def expect(self, uids: Iterable[str], series_uid: str = "", dest: str = "") -> None:
        """Say which instances are asked for; each must end in a state.

        Parameters
        ----------
        uids : iterable of str
            SOP instance UIDs; those that are expected or have a state already stay as they are.
        series_uid : str, optional
            The series that they are in.
        dest : str, optional
            The destination, where there are several.
        """
        self._states.expect(uids, dest)
        if series_uid:
            self._series.add(series_uid)
            if self.dry_run:
                self._planned.setdefault(dest, set()).add(series_uid)
        self._tell()

    def _tell(self) -> None:
        total = (max(self._announced[0], self._states.n_pairs), self._announced[1])
        if total != self._told:
            self._told = total
            self.progress.expected(*total)

    # -- what happened

    def record(
        self,
        uid: str,
        outcome: Outcome,
        *,
        dest: str = "",
        n_bytes: int = 0,
        series_uid: str = "",
        reason: str = "",
        status: int | None = None,
        refused: bool = False,
        path: str | os.PathLike[str] | None = None,
        error: Exception | None = None,
    ) -> Outcome:
        """Say what became of an instance.

        A state stands until one comes that says more (`Outcome.rank`): a retry that succeeds ends a failure, and a
        failure that is reported after a success changes nothing and becomes an anomaly ("inconsistent").

        Parameters
        ----------
        uid : str
            The SOP instance UID.
        outcome : Outcome
            What became of it.
        dest : str, optional
            The destination, where there are several.
        n_bytes : int, optional
            How many bytes moved for it.
        series_uid : str, optional
            The series that it is in.
        reason : str, optional
            Why; the same words for the same cause, the report counts by them.
        status : int, optional
            The DIMSE status, where a peer gave one; a failure with a status is a refusal.
        refused : bool, optional
            Whether it failed because the peer refused or could not be reached.
        path : str or PathLike, optional
            The file that has to do with it; kept where there is something to tell.
        error : Exception, optional
            What this very instance failed by, where that is an exception: for subclasses that want to know whether it
            is worth another try. Nothing for those that were not tried at all since the destination was lost.

        Returns
        -------
        Outcome
            The state that stands now.
        """
        old = self._states.get(uid, dest)
        if old is not None and old.outcome.rank >= outcome.rank:
            if old.outcome.moved and outcome is Outcome.FAILED:
                self.anomaly("inconsistent", uid, f"{old.outcome.label}, then reported as failed", status)
            return old.outcome
        state = State(outcome, reason, status, refused or status is not None)
        self._states.put(uid, dest, state)
        if old is not None:
            self._paths.pop((dest, uid), None)
        if path is not None and state.problem:
            self._paths[dest, uid] = os.fspath(path)
        if series_uid:
            self._series.add(series_uid)
        self._advance(1 if old is None else 0, n_bytes)
        return outcome

    def count(self, outcome: Outcome, n_instances: int, dest: str = "") -> None:
        """Say what became of instances of which only the number is known.

        Parameters
        ----------
        outcome : Outcome
            `Outcome.PRESENT` where the destination has as many of a study or series as the source, `Outcome.FILTERED`
            where a filter keeps all of it back.
        n_instances : int
        dest : str, optional
            The destination, where there are several.
        """
        if n_instances:
            self._numbered[outcome, dest] = self._numbered.get((outcome, dest), 0) + n_instances

    def count_unnamed(self, n_instances: int) -> None:
        """Say how many of those that were counted by number have no state of their own at any destination.

        Only who counts for several destinations need say it: the counts of one may be what has states at another.
        """
        self._n_unnamed = (self._n_unnamed or 0) + n_instances

    def _advance(self, n_instances: int, n_bytes: int) -> None:
        self.n_bytes += n_bytes
        fresh = max(0, n_bytes - self._ahead)
        self._ahead -= n_bytes - fresh
        self._tell()
        self.progress.advanced(n_instances, fresh)

    def arriving(self, n_bytes: int) -> None:
        """Say that so many bytes of an instance still on its way have moved; the progress sees them at once.

        `record` counts the instance's bytes when it is there, and does not tell the progress again.
        """
        self._ahead += n_bytes
        self.progress.advanced(0, n_bytes)

    def anomaly(self, kind: str, uid: str, message: str, status: int | None = None) -> None:
        """Note an instance that should not have come, or not so: "duplicate", "unexpected", "inconsistent".

        A study, say, is "mixed", of which rules would send parts elsewhere, or goes "nowhere".
        """
        self.anomalies.add(Problem(kind, uid, message, status))

    def error(self, subject: str, message: str, status: int | None = None, *, refused: bool = True) -> None:
        """Note a failure that is not of one instance: a refused C-MOVE of a series, an association that was lost.

        Parameters
        ----------
        subject : str
            What failed: the UID of a series or study, or the peer.
        message : str
            Why.
        status : int, optional
            The DIMSE status.
        refused : bool, optional
            True where the peer is why; False for trouble of our own, a full disk say.
        """
        problem = Problem("refused" if refused else "error", subject, message, status)
        # What is of no subject happened once, however many hear of it.
        if subject or problem not in self.errors:
            self.errors.add(problem)

    def take_over(self, queried: QueryReport, source: str) -> None:
        """Say here what went wrong in a query of a source, whose report forgets the files that it left out.

        Parameters
        ----------
        queried : QueryReport
        source : str
            What was asked.
        """
        self.files.extend(queried.files)
        queried.files = ProblemLog()
        for text in queried.warnings:
            self.doubt(text)
        for problem in queried.problems:
            if problem.kind == "refused":
                self.error(source, problem.message, problem.status)

    def doubt(self, reason: str) -> None:
        """Note why completeness is unknown: a capped query, a series without a count."""
        if reason not in self.doubts:
            self.doubts.append(reason)

    def finish(self) -> None:
        """End the transfer: what is expected and has no state is missing from now on."""
        if self._ended is None:
            self._ended = self._clock()
        reason = "interrupted before it came" if self.interrupted else "never arrived"
        for dest in self.dests:
            for uid in self.pending(dest):
                self.record(uid, Outcome.MISSING, dest=dest, reason=reason)
        self.progress.finished()

    # -- what it says

    def state(self, uid: str, dest: str = "") -> Outcome | None:
        """The state of an instance at a destination; None while it has none."""
        state = self._states.get(uid, dest)
        return state.outcome if state is not None else None

    def pending(self, dest: str = "") -> list[str]:
        """The UIDs that are expected at a destination and have no state."""
        return [uid for uid, state in self._states.by_dest.get(dest, {}).items() if state is None]

    def uids(self, outcome: Outcome, dest: str = "") -> list[str]:
        """The UIDs that are in a state at a destination."""
        states = self._states.by_dest.get(dest, {}).items()
        return [uid for uid, state in states if state is not None and state.outcome is outcome]

    @property
    def dests(self) -> list[str]:
        """The destinations, in the order in which they came up."""
        return list(self._states.by_dest)

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many instances are in each state, over all destinations; those too that are known by number only."""
        counts = dict(self._states.counts)
        for (outcome, _), n_instances in self._numbered.items():
            counts[outcome] += n_instances
        return counts

    def planned(self, dest: str = "") -> tuple[int, int]:
        """After a dry run: how many instances of how many series would go to a destination."""
        return len(self.pending(dest)), len(self._planned.get(dest, ()))

    def n_in_state(self, outcome: Outcome, dest: str = "") -> int:
        """How many instances are in a state at a destination; those too that are known by number only."""
        return len(self.uids(outcome, dest)) + self._numbered.get((outcome, dest), 0)

    @property
    def n_numbered(self) -> int:
        """How many of them are known by number only, see `count`."""
        return sum(self._numbered.values())

    @property
    def n_instances(self) -> int:
        """How many instances the transfer is about; one for two destinations counts once."""
        if self._n_unnamed is not None:
            return self._states.n_uids + self._n_unnamed
        by_dest: dict[str, int] = {}
        for (_, dest), n_instances in self._numbered.items():
            by_dest[dest] = by_dest.get(dest, 0) + n_instances
        return self._states.n_uids + max(by_dest.values(), default=0)

    @property
    def n_series(self) -> int:
        """How many series they are in, as far as it was said."""
        return len(self._series)

    @property
    def n_pending(self) -> int:
        """How many have no state, over all destinations."""
        return self._states.n_pending

    @property
    def seconds(self) -> float:
        """How long it took, or has taken by now."""
        return (self._clock() if self._ended is None else self._ended) - self._started

    @property
    def completeness_unknown(self) -> bool:
        """True where there may be more instances than we know of."""
        return bool(self.doubts)

    def adds_up(self) -> bool:
        """True where each instance has one state at each of its destinations, and the counts agree with that."""
        return self._states.add_up()

    @property
    def exit_code(self) -> int:
        """0, 3, 4, 5 or 130, as the states say; an instance without a state counts as missing.

        It is 4 where nothing was done and every failure was the peer's: refused, unreachable, not authorised.
        """
        if self.interrupted:
            return 130
        counts = self.counts
        failed = counts[Outcome.FAILED] + self.errors.count() + self.n_lost_files
        n_pending = 0 if self.dry_run else self.n_pending
        if not (failed or counts[Outcome.CONFLICT] or counts[Outcome.MISSING] or n_pending):
            return 5 if self.doubts else 0
        done = counts[Outcome.CONFLICT] or any(n for outcome, n in counts.items() if outcome.good)
        if self.dry_run:
            done = self.n_pending
        return 4 if failed and not done and self._all_refused() else 3

    def _all_refused(self) -> bool:
        failed = (state for _, _, state in self._states.items() if state.outcome is Outcome.FAILED)
        return not (self.errors.count("error") or self.n_lost_files) and all(state.refused for state in failed)

    @property
    def problems(self) -> list[Problem]:
        """Each instance that is not where it should be or has something to tell, then the errors."""
        found = [
            Problem(state.outcome.value, uid, state.reason, state.status, dest, self._paths.get((dest, uid), ""))
            for dest, uid, state in self._states.items()
            if state.problem
        ]
        return found + list(self.errors)

    @property
    def warnings(self) -> list[str]:
        """One line for each cause of trouble, with its count and the first UIDs, then the anomalies and the doubts."""
        return warning_lines(self, self._states.items())

    def summary(self) -> str:
        """Lines for people.

        ``500 instances in 4 series, 250.1 MB in 2.1 s (119.1 MB/s): 498 sent, 2 already there``, then the warnings.
        """
        return "\n".join([headline(self), *self.warnings])

    def to_json(self) -> dict[str, object]:
        """The whole report as a JSON object, with the UIDs in each state at each destination."""
        instances = {
            dest
            or self.only_dest: {outcome.value: uids for outcome in ORDER if (uids := self.uids(outcome, dest))}
            | ({"pending": pending} if (pending := self.pending(dest)) else {})
            for dest in self.dests
        }
        return {
            "instances": self.n_instances,
            "series": self.n_series,
            "bytes": self.n_bytes,
            "seconds": round(self.seconds, 3),
            "counts": {outcome.value: n for outcome, n in self.counts.items()},
            "by_number_only": self.n_numbered,
            "adds_up": self.adds_up(),
            "completeness_unknown": list(self.doubts),
            "interrupted": self.interrupted,
            "dry_run": self.dry_run,
            "exit_code": self.exit_code,
            "problems": [problem.to_json() for problem in self.problems],
            "anomalies": [problem.to_json() for problem in self.anomalies],
            "n_anomalies": self.anomalies.count(),
            "files": [problem.to_json() for problem in self.files],
            "n_files": self.files.count(),
            "destinations": instances,
        }
