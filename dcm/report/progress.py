"""How a long operation tells what it is doing; who shows it is somebody else's matter."""

from __future__ import annotations

from typing import Protocol

__all__ = ["NullProgress", "Progress"]


class Progress(Protocol):
    """What a report calls while the work goes on, always in the event loop's thread.

    A command line draws a bar with it. The methods must be quick and must not raise: they run once an instance.
    """

    def expected(self, n_instances: int, n_bytes: int | None = None) -> None:
        """All that is asked for, as far as it is known by now; said again whenever more is known.

        Parameters
        ----------
        n_instances : int
            In all: one instance for two destinations counts twice.
        n_bytes : int, optional
            In all; None where nobody knows.
        """

    def advanced(self, n_instances: int, n_bytes: int) -> None:
        """So many instances have reached an end, whichever, and so many bytes have moved, since the last call."""

    def phase(self, text: str) -> None:
        """What is being done now, "querying" say."""

    def finished(self) -> None:
        """Nothing more will come."""


class NullProgress:
    """A `Progress` that shows nothing."""

    def expected(self, n_instances: int, n_bytes: int | None = None) -> None:
        """Ignore it."""

    def advanced(self, n_instances: int, n_bytes: int) -> None:
        """Ignore it."""

    def phase(self, text: str) -> None:
        """Ignore it."""

    def finished(self) -> None:
        """Ignore it."""
