"""``dcm sort``."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcm.cli._options import examples, in_file_ext_option, named, recurse_option
from dcm.cli._report_file import check_report_path, report_option, to_stdout, write_report
from dcm.cli._run import INTERRUPTED, CliState

if TYPE_CHECKING:
    from dcm.sort import SortReport
    from dcm.store.local_dir import LocalDir

__all__ = ["command"]


def _list_formats(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Print what --dir-format knows by name, and end."""
    if not value or ctx.resilient_parsing:
        return
    from dcm.sort import FORMATS, example_of, template_of

    for name, text in FORMATS.items():
        click.echo(f"{name:12} {text}\n{'':12} {example_of(template_of(name))}")
    ctx.exit()


@click.command(
    "sort",
    epilog=examples(
        "dcm sort ~/mess /mnt/cdrom scans.zip ~/sorted",
        "dcm sort --method link --dir-format study-date ~/mess ~/sorted",
        "dcm sort --dir-format '{PatientID}/{StudyDate}/{SOPInstanceUID}' ~/mess ~/sorted",
        "dcm sort -n ~/mess ~/sorted",
        "dcm sort --method move ~/mess ~/mess",
    ),
)
@click.argument("sources", nargs=-1, required=True, metavar="SRC...", type=click.Path(), callback=named)
@click.argument("dest", metavar="DEST", callback=named)
@click.option(
    "-m",
    "--method",
    type=click.Choice(("copy", "move", "link", "symlink"), case_sensitive=False),
    default="copy",
    show_default=True,
    help="How files get there: link makes hard links. A file that is moved goes when it is safe at its place, and also "
    "where the same data is there already.",
)
@click.option(
    "--conflict",
    type=click.Choice(("rename", "replace", "skip", "fail"), case_sensitive=False),
    default="rename",
    show_default=True,
    help="What to do where something else has the name: rename keeps both, replace takes it from other bytes of the "
    "same instance that were there before this run, skip leaves the file where it was, fail ends the run there.",
)
@click.option(
    "--dir-format",
    metavar="TEMPLATE",
    help="Paths of the files: a template, '{PatientID}/{SOPInstanceUID}' say, or a name of --list-formats.",
)
@click.option(
    "--list-formats",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_formats,
    help="Print the templates that have a name, each with an example.",
)
@click.option("--out-file-ext", metavar="EXT", help="Extension of the files; an empty one for none. Default: dcm.")
@recurse_option
@in_file_ext_option
@click.option("-n", "--dry-run", is_flag=True, help="Only print the tree that it would make; nothing is written.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1, max=64),
    metavar="N",
    help="How many processes read and place files. Default: one for each processor, four at most, where there are more "
    "than a thousand files.",
)
@click.option("--no-progress", is_flag=True, help="Show no progress. Off a terminal there is none anyway.")
@report_option("Write where every file went, or why it did not, as JSON; - is stdout.")
@click.pass_obj
def command(
    state: CliState,
    sources: tuple[str, ...],
    dest: str,
    method: str,
    conflict: str,
    dir_format: str | None,
    out_file_ext: str | None,
    recurse: bool | None,
    in_file_ext: str | None,
    dry_run: bool,
    jobs: int | None,
    no_progress: bool,
    report_path: Path | None,
) -> int:
    """Sort files into a tree by what is in them.

    SRC is a directory, a file, a zip or tar archive, or a DICOMDIR, which stands for the files that it names. DEST is a
    directory, PATH or PATH:TEMPLATE (or a name of --list-formats behind the colon, unless a directory is called so), or
    a name of one from the configuration file.

    A file that holds the same data as one that is there is not stored again. What is not DICOM, or not whole, is left
    where it is, and counted. Files appear complete or not at all.
    """
    from dcm.conf import Overrides
    from dcm.errors import UsageError
    from dcm.sort import SortReport, template_of

    out_fmt = None if dir_format is None else str(template_of(dir_format))
    conf = state.config(Overrides(out_fmt=out_fmt, out_file_ext=out_file_ext))
    place = conf.local_dir(dest if dest in conf.local_dirs else _with_template(dest), is_dest=True)
    if out_fmt is not None and str(place.out_fmt) != out_fmt:
        raise UsageError(f"{dest} has a template, and --dir-format is another", hint="say one of the two")
    report = SortReport(each_file=dry_run or report_path is not None)
    options = {
        "method": method.lower(),
        "conflict": conflict.lower(),
        "dry_run": dry_run,
        "recurse": recurse is not False,
        "file_ext": in_file_ext or "",
        "jobs": jobs,
    }
    check_report_path(report_path, [place.path])
    try:
        code = _run(sources, place, options, report, not (no_progress or state.quiet))
    finally:
        written = write_report(report, report_path)
    if dry_run and not to_stdout(report_path):
        from dcm.cli._sort_text import tree_lines

        for line in tree_lines(str(place), report):
            click.echo(line)
    for line in report.failures if state.quiet else report.summary().splitlines():
        click.echo(line, err=True)
    return code if code is not None else report.exit_code or int(not written)


def _with_template(dest: str) -> str:
    """A destination, with the template that a name behind its colon stands for, unless there is such a directory."""
    from dcm.sort import FORMATS

    path, _, name = dest.rpartition(":")
    return f"{path}:{FORMATS[name]}" if path and name in FORMATS and not os.path.lexists(dest) else dest


def _run(
    sources: tuple[str, ...], dest: LocalDir, options: dict[str, object], report: SortReport, progress: bool
) -> int | None:
    """Do it; returns an exit code where the report does not know it."""
    from dcm.cli._loop import run_async
    from dcm.cli._progress import show_progress
    from dcm.sort import sort

    # Nothing of what is imported by now will ever be garbage, and of a portion of files hardly anything is in a cycle.
    gc.freeze()
    gc.set_threshold(50_000)
    with show_progress(progress) as shown:
        report.progress = shown
        try:
            run_async(sort(sources, dest, report=report, **options))  # type: ignore[arg-type]
        except KeyboardInterrupt:
            return INTERRUPTED
    return None
