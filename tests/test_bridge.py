"""The bridge between the event loop and worker threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from dcm._bridge import Bridge
from tests.net.support import open_things


def names() -> list[str]:
    return [thing for thing in open_things() if thing.startswith("thread")]


async def test_results_and_errors_come_back() -> None:
    async with Bridge() as bridge:
        assert await bridge.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await bridge.run(divmod, 7, 0)
        assert await bridge.run(threading.current_thread) is not threading.current_thread()
        assert len(names()) == 2
    assert names() == []


def test_one_bridge_in_several_event_loops() -> None:
    bridge = Bridge(threads=1)

    async def use() -> int:
        async with bridge:
            return await bridge.run(len, "abc")

    assert [asyncio.run(use()) for _ in range(3)] == [3, 3, 3]
    assert names() == []


async def test_many_jobs_at_once() -> None:
    async with Bridge(threads=3) as bridge:
        results = await asyncio.gather(*(bridge.run(pow, number, 2, cost=number) for number in range(1000)))
    assert results == [number**2 for number in range(1000)]


async def test_bytes_that_wait_are_bounded() -> None:
    lock = threading.Lock()
    held = most = 0
    go_on = threading.Event()

    def work(n_bytes: int) -> None:
        nonlocal held, most
        with lock:
            held += n_bytes
            most = max(most, held)
        go_on.wait(10)
        with lock:
            held -= n_bytes

    async with Bridge(threads=8, max_bytes=100) as bridge:
        tasks = [asyncio.ensure_future(bridge.run(work, 40, cost=40)) for _ in range(20)]
        await asyncio.wait(tasks, timeout=0.05)
        assert held <= 80
        go_on.set()
        await asyncio.gather(*tasks)
    assert most <= 100


async def test_a_job_larger_than_all_room_runs_alone() -> None:
    async with Bridge(max_bytes=10) as bridge:
        one, two = await asyncio.gather(bridge.run(int, 1, cost=5), bridge.run(int, 2, cost=1000))
        assert (one, two) == (1, 2)


async def test_a_cancelled_job_that_has_not_begun_never_runs() -> None:
    begun, go_on = threading.Event(), threading.Event()
    ran: list[int] = []

    def block() -> None:
        begun.set()
        go_on.wait(10)

    async with Bridge(threads=1, max_bytes=10) as bridge:
        first = asyncio.ensure_future(bridge.run(block, cost=5))
        queued = asyncio.ensure_future(bridge.run(ran.append, 1, cost=5))
        waiting = asyncio.ensure_future(bridge.run(ran.append, 2, cost=5))
        last = asyncio.ensure_future(bridge.run(ran.append, 3, cost=5))
        await asyncio.to_thread(begun.wait)
        queued.cancel()
        waiting.cancel()
        await asyncio.wait([queued, waiting])
        go_on.set()
        await asyncio.gather(first, last)
    assert ran == [3]


async def test_a_cancelled_job_that_has_begun_ends_before_the_bridge() -> None:
    begun, go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def work() -> None:
        begun.set()
        go_on.wait(10)
        done.append("work")

    async def use() -> None:
        async with Bridge() as bridge:
            await bridge.run(work)

    task = asyncio.ensure_future(use())
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # once more, while it waits for its threads
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["work"]
    assert names() == []


async def test_what_ends_late_is_told_nevertheless() -> None:
    begun, go_on = threading.Event(), threading.Event()
    told: list[int] = []

    def work(number: int) -> int:
        begun.set()
        go_on.wait(10)
        return number

    async with Bridge(threads=1) as bridge:
        running = asyncio.ensure_future(bridge.run(work, 1, late=told.append))
        queued = asyncio.ensure_future(bridge.run(work, 2, late=told.append))
        await asyncio.to_thread(begun.wait)
        running.cancel()
        queued.cancel()
        await asyncio.wait([running, queued])
        assert told == []
        go_on.set()
    assert told == [1]


async def test_what_ends_as_its_caller_is_cancelled_is_told_nevertheless() -> None:
    told: list[int] = []
    async with Bridge(threads=1) as bridge:
        asking = asyncio.ensure_future(bridge.run(int, 1, late=told.append))
        # The loop hands over the result and wakes the caller, who is cancelled before it runs.
        deliver = bridge._deliver

        def deliver_and_cancel() -> None:
            deliver()
            asking.cancel()

        bridge._deliver = deliver_and_cancel  # type: ignore[method-assign]
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert told == [1]
        assert await bridge.run(int, 2, late=told.append) == 2
    assert told == [1]


async def test_the_body_failing_ends_the_threads() -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - it comes out of the context
        async with Bridge() as bridge:
            await bridge.run(int)
            raise ZeroDivisionError
    assert names() == []


async def test_a_lane_does_all_that_has_come_meanwhile_at_a_time() -> None:
    batches: list[list[int]] = []
    done: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> list[int]:
        assert threading.current_thread() is not threading.main_thread()
        batches.append(list(items))
        begun.set()
        assert go_on.wait(20)
        return [item * 2 for item in items]

    def then(results: Sequence[int]) -> None:
        assert threading.current_thread() is threading.main_thread()
        done.extend(results)

    async with Bridge(threads=1) as bridge:
        put = bridge.lane(work, then)
        put(0)
        assert await bridge.run(begun.wait, 20)
        for i in range(1, 50):
            put(i)
        go_on.set()
    # All that was taken is done, and told, when the bridge is closed.
    assert batches == [[0], list(range(1, 50))]
    assert done == [i * 2 for i in range(50)]
    assert names() == []


def divide(items: Sequence[int]) -> list[int]:
    return [1 // item for item in items]


async def test_a_lane_does_not_end_with_what_must_not_happen() -> None:
    told: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    done: list[int] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.put_nowait(context))
    async with Bridge(threads=1) as bridge:
        put = bridge.lane(divide, done.extend)
        put(0)
        assert isinstance((await told.get())["exception"], ZeroDivisionError)
        put(1)
    assert done == [1]
    asyncio.get_running_loop().set_exception_handler(None)


async def test_who_is_cancelled_at_the_exit_waits_for_the_lane() -> None:
    go_on = threading.Event()

    async def use() -> None:
        async with Bridge(threads=1) as bridge:
            bridge.lane(lambda items: [go_on.wait(20) for _ in items], lambda results: None)(1)

    task = asyncio.ensure_future(use())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names() == []
