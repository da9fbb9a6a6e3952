"""Filters and routes, made of what the configuration file says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dcm.errors import UsageError
from dcm.filt import MultiFilter, make_edit_filter, make_reject_filter
from dcm.route import DynamicRoute, SelectorDestMap, StaticRoute
from dcm.route._way import same_sink
from dcm.text import safe_text

if TYPE_CHECKING:
    from dcm.conf._overrides import Overrides
    from dcm.conf._routes import DynamicRouteSettings, FilterSettings, StaticRouteSettings
    from dcm.conf._selectors import Selectors
    from dcm.filt import Filter
    from dcm.route import Way
    from dcm.store.base import DataSink, TransferMethod

__all__ = ["Route", "dynamic_route", "make_filter", "refuse_two_filters", "static_route"]

Route: TypeAlias = StaticRoute | DynamicRoute


def make_filter(where: str, name: str, settings: Sequence[FilterSettings], selectors: Selectors) -> Filter | None:
    """The filter of a route: each of its parts rejects first, and then edits what is left; None where there is none.

    Parameters
    ----------
    where : str
        Where it stands in the file, for messages.
    name : str
        What it is the filter of, for messages.
    settings : sequence of FilterSettings
    selectors : Selectors

    Raises
    ------
    UsageError
        Something in it is no selector, no element, or no value for it.
    """
    parts: list[Filter] = []
    for one in settings:
        parts += [make_reject_filter(selectors.build(f"{where} reject", raw)) for raw in one.reject]
        edits: dict[str, Any] = {**one.edit, **dict.fromkeys(one.delete)}
        if edits:
            prefix = {} if one.uid_prefix is None else {"uid_prefix": one.uid_prefix}
            edit = make_edit_filter(
                edits,
                update_uids=one.update_uids,
                add_uid_entropy=one.add_uid_entropy,
                name=f"the edits of {name}",
                **prefix,
            )
            parts.append(edit)
    if len(parts) < 2:
        return parts[0] if parts else None
    return MultiFilter(parts)


def static_route(
    where: str,
    name: str,
    settings: StaticRouteSettings,
    *,
    sink: Callable[[str], DataSink],
    selectors: Selectors,
    overrides: Overrides,
) -> StaticRoute:
    """A static route, with what the command line says over it.

    Raises
    ------
    UsageError
        Filter and methods do not go together, or something in the filter is wrong.
    """
    filt = overrides.filter_behind(make_filter(f"{where} filt", name, settings.filt, selectors))
    methods = overrides.methods_of(settings.methods, filtered=filt is not None)
    return StaticRoute(tuple(map(sink, settings.dests)), filt, methods, name=name)


def dynamic_route(
    where: str,
    name: str,
    settings: DynamicRouteSettings,
    *,
    sink: Callable[[str, str], DataSink],
    static: Mapping[str, StaticRouteSettings],
    selectors: Selectors,
    overrides: Overrides,
) -> DynamicRoute:
    """A dynamic route, with what the command line says over it.

    Parameters
    ----------
    where, name, settings, selectors, overrides
        As for a static one.
    sink : callable
        The store of a text, another object for each static route that it is a destination of ('' for none).
    static : mapping of str to StaticRouteSettings
        The static routes, which may be among its destinations: what goes there passes the filter of this route first,
        then that of the static one.
    """
    own = make_filter(f"{where} filt", name, settings.filt, selectors)
    through: dict[str, Filter | None] = {"": overrides.filter_behind(own)}
    said = {"": settings.methods}
    sinks: dict[str, tuple[DataSink, ...]] = {}
    filters: dict[DataSink, Filter | None] = {}
    methods: dict[DataSink | None, Sequence[TransferMethod]] = {}

    def dests_of(texts: Sequence[str]) -> list[DataSink]:
        for text in texts:
            via = text if text in static else ""
            if via not in through:
                behind = make_filter(f"{where}: static route {via} filt", via, static[via].filt, selectors)
                through[via] = overrides.filter_behind(_together(own, behind))
                said[via] = static[via].methods
            sinks[text] = tuple([sink(dest, via) for dest in (static[via].dests if via else (text,))])
            for one in sinks[text] if via else ():
                filters[one] = through[via]
                methods[one] = overrides.methods_of(said[via], filtered=through[via] is not None)
        listed = [(text, one) for text in texts for one in sinks[text]]
        _refuse_two_ways(listed, lambda one: filters.get(one, through[""]))
        return [one for _, one in listed]

    rules = [(selectors.build(f"{where} routing_map", raw), dests_of(texts)) for raw, texts in settings.routing_map]
    default = None if settings.default_dests is None else dests_of(settings.default_dests)
    exclude = [selectors.build(f"{where} exclude", raw) for raw in settings.exclude]
    filtered = through[""] is not None
    methods[None] = overrides.methods_of(settings.methods, filtered=filtered)
    for text, words in settings.dest_methods.items():
        methods[sinks[text][0]] = overrides.methods_of(words, filtered=filtered)
    return DynamicRoute(
        SelectorDestMap(rules, default, exclude, settings.stop_on_first),
        settings.route_level,
        dest_methods=methods,
        filt=through[""],
        dest_filters=filters,
        name=name,
    )


def _refuse_two_ways(dests: Sequence[tuple[str, DataSink]], filter_to: Callable[[DataSink], Filter | None]) -> None:
    """Refuse what sends an instance to one place by two filters: it goes there once, and only one would count."""
    for number, (text, sink) in enumerate(dests):
        for other_text, other in dests[:number]:
            filters = [filt.fingerprint if filt is not None else "" for filt in map(filter_to, (sink, other))]
            if filters[0] != filters[1] and same_sink(sink, other):
                names = f"'{safe_text(other_text, 100)}' and '{safe_text(text, 100)}'"
                raise UsageError(
                    f"{names} both lead to {sink}, through different filters",
                    hint="an instance goes once to a destination: leave out one of them",
                )


def refuse_two_filters(routes: Iterable[StaticRoute]) -> None:
    """Refuse to send everything to one place by two filters, one of which may be what keeps patients anonymous.

    Raises
    ------
    UsageError
    """
    ways: list[Way] = []
    for way in (way for route in routes for way in route.ways):
        for other in ways:
            if way.key != other.key and same_sink(way.sink, other.sink):
                names = [safe_text(each.filt.name, 100) if each.filt is not None else "none" for each in (other, way)]
                raise UsageError(
                    f"{way.sink} is a destination twice, through different filters: {names[0]}, and {names[1]}",
                    hint="an instance goes once to a destination: leave out one of them",
                )
        ways.append(way)


def _together(one: Filter | None, other: Filter | None) -> Filter | None:
    return MultiFilter([one, other]) if one is not None and other is not None else one or other
