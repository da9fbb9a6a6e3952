"""The sections of repositories and routes: what may stand in them, and that all names in them are there.

Everything is a value here: stores, filters and routes are made of these when they are needed (`dcm.conf._build`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final

from dcm.conf._guess import Guess, guess
from dcm.conf._overrides import METHODS
from dcm.conf._schema import check_keys, convert, did_you_mean, kind_of, near, table_of, texts_of
from dcm.conf._selectors import Selectors, plain
from dcm.errors import ConfigError, UsageError
from dcm.levels import QueryLevel
from dcm.node import RemoteNode
from dcm.text import safe_text

__all__ = [
    "DynamicRouteSettings",
    "FilterSettings",
    "Names",
    "RepoSettings",
    "StaticRouteSettings",
    "read_dynamic_route",
    "read_repo",
    "read_static_route",
]

_LEVELS: Final = {
    **{level.name.lower(): level for level in QueryLevel},
    "instance": QueryLevel.IMAGE,
}


@dataclasses.dataclass(frozen=True)
class FilterSettings:
    """What happens to instances on the way: some are rejected, the others edited."""

    reject: Any = ()
    edit: dict[str, Any] = dataclasses.field(default_factory=dict)
    delete: tuple[str, ...] = ()
    update_uids: bool = True
    uid_prefix: str | None = None
    add_uid_entropy: str | tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class RepoSettings:
    """A node, seen by somebody, as far as a query shows it: the settings of ``[remote_repos.NAME]``."""

    remote: str
    local: str | None = None
    base_query: dict[str, Any] = dataclasses.field(default_factory=dict)
    level: QueryLevel | None = None
    chunk_size: int = 1000


@dataclasses.dataclass(frozen=True)
class StaticRouteSettings:
    """The settings of ``[static_routes.NAME]``."""

    dests: tuple[str, ...]
    methods: tuple[str, ...] | None = None
    filt: tuple[FilterSettings, ...] = ()


@dataclasses.dataclass(frozen=True)
class DynamicRouteSettings:
    """The settings of ``[dynamic_routes.NAME]``; a rule is a selector as it is in the file, and its destinations."""

    routing_map: tuple[tuple[Any, tuple[str, ...]], ...] = ()
    default_dests: tuple[str, ...] | None = None
    exclude: tuple[Any, ...] = ()
    route_level: QueryLevel = QueryLevel.STUDY
    stop_on_first: bool = True
    methods: tuple[str, ...] | None = None
    dest_methods: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    filt: tuple[FilterSettings, ...] = ()


@dataclasses.dataclass(frozen=True)
class Names:
    """What there is by name, so that what names something can be checked."""

    local_nodes: Mapping[str, object]
    stores: Mapping[str, str]
    """Nodes, directories and repositories, and the sections that they are in."""
    static_routes: Iterable[str]
    dynamic_routes: Iterable[str]
    selectors: Selectors

    def check_dest(self, where: str, text: str, *, routes: bool = False) -> None:
        """Find out whether a text in a route is a destination.

        Parameters
        ----------
        where : str
            Where it stands; what the message begins with.
        text : str
            A name, an inline node, or a path that looks like one. Here a word is no new directory: nobody sees it.
        routes : bool
            Whether a static route is a destination, too.

        Raises
        ------
        ConfigError
            It is none.
        """
        shown = safe_text(text, 100)
        if text in self.stores or (routes and text in self.static_routes):
            return
        if text in self.static_routes or text in self.dynamic_routes:
            also = " or static routes" if routes else ""
            kind = "static" if text in self.static_routes else "dynamic"
            raise ConfigError(
                f"{where}: '{shown}' is a {kind} route", hint=f"it takes nodes, directories, repositories{also}"
            )
        kind_seen = guess(text, lambda _: False)
        if kind_seen is Guess.DIR:
            return
        if kind_seen is Guess.NODE:
            try:
                RemoteNode.parse(text)
            except UsageError as exc:
                raise ConfigError(f"{where}: {exc.message}", hint=exc.hint) from exc
            return
        match = near(text, [*self.stores, *(self.static_routes if routes else ())])
        hint = f"an inline node is HOST:AE:PORT, a directory ./{shown}"
        raise ConfigError(
            f"{where}: no node, directory or repository called '{shown}'",
            hint=f"did you mean '{match}'? Else {hint}" if match else hint,
        )


def read_repo(where: str, raw: object, names: Names, remote_nodes: Mapping[str, object]) -> RepoSettings:
    """A repository of ``[remote_repos]``.

    Raises
    ------
    ConfigError
        As for all of these: the entry is wrong, and the message begins with `where`.
    """
    table = {"remote": raw} if isinstance(raw, str) else table_of(where, raw)
    check_keys(where, table, RepoSettings)
    if "remote" not in table:
        raise ConfigError(f"{where} has no remote", hint="a name of [remote_nodes], or HOST:AE:PORT")
    level = _level(where, "level", table.pop("level", None))
    settings = dataclasses.replace(convert(where, table, RepoSettings), level=level)
    for key, known, section in (
        ("remote", remote_nodes, "remote_nodes"),
        ("local", names.local_nodes, "local_nodes"),
    ):
        text = getattr(settings, key)
        if text is not None and text not in known:
            _check_node(f"{where} {key}", text, known, section)
    if settings.chunk_size < 1:
        raise ConfigError(f"{where} chunk_size must be at least 1, not {settings.chunk_size}")
    return settings


def read_static_route(where: str, raw: object, names: Names) -> StaticRouteSettings:
    """A route of ``[static_routes]``; one that is no table is its destinations."""
    table = {"dests": raw} if isinstance(raw, (str, list)) else table_of(where, raw)
    check_keys(where, table, StaticRouteSettings)
    if "dests" not in table:
        raise ConfigError(f"{where} has no dests")
    dests = _dests(where, "dests", table["dests"], names)
    if not dests:
        raise ConfigError(f"{where} dests is empty")
    return StaticRouteSettings(dests, _methods(where, "methods", table), _filters(where, table, names))


def read_dynamic_route(where: str, raw: object, names: Names) -> DynamicRouteSettings:
    """A route of ``[dynamic_routes]``."""
    table = table_of(where, raw)
    check_keys(where, table, DynamicRouteSettings)
    if "routing_map" not in table and "default_dests" not in table:
        raise ConfigError(f"{where} has no routing_map", hint="it has rules, selector to destinations")
    rules = tuple(_rules(where, table.get("routing_map", {}), names))
    default = _dests(where, "default_dests", table["default_dests"], names, True) if "default_dests" in table else None
    exclude = _listed(table.get("exclude", []))
    for selector in exclude:
        names.selectors.check(f"{where} exclude", selector)
    known = {dest: None for _, dests in rules for dest in dests} | dict.fromkeys(default or ())
    dest_methods = table_of(f"{where} dest_methods", table.get("dest_methods", {}))
    for dest in dest_methods:
        if dest not in known or dest in names.static_routes:
            raise ConfigError(
                f"{where} dest_methods: '{safe_text(dest, 100)}' is none of its destinations",
                hint=did_you_mean(dest, known) if known else "",
            )
    switches = convert(
        where,
        {"stop_on_first": table.get("stop_on_first", True)},
        DynamicRouteSettings,
    )
    return DynamicRouteSettings(
        rules,
        default,
        tuple(exclude),
        _level(where, "route_level", table.get("route_level")) or QueryLevel.STUDY,
        switches.stop_on_first,
        _methods(where, "methods", table),
        {dest: _methods(f"{where} dest_methods", dest, dest_methods) or () for dest in dest_methods},
        _filters(where, table, names),
    )


def _rules(where: str, raw: object, names: Names) -> Iterable[tuple[Any, tuple[str, ...]]]:
    """The rules of a routing map: a table of selector to destinations, or a list of pairs or of tables of the two."""
    where = f"{where} routing_map"
    if not isinstance(raw, (dict, list)):
        raise ConfigError(f"{where} must be a table or a list, not {kind_of(raw)}", hint=_RULE)
    for rule in raw.items() if isinstance(raw, dict) else raw:
        if isinstance(rule, dict):
            for key in rule:
                if key not in ("selector", "dests"):
                    raise ConfigError(f"{where} has no setting '{key}'", hint=did_you_mean(key, ("selector", "dests")))
            if len(rule) < 2:
                raise ConfigError(f"{where}: a rule without {'dests' if 'selector' in rule else 'selector'}")
            rule = (rule["selector"], rule["dests"])
        if not isinstance(rule, (tuple, list)) or len(rule) != 2:
            raise ConfigError(f"{where}: {safe_text(rule, 100)!r} is no rule", hint=_RULE)
        selector, dests = rule
        names.selectors.check(where, selector)
        yield selector, _dests(where, _shown(selector), dests, names, True)


def _dests(where: str, key: str, raw: object, names: Names, routes: bool = False) -> tuple[str, ...]:
    dests = texts_of(where, key, raw)
    for text in dests:
        names.check_dest(f"{where} {key}", text, routes=routes)
    if len(set(dests)) < len(dests):
        twice = next(dest for dest in dests if dests.count(dest) > 1)
        raise ConfigError(f"{where} {key}: '{safe_text(twice, 100)}' is there twice")
    return dests


def _methods(where: str, key: str, table: Mapping[str, object]) -> tuple[str, ...] | None:
    if key not in table:
        return None
    methods = tuple(method.lower() for method in texts_of(where, key, table[key]))
    methods = tuple("copy" if method == "local_copy" else method for method in methods)
    for method in methods:
        if method not in METHODS:
            raise ConfigError(f"{where} {key} has no '{safe_text(method, 50)}'", hint=did_you_mean(method, METHODS))
    if not methods:
        raise ConfigError(f"{where} {key} is empty")
    return methods


def _filters(where: str, table: Mapping[str, object], names: Names) -> tuple[FilterSettings, ...]:
    where = f"{where} filt"
    found = []
    for raw in _listed(table.get("filt", [])):
        one = table_of(where, raw)
        check_keys(where, one, FilterSettings)
        for key in ("delete", "add_uid_entropy"):
            if key in one:
                one[key] = list(texts_of(where, key, one[key]))
        one["reject"] = tuple(_listed(one.get("reject", [])))
        one["edit"] = plain(table_of(f"{where} edit", one.get("edit", {})))
        settings = convert(where, one, FilterSettings)
        for selector in settings.reject:
            names.selectors.check(f"{where} reject", selector)
        if not (settings.reject or settings.edit or settings.delete):
            raise ConfigError(f"{where} does nothing", hint="it has edit, delete or reject")
        twice = next((element for element in settings.delete if element in settings.edit), None)
        if twice is not None:
            raise ConfigError(f"{where}: '{safe_text(twice, 100)}' is edited and deleted")
        found.append(settings)
    return tuple(found)


def _level(where: str, key: str, raw: object) -> QueryLevel | None:
    if raw is None:
        return None
    level = _LEVELS.get(raw.lower()) if isinstance(raw, str) else None
    if level is None:
        shown = f"'{safe_text(raw, 50)}'" if isinstance(raw, str) else kind_of(raw)
        raise ConfigError(f"{where} {key} must be patient, study, series or image, not {shown}")
    return level


def _check_node(where: str, text: str, known: Iterable[str], section: str) -> None:
    kind = guess(text, lambda _: False)
    if kind in (Guess.DIR, Guess.WORD):
        match = near(text, known)
        raise ConfigError(
            f"{where}: no node called '{safe_text(text, 100)}' in [{section}]",
            hint=f"did you mean '{match}'?" if match else "an inline node is HOST:AE:PORT",
        )
    try:
        RemoteNode.parse(text)
    except UsageError as exc:
        raise ConfigError(f"{where}: {exc.message}", hint=exc.hint) from exc


def _listed(raw: object) -> list[Any]:
    return list(raw) if isinstance(raw, list) else [raw]


def _shown(selector: object) -> str:
    return safe_text(selector, 60) if isinstance(selector, str) else "(a table)"


_RULE: Final = 'a rule is a selector and where to: "StudyDescription == ProjectA" = ["archive"]'
