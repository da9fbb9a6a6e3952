"""One line at the bottom of a terminal that says how things stand."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

__all__ = ["live_line"]


@contextlib.contextmanager
def live_line(enabled: bool = True) -> Iterator[Callable[[str], None]]:
    """Show a line on stderr while the block runs; what is printed there meanwhile goes above it.

    Parameters
    ----------
    enabled : bool
        False shows nothing. Nothing is shown off a terminal either, so that logs have no escape codes.

    Yields
    ------
    callable
        Takes the text. It is drawn when it is given, and by no clock: this may run for months.
    """
    if not enabled or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda _: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True, markup=False, highlight=False, emoji=False)

    def show(text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal was closed
            live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
    live.start()
    try:
        yield show
    finally:
        with contextlib.suppress(OSError):
            live.stop()
