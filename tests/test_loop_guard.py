"""The guards of the event loop see what they are there for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import blocking_calls
from tests.loop_guard import PACKAGE_DIR, LoopErrors

SOURCE = """
import os, socket

def read(path):
    open(path).close()

def lookup(path):
    socket.getaddrinfo("127.0.0.1", 104)

def low_level(path):
    os.close(os.open(path, os.O_RDONLY))

def call(function):
    return function()

def load(path):
    import this_is_imported_late
"""


@pytest.fixture
def found() -> Iterator[list[str]]:
    """What the guard found; forgotten at the end, so that the test does not fail for it."""
    yield blocking_calls.found
    blocking_calls.found.clear()


@pytest.fixture
def package() -> dict[str, Callable[[Any], Any]]:
    """Functions that look as if they were in dcm."""
    namespace: dict[str, Any] = {}
    exec(compile(SOURCE, PACKAGE_DIR + "made_up.py", "exec"), namespace)
    return namespace


@pytest.mark.parametrize("name", ["read", "lookup", "low_level"])
async def test_a_blocking_call_is_found(package: dict[str, Callable[[Any], Any]], found: list[str], name: str) -> None:
    package[name](Path(__file__))
    assert len(found) == 1
    line = SOURCE[: SOURCE.index(name)].count("\n") + 2
    assert f"made_up.py:{line} in {name}" in found[0]


async def test_a_worker_thread_may_block(package: dict[str, Callable[[Any], Any]], found: list[str]) -> None:
    await asyncio.to_thread(package["read"], Path(__file__))
    assert not found


def test_without_a_loop_all_may_block(package: dict[str, Callable[[Any], Any]], found: list[str]) -> None:
    package["read"](Path(__file__))
    assert not found


async def test_what_a_test_does_is_its_own_matter(package: dict[str, Callable[[Any], Any]], found: list[str]) -> None:
    package["call"](Path(__file__).read_bytes)
    assert found
    found.clear()
    package["call"](lambda: Path(__file__).read_bytes())
    Path(__file__).read_bytes()
    assert not found


async def test_a_late_import_is_no_blocking_call(
    package: dict[str, Callable[[Any], Any]],
    found: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "this_is_imported_late.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    package["load"](None)
    assert not found


async def test_errors_that_asyncio_only_logs_are_found() -> None:
    """A handler like the one that every test runs under, without the one that would fail this test."""
    logger = logging.getLogger("asyncio")
    others, handler = logger.handlers[:], LoopErrors()
    logger.handlers[:] = [handler]
    try:
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "a task was lost"})
        logger.warning("this is no error")
    finally:
        logger.handlers[:] = others
    assert [message.splitlines()[0] for message in handler.messages] == ["a task was lost"]
