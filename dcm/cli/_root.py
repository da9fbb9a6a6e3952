"""``dcm`` itself: the list of commands, and the options that all of them share."""

from __future__ import annotations

from pathlib import Path

import click

from dcm._version import __version__
from dcm.cli._group import LazyGroup
from dcm.cli._options import examples
from dcm.cli._run import CliState

__all__ = ["COMMANDS", "root"]

COMMANDS = {
    "echo": "Ask a node whether it answers (C-ECHO).",
    "query": "Show what a node (C-FIND) or a directory has.",
    "sync": "Copy what destinations miss, and verify each instance.",
    "forward": "Receive, keep safe, and pass on by routes.",
    "spool": "Look into the spool of a forwarder, and mend it.",
    "sort": "Sort files into a tree by what is in them.",
    "dump": "Show what is in DICOM files, as text, JSON or a picture.",
    "diff": "Show how files or directories differ, element by element.",
    "route": "Say where data would go by the routes of the configuration.",
    "index": "Look through directories, so that they answer queries at once.",
    "demo": "See what dcm does, without a PACS.",
    "conf": "Edit the configuration file, and check it.",
    "version": "Print the version, and those of what dcm is built on.",
}

_EXIT_CODES = """\b
Exit codes:
  0    all that was asked for is verified
  1    the answer is no, or an error that fits nowhere else
  2    the command line or the configuration is wrong
  3    partial: some failed, the rest is done
  4    nothing could be done: refused, unreachable, not authorised
  5    done as far as known; whether it is complete cannot be known
  130  interrupted, after a clean stop
  141  whoever read the output has gone: dcm ... | head"""

_LEVELS = ("debug", "info", "warning", "error")


@click.group(
    cls=LazyGroup,
    package="dcm.cli",
    summaries=COMMANDS,
    epilog=examples("dcm echo mypacs.org:MYPACS:11112", "dcm query mypacs StudyDate=20201031") + "\n\n" + _EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The configuration file. Default: DCM_CONFIG_PATH, or dcm_conf.toml where the platform has such files "
    "(see dcm conf --path).",
)
@click.option("--log-path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Also log to a file.")
@click.option(
    "--file-log-level",
    type=click.Choice(_LEVELS, case_sensitive=False),
    default="info",
    show_default=True,
    help="What goes to that file.",
)
@click.option("-v", "--verbose", count=True, help="Say more on stderr; with -vv also of associations.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors on stderr: no progress, no report.")
@click.option("--debug", is_flag=True, help="Log everything, what identifies patients too, and show tracebacks.")
@click.version_option(__version__, prog_name="dcm", message="%(prog)s %(version)s")
@click.pass_obj
def root(
    state: CliState | None,
    config_path: Path | None,
    log_path: Path | None,
    file_log_level: str,
    verbose: int,
    quiet: bool,
    debug: bool,
) -> None:
    """Move DICOM studies between PACS and directories.

    A node is a name from the configuration file or HOST:AE:PORT. Data goes to stdout, everything else to stderr.
    """
    if quiet and (verbose or debug):
        raise click.UsageError("--quiet cannot go with --verbose or --debug.")
    from dcm.cli._logging import setup_logging

    state = state if state is not None else click.get_current_context().ensure_object(CliState)
    state.config_path, state.verbosity, state.quiet, state.debug = config_path, verbose, quiet, debug
    setup_logging(verbosity=verbose, quiet=quiet, debug=debug, log_path=log_path, file_level=file_log_level)
