"""Which instance goes where, by any number of routes together."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dcm.errors import RouteError, UsageError
from dcm.levels import QueryLevel
from dcm.route._dynamic import DynamicRoute
from dcm.route._explain import Explained, explain_route
from dcm.route._merge import Outcome, Route, merged
from dcm.route._static import StaticRoute
from dcm.route._values import node_key
from dcm.route._way import UnroutedError, Way

if TYPE_CHECKING:
    from dcm.instance import Instance
    from dcm.store.base import DataSink

__all__ = ["Router"]

# Nodes whose decision is remembered, for each route: a study is long over when so many others have come.
_REMEMBERED = 20_000


class Router:
    """Says which instance goes where, by any number of routes together.

    An instance goes once to a destination, however many routes name it: by the first that does.

    Parameters
    ----------
    routes : sequence of StaticRoute, DynamicRoute or DataSink
        A destination alone is a route that takes everything there.
    assoc_cache_time : float, optional
        For how many seconds after the last instance an association is kept for the next one (`route`).

    Attributes
    ----------
    routes : tuple of StaticRoute or DynamicRoute

    Raises
    ------
    UsageError
        There is no route.
    """

    def __init__(self, routes: Iterable[Route | DataSink], assoc_cache_time: float = 20) -> None:
        self.routes: tuple[Route, ...] = tuple(
            [route if isinstance(route, (StaticRoute, DynamicRoute)) else StaticRoute((route,)) for route in routes]
        )
        if not self.routes:
            raise UsageError("no route")
        self.assoc_cache_time = assoc_cache_time
        self._lock = threading.Lock()
        self._decided: list[OrderedDict[tuple[QueryLevel, str], tuple[DataSink, ...]]] = []
        self.forget()

    @property
    def ways(self) -> tuple[Way, ...]:
        """All the ways that are known beforehand: those of functions that choose destinations are not."""
        ways = {way.key: way for route in reversed(self.routes) for way in reversed(route.ways)}
        return tuple(reversed(ways.values()))

    def decide(self, instance: Instance) -> tuple[Way, ...]:
        """Where an instance goes. Blocks, and may be called from several threads at once.

        A route decides once for each patient, study, series or instance, whichever its level is, on the first instance
        that comes, before any filter. What was decided is remembered, for the last 20,000 of them.

        Parameters
        ----------
        instance : Instance
            It stays open, and as it is.

        Returns
        -------
        tuple of Way
            One for each destination; none where it goes nowhere on purpose.

        Raises
        ------
        RouteError
            No rule matches, or what decides cannot be read: an `UnroutedError`, with the ways that stand all the same.
            Nothing is remembered then.
        """
        outcomes = [self._outcome(i, route, instance) for i, route in enumerate(self.routes)]
        return tuple([way for ways in merged(self.routes, outcomes) for way in ways])

    def _outcome(self, number: int, route: Route, instance: Instance) -> Outcome:
        if isinstance(route, StaticRoute):
            return route.dests
        level = route.route_level
        key = node_key(instance, level) if level is not QueryLevel.IMAGE else None
        decided = self._decided[number]
        if key is not None:
            with self._lock:
                if key in decided:
                    decided.move_to_end(key)
                    return decided[key]
        try:
            dests = route.decide(instance)
        except RouteError as error:
            return error
        if key is None:
            return dests
        with self._lock:
            # Somebody else may have been quicker, with another instance of the same study: it stays together.
            dests = decided.setdefault(key, dests)
            decided.move_to_end(key)
            if len(decided) > _REMEMBERED:
                decided.popitem(last=False)
        return dests

    def forget(self) -> None:
        """Forget what was decided: the next instance of each study decides anew."""
        with self._lock:
            self._decided = [OrderedDict() for _ in self.routes]

    def explain(self, instance: Instance) -> list[Explained]:
        """Say where an instance would go if it were the first of its study, and why. Blocks.

        Parameters
        ----------
        instance : Instance

        Returns
        -------
        list of Explained
            One for each route, in their order.
        """
        explained = [explain_route(route, instance) for route in self.routes]
        outcomes: list[Outcome] = [RouteError(one.error) if one.error else one.dests for one in explained]
        try:
            ways = merged(self.routes, outcomes)
        except UnroutedError as error:
            ways = error.by_route
        return [dataclasses.replace(one, ways=own) for one, own in zip(explained, ways, strict=True)]
