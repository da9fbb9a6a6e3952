"""An earlier query result, from a file or piped in."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcm.errors import DataError, UsageError

if TYPE_CHECKING:
    from dcm.query import QueryResult

__all__ = ["is_piped", "read_query_res"]

_PATIENCE = 3.0  # seconds of silence after which we say what we are waiting for


def read_query_res(path: Path | None, *, quiet: bool = False) -> QueryResult | None:
    """The query result of ``--query-res``, or the one that is piped in.

    Parameters
    ----------
    path : Path or None
        A file, ``-`` for stdin. None: stdin, if it is a pipe or a file that has something in it. A terminal, a socket
        and ``/dev/null`` are never read.
    quiet : bool
        Do not say that we are waiting for a pipe.

    Returns
    -------
    QueryResult or None
        None where there is none.

    Raises
    ------
    UsageError
        It cannot be read, or is no query result.
    """
    if path is None and not is_piped():
        return None
    from_stdin = path is None or str(path) == "-"
    try:
        if from_stdin:
            data = _read_stdin(quiet)
        else:
            assert path is not None
            data = path.read_bytes()
    except OSError as exc:
        raise UsageError(f"cannot read {'stdin' if from_stdin else path}: {exc.strerror}") from exc
    if path is None and not data.strip():
        return None
    from dcm.query import QueryResult

    try:
        return QueryResult.from_json(data)
    except DataError as exc:
        hint = "it is read because something is piped in; </dev/null keeps it away" if path is None else exc.hint
        raise UsageError(f"{'stdin' if from_stdin else path}: {exc.message}", hint=hint) from exc


def is_piped() -> bool:
    """Whether stdin is a pipe or a file, and so may have a query result in it."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # there is no stdin, or it is none of the system's
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _read_stdin(quiet: bool) -> bytes:
    if not quiet and not _ready(_PATIENCE):
        click.echo("Waiting for a query result on stdin (dcm ... </dev/null if there is none) ...", err=True)
    return sys.stdin.buffer.read()


def _ready(seconds: float) -> bool:
    if sys.platform == "win32":  # it can wait for sockets only
        return True
    import select

    return bool(select.select([sys.stdin], [], [], seconds)[0])
