"""Instances on their way to wherever the routes send them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dcm._bridge import Bridge
from dcm.errors import DcmError
from dcm.instance import Instance
from dcm.levels import QueryLevel
from dcm.report import Outcome, TransferReport
from dcm.report._renamed import RenamedReport
from dcm.route._outlet import Outlet
from dcm.route._way import UnroutedError, Way, same_sink
from dcm.store._under_way import UnderWay

if TYPE_CHECKING:
    from types import TracebackType

    from dcm.filt import Filter
    from dcm.store.base import DataSink, Sendable

__all__ = ["RouteQueue"]

_UNDER_WAY: Final = 32  # instances; their bytes are bounded by the bridge, and by the destinations


@dataclass(frozen=True)
class _Look:
    """What was seen of an instance."""

    ways: tuple[Way, ...]
    unrouted: str
    cut_short: str
    path: tuple[str, ...]


class _Exit:
    """A destination that is open or may be, and the report that it writes to."""

    def __init__(self, way: Way, report: TransferReport, name: str, idle: float) -> None:
        self.sink: DataSink = way.sink
        self.methods = way.methods
        self.renamed = RenamedReport(report) if way.filt is not None else None
        self.outlet = Outlet(way.sink, self.renamed or report, name=name, methods=way.methods, idle=idle)
        self.name = name

    def fits(self, way: Way) -> bool:
        """Whether it is the one for a way."""
        filtered = self.renamed is not None
        return filtered is (way.filt is not None) and self.methods == way.methods and same_sink(self.sink, way.sink)


class RouteQueue:
    """What `Router.route` gives: put instances in, they go where the routes send them.

    Parameters
    ----------
    decide : callable
        Gives the ways of an instance, in a worker thread.
    report : TransferReport
        Learns what became of each instance at each destination.
    named : bool
        Whether the destinations have names in the report.
    idle : float
        For how many seconds they stay open without an instance.
    keep_errors : bool
        Whether duplicates, and what is inconsistent or cut short, go there, too.
    """

    def __init__(
        self,
        decide: Callable[[Instance], Sequence[Way]],
        report: TransferReport,
        *,
        named: bool,
        idle: float,
        keep_errors: bool,
    ) -> None:
        self._decide = decide
        self._report = report
        self._named = named
        self._idle = idle
        self._keep_errors = keep_errors
        self._bridge = Bridge()
        self._exits: list[_Exit] = []
        self._under_way = UnderWay(_UNDER_WAY)
        self._seen: dict[str, bool] = {}  # whether it was safe in the end
        self._parents: dict[str, str] = {}

    async def __aenter__(self) -> RouteQueue:
        await self._bridge.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stopped = kind is not None
        try:
            if stopped:
                self._under_way.cancel()
            await self._under_way.wait()
        except asyncio.CancelledError:
            stopped = True
            self._under_way.cancel()
            raise
        finally:
            await self._close(now=stopped or self._under_way.broken is not None)
        if not stopped and self._under_way.broken is not None:
            raise self._under_way.broken

    async def _close(self, *, now: bool) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_exit(self._bridge)
            await asyncio.gather(*(one.outlet.close(now=now) for one in self._exits))

    async def put(self, item: Sendable) -> None:
        """Hand over an instance, a data set or the path of a file; waits while too much is under way.

        What becomes of it is in the report. An instance stays the caller's, but must not be closed before the end.

        Raises
        ------
        Exception
            An earlier one met something unforeseen, which ends all of it.
        """
        await self._under_way.start(lambda: self.place(item))

    async def place(self, item: Sendable) -> bool:
        """Hand over an instance, wait until it has reached an end everywhere, and say whether all is well.

        Parameters
        ----------
        item : Instance, Dataset or path

        Returns
        -------
        bool
            False where it is not routed, or some destination does not have it: the report says which and why.
        """
        if isinstance(item, Instance):
            return await self._place(item)
        try:
            loaded = await self._bridge.run(_load, item)
        except (DcmError, OSError) as error:
            name = os.fspath(item) if isinstance(item, (str, os.PathLike)) else str(item.get("SOPInstanceUID", ""))
            self._report.record(name, Outcome.FAILED, reason=f"cannot be read: {_why(error)}")
            return False
        with loaded:
            return await self._place(loaded)

    async def _place(self, instance: Instance) -> bool:
        uid = instance.sop_instance_uid
        try:
            look = await self._bridge.run(self._look, instance)
        except DcmError as error:
            return self._fail(uid, f"cannot be read: {error.message}")
        if not self._keep_errors:
            if look.cut_short:
                return self._fail(uid, f"is cut short: {look.cut_short}")
            if uid in self._seen:
                self._report.anomaly("duplicate", uid, "came more than once")
                return self._seen[uid]
            if not self._consistent(look.path):
                self._report.anomaly("inconsistent", uid, "contradicts what came before: another patient or study")
                return self._fail(uid, "contradicts what came before: another patient or study")
        self._seen[uid] = True
        safe = await self._go(instance, look)
        if not safe:
            self._seen.pop(uid, None)  # it may come again
        return safe

    def _look(self, instance: Instance) -> _Look:
        header = instance.header
        ways: Sequence[Way] = ()
        unrouted = ""
        try:
            ways = self._decide(instance)
        except UnroutedError as error:
            ways, unrouted = error.ways, error.message
        path = tuple([header.text(level.uid_tag) for level in QueryLevel])
        return _Look(tuple(ways), unrouted, header.problem if header.complete is False else "", path)

    def _consistent(self, path: Sequence[str]) -> bool:
        """Whether a study is of the patient, and a series in the study, of those that came before."""
        patient, study, series, _ = path
        pairs = [(below, above) for below, above in ((study, patient), (series, study)) if below and above]
        if any(self._parents.get(below, above) != above for below, above in pairs):
            return False
        self._parents.update(pairs)
        return True

    def _fail(self, uid: str, reason: str, dest: str = "") -> bool:
        self._report.record(uid, Outcome.FAILED, dest=dest, reason=reason)
        return False

    # -- to the destinations

    async def _go(self, instance: Instance, look: _Look) -> bool:
        uid = instance.sop_instance_uid
        if look.unrouted:
            self._fail(uid, look.unrouted)
        elif not look.ways:
            self._report.record(uid, Outcome.FILTERED, reason="the rules send it nowhere")
        groups: dict[Filter | None, list[_Exit]] = {}
        for way in look.ways:
            one = self._exit(way)
            self._report.expect([uid], dest=one.name)
            groups.setdefault(way.filt, []).append(one)
        placed = await asyncio.gather(*(self._through(instance, filt, exits) for filt, exits in groups.items()))
        return all(placed) and not look.unrouted

    def _exit(self, way: Way) -> _Exit:
        for one in self._exits:
            if one.fits(way):
                return one
        one = _Exit(way, self._report, str(way.sink) if self._named else "", self._idle)
        self._exits.append(one)
        return one

    async def _through(self, instance: Instance, filt: Filter | None, exits: Sequence[_Exit]) -> bool:
        """Place an instance, or what a filter makes of it."""
        uid = instance.sop_instance_uid
        if filt is None:
            return all(await asyncio.gather(*(self._to(one, instance, uid) for one in exits)))
        try:
            changed = await self._bridge.run(filt.apply, instance, cost=instance.size)
        except Exception as error:  # noqa: BLE001
            # A filter is anybody's code, and pydicom raises all kinds of things for data sets that are not as they
            # should be. This instance fails, with the reason in the report; the rest goes on.
            for one in exits:
                self._fail(uid, str(error) or f"the filter failed: {type(error).__name__}", one.name)
            return False
        if changed is None:
            for one in exits:
                self._report.record(uid, Outcome.FILTERED, dest=one.name)
            return True
        with changed if changed is not instance else contextlib.nullcontext():
            return all(await asyncio.gather(*(self._to(one, changed, uid) for one in exits)))

    async def _to(self, one: _Exit, instance: Instance, original: str) -> bool:
        if one.renamed is not None:
            # It is not forgotten where we are cancelled: what is in a thread's hands is reported later.
            one.renamed.begin(instance.sop_instance_uid, original)
        try:
            safe = await one.outlet.place(instance)
        except DcmError as error:
            safe = self._fail(original, error.message, one.name)
        if one.renamed is not None:
            one.renamed.end(instance.sop_instance_uid)
        return safe


def _load(item: Sendable) -> Instance:
    if isinstance(item, (str, os.PathLike)):
        return Instance.from_file(item)
    assert not isinstance(item, Instance)
    return Instance.from_dataset(item)


def _why(error: DcmError | OSError) -> object:
    cause = error if isinstance(error, OSError) else error.__cause__
    return cause.strerror if isinstance(cause, OSError) else error
