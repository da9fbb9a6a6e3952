"""Finding out what to transfer: the plan's questions put to the source and to the destinations."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from dcm.query import QueryResult
from dcm.query._parts import parts_of
from dcm.report import Outcome, ProblemLog, QueryReport, TransferReport
from dcm.store.base import TransferMethod
from dcm.sync._plan import Ask, Dest, Plan, Verdict, planning
from dcm.sync._targets import ENOUGH_TO_LOOK_AHEAD, Target
from dcm.sync._ways import Targets

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.attrs import Attributes
    from dcm.levels import QueryLevel
    from dcm.store.base import DataBucket, DataChunk, DataRepo, DataSink

__all__ = ["Search", "Transfer"]

# Small enough that the first data moves soon, and large enough that it is worth an association.
_MOST_STUDIES = 50
_MOST_INSTANCES = 2000


@dataclass(frozen=True)
class Transfer:
    """Data that goes from the source to some of the destinations together.

    Parameters
    ----------
    query_res : QueryResult or None
        Which it is; None where the source cannot be queried, and `chunk` says it.
    dests : tuple of DataSink
        Where to.
    method : TransferMethod
        `TransferMethod.REMOTE_COPY` where the source itself sends it. Otherwise it comes through us.
    chunk : DataChunk, optional
    """

    query_res: QueryResult | None
    dests: tuple[DataSink, ...]
    method: TransferMethod = TransferMethod.PROXY
    chunk: DataChunk | None = None
    targets: tuple[Target, ...] = field(default=(), repr=False)
    partial: tuple[tuple[Target, Verdict], ...] = field(default=(), repr=False)


class Search:
    """Looks for what destinations miss of a source.

    Parameters
    ----------
    src : DataBucket
    targets : Targets
    report : TransferReport
    trust_level : QueryLevel
    force_all : bool
    """

    def __init__(
        self,
        src: DataBucket[Any],
        targets: Targets,
        report: TransferReport,
        trust_level: QueryLevel,
        force_all: bool,
    ) -> None:
        self._src = src
        self._targets = targets
        self._report = report
        self._trust_level = trust_level
        self._force_all = force_all
        self._announced = 0

    @property
    def repo(self) -> DataRepo[Any]:
        """The source, where it can be queried."""
        assert self._src.features.queryable
        return cast("DataRepo[Any]", self._src)

    async def transfers(
        self, query_res: QueryResult | None, query: Dataset | Attributes | None, level: QueryLevel | None
    ) -> AsyncGenerator[Transfer, None]:
        """Yield what to transfer; see `SyncManager.gen_transfers`."""
        if not self._src.features.queryable:
            async for chunk in self._src.gen_chunks():
                # Where each instance of it goes is seen when it is read.
                yield self._transfer(None, [] if self._targets.router else self._targets.known, chunk=chunk)
            return
        async with contextlib.aclosing(self._found(query_res, query, level)) as parts:
            async for part in parts:
                for targets, share in await self._routed(part):
                    plan = await self._plan(share, targets)
                    self._settle(plan, targets)
                    for planned in plan.transfers:
                        chosen = [targets[i] for i in planned.dests]
                        partial = [(targets[i], plan.verdicts[i]) for i in planned.partial]
                        yield self._transfer(planned.query_res, chosen, partial)

    async def _routed(self, part: QueryResult) -> list[tuple[list[Target], QueryResult]]:
        """Which destinations a part of the source is for."""
        router = self._targets.router
        if router is None:
            return [(self._targets.known, part)]
        shares = await router.pre_route(self.repo, query_res=part, report=self._report)
        return [
            (await self._targets.of(way for route in routes for way in route.ways), share)
            for routes, share in shares.items()
        ]

    def _transfer(
        self,
        query_res: QueryResult | None,
        targets: Sequence[Target],
        partial: Sequence[tuple[Target, Verdict]] = (),
        chunk: DataChunk | None = None,
    ) -> Transfer:
        remote = bool(targets) and targets[0].is_remote
        method = TransferMethod.REMOTE_COPY if remote else TransferMethod.PROXY
        sinks = tuple(target.sink for target in targets)
        return Transfer(query_res, sinks, method, chunk, tuple(targets), tuple(partial))

    async def _found(
        self, query_res: QueryResult | None, query: Dataset | Attributes | None, level: QueryLevel | None
    ) -> AsyncGenerator[QueryResult, None]:
        """What of the source is looked at, in parts of some studies."""
        if query_res is not None and query is None and level is None:
            for part in self._parts(query_res):
                yield part
            return
        queried = QueryReport()
        queried.progress = self._report.progress
        self._report.progress.phase(f"querying {self._src}")
        async with contextlib.aclosing(self.repo.queries(level, query, query_res, queried)) as results:
            if 0 < self._src.features.at_once < ENOUGH_TO_LOOK_AHEAD:
                # What is asked for keeps no association from what moves in between.
                whole = [result async for result in results]
                self._report.take_over(queried, str(self._src))
                for part in (part for result in whole for part in self._parts(result)):
                    yield part
                return
            async for result in results:
                for part in self._parts(result):
                    yield part
        self._report.take_over(queried, str(self._src))

    @staticmethod
    def _parts(found: QueryResult) -> Iterator[QueryResult]:
        return parts_of(found, _MOST_INSTANCES, most=_MOST_STUDIES, unknown=_MOST_INSTANCES // _MOST_STUDIES)

    async def _plan(self, part: QueryResult, targets: Sequence[Target]) -> Plan:
        """Compare a part of the source with its destinations."""
        lost = [target.error is not None for target in targets]
        dests = [
            # Nothing is fetched for one that is lost; what it misses is only named.
            Dest(target.comparable and not gone, target.image, target.is_remote or gone)
            for target, gone in zip(targets, lost, strict=True)
        ]
        steps = planning(part, dests, trust_level=self._trust_level, force_all=self._force_all)
        try:
            asks = next(steps)
            while True:
                answers = await asyncio.gather(*(self._ask(ask, targets) for ask in asks), return_exceptions=True)
                asks = steps.send([_answer(answer) for answer in answers])
        except StopIteration as end:
            plan: Plan = end.value
            if lost == [target.error is not None for target in targets]:
                return plan
        # One was lost while it was asked.
        return await self._plan(part, targets)

    async def _ask(self, ask: Ask, targets: Sequence[Target]) -> QueryResult | None:
        """Answer a question of the plan; None where that is not possible."""
        if ask.who is None:
            queried = QueryReport()
            found = await self.repo.query(ask.level, None, ask.within, queried)
            queried.files = ProblemLog()  # They are known since the first query.
            self._report.take_over(queried, str(self._src))
            return found
        return await targets[ask.who].ask(ask.level, ask.within)

    def _settle(self, plan: Plan, targets: Sequence[Target]) -> None:
        """Record what needs no transfer."""
        n_instances = 0
        for target, verdict in zip(targets, plan.verdicts, strict=True):
            for uid, series_uid in verdict.present:
                if target.claim(verdict.names.get(uid, uid), uid):
                    self._report.record(uid, Outcome.PRESENT, dest=target.name, series_uid=series_uid)
            for uid, series_uid in verdict.rejected:
                self._report.record(uid, Outcome.FILTERED, dest=target.name, series_uid=series_uid)
            self._report.count(Outcome.PRESENT, verdict.n_trusted, target.name)
            self._report.count(Outcome.FILTERED, verdict.n_rejected, target.name)
        self._report.count_unnamed(plan.n_numbered)
        for transfer in plan.transfers:
            n_instances += transfer.query_res.n_instances() or 0
        self._announced += n_instances
        if self._announced:
            self._report.announce(self._announced)


def _answer(answer: QueryResult | BaseException | None) -> QueryResult | None:
    if isinstance(answer, BaseException):
        raise answer
    return answer
