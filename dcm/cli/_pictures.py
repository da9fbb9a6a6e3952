"""Pictures: on the terminal, by kitty's protocol, sixels or half blocks, and as PNG files."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dcm.cli._run import print_error
from dcm.errors import DcmError, StoreError, UsageError
from dcm.text import safe_text

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["show_pictures"]


def show_pictures(files: Sequence[str], image: bool, png: str | None, window: str | None, frame: int | None) -> int:
    """Show the pictures of files, or write one.

    Parameters
    ----------
    files : sequence of str
        Paths.
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
    if "-" in files:
        raise UsageError("a picture cannot be read from stdin", hint="name a file")
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
                click.echo(f"# {safe_text(file)}")
            _print(shown)
    return 1 if n_failed else 0


def _picture_of(file: str, frame: int, window: tuple[float, float] | None) -> Image | None:
    """The picture of a file; None where it has none, which has been said then."""
    from dcm.dump._picture import picture

    try:
        return picture(file, frame=frame, window=window)
    except UsageError:
        raise
    except DcmError as exc:
        print_error(exc.message, exc.hint)
        return None


def _write_png(shown: Image, png: str) -> None:
    buffer = io.BytesIO()
    shown.save(buffer, "PNG")
    if png == "-":
        sys.stdout.buffer.write(buffer.getvalue())
        sys.stdout.buffer.flush()
        return
    try:
        with open(png, "wb") as file:
            file.write(buffer.getvalue())
    except OSError as exc:
        raise StoreError(f"cannot write {safe_text(png)}: {exc.strerror or exc}") from exc


def _print(shown: Image) -> None:
    """Draw on the terminal, as large as fits."""
    try:
        # Imported only now: it asks the terminal what it can do.
        from textual_image.renderable import Image as Drawn
    except ImportError as exc:
        raise UsageError(
            f"pictures on a terminal need {exc.name}, which is not installed", hint='pip install "dcm[image]"'
        ) from exc
    from rich.console import Console

    console = Console(file=sys.stdout, markup=False, highlight=False, no_color=bool(os.environ.get("NO_COLOR")))
    console.print(Drawn(shown, width="auto", height="auto"))
