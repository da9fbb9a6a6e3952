"""``dcm index``."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcm.cli._options import examples, in_file_ext_option, recurse_option
from dcm.cli._run import INTERRUPTED, CliState
from dcm.errors import PartialError, UsageError
from dcm.text import safe_text

if TYPE_CHECKING:
    from types import FrameType

    from dcm.report import QueryReport
    from dcm.store.index import Index, ScanResult
    from dcm.store.local_dir import LocalDir

__all__ = ["command"]


@click.command(
    "index",
    epilog=examples(
        "dcm index ~/archive",
        "dcm index --verify ~/archive",
        "dcm index --out-format json ~/archive ~/incoming",
        "dcm index --path ~/archive",
    ),
)
@click.argument("dirs", nargs=-1, required=True, metavar="DIR...")
@click.option("--verify", "task", flag_value="verify", help="Read every file again, also those that look unchanged.")
@click.option("--rebuild", "task", flag_value="rebuild", help="Forget what is known, and start anew.")
@click.option("--path", "task", flag_value="path", help="Only print where the index is; it may not exist yet.")
@click.option("--remove", "task", flag_value="remove", help="Remove all indexes of the directories, nothing else.")
@recurse_option
@in_file_ext_option
@click.option(
    "--out-format",
    type=click.Choice(("text", "json"), case_sensitive=False),
    default="text",
    show_default=True,
    help="A line for each directory, or an object with all figures.",
)
@click.option("--no-progress", is_flag=True, help="Show no progress. Off a terminal there is none anyway.")
@click.pass_obj
def command(
    state: CliState,
    dirs: tuple[str, ...],
    task: str | None,
    recurse: bool | None,
    in_file_ext: str | None,
    out_format: str,
    no_progress: bool,
) -> int:
    """Look through directories, so that they answer queries at once.

    DIR is a directory, or a name of one from the configuration file. Other commands bring the index up to date by
    themselves: this does it beforehand, and says what is in there. Only files that are new or have changed are read.

    What an index holds, the names of patients too, lies in the user's cache directory, and nobody else can read it.
    """
    from dcm.conf import Overrides

    conf = state.config(Overrides(recurse=recurse, in_file_ext=in_file_ext))
    places = [conf.local_dir(text, is_dest=False) for text in dirs]
    if task == "remove":
        return _remove(places)
    if task == "path":
        for place in places:
            click.echo(_index_of(place).path)
        return 0
    for place in places:  # before anything is done
        if not place.path.is_dir():
            raise UsageError(f"no such directory: {safe_text(place.path)}")
    found = []
    code = 0
    for place in places:
        result, report = _scan(place, task or "refresh", progress=not (no_progress or state.quiet))
        found.append(_object(place, result, report))
        if out_format == "text":
            click.echo(f"{safe_text(place)}: {result.summary()}")
        for line in [] if state.quiet else _warnings(result, report):
            click.echo(f"Warning: {line}", err=True)
        code = max(code, PartialError.exit_code if report.n_lost_files else 0)
        if result.interrupted:
            code = INTERRUPTED
            break
    if out_format == "json":
        import msgspec.json

        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    return code


def _index_of(place: LocalDir) -> Index:
    from dcm.store.index import Index

    return Index(place.path, recurse=place.recurse, file_ext=place.in_file_ext)


def _remove(places: list[LocalDir]) -> int:
    from dcm.store.index import remove_all

    for place in places:
        for directory in remove_all(Path(place.path)):
            click.echo(f"removed {safe_text(directory)}", err=True)
    return 0


def _scan(place: LocalDir, task: str, *, progress: bool) -> tuple[ScanResult, QueryReport]:
    from dcm.cli._progress import show_progress
    from dcm.report import QueryReport

    report = QueryReport()
    with _index_of(place) as index, _stopped_by_signals() as stop, show_progress(progress) as shown:
        shown.phase(f"reading {safe_text(place)}")
        scan = {"refresh": index.refresh, "verify": index.verify, "rebuild": index.rebuild}[task]
        return scan(report, stop=stop, progress=shown), report


def _warnings(result: ScanResult, report: QueryReport) -> list[str]:
    lines = report.warnings
    if result.interrupted:
        lines.append("interrupted: what was read until now is kept")
    return lines


def _object(place: LocalDir, result: ScanResult, report: QueryReport) -> dict[str, Any]:
    from dataclasses import asdict

    return {"directory": safe_text(place), **asdict(result), "files": [problem.to_json() for problem in report.files]}


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[Callable[[], bool]]:
    """A question that SIGINT and SIGTERM answer with yes: the scan ends, and keeps what it has. A second one kills."""
    received: list[int] = []
    before: dict[signal.Signals, Any] = {}

    def on_signal(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, on_signal)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
