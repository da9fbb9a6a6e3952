"""``--spool``: where what was received is kept."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["default_spool", "spool_option"]


def default_spool() -> Path:
    """Where the spool is unless somebody says otherwise."""
    import platformdirs

    return Path(platformdirs.user_state_dir("dcm", appauthor=False)) / "spool"


spool_option = click.option(
    "--spool",
    "spool_path",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where what was received is kept until it is delivered. Default: dcm/spool where the platform keeps state.",
)
