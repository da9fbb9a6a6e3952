"""The bell of a running forwarder."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from dcm.spool._control import Bell, ring


async def hears(bell: Bell, spool: Path, n_times: int = 1) -> int:
    """Ring some times at once, and say how often that was heard."""
    heard: list[int] = []
    once = asyncio.Event()

    def rung() -> None:
        heard.append(1)
        once.set()

    bell.listen(rung)
    assert await asyncio.to_thread(lambda: all(ring(spool) for _ in range(n_times)))
    await once.wait()
    await asyncio.sleep(0)
    bell.ignore()
    return len(heard)


@pytest.mark.parametrize("length", [0, 180])
async def test_it_is_heard(tmp_path: Path, length: int) -> None:
    """However long the path of the spool is."""
    spool = tmp_path / ("s" * length) if length else tmp_path
    spool.mkdir(exist_ok=True)
    assert not await asyncio.to_thread(ring, spool)
    bell = Bell(spool)
    await asyncio.to_thread(bell.open)
    assert (spool / "ctl").is_socket()
    assert await hears(bell, spool) == 1
    assert 1 <= await hears(bell, spool, 5) <= 5
    await asyncio.to_thread(bell.close)
    assert not (spool / "ctl").exists()
    assert not await asyncio.to_thread(ring, spool)
    bell.close()


async def test_after_one_that_was_killed(tmp_path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(str(tmp_path / "ctl"))
    dead.close()
    assert not ring(tmp_path)
    bell = Bell(tmp_path)
    await asyncio.to_thread(bell.open)
    assert await hears(bell, tmp_path) == 1
    await asyncio.to_thread(bell.close)


async def test_ringing_without_end_blocks_nobody(tmp_path: Path) -> None:
    bell = Bell(tmp_path)
    await asyncio.to_thread(bell.open)
    assert await hears(bell, tmp_path, 1000) >= 1
    await asyncio.to_thread(bell.close)


async def test_where_no_socket_can_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and all else works."""
    bell = Bell(tmp_path / "missing")
    await asyncio.to_thread(bell.open)
    assert "cannot reach this forwarder" in caplog.text
    bell.listen(lambda: None)
    bell.ignore()
    bell.close()
    assert not ring(tmp_path / "missing")
