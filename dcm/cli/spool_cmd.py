"""``dcm spool``."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dcm.cli._options import examples
from dcm.cli._run import CliState
from dcm.cli._spool_dir import default_spool, spool_option
from dcm.errors import DcmError, UsageError
from dcm.text import plural, safe_text

if TYPE_CHECKING:
    from dcm.spool import Delivery, DeliveryState, Spool

__all__ = ["command"]

_F = TypeVar("_F", bound=Callable[..., Any])
_LIVE = ("queued", "quarantined", "held")
_STATES = (*_LIVE, "delivered", "filtered", "dropped", "lost")


def _chosen(*states: str, default: str = "quarantined") -> Callable[[_F], _F]:
    """The options that say which deliveries are meant."""

    def decorate(function: _F) -> _F:
        for option in (
            click.argument("uids", nargs=-1, metavar="[UID]..."),
            click.option(
                "--state",
                "states",
                multiple=True,
                type=click.Choice(states, case_sensitive=False),
                help=f"Only deliveries in this state; may be repeated. Default: {default}.",
            ),
            click.option(
                "--dest",
                "dests",
                multiple=True,
                metavar="DEST",
                help="Only deliveries to this destination, as the table or the configuration file calls it; may be "
                "repeated. none is what could not be routed.",
            ),
            spool_option,
        ):
            function = option(function)
        return function

    return decorate


@click.group(
    "spool",
    epilog=examples(
        "dcm spool ls",
        "dcm spool ls --state quarantined --out-format json",
        "dcm spool retry --dest research_pacs",
        "dcm spool move --dest 192.0.2.1:OLDPACS:104 newpacs",
        "dcm spool export ~/rescued",
        "dcm spool drop 1.2.826.0.1.3680043.8.498.1",
    ),
)
def command() -> None:
    """Look into the spool of a forwarder, and mend it.

    The forwarder may run or not. Nothing that is shown names a patient.
    """


@command.command(
    "ls",
    epilog=examples(
        "dcm spool ls", "dcm spool ls --state quarantined", "dcm spool ls --out-format ndjson | jq .reason"
    ),
)
@_chosen(*_STATES, default="all that are not at an end; of UIDs that are given, all")
@click.option(
    "--out-format",
    type=click.Choice(("table", "json", "ndjson"), case_sensitive=False),
    default="table",
    show_default=True,
    help="A table of destinations, or of deliveries where UIDs or states are given; an object with both; or an object "
    "for each delivery, on a line.",
)
@click.pass_obj
def ls(
    state: CliState,
    uids: tuple[str, ...],
    states: tuple[str, ...],
    dests: tuple[str, ...],
    spool_path: Path | None,
    out_format: str,
) -> None:
    """Show what waits, for whom, and why.

    What is queued is tried again by itself; what is in quarantine waits for dcm spool retry, or drop; what is held has
    no route that goes there any more.
    """
    from dcm.cli._spool_text import as_json, delivery_lines, destination_lines, document, echo, gathered, print_json

    with _spool(spool_path) as spool:
        ways = _ways(state, spool, dests)
        found = _deliveries(spool, uids, ways, states or (_STATES if uids else _LIVE))
        now = time.time()
        if out_format == "ndjson":
            for delivery in found:
                print_json(as_json(delivery))
        elif out_format == "json":
            listed = list(found)
            print_json(document(spool, listed, ways or spool.ways(), now), indent=2)
        elif uids or states:
            if not echo(delivery_lines(found, now)):
                click.echo("Nothing there.", err=True)
        else:
            echo(destination_lines(gathered(found, ways or spool.ways(), now), spool.counts(), now))


@command.command(
    "retry",
    epilog=examples("dcm spool retry", "dcm spool retry --dest research_pacs", "dcm spool retry --state queued"),
)
@_chosen(*_LIVE)
@click.pass_obj
def retry(
    state: CliState, uids: tuple[str, ...], states: tuple[str, ...], dests: tuple[str, ...], spool_path: Path | None
) -> int:
    """Try again what is in quarantine, now.

    A forwarder that runs is told, and begins at once; otherwise it is tried when one is started.
    """
    from dcm.spool._control import ring

    with _spool(spool_path) as spool:
        ways = _ways(state, spool, dests)
        chosen = states or ("quarantined",)
        chosen_on = Counter(one.way for one in _deliveries(spool, uids, ways, chosen))
        n = spool.retry(uids=uids, ways=ways, states=_states(chosen))
        if not n:
            click.echo(_nothing(spool, uids, ways, chosen, "tried again"), err=True)
            return 1
        told = ring(spool.path)
        held_on = {one.way for one in _deliveries(spool, uids, ways, ("held",))}
    n_held = min(n, sum(chosen_on[way] for way in held_on))
    it_is = "it is" if n == 1 else "they are"
    when = "the forwarder was told" if told else f"{it_is} tried when a forwarder is started"
    if n_held == n:
        when = f"{it_is} held until a route goes there"
    elif n_held:
        when += f", but {n_held} held until a route goes there"
    click.echo(f"{_counted(n)} queued again; {when}.", err=True)
    return 0


@command.command(
    "move",
    epilog=examples(
        "dcm spool move --dest 192.0.2.1:OLDPACS:104 newpacs", "dcm spool move --state held --dest oldpacs newpacs"
    ),
)
@_chosen(*_LIVE, default="all of them")
@click.argument("to", metavar="DEST")
@click.pass_obj
def move(
    state: CliState,
    uids: tuple[str, ...],
    states: tuple[str, ...],
    dests: tuple[str, ...],
    spool_path: Path | None,
    to: str,
) -> int:
    """Send what waits for one destination to another.

    For an archive that has moved, or whose address or title was wrong: what is queued for the old one is held when the
    configuration names another. What the new destination has already is not sent to it again.
    """
    from dcm.route import Router
    from dcm.spool._control import ring

    if not (dests or uids):
        raise UsageError("this would move all that waits, whatever it waits for", hint="say which: --dest DEST")
    keys = [way.key for way in Router(state.config().dests(to)).ways]
    if len(keys) != 1:
        raise UsageError(f"'{safe_text(to)}' leads to {len(keys)} destinations", hint="name one of them")
    with _spool(spool_path) as spool:
        ways = _ways(state, spool, dests)
        chosen = states or _LIVE
        n = spool.move(keys[0], uids=uids, ways=ways, states=_states(chosen))
        if not n:
            click.echo(_nothing(spool, uids, ways, chosen, "moved"), err=True)
            return 1
        told = ring(spool.path)
    when = "the forwarder was told" if told else "tried when a forwarder is started that has a route to it"
    click.echo(f"{_counted(n)} moved to {safe_text(to)}; {when}.", err=True)
    return 0


@command.command(
    "export",
    epilog=examples("dcm spool export ~/rescued", "dcm spool export --state quarantined ~/rescued:{SOPInstanceUID}"),
)
@_chosen(*_LIVE, default="all of them")
@click.argument("dest", metavar="DIR[:TEMPLATE]")
@click.pass_obj
def export(
    state: CliState,
    uids: tuple[str, ...],
    states: tuple[str, ...],
    dests: tuple[str, ...],
    spool_path: Path | None,
    dest: str,
) -> int:
    """Copy what waits into a directory, as DICOM files.

    Nothing changes in the spool. What is in the directory already is not copied again, and other bytes are never
    overwritten.
    """
    from dcm.cli._spool_export import export as copy_out
    from dcm.conf import Overrides
    from dcm.store.local_dir import LocalDir

    directory = state.config(Overrides(sync=True, index=False)).sink(dest)
    if not isinstance(directory, LocalDir):
        raise UsageError(f"'{safe_text(dest)}' is no directory", hint="give the path of one")
    with _spool(spool_path) as spool:
        ways = _ways(state, spool, dests)
        chosen = states or _LIVE
        report = copy_out(spool, _deliveries(spool, uids, ways, chosen), directory)
        if not report.n_instances:
            click.echo(_nothing(spool, uids, ways, chosen, "copied"), err=True)
            return 1
    click.echo(report.summary(), err=True)
    return report.exit_code


@command.command(
    "drop",
    epilog=examples("dcm spool drop 1.2.826.0.1.3680043.8.498.1", "dcm spool drop -y --dest old_pacs --state held"),
)
@_chosen(*_LIVE)
@click.option("-y", "--assume-yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def drop(
    state: CliState,
    uids: tuple[str, ...],
    states: tuple[str, ...],
    dests: tuple[str, ...],
    spool_path: Path | None,
    assume_yes: bool,
) -> int:
    """Give up what is in quarantine: it will not be delivered.

    What no other destination waits for leaves the spool, and dcm cannot bring it back. Its bytes may stay on the disk
    until their place is used again: where that matters, the disk has to be encrypted.
    """
    chosen = states or ("quarantined",)
    with _spool(spool_path) as spool:
        ways = _ways(state, spool, dests)
        n, n_instances = _extent(_deliveries(spool, uids, ways, chosen))
        if not n:
            click.echo(_nothing(spool, uids, ways, chosen, "given up"), err=True)
            return 1
        if not assume_yes:
            if not sys.stdin.isatty():
                raise UsageError("this gives up data for good, and there is nobody to ask", hint="say -y")
            question = f"Give up {_counted(n)} of {plural(n_instances, 'instance')}, {' and '.join(chosen)}, for good?"
            if not click.confirm(question, err=True):
                return 1
        n = spool.drop(uids=uids, ways=ways, states=_states(chosen))
    click.echo(f"{_counted(n)} given up.", err=True)
    return 0


def _spool(path: Path | None) -> Spool:
    from dcm.spool import Spool

    return Spool(path or default_spool(), exclusive=False)


def _states(words: Iterable[str]) -> tuple[DeliveryState, ...]:
    from dcm.spool import DeliveryState

    return tuple(DeliveryState(word) for word in words)


def _deliveries(
    spool: Spool, uids: Sequence[str], ways: Sequence[str] | None, states: Iterable[str]
) -> Iterator[Delivery]:
    return spool.ls(uids=uids, ways=ways, states=_states(states))


def _ways(state: CliState, spool: Spool, dests: tuple[str, ...]) -> tuple[str, ...] | None:
    """The ways that destinations on the command line stand for; None where all are meant."""
    from dcm.cli._spool_text import NOWHERE
    from dcm.spool import NO_WAY

    if not dests:
        return None
    known = spool.ways()
    chosen: list[str] = []
    for text in dests:
        if text == NOWHERE:
            chosen.append(NO_WAY)
            continue
        keys = [key for key in known if key == text or key.startswith(f"{text} | ")] or _configured(state, text, known)
        if not keys:
            there = f"there is something for {safe_text(', '.join(known))}" if known else "nothing was ever in it"
            raise UsageError(f"nothing in the spool is for '{safe_text(text)}'", hint=there)
        chosen += keys
    return tuple(dict.fromkeys(chosen))


def _configured(state: CliState, text: str, known: tuple[str, ...]) -> list[str]:
    """The ways to what the configuration file calls so, whatever happens on the way there."""
    from dcm.route import Router

    conf = state.config()
    try:
        ways = Router(conf.dests(text)).ways
    except DcmError:
        return []
    keys = [way.key.partition(" | ")[0] for way in ways]
    found = [key for key in known if key in keys or key.partition(" | ")[0] in keys]
    sections = (conf.remote_nodes, conf.local_dirs, conf.remote_repos, conf.static_routes, conf.dynamic_routes)
    if not found and any(text in section for section in sections):
        return [way.key for way in ways]  # nothing has come in for it yet, which is no mistake of who asks
    return found


def _extent(deliveries: Iterator[Delivery]) -> tuple[int, int]:
    """How many deliveries, and of how many instances."""
    n = 0
    entries = set()
    for delivery in deliveries:
        n += 1
        entries.add(delivery.entry_id)
    return n, len(entries)


def _nothing(
    spool: Spool, uids: tuple[str, ...], ways: tuple[str, ...] | None, chosen: tuple[str, ...], what: str
) -> str:
    """Say that there is nothing in some states, and in which states there is something, as one would ask for it."""
    others = Counter(one.state.value for one in _deliveries(spool, uids, ways, set(_LIVE).difference(chosen)))
    if not others:
        return f"Nothing there to be {what}."
    there = ", ".join(f"{others[name]} {name} (--state {name})" for name in _LIVE if others[name])
    return f"Nothing {' or '.join(chosen)} there to be {what}, but {there}."


def _counted(n: int) -> str:
    return plural(n, "delivery")
