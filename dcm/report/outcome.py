"""What became of one instance at one destination, and what went wrong on the way."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, overload

__all__ = ["Outcome", "Problem", "ProblemLog"]


class Outcome(enum.Enum):
    """The seven states in which an instance can end at a destination.

    They are ordered by how much they say, see `rank`; where an instance meets two of them at one destination (a
    failure, then a retry that succeeds; two routes to one directory) the one that says more stands, in whatever order
    they come.
    """

    MISSING = "missing"  #: asked for, and it never arrived
    FILTERED = "filtered"  #: a filter or a selector left it out
    FAILED = "failed"  #: it was tried, and the destination does not have it
    PRESENT = "present"  #: it was already there, the same bytes
    SENT = "sent"  #: it is there now
    WARNED = "warned"  #: it is there now, and the destination had something to say (status 0xBxxx)
    CONFLICT = "conflict"  #: the destination has other bytes under this UID; both were kept

    @property
    def rank(self) -> int:
        """The order in which states win over each other, MISSING (0) the weakest and CONFLICT the strongest."""
        return _RANK[self]

    @property
    def good(self) -> bool:
        """True where the instance is verified where it should be, or was left out on purpose."""
        return self in _GOOD

    @property
    def moved(self) -> bool:
        """True where the bytes travelled and are at the destination."""
        return self in _MOVED

    @property
    def label(self) -> str:
        """The words for people, "already there" say."""
        return _LABELS.get(self, self.value)


_RANK = {outcome: rank for rank, outcome in enumerate(Outcome)}
_GOOD = frozenset({Outcome.SENT, Outcome.PRESENT, Outcome.FILTERED, Outcome.WARNED})
_MOVED = frozenset({Outcome.SENT, Outcome.WARNED, Outcome.CONFLICT})
_LABELS = {
    Outcome.PRESENT: "already there",
    Outcome.FILTERED: "filtered out",
    Outcome.WARNED: "sent with a warning",
    Outcome.CONFLICT: "conflicting",
}


class Problem(NamedTuple):
    """One thing that went wrong.

    Parameters
    ----------
    kind : str
        What it is in a word: the value of an `Outcome`, or "refused", "error", "invalid", "duplicate", "unexpected", …
    subject : str
        Whom it befell: the UID of an instance, series or study, a path, or the name of a peer.
    message : str
        Why, the same for all that have the same cause; they are counted together by it.
    status : int, optional
        The DIMSE status that the peer gave (PS3.7 annex C).
    dest : str, optional
        The destination, where there are several.
    path : str, optional
        The file that has to do with it.
    """

    kind: str
    subject: str
    message: str
    status: int | None = None
    dest: str = ""
    path: str = ""

    def to_json(self) -> dict[str, object]:
        """As a JSON object; what is not known is left out."""
        known = {name: value for name, value in self._asdict().items() if value not in (None, "")}
        # The name of a file need not be text; JSON has to be.
        return {
            name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
            for name, value in known.items()
        }


class ProblemLog(Sequence[Problem]):
    """Problems, counted by their cause: all of them count, the first of each cause are kept.

    Whoever is at the other end can cause as many as it likes; the log stays small.

    Parameters
    ----------
    per_cause : int, optional
        How many problems of one kind with one message are kept.
    causes : int, optional
        How many causes are told apart; what comes after is counted as its kind, with the message "other causes".
    """

    def __init__(self, per_cause: int = 100, causes: int = 200) -> None:
        self._per_cause = per_cause
        self._causes = causes
        self._groups: dict[tuple[str, str], tuple[int, list[Problem]]] = {}

    def add(self, problem: Problem, count: int = 1) -> None:
        """Count a problem, `count` times, and keep it while there is room."""
        key = (problem.kind, problem.message)
        if key not in self._groups and len(self._groups) >= self._causes:
            key = (problem.kind, "other causes")
        n, kept = self._groups.get(key, (0, []))
        if len(kept) < self._per_cause:
            kept.append(problem)
        self._groups[key] = (n + count, kept)

    def extend(self, other: ProblemLog) -> None:
        """Add all problems of another log, those too that it only counted."""
        for _, _, count, kept in other.groups():
            for problem in kept[:-1]:
                self.add(problem)
            self.add(kept[-1], count - len(kept) + 1)

    def of_kinds(self, kinds: Collection[str]) -> ProblemLog:
        """Those of some kinds alone."""
        log = ProblemLog(self._per_cause, self._causes)
        log._groups = {key: group for key, group in self._groups.items() if key[0] in kinds}
        return log

    def count(self, kind: str | None = None) -> int:
        """How many there were, of one kind or in all; the kept ones may be a part of them."""
        return sum(n for (k, _), (n, _) in self._groups.items() if kind in (None, k))

    def groups(self) -> list[tuple[str, str, int, list[Problem]]]:
        """Problems with one cause together: ``(kind, message, count, kept problems)``, in the order they came."""
        return [(kind, message, count, kept) for (kind, message), (count, kept) in self._groups.items()]

    def __len__(self) -> int:
        return sum(len(kept) for _, kept in self._groups.values())

    def __iter__(self) -> Iterator[Problem]:
        for _, kept in self._groups.values():
            yield from kept

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> list[Problem]: ...
    def __getitem__(self, index: int | slice) -> Problem | list[Problem]:
        return list(self)[index]

    def __repr__(self) -> str:
        return f"<ProblemLog: {self.count()} problems, {len(self)} kept>"
