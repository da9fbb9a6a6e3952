"""``dcm query``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcm.cli._options import (
    assume_yes_option,
    before_option,
    examples,
    in_file_ext_option,
    level_option,
    local_option,
    no_index_option,
    query_res_option,
    recurse_option,
    since_option,
)
from dcm.cli._render import FORMATS, print_result
from dcm.cli._run import CliState
from dcm.cli._stdin import read_query_res
from dcm.errors import NetworkError, UsageError
from dcm.levels import QueryLevel
from dcm.text import safe_text

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.store.local_dir import LocalDir
    from dcm.store.net_repo import NetRepo

__all__ = ["command"]


@click.command(
    "query",
    epilog=examples(
        "dcm query mypacs StudyDate=20201031",
        "dcm query mypacs 'PatientName=Dracula*' --since '2 weeks ago' --level series",
        "dcm query mypacs --batch-csv cohort.csv --out-format csv > studies.csv",
        "dcm query mypacs StudyDate=20201031 | dcm query mypacs Modality=MR",
        "dcm query ~/archive Modality=MR --level study",
        "dcm query mypacs StudyDate=20201031 | dcm sync path/to/save/data",
    ),
)
@click.argument("remote")
@click.argument("keys", nargs=-1, metavar="[KEYWORD=VALUE]...")
@level_option
@since_option
@before_option
@query_res_option
@click.option(
    "--batch-csv",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A table with a query in each row; its columns are keywords. The answers are put together.",
)
@click.option(
    "--out-format",
    type=click.Choice(FORMATS, case_sensitive=False),
    help="Default: tree on a terminal, json into a pipe. What dcm reads back is json.",
)
@assume_yes_option
@recurse_option
@in_file_ext_option
@no_index_option
@local_option
@click.pass_obj
def command(
    state: CliState,
    remote: str,
    keys: tuple[str, ...],
    level: QueryLevel | None,
    since: str | None,
    before: str | None,
    query_res: Path | None,
    batch_csv: Path | None,
    out_format: str | None,
    assume_yes: bool,
    recurse: bool | None,
    in_file_ext: str | None,
    no_index: bool,
    local: str | None,
) -> int:
    """Show what a node (C-FIND) or a directory has.

    REMOTE is a name from the configuration file, HOST:AE:PORT, or a directory: the first time all its files are looked
    at, later only those that have changed. Keys are keywords of DICOM or tags like 0010,0020.
    Values may have * and ? in them, dates and times may be ranges (20201001-20201031), and UIDs lists with a backslash.
    KEYWORD= without a value asks for one more attribute.

    A result that is piped in is refined: what it names is asked for again, at the level and with the keys given here.
    """
    from dcm.cli._keywords import is_unlimited
    from dcm.conf import Overrides

    over = Overrides(local=local, recurse=recurse, in_file_ext=in_file_ext, index=False if no_index else None)
    conf = state.config(over)
    source = conf.repo(remote)
    queries = _queries(keys, batch_csv, since, before)
    earlier = read_query_res(query_res, quiet=state.quiet)
    unlimited = _is_open(source) and earlier is None and any(map(is_unlimited, queries))
    if unlimited and not assume_yes and not _confirmed(remote):
        return 1
    from dcm.cli._ask import ask_all
    from dcm.cli._loop import run_async

    at_once = _at_once(source, len(queries))
    result, report = run_async(ask_all(source, queries, at_once=at_once, level=level, query_res=earlier))
    if report.exit_code == NetworkError.exit_code:
        raise NetworkError(f"{source}: {'; '.join(report.warnings)}", peer=str(source))
    print_result(result, out_format or ("tree" if sys.stdout.isatty() else "json"))
    for line in report.warnings:
        click.echo(f"Warning: {line}", err=True)
    return report.exit_code


def _is_open(source: NetRepo | LocalDir) -> bool:
    """Whether a query without keys could have no end: a directory knows what it has, a repository its own query."""
    from dcm.store.local_dir import LocalDir

    return not isinstance(source, LocalDir) and source.base_query is None


def _at_once(source: NetRepo | LocalDir, n_queries: int) -> int:
    """How many queries to ask at a time."""
    from dcm.store.local_dir import LocalDir

    if isinstance(source, LocalDir):
        return 1
    at_once = source.remote.max_assoc
    if n_queries > 1:  # they have one association each
        source.remote = replace(source.remote, max_assoc=1)
    return at_once


def _queries(keys: tuple[str, ...], batch_csv: Path | None, since: str | None, before: str | None) -> list[Dataset]:
    """All that is to be asked."""
    from dcm.cli._batch import read_batch
    from dcm.cli._dates import limit_dates
    from dcm.cli._keywords import parse_query

    base = parse_query(keys)
    queries = [base] if batch_csv is None else read_batch(batch_csv, base)
    for query in queries:
        limit_dates(query, since, before)
    return queries


def _confirmed(remote: str) -> bool:
    """Whether the user means it: a query without limits lists all that an archive has."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"this would ask {safe_text(remote)} for everything that it has",
            hint="limit it, StudyDate=20201031 or --since yesterday say, or give -y",
        )
    return click.confirm(f"This asks {safe_text(remote)} for everything that it has. Go on?", err=True)
