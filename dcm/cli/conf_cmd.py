"""``dcm conf``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from dcm.cli._options import examples
from dcm.cli._run import CliState, print_error
from dcm.errors import ConfigError, UsageError

__all__ = ["command"]


@click.command("conf", epilog=examples("dcm conf", "dcm conf --path", "dcm --config other.toml conf"))
@click.option("--show", "action", flag_value="show", help="Print the file.")
@click.option("--show-default", "action", flag_value="default", help="Print the examples that a new file has.")
@click.option("--path", "action", flag_value="path", help="Print where the file is.")
@click.pass_obj
def command(state: CliState, action: str | None) -> int:
    """Edit the configuration file, and check it.

    Opens the file in $VISUAL or $EDITOR, and says what is wrong with it afterwards. A new file holds commented
    examples and is readable by you alone. The file is never rewritten by dcm.
    """
    from dcm.conf import EXAMPLE, default_path

    path = state.config_path or default_path()
    if action == "path":
        click.echo(path)
    elif action == "default":
        click.echo(EXAMPLE, nl=False)
    elif action == "show":
        return _show(path)
    else:
        return _edit(path)
    return 0


def _show(path: Path) -> int:
    if not path.exists():
        click.echo(f"There is no configuration file {path}: the defaults are used.", err=True)
        return 0
    try:
        click.echo(path.read_text(encoding="utf-8-sig"), nl=False)
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot read the configuration file {path}: {exc}") from exc
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
        except ConfigError as exc:
            if not on_terminal:
                raise
            print_error(exc.message, exc.hint)
            if click.confirm("Edit it again?", default=True, err=True):
                continue
            return exc.exit_code
        click.echo(
            f"{path} is good: {len(conf.local_nodes)} local and {len(conf.remote_nodes)} remote nodes, "
            f"{len(conf.local_dirs)} directories.",
            err=True,
        )
        return 0
