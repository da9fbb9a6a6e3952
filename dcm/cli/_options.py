"""Options that several commands have; each is a decorator, and its parameter is called as the option is."""

from __future__ import annotations

from pathlib import Path

import click

from dcm.levels import QueryLevel

__all__ = [
    "assume_yes_option",
    "before_option",
    "examples",
    "level_option",
    "local_option",
    "query_res_option",
    "since_option",
]


def examples(*lines: str) -> str:
    """The end of a command's help: examples, as they are typed."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def _to_level(ctx: click.Context, param: click.Parameter, value: str | None) -> QueryLevel | None:
    if value is None:
        return None
    return QueryLevel["IMAGE" if value == "instance" else value.upper()]


local_option = click.option(
    "--local",
    metavar="NODE",
    help="Who we are: a name of [local_nodes], or an inline node such as 0.0.0.0:MYAE:11112. "
    "Default: [local_nodes.default].",
)

level_option = click.option(
    "--level",
    type=click.Choice(("patient", "study", "series", "image", "instance"), case_sensitive=False),
    callback=_to_level,
    help="How fine the answer is. Default: as fine as the query, or the result that is refined, asks for; else study.",
)

since_option = click.option(
    "--since",
    metavar="DATE",
    help='Only studies of that day or later: "2020-10-31", "yesterday", "3 weeks ago".',
)

before_option = click.option(
    "--before",
    metavar="DATE",
    help="Only studies of the days before that day, which itself is left out.",
)

query_res_option = click.option(
    "--query-res",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="An earlier result: a file of JSON from dcm query, or - for stdin. What is piped in is read anyway.",
)

assume_yes_option = click.option(
    "-y", "--assume-yes", is_flag=True, help="Do not ask before a query for everything that the node has."
)
