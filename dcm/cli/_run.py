"""Running a command: what it raises becomes a line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcm.errors import DcmError
from dcm.text import safe_text

if TYPE_CHECKING:
    from dcm.conf import DcmConfig, Overrides

__all__ = ["CliState", "forget_stdout", "print_error", "run"]

INTERRUPTED = 130


@dataclass
class CliState:
    """What the options in front of the command say."""

    config_path: Path | None = None
    verbosity: int = 0
    quiet: bool = False
    debug: bool = False

    def config(self, overrides: Overrides | None = None) -> DcmConfig:
        """Read the configuration file.

        Raises
        ------
        ConfigError
            Something in it is wrong.
        """
        from dcm.conf import DcmConfig

        return DcmConfig(self.config_path, overrides=overrides)


def run(root: click.Command, args: Sequence[str] | None = None) -> int:
    """Run the command line, and say in an exit code how it went.

    A command returns its exit code, or None for 0. What it raises is printed to stderr.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    state = CliState()
    try:
        argv = None if args is None else list(args)
        code = root.main(argv, prog_name="dcm", standalone_mode=False, obj=state)
        sys.stdout.flush()
    except click.ClickException as exc:
        (_misplaced(root, exc) or exc).show()
        return exc.exit_code
    except click.Abort as exc:
        if isinstance(exc.__cause__, KeyboardInterrupt):
            return INTERRUPTED
        if isinstance(exc.__context__, KeyboardInterrupt):  # where a question was asked, click leaves it at that
            click.echo(err=True)
            return INTERRUPTED
        print_error("nothing was answered")
        return 1
    except BrokenPipeError:
        forget_stdout()
        return 1
    except DcmError as exc:
        _traceback_if(state.debug)
        print_error(exc.message, exc.hint)
        return exc.exit_code
    except OSError as exc:
        _traceback_if(state.debug)
        print_error(": ".join(str(part) for part in (exc.filename, exc.strerror or exc) if part))
        return 1
    except Exception as exc:  # noqa: BLE001 - a mistake of ours; the user gets a line, and we get a report
        _traceback_if(state.debug)
        print_error(f"unexpected {type(exc).__name__}: {exc}", "" if state.debug else "dcm --debug shows where")
        return 1
    return code if isinstance(code, int) else 0


def _misplaced(root: click.Command, error: click.ClickException) -> click.UsageError | None:
    """What to say of an option that all commands share, and that was written behind one; None for anything else."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None or error.ctx.command is root:
        return None
    name = error.option_name
    if not any(name in parameter.opts for parameter in root.params):
        return None
    words = error.ctx.command_path.split(" ")
    place = " ".join([words[0], name, *words[1:]])
    return click.UsageError(f"{name} goes before the command: {place}", ctx=error.ctx)


def print_error(message: str, hint: str = "") -> None:
    """Print an error to stderr on one line, and what to do about it on another."""
    click.echo(f"Error: {safe_text(message)}", err=True)
    if hint:
        click.echo(f"       {safe_text(hint)}", err=True)


def forget_stdout() -> None:
    """Whoever read our output has gone: leave nothing to be written there when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        fileno = sys.stdout.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, fileno)
        os.close(null)


def _traceback_if(debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
