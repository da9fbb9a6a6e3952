"""A report on what goes under other UIDs than it is known by."""

from __future__ import annotations

import os
from collections.abc import Iterable

from dcm.report.outcome import Outcome
from dcm.report.transfer import TransferReport

__all__ = ["RenamedReport"]


class RenamedReport(TransferReport):
    """A report for a destination behind a filter that gives new UIDs: it passes on what happened under the old ones.

    Parameters
    ----------
    report : TransferReport
        The one that it passes it on to.
    """

    def __init__(self, report: TransferReport) -> None:
        super().__init__(report.progress)
        self._originals: dict[str, tuple[str, int]] = {}
        self._to = report

    def begin(self, uid: str, original: str) -> None:
        """Say what an instance is known by that is on its way."""
        n_before = self._originals[uid][1] if uid in self._originals else 0
        self._originals[uid] = original, n_before + 1

    def end(self, uid: str) -> None:
        """It has arrived, or failed."""
        original, n = self._originals.pop(uid)
        if n > 1:  # another copy of the same
            self._originals[uid] = original, n - 1

    def _original(self, uid: str) -> str:
        return self._originals.get(uid, (uid, 0))[0]

    def expect(self, uids: Iterable[str], series_uid: str = "", dest: str = "") -> None:
        self._to.expect([self._original(uid) for uid in uids], "", dest)

    def record(
        self,
        uid: str,
        outcome: Outcome,
        *,
        dest: str = "",
        n_bytes: int = 0,
        series_uid: str = "",
        reason: str = "",
        status: int | None = None,
        refused: bool = False,
        path: str | os.PathLike[str] | None = None,
        error: Exception | None = None,
    ) -> Outcome:
        return self._to.record(
            self._original(uid),
            outcome,
            dest=dest,
            n_bytes=n_bytes,
            reason=reason,
            status=status,
            refused=refused,
            path=path,
            error=error,
        )

    def arriving(self, n_bytes: int) -> None:
        self._to.arriving(n_bytes)

    def anomaly(self, kind: str, uid: str, message: str, status: int | None = None) -> None:
        self._to.anomaly(kind, self._original(uid), message, status)

    def error(self, subject: str, message: str, status: int | None = None, *, refused: bool = True) -> None:
        self._to.error(subject, message, status, refused=refused)

    def doubt(self, reason: str) -> None:
        self._to.doubt(reason)
