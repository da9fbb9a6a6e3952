"""What ``dcm forward`` says: when it starts, while it runs, and in the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dcm.route._way import sink_key
from dcm.spool import DeliveryState
from dcm.text import plural, safe_text

if TYPE_CHECKING:
    from dcm.net import DcmNode
    from dcm.route import Way
    from dcm.spool import Ack, Counts, Snapshot, Spool, Tally

__all__ = ["live_text", "lost_any", "problem_lines", "start_lines", "stop_line", "summary_lines"]

_ACKS = {
    "durable": "senders are told when an instance is in the spool, on disk",
    "delivered": "senders are told when all destinations have an instance",
    "received": "senders are told at once",
}
_RISK = (
    "Warning: --ack received: what is acknowledged and not on the disk yet is lost if this process or this machine "
    "dies, or the disk fills up."
)
_WAITING = (DeliveryState.QUEUED, DeliveryState.QUARANTINED, DeliveryState.HELD)
_ORDER = (
    *(DeliveryState.DELIVERED, DeliveryState.FILTERED, *_WAITING),
    *(DeliveryState.DROPPED, DeliveryState.LOST),
)
_MAX_REASON = 100
_NOWHERE = "without a route"


def start_lines(local: DcmNode, port: int, spool: Spool, ways: Sequence[Way], ack: Ack, before: Counts) -> list[str]:
    """Who we are, where the spool is, where all goes, and what is left from before."""
    lines = [f"Listening on {local.host}:{port} as {local.ae_title}; {_ACKS[ack.value]}."]
    if ack.value == "received":
        lines.append(_RISK)
    lines.append(f"Spool: {safe_text(spool.path)}{_left(before)}")
    lines.extend(f"To: {_way_name(way)}" for way in ways)
    known = {way.key for way in ways}
    for key, way_counts in before.ways.items():
        if key and key not in known and (n := way_counts.waiting):
            lines.append(f"Warning: {plural(n, 'instance')} for {safe_text(key)} held: no route goes there any more.")
    return lines


def stop_line(seconds: float) -> str:
    """What happens now that it was asked to stop, and how long it may take."""
    within = f" what is under way has up to {seconds:g} s;" if seconds else ""
    return f"Stopping:{within} Ctrl-C or SIGTERM again ends it at once."


def live_text(snapshot: Snapshot) -> str:
    """How things stand, on one line: the sum, and each destination that is not as it should be."""
    tally, total = snapshot.tally, snapshot.counts.total
    parts = [f"{tally.received} received"]
    if refused := tally.refused + tally.late:
        parts.append(f"{refused} refused")
    parts.append(f"{snapshot.delivered} delivered")
    parts.extend(f"{n} {state.value}" for state in _WAITING if (n := total(state)))
    troubles = [_trouble(str(lane.way.sink), lane.trouble) for lane in snapshot.lanes if lane.trouble]
    if len(troubles) > 1:  # of which a terminal may show only the first
        parts.append(f"{len(troubles)} destinations not available")
    line = ", ".join(parts)
    return " | ".join([line, *troubles])


def _trouble(name: str, why: str) -> str:
    return safe_text(why if name in why else f"{name}: {why}", _MAX_REASON)


def summary_lines(tally: Tally, before: Counts, after: Counts) -> list[str]:
    """What came in, and for each destination what there was to deliver and what became of it: it adds up."""
    lines = [_received(tally)]
    for key in sorted(after.ways, key=lambda key: (key == "", key)):
        line = _way_line(key, before, after)
        if line:
            lines.append(line)
    if nowhere := after.nowhere - before.nowhere:
        lines.append(f"{plural(nowhere, 'instance')} went nowhere, as the rules say.")
    return lines


def problem_lines(tally: Tally, after: Counts) -> list[str]:
    """What a human has to see to."""
    lines = []
    if tally.refused or tally.lost:
        lines.append(_received(tally))
    for key, counts in sorted(after.ways.items()):
        parts = [f"{n} {state.value}" for state in (*_WAITING[1:], DeliveryState.LOST) if (n := counts[state])]
        if parts:
            lines.append(f"{safe_text(key) or _NOWHERE}: {', '.join(parts)}.")
    return lines


def lost_any(tally: Tally, before: Counts, after: Counts) -> bool:
    """Whether something that was acknowledged is gone, and was not before it started."""
    return bool(tally.lost) or after.total(DeliveryState.LOST) > before.total(DeliveryState.LOST)


def _received(tally: Tally) -> str:
    kinds = [
        (tally.new, "new"),
        (tally.repeated, "repeated"),
        (tally.conflicts, "with other bytes than before"),
        (tally.refused, "refused"),
        (tally.lost, "LOST"),
    ]
    parts = [f"{n} {word}" for n, word in kinds if n]
    what = f"Received {plural(tally.received, 'instance')}"
    line = f"{what}: {', '.join(parts)}." if tally.received and parts != [f"{tally.received} new"] else f"{what}."
    if tally.late:
        them, are = ("it", "it is") if tally.late == 1 else ("them", "they are")
        line += f" {tally.late} answered as failed, as not every destination had {them} in time; {are} kept."
    return line


def _way_line(key: str, before: Counts, after: Counts) -> str:
    """A destination: what was there to be delivered, and the states that it is in now."""
    now = after.ways[key]
    then = before.ways.get(key)
    waited = then.waiting if then is not None else 0
    added = now.received - (then.received if then is not None else 0)
    if not waited and not added:
        return ""
    # What had no route and has one now belongs to other destinations.
    parts = [f"{-added} routed now"] if added < 0 else []
    for state in _ORDER:
        n = now[state] - (then[state] if then is not None and state.final else 0)
        if n:
            parts.append(f"{n} {state.value}")
    name = safe_text(key) or _NOWHERE
    from_before = f", {waited} from before" if waited else ""
    return f"{name}: {plural(max(added, 0), 'instance')}{from_before}: {', '.join(parts) or 'nothing'}."


def _left(counts: Counts) -> str:
    parts = [f"{n} {state.value}" for state in _WAITING if (n := counts.total(state))]
    return f", from before: {', '.join(parts)}" if parts else ""


def _way_name(way: Way) -> str:
    # As dcm spool and the summary call it: in a log nobody knows where a relative path began.
    through = f" through {safe_text(way.filt.name)}" if way.filt is not None else ""
    via = f" (route {safe_text(way.route)})" if way.route else ""
    return f"{safe_text(sink_key(way.sink))}{through}{via}"
