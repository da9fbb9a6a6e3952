"""A destination is opened when something is to go there, and closed when nothing has gone for a while."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dcm.errors import ConnectionFailedError, NetworkError, StoreError, UsageError
from dcm.instance import Instance
from dcm.report import Outcome, TransferReport
from dcm.route import Outlet
from dcm.store import TransferMethod
from dcm.store.local_dir import LocalDir
from dcm.store.memory import MemoryStore
from tests.route.objects import make

if TYPE_CHECKING:
    from dcm.store.base import Sendable


class Door:
    """A queue that does what it is told, and the only one of its sink that is open."""

    def __init__(self, sink: Doors) -> None:
        self.sink = sink

    async def put(self, item: Sendable) -> None:
        raise NotImplementedError

    async def place(self, instance: Instance) -> bool:
        self.sink.n_under_way += 1
        try:
            await self.sink.go.wait()
        finally:
            self.sink.n_under_way -= 1
        if self.sink.fails:
            raise self.sink.fails.pop()
        return True


class Doors(MemoryStore):
    """A sink that counts how often it was opened and closed."""

    def __init__(self) -> None:
        super().__init__(name="doors")
        self.n_opened = self.n_closed = self.n_under_way = 0
        self.go = asyncio.Event()
        self.go.set()
        self.closed = asyncio.Event()
        self.fails: list[Exception] = []
        self.fails_to_open: list[Exception] = []
        self.fails_to_close: list[Exception] = []
        self.cancelled = False

    @contextlib.asynccontextmanager
    async def send(  # type: ignore[override]
        self, report: TransferReport | None = None, *, dest: str = "", method: TransferMethod = TransferMethod.PROXY
    ) -> AsyncIterator[Door]:
        self.n_opened += 1
        assert self.n_opened == self.n_closed + 1, "open twice at the same time"
        try:
            if self.fails_to_open:
                raise self.fails_to_open.pop()
            yield Door(self)
            if self.fails_to_close:
                raise self.fails_to_close.pop()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.n_closed += 1
            self.closed.set()


def outlet(sink: MemoryStore | LocalDir, idle: float = 60.0, report: TransferReport | None = None) -> Outlet:
    return Outlet(sink, report or TransferReport(), idle=idle)


async def until(condition: Callable[[], bool]) -> None:
    """Let everybody else run until something is so."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never happened")


async def test_it_is_open_while_there_is_work() -> None:
    doors = Doors()
    async with outlet(doors) as out:
        assert not out.is_open
        assert doors.n_opened == 0
        assert await asyncio.gather(*(out.place(make(number=i)) for i in range(5))) == [True] * 5
        assert await out.place(make())
        assert out.is_open
        assert (doors.n_opened, doors.n_closed) == (1, 0)
    assert doors.n_closed == 1
    assert not doors.cancelled
    with pytest.raises(StoreError, match="closed"):
        await out.place(make())


async def test_it_is_closed_when_idle_and_opened_again() -> None:
    doors = Doors()
    async with outlet(doors, idle=0) as out:
        await out.place(make())
        await doors.closed.wait()
        assert not out.is_open
        await out.place(make())
        assert doors.n_opened == 2


async def test_it_is_not_idle_while_something_is_on_its_way() -> None:
    doors = Doors()
    doors.go.clear()
    async with outlet(doors, idle=0) as out:
        first = asyncio.ensure_future(out.place(make()))
        await until(lambda: bool(doors.n_under_way))
        second = asyncio.ensure_future(out.place(make(number=2)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert (doors.n_opened, doors.n_closed, doors.n_under_way) == (1, 0, 2)
        doors.go.set()
        assert all(await asyncio.gather(first, second))
        await doors.closed.wait()


async def test_what_breaks_it_is_raised_and_the_next_one_opens_it_anew() -> None:
    doors = Doors()
    doors.fails = [NetworkError("gone")]
    async with outlet(doors) as out:
        with pytest.raises(NetworkError, match="gone"):
            await out.place(make())
        assert await out.place(make())
        assert doors.n_opened == 2


async def test_what_cannot_be_opened_is_told_to_all_who_wait_and_tried_again() -> None:
    doors = Doors()
    doors.fails_to_open = [ConnectionFailedError("nobody there")]
    async with outlet(doors) as out:
        results = await asyncio.gather(*(out.place(make()) for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [ConnectionFailedError] * 3
        assert await out.place(make())


async def test_a_bad_goodbye_is_no_failure() -> None:
    doors = Doors()
    doors.fails_to_close = [NetworkError("hung up")]
    async with outlet(doors) as out:
        assert await out.place(make())


async def test_who_is_cancelled_takes_nobody_with_him() -> None:
    doors = Doors()
    doors.go.clear()
    async with outlet(doors) as out:
        tasks = [asyncio.ensure_future(out.place(make(number=i))) for i in range(2)]
        await until(lambda: doors.n_under_way == 2)
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        doors.go.set()
        assert await tasks[1]
        assert doors.n_opened == 1


@pytest.mark.parametrize("opening", [True, False])
async def test_it_is_cancelled_with_its_owner(opening: bool) -> None:
    doors = Doors()
    doors.go.clear()

    async def own() -> None:
        async with outlet(doors) as out:
            await out.place(make())

    task = asyncio.ensure_future(own())
    await until(lambda: bool(doors.n_opened if opening else doors.n_under_way))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert doors.n_opened == doors.n_closed == 1


@pytest.mark.parametrize("opening", [True, False])
async def test_closing_it_now_gives_up_what_is_on_its_way(opening: bool) -> None:
    doors = Doors()
    doors.go.clear()
    out = outlet(doors)
    placing = asyncio.ensure_future(out.place(make()))
    await until(lambda: bool(out.is_open if opening else doors.n_under_way))
    await out.close(now=True)
    with pytest.raises(StoreError, match="closed"):
        await placing
    assert doors.n_opened == doors.n_closed
    await out.close()


async def test_closing_it_waits_for_what_is_on_its_way() -> None:
    doors = Doors()
    doors.go.clear()
    out = outlet(doors)
    placing = asyncio.ensure_future(out.place(make()))
    await until(lambda: bool(doors.n_under_way))
    closing = asyncio.ensure_future(out.close())
    await asyncio.sleep(0)
    doors.go.set()
    assert await placing
    await closing
    assert doors.n_closed == 1


async def test_files_get_there_by_the_first_method_that_leaves_them_where_they_are(tmp_path: Path) -> None:
    move, link, proxy = TransferMethod.MOVE, TransferMethod.LINK, TransferMethod.PROXY
    report = TransferReport()
    assert Outlet(LocalDir(tmp_path), report, methods=(move, link, proxy)).method is link
    assert Outlet(MemoryStore(), report, methods=(link, proxy)).method is proxy
    assert Outlet(LocalDir(tmp_path), report, methods=(move,)).method is proxy


async def test_a_directory(tmp_path: Path) -> None:
    report = TransferReport()
    async with Outlet(LocalDir(tmp_path / "out"), report, name="there") as out:
        assert await out.place(make())
    assert report.state(make().sop_instance_uid, "there") is Outcome.SENT
    file = tmp_path / "file"
    file.touch()
    async with Outlet(LocalDir(file), report) as out:
        with pytest.raises(UsageError, match="not a directory"):
            await out.place(make())
