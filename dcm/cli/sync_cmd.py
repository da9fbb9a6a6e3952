"""``dcm sync``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcm.cli._options import (
    before_option,
    dir_format_option,
    edit_json_option,
    edit_option,
    examples,
    in_file_ext_option,
    local_option,
    method_option,
    no_index_option,
    out_file_ext_option,
    query_res_option,
    recurse_option,
    since_option,
    to_level,
)
from dcm.cli._places import sinks_of
from dcm.cli._report_file import check_report_path, report_option, to_stdout, write_report
from dcm.cli._run import INTERRUPTED, CliState
from dcm.cli._stdin import is_piped, read_query_res
from dcm.cli._sync_text import preview_lines, problem_lines, summary_lines
from dcm.errors import StoreError, UsageError
from dcm.levels import QueryLevel

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.attrs import Attributes
    from dcm.cli._places import Route
    from dcm.query import QueryResult
    from dcm.report import TransferReport
    from dcm.store import DataRepo

__all__ = ["command"]


@click.command(
    "sync",
    epilog=examples(
        "dcm query mypacs StudyDate=20201031 | dcm sync path/to/save/data",
        "dcm sync -s mypacs -q StudyDate=20201031 -q PatientID=Vamp001 path/to/save/data",
        "dcm sync -s mypacs -q Modality=MR --since '3 weeks ago' 'archive:{PatientID}/{SOPInstanceUID}'",
        "dcm sync -s mypacs -s otherpacs ~/archive research_pacs",
        "dcm sync -s mypacs --since yesterday scanner_rules",
        "dcm sync -s ~/incoming -q 'PatientID=Vamp*' -e PatientID=ANON1 mypacs",
        "dcm sync -s ~/archive -n mypacs",
        "dcm sync -s mypacs -m remote_copy otherpacs",
    ),
)
@click.argument("dests", nargs=-1, required=True, metavar="DEST...")
@click.option(
    "-s",
    "--source",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Where from: a node, a directory, or a name of either; may be repeated. Default: where the query result that "
    "is piped in comes from.",
)
@click.option(
    "-q",
    "--query",
    "keys",
    multiple=True,
    metavar="KEYWORD=VALUE",
    help="What to copy; may be repeated, all must match. Without any, and without a query result: everything.",
)
@since_option
@before_option
@query_res_option
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would go where, and how much; nothing moves.")
@click.option(
    "--trust-level",
    type=click.Choice(("patient", "study", "series", "image", "instance"), case_sensitive=False),
    callback=to_level,
    help="From this level on, equal counts of instances at both ends are taken for the same data. Quick, and not "
    "certain. Default: image, each instance is compared by its UID.",
)
@click.option("-f", "--force-all", is_flag=True, help="Copy what destinations have, too.")
@method_option
@edit_option
@edit_json_option
@click.option(
    "--keep-errors",
    is_flag=True,
    help="Also store duplicates, and instances that were not asked for or contradict what the source says of them.",
)
@dir_format_option
@recurse_option
@in_file_ext_option
@out_file_ext_option
@no_index_option
@click.option("--no-progress", is_flag=True, help="Show no progress. Off a terminal there is none anyway.")
@click.option("--no-report", is_flag=True, help="Print no summary at the end, only what went wrong.")
@report_option("Write what became of every instance as JSON; - is stdout.")
@local_option
@click.pass_obj
def command(
    state: CliState,
    dests: tuple[str, ...],
    sources: tuple[str, ...],
    keys: tuple[str, ...],
    since: str | None,
    before: str | None,
    query_res: Path | None,
    dry_run: bool,
    trust_level: QueryLevel | None,
    force_all: bool,
    methods: tuple[str, ...],
    edit: tuple[str, ...],
    edit_json: Path | None,
    keep_errors: bool,
    dir_format: str | None,
    recurse: bool | None,
    in_file_ext: str | None,
    out_file_ext: str | None,
    no_index: bool,
    no_progress: bool,
    no_report: bool,
    report_path: Path | None,
    local: str | None,
) -> int:
    """Copy what destinations miss, and verify each instance.

    Sources and DESTs are nodes, directories (PATH; a DEST may be PATH:TEMPLATE), or names of either from the
    configuration file, in every combination; a DEST may be a route of that file, too. What several destinations miss
    is fetched once.

    Only what a destination does not have moves, compared by UID. Files appear complete or not at all, and other bytes
    under a name are never overwritten. An interrupted sync can be started again, and goes on where it was.
    """
    from dcm.cli._edits import load_edits
    from dcm.conf import Overrides
    from dcm.report import TransferReport
    from dcm.store.local_dir import LocalDir

    over = Overrides(
        local=local,
        out_fmt=dir_format,
        out_file_ext=out_file_ext,
        recurse=recurse,
        in_file_ext=in_file_ext,
        index=False if no_index else None,
        methods=methods,
        edits=load_edits(edit, edit_json),
    )
    conf = state.config(over)
    earlier = read_query_res(query_res, quiet=state.quiet)
    query = _query(keys, since, before)
    if earlier is None and query is None and is_piped():
        # A query that failed leaves its pipe empty: that must not become a copy of everything.
        raise UsageError("what is piped in is empty: no query result", hint="</dev/null if nothing is to be read")
    routes = conf.routes_to(dests)
    sinks = sinks_of(routes)
    repos = [conf.repo(text) for text in sources or _source_of(earlier)]
    check_report_path(report_path, [sink.path for sink in sinks if isinstance(sink, LocalDir)])
    report = TransferReport()
    options = {
        "dry_run": dry_run,
        "trust_level": trust_level or QueryLevel.IMAGE,
        "force_all": force_all,
        "keep_errors": keep_errors,
    }
    try:
        code = _run(repos, routes, query, earlier, report, options, not (no_progress or state.quiet))
    finally:
        # Whatever ends it: what became of each instance until then is worth having.
        written = write_report(report, report_path)
    if dry_run and not to_stdout(report_path) and report.exit_code in (0, 3, 5):
        for line in preview_lines(report, repos, sinks):
            click.echo(line)
    brief = no_report or state.quiet
    for line in problem_lines(report) if brief else summary_lines(report, repos, sinks):
        click.echo(line, err=True)
    return code if code is not None else report.exit_code or int(not written)


def _run(
    repos: Sequence[DataRepo[Any]],
    routes: Sequence[Route],
    query: Dataset | Attributes | None,
    query_res: QueryResult | None,
    report: TransferReport,
    options: dict[str, Any],
    progress: bool,
) -> int | None:
    """Do it; returns an exit code where the report does not know it."""
    from dcm.cli._loop import run_async
    from dcm.cli._progress import show_progress
    from dcm.sync import sync

    with show_progress(progress) as shown:
        report.progress = shown
        try:
            run_async(sync(repos, routes, query, query_res, report=report, **options))
        except StoreError as exc:
            report.error("", str(exc), refused=False)
        except KeyboardInterrupt:
            return INTERRUPTED
    return None


def _query(keys: tuple[str, ...], since: str | None, before: str | None) -> Dataset | Attributes | None:
    if not (keys or since or before):
        return None
    from dcm.cli._dates import limit_dates
    from dcm.cli._keywords import parse_query, parse_usual

    if not (since or before) and (usual := parse_usual(keys)) is not None:
        return usual
    query = parse_query(keys)
    limit_dates(query, since, before)
    return query


def _source_of(query_res: QueryResult | None) -> tuple[str, ...]:
    """Where a query result says that it comes from."""
    if query_res is None:
        raise UsageError("no source", hint="give -s NODE, or pipe in what 'dcm query NODE ...' found")
    if query_res.prov.source is None:
        raise UsageError("the query result does not say where it comes from", hint="give -s NODE")
    return (str(query_res.prov.source),)
