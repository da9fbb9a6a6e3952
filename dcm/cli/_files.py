"""The files that a user names, and those in the directories among them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from dcm.errors import StoreError
from dcm.text import plural

__all__ = ["STDIN", "files_of", "say_left_out"]

STDIN = "-"


def files_of(
    names: Iterable[str], recurse: bool, complain: Callable[[str, StoreError], None]
) -> Iterator[tuple[str, bool]]:
    """Paths, and whether a directory was listed to find them.

    Parameters
    ----------
    names : iterable of str
        Of files and directories; ``-`` is stdin.
    recurse : bool
        Whether to list directories; else they are given as they are.
    complain : callable
        Told which directory cannot be listed, and why: the others go on.
    """

    def failed(error: OSError) -> None:
        complain(os.fsdecode(error.filename), StoreError(f"cannot be read: {error.strerror}"))

    for name in names:
        if not recurse or name == STDIN or not os.path.isdir(name):  # noqa: PTH112 - Path.is_dir may raise
            yield name, False
            continue
        for directory, below, found in os.walk(name, onerror=failed):
            below.sort()
            for file in sorted(found):
                path = Path(directory, file)
                if os.path.isfile(path):  # noqa: PTH113 - a named pipe that nobody writes to would be read for ever
                    yield str(path), True


def say_left_out(n_files: int) -> None:
    """Say how many files in directories were no DICOM."""
    if n_files:
        click.echo(f"Left out: {plural(n_files, 'file')} that {'is' if n_files == 1 else 'are'} not DICOM", err=True)
