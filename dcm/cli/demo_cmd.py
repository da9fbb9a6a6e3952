"""``dcm demo``."""

from __future__ import annotations

from pathlib import Path

import click

from dcm.cli._options import examples

__all__ = ["command"]


@click.command("demo", epilog=examples("dcm demo", "dcm demo --dir try-it", "dcm demo --serve"))
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the data goes, and stays. Default: a temporary directory, which is removed again.",
)
@click.option("--serve", is_flag=True, help="Leave the archive running until Ctrl-C, to try commands of your own.")
def command(directory: Path | None, serve: bool) -> int:
    """See what dcm does, without a PACS.

    Starts a small archive with sample studies on this machine, and shows echo, query and sync, each command as one
    types it, and what lies on the disk afterwards. Nothing leaves this machine; your configuration is not used.

    Exits with the worst of the exit codes of the commands that it shows.
    """
    from dcm.demo import run_tour

    return run_tour(click.echo, directory, serve=serve)
