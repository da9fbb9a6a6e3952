"""Pictures: on the terminal, by kitty's protocol, sixels or half blocks, and as PNG files."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from dcm.cli._run import print_error
from dcm.cli._streams import flush_stdout, write_stdout
from dcm.errors import DataError, DcmError, StoreError, UsageError
from dcm.text import safe_text

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["show_pictures"]

_MAX_STDIN = 4 << 30


def show_pictures(files: Sequence[str], image: bool, png: str | None, window: str | None, frame: int | None) -> int:
    """Show the pictures of files, or write one.

    Parameters
    ----------
    files : sequence of str
        Paths; ``-`` is stdin.
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
    int
        The exit code: 1 where a file has no picture.
    """
    from dcm.dump._picture import parse_window

    if png is not None and len(files) != 1:
        raise UsageError("--png writes one picture", hint="name one file")
    if image and not sys.stdout.isatty():
        raise UsageError("stdout is no terminal, it cannot show pictures", hint="--png FILE writes one to a file")
    values = None if window is None else parse_window(window)
    n_failed = 0
    for file in files:
        shown = _picture_of(file, frame or 1, values)
        if shown is None:
            n_failed += 1
            continue
        if png is not None:
            _write_png(shown, png)
        if image:
            if len(files) > 1:
                click.echo(f"# {safe_text('stdin' if file == '-' else file)}")
            _print(shown)
    return 1 if n_failed else 0


def _picture_of(file: str, frame: int, window: tuple[float, float] | None) -> Image | None:
    """The picture of a file; None where it has none, which has been said then."""
    from dcm.dump._picture import picture

    try:
        if file == "-":
            data = _from_stdin()
            return picture("stdin", frame=frame, window=window, data=data)
        return picture(file, frame=frame, window=window)
    except UsageError:
        raise
    except DcmError as exc:
        print_error(exc.message, exc.hint)
        return None


def _from_stdin() -> bytes:
    try:
        data = sys.stdin.buffer.read(_MAX_STDIN + 1)
    except OSError as exc:
        raise StoreError(f"stdin: cannot be read: {exc.strerror or exc}") from exc
    if len(data) > _MAX_STDIN:
        raise DataError(f"stdin: more than {_MAX_STDIN >> 30} GiB", hint="name a file")
    return data


def _write_png(shown: Image, png: str) -> None:
    buffer = io.BytesIO()
    shown.save(buffer, "PNG")
    if png == "-":
        write_stdout(buffer.getvalue())
        flush_stdout()
        return
    try:
        with open(png, "wb") as file:
            file.write(buffer.getvalue())
    except OSError as exc:
        raise StoreError(f"cannot write {safe_text(png)}: {exc.strerror or exc}") from exc


def _print(shown: Image) -> None:
    """Draw on the terminal, as large as fits."""
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

    console = Console(file=sys.stdout, markup=False, highlight=False, no_color=bool(os.environ.get("NO_COLOR")))
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
