"""Filters and routes, made of what the configuration file says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from dcm.filt import MultiFilter, make_edit_filter, make_reject_filter
from dcm.route import DynamicRoute, SelectorDestMap, StaticRoute

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.attrs import Attributes
    from dcm.conf._overrides import Overrides
    from dcm.conf._routes import DynamicRouteSettings, FilterSettings, StaticRouteSettings
    from dcm.conf._selectors import Selectors
    from dcm.filt import Filter
    from dcm.store.base import DataSink, TransferMethod

__all__ = ["Route", "dynamic_routes", "make_filter", "static_route"]

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
    methods = overrides.methods_of(settings.methods, filt)
    return StaticRoute(tuple(map(sink, settings.dests)), filt, methods, name=name)


def dynamic_routes(
    where: str,
    name: str,
    settings: DynamicRouteSettings,
    *,
    sink: Callable[[str], DataSink],
    static: Mapping[str, StaticRouteSettings],
    selectors: Selectors,
    overrides: Overrides,
) -> list[DynamicRoute]:
    """A dynamic route, with what the command line says over it.

    Parameters
    ----------
    where, name, settings, sink, selectors, overrides
        As for a static one.
    static : mapping of str to StaticRouteSettings
        The static routes, which may be among its destinations.

    Returns
    -------
    list of DynamicRoute
        Several of the same name where static routes are among its destinations: instances go there through more
        filters, or by other methods. Together they send an instance to each destination once, as the first of its
        rules says that names it.
    """
    own = make_filter(f"{where} filt", name, settings.filt, selectors)
    shares: list[str] = []  # '' for the destinations of its own, else the static route that they are of
    vias: dict[str, list[_Via]] = {}

    def dests_of(texts: Sequence[str]) -> list[DataSink]:
        for text in texts:
            share = text if text in static else ""
            if share not in shares:
                shares.append(share)
            if text not in vias:
                vias[text] = [_Via(sink(dest), share) for dest in (static[text].dests if share else (text,))]
        return [cast("DataSink", via) for text in texts for via in vias[text]]

    rules = [(selectors.build(f"{where} routing_map", raw), dests_of(texts)) for raw, texts in settings.routing_map]
    default = None if settings.default_dests is None else dests_of(settings.default_dests)
    exclude = [selectors.build(f"{where} exclude", raw) for raw in settings.exclude]
    whole = SelectorDestMap(rules, default, exclude, settings.stop_on_first)
    routes = []
    for share in shares or [""]:
        said, filt = settings.methods, own
        if share:
            said = static[share].methods
            filt = _together(own, make_filter(f"the static route {share}", share, static[share].filt, selectors))
        filt = overrides.filter_behind(filt)
        methods: dict[DataSink | None, Sequence[TransferMethod]] = {None: overrides.methods_of(said, filt)}
        for text, words in settings.dest_methods.items() if not share else ():
            methods[vias[text][0].sink] = overrides.methods_of(words, filt)
        lookup = _Lookup(whole, share)
        routes.append(DynamicRoute(lookup, settings.route_level, dest_methods=methods, filt=filt, name=name))
    return routes


def _together(one: Filter | None, other: Filter | None) -> Filter | None:
    return MultiFilter([one, other]) if one is not None and other is not None else one or other


class _Via:
    """A destination of a rule, and the share of the route that it belongs to."""

    def __init__(self, sink: DataSink, share: str) -> None:
        self.sink = sink
        self.share = share
        self.path = getattr(sink, "path", None)

    def __str__(self) -> str:
        return str(self.sink)

    def overlaps(self, other: _Via) -> bool:
        """Whether it is the same destination, for whichever share."""
        return self.sink.overlaps(other.sink)


class _Lookup(SelectorDestMap):
    """Rules, as far as they name the destinations of one share.

    A destination is of the share that the first rule names it for: nothing goes there in two ways.
    """

    def __init__(self, whole: SelectorDestMap, share: str) -> None:
        self._whole = whole
        self._share = share
        rules = [(selector, self._mine(dests)) for selector, dests in whole.rules]
        default = None if whole.default_dests is None else self._mine(whole.default_dests)
        super().__init__(rules, default, whole.exclude, whole.stop_on_first)

    def __call__(self, ds: Dataset | Attributes) -> tuple[DataSink, ...]:
        return self._mine(self._whole(ds))

    def on_record(self, record: Attributes) -> tuple[DataSink, ...]:
        return self._mine(self._whole.on_record(record))

    def _mine(self, dests: Sequence[DataSink]) -> tuple[DataSink, ...]:
        vias = cast("Sequence[_Via]", dests)
        return tuple([via.sink for via in vias if via.share == self._share])
