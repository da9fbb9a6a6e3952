"""``dcm sync``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcm.cli._options import before_option, examples, local_option, query_res_option, since_option
from dcm.cli._run import INTERRUPTED, CliState
from dcm.cli._stdin import is_piped, read_query_res
from dcm.errors import NetworkError, StoreError, UsageError
from dcm.text import plural, safe_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset

    from dcm.attrs import Attributes
    from dcm.conf import DcmConfig
    from dcm.net import LocalEntity
    from dcm.query import QueryResult
    from dcm.report import TransferReport
    from dcm.store import DataRepo, DataSink

__all__ = ["command"]


@click.command(
    "sync",
    epilog=examples(
        "dcm query mypacs StudyDate=20201031 | dcm sync path/to/save/data",
        "dcm sync -s mypacs -q StudyDate=20201031 -q PatientID=Vamp001 path/to/save/data",
        "dcm sync -s mypacs -q Modality=MR --since '3 weeks ago' 'archive:{PatientID}/{SOPInstanceUID}'",
        "dcm sync -s mypacs.org:MYPACS:11112 -q PatientID=Vamp001 -n path/to/save/data",
    ),
)
@click.argument("dests", nargs=-1, required=True, metavar="DEST...")
@click.option(
    "-s",
    "--source",
    "sources",
    multiple=True,
    metavar="NODE",
    help="Where from: a name of [remote_nodes] or an inline node; may be repeated. Default: where the query result "
    "that is piped in comes from.",
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
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be fetched; nothing moves.")
@click.option(
    "--keep-errors",
    is_flag=True,
    help="Also store duplicates, and instances that were not asked for or contradict what the source says of them.",
)
@click.option("--dir-format", metavar="TEMPLATE", help="Paths of the files, '{PatientID}/{SOPInstanceUID}' say.")
@click.option("--out-file-ext", metavar="EXT", help="Extension of those files; an empty one for none. Default: dcm.")
@click.option("--no-progress", is_flag=True, help="Show no progress. Off a terminal there is none anyway.")
@click.option("--no-report", is_flag=True, help="Print no summary at the end, only what went wrong.")
@click.option(
    "--report",
    "report_path",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what became of every instance as JSON.",
)
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
    keep_errors: bool,
    dir_format: str | None,
    out_file_ext: str | None,
    no_progress: bool,
    no_report: bool,
    report_path: Path | None,
    local: str | None,
) -> int:
    """Copy studies from nodes, and verify each instance.

    DEST is a directory (PATH or PATH:TEMPLATE), a node, or a name of either from the configuration file.

    What is in a directory already, with the same bytes, stays as it is; other bytes under the same name are never
    overwritten. Files appear complete or not at all. An interrupted sync can be started again.
    """
    from dcm.conf import Overrides

    conf = state.config(Overrides(local=local, out_fmt=dir_format, out_file_ext=out_file_ext))
    earlier = read_query_res(query_res, quiet=state.quiet)
    query = _query(keys, since, before)
    if earlier is None and query is None and is_piped():
        # A query that failed leaves its pipe empty: that must not become a copy of everything.
        raise UsageError("what is piped in is empty: no query result", hint="</dev/null if nothing is to be read")
    names = sources or _source_of(earlier)
    from dcm.net import LocalEntity
    from dcm.report import TransferReport

    entity = LocalEntity(conf.local_node())
    sinks = [_sink(conf, entity, text) for text in dests]
    repos = [_repo(conf, entity, text) for text in names]
    report = TransferReport()
    code = _run(repos, sinks, query, earlier, report, dry_run, keep_errors, not (no_progress or state.quiet))
    brief = no_report or state.quiet
    for line in _problems(report) if brief else _summary(report, repos, sinks):
        click.echo(line, err=True)
    if report_path is not None:
        report.write_json(report_path)
    return code if code is not None else report.exit_code


def _summary(report: TransferReport, repos: list[DataRepo[Any]], sinks: list[DataSink]) -> list[str]:
    """What to tell at the end."""
    if report.exit_code == NetworkError.exit_code:
        return _problems(report)
    source, dest = _listed(repos), _listed(sinks)
    if report.n_instances == 0:
        return _problems(report) or [f"Nothing to copy: {source} has nothing that matches."]
    if report.dry_run:
        amount = f"{plural(report.n_instances, 'instance')} in {report.n_series} series"
        return [f"Would fetch {amount} from {source} for {dest}.", *report.warnings]
    return [report.summary()]


def _problems(report: TransferReport) -> list[str]:
    """What went wrong. Where nothing could be done, the reason is enough."""
    if report.exit_code == NetworkError.exit_code and report.errors:
        return list(dict.fromkeys(f"Error: {safe_text(problem.message, 300)}" for problem in report.errors))
    return report.warnings


def _listed(stores: Sequence[object]) -> str:
    return safe_text(", ".join(map(str, stores)))


def _run(
    repos: list[DataRepo[Any]],
    sinks: list[DataSink],
    query: Dataset | Attributes | None,
    query_res: QueryResult | None,
    report: TransferReport,
    dry_run: bool,
    keep_errors: bool,
    progress: bool,
) -> int | None:
    """Do it; returns an exit code where the report does not know it."""
    from dcm.cli._loop import run_async
    from dcm.cli._progress import show_progress
    from dcm.sync import sync

    with show_progress(progress) as shown:
        report.progress = shown
        try:
            run_async(
                sync(repos, sinks, query, query_res, dry_run, keep_errors=keep_errors, report=report),
            )
        except StoreError as exc:  # no destination can be used: as with a peer that refuses, nothing could be done
            report.error("", str(exc))
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


def _repo(conf: DcmConfig, entity: LocalEntity, text: str) -> DataRepo[Any]:
    from dcm.store.local_dir import LocalDir
    from dcm.store.net_repo import NetRepo

    node = conf.source(text)
    if isinstance(node, LocalDir):
        raise UsageError(f"{safe_text(text)} is a directory; this version of dcm syncs from nodes only")
    return NetRepo(entity, node)


def _sink(conf: DcmConfig, entity: LocalEntity, text: str) -> DataSink:
    from dcm.store.local_dir import LocalDir
    from dcm.store.net_repo import NetRepo

    place = conf.dest(text)
    return place if isinstance(place, LocalDir) else NetRepo(entity, place)
