"""The durable queue behind ``dcm forward``: nothing that was acknowledged is lost, whatever crashes."""

from __future__ import annotations

from dcm.spool._words import (
    NO_WAY,
    Admitted,
    Arrival,
    Counts,
    Delivery,
    DeliveryState,
    OnConflict,
    Origin,
    Recovered,
    Settled,
    Settlement,
    WayCounts,
)

__all__ = [
    "NO_WAY",
    "Admitted",
    "Arrival",
    "Counts",
    "Delivery",
    "DeliveryState",
    "OnConflict",
    "Origin",
    "Recovered",
    "Settled",
    "Settlement",
    "WayCounts",
]
