"""The words of the spool: what arrives, what has to be delivered, and what became of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dcm.errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

__all__ = [
    "NO_WAY",
    "Admitted",
    "Arrival",
    "Counts",
    "DamagedInstanceError",
    "Delivery",
    "DeliveryState",
    "OnConflict",
    "Origin",
    "Recovered",
    "Settled",
    "Settlement",
    "WayCounts",
]


class DamagedInstanceError(SpoolError):
    """The disk gives other bytes than were written to it: they must not be delivered."""


NO_WAY = ""
"""The key of the way of what could not be routed: it stays there, in quarantine, until it can be."""


class DeliveryState(enum.Enum):
    """Where a delivery is: each one is in exactly one of these, always."""

    QUEUED = "queued"  #: to be sent, now or when its time has come
    QUARANTINED = "quarantined"  #: the destination will not take it as it is: a human decides
    HELD = "held"  #: queued, but no route of the running forwarder has its way
    DELIVERED = "delivered"  #: the destination has it
    FILTERED = "filtered"  #: the filter of the way rejects it
    DROPPED = "dropped"  #: given up by a human
    LOST = "lost"  #: its file was gone when the spool was opened: something outside of dcm removed it

    @property
    def final(self) -> bool:
        """Whether nothing more is going to happen to it."""
        return self in _FINAL


_FINAL = frozenset({DeliveryState.DELIVERED, DeliveryState.FILTERED, DeliveryState.DROPPED, DeliveryState.LOST})


class Arrival(enum.Enum):
    """What an instance is that arrives."""

    NEW = "new"  #: not seen before, as far as the spool remembers
    REPEATED = "repeated"  #: the same instance with the same bytes was here before
    CONFLICT = "conflict"  #: another instance with this UID was here before, with other bytes


class OnConflict(enum.Enum):
    """What becomes of other bytes under a UID that was here before."""

    FORWARD = "forward"  #: they are delivered as any others, and marked
    QUARANTINE = "quarantine"  #: they are kept, and delivered when a human says so


@dataclass(frozen=True, slots=True)
class Origin:
    """Who sent an instance.

    Attributes
    ----------
    calling_ae, called_ae : str
        The titles of the association, '' where unknown.
    address : str
        The sender's address, '' where unknown.
    """

    calling_ae: str = ""
    called_ae: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What was done with an instance that arrived: it is on stable storage now, or was already.

    Attributes
    ----------
    entry_id : int
        The entry that holds it; 0 where none does, because it goes nowhere or is delivered already.
    kind : Arrival
        Whether it was here before.
    n_deliveries : int
        How many deliveries were added for it.
    """

    entry_id: int
    kind: Arrival
    n_deliveries: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One instance on one way.

    Attributes
    ----------
    id, entry_id : int
        The delivery, and the entry that it belongs to.
    way : str
        The key of the way; `NO_WAY` where it could not be routed.
    sop_class_uid, sop_instance_uid, transfer_syntax_uid : str
        Who it is and how it is encoded.
    size, offset : int
        Bytes of the encoded data set, and where in the file it begins.
    received_ns : int
        When it arrived, in nanoseconds since 1970.
    origin : Origin
        Where it came from.
    conflict : bool
        Whether other bytes with this UID were here before.
    state : DeliveryState
        Where it is.
    attempts : int
        How often it was tried since it was queued.
    not_before : float
        When it may be tried again, in seconds since 1970; 0 for at once.
    reason : str
        Why it is where it is, '' where there is nothing to say.
    status : int or None
        The DIMSE status of the last attempt.
    """

    id: int
    entry_id: int
    way: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    size: int
    offset: int
    received_ns: int
    origin: Origin
    conflict: bool = False
    state: DeliveryState = DeliveryState.QUEUED
    attempts: int = 0
    not_before: float = 0.0
    reason: str = ""
    status: int | None = None

    @property
    def received(self) -> float:
        """When it arrived, in seconds since 1970."""
        return self.received_ns / 1e9


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a delivery that was taken.

    Parameters
    ----------
    delivery_id : int
        Which one.
    state : DeliveryState
        DELIVERED, FILTERED and QUARANTINED end it; QUEUED means to try again.
    reason : str, optional
        What there is to say about it.
    status : int, optional
        The DIMSE status that the destination gave.
    not_before : float, optional
        For QUEUED: when to try again, in seconds since 1970.
    tried : bool, optional
        For QUEUED: False where it is handed back without having been tried, since the destination cannot be reached or
        we stop. Its attempts stay as they are, and without a `reason` so do reason and status.
    """

    delivery_id: int
    state: DeliveryState
    reason: str = ""
    status: int | None = None
    not_before: float = 0.0
    tried: bool = True


