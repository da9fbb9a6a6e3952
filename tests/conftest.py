"""What every test gets: a home and a configuration of its own, and an event loop that nothing blocks unnoticed."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.loop_guard import BlockingCalls, LoopErrors

pytest_plugins = ["tests.peers.fixtures"]

# Deadlines are a matter of the machine; "thorough" is for a night: HYPOTHESIS_PROFILE=thorough.
hypothesis.settings.register_profile("default", max_examples=100, deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", parent=hypothesis.settings.get_profile("default"), derandomize=True)
hypothesis.settings.register_profile("thorough", max_examples=5000, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

blocking_calls = BlockingCalls()


def pytest_configure(config: pytest.Config) -> None:
    """Give the processes that are started bytecode, where Python is told to write none beside the source."""
    if sys.dont_write_bytecode and hasattr(config, "cache"):
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(config.cache.mkdir("bytecode")))


def pytest_collection_finish() -> None:
    """Spare each collection of garbage to look at thousands of tests, which stay to the end anyway."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--slow``."""
    parser.addoption("--slow", action="store_true", help="run the tests marked as slow, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests unless asked for; give them ten minutes instead of one."""
    for item in items:
        if item.get_closest_marker("slow") is None:
            continue
        if not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))
        elif item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names for homes. (`mktemp` looks through all that there are for each new one.)"""
    root = tmp_path_factory.mktemp("homes")
    return (root / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def isolated_config(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for each test; gives the path that the configuration file would have, where none is yet."""
    home = next(homes)
    home.mkdir()
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("HOME", str(home))
    config = home / "dcm_conf.toml"
    monkeypatch.setenv("DCM_CONFIG_PATH", str(config))
    return config


@pytest.fixture(autouse=True)
def _loop_errors() -> Iterator[None]:
    """Fail a test in which asyncio logged an error."""
    handler = LoopErrors()
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    if handler.messages:
        pytest.fail("asyncio logged: " + "\n".join(handler.messages), pytrace=False)


@pytest.fixture(autouse=True)
def _no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which dcm blocked an event loop: opened a file, listed a directory, looked up a name in it."""
    blocking_calls.install()
    blocking_calls.found.clear()
    blocking_calls.active = request.node.get_closest_marker("blocking_allowed") is None
    yield
    blocking_calls.active = False
    if blocking_calls.found:
        pytest.fail("dcm blocked the event loop:\n" + "\n".join(blocking_calls.found), pytrace=False)
