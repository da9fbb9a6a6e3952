"""Telling how far the first look through a directory is."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from dcm.report import NullProgress

if TYPE_CHECKING:
    from dcm.report import Progress

__all__ = ["Scanning"]

_INTERVAL = 0.1


class Scanning(NullProgress):
    """Told by a worker thread how many files have been read, and tells another progress in the event loop as a phase.

    Counts of files are no counts of instances: those are for what moves.

    Parameters
    ----------
    name : str
        What is looked through.
    progress : Progress
    """

    def __init__(self, name: str, progress: Progress) -> None:
        self._name = name
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._n_files = self._n_read = 0
        self._told = 0.0

    def expected(self, n_instances: int, n_bytes: int | None = None) -> None:
        """So many files have to be read."""
        self._n_files = n_instances

    def advanced(self, n_instances: int, n_bytes: int) -> None:
        """So many more were."""
        self._n_read += n_instances
        if n_instances and time.monotonic() - self._told > _INTERVAL:
            self.phase(f"reading {self._name}: {self._n_read:,} of {self._n_files:,} files")

    def phase(self, text: str) -> None:
        """Say what is being done."""
        self._told = time.monotonic()
        self._loop.call_soon_threadsafe(self._progress.phase, text)
