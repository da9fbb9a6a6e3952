"""What ``dcm sync`` says in the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dcm.errors import NetworkError
from dcm.report import Outcome
from dcm.text import plural, safe_text

if TYPE_CHECKING:
    from dcm.report import TransferReport

__all__ = ["preview_lines", "problem_lines", "summary_lines"]


def summary_lines(report: TransferReport, sources: Sequence[object], dests: Sequence[object]) -> list[str]:
    """What was done, then what went wrong; where nothing could be done, only that."""
    if report.exit_code == NetworkError.exit_code:
        return problem_lines(report)
    if report.n_instances == 0:
        return problem_lines(report) or [f"Nothing to copy: {listed(sources)} has nothing that matches."]
    if report.dry_run:
        nowhere = report.n_in_state(Outcome.FILTERED) if len(dests) > 1 else 0
        return [*([f"{plural(nowhere, 'instance')} would go nowhere."] if nowhere else []), *report.warnings]
    return [report.summary()]


def preview_lines(report: TransferReport, sources: Sequence[object], dests: Sequence[object]) -> list[str]:
    """What would go where, and how much: a line for each destination."""
    lines = []
    for dest in dests:
        name = str(dest) if len(dests) > 1 else ""
        n_instances, n_series = report.planned(name)
        amount = f"{plural(n_instances, 'instance')} of {n_series} series" if n_instances else "nothing"
        counts = [(report.n_in_state(outcome, name), outcome.label) for outcome in (Outcome.PRESENT, Outcome.FILTERED)]
        more = ", ".join(f"{n} {label}" for n, label in counts if n)
        lines.append(f"{safe_text(dest)}: {amount} from {listed(sources)}" + (f" ({more})" if more else ""))
    return lines


def problem_lines(report: TransferReport) -> list[str]:
    """What went wrong. Where nothing could be done, the reason is enough."""
    if report.exit_code == NetworkError.exit_code and report.errors:
        return list(dict.fromkeys(f"Error: {safe_text(problem.message, 300)}" for problem in report.errors))
    return report.warnings


def listed(stores: Sequence[object]) -> str:
    """Names of stores for people."""
    return safe_text(", ".join(map(str, stores)))
