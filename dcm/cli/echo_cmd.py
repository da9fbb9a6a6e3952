"""``dcm echo``."""

from __future__ import annotations

import logging

import click

from dcm.cli._options import examples, local_option
from dcm.cli._run import CliState
from dcm.errors import NetworkError
from dcm.text import safe_text

__all__ = ["command"]

log = logging.getLogger(__name__)


@click.command(
    "echo",
    epilog=examples(
        "dcm echo mypacs",
        "dcm echo mypacs.org:MYPACS:11112",
        "dcm echo --local 0.0.0.0:MYAE:11112 MYPACS@mypacs.org:104",
    ),
)
@click.argument("remote")
@local_option
@click.pass_obj
def command(state: CliState, remote: str, local: str | None) -> int:
    """Ask a node whether it answers (C-ECHO).

    Prints "Success", or "Failed" and why. REMOTE is a name from the configuration file, or HOST:AE:PORT.

    Exits with 0 if it answers, 1 if it does not.
    """
    conf = state.config()
    peer, us = conf.remote_node(remote), conf.entity(local)
    from dcm.cli._loop import run_async

    try:
        answered = run_async(us.echo(peer))
    except NetworkError as exc:
        log.debug("the echo failed", exc_info=True)
        click.echo(f"Failed: {safe_text(exc.message)}")
        if exc.hint:
            click.echo(safe_text(exc.hint), err=True)
        return 1
    click.echo("Success" if answered else f"Failed: {peer} answered with a failure")
    return 0 if answered else 1
