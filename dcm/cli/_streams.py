"""Standard input, output and error: closed ones, those that nobody reads any more, and those that take no more."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import Literal, TextIO

__all__ = [
    "CLOSED_PIPE",
    "OutputError",
    "buffer_stdout",
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


def buffer_stdout() -> None:
    """Give stdout a buffer, where Python was told not to (PYTHONUNBUFFERED).

    Without one, what does not fit into a pipe or onto a disk is dropped without a word. Lines appear at once all the
    same.
    """
    out = sys.stdout
    raw = getattr(out, "buffer", None)
    if out is sys.__stdout__ and out is not None and isinstance(raw, io.RawIOBase):
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), out.encoding, out.errors, line_buffering=True)


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
    """The same for bytes: all of them, whatever stdout takes at a time."""
    left = memoryview(data)
    try:
        while left:
            left = left[_written(left) :]
    except BrokenPipeError:
        raise
    except OSError as exc:
        raise OutputError(exc.strerror or str(exc)) from exc


def _written(data: memoryview) -> int:
    """Write what stdout takes now; gives how much that is."""
    try:
        return sys.stdout.buffer.write(data)
    except BlockingIOError as exc:
        _wait_for_room()
        return exc.characters_written


def _wait_for_room() -> None:
    """Wait until stdout takes more: somebody has made it a stream that does not wait by itself."""
    select.select([], [sys.stdout.fileno()], [])


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
        while not _flushed():
            _wait_for_room()
    except BrokenPipeError:
        raise
    except OSError as exc:
        return exc.strerror or str(exc)
    return ""


def _flushed() -> bool:
    try:
        sys.stdout.flush()
    except BlockingIOError:
        return False
    return True


def forget(stream: TextIO) -> None:
    """Leave nothing to be written to a stream that takes no more, when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        fileno = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, fileno)
        os.close(null)
