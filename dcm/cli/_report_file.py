"""``--report FILE``: what became of everything, as JSON."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcm.cli._render import harmless_json
from dcm.cli._run import print_error
from dcm.cli._streams import flush_stdout, write_stdout
from dcm.errors import StoreError, UsageError

if TYPE_CHECKING:
    from dcm.report import Report

__all__ = ["check_report_path", "report_option", "to_stdout", "write_report"]

_STDOUT = Path("-")


def report_option(help: str) -> Callable[[Any], Any]:
    """Make the option, with its help; ``-`` is stdout."""
    path = _Path(dir_okay=False, allow_dash=True, path_type=Path)
    return click.option("--report", "report_path", metavar="FILE", type=path, help=help)


class _Path(click.Path):
    """The path of a file that need not be there. An empty name would be the current directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("an empty name", param, ctx)
        return super().convert(value, param, ctx)


def to_stdout(path: Path | None) -> bool:
    """Whether the report goes to stdout: nothing else may then."""
    return path == _STDOUT


def check_report_path(path: Path | None, to_be_made: Iterable[Path] = ()) -> None:
    """Say beforehand that a report cannot be written: afterwards hours of work may have been done.

    Parameters
    ----------
    path : Path or None
    to_be_made : iterable of Path
        Directories that may still be made on the way.

    Raises
    ------
    UsageError
    """
    if path is None or to_stdout(path):
        return
    made = [directory.absolute() for directory in to_be_made]
    if path.absolute() in made:
        raise UsageError(f"cannot write the report to {path}: that is where the instances go")
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except OSError as exc:  # its name is too long, say
        raise UsageError(f"cannot write the report to {path}: {exc.strerror}") from exc
    if path.exists() and not path.is_file():  # /dev/null, say
        if not os.access(path, os.W_OK):
            raise UsageError(f"cannot write the report to {path}: it cannot be written to")
        return
    # The report appears whole under its name, so that its directory is what counts.
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    parent = path.parent.absolute()
    if not parent.is_dir():
        if parent not in made:
            raise UsageError(f"cannot write the report to {path}: there is no directory {path.parent}")
    elif not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write the report to {path}: {path.parent} cannot be written to")


def write_report(report: Report, path: Path | None) -> bool:
    """Write it, whole or not at all, where it was asked for.

    Returns
    -------
    bool
        False where that was not possible. That has been said then; what there is to say about the work is still to be.
    """
    if path is None:
        return True
    if to_stdout(path):
        write_stdout(harmless_json(report.json_bytes().decode()).encode())  # names of files are in it
        flush_stdout()
        return True
    try:
        # It may be in a destination that nothing went to.
        path.parent.mkdir(parents=True, exist_ok=True)
        report.write_json(path)
    except StoreError as exc:
        print_error(exc.message, exc.hint)
    except OSError as exc:
        print_error(f"cannot write the report to {path}: {exc.strerror or exc}")
    else:
        return True
    return False
