"""``dcm route``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dcm.cli._options import examples, local_option
from dcm.cli._run import CliState
from dcm.errors import DcmError, InvalidDicomError
from dcm.text import safe_text

if TYPE_CHECKING:
    from dcm.instance import Instance
    from dcm.route import Explained, Router, Way

__all__ = ["command"]


@click.group(
    "route",
    epilog=examples("dcm route explain scanner_rules file.dcm", "dcm route explain --help"),
    context_settings={"max_content_width": 100},
)
def command() -> None:
    """Say where data would go by the routes of the configuration.

    Nothing is sent, and no node is asked.
    """


@command.command(
    "explain",
    epilog=examples(
        "dcm route explain scanner_rules file.dcm",
        "dcm route explain scanner_rules -r ~/incoming",
        "dcm route explain --out-format json scanner_rules *.dcm",
    ),
)
@click.argument("route")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("-r", "--recurse", is_flag=True, help="Explain all files in directories, and in those below them.")
@click.option(
    "--out-format",
    type=click.Choice(("text", "json"), case_sensitive=False),
    default="text",
    show_default=True,
    help="Text for people, or a list with an object for each file.",
)
@local_option
@click.pass_obj
def explain(
    state: CliState, route: str, files: tuple[Path, ...], recurse: bool, out_format: str, local: str | None
) -> int:
    """Say where files would go by a route, and why.

    Shows for each FILE which rules of ROUTE match, the values that decided, where the file would go, by which methods
    and through which filters.

    Exits with 1 if a file cannot be read, or no rule says where it goes.
    """
    from dcm.conf import Overrides
    from dcm.route import Router

    router = Router([state.config(Overrides(local=local)).route(route)])
    told = []
    failed = False
    together = _Together()
    for path in _all_of(files, recurse):
        one = _told(router, path, together)
        failed = failed or bool(one["error"])
        if out_format == "json":
            told.append(one)
        elif "routes" in one:
            click.echo("\n".join(_lines(one)))
        if "routes" not in one:
            about = "" if str(path) in one["error"] else f"{safe_text(path)}: "
            click.echo(f"Error: {about}{safe_text(one['error'])}", err=True)
    if out_format == "json":
        import msgspec.json

        from dcm.cli._render import harmless_json

        click.echo(harmless_json(msgspec.json.format(msgspec.json.encode(told), indent=2).decode()))
    for line in together.lines():
        click.echo(f"Warning: {line}", err=True)
    return 1 if failed else 0


def _all_of(paths: Iterable[Path], recurse: bool) -> Iterator[Path]:
    """The files that some paths name; those of a directory in the order of their names."""
    for path in paths:
        if not (recurse and path.is_dir()):
            yield path
            continue
        for parent, directories, names in os.walk(path):
            directories.sort()
            yield from (Path(parent, name) for name in sorted(names))


def _told(router: Router, path: Path, together: _Together) -> dict[str, Any]:
    """What there is to say of a file, as a JSON object."""
    from dcm.instance import Instance

    try:
        if path.is_dir():
            return {"file": str(path), "error": "it is a directory: -r explains what is in it"}
        with Instance.from_file(path) as instance:
            explained = router.explain(instance)
            for one in explained:
                together.add(one)
            routes = [{**one.to_json(), "ways": [_way(way, instance) for way in one.ways]} for one in explained]
            header = instance.header
    except (DcmError, OSError) as exc:
        reason = exc.message if isinstance(exc, DcmError) else str(exc.strerror or exc)
        return {"file": str(path), "error": reason}
    error = "; ".join(dict.fromkeys(one.error for one in explained if one.error))
    return {
        "file": str(path),
        "sop_instance_uid": header.sop_instance_uid,
        "problem": header.problem if header.complete is False else "",
        "routes": routes,
        "error": error,
    }


def _way(way: Way, instance: Instance) -> dict[str, Any]:
    """A destination, and what would become of the file on the way there."""
    rejected, error = False, ""
    try:
        rejected = way.filt is not None and way.filt.apply(instance) is None
    except InvalidDicomError as exc:
        error = exc.message
    return {
        "dest": str(way.sink),
        "methods": [method.value for method in way.methods],
        "filter": way.filt.name if way.filt is not None else None,
        "rejected": rejected,
        "error": error,
    }


class _Together:
    """What is to stay together, and where it would go by each of its files."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], set[frozenset[str]]] = {}

    def add(self, explained: Explained) -> None:
        """Note where a file would go if it were the first of its study, say."""
        if explained.level is not None:
            what = explained.route, explained.level.name.lower(), explained.node
            # One destination by two filters is two: what becomes of them there is not the same.
            self._seen.setdefault(what, set()).add(frozenset([way.key for way in explained.ways]))

    def lines(self) -> Iterator[str]:
        """What its own files do not agree about."""
        for (_, level, node), dests in self._seen.items():
            if len(dests) > 1:
                yield (
                    f"the files of {level} {safe_text(node, 100)} do not agree where they go: "
                    "all of them go where the first that comes does"
                )


def _lines(told: dict[str, Any]) -> Iterator[str]:
    """What there is to say of a file, for people."""
    yield safe_text(told["file"])
    if told["problem"]:
        yield f"  It is not complete: {safe_text(told['problem'])}"
    for route in told["routes"]:
        if route["level"] is None:
            yield f"  {safe_text(route['route'])}: a static route, which takes everything"
        else:
            level = route["level"].lower()
            yield f"  {safe_text(route['route'])}, decided for each {level} ({safe_text(route['node'], 100)})"
        number = 0
        for rule in route["rules"]:
            number += not rule["excludes"] and bool(rule["rule"])
            yield f"    {_rule(rule, number)}"
        if route["error"]:
            yield f"    Where it goes cannot be said: {safe_text(route['error'])}"
        elif not route["dests"]:
            yield "    It goes nowhere, on purpose."
        for way in route["ways"]:
            yield f"    -> {_where(way)}"


def _rule(rule: dict[str, Any], number: int) -> str:
    if not rule["rule"]:
        return f"default: {'used, no rule matches' if rule['used'] else 'not used'}"
    name = "exclude" if rule["excludes"] else f"rule {number}"
    answer = "matches" if rule["matches"] else "does not match"
    if rule["matches"] and rule["excludes"]:
        answer = "matches: it goes nowhere"
    elif not rule["used"]:
        answer = f"not asked ({'it would match' if rule['matches'] else 'it would not match either'})"
    values = ", ".join(f"{key} = {value or '(empty)'}" for key, value in rule["values"].items())
    return f"{name}: {safe_text(rule['rule'], 200)}: {answer} [{safe_text(values, 300)}]"


def _where(way: dict[str, Any]) -> str:
    words = ["copy" if method == "local_copy" else method for method in way["methods"]]
    text = f"{safe_text(way['dest'])} by {' or '.join(words)}"
    if way["filter"] is not None:
        text += f", through {safe_text(way['filter'], 300)}"
    if way["rejected"]:
        return f"{text}: rejected, it does not go there"
    return f"{text}: fails, {safe_text(way['error'], 300)}" if way["error"] else text
