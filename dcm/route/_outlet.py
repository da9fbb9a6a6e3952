"""The open end of a destination: opened when something is to go there, closed when nothing has gone for a while."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from dcm.errors import StoreError
from dcm.store.base import TransferMethod

if TYPE_CHECKING:
    from types import TracebackType

    from dcm.instance import Instance
    from dcm.report import TransferReport
    from dcm.store.base import DataSink, InstanceQueue

__all__ = ["STREAMED", "Outlet"]

log = logging.getLogger(__name__)

#: How instances that come one by one can get anywhere: another destination may need the same file.
STREAMED: Final = frozenset(TransferMethod) - {TransferMethod.REMOTE_COPY, TransferMethod.MOVE}


class Outlet:
    """A destination that is opened on demand. An asynchronous context manager.

    Associations are opened when there is something to send, used again while there is more, and released when nothing
    has come for a while. What breaks one ends the instances that were on their way; the next one opens it anew.

    Parameters
    ----------
    sink : DataSink
        The destination.
    report : TransferReport
        Learns what became of each instance.
    name : str, optional
        The name of the destination in the report.
    methods : sequence of TransferMethod, optional
        How an instance that is a file may get there, best first. Only those count that leave the file where it is.
    idle : float, optional
        After how many seconds without an instance it is closed.
    """

    def __init__(
        self,
        sink: DataSink,
        report: TransferReport,
        *,
        name: str = "",
        methods: Sequence[TransferMethod] = (TransferMethod.PROXY,),
        idle: float = 20.0,
    ) -> None:
        self.sink = sink
        self.name = name
        self.idle = idle
        self._report = report
        fit = (method for method in methods if method in STREAMED and sink.features.supports(method))
        self.method = next(fit, TransferMethod.PROXY)
        self._session: _Session | None = None
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether it is open just now, or about to be."""
        return self._session is not None and not self._session.ending.is_set()

    async def place(self, instance: Instance) -> bool:
        """Hand over an instance, wait until it has reached an end, and say whether the destination has it.

        Several may be on their way at once. What became of it is in the report, unless an error is raised.

        Raises
        ------
        NetworkError
            The destination cannot be reached, refuses us, or was lost.
        StoreError, UsageError
            It cannot be opened, or was closed in the meantime.
        """
        session = await self._next()
        with session.in_use():
            await session.opened()
            return await session.place(instance)

    async def _next(self) -> _Session:
        """The session that is open, or a new one; they come one after the other, since two might be too many."""
        while (session := self._session) is None or session.ending.is_set():
            if self._closed:
                raise StoreError(f"{self.sink} is closed")
            if session is None or session.task.done():
                self._session = _Session(self)
            else:
                await asyncio.wait([session.task])
        return session

    async def close(self, *, now: bool = False) -> None:
        """Close it when all that is on its way has reached an end; nothing can be placed any more.

        Parameters
        ----------
        now : bool, optional
            Give up what is on its way.
        """
        self._closed = True
        session = self._session
        if session is None:
            return
        session.ending.set()
        if now:
            session.cancel()
        try:
            await asyncio.wait([session.task])
        except asyncio.CancelledError:
            session.cancel()
            await asyncio.wait([session.task])
            raise

    async def __aenter__(self) -> Outlet:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(now=kind is not None)


class _Session:
    """From one opening of a destination to its closing; a task of its own, so that it closes where it was opened.

    Attributes
    ----------
    ending : Event
        Nothing more is to be placed: it is closed as soon as all that is on its way has reached an end.
    task : Task
        What has it open.
    """

    _queue: InstanceQueue

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._loop = asyncio.get_running_loop()
        self._n_users = 0
        self._under_way: set[asyncio.Task[bool]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._ready = asyncio.Event()
        self._unused = asyncio.Event()
        self._error: BaseException | None = None
        self.ending = asyncio.Event()
        self.task = self._loop.create_task(self._run())
        self.task.add_done_callback(self._over)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Somebody has something to place."""
        self._n_users += 1
        self._unused.clear()
        self._disarm()
        try:
            yield
        finally:
            self._n_users -= 1
            if not self._n_users:
                self._unused.set()
                self._timer = self._loop.call_later(self._outlet.idle, self.ending.set)

    async def opened(self) -> None:
        """Wait until it is open, or say why it cannot be opened."""
        await self._ready.wait()
        if self._error is not None:
            raise self._error

    async def place(self, instance: Instance) -> bool:
        """Hand over an instance."""
        # A task of its own: that the session is given up is not that the caller is cancelled.
        placing = self._loop.create_task(self._place(instance))
        self._under_way.add(placing)
        try:
            await asyncio.wait([placing])
        except asyncio.CancelledError:
            placing.cancel()
            await asyncio.wait([placing])
            raise
        finally:
            self._under_way.discard(placing)
        if placing.cancelled():
            raise StoreError(f"{self._outlet.sink} was closed before it had the instance")
        return placing.result()

    async def _place(self, instance: Instance) -> bool:
        try:
            return await self._queue.place(instance)
        except Exception:
            # Whatever ended it has ended it for all: who comes next begins anew.
            self.ending.set()
            raise

    def cancel(self) -> None:
        """Give up what is on its way."""
        for placing in self._under_way:
            placing.cancel()
        self.task.cancel()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _run(self) -> None:
        outlet = self._outlet
        async with outlet.sink.send(outlet._report, dest=outlet.name, method=outlet.method) as queue:
            self._queue = queue
            self._ready.set()
            await self.ending.wait()
            await self._unused.wait()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._disarm()
        self.ending.set()
        error = None if task.cancelled() else task.exception()
        if not self._ready.is_set():
            self._error = error or StoreError(f"{self._outlet.sink} was closed before it was open")
            self._ready.set()
        elif error is not None:
            # All that was placed has had its answer: this is about the goodbye.
            log.info("%s was not closed well: %s", self._outlet.sink, error)
