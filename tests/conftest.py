"""What every test gets: a home and a configuration of its own, and an event loop that nothing blocks unnoticed."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import hypothesis
import pytest

pytest_plugins = ["tests.peers.fixtures"]

PACKAGE_DIR = str(Path(__file__).parent.parent / "dcm") + os.sep
TESTS_DIR = str(Path(__file__).parent) + os.sep

# Deadlines are a matter of the machine; "thorough" is for a night: HYPOTHESIS_PROFILE=thorough.
hypothesis.settings.register_profile("default", max_examples=100, deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", parent=hypothesis.settings.get_profile("default"), derandomize=True)
hypothesis.settings.register_profile("thorough", max_examples=5000, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--slow``."""
    parser.addoption("--slow", action="store_true", help="run the tests marked as slow, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests unless asked for; give them ten minutes instead of 30 s."""
    for item in items:
        if item.get_closest_marker("slow") is None:
            continue
        if not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))
        elif item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(autouse=True)
def isolated_config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for each test; gives the path that the configuration file would have, where none is yet."""
    home = tmp_path_factory.mktemp("home")
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("HOME", str(home))
    config = home / "dcm_conf.toml"
    monkeypatch.setenv("DCM_CONFIG_PATH", str(config))
    return config


class _LoopErrors(logging.Handler):
    """Collects what asyncio can only log: exceptions that nobody retrieved, tasks destroyed while pending."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(self.format(record))


@pytest.fixture(autouse=True)
def _loop_errors() -> Iterator[None]:
    """Fail a test in which asyncio logged an error."""
    handler = _LoopErrors()
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    if handler.messages:
        pytest.fail("asyncio logged: " + "\n".join(handler.messages), pytrace=False)


# What blocks a thread for as long as a disk or a name server likes. An audit hook sees it without any timing.
_BLOCKING = frozenset(
    {
        *("open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.link", "os.rmdir"),
        *("os.truncate", "shutil.copyfile", "shutil.move", "shutil.rmtree", "sqlite3.connect"),
        *("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "subprocess.Popen", "time.sleep"),
    }
)


class _BlockingCalls:
    """Notes the calls that dcm makes in a thread that runs an event loop, and that can block it."""

    def __init__(self) -> None:
        self.active = False
        self.installed = False
        self.found: list[str] = []

    def install(self) -> None:
        """Start to watch. An audit hook stays until the process ends."""
        if not self.installed:
            self.installed = True
            sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.active or event not in _BLOCKING or asyncio._get_running_loop() is None:
            return
        if event == "socket.connect" and args[0].gettimeout() == 0:
            return
        culprit = _frame_in_package(sys._getframe(1))
        if culprit is not None:
            where = f"{culprit.f_code.co_filename}:{culprit.f_lineno} in {culprit.f_code.co_name}"
            self.found.append(f"{event}{args!r:.120} at {where}")


def _frame_in_package(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of dcm; None where a test is nearer, or where a module is being imported."""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE_DIR):
            return frame
        if name.startswith((TESTS_DIR, "<frozen importlib")):
            return None
        frame = frame.f_back
    return None


_blocking_calls = _BlockingCalls()


@pytest.fixture(autouse=True)
def _no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which dcm blocked an event loop: opened a file, listed a directory, looked up a name in it."""
    if request.node.get_closest_marker("blocking_allowed") is not None:
        yield
        return
    _blocking_calls.install()
    _blocking_calls.found.clear()
    _blocking_calls.active = True
    yield
    _blocking_calls.active = False
    if _blocking_calls.found:
        pytest.fail("dcm blocked the event loop:\n" + "\n".join(_blocking_calls.found), pytrace=False)
