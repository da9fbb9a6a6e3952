"""The configuration as it is understood: every setting with its value, and what the command line does to it.

What is shown is TOML again, and means the same as the file, but for secrets, which are left out.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from dcm.conf._overrides import METHODS, RULES
from dcm.levels import QueryLevel
from dcm.node import Timeouts
from dcm.template import DEFAULT_TEMPLATE
from dcm.text import UNSAFE_CHARS, safe_text

if TYPE_CHECKING:
    from dcm.conf._config import DcmConfig
    from dcm.conf._routes import DynamicRouteSettings, FilterSettings, StaticRouteSettings
    from dcm.filt import Filter
    from dcm.node import RemoteNode
    from dcm.store.base import TransferMethod

__all__ = ["shown"]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_UNSAFE: Final = re.compile(rf"[{UNSAFE_CHARS}]")
_HIDDEN: Final = "(not shown)"
_WIDTH: Final = 118


def shown(conf: DcmConfig, *, unclear: bool = False) -> str:
    """The configuration, with the overrides merged in, as TOML with comments.

    Parameters
    ----------
    conf : DcmConfig
    unclear : bool
        Whether which of the local nodes we are is not said, and the first of them was taken.

    Raises
    ------
    ConfigError
        Something in it cannot be used.
    """
    return "\n".join(_lines(conf, unclear)) + "\n"


def _lines(conf: DcmConfig, unclear: bool) -> Iterator[str]:
    yield f"# {safe_text(conf.path)} as dcm understands it: what is not in the file has its default."
    over = conf.overrides
    if unclear:
        yield f"# We are what --local says: {safe_text(', '.join(conf.local_nodes))}; here, the first of them."
    elif conf.local_nodes or over.local:
        yield f"# We are {safe_text(conf.local_node())} where nothing else is said."
    for name, node in conf.local_nodes.items():
        access = over.access.over(conf.access_settings(name))
        yield from _section("local_nodes", name, {**_address(node), **asdict(access)})
    for name, remote in conf.remote_nodes.items():
        yield from _remote_node(name, remote)
    for name, directory in conf.local_dirs.items():
        said = {**over.dir_settings(is_dest=False), **over.dir_settings(is_dest=True)}
        notes = []
        if "in_file_ext" in said:
            notes.append(f"as a source: file_ext = {_value(said.pop('in_file_ext'))}")
        settings = {**asdict(directory), **said}
        settings["out_fmt"] = settings["out_fmt"] or DEFAULT_TEMPLATE
        yield from _section("local_dirs", name, settings, *notes)
    for name, repo in conf.remote_repos.items():
        raw = {**asdict(repo), "local": repo.local if unclear else over.local or repo.local}
        yield from _section("remote_repos", name, raw, f"this is {conf.remote_node(name)}")
    raws = {name: conf.selectors.raw(name) for name in conf.selectors}
    conditions = {name: raw for name, raw in raws.items() if not isinstance(raw, dict)}
    if conditions:
        yield from ("", "[selectors]")
        for name, raw in conditions.items():
            yield from _setting(name, raw)
    for name, raw in raws.items():
        if isinstance(raw, dict):
            yield from _section("selectors", name, raw, str(conf.selectors[name]))
    for name, static in conf.static_routes.items():
        yield from _section("static_routes", name, _static(conf, static), *_ways(conf, name))
    for name, dynamic in conf.dynamic_routes.items():
        yield from _section("dynamic_routes", name, _dynamic(conf, dynamic), *_ways(conf, name))
    yield from ("", "# What options of the command line do to all this, for every destination alike:")
    for options, does in RULES:
        yield from _comment(f"  {', '.join(options)}: {does}", indent=6)


def _remote_node(name: str, node: RemoteNode) -> Iterator[str]:
    settings = {field.name: getattr(node, field.name) for field in fields(node)}
    timeouts, tls = settings.pop("timeouts"), settings.pop("tls")
    settings["supported_ops"] = sorted(op.name for op in node.supported_ops)
    settings["query_models"] = [model.name for model in node.query_models]
    yield from _section("remote_nodes", name, settings)
    seconds = {field.name: getattr(timeouts, field.name) for field in fields(Timeouts)}
    # Without an end is none at all.
    yield f"timeouts = {_value({key: math.inf if value is None else value for key, value in seconds.items()})}"
    if tls is not None:
        yield f"tls = {_value(asdict(tls))}"


def _static(conf: DcmConfig, settings: StaticRouteSettings) -> dict[str, Any]:
    filt = _filters(conf, settings.filt)
    return {"dests": settings.dests, "methods": _methods(conf, settings.methods, bool(filt)), "filt": filt}


def _dynamic(conf: DcmConfig, settings: DynamicRouteSettings) -> dict[str, Any]:
    filt = _filters(conf, settings.filt)
    return {
        "routing_map": settings.routing_map,
        "default_dests": settings.default_dests,
        "exclude": settings.exclude or None,
        "route_level": settings.route_level,
        "stop_on_first": settings.stop_on_first,
        "methods": _methods(conf, settings.methods, bool(filt)),
        "dest_methods": {dest: _methods(conf, said, bool(filt)) for dest, said in settings.dest_methods.items()},
        "filt": filt,
    }


def _methods(conf: DcmConfig, said: tuple[str, ...] | None, filtered: bool) -> list[str]:
    return [_word(method) for method in conf.overrides.methods_of(said, filtered=filtered)]


def _word(method: TransferMethod) -> str:
    return method.value if method.value in METHODS else "copy"


def _filters(conf: DcmConfig, settings: tuple[FilterSettings, ...]) -> list[dict[str, Any]]:
    """The filters of a route in the file, and what is edited behind them."""
    tables = []
    for one in settings:
        table = {key: value for key, value in asdict(one).items() if value not in (None, (), {})}
        if not (one.edit or one.delete):
            del table["update_uids"]
        if "add_uid_entropy" in table:
            table["add_uid_entropy"] = _HIDDEN
        tables.append(table)
    edits = conf.overrides.edits
    if edits:
        edited = {key: value for key, value in edits.items() if value is not None}
        deleted = [key for key, value in edits.items() if value is None]
        tables.append({key: value for key, value in (("edit", edited), ("delete", deleted)) if value})
    return tables


def _ways(conf: DcmConfig, name: str) -> Iterator[str]:
    """Where a route leads, in words."""
    for way in conf.route(name).ways:
        yield f"to {way.sink} by {', '.join(map(_word, way.methods))}{_through(way.filt)}"


def _through(filt: Filter | None) -> str:
    return f", through: {filt.name}" if filt is not None else ""


def _section(section: str, name: str, settings: Mapping[str, Any], *notes: str) -> Iterator[str]:
    yield ""
    yield f"[{section}.{_key(name)}]"
    for note in notes:
        yield from _comment(note)
    for key, value in settings.items():
        if value is None or value == {} or (key == "filt" and not value):
            continue
        yield from _setting(key, value)


def _setting(key: str, value: Any) -> Iterator[str]:
    line = f"{_key(key)} = {_value(value)}"
    if len(line) <= _WIDTH or not isinstance(value, (list, tuple)):
        yield line
        return
    yield f"{_key(key)} = ["
    for member in value:
        yield f"    {_value(member)},"
    yield "]"


def _comment(text: str, indent: int = 2) -> list[str]:
    safe = safe_text(text)
    return textwrap.wrap(
        safe,
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# " + " " * indent,
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _address(node: Any) -> dict[str, Any]:
    return {"host": node.host, "ae_title": node.ae_title, "port": node.port}


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, QueryLevel):
        return _value(value.name.lower())
    if isinstance(value, Enum):
        return _value(value.name)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # The escapes of JSON are some of those of TOML; what acts on a terminal is escaped, too.
        return _UNSAFE.sub(_escape, json.dumps(value, ensure_ascii=False))
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items() if one is not None) + " }"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
