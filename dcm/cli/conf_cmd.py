"""``dcm conf``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from dcm.cli._options import (
    access_options,
    dir_format_option,
    edit_json_option,
    edit_option,
    examples,
    in_file_ext_option,
    local_option,
    method_option,
    no_index_option,
    out_file_ext_option,
    recurse_option,
)
from dcm.cli._run import CliState, print_error
from dcm.errors import ConfigError, UsageError

__all__ = ["command"]


@click.command(
    "conf",
    epilog=examples(
        "dcm conf",
        "dcm conf --path",
        "dcm conf --show",
        "dcm conf --show -e PatientID=ANON1 --dir-format '{PatientID}/{SOPInstanceUID}'",
        "dcm --config other.toml conf",
    ),
)
@click.option(
    "--show",
    "action",
    flag_value="show",
    help="Print what the file says, as dcm understands it: all settings, where routes lead, and what options of the "
    "command line do to them. Such options can be given, to see just that.",
)
@click.option("--show-default", "action", flag_value="default", help="Print the examples that a new file has.")
@click.option("--path", "action", flag_value="path", help="Print where the file is.")
@method_option
@edit_option
@edit_json_option
@dir_format_option
@recurse_option
@in_file_ext_option
@out_file_ext_option
@no_index_option
@local_option
@access_options
@click.pass_obj
def command(
    state: CliState,
    action: str | None,
    methods: tuple[str, ...],
    edit: tuple[str, ...],
    edit_json: Path | None,
    dir_format: str | None,
    recurse: bool | None,
    in_file_ext: str | None,
    out_file_ext: str | None,
    no_index: bool,
    local: str | None,
    allow_ae: tuple[str, ...],
    allow_address: tuple[str, ...],
    require_called_ae: bool | None,
    max_assoc: int | None,
    max_assoc_per_peer: int | None,
) -> int:
    """Edit the configuration file, and check it.

    Opens the file in $VISUAL or $EDITOR, and says what is wrong with it afterwards. A new file holds commented
    examples and is readable by you alone. The file is never rewritten by dcm.
    """
    from dcm.cli._edits import load_edits
    from dcm.conf import EXAMPLE, AccessOverrides, Overrides, default_path

    over = Overrides(
        local=local,
        out_fmt=dir_format,
        recurse=recurse,
        in_file_ext=in_file_ext,
        out_file_ext=out_file_ext,
        index=False if no_index else None,
        methods=methods,
        edits=load_edits(edit, edit_json),
        access=AccessOverrides(allow_ae, allow_address, require_called_ae, max_assoc, max_assoc_per_peer),
    )
    if action != "show" and over != Overrides():
        raise UsageError("options that say something over the file go with --show: nothing else is done here")
    path = state.config_path or default_path()
    if action == "path":
        click.echo(path)
    elif action == "default":
        click.echo(EXAMPLE, nl=False)
    elif action == "show":
        if not path.exists():
            click.echo(f"There is no configuration file {path}: the defaults are used.", err=True)
        conf = state.config(over)
        conf.check()
        click.echo(conf.shown(), nl=False)
    else:
        return _edit(path)
    return 0


def _edit(path: Path) -> int:
    from dcm.conf import DcmConfig, create_config

    on_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if not on_terminal and not (os.environ.get("VISUAL") or os.environ.get("EDITOR")):
        raise UsageError("there is no terminal, and no EDITOR is set", hint=f"edit {path}")
    if create_config(path):
        click.echo(f"A new file with examples: {path}", err=True)
    while True:
        try:
            click.edit(filename=str(path))
        except click.ClickException as exc:
            raise UsageError(exc.message, hint=f"set EDITOR, or edit {path}") from exc
        try:
            conf = DcmConfig(path)
            conf.check()
        except ConfigError as exc:
            if not on_terminal:
                raise
            print_error(exc.message, exc.hint)
            if click.confirm("Edit it again?", default=True, err=True):
                continue
            return exc.exit_code
        click.echo(
            f"{path} is good: {len(conf.local_nodes)} local and {len(conf.remote_nodes)} remote nodes, "
            f"{len(conf.local_dirs)} directories, {len(conf.static_routes) + len(conf.dynamic_routes)} routes.",
            err=True,
        )
        return 0
