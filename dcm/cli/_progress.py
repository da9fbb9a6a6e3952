"""Progress of a transfer on a terminal: instances, bytes, rate and time left."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dcm.report import NullProgress, Progress
from dcm.text import safe_text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["paused", "progress_text", "show_progress"]

_INTERVAL = 0.1  # seconds
_COUNTS_WIDTH = 60  # of "8,200/17,174 instances, 215.3 MB, 360.5 MB/s", the time left and a bit of a bar


@contextlib.contextmanager
def show_progress(enabled: bool = True) -> Iterator[Progress]:
    """Show progress on stderr while the block runs.

    Parameters
    ----------
    enabled : bool
        False shows nothing. Nothing is shown off a terminal either, so that logs have no escape codes.

    Yields
    ------
    Progress
        For a report. Nothing of it stays on the screen.
    """
    if not enabled or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield NullProgress()
        return
    from rich.console import Console

    display = _Display(Console(stderr=True, markup=False, highlight=False, emoji=False))
    try:
        yield display
    finally:
        display.finished()


@contextlib.contextmanager
def paused(progress: Progress) -> Iterator[None]:
    """Take progress off the screen while the block prints something on the same terminal."""
    if not isinstance(progress, _Display):
        yield
        return
    progress.finished()
    try:
        yield
        sys.stdout.flush()
    finally:
        progress.resumed()


class _Display:
    """A `dcm.report.Progress` that draws one line, and draws it no more often than anybody can look."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[counts]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            expand=True,
            redirect_stdout=False,  # data goes there
        )
        self._room = max(10, console.width - _COUNTS_WIDTH)
        self._task = self._bar.add_task("starting", total=None, counts="")
        self._total: int | None = None
        self._n_instances = self._n_bytes = 0
        self._began: float | None = None
        self._drawn = 0.0
        self._bar.start()

    def expected(self, n_instances: int, n_bytes: int | None = None) -> None:
        """All that is asked for."""
        self._total = n_instances
        self._draw(time.monotonic())

    def advanced(self, n_instances: int, n_bytes: int) -> None:
        """So much more is done."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        self._n_instances += n_instances
        self._n_bytes += n_bytes
        if now - self._drawn > _INTERVAL:
            self._draw(now)

    def phase(self, text: str) -> None:
        """What is being done now."""
        self._bar.update(self._task, description=safe_text(text, min(60, self._room)))

    def finished(self) -> None:
        """Take the line off the screen."""
        self._bar.stop()

    def resumed(self) -> None:
        """Show it again."""
        self._bar.start()

    def _draw(self, now: float) -> None:
        seconds = now - self._began if self._began is not None else 0.0
        counts = progress_text(self._n_instances, self._total, self._n_bytes, seconds)
        self._bar.update(self._task, total=self._total, completed=self._n_instances, counts=counts)
        self._drawn = now


def progress_text(n_instances: int, total: int | None, n_bytes: int, seconds: float) -> str:
    """How far a transfer is: "12/500 instances, 6.3 MB, 31.2 MB/s"."""
    from rich.filesize import decimal

    of_total = f"/{total:,}" if total is not None else ""
    parts = [f"{n_instances:,}{of_total} {'instance' if n_instances == 1 and not of_total else 'instances'}"]
    if n_bytes:
        parts.append(decimal(n_bytes))
    if n_bytes and seconds > 0:
        parts.append(f"{decimal(int(n_bytes / seconds))}/s")
    return ", ".join(parts)
