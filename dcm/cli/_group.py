"""A group of commands that are imported when they are run, and not to list them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own.

    Parameters
    ----------
    package : str
        Where they are: the command ``echo`` is ``command`` in ``package.echo_cmd``.
    summaries : mapping of str to str
        The names of the commands in the order of the help, and a line on each, so that ``--help`` imports none of them.
    """

    def __init__(self, *args: Any, package: str, summaries: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.package = package
        self.summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help."""
        return list(self.summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.summaries:
            return None
        module = importlib.import_module(f"{self.package}.{cmd_name}_cmd")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command to run, or say which one was probably meant."""
        name = args[0]
        if name not in self.summaries and not ctx.resilient_parsing and not name.startswith("-"):
            import difflib

            match = difflib.get_close_matches(name, self.summaries, n=1)
            ctx.fail(f"No such command '{name}'." + (f" Did you mean '{match[0]}'?" if match else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the summaries."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))
