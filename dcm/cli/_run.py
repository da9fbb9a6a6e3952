"""Running a command: what it raises becomes a line on stderr and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcm.cli._streams import (
    CLOSED_PIPE,
    OutputError,
    buffer_stdout,
    fill_closed_streams,
    flush_stdout,
    forget,
    stdout_problem,
)
from dcm.errors import DcmError
from dcm.text import safe_text

if TYPE_CHECKING:
    from dcm.conf import DcmConfig, Overrides

__all__ = ["CliState", "print_error", "run"]

INTERRUPTED = 130


@dataclass
class CliState:
    """What the options in front of the command say, and the exit code of errors that fit nowhere else."""

    config_path: Path | None = None
    verbosity: int = 0
    quiet: bool = False
    debug: bool = False
    error_code: int = 1

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
    fill_closed_streams()
    buffer_stdout()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    state = CliState()
    try:
        code = _run(root, args, state)
        flush_stdout()
    except BrokenPipeError:
        forget(sys.stdout)
        forget(sys.stderr)
        return CLOSED_PIPE
    except OutputError as exc:
        forget(sys.stdout)
        print_error(str(exc))
        return state.error_code
    return code


def _run(root: click.Command, args: Sequence[str] | None, state: CliState) -> int:
    streams = sys.stdout, sys.stderr
    try:
        argv = None if args is None else list(args)
        code = root.main(argv, prog_name="dcm", standalone_mode=False, obj=state)
    except SystemExit as exc:
        # click and rich take a closed pipe for an error, 1; click has put others in the place of the streams then.
        if sys.stdout is streams[0] and not isinstance(exc.__context__, BrokenPipeError):
            raise
        sys.stdout, sys.stderr = streams
        raise BrokenPipeError from None
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
    except (BrokenPipeError, OutputError):
        raise
    except DcmError as exc:
        _traceback_if(state.debug)
        print_error(exc.message, exc.hint)
        return exc.exit_code
    except OSError as exc:
        _traceback_if(state.debug)
        if not exc.filename and (problem := stdout_problem()):
            raise OutputError(problem) from exc
        print_error(": ".join(str(part) for part in (exc.filename, exc.strerror or exc) if part))
        return state.error_code
    except UnicodeEncodeError as exc:
        _traceback_if(state.debug)
        print_error(*_about_encoding(exc))
        return state.error_code
    except Exception as exc:  # noqa: BLE001 - a mistake of ours; the user gets a line, and we get a report
        _traceback_if(state.debug)
        print_error(f"unexpected {type(exc).__name__}: {exc}", "" if state.debug else "dcm --debug shows where")
        return state.error_code
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


def _about_encoding(error: UnicodeEncodeError) -> tuple[str, str]:
    """What to say of text that cannot be encoded, and what to do about it."""
    if error.encoding.lower() == sys.getfilesystemencoding().lower() != "utf-8":
        return f"no file can be called {error.object!r} in this locale ({error.encoding})", "PYTHONUTF8=1 dcm ... can"
    return f"unexpected {type(error).__name__}: {error}", "dcm --debug shows where"


def print_error(message: str, hint: str = "") -> None:
    """Print an error to stderr on one line, and what to do about it on another."""
    lines = [f"Error: {safe_text(message)}"]
    if hint:
        lines.append(f"       {safe_text(hint)}")
    try:
        click.echo("\n".join(lines), err=True)
    except BrokenPipeError:
        raise
    except OSError:  # it takes no more, and nobody can be told; the exit code still tells
        forget(sys.stderr)


def _traceback_if(debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
