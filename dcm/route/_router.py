"""Which instance goes where, by any number of routes together."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

from dcm.errors import RouteError, UsageError
from dcm.levels import QueryLevel
from dcm.report import TransferReport
from dcm.route._dynamic import DynamicRoute
from dcm.route._explain import Explained, explain_route
from dcm.route._merge import Decision, Route, merged
from dcm.route._outlet import STREAMED
from dcm.route._pre import PreRouting
from dcm.route._queue import RouteQueue
from dcm.route._static import StaticRoute
from dcm.route._values import node_key
from dcm.route._way import UnroutedError, Way, refuse_lookalikes

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.attrs import Attributes
    from dcm.instance import Instance
    from dcm.query import QueryResult
    from dcm.route._deciding import Node
    from dcm.store.base import DataRepo, DataSink

__all__ = ["Router"]

log = logging.getLogger(__name__)

# Nodes whose decision is remembered, for each route: a study is long over when so many others have come.
_REMEMBERED = 20_000
# Sets of destinations whose ways are kept.
_MERGED = 1000


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
        There is no route; or two filters that do different things, on the way to the same destination, have the same
        fingerprint.
    """

    def __init__(self, routes: Iterable[Route | DataSink], assoc_cache_time: float = 20) -> None:
        self.routes: tuple[Route, ...] = tuple(
            [route if isinstance(route, (StaticRoute, DynamicRoute)) else StaticRoute((route,)) for route in routes]
        )
        if not self.routes:
            raise UsageError("no route")
        self.assoc_cache_time = assoc_cache_time
        self._acts: dict[str, tuple[object, ...]] = {}
        refuse_lookalikes((way for route in self.routes for way in route.ways), self._acts)
        self._lock = threading.Lock()
        self._merged: dict[tuple[tuple[int, ...] | None, ...], tuple[list[Decision], tuple[Way, ...]]] = {}
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
            No rule matches, or what decides cannot be found in it: an `UnroutedError`, with the ways that stand all
            the same. Nothing is remembered then.
        StoreError
            The file that it is in cannot be read.
        """
        decisions = [self._decision(i, route, instance) for i, route in enumerate(self.routes)]
        key = tuple([None if isinstance(one, RouteError) else tuple(map(id, one)) for one in decisions])
        known = self._merged.get(key)
        if known is not None:
            return known[1]
        ways = tuple([way for by_route in merged(self.routes, decisions) for way in by_route])
        try:
            refuse_lookalikes(ways, self._acts)
        except UsageError as error:
            raise RouteError(error.message, hint=error.hint) from error
        if len(self._merged) >= _MERGED:
            self._merged.clear()
        # With the destinations, so that nothing else gets the id of one of them.
        self._merged[key] = decisions, ways
        return ways

    def _decision(self, number: int, route: Route, instance: Instance) -> Decision:
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
            self._patients: OrderedDict[tuple[int, Node], Decision] = OrderedDict()

    async def pre_route(
        self,
        src: DataRepo[Any],
        query: Dataset | Attributes | None = None,
        query_res: QueryResult | None = None,
        *,
        level: QueryLevel | None = None,
        report: TransferReport | None = None,
    ) -> dict[tuple[StaticRoute, ...], QueryResult]:
        """Find out where what a store holds goes, before any of it moves.

        The elements that decide are asked for at the level of a route, then below it, and what no query tells is seen
        in one example instance that is retrieved: of each study, say, for a route that decides for studies. An empty
        value in an answer decides nothing: archives answer so what they do not know. What was decided for a patient
        holds for later calls, too, which may be about other studies of the same one.

        Parameters
        ----------
        src : DataRepo
            The source.
        query : Dataset or Attributes, optional
            What of it must match.
        query_res : QueryResult, optional
            What of it is looked at; with neither of the two, everything.
        level : QueryLevel, optional
            The level of the query, see `LocalEntity.query`.
        report : TransferReport, optional
            Learns what was wrong with the queries; of each patient, study, series or instance that is not routed
            (`errors`), and how many instances go nowhere on purpose (`Outcome.FILTERED`).

        Returns
        -------
        dict of tuple of StaticRoute to QueryResult
            What goes by the same routes together, at the level of the query or that of the finest route, whichever is
            finer. Each instance goes once to each destination. What is not routed, or goes nowhere, is not in it.

        Raises
        ------
        UsageError
            The source cannot be queried.
        NetworkError
            The source cannot be reached, or refuses.
        RouteError
            Without a report: something is not routed.
        """
        own = TransferReport() if report is None else report
        shares = await PreRouting(self.routes, src, own, self._patients).run(query, query_res, level)
        if report is None:
            for text in own.warnings:
                log.warning("%s", text)
            if own.errors.count():
                raise RouteError(" | ".join(own.warnings))
        return shares

    @contextlib.asynccontextmanager
    async def route(self, keep_errors: bool = False, report: TransferReport | None = None) -> AsyncIterator[RouteQueue]:
        """Send instances where the routes say, as they come.

        A destination is opened for the first instance that goes there, and closed when none has gone there for
        `assoc_cache_time` seconds, until the next one.

        Parameters
        ----------
        keep_errors : bool, optional
            Send duplicates, and what is cut short or contradicts what came before, too.
        report : TransferReport, optional
            Learns what became of each instance at each destination.

        Yields
        ------
        RouteQueue
            ``await queue.put(x)``, x a Dataset, an Instance or a path; ``await queue.place(x)`` waits until all
            destinations have it. Leaving the context waits until all that was put in has reached an end.

        Raises
        ------
        UsageError
            A route has no method by which instances could go through us.
        PartialError, NetworkError
            Without a report: something failed, or nothing could be done.
        """
        for way in self.ways:
            if not any(method in STREAMED for method in way.methods):
                methods = " or ".join(method.value for method in way.methods)
                raise UsageError(f"to {way.sink} by {methods}: instances that come one by one cannot get there so")
        own = TransferReport() if report is None else report
        # Destinations that are not known beforehand may be many.
        named = len(self.ways) != 1 or any(isinstance(r, DynamicRoute) and r.all_dests is None for r in self.routes)
        queue = RouteQueue(self.decide, own, named=named, idle=self.assoc_cache_time, keep_errors=keep_errors)
        async with queue:
            yield queue
        if report is None:
            own.finish()
            own.raise_failures()

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
        decisions: list[Decision] = [RouteError(one.error) if one.error else one.dests for one in explained]
        try:
            ways = merged(self.routes, decisions)
        except UnroutedError as error:
            ways = error.by_route
        return [dataclasses.replace(one, ways=own) for one, own in zip(explained, ways, strict=True)]
