"""The destinations of a sync: those that are known beforehand, and those that routes name when they see the data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from dcm.errors import UsageError
from dcm.route import DynamicRoute, Router, StaticRoute
from dcm.route._map import distinct
from dcm.route._way import refuse_lookalikes, same_sink
from dcm.store.base import TransferMethod
from dcm.sync._targets import Target
from dcm.text import safe_text

if TYPE_CHECKING:
    from dcm._bridge import Bridge
    from dcm.report import TransferReport
    from dcm.route import Way
    from dcm.store.base import DataBucket, DataSink

    Dest: TypeAlias = "DataSink | StaticRoute | DynamicRoute"

__all__ = ["Targets"]


class Targets:
    """The destinations of a source.

    Parameters
    ----------
    src : DataBucket
    dests : sequence of DataSink, StaticRoute or DynamicRoute
    report : TransferReport
    bridge : Bridge
        Whether a way is possible is found out in its threads.
    claims : dict of str to dict, optional
        By way: which UID has been taken for which instance, see `Target.claim`.

    Attributes
    ----------
    known : list of Target
        All of them, as far as they are known by now.
    router : Router or None
        Says what goes where, if that depends on the data.
    open_ended : bool
        Whether others may come up.
    """

    def __init__(
        self,
        src: DataBucket[Any],
        dests: Sequence[Dest],
        report: TransferReport,
        bridge: Bridge,
        claims: dict[str, dict[str, str]] | None = None,
    ) -> None:
        routes = [dest if isinstance(dest, (StaticRoute, DynamicRoute)) else StaticRoute((dest,)) for dest in dests]
        if not routes:
            raise UsageError("no destination to sync")
        dynamic = any(isinstance(route, DynamicRoute) for route in routes)
        self.router = Router(routes) if dynamic else None
        self.known: list[Target] = []
        self._src = src
        self._routes = routes
        self._report = report
        self._bridge = bridge
        self._by_way: dict[str, Target] = {}
        self._acts: dict[str, tuple[object, ...]] = {}
        self._claims = claims if claims is not None else {}
        self._stack: contextlib.AsyncExitStack | None = None
        # Whether there may be others that only a function knows, when it sees the data.
        self.open_ended = any(isinstance(route, DynamicRoute) and route.all_dests is None for route in routes)
        self._named = True

    def find(self) -> None:
        """Find those that are known beforehand, and out whether all of them are possible. Blocks.

        Raises
        ------
        UsageError
            One is named twice or overlaps with the source, or there is no way from the source to it.
        """
        ways = [way for route in self._routes for way in route.ways]
        # A single destination needs no name, however many routes lead there.
        self._named = self.open_ended or len(distinct(way.sink for way in ways)) > 1
        for way in ways:
            # A route may send to where another one does, too: nothing goes there twice.
            shared = bool(way.route) or self.router is not None
            if not (shared and any(same_sink(way.sink, target.sink) for target in self.known)):
                self._add(way, shared=self.router is not None)
        if self.router is None:
            self._refuse_several_moves(self.known)

    async def of(self, ways: Iterable[Way]) -> list[Target]:
        """Those that some ways lead to; they are open for instances.

        Raises
        ------
        UsageError
            A destination that nobody knew of is not possible, or its filter looks like another one.
        """
        found = []
        for way in ways:
            refuse_lookalikes([way], self._acts)
            target = self._by_way.get(way.key)
            if target is None:
                target = await self._bridge.run(self._add, way, True)
                if self._stack is not None:
                    await target.open(self._stack)
            found.append(target)
        self._refuse_several_moves(found)
        return found

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """Make them ready, and those that come up later as well.

        Raises
        ------
        UsageError
            Nothing can be stored in one of them.
        """
        self._stack = stack
        for target in self.known:
            await target.open(stack)

    def _add(self, way: Way, shared: bool) -> Target:
        refuse_lookalikes([way], self._acts)
        for other in self.known:
            if way.sink.overlaps(other.sink) and not (shared and same_sink(way.sink, other.sink)):
                raise UsageError(f"two of the destinations are the same, or one is within the other: {way.sink}")
        if way.sink.overlaps(self._src):
            of_route = f" (route {safe_text(way.route, 100)})" if way.route else ""
            raise UsageError(
                f"{way.sink}{of_route} is source and destination at once, or one is within the other",
                hint="what is copied would show up as new data in the source",
            )
        # One destination has one name, whatever a second way calls it.
        same = (other.name for other in self.known if same_sink(way.sink, other.sink))
        name = next(same, str(way.sink)) if self._named else ""
        claimed = self._claims.setdefault(way.key, {})
        target = Target(way.sink, name, way.filt, self._method(way), self._report, claimed)
        self._by_way[way.key] = target
        if not self._named:
            self._report.only_dest = str(way.sink)
        self.known.append(target)
        return target

    def _method(self, way: Way) -> TransferMethod:
        """The first method that is possible."""
        methods = way.methods if way.filt is None else (TransferMethod.PROXY,)
        reasons = []
        for method in methods:
            reason = way.sink.why_not(method, self._src)
            if not reason:
                return method
            reasons.append(reason)
        raise UsageError(reasons[0])

    @staticmethod
    def _refuse_several_moves(targets: Sequence[Target]) -> None:
        if len(targets) > 1 and any(target.method is TransferMethod.MOVE for target in targets):
            raise UsageError(
                "files can be moved to one destination only: the others would find nothing",
                hint="copy or link them to the others first",
            )
