"""``dcm diff``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcm.cli._files import STDIN
from dcm.cli._options import examples, in_file_ext_option, named_path, recurse_option
from dcm.cli._run import CliState, print_error
from dcm.errors import DcmError, UsageError

if TYPE_CHECKING:
    from dcm.diff import FileDiff, TreeCounts
    from dcm.report import Progress

__all__ = ["command"]

_TROUBLE = 2  # as diff(1) has it
_DEV_STDIN = Path("/dev/stdin")


@click.command(
    "diff",
    epilog=examples(
        "dcm diff a.dcm b.dcm",
        "dcm diff before/ after/ --no-meta --ignore SOPInstanceUID",
        "dcm diff original/ compressed/ --pixels",
        "zcat old.dcm.gz | dcm diff - new.dcm",
        "dcm diff before/ after/ --only PatientID --only 0010,0010",
        "dcm diff before/ after/ --ignore 'RequestAttributesSequence[0].StudyInstanceUID'",
    ),
)
@click.argument("left", type=click.Path(), callback=named_path)
@click.argument("right", type=click.Path(), callback=named_path)
@click.option(
    "--ignore",
    multiple=True,
    metavar="KEYWORD",
    help="Leave out an element, wherever it is; may be repeated. Sequence.KEYWORD leaves out that of each item, "
    "wherever the sequence is, Sequence[0].KEYWORD that one, from the top level down.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="KEYWORD",
    help="Compare only this element, wherever it is, and what is in it; may be repeated. The same forms.",
)
@click.option(
    "--pixels",
    is_flag=True,
    help="Compare pixel data as it is once it is decoded, and leave out what says how it was encoded. Most compressed "
    "transfer syntaxes need: pip install 'dcm[image]'.",
)
@click.option("--no-meta", is_flag=True, help="Leave out the file meta information: compare instances, not files.")
@click.option("-q", "--brief", is_flag=True, help="Say only which files differ.")
@click.option(
    "--out-format",
    type=click.Choice(("side-by-side", "plain", "json", "ndjson"), case_sensitive=False),
    help="Default: side by side on a terminal, plain into a pipe.",
)
@recurse_option
@in_file_ext_option
@click.option("--no-progress", is_flag=True, help="Show no progress. Off a terminal there is none anyway.")
@click.pass_obj
def command(
    state: CliState,
    left: Path,
    right: Path,
    ignore: tuple[str, ...],
    only: tuple[str, ...],
    pixels: bool,
    no_meta: bool,
    brief: bool,
    out_format: str | None,
    recurse: bool | None,
    in_file_ext: str | None,
    no_progress: bool,
) -> int:
    """Show how files or directories differ, element by element.

    In directories, files belong together by their SOP Instance UID, whatever their names are. A file and a directory:
    the file is compared with what the directory has of its instance. Of two files, either may be a pipe, or - for
    stdin.

    How values are encoded is no difference: byte order, padding, VR, 1.50 or 1.5. Pixel data and other large values are
    shown by their length and SHA-256.

    Exits with 0 if there is no difference, 1 if there is one, 2 if something could not be compared.
    """
    from dcm.cli._diff_text import printer_for
    from dcm.cli._progress import paused, show_progress
    from dcm.diff import TreeCounts

    state.error_code = _TROUBLE
    left, right = _files(left, right)
    counts = TreeCounts()
    printer = printer_for(
        out_format or ("side-by-side" if sys.stdout.isatty() else "plain"), str(left), str(right), brief=brief
    )
    of_trees = left.is_dir() or right.is_dir()
    options: dict[str, Any] = {"file_meta": not no_meta, "pixels": pixels, "ignore": ignore, "only": only or None}
    if of_trees:
        options |= {"recurse": recurse is not False, "file_ext": in_file_ext or ""}
    try:
        with show_progress(of_trees and not (no_progress or state.quiet)) as shown:
            for found in _found(left, right, counts, shown, options):
                with paused(shown):
                    printer.add(found)
                    if found.problem:
                        print_error(found.problem, found.hint)
        printer.end(counts)
    except DcmError as exc:
        print_error(exc.message, exc.hint)
        return _TROUBLE
    if of_trees and not state.quiet:
        click.echo(counts.summary(), err=True)
    return counts.exit_code


def _files(left: Path, right: Path) -> tuple[Path, Path]:
    """What is compared, where - is stdin."""
    stdin = Path(STDIN)
    if stdin not in (left, right):
        return left, right
    if left == right:
        raise UsageError("only one side can be stdin")
    if not _DEV_STDIN.exists():
        raise UsageError("stdin cannot be compared on this system", hint="write it to a file first")
    return (_DEV_STDIN, right) if left == stdin else (left, _DEV_STDIN)


def _found(
    left: Path, right: Path, counts: TreeCounts, progress: Progress, options: dict[str, Any]
) -> Iterator[FileDiff]:
    from dcm.diff import diff_files, diff_trees

    if left.is_dir() or right.is_dir():
        yield from diff_trees(left, right, **options, counts=counts, progress=progress)
    else:
        found = diff_files(left, right, **options)
        counts.add(found.state)
        yield found
