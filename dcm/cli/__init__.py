"""The command line: ``dcm``.

One module a command, ``*_cmd.py``, imported when the command is run; nothing here imports pydicom, numpy or rich before
a command needs it.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(args: Sequence[str] | None = None) -> int:
    """Run ``dcm``.

    Parameters
    ----------
    args : sequence of str, optional
        What follows ``dcm`` on the command line; by default that of this process.

    Returns
    -------
    int
        The exit code. Errors have been printed to stderr.
    """
    from dcm.cli._root import root
    from dcm.cli._run import run

    return run(root, args)
