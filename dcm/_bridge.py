"""The one place where the event loop and worker threads meet.

The event loop owns the sockets, the threads own the disk. Work crosses to the threads through a janus queue, and comes
back in batches: a thread that finishes several jobs while the loop is busy wakes it once.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import janus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    _Late: TypeAlias = "Callable[[Any], None] | None"
    _Job: TypeAlias = "tuple[Callable[..., Any], tuple[Any, ...], asyncio.Future[Any], int, _Late] | None"

__all__ = ["Bridge"]

_T = TypeVar("_T")
_R = TypeVar("_R")


class Bridge:
    """Worker threads for blocking calls, bounded by the bytes that wait for them.

    An asynchronous context manager: threads start on entry, finish what they have begun and end on exit.

    Parameters
    ----------
    threads : int
        How many worker threads.
    max_bytes : int
        How many bytes may wait for the threads, or be in their hands; `run` waits beyond that. One job that is larger
        than all of it runs alone.
    """

    def __init__(self, threads: int = 2, max_bytes: int = 64 << 20) -> None:
        self._n_threads = threads
        self._max_bytes = max_bytes
        self._bytes = 0
        self._room: deque[asyncio.Future[None]] = deque()
        self._done: deque[tuple[asyncio.Future[Any], int, _Late, Any, BaseException | None]] = deque()
        self._waking = False
        self._threads: list[threading.Thread] = []
        self._running = 0
        self._lanes: list[_Lane[Any, Any]] = []

    async def __aenter__(self) -> Bridge:
        self._loop = asyncio.get_running_loop()
        self._queue: janus.Queue[_Job] = janus.Queue()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._lanes = []
        self._threads = [
            threading.Thread(target=self._work, name=f"dcm-disk-{i}", daemon=True) for i in range(self._n_threads)
        ]
        self._running = len(self._threads)
        for thread in self._threads:
            thread.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for lane in self._lanes:
            lane.close()
        for _ in range(self._n_threads):
            self._queue.async_q.put_nowait(None)
        # A cancelled exit must still wait: a thread that outlives the loop would have nobody to report to.
        cancelled = False
        while not self._ended.done():
            try:
                await asyncio.shield(self._ended)
            except asyncio.CancelledError:  # noqa: PERF203
                cancelled = True
        for thread in self._threads:
            thread.join()
        self._deliver()
        await self._queue.aclose()
        if cancelled:
            raise asyncio.CancelledError

    async def run(
        self, func: Callable[..., _T], *args: Any, cost: int = 0, late: Callable[[_T], None] | None = None
    ) -> _T:
        """Call a blocking function in a worker thread.

        Parameters
        ----------
        func : callable
        *args
            Its arguments.
        cost : int
            How many bytes the job holds in memory.
        late : callable, optional
            Called in the event loop with what `func` has returned, where the caller was cancelled while it ran.

        Returns
        -------
        object
            What `func` returns; what it raises is raised. A job that has begun runs to its end even where the caller
            is cancelled; one that has not is dropped.
        """
        while self._bytes and self._bytes + cost > self._max_bytes:
            room = self._loop.create_future()
            self._room.append(room)
            await room
        self._bytes += cost
        future: asyncio.Future[_T] = self._loop.create_future()
        self._queue.async_q.put_nowait((func, args, future, cost, late))
        try:
            return await future
        except asyncio.CancelledError:
            # It had just ended, and its caller was about to learn of it.
            if late is not None and not future.cancelled() and future.exception() is None:
                late(future.result())
            raise

    def lane(
        self, work: Callable[[Sequence[_T]], Sequence[_R]], then: Callable[[Sequence[_R]], None]
    ) -> Callable[[_T], None]:
        """Have a thread of its own do one kind of work, for all that has come meanwhile at a time.

        What many wait for takes less so than with a `run` for each of them.

        Parameters
        ----------
        work : callable
            Called in the thread with what has come. It must not raise.
        then : callable
            Called in the event loop with what `work` has returned.

        Returns
        -------
        callable
            Takes what is to be done, in the event loop; not after the exit, which waits for what was taken.
        """
        lane = _Lane(work, then, self._loop, self._thread_ended)
        self._lanes.append(lane)
        self._threads.append(lane.thread)
        self._running += 1
        lane.thread.start()
        return lane.put

    def _work(self) -> None:
        get = self._queue.sync_q.get
        while (job := get()) is not None:
            func, args, future, cost, late = job
            result, error = None, None
            if future.cancelled():
                late = None
            else:
                try:
                    result = func(*args)
                except BaseException as exc:  # noqa: BLE001 - whatever it is belongs to the caller, on the other side
                    error = exc
            self._hand_back(future, cost, late, result, error)
            del job, func, args, future, late, result, error
        self._loop.call_soon_threadsafe(self._thread_ended)

    def _hand_back(
        self, future: asyncio.Future[Any], cost: int, late: _Late, result: Any, error: BaseException | None
    ) -> None:
        self._done.append((future, cost, late, result, error))
        if not self._waking:
            self._waking = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # The flag falls before the deque is read: what a thread appends from here on either is read now or wakes us.
        self._waking = False
        while self._done:
            future, cost, late, result, error = self._done.popleft()
            self._bytes -= cost
            if future.done():
                if late is not None and error is None:
                    late(result)
            elif error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        while self._room and self._bytes < self._max_bytes:
            room = self._room.popleft()
            if not room.done():
                room.set_result(None)

    def _thread_ended(self) -> None:
        self._running -= 1
        if not self._running and not self._ended.done():
            self._ended.set_result(None)


class _Lane(Generic[_T, _R]):
    """A thread that does one kind of work; see `Bridge.lane`."""

    def __init__(
        self,
        work: Callable[[Sequence[_T]], Sequence[_R]],
        then: Callable[[Sequence[_R]], None],
        loop: asyncio.AbstractEventLoop,
        ended: Callable[[], None],
    ) -> None:
        self._work = work
        self._then = then
        self._loop = loop
        self._ended = ended
        # Who waits for one of these is woken in C, and the other thread does nothing for that.
        self._queue: SimpleQueue[_T | None] = SimpleQueue()
        self.put: Callable[[_T], None] = self._queue.put
        self.thread = threading.Thread(target=self._run, name="dcm-disk-lane", daemon=True)

    def close(self) -> None:
        """Take nothing more."""
        self._queue.put(None)

    def _run(self) -> None:
        get, get_now = self._queue.get, self._queue.get_nowait
        open_ = True
        while open_:
            batch = [get()]
            with contextlib.suppress(Empty):
                while True:
                    batch.append(get_now())
            items = [item for item in batch if item is not None]
            open_ = len(items) == len(batch)
            if items:
                self._do(items)
        self._loop.call_soon_threadsafe(self._ended)

    def _do(self, items: Sequence[_T]) -> None:
        try:
            results = self._work(items)
        except BaseException as exc:  # noqa: BLE001 - without this thread all who come would never get an answer
            context = {"message": "what must not fail has failed", "exception": exc}
            self._loop.call_soon_threadsafe(self._loop.call_exception_handler, context)
        else:
            self._loop.call_soon_threadsafe(self._then, results)
