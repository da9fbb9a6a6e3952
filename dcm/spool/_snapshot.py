"""How things stand with a forwarder, at a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcm.spool._words import Counts, DeliveryState
from dcm.text import plural

if TYPE_CHECKING:
    from dcm.spool._fleet import Lane
    from dcm.spool._reception import Tally

__all__ = ["Snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """How things stand.

    Attributes
    ----------
    tally : Tally
        What came in since the start.
    before, counts : Counts
        What was in the spool at the start, and what is; and what became of all that ever was.
    lanes : tuple of Lane
        The ways, with who delivers on them.
    n_associations : int
        How many senders are connected.
    """

    tally: Tally
    before: Counts
    counts: Counts
    lanes: Sequence[Lane]
    n_associations: int

    @property
    def delivered(self) -> int:
        """How many deliveries there were since the start."""
        return self.counts.total(DeliveryState.DELIVERED) - self.before.total(DeliveryState.DELIVERED)

    def summary(self) -> str:
        """All of it on one line: for systemd, and for a log."""
        total = self.counts.total
        parts = [f"{self.tally.received} received", f"{self.delivered} delivered"]
        states = (DeliveryState.QUEUED, DeliveryState.QUARANTINED, DeliveryState.HELD)
        parts.extend(f"{n} {state.value}" for state in states if (n := total(state)))
        troubled = sum(bool(lane.trouble) for lane in self.lanes)
        if troubled:
            parts.append(f"{plural(troubled, 'destination')} not available")
        return ", ".join(parts)
