"""The durable queue behind ``dcm forward``: what was acknowledged is kept until every destination has it."""

from __future__ import annotations

from dcm.spool._spool import Spool
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
    "Spool",
    "WayCounts",
]
