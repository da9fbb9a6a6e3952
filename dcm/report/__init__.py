"""What happened to each instance, and progress hooks.

A `TransferReport` knows the state of every instance at every destination, a `QueryReport` how a query went. Both have
`exit_code`, `summary()` for people, `to_json()` and `write_json()` for programs. Nothing in here prints.
"""

from __future__ import annotations

from dcm.report._base import Report
from dcm.report.outcome import Outcome, Problem, ProblemLog
from dcm.report.progress import NullProgress, Progress
from dcm.report.query import QueryReport
from dcm.report.transfer import TransferReport

__all__ = [
    "NullProgress",
    "Outcome",
    "Problem",
    "ProblemLog",
    "Progress",
    "QueryReport",
    "Report",
    "TransferReport",
]
