"""What ``dcm spool ls`` shows: a table of destinations or of deliveries, or JSON. Nothing in it names a patient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from dcm.spool import NO_WAY, Counts, Delivery, DeliveryState, Spool
from dcm.text import plural, safe_text

if TYPE_CHECKING:
    from typing import TypeAlias

    _Row: TypeAlias = "Sequence[str]"

__all__ = [
    "NOWHERE",
    "Destination",
    "as_json",
    "delivery_lines",
    "destination_lines",
    "document",
    "echo",
    "gathered",
    "print_json",
]

NOWHERE = "none"
"""What the way is called, on the command line and in a table, of what could not be routed."""

_MAX_UIDS = 3
_MAX_REASON = 120


@dataclass
class Destination:
    """What there is of one way."""

    way: str
    queued: int = 0
    waiting: int = 0
    next_try: float | None = None
    held: int = 0
    quarantined: int = 0
    conflicts: int = 0
    n_bytes: int = 0
    reasons: dict[str, list[str]] = field(default_factory=dict)
    """Why deliveries are in quarantine, and which: their UIDs."""
    trouble: str = ""
    """Why what is queued was not delivered the last time."""

    def add(self, delivery: Delivery, now: float) -> None:
        """Count a delivery."""
        self.n_bytes += delivery.size
        self.conflicts += delivery.conflict
        if delivery.state is DeliveryState.HELD:
            self.held += 1
        elif delivery.state is DeliveryState.QUARANTINED:
            self.quarantined += 1
            self.reasons.setdefault(delivery.reason, []).append(delivery.sop_instance_uid)
        elif delivery.state is DeliveryState.QUEUED:
            self.queued += 1
            self.trouble = delivery.reason or self.trouble
            if delivery.not_before > now:
                self.waiting += 1
                self.next_try = min(delivery.not_before, self.next_try or delivery.not_before)


def gathered(deliveries: Iterable[Delivery], ways: Iterable[str], now: float) -> list[Destination]:
    """What there is of each way, in the order of their keys; what could not be routed comes last."""
    found = {way: Destination(way) for way in ways}
    for delivery in deliveries:
        found.setdefault(delivery.way, Destination(delivery.way)).add(delivery, now)
    return sorted(found.values(), key=lambda destination: (destination.way == NO_WAY, destination.way))


def destination_lines(destinations: Sequence[Destination], counts: Counts, now: float) -> Iterator[str]:
    """A row for each destination, and why what is in quarantine is there."""
    head = ("DESTINATION", "QUEUED", "TO RETRY", "NEXT TRY", "QUARANTINED", "HELD", "CONFLICTS")
    rows = [
        (
            _name(one.way),
            *(str(one.queued), str(one.waiting or ""), _in(one.next_try, now)),
            *(str(one.quarantined or ""), str(one.held or ""), str(one.conflicts or "")),
        )
        for one in destinations
    ]
    yield from _table(head, rows, left={0})
    for one in destinations:
        if one.trouble:
            yield f"{_name(one.way)}: {one.queued} queued: {safe_text(one.trouble, _MAX_REASON)}"
        for reason, uids in one.reasons.items():
            more = ", …" if len(uids) > _MAX_UIDS else ""
            which = safe_text(", ".join(uids[:_MAX_UIDS])) + more
            why = safe_text(reason, _MAX_REASON) or "for no known reason"
            yield f"{_name(one.way)}: {len(uids)} quarantined: {why} ({which})"
    yield f"{plural(counts.entries, 'instance')} in the spool, {_size(counts.entry_bytes)}."
    if counts.nowhere:
        yield f"{plural(counts.nowhere, 'instance')} so far went nowhere, as the rules say."


def delivery_lines(deliveries: Iterable[Delivery], now: float) -> Iterator[str]:
    """A row for each delivery."""
    head = ("INSTANCE", "DESTINATION", "STATE", "RECEIVED", "FROM", "TRIES", "NEXT TRY", "REASON")
    rows = []
    for one in deliveries:
        note = "other bytes than before; " if one.conflict and not one.reason.startswith("other bytes") else ""
        rows.append(
            (
                *(safe_text(one.sop_instance_uid), _name(one.way), one.state.value),
                *(_local_time(one.received), safe_text(one.origin.calling_ae)),
                *(str(one.attempts), _in(one.not_before if one.not_before > now else None, now)),
                (note + safe_text(one.reason, _MAX_REASON)).removesuffix("; "),
            )
        )
    yield from _table(head, rows, left={0, 1, 2, 3, 4, 7})


def as_json(delivery: Delivery) -> dict[str, Any]:
    """A delivery for programs."""
    return {
        "sop_instance_uid": delivery.sop_instance_uid,
        "sop_class_uid": delivery.sop_class_uid,
        "transfer_syntax_uid": delivery.transfer_syntax_uid,
        "size": delivery.size,
        "destination": delivery.way or None,
        "state": delivery.state.value,
        "reason": delivery.reason,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "not_before": _utc(delivery.not_before) if delivery.not_before else None,
        "received": _utc(delivery.received),
        "calling_ae": delivery.origin.calling_ae,
        "called_ae": delivery.origin.called_ae,
        "address": delivery.origin.address,
        "conflict": delivery.conflict,
    }


def destination_json(destination: Destination) -> dict[str, Any]:
    """A destination for programs."""
    return {
        "destination": destination.way or None,
        "queued": destination.queued,
        "waiting": destination.waiting,
        "next_try": _utc(destination.next_try) if destination.next_try else None,
        "quarantined": destination.quarantined,
        "held": destination.held,
        "conflicts": destination.conflicts,
        "trouble": destination.trouble,
        "bytes": destination.n_bytes,
    }


def document(spool: Spool, deliveries: Sequence[Delivery], ways: Iterable[str], now: float) -> dict[str, Any]:
    """All of it for programs."""
    counts = spool.counts()
    return {
        "spool": str(spool.path),
        "received": counts.received,
        "repeated": counts.repeated,
        "conflicts": counts.conflicts,
        "nowhere": counts.nowhere,
        "instances": counts.entries,
        "bytes": counts.entry_bytes,
        "destinations": [destination_json(one) for one in gathered(deliveries, ways, now)],
        "deliveries": [as_json(delivery) for delivery in deliveries],
    }


def print_json(value: dict[str, Any], indent: int = 0) -> None:
    """Print a JSON document."""
    import msgspec.json

    from dcm.cli._render import harmless_json

    text = msgspec.json.encode(value)
    click.echo(harmless_json((msgspec.json.format(text, indent=indent) if indent else text).decode()))


def echo(lines: Iterable[str]) -> int:
    """Print lines; gives how many."""
    n = 0
    for line in lines:
        click.echo(line)
        n += 1
    return n


def _name(way: str) -> str:
    return safe_text(way) or NOWHERE


def _in(moment: float | None, now: float) -> str:
    """A time that is to come, as one waits for it."""
    if moment is None:
        return ""
    seconds = max(0, round(moment - now))
    if seconds < 120:
        return f"in {seconds} s"
    return f"in {seconds // 60} min" if seconds < 7200 else f"in {seconds // 3600} h"


def _local_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _size(n_bytes: int) -> str:
    from dcm.report._base import human_bytes

    return human_bytes(n_bytes)


def _table(head: _Row, rows: Sequence[_Row], left: set[int]) -> Iterator[str]:
    """Columns that are as wide as what is in them; one in which nothing is, is left out. Without rows, nothing."""
    if not rows:
        return
    used = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    widths = {i: max(len(row[i]) for row in (head, *rows)) for i in used}
    for row in (head, *rows):
        cells = [row[i].ljust(widths[i]) if i in left else row[i].rjust(widths[i]) for i in used]
        yield "  ".join(cells).rstrip()
