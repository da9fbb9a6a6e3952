"""What happened to each instance, and progress hooks.

A `TransferReport` knows the state of every instance at every destination, a `QueryReport` how a query went. Both have
`exit_code`, `summary()` for people, `to_json()` and `write_json()` for programs. Nothing in here prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcm._lazy import lazy
from dcm.report.outcome import Outcome, Problem, ProblemLog

if TYPE_CHECKING:
    from dcm.report._base import Report as Report
    from dcm.report.progress import NullProgress as NullProgress
    from dcm.report.progress import Progress as Progress
    from dcm.report.query import QueryReport as QueryReport
    from dcm.report.transfer import TransferReport as TransferReport
else:
    # When they are first used: a process that only places files has outcomes, and no report.
    _EXPORTS = {
        "NullProgress": "dcm.report.progress",
        "Progress": "dcm.report.progress",
        "QueryReport": "dcm.report.query",
        "Report": "dcm.report._base",
        "TransferReport": "dcm.report.transfer",
    }
    __getattr__, __dir__ = lazy(__name__, _EXPORTS)


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
