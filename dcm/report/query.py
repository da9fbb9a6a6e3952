"""What a query did: how much was asked and answered, what was odd, and whether the answer is whole."""

from __future__ import annotations

from dcm.report._base import FILE_LABELS, Report, cause_lines
from dcm.report.outcome import Problem, ProblemLog
from dcm.text import plural, safe_text

__all__ = ["QueryReport"]


class QueryReport(Report):
    """What happened in a query, which may be many C-FIND requests.

    Attributes
    ----------
    n_queries, n_responses : int
        C-FIND requests sent, and pending responses that came.
    n_succeeded, n_failed : int
        Requests that ended well, and with a failure. Where a request was split into parts, these count.
    invalid : int
        Responses that were dropped: at the wrong level, without their unique key, not what was asked for, or
        contradicting the hierarchy.
    problems : ProblemLog
        Why: kinds "invalid", "outside", "inconsistent" for responses, "refused" for requests.
    capped : list of str
        What may be incomplete, in words; empty where nothing speaks against the answer being whole.
    """

    def __init__(self) -> None:
        super().__init__()
        self.n_queries = 0
        self.n_responses = 0
        self.n_succeeded = 0
        self.n_failed = 0
        self.invalid = 0
        self.problems = ProblemLog()
        self.capped: list[str] = []

    def drop(self, kind: str, subject: str, message: str) -> None:
        """Count a response that cannot be used."""
        self.invalid += 1
        self.problems.add(Problem(kind, subject, message))

    def fail(self, subject: str, message: str, status: int | None = None) -> None:
        """Count a request that ended with a failure."""
        self.n_failed += 1
        self.problems.add(Problem("refused", subject, message, status))

    def merge(self, other: QueryReport) -> None:
        """Add what another report says, of another part of the same query."""
        self.n_queries += other.n_queries
        self.n_responses += other.n_responses
        self.n_succeeded += other.n_succeeded
        self.n_failed += other.n_failed
        self.invalid += other.invalid
        self.problems.extend(other.problems)
        self.capped.extend(text for text in other.capped if text not in self.capped)
        self.files.extend(other.files)
        self.interrupted = self.interrupted or other.interrupted

    @property
    def complete(self) -> bool:
        """True where nothing speaks against the answer being whole.

        An answer that was dropped because it does not belong to the query takes nothing away; one that cannot be
        named (no unique key, the wrong level) stands for something that we cannot ask for.
        """
        lost = self.problems.count("invalid") + self.problems.count("inconsistent")
        return not (self.capped or self.n_failed or lost or self.n_lost_files or self.interrupted)

    @property
    def exit_code(self) -> int:
        """0 where complete, 3 where some requests failed, 4 where none went well, 5 where in doubt, 130."""
        if self.interrupted:
            return 130
        if self.n_failed:
            return 3 if self.n_succeeded or self.n_responses else 4
        return 0 if self.complete else 5

    @property
    def warnings(self) -> list[str]:
        """One line for each kind of thing that the user should know."""
        lines = cause_lines(self.problems, _LABELS) + cause_lines(self.files, FILE_LABELS)
        lines.extend(f"possibly incomplete: {safe_text(text, 300)}" for text in self.capped[:_MAX_LINES])
        if len(self.capped) > _MAX_LINES:
            lines.append(f"possibly incomplete: {len(self.capped) - _MAX_LINES} more")
        if self.interrupted:
            lines.append("interrupted: the answer is not complete")
        return lines

    def summary(self) -> str:
        """What was asked and answered on the first line, then the warnings."""
        first = f"{plural(self.n_responses, 'response')} to {plural(self.n_queries, 'query')}"
        return "\n".join([first, *self.warnings])

    def to_json(self) -> dict[str, object]:
        """The whole report as a JSON object."""
        return {
            "queries": self.n_queries,
            "responses": self.n_responses,
            "failed": self.n_failed,
            "invalid": self.invalid,
            "complete": self.complete,
            "possibly_incomplete": list(self.capped),
            "problems": [problem.to_json() for problem in self.problems],
            "n_problems": self.problems.count(),
            "files": [problem.to_json() for problem in self.files],
            "n_files": self.files.count(),
            "interrupted": self.interrupted,
            "exit_code": self.exit_code,
        }


_MAX_LINES = 20
_LABELS = {
    "invalid": "invalid answers left out",
    "outside": "answers left out that were not asked for",
    "inconsistent": "contradicting answers left out",
    "refused": "requests refused",
}
