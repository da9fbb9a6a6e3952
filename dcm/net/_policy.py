"""Who may call a listener, and which of its handlers wants what they ask for: values that decide, and do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from dcm.node import DicomOpType

__all__ = ["AccessPolicy", "EventFilter"]


@dataclass(frozen=True)
class EventFilter:
    """Which requests a handler wants.

    Parameters
    ----------
    event_types : set of DicomOpType, optional
        The operations; None for all that a listener takes (ECHO and STORE).
    ae_titles : set of str, optional
        The calling AE titles; None for all.
    """

    event_types: AbstractSet[DicomOpType] | None = None
    ae_titles: AbstractSet[str] | None = None

    def __post_init__(self) -> None:
        if self.event_types is not None:
            object.__setattr__(self, "event_types", frozenset(self.event_types))
        if self.ae_titles is not None:
            object.__setattr__(self, "ae_titles", frozenset(self.ae_titles))

    def matches(self, event_type: DicomOpType, calling_ae: str) -> bool:
        """Whether a handler with this filter wants such an event."""
        return (self.event_types is None or event_type in self.event_types) and (
            self.ae_titles is None or calling_ae in self.ae_titles
        )

    def collides(self, other: EventFilter) -> bool:
        """Whether there can be an event that both match."""
        return _meet(self.event_types, other.event_types) and _meet(self.ae_titles, other.ae_titles)


def _meet(left: AbstractSet[object] | None, right: AbstractSet[object] | None) -> bool:
    return left is None or right is None or bool(left & right)


@dataclass(frozen=True)
class AccessPolicy:
    """Whom a listener lets in. AE titles are what callers say they are: only TLS proves anything.

    Parameters
    ----------
    calling_ae_titles : frozenset of str, optional
        The callers that are let in; None for all.
    addresses : frozenset of str, optional
        The addresses that are let in; None for all.
    require_called_ae : bool
        Refuse callers that do not call us by our AE title.
    max_associations : int
        In all at a time; beyond that callers are told to come back later.
    max_per_address : int
        From one address at a time.
    idle : float
        Seconds without a request after which an association is ended.
    """

    calling_ae_titles: frozenset[str] | None = None
    addresses: frozenset[str] | None = None
    require_called_ae: bool = False
    max_associations: int = 200
    max_per_address: int = 100
    idle: float = 300.0
