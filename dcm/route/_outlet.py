"""The open end of a destination: opened when something is to go there, closed when nothing has gone for a while."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from dcm.errors import DcmError
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
        StoreError
            It cannot be opened.
        """
        session = await self._open()
        session.begin()
        try:
            return await session.queue.place(instance)
        except DcmError:
            # Whatever ended it has ended it for all: who comes next begins anew.
            session.ending.set()
            raise
        finally:
            session.end()

    async def _open(self) -> _Session:
        while True:
            session = self._session
            if session is None or (session.ending.is_set() and session.task.done()):
                if self._closed:
                    raise RuntimeError("the outlet is closed")
                session = self._session = _Session(self)
            if session.ending.is_set():
                # Two at once might be more than the peer allows.
                await asyncio.wait([session.task])
                continue
            await session.opened()
            if not session.ending.is_set():
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
            session.task.cancel()
        try:
            await asyncio.wait([session.task])
        except asyncio.CancelledError:
            session.task.cancel()
            await asyncio.wait([session.task])
            raise

    async def __aenter__(self) -> Outlet:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(now=kind is not None)


class _Session:
    """From one opening of a destination to its closing; a task of its own, so that it closes where it was opened."""

    queue: InstanceQueue

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._loop = asyncio.get_running_loop()
        self._n_under_way = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ready = asyncio.Event()
        self._error: BaseException | None = None
        self.ending = asyncio.Event()
        self.task = self._loop.create_task(self._run())

    async def opened(self) -> None:
        """Wait until it is open, or say why it cannot be opened."""
        await self._ready.wait()
        if self._error is not None:
            raise self._error

    def begin(self) -> None:
        """Something is on its way."""
        self._n_under_way += 1
        self._disarm()

    def end(self) -> None:
        """It has reached an end."""
        self._n_under_way -= 1
        if not self._n_under_way:
            self._arm()

    def _arm(self) -> None:
        if not self.ending.is_set():
            self._timer = self._loop.call_later(self._outlet.idle, self.ending.set)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _run(self) -> None:
        outlet = self._outlet
        try:
            async with contextlib.AsyncExitStack() as stack:
                sending = outlet.sink.send(outlet._report, dest=outlet.name, method=outlet.method)
                self.queue = await stack.enter_async_context(sending)
                self._arm()  # whoever wanted it open may be gone
                self._ready.set()
                await self.ending.wait()
        except BaseException as error:
            if self._ready.is_set():
                self._note(error)
            else:
                self._error = error
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self.ending.set()
            self._ready.set()
            self._disarm()

    def _note(self, error: BaseException) -> None:
        """All that was placed has its answer by now: this is about the goodbye."""
        if not isinstance(error, asyncio.CancelledError):
            log.info("%s was not closed well: %s", self._outlet.sink, error)
