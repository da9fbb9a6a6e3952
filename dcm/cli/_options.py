"""Options that several commands have; each is a decorator, and its parameter is called as the option is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dcm.levels import QueryLevel

__all__ = [
    "assume_yes_option",
    "before_option",
    "dir_format_option",
    "edit_json_option",
    "edit_option",
    "examples",
    "in_file_ext_option",
    "level_option",
    "local_option",
    "method_option",
    "named",
    "named_path",
    "no_index_option",
    "out_file_ext_option",
    "query_res_option",
    "recurse_option",
    "since_option",
    "to_level",
]

# Those of dcm.conf.METHODS, which takes too long to import for --help.
_METHODS = ("proxy", "remote_copy", "copy", "move", "link", "symlink")


def examples(*lines: str) -> str:
    """The end of a command's help: examples, as they are typed."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def to_level(ctx: click.Context, param: click.Parameter, value: str | None) -> QueryLevel | None:
    """The level that a word on the command line stands for."""
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
    callback=to_level,
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


def named(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Refuse an empty name, of a variable that is not set say: as a path, it would be the current directory."""
    for each in value if isinstance(value, tuple) else (value,):
        if each == "":
            raise click.BadParameter("an empty name", ctx, param)
    return value


def named_path(ctx: click.Context, param: click.Parameter, value: str) -> Path:
    """Make a path of a name, which is not empty."""
    return Path(named(ctx, param, value))


recurse_option = click.option(
    "--recurse/--no-recurse",
    default=None,
    help="Whether files in sub-directories of a source belong to it. Default: they do.",
)

in_file_ext_option = click.option(
    "--in-file-ext",
    metavar="EXT",
    help="Read only files with this extension in a source. Default: any file that is DICOM, whatever its name.",
)

no_index_option = click.option(
    "--no-index",
    is_flag=True,
    help="Keep no index of directories: read all their headers now, and forget them afterwards.",
)

edit_option = click.option(
    "-e",
    "--edit",
    multiple=True,
    metavar="KEYWORD=VALUE",
    help="Change an element on the way; may be repeated. KEYWORD= empties it, KEYWORD- deletes it; the place may be in "
    "a sequence: 'RequestAttributesSequence[0].StudyInstanceUID=1.2.3'. What becomes another patient, study or series "
    "by it gets new UIDs, always the same ones.",
)

edit_json_option = click.option(
    "--edit-json",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help='The same from a file: {"PatientID": "ANON1", "OtherPatientIDs": null}. --edit counts more.',
)

method_option = click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    type=click.Choice(_METHODS, case_sensitive=False),
    help="How data gets there: proxy (through us), remote_copy (one node sends to the other, C-MOVE), or, between "
    "directories, copy, move, link (hard links) and symlink. May be repeated: the first that is possible. Default: "
    "what a route says, else copy between directories and proxy for the rest.",
)

dir_format_option = click.option(
    "--dir-format", metavar="TEMPLATE", help="Paths of the files, '{PatientID}/{SOPInstanceUID}' say."
)

out_file_ext_option = click.option(
    "--out-file-ext", metavar="EXT", help="Extension of those files; an empty one for none. Default: dcm."
)

_ACCESS = (
    click.option(
        "--allow-ae",
        "allow_ae",
        multiple=True,
        metavar="TITLE",
        help="Only callers with this AE title; may be repeated.",
    ),
    click.option(
        "--allow-address",
        multiple=True,
        metavar="ADDRESS",
        help="Only callers from this address or network (10.1.0.0/16); may be repeated.",
    ),
    click.option(
        "--require-called-ae/--no-require-called-ae",
        default=None,
        help="Only callers that call us by our AE title. Default: any title will do.",
    ),
    click.option(
        "--max-assoc", type=click.IntRange(min=1), metavar="N", help="Associations at a time, in all. Default: 200."
    ),
    click.option(
        "--max-assoc-per-peer",
        type=click.IntRange(min=1),
        metavar="N",
        help="Associations at a time of one AE title at one address. Default: as many as in all.",
    ),
)


def access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Who may call us: what `dcm.conf.AccessOverrides` is made of, in its order."""
    for option in reversed(_ACCESS):
        command = option(command)
    return command
