"""Where data goes: what the routes of a command have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from dcm.route import DynamicRoute, StaticRoute
    from dcm.store import DataSink

    Route: TypeAlias = StaticRoute | DynamicRoute

__all__ = ["sinks_of"]


def sinks_of(routes: Iterable[Route]) -> list[DataSink]:
    """Every destination that some routes have, once each, in their order."""
    from dcm.route._map import distinct

    return list(distinct(way.sink for route in routes for way in route.ways))
