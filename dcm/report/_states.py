"""The books of a transfer: the state of each instance at each destination, and how many are in which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dcm.report.outcome import Outcome

__all__ = ["ORDER", "State", "States"]

# The order in which states are listed: what is done first.
ORDER = (
    Outcome.SENT,
    Outcome.WARNED,
    Outcome.PRESENT,
    Outcome.FILTERED,
    Outcome.FAILED,
    Outcome.CONFLICT,
    Outcome.MISSING,
)


class State(NamedTuple):
    """The state of an instance and why."""

    outcome: Outcome
    reason: str = ""
    status: int | None = None
    refused: bool = False

    @property
    def problem(self) -> bool:
        """True where there is something to tell."""
        return bool(self.reason) or not self.outcome.good


class States:
    """One state for each instance and destination, None while it has none.

    One `State` object stands for all instances that share it, so that an instance costs its UID and a reference.

    Attributes
    ----------
    by_dest : dict
        The states by destination and SOP instance UID.
    counts : dict
        How many are in each state.
    n_pairs : int
        How many instances and destinations there are, with and without a state.
    """

    def __init__(self) -> None:
        self.by_dest: dict[str, dict[str, State | None]] = {}
        self.counts = dict.fromkeys(ORDER, 0)
        self.n_pairs = 0
        self._shared: dict[State, State] = {}

    def expect(self, uids: Iterable[str], dest: str) -> None:
        """Enter instances that are to get a state."""
        states = self.by_dest.setdefault(dest, {})
        before = len(states)
        for uid in uids:
            states.setdefault(uid, None)
        self.n_pairs += len(states) - before

    def get(self, uid: str, dest: str) -> State | None:
        """The state of an instance; None where it has none, or nobody knows of it."""
        return self.by_dest.get(dest, {}).get(uid)

    def put(self, uid: str, dest: str, state: State) -> None:
        """Give an instance a state, whatever it had before."""
        states = self.by_dest.setdefault(dest, {})
        old = states.get(uid)
        if old is not None:
            self.counts[old.outcome] -= 1
        elif uid not in states:
            self.n_pairs += 1
        states[uid] = self._shared.setdefault(state, state)
        self.counts[state.outcome] += 1

    def items(self) -> Iterator[tuple[str, str, State]]:
        """Yield the destination, the UID and the state of all that have one."""
        for dest, states in self.by_dest.items():
            for uid, state in states.items():
                if state is not None:
                    yield dest, uid, state

    @property
    def n_uids(self) -> int:
        """How many instances there are; one at two destinations counts once."""
        return self.n_pairs if len(self.by_dest) < 2 else len(set().union(*self.by_dest.values()))

    @property
    def n_pending(self) -> int:
        """How many have no state."""
        return self.n_pairs - sum(self.counts.values())

    def add_up(self) -> bool:
        """Count again: all have a state, and `counts` is right."""
        counts = dict.fromkeys(ORDER, 0)
        for _, _, state in self.items():
            counts[state.outcome] += 1
        return counts == self.counts and sum(counts.values()) == self.n_pairs == sum(map(len, self.by_dest.values()))
