"""Pictures: on the terminal, by kitty's protocol, sixels or half blocks, and as PNG files."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from dcm.cli._files import STDIN, files_of
from dcm.cli._run import print_error
from dcm.cli._streams import flush_stdout, write_stdout
from dcm.errors import DataError, DcmError, StoreError, UsageError
from dcm.report._base import write_whole
from dcm.text import safe_text

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["show_pictures"]

_MAX_STDIN = 4 << 30
_PNG_HINT = "behind --png stands the file to write, then the one to show: --png picture.png image.dcm"
_PNG = b"\x89PNG\r\n\x1a\n"


def show_pictures(
    names: Sequence[str], recurse: bool, image: bool, png: str | None, window: str | None, frame: int | None
) -> tuple[int, int]:
    """Show the pictures of files, or write one.

    Parameters
    ----------
    names : sequence of str
        Paths; ``-`` is stdin.
    recurse : bool
        Whether those of directories stand for the files in them.
    image : bool
        Show them on the terminal.
    png : str or None
        Write the only one to this file, to stdout for ``-``.
    window : str or None
        Center and width, as the user wrote them.
    frame : int or None
        Number of the frame.

    Returns
    -------
    n_failed : int
        How many files have no picture, or cannot be read.
    n_foreign : int
        How many of those in directories are no DICOM.
    """
    from dcm.dump._picture import parse_window

    if image and not sys.stdout.isatty():
        raise UsageError("stdout is no terminal, it cannot show pictures", hint="--png FILE writes one to a file")
    values = None if window is None else parse_window(window)
    pictures = _Pictures(frame or 1, values)
    files = list(files_of(names, recurse, pictures.complain))
    if png is not None:
        if len(files) != 1:
            raise UsageError("--png writes one picture", hint="name one file")
        _check_png(png)
    for file, listed in files:
        shown = pictures.of(file, listed=listed)
        if shown is None:
            continue
        if png is not None:
            _write_png(shown, png)
        if image:
            if len(files) > 1:
                click.echo(f"# {safe_text('stdin' if file == STDIN else file)}")
            _print(shown)
    return pictures.n_failed, pictures.n_foreign


@dataclass
class _Pictures:
    """Makes them, and counts what is none."""

    frame: int
    window: tuple[float, float] | None
    n_failed: int = 0
    n_foreign: int = 0

    def complain(self, name: str, error: DcmError) -> None:
        self.n_failed += 1
        print_error(f"{name}: {error.message}", error.hint)

    def of(self, file: str, *, listed: bool) -> Image | None:
        """The picture of a file; None where it has none, which has been said then."""
        from dcm.dump import NotDicomError
        from dcm.dump._picture import picture

        try:
            if file == STDIN:
                return picture("stdin", frame=self.frame, window=self.window, data=_from_stdin())
            return picture(file, frame=self.frame, window=self.window, data=_from_pipe(file))
        except UsageError:
            raise
        except DcmError as exc:
            if listed and isinstance(exc, NotDicomError):
                self.n_foreign += 1
            else:
                self.n_failed += 1
                print_error(exc.message, exc.hint)
        return None


def _from_stdin() -> bytes:
    try:
        return _all_of(sys.stdin.buffer, "stdin")
    except OSError as exc:
        raise StoreError(f"stdin: cannot be read: {exc.strerror or exc}") from exc


def _from_pipe(name: str) -> bytes | None:
    """What comes out of what is no file, ``<(gunzip -c image.dcm.gz)`` say, which can be read only once."""
    try:
        if stat.S_ISFIFO(os.stat(name).st_mode):  # noqa: PTH116 - as the others
            with open(name, "rb") as pipe:
                return _all_of(pipe, name)
    except OSError as exc:
        raise StoreError(f"cannot read {name}: {exc.strerror or exc}") from exc
    return None


def _all_of(stream: IO[bytes], name: str) -> bytes:
    data = stream.read(_MAX_STDIN + 1)
    if len(data) > _MAX_STDIN:
        raise DataError(f"{name}: more than {_MAX_STDIN >> 30} GiB", hint="write it to a file first")
    return data


def _check_png(png: str) -> None:
    """Refuse to write a picture over something else: of ``--png *.dcm``, the first one would be lost."""
    if png == "-":
        return
    try:
        if not os.path.isfile(png):  # noqa: PTH113 - Path.is_file may raise
            return
        with open(png, "rb") as file:
            head = file.read(len(_PNG))
    except OSError:  # writing will tell
        return
    if head and head != _PNG:
        raise UsageError(f"{png} is there, and is no PNG file: it is not overwritten", hint=_PNG_HINT)


def _write_png(shown: Image, png: str) -> None:
    buffer = io.BytesIO()
    shown.save(buffer, "PNG")
    if png == "-":
        write_stdout(buffer.getvalue())
        flush_stdout()
        return
    try:
        write_whole(Path(png), buffer.getvalue())
    except OSError as exc:
        raise StoreError(f"cannot write {safe_text(png)}: {exc.strerror or exc}") from exc


def _print(shown: Image) -> None:
    """Draw on the terminal, as large as fits."""
    if os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError("this terminal shows no pictures (TERM=dumb)", hint="--png FILE writes one to a file")
    if 0 in os.get_terminal_size(sys.stdout.fileno()):
        raise UsageError("the terminal does not say how large it is", hint="stty rows 24 cols 80 tells it")
    try:
        # Imported only now: it asks the terminal what it can do.
        with _answers_from_the_terminal():
            from textual_image.renderable import Image as Drawn
    except ImportError as exc:
        raise UsageError(
            f"pictures on a terminal need {exc.name}, which is not installed", hint='pip install "dcm[image]"'
        ) from exc
    from rich.console import Console

    # Whatever NO_COLOR says: without colors, a picture of half blocks would be a blank.
    console = Console(file=sys.stdout, markup=False, highlight=False, no_color=False)
    with _answers_from_the_terminal():
        console.print(Drawn(shown, width="auto", height="auto"))


@contextlib.contextmanager
def _answers_from_the_terminal() -> Iterator[None]:
    """Let what asks the terminal read the answers from it, where stdin is something else."""
    stdin = sys.__stdin__
    if stdin is not None and stdin.isatty():
        yield
        return
    with contextlib.ExitStack() as stack:
        terminal = None  # nobody is asked then
        with contextlib.suppress(OSError):
            terminal = stack.enter_context(open(os.ttyname(sys.stdout.fileno()), encoding="latin-1"))
        sys.__stdin__ = terminal  # type: ignore[misc]
        try:
            yield
        finally:
            sys.__stdin__ = stdin  # type: ignore[misc]
