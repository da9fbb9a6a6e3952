"""``dcm forward``."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcm.cli._options import (
    access_options,
    dir_format_option,
    edit_json_option,
    edit_option,
    examples,
    local_option,
    out_file_ext_option,
)
from dcm.cli._run import INTERRUPTED, CliState
from dcm.cli._sizes import to_size
from dcm.cli._spool_dir import default_spool, spool_option
from dcm.errors import PartialError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dcm.cli._rules import Rules
    from dcm.spool import Forwarder

__all__ = ["command"]

log = logging.getLogger(__name__)


@click.command(
    "forward",
    epilog=examples(
        "dcm forward ~/archive research_pacs",
        "dcm forward scanner_rules",
        "dcm forward --ack delivered backup_pacs",
        "dcm forward -e PatientID=ANON1 'research:{PatientID}/{SOPInstanceUID}'",
        "dcm forward --spool /var/spool/dcm --inactive-timeout 600 mypacs",
    ),
)
@click.argument("dests", nargs=-1, required=True, metavar="DEST...")
@click.option(
    "--ack",
    type=click.Choice(("durable", "delivered", "received"), case_sensitive=False),
    default="durable",
    show_default=True,
    help="When a sender is told that we have an instance: when it is on disk in the spool; when all destinations have "
    "it; or at once, so that what is not on the disk yet is lost if this process dies or the disk fills up.",
)
@spool_option
@click.option(
    "--min-free",
    callback=to_size,
    metavar="SIZE",
    help="Take nothing more when the disk of the spool has less room than that: 500M, 2G. Default: 64M, or 5 % of a "
    "small disk.",
)
@click.option(
    "--on-conflict",
    type=click.Choice(("forward", "quarantine"), case_sensitive=False),
    default="forward",
    show_default=True,
    help="What to do with other bytes under a UID that was here before: deliver them, too, or keep them for a human.",
)
@click.option(
    "--ack-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default="60",
    metavar="SECONDS",
    help="With --ack delivered: when a sender is told that it failed. It goes on being tried.",
)
@click.option(
    "--inactive-timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End when nothing came in for so long, nobody is connected, and what can be delivered is.",
)
@click.option(
    "--stop-within",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default="10",
    metavar="SECONDS",
    help="How long senders and deliveries have to finish when SIGTERM or Ctrl-C ends it. A second one ends it at once.",
)
@edit_option
@edit_json_option
@dir_format_option
@out_file_ext_option
@local_option
@access_options
@click.option("--no-progress", is_flag=True, help="Show no progress. Off a terminal there is none anyway.")
@click.option("--no-report", is_flag=True, help="Print no summary at the end, only what went wrong.")
@click.pass_obj
def command(
    state: CliState,
    dests: tuple[str, ...],
    ack: str,
    spool_path: Path | None,
    min_free: int | None,
    on_conflict: str,
    ack_timeout: float,
    inactive_timeout: float | None,
    stop_within: float,
    edit: tuple[str, ...],
    edit_json: Path | None,
    dir_format: str | None,
    out_file_ext: str | None,
    local: str | None,
    allow_ae: tuple[str, ...],
    allow_address: tuple[str, ...],
    require_called_ae: bool | None,
    max_assoc: int | None,
    max_assoc_per_peer: int | None,
    no_progress: bool,
    no_report: bool,
) -> int:
    """Receive, keep safe, and pass on by routes.

    Listens as our node does, and delivers what it is sent to every DEST: a node, a directory (PATH or PATH:TEMPLATE),
    or a name of either or of a route from the configuration file. On SIGHUP the routes are read anew.

    What is acknowledged is in the spool, on disk, until all destinations have it: whatever crashes, nothing is lost.
    Each destination has a queue of its own, and is tried again until it takes what is for it.
    """
    from dcm.cli._edits import load_edits
    from dcm.cli._forward_text import start_lines, stop_line
    from dcm.cli._rules import Rules
    from dcm.conf import AccessOverrides, Overrides
    from dcm.route import Router
    from dcm.spool import Ack, Forwarder, OnConflict, Spool

    access = AccessOverrides(allow_ae, allow_address, require_called_ae, max_assoc, max_assoc_per_peer)
    over = Overrides(
        local=local,
        out_fmt=dir_format,
        out_file_ext=out_file_ext,
        edits=load_edits(edit, edit_json),
        access=access,
        sync=True,
        index=False,
    )
    conf = state.config(over)
    router = Router(conf.routes_to(dests))
    with Spool(spool_path or default_spool(), min_free=min_free, on_conflict=OnConflict(on_conflict)) as spool:
        forwarder = Forwarder(
            conf.entity(),
            router,
            spool,
            ack=Ack(ack),
            ack_timeout=ack_timeout,
            stop_within=stop_within,
            inactive_timeout=inactive_timeout,
        )

        def ready(port: int) -> None:
            lines = start_lines(conf.local_node(), port, spool, router.ways, Ack(ack), forwarder.before)
            _say(lines, lines, quiet=state.quiet)

        def stop() -> None:
            line = stop_line(stop_within)
            _say([line], [line], quiet=state.quiet)
            forwarder.stop()

        forwarder.ready = ready
        rules = Rules(forwarder, lambda: Router(state.config(over).routes_to(dests)))
        return _run(forwarder, rules, stop, show=not (no_progress or state.quiet), brief=no_report or state.quiet)


def _say(lines: Iterable[str], logged: Iterable[str], *, quiet: bool = False) -> None:
    """Print lines to stderr, and log some to a file; where nobody takes them (a full disk), that ends no router."""
    from dcm.cli._logging import SAID

    for line in logged:
        log.info("%s", line, extra=SAID)
    with contextlib.suppress(OSError):
        for line in () if quiet else lines:
            click.echo(line, err=True)


def _ends_with_terminal() -> bool:
    """Whether SIGHUP means that who sits at a terminal has closed it; not where it was to be ignored (nohup)."""
    ignored = hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return not ignored and any(map(os.isatty, range(3)))


def _run(forwarder: Forwarder, rules: Rules, stop: Callable[[], None], *, show: bool, brief: bool) -> int:
    """Run it to its end, and say what it did."""
    from dcm.cli._forward_text import live_text, lost_any, problem_lines, summary_lines
    from dcm.cli._live import live_line
    from dcm.cli._loop import run_service

    with live_line(show) as draw:
        forwarder.progress = lambda snapshot: draw(live_text(snapshot))
        hang_up = None if _ends_with_terminal() else rules.renew
        _, number = run_service(forwarder.run(), stop, hang_up)
    tally, before, now = forwarder.tally, forwarder.before, forwarder.now
    summary = summary_lines(tally, before, now)
    _say(problem_lines(tally, now) if brief else summary, summary)
    if number == signal.SIGINT:
        return INTERRUPTED
    # Queues are there for the next start; what is lost is in none.
    left = not number and any(counts.waiting for counts in now.ways.values())
    return PartialError.exit_code if left or lost_any(tally, before, now) else 0
