"""Routing what a store holds before any of it moves."""

from __future__ import annotations

import functools
import logging
from collections import OrderedDict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from dcm._bridge import Bridge
from dcm.errors import ConnectionFailedError, NetworkError, RouteError, UsageError
from dcm.levels import QueryLevel
from dcm.query._keys import QueryKeys
from dcm.report import Outcome, ProblemLog, QueryReport, TransferReport
from dcm.route._deciding import Deciding, Node
from dcm.route._dynamic import DynamicRoute
from dcm.route._known import Known, return_keys
from dcm.route._merge import Decision, Route, as_static, merged
from dcm.route._static import StaticRoute
from dcm.route._way import UnroutedError

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.attrs import Attributes
    from dcm.instance import Instance
    from dcm.query import QueryResult
    from dcm.store.base import DataRepo

__all__ = ["PreRouting"]

log = logging.getLogger(__name__)

# Of how many patients it is remembered where they go, while there may be more of them.
_MOST_PATIENTS = 20_000

_NAMES = ("patient", "study", "series", "instance")


class PreRouting:
    """Finds out where what a store holds goes, by queries as far as they tell.

    Parameters
    ----------
    routes : sequence of routes
    src : DataRepo
    report : TransferReport
    patients : dict
        What was decided for patients, by the number of the route, of whom more may come in another part of the source.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        src: DataRepo[Any],
        report: TransferReport,
        patients: OrderedDict[tuple[int, Node], Decision],
    ) -> None:
        self._routes = routes
        self._src = src
        self._report = report
        self._patients = patients
        self._dynamic = [route for route in routes if isinstance(route, DynamicRoute)]
        self._known = Known(tag for route in self._dynamic for tag in route.tags or ())
        self._nodes: dict[tuple[int, Node], Decision] = {}

    async def run(
        self,
        query: Dataset | Attributes | None,
        query_res: QueryResult | None,
        level: QueryLevel | None,
    ) -> dict[tuple[StaticRoute, ...], QueryResult]:
        """See `Router.pre_route`."""
        if not self._src.features.queryable:
            raise UsageError(f"{self._src} cannot be queried: where its data goes is seen when it moves")
        found = await self._find(query, query_res, level)
        async with Bridge(1) as bridge:
            for number, route in enumerate(self._routes):
                if isinstance(route, DynamicRoute):
                    await self._decide(number, route, found, bridge)
            return await bridge.run(self._group, found)

    # -- what there is

    async def _find(
        self, query: Dataset | Attributes | None, query_res: QueryResult | None, level: QueryLevel | None
    ) -> QueryResult:
        """What all of this is about, at the level of the finest route at least."""
        found = query_res
        if found is None or query is not None or level is not None:
            keys = QueryKeys.of(query)
            level = keys.choose_level(level, None if query_res is None else query_res.level)
            wanted = self._known.tags(level) - keys.items.keys()
            found = await self._first(level, keys.items, wanted, query_res)
        finest = max((route.route_level for route in self._dynamic), default=QueryLevel.PATIENT)
        if found.level < finest:
            self._known.take(found)
            found = await self._ask(finest, self._known.tags(finest), found, tell=True)
        self._known.take(found)
        return found

    async def _first(
        self, level: QueryLevel, keys: Attributes, wanted: frozenset[int], query_res: QueryResult | None
    ) -> QueryResult:
        """Query as we were told to, for the elements that decide, too."""
        queried = QueryReport()
        asked = keys.replace(return_keys(wanted).elements())
        found = await self._src.query(level, asked, query_res, queried)
        if wanted and queried.n_failed:
            # Perhaps because of them: then without.
            queried = QueryReport()
            found = await self._src.query(level, keys, query_res, queried)
            wanted = frozenset()
        self._report.take_over(queried, str(self._src))
        self._known.take(found, wanted)
        return found

    async def _ask(
        self, level: QueryLevel, tags: frozenset[int], within: QueryResult, *, tell: bool = False
    ) -> QueryResult:
        """Ask for elements at a level, and for what is there in any case; `tell` the report what was wrong with it."""
        # What is asked for single instances is asked for all of their series.
        if level is QueryLevel.IMAGE and within.level is QueryLevel.IMAGE:
            within = within.reduced(QueryLevel.SERIES)
        queried = QueryReport()
        answer: QueryResult | None = None
        if tags:
            try:
                answer = await self._src.query(level, return_keys(tags), within, queried)
            except ConnectionFailedError:
                raise
            except NetworkError as error:
                log.info("%s cannot be asked for what decides: %s", self._src, error.message)
            else:
                self._known.take(answer, tags)
        if answer is None or queried.n_failed:
            queried = QueryReport()
            answer = await self._src.query(level, None, within, queried)
        queried.files = ProblemLog()  # they are known since the first query
        if tell:
            self._report.take_over(queried, str(self._src))
        return answer

    # -- where it goes

    async def _decide(self, number: int, route: DynamicRoute, found: QueryResult, bridge: Bridge) -> None:
        levels: dict[QueryLevel, list[Node]] = {}
        whole = await bridge.run(_nodes_of, found, route.route_level)
        for node in whole:
            if (number, node) in self._patients:
                self._nodes[number, node] = self._patients[number, node]
            elif (number, node) not in self._nodes:
                levels.setdefault(QueryLevel(len(node) - 1), []).append(node)
        tell = functools.partial(self._learn, number, route.route_level)
        for level, nodes in levels.items():
            deciding = Deciding(
                route,
                level,
                nodes,
                src=self._src,
                found=found,
                known=self._known,
                ask=self._ask,
                bridge=bridge,
                tell=tell,
            )
            await deciding.run()
            for node, decision in deciding.decided.items():
                self._nodes[number, node] = decision
            self._tell_mixed(route, level, deciding.mixed)
        if route.route_level is QueryLevel.PATIENT:
            self._remember(number, whole)

    def _remember(self, number: int, nodes: Sequence[Node]) -> None:
        """Keep what was decided for patients: more of them may be in another part of the source."""
        for node in nodes:
            decision = self._nodes[number, node]
            if node[0] and len(node) == 1 and not isinstance(decision, RouteError):
                self._patients[number, node] = decision
                self._patients.move_to_end((number, node))
        while len(self._patients) > _MOST_PATIENTS:
            self._patients.popitem(last=False)

    def _learn(self, number: int, level: QueryLevel, node: Node, example: Instance) -> None:
        """Let the routes behind one decide by its example, too, where they are for the same level."""
        for other, route in enumerate(self._routes):
            if other > number and isinstance(route, DynamicRoute) and route.route_level is level:
                try:
                    self._nodes[other, node] = route.decide(example)
                except RouteError as error:
                    self._nodes[other, node] = error

    def _tell_mixed(self, route: DynamicRoute, level: QueryLevel, mixed: AbstractSet[Node]) -> None:
        name = _NAMES[level]
        for node in sorted(mixed):
            # No doubt about anything: all of it goes somewhere.
            self._report.anomaly(
                "mixed",
                node[-1],
                f"{route} would send parts of one {name} elsewhere: all of it goes where the first of it goes",
            )

    def _group(self, found: QueryResult) -> dict[tuple[StaticRoute, ...], QueryResult]:
        groups: dict[tuple[StaticRoute, ...], list[str]] = {}
        shares: dict[tuple[int, ...], tuple[StaticRoute, ...]] = {}
        nowhere: list[str] = []
        for path in found.level_paths(found.level):
            decisions = [self._decision(number, route, path.uids) for number, route in enumerate(self._routes)]
            sign = tuple(map(id, decisions))
            if sign not in shares:
                shares[sign] = self._share(decisions)
            if shares[sign]:
                groups.setdefault(shares[sign], []).append(path.uids[-1])
            elif not any(isinstance(decision, RouteError) for decision in decisions):
                nowhere.append(path.uids[-1])
        self._tell(found.only(nowhere))
        return {routes: found.only(uids) for routes, uids in groups.items()}

    def _decision(self, number: int, route: Route, path: Node) -> Decision:
        if isinstance(route, StaticRoute):
            return route.dests
        return self._nodes[number, _node_of(path, route.route_level)]

    def _share(self, decisions: Sequence[Decision]) -> tuple[StaticRoute, ...]:
        try:
            ways = merged(self._routes, decisions)
        except UnroutedError as error:
            ways = error.by_route
        return tuple([static for by_route in ways for static in as_static(by_route)])

    def _tell(self, nowhere: QueryResult) -> None:
        for (_, node), decision in self._nodes.items():
            if isinstance(decision, RouteError):
                self._report.error(node[-1], decision.message, refused=False)
        if nowhere:
            log.info("the rules send %s nowhere", nowhere.to_line())
            self._tell_nowhere(nowhere)

    def _tell_nowhere(self, nowhere: QueryResult) -> None:
        n_instances = nowhere.n_instances()
        if n_instances is not None:
            self._report.count(Outcome.FILTERED, n_instances)
            self._report.count_unnamed(n_instances)
            return
        for uid in nowhere.uids():
            reason = f"the rules send this {_NAMES[nowhere.level]} nowhere, and the source does not say how much it is"
            self._report.anomaly("nowhere", uid, reason)


def _node_of(path: Node, level: QueryLevel) -> Node:
    """What an instance, or what it is in, is decided with; two studies without a Patient ID are not of one patient."""
    if level is QueryLevel.PATIENT and not path[0]:
        level = QueryLevel.STUDY
    return path[: level + 1]


def _nodes_of(found: QueryResult, level: QueryLevel) -> list[Node]:
    """What a route of a level decides for, each once."""
    # Patients without an ID are seen in their studies.
    listed = min(max(level, QueryLevel.STUDY), found.level)
    return list(dict.fromkeys(_node_of(path.uids, level) for path in found.level_paths(listed)))
