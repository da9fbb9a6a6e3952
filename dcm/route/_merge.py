"""What several routes say of an instance, put together: it goes once to each destination."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from dcm.errors import RouteError
from dcm.route._dynamic import DynamicRoute
from dcm.route._map import distinct
from dcm.route._static import StaticRoute
from dcm.route._way import UnroutedError, Way, same_sink

if TYPE_CHECKING:
    from dcm.store.base import DataSink, TransferMethod

__all__ = ["Decision", "Route", "as_static", "merged", "way_of"]

Route: TypeAlias = StaticRoute | DynamicRoute
#: Where a route sends an instance, or why it does not say.
Decision: TypeAlias = "tuple[DataSink, ...] | RouteError"


def way_of(route: Route, sink: DataSink) -> Way:
    """How an instance gets to a destination by a route."""
    if isinstance(route, DynamicRoute):
        return route.way(sink)
    return Way(sink, route.filt, route.methods, route.name)


def merged(routes: Sequence[Route], decisions: Sequence[Decision]) -> tuple[tuple[Way, ...], ...]:
    """The ways by each route: to a destination that several name, by the first of them.

    Parameters
    ----------
    routes : sequence of routes
        In their order.
    decisions : sequence of Decision
        What each of them says.

    Raises
    ------
    UnroutedError
        One says nothing. The ways in it leave out the destinations that it might have named: on the way there it might
        have anonymized what the next route sends as it is.
    """
    taken: list[DataSink] = []
    errors: list[RouteError] = []
    result: list[tuple[Way, ...]] = []
    unknown = False
    for route, decision in zip(routes, decisions, strict=True):
        if isinstance(decision, RouteError):
            errors.append(decision)
            dests = route.dests if isinstance(route, StaticRoute) else route.all_dests
            unknown = unknown or dests is None
            taken.extend(dests or ())
            result.append(())
            continue
        fresh = () if unknown else distinct(sink for sink in decision if not any(same_sink(sink, t) for t in taken))
        taken.extend(fresh)
        result.append(tuple([way_of(route, sink) for sink in fresh]))
    if errors:
        message = "; ".join(dict.fromkeys(error.message for error in errors))
        raise UnroutedError(message, errors=errors, by_route=result)
    return tuple(result)


def as_static(ways: Sequence[Way]) -> tuple[StaticRoute, ...]:
    """The ways by one route as static routes: destinations with the same filter and methods together."""
    groups: dict[tuple[int, tuple[TransferMethod, ...]], list[Way]] = {}
    for way in ways:
        groups.setdefault((id(way.filt), way.methods), []).append(way)
    return tuple(
        [
            StaticRoute(tuple([way.sink for way in group]), group[0].filt, group[0].methods, group[0].route)
            for group in groups.values()
        ]
    )
