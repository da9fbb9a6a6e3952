"""One route's decisions about what a store holds: by what is known, by queries, and last by an example of each node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from dcm.errors import ConnectionFailedError, DcmError, RouteError, UndecidedError
from dcm.levels import QueryLevel
from dcm.report import Outcome, TransferReport

if TYPE_CHECKING:
    from dcm._bridge import Bridge
    from dcm.instance import Instance
    from dcm.query import QueryResult
    from dcm.route._dynamic import DynamicRoute
    from dcm.route._known import Known
    from dcm.route._merge import Decision
    from dcm.store.base import DataRepo

__all__ = ["Deciding", "Node"]

#: The unique keys from the patient down to what stays together.
Node: TypeAlias = tuple[str, ...]

# Of how many instances one after the other an example is tried to get.
_MOST_EXAMPLES = 3


class Ask(Protocol):
    """Queries the source, and learns from the answer."""

    async def __call__(self, level: QueryLevel, tags: frozenset[int], within: QueryResult) -> QueryResult: ...


class Deciding:
    """Decides for nodes of one level where a route sends them.

    Level by level, from that of the nodes on: the source is asked for the elements that it can know there. The first
    below a node, by its UID, stands for it, unless no rule matches that. Where it is not decided by what was found,
    the next level below it is looked at, and the first instance there is the example that is retrieved in the end.

    Parameters
    ----------
    route : DynamicRoute
    level : QueryLevel
        That of the nodes.
    nodes : sequence of Node
    src : DataRepo
    found : QueryResult
        What of the source all of this is about, at the level of the nodes or finer.
    known : Known
    ask : callable
    bridge : Bridge
    tell : callable
        Learns of each example that was retrieved, with its node; in a worker thread.

    Attributes
    ----------
    decided : dict of Node to Decision
    mixed : set of Node
        Those that hold what would go elsewhere by itself.
    """

    def __init__(
        self,
        route: DynamicRoute,
        level: QueryLevel,
        nodes: Sequence[Node],
        *,
        src: DataRepo[Any],
        found: QueryResult,
        known: Known,
        ask: Ask,
        bridge: Bridge,
        tell: Callable[[Node, Instance], None],
    ) -> None:
        self._route = route
        self._level = level
        self._src = src
        self._found = found
        self._known = known
        self._ask = ask
        self._bridge = bridge
        self._tell = tell
        self.decided: dict[Node, Decision] = {}
        self.mixed: set[Node] = set()
        # What stands for each node that is not decided yet, and the result that it is in.
        self._open: dict[Node, Node] = {node: node for node in nodes}
        self._scope = found
        self._spare: dict[Node, list[Node]] = {}
        # The other series beside that which stands for a node, and why no example of it could be had.
        self._siblings: dict[Node, list[Node]] = {}
        self._series = found
        self._failed: dict[Node, RouteError] = {}
        # What else in a node is decided, for want of something that comes first.
        self._others: dict[Node, Decision | None] = {}

    async def run(self) -> None:
        """Decide all of them; where that is not possible, an error is the decision.

        Raises
        ------
        NetworkError
            The source cannot be reached, or refuses to be asked for what it holds.
        """
        await self._bridge.run(self._begin)
        await self._ask_for_nodes()
        for level in QueryLevel:
            if level > self._level and self._open:
                await self._go_down(level)
        for _ in range(_MOST_EXAMPLES):
            if self._open:
                await self._look_at_examples()
        for _ in range(_MOST_EXAMPLES - 1):
            if self._failed:
                await self._look_at_other_series()
        for node, error in self._failed.items():
            self._settle(node, error)

    def _begin(self) -> None:
        self._scope = self._found.reduced(self._level)
        self._known.take(self._scope)
        self._judge({node: [node] for node in self._open})

    async def _ask_for_nodes(self) -> None:
        """Ask at the level of the nodes for what is not known of them."""
        able = self._route_tags(self._level)
        wanted = frozenset[int]().union(*(self._known.lacks(node, able) for node in self._open))
        if wanted:
            await self._ask(self._level, wanted, self._part(self._open.values()))
            await self._bridge.run(self._judge, {node: [node] for node in self._open})

    async def _go_down(self, level: QueryLevel) -> None:
        """Look at what is right below that which stands for each node."""
        new = self._route_tags(level) - self._route_tags(QueryLevel(level - 1))
        listed = self._found.level >= level
        if new or not listed:
            self._scope = await self._ask(level, new, self._part(self._open.values()))
        if listed:
            self._scope = self._found
        await self._bridge.run(self._look_below, level)

    def _look_below(self, level: QueryLevel) -> None:
        if self._scope.level != level:
            self._scope = self._scope.reduced(level)
        # By the UID right above: whether a patient has an ID, two answers may see differently.
        above = {path[-1]: node for node, path in self._open.items()}
        children: dict[Node, list[Node]] = {node: [] for node in self._open}
        for path in self._scope.level_paths(level):
            node = above.get(path.uids[-2])
            if node is not None:
                children[node].append(path.uids)
        for node, below in list(children.items()):
            if not below:
                del children[node], self._open[node]
                self.decided[node] = RouteError(f"{self._route}: the source does not say what is in it")
        self._judge(children)
        if level is QueryLevel.SERIES:
            self._series = self._scope
            self._siblings = {
                node: [path for path in sorted(children[node]) if path != first] for node, first in self._open.items()
            }
        if level is QueryLevel.IMAGE:
            self._spare = {node: sorted(children[node])[1:_MOST_EXAMPLES] for node in self._open}

    def _judge(self, below: Mapping[Node, Sequence[Node]]) -> None:
        """Decide by what is known of nodes, or of what is below them."""
        for node, paths in below.items():
            decisions = {path: self._decision(path) for path in paths}
            if len({self._sign(decision) for decision in decisions.values() if decision is not None}) > 1:
                self.mixed.add(node)
            # As in a stream, where what no rule matches is not remembered.
            promising = [path for path in paths if not isinstance(decisions[path], RouteError)]
            first = min(promising or paths)
            if decisions[first] is not None:
                self._settle(node, decisions[first])
                continue
            self._open[node] = first
            routed = [path for path in promising if decisions[path] is not None]
            if routed:
                self._others[node] = decisions[min(routed)]

    def _decision(self, path: Node) -> Decision | None:
        try:
            return self._route.on_record(self._known.of(path))
        except UndecidedError:
            return None
        except RouteError as error:
            return error

    def _sign(self, decision: Decision) -> object:
        """What two decisions have in common that lead to the same, with the same done to it on the way."""
        if isinstance(decision, RouteError):
            return decision.message
        return frozenset([self._route.way(sink).key for sink in decision])

    def _settle(self, node: Node, decision: Decision | None) -> None:
        if isinstance(decision, RouteError):
            decision = self._others.get(node, decision)
        assert decision is not None
        self.decided[node] = decision
        self._open.pop(node, None)

    def _route_tags(self, level: QueryLevel) -> frozenset[int]:
        return self._known.tags(level) & (self._route.tags or frozenset())

    def _part(self, paths: Iterable[Node]) -> QueryResult:
        """A part of the scope."""
        return self._scope.only([path[-1] for path in paths])

    # -- examples

    async def _look_at_examples(self) -> None:
        """Retrieve one instance for each node that is not decided yet, and decide by it."""
        nodes = {path[-1]: node for node, path in self._open.items()}
        transfer = TransferReport()
        reason = ""

        async def deliver(instance: Instance) -> bool:
            node = nodes.get(instance.sop_instance_uid)
            if node is not None:
                self._settle(node, await self._bridge.run(self._decide, node, instance, cost=instance.size))
            return True

        try:
            await self._src.fetch(self._part(self._open.values()), deliver, transfer)
        except ConnectionFailedError:
            raise
        except DcmError as error:
            reason = error.message
        for node, path in list(self._open.items()):
            spare = self._spare.get(node)
            if spare:
                self._open[node] = spare.pop(0)
                continue
            why = reason or _reason(transfer, path[-1])
            self._failed[node] = RouteError(f"{self._route}: no example of it could be retrieved: {why}")
            del self._open[node]

    async def _look_at_other_series(self) -> None:
        """Look for examples in another series: the first may be of a kind that is not retrieved, or not be there."""
        nodes = {self._siblings[node].pop(0): node for node in self._failed if self._siblings.get(node)}
        if not nodes:
            return
        other = Deciding(
            self._route,
            QueryLevel.SERIES,
            list(nodes),
            src=self._src,
            found=self._found if self._found.level >= QueryLevel.SERIES else self._series,
            known=self._known,
            ask=self._ask,
            bridge=self._bridge,
            tell=lambda path, example: self._tell(nodes[path], example),
        )
        await other.run()
        for path, node in nodes.items():
            decision = other.decided[path]
            if not isinstance(decision, RouteError):
                del self._failed[node]
                self._settle(node, decision)

    def _decide(self, node: Node, instance: Instance) -> Decision:
        self._tell(node, instance)
        try:
            return self._route.decide(instance)
        except RouteError as error:
            return error


def _reason(transfer: TransferReport, uid: str) -> str:
    transfer.finish()
    reasons = [problem.message for problem in transfer.problems if problem.subject == uid and problem.message]
    others = [problem.message for problem in transfer.problems if problem.kind != Outcome.MISSING.value]
    return next(iter([*others, *reasons]), "it never arrived")