@dataclass(frozen=True, slots=True)
class Settlement:
    """What was recorded of a delivery, for those who wait for it.

    Attributes
    ----------
    delivery_id, entry_id : int
        The delivery, and the entry that it belongs to.
    way : str
        Its way.
    state : DeliveryState
        What it is now.
    reason : str
        What there is to say about it.
    status : int or None
        The DIMSE status that the destination gave.
    """

    delivery_id: int
    entry_id: int
    way: str
    state: DeliveryState
    reason: str = ""
    status: int | None = None


_ByState: TypeAlias = "Mapping[DeliveryState, int]"


@dataclass(frozen=True, slots=True)
class WayCounts:
    """How many deliveries of a way there are in each state, since the spool was made.

    Attributes
    ----------
    received : int
        All that ever were; counted by itself, when they were made.
    states : mapping
        How many there are in each state, zeros among them.
    waiting_bytes : int
        Size of those that are queued, held or in quarantine.
    """

    received: int
    states: _ByState
    waiting_bytes: int = 0

    def __getitem__(self, state: DeliveryState) -> int:
        return self.states.get(state, 0)

    @property
    def waiting(self) -> int:
        """How many are not at an end: queued, held, in quarantine."""
        return sum(n for state, n in self.states.items() if not state.final)

    @property
    def adds_up(self) -> bool:
        """Whether each one that was received is in one state; anything else is a fault of ours."""
        return self.received == sum(self.states.values())


@dataclass(frozen=True, slots=True)
class Counts:
    """What has passed through a spool since it was made, and what is in it.

    Attributes
    ----------
    received : int
        Instances that were acknowledged, each arrival counted.
    repeated, conflicts : int
        How many of them were here before, with the same bytes, or with others.
    nowhere : int
        How many were to go nowhere, by the rules.
    entries, entry_bytes : int
        Instances that are in the spool now, and their size.
    ways : mapping
        The counts of each way.
    """

    received: int = 0
    repeated: int = 0
    conflicts: int = 0
    nowhere: int = 0
    entries: int = 0
    entry_bytes: int = 0
    ways: Mapping[str, WayCounts] = field(default_factory=dict)

    def total(self, state: DeliveryState) -> int:
        """How many deliveries are in a state, over all ways."""
        return sum(way[state] for way in self.ways.values())

    @property
    def adds_up(self) -> bool:
        """Whether the counts of each way do."""
        return all(way.adds_up for way in self.ways.values())


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was put right when a spool was opened after a crash.

    Attributes
    ----------
    readmitted : int
        Files that were complete and in no entry: they have one now.
    removed : int
        Files that were delivered already, were here twice, or that no sender was ever told about.
    lost : tuple of str
        SOP Instance UIDs whose file is gone, of at most a hundred.
    n_lost : int
        How many these are in all.
    rebuilt : str
        Where the damaged journal is now, '' where there was none.
    unreadable : int
        Files in no entry that are not what was written: they are left as they are, and logged by name.
    """

    readmitted: int = 0
    removed: int = 0
    lost: tuple[str, ...] = ()
    n_lost: int = 0
    rebuilt: str = ""
    unreadable: int = 0
