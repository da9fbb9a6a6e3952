"""The durable queue behind ``dcm forward``: what was acknowledged is kept until every destination has it.

::

    router = Router([LocalDir("archive", sync=True), NetRepo(local, research)])
    with Spool("/var/spool/dcm") as spool:
        await Forwarder(local, router, spool).run()

`Spool` keeps, `Forwarder` receives and delivers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcm._lazy import lazy
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

if TYPE_CHECKING:
    from dcm.spool._forwarder import Forwarder as Forwarder
    from dcm.spool._reception import Ack as Ack
    from dcm.spool._reception import Tally as Tally
    from dcm.spool._snapshot import Snapshot as Snapshot
else:
    # When they are first used: who only looks into a spool needs no network.
    _EXPORTS = {
        "Ack": "dcm.spool._reception",
        "Forwarder": "dcm.spool._forwarder",
        "Snapshot": "dcm.spool._snapshot",
        "Tally": "dcm.spool._reception",
    }
    __getattr__, __dir__ = lazy(__name__, _EXPORTS)


__all__ = [
    "NO_WAY",
    "Ack",
    "Admitted",
    "Arrival",
    "Counts",
    "Delivery",
    "DeliveryState",
    "Forwarder",
    "OnConflict",
    "Origin",
    "Recovered",
    "Settled",
    "Settlement",
    "Snapshot",
    "Spool",
    "Tally",
    "WayCounts",
]
