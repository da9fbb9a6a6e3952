"""Standard input, output and error: closed ones, those that nobody reads any more, and those that take no more."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Literal, TextIO

__all__ = [
    "CLOSED_PIPE",
    "OutputError",
    "fill_closed_streams",
    "flush_stdout",
    "forget",
    "print_text",
    "stdout_problem",
    "write_stdout",
]

CLOSED_PIPE = 141
"""What a shell calls the end by SIGPIPE (128 + 13): what ``head`` makes of git, grep and diff as well."""


class OutputError(OSError):
    """What was written to stdout could not get there."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"cannot write to stdout: {problem}")


def fill_closed_streams() -> None:
    """Put something in the place of streams that were closed (``dcm ... >&-``), for which Python has None.

    Using the first two fails, as with other programs. Left free, their numbers would be those of the next files to be
    opened, and what is printed could end in one of those.
    """
    if sys.stdin is None:
        sys.stdin = _nowhere(os.O_WRONLY, "r")
    if sys.stdout is None:
        sys.stdout = _nowhere(os.O_RDONLY, "w")
    if sys.stderr is None:
        sys.stderr = _nowhere(os.O_WRONLY, "w")


def _nowhere(flags: int, mode: Literal["r", "w"]) -> TextIO:
    return open(os.open(os.devnull, flags), mode, encoding="utf-8", closefd=False)


def print_text(text: str) -> None:
    """Write text as the terminal takes it, or leave it to be written by `flush_stdout`; raises the same."""
    write_stdout(text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


def write_stdout(data: bytes) -> None:
    """The same for bytes."""
    try:
        sys.stdout.buffer.write(data)
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise OutputError(exc.strerror or str(exc)) from exc


def flush_stdout() -> None:
    """Write what is still to be written.

    Raises
    ------
    BrokenPipeError
        Nobody reads it any more.
    OutputError
        It cannot be written.
    """
    if problem := stdout_problem():
        raise OutputError(problem)


def stdout_problem() -> str:
    """Why stdout takes no more; '' where it does. Raises BrokenPipeError where nobody reads it any more."""
    # What could not be written is still waiting to be.
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as exc:
        return exc.strerror or str(exc)
    return ""


def forget(stream: TextIO) -> None:
    """Leave nothing to be written to a stream that takes no more, when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        fileno = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, fileno)
        os.close(null)
