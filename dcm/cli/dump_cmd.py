"""``dcm dump``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcm.cli._files import STDIN, files_of, say_left_out
from dcm.cli._options import examples, named
from dcm.cli._run import CliState, print_error
from dcm.cli._streams import OutputError, flush_stdout, print_text, write_stdout
from dcm.errors import DcmError, InvalidDicomError, StoreError
from dcm.text import safe_text

if TYPE_CHECKING:
    from dcm.dump import LineFormat, Selection, Source

__all__ = ["command"]

_LINES_AT_ONCE = 2000
_OWN_NAMES = ("/dev/fd/", "/dev/stdin", "/proc/")  # of what this process has open


@click.command(
    "dump",
    epilog=examples(
        "dcm dump image.dcm",
        "dcm dump -i PatientID -i StudyDate *.dcm",
        "dcm dump -i PatientID --plain-fmt '{file}: {elem.value}' *.dcm",
        "dcm dump --out-format json image.dcm > image.json",
        "dcm dump --image --window 40,400 image.dcm",
    ),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", callback=named)
@click.option("-r", "--recurse", is_flag=True, help="Go into directories; what is no DICOM in them is counted only.")
@click.option(
    "--out-format",
    type=click.Choice(("plain", "json", "ndjson"), case_sensitive=False),
    help="plain looks like dcmdump and is the default; json is DICOM JSON (PS3.18 F), an object for one FILE, else an "
    "array of them; ndjson has an object on each line.",
)
@click.option(
    "--plain-fmt",
    metavar="FORMAT",
    help="A line for each element instead: '{elem.tag} {elem.keyword} = {elem.value}'; {ds.PatientID} and {file} too.",
)
@click.option("-i", "--include", multiple=True, metavar="KEYWORD", help="Only this element; may be repeated.")
@click.option(
    "-e", "--exclude", multiple=True, metavar="KEYWORD", help="Not this element, at any depth; may be repeated."
)
@click.option("-g", "--group", "groups", multiple=True, metavar="GROUP", help="Only this group, 0010 say (or 10).")
@click.option("--kw-regex", metavar="REGEX", default="", help="Only elements in whose keyword this is found.")
@click.option("--exclude-private", is_flag=True, help="No private elements.")
@click.option("--full", is_flag=True, help="Whole values, however long they are; also binary ones in JSON.")
@click.option("--image", is_flag=True, help='Show the picture on the terminal. Needs: pip install "dcm[image]".')
@click.option(
    "--png", type=click.Path(dir_okay=False, allow_dash=True), metavar="OUT", help="Write the picture to a PNG file."
)
@click.option("--window", metavar="CENTER,WIDTH", help="How values become shades of gray. Default: as the file says.")
@click.option("--frame", type=click.IntRange(min=1), metavar="N", help="Which frame is the picture (the first is 1).")
@click.pass_obj
def command(
    state: CliState,
    files: tuple[str, ...],
    recurse: bool,
    out_format: str | None,
    plain_fmt: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    groups: tuple[str, ...],
    kw_regex: str,
    exclude_private: bool,
    full: bool,
    image: bool,
    png: str | None,
    window: str | None,
    frame: int | None,
) -> int:
    """Show what is in DICOM files, as text, JSON or a picture.

    FILE is a file, - for stdin, or with -r a directory. A keyword may also be a tag: 00100020, 0010,0020. What is
    included or excluded is so in sequences, too.

    A file that is broken is shown as far as it can be read. The others go on, and the exit code is 1.
    """
    from dcm.dump import LineFormat, Selection

    if image or png is not None:
        if out_format or plain_fmt is not None or include or exclude or groups or kw_regex or exclude_private or full:
            raise click.UsageError("A picture (--image, --png) has no elements: leave out the options for them.")
        from dcm.cli._pictures import show_pictures

        n_failed, n_foreign = show_pictures(files, recurse, image, png, window, frame)
        if not state.quiet:
            say_left_out(n_foreign)
        return 1 if n_failed else 0
    if window is not None or frame is not None:
        raise click.UsageError("--window and --frame are for pictures: --image shows one, --png writes one.")
    if plain_fmt is not None and out_format not in (None, "plain"):
        raise click.UsageError("--plain-fmt is for plain output, not for JSON.")
    selection = Selection.parse(
        include=include, exclude=exclude, groups=groups, kw_regex=kw_regex, private=not exclude_private
    )
    line_format = None if plain_fmt is None else LineFormat(plain_fmt, full=full)
    dump = _Dump(selection, line_format, full, recurse or len(files) > 1, out_format or "plain")
    for path, listed in files_of(files, recurse, dump.complain):
        dump.file(path, listed=listed)
    dump.finish()
    if not state.quiet:
        say_left_out(dump.n_foreign)
    return 1 if dump.n_broken else 0


@dataclass
class _Dump:
    """What is written to stdout, file by file."""

    selection: Selection
    line_format: LineFormat | None
    full: bool
    several: bool
    out_format: str
    n_files: int = 0
    n_broken: int = 0
    n_foreign: int = 0

    def file(self, path: str, *, listed: bool) -> None:
        """Dump a file; say what is wrong with it."""
        from dcm.dump import NotDicomError, source_of

        name = "stdin" if path == STDIN else path
        try:
            fd = sys.stdin.fileno() if path == STDIN else os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            try:
                source = source_of(fd)
                if self.out_format == "plain":
                    self._lines(source, name)
                else:
                    self._object(source, path)
            finally:
                if path != STDIN:
                    os.close(fd)
        except (BrokenPipeError, OutputError):
            raise
        except NotDicomError as exc:
            if listed:
                self.n_foreign += 1
            else:
                self.complain(name, exc)
        except InvalidDicomError as exc:
            self.complain(name, exc)
        except OSError as exc:
            self.complain(name, StoreError(f"cannot be read: {exc.strerror or exc}"))

    def complain(self, name: str, error: DcmError) -> None:
        """Say what is wrong with a file or directory."""
        self.n_broken += 1
        flush_stdout()  # where both go to one place, the error stands behind what could be read
        print_error(f"{name}: {error.message}", error.hint)

    def _lines(self, source: Source, name: str) -> None:
        from dcm.dump import dump_formatted, dump_plain, dump_whole

        n_lines, end = 1 if self.full else _LINES_AT_ONCE, "\n"
        if self.line_format is not None:
            lines = dump_formatted(source, self.line_format, self.selection, file=name)
        elif self.full:
            lines, end = dump_whole(source, self.selection, colors=_colors()), ""
        else:
            lines = dump_plain(source, self.selection, colors=_colors())
        head = f"# {safe_text(name)}\n" if self.several and self.line_format is None else ""
        if head and self.n_files:
            head = f"\n{head}"
        for chunk in _chunks(lines, n_lines, end):
            print_text(head + chunk)
            self.n_files += bool(head)
            head = ""

    def _object(self, source: Source, path: str) -> None:
        from dcm.dump import FileSource, dump_json, encode_json

        # What comes through a pipe is gone afterwards, and these names are others then.
        lasts = isinstance(source, FileSource) and path != STDIN and not path.startswith(_OWN_NAMES)
        uri = Path(path).absolute().as_uri() if lasts else ""
        document, broken = dump_json(source, self.selection, uri=uri, full=self.full)
        if self.out_format == "ndjson":
            write_stdout(encode_json(document) + b"\n")
        else:
            start = (b",\n" if self.n_files else b"[\n") if self.several else b""
            write_stdout(start + encode_json(document, indent=2))
        self.n_files += 1
        if broken is not None:
            raise broken

    def finish(self) -> None:
        """End what has been begun."""
        if self.out_format == "json" and (self.n_files or self.several):
            end = b"\n" if not self.several else b"\n]\n" if self.n_files else b"[]\n"
            write_stdout(end)
        flush_stdout()


def _chunks(lines: Iterator[str], n_lines: int, end: str) -> Iterator[str]:
    """So many lines at a time; what came before an error, before it."""
    broken: InvalidDicomError | None = None
    while broken is None:
        chunk: list[str] = []
        try:
            chunk.extend(islice(lines, n_lines))
        except InvalidDicomError as exc:
            broken = exc
        if chunk:
            yield end.join(chunk) + end
        elif broken is None:
            return
    raise broken


def _colors() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
