"""What a report of a transfer says to people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dcm.report._base import FILE_LABELS, cause_lines, human_bytes
from dcm.report.outcome import Outcome, Problem, ProblemLog
from dcm.text import plural, safe_text

if TYPE_CHECKING:
    from dcm.report._states import State
    from dcm.report.transfer import TransferReport

__all__ = ["headline", "warning_lines"]

_LABELS = {outcome.value: outcome.label for outcome in Outcome} | {
    "refused": "refused by the peer",
    "error": "other failures",
    "duplicate": "left out as duplicates",
    "unexpected": "left out, not asked for",
    "inconsistent": "inconsistent",
    "mixed": "kept together",
    "nowhere": "left out on purpose",
}


def headline(report: TransferReport) -> str:
    """How much there was, how fast it moved, and what became of it, on one line."""
    seconds = report.seconds
    text = plural(report.n_instances, "instance")
    if report.n_series:
        text += f" in {report.n_series} series"
    if len(report.dests) > 1:
        text += f" to {len(report.dests)} destinations"
    if report.n_bytes:
        text += f", {human_bytes(report.n_bytes)} in {seconds:.1f} s"
        if seconds > 0:
            text += f" ({human_bytes(report.n_bytes / seconds)}/s)"
    counts = [f"{n} {outcome.label}" for outcome, n in report.counts.items() if n]
    if report.n_pending:
        counts.append(f"{report.n_pending} {'to be fetched' if report.dry_run else 'not reached'}")
    return f"{text}: {', '.join(counts)}" if counts else text


def warning_lines(report: TransferReport, states: Iterable[tuple[str, str, State]]) -> list[str]:
    """One line for each cause of trouble, with its count and the first it befell, then what is in doubt."""
    instances = ProblemLog(per_cause=3)
    for dest, uid, state in states:
        # After an interruption the number of those that did not come is enough.
        if state.problem and not (report.interrupted and state.outcome is Outcome.MISSING):
            reason = state.reason if not dest or dest in state.reason else f"{dest}: {state.reason}"
            instances.add(Problem(state.outcome.value, uid, reason, state.status, dest))
    lines = [line for log in (report.errors, instances, report.anomalies) for line in cause_lines(log, _LABELS)]
    lines += cause_lines(report.files, FILE_LABELS)
    reasons = (reason.removeprefix("possibly incomplete: ") for reason in report.doubts)
    lines.extend(f"completeness unknown: {safe_text(reason, 300)}" for reason in reasons)
    if report.interrupted:
        lines.append("interrupted; what is there is whole, run it again to get the rest")
    return lines
