"""One source, any number of destinations: what is missing is found, fetched once, and placed everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from dcm._bridge import Bridge
from dcm.errors import (
    AssociationAbortedError,
    ConnectionFailedError,
    NetworkError,
    PartialError,
    PeerTimeoutError,
    StoreError,
)
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from dcm.report import Outcome, QueryReport, TransferReport
from dcm.route import UnroutedError
from dcm.store.base import TransferMethod
from dcm.sync._delivery import Delivery
from dcm.sync._search import Search, Transfer
from dcm.sync._targets import ENOUGH_TO_LOOK_AHEAD, Target, Validator, lost_error
from dcm.sync._ways import Targets

if TYPE_CHECKING:
    from types import TracebackType

    from pydicom import Dataset

    from dcm.attrs import Attributes
    from dcm.instance import Instance
    from dcm.store.base import DataBucket, DataChunk, DataRepo
    from dcm.sync._ways import Dest

__all__ = ["SyncManager", "Transfer", "Validator"]

log = logging.getLogger(__name__)

_TRIES = 4
_BACKOFF = 1.0
# What another try may cure, after a while.
_RETRYABLE = (ConnectionFailedError, AssociationAbortedError, PeerTimeoutError)
# Transfers one after the other that fail, each after all its tries.
_MOST_FAILURES = 3


class SyncManager:
    """Brings destinations up to date with a source. An asynchronous context manager.

    Parameters
    ----------
    src : DataBucket
        The source. One that cannot be queried is copied as a whole.
    dests : sequence of DataSink, StaticRoute or DynamicRoute
        The destinations, each with a filter and transfer methods where it is a route. Where dynamic routes send data is
        decided on what the source answers to queries as far as that tells, see `dcm.route.Router.pre_route`.
    trust_level : QueryLevel
        From this level on, equal counts of instances at both ends are taken for the same data. At IMAGE level, the
        default, each instance is compared by its UID.
    force_all : bool
        Copy what destinations have, too.
    keep_errors : bool
        Copy duplicates, and instances that are unexpected or contradict what the source said of them, too.
    validators : iterable of callable, optional
        Each is called with every `Instance` and says why it must not be copied, '' where nothing speaks against it.
        They run in a worker thread.
    report : TransferReport, optional
        Learns what became of each instance at each destination.

    Raises
    ------
    UsageError
        On entry, before anything has moved: a destination is also the source, cannot be written to, or cannot be
        reached by any of its methods.
    """

    def __init__(
        self,
        src: DataBucket[Any],
        dests: Sequence[Dest],
        trust_level: QueryLevel = QueryLevel.IMAGE,
        force_all: bool = False,
        keep_errors: bool = False,
        validators: Iterable[Validator] | None = None,
        report: TransferReport | None = None,
    ) -> None:
        self.src = src
        self.dests = [*dests]
        self.trust_level = trust_level
        self.force_all = force_all
        self.keep_errors = keep_errors
        self.validators = [*(validators or ())]
        self.report = report if report is not None else TransferReport()
        self._bridge = Bridge()
        self._stack = contextlib.AsyncExitStack()
        self._moved = False
        self._n_failed = 0
        # By destination: who has which UID there. `sync` gives those of several sources one of them.
        self.claims: dict[str, dict[str, str]] = {}

    async def __aenter__(self) -> SyncManager:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._bridge)
            self._destinations = Targets(self.src, self.dests, self.report, self._bridge, self.claims)
            await self._bridge.run(self._check, self._destinations)
            for store in (self.src, *(target.sink for target in self._targets)):
                if store.features.queryable:
                    cast("DataRepo[Any]", store).renew()
            self._search = Search(self.src, self._destinations, self.report, self.trust_level, self.force_all)
            if not self.report.dry_run:
                await self._destinations.open(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def check(self) -> None:
        """Find out whether source and destinations are possible, without anything that stays.

        Raises
        ------
        UsageError
            See the class.
        """
        async with Bridge(1) as bridge:
            await bridge.run(self._check, Targets(self.src, self.dests, self.report, bridge))

    def _check(self, destinations: Targets) -> None:
        self.src.check_source()
        destinations.find()

    @property
    def _targets(self) -> list[Target]:
        return self._destinations.known

    # -- what to transfer

    async def gen_transfers(
        self,
        query_res: QueryResult | None = None,
        *,
        query: Dataset | Attributes | None = None,
        level: QueryLevel | None = None,
    ) -> AsyncGenerator[Transfer, None]:
        """Find out what destinations miss, study by study.

        Parameters
        ----------
        query_res : QueryResult, optional
            What of the source is looked at; everything where not given.
        query : Dataset or Attributes, optional
            What of it must match.
        level : QueryLevel, optional
            The level of the query.

        Yields
        ------
        Transfer

        Raises
        ------
        NetworkError
            The source cannot be asked.
        """
        async with contextlib.aclosing(self._search.transfers(query_res, query, level)) as transfers:
            async for transfer in transfers:
                yield transfer

    # -- transferring

    async def exec_transfer(self, transfer: Transfer) -> None:
        """Carry out a transfer. What becomes of each instance is in the report.

        What another try may cure is tried again, later and later; instances that have arrived by then stay.

        Raises
        ------
        NetworkError
            The source cannot be reached, or refuses; or no destination is left.
        """
        lost = [target for target in transfer.targets if target.error is not None]
        if lost and len(lost) == len(transfer.targets):
            raise lost_error(lost)
        self.report.progress.phase(f"fetching from {self.src}")
        for attempt in range(1, _TRIES + 1):
            before = self.report.n_bytes
            try:
                await self._exec(transfer)
            except _RETRYABLE as error:
                self._moved = self._moved or self.report.n_bytes > before
                hopeless = isinstance(error, ConnectionFailedError) and not self._moved
                if attempt == _TRIES or hopeless or _all_lost(transfer.targets):
                    raise
                log.warning("%s; trying again", error.message)
            else:
                return
            # So that not all who were cut off come back at the same moment.
            await asyncio.sleep(_BACKOFF * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))

    async def _exec(self, transfer: Transfer) -> None:
        targets = transfer.targets
        names = [target.name for target in targets]
        if transfer.method is TransferMethod.REMOTE_COPY:
            assert transfer.query_res is not None
            await self._search.repo.remote_copy(transfer.query_res, targets[0].sink, self.report, dest=names[0])
            return
        if transfer.chunk is not None:
            await self._exec_chunk(transfer.chunk, targets)
            return
        assert transfer.query_res is not None
        # An instance that contradicts what was said of it may be anything: then nobody is left out.
        trusted = {} if self.keep_errors else {target: verdict.trusted for target, verdict in transfer.partial}
        # Large instances stream to where one of them, unchanged, will stay.
        direct = [target for target in targets if target.filt is None and target.error is None]
        await self._search.repo.fetch(
            transfer.query_res,
            Delivery(targets, trusted, self.validators, self._bridge, self.report),
            self.report,
            dests=names,
            keep_errors=self.keep_errors,
            new_temp=direct[0].sink.new_temp if direct else None,
            method=targets[0].method if len({target.method for target in targets}) == 1 else TransferMethod.PROXY,
        )

    async def _exec_chunk(self, chunk: DataChunk, targets: Sequence[Target]) -> None:
        async with contextlib.aclosing(self._given(chunk)) as instances:
            async for instance in instances:
                aims = targets or await self._routed(instance)
                for target in aims:
                    self.report.expect([instance.sop_instance_uid], dest=target.name)
                if aims:
                    await Delivery(aims, {}, self.validators, self._bridge, self.report)(instance)

    async def _given(self, chunk: DataChunk) -> AsyncGenerator[Instance, None]:
        """What a chunk gives; that it could not give all is in the report, and ends nothing but the chunk."""
        instances = aiter(chunk.gen_data())
        while True:
            try:
                instance = await anext(instances)
            except StopAsyncIteration:
                return
            except PartialError as error:
                self.report.error(str(self.src), error.message, refused=False)
                return
            with instance:
                yield instance

    async def _routed(self, instance: Instance) -> Sequence[Target]:
        """Where the routes send an instance; what they do not know, the report says."""
        assert self._destinations.router is not None
        try:
            ways = await self._bridge.run(self._destinations.router.decide, instance)
        except UnroutedError as error:
            self.report.error(instance.sop_instance_uid, error.message, refused=False)
            ways = error.ways
        else:
            if not ways:  # on purpose
                self.report.count(Outcome.FILTERED, 1)
                self.report.count_unnamed(1)
        return await self._destinations.of(ways)

    async def sync(
        self,
        query_res: QueryResult | None = None,
        *,
        query: Dataset | Attributes | None = None,
        level: QueryLevel | None = None,
    ) -> TransferReport:
        """Find out what destinations miss, and bring it there; the arguments are those of `gen_transfers`.

        A source that cannot be reached or read, or breaks off for good, is told in the report.

        Returns
        -------
        TransferReport
            Not finished: another source may follow.
        """
        transfers = self.gen_transfers(query_res, query=query, level=level)
        try:
            async with contextlib.aclosing(transfers):
                if self._looks_ahead():
                    await self._overlapped(transfers)
                else:
                    async for transfer in transfers:
                        await self._attempt(transfer)
        except (NetworkError, StoreError) as error:
            self.give_up(error)
        return self.report

    async def preview(
        self,
        query_res: QueryResult | None = None,
        *,
        query: Dataset | Attributes | None = None,
        level: QueryLevel | None = None,
    ) -> TransferReport:
        """Find out what would be transferred: it is expected in the report, and nothing moves."""
        try:
            transfers = self.gen_transfers(query_res, query=query, level=level)
            async with contextlib.aclosing(transfers):
                async for transfer in transfers:
                    await self._preview(transfer)
        except (NetworkError, StoreError) as error:
            self.give_up(error)
        for target in self._targets:
            if target.error is not None:
                self.report.error("", str(target.error))
        return self.report

    async def _preview(self, transfer: Transfer) -> None:
        images = transfer.query_res
        if images is None:
            assert transfer.chunk is not None
            async with contextlib.aclosing(self._given(transfer.chunk)) as instances:
                async for instance in instances:
                    for target in transfer.targets or await self._routed(instance):
                        self.report.expect([instance.sop_instance_uid], dest=target.name)
            return
        if images.level is not QueryLevel.IMAGE:
            queried = QueryReport()
            images = await self._search.repo.query(QueryLevel.IMAGE, None, images, queried)
            self.report.take_over(queried, str(self.src))
        verdicts = dict(transfer.partial)
        for path in images.level_paths(QueryLevel.IMAGE):
            for target in transfer.targets:
                *_, series_uid, uid = path.uids
                if (verdict := verdicts.get(target)) is not None and verdict.trusted.has(path.uids):
                    self.report.record(uid, Outcome.PRESENT, dest=target.name, series_uid=series_uid)
                elif verdict is not None and verdict.kept_back.has(path.uids):
                    self.report.record(uid, Outcome.FILTERED, dest=target.name, series_uid=series_uid)
                else:
                    self.report.expect([uid], series_uid, target.name)

    async def _overlapped(self, transfers: AsyncGenerator[Transfer, None]) -> None:
        """Carry out each transfer while the next one is looked for."""
        ahead = asyncio.ensure_future(_next(transfers))
        try:
            while (transfer := await ahead) is not None:
                ahead = asyncio.ensure_future(_next(transfers))
                await self._attempt(transfer)
        finally:
            ahead.cancel()
            await asyncio.wait([ahead])

    async def _attempt(self, transfer: Transfer) -> None:
        """Carry out a transfer that may fail by itself; several of them in a row, and it is the source that fails."""
        try:
            await self.exec_transfer(transfer)
        except NetworkError as error:
            if _all_lost(transfer.targets):
                # It is their fault; the others may still miss something.
                if _all_lost(self._targets) and not self._destinations.open_ended:
                    raise
                await self._preview(transfer)  # so that what does not get there has a name, and a state
            else:
                self._n_failed += 1
                if isinstance(error, ConnectionFailedError) or self._n_failed == _MOST_FAILURES:
                    raise
            self.give_up(error)
        else:
            self._n_failed = 0

    def _looks_ahead(self) -> bool:
        """Whether source and destinations allow enough associations to be asked while data moves."""
        allowed = [self.src.features.at_once, *(target.sink.features.at_once for target in self._targets)]
        return all(n == 0 or n >= ENOUGH_TO_LOOK_AHEAD for n in allowed)

    def give_up(self, error: NetworkError | StoreError) -> None:
        """Say why what is still expected will not come."""
        refused = isinstance(error, NetworkError)
        self.report.error("", str(error), refused=refused)
        for target in self._targets:
            for uid in self.report.pending(target.name):
                self.report.record(uid, Outcome.FAILED, dest=target.name, reason=error.message, refused=refused)


def _all_lost(targets: Sequence[Target]) -> bool:
    return bool(targets) and all(target.error is not None for target in targets)


async def _next(transfers: AsyncGenerator[Transfer, None]) -> Transfer | None:
    async for transfer in transfers:
        return transfer
    return None
