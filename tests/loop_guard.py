"""What goes wrong in an event loop without any test noticing: calls that block it, errors that are only logged."""

from __future__ import annotations

import asyncio
import linecache
import logging
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE_DIR = str(Path(__file__).parent.parent / "dcm") + os.sep
TESTS_DIR = str(Path(__file__).parent) + os.sep

# What blocks a thread for as long as a disk or a name server likes. An audit hook sees it without any timing.
BLOCKING_EVENTS = frozenset(
    {
        *("open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.link", "os.rmdir"),
        *("os.truncate", "shutil.copyfile", "shutil.move", "shutil.rmtree", "sqlite3.connect"),
        *("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "subprocess.Popen", "time.sleep"),
    }
)


class LoopErrors(logging.Handler):
    """Collects what asyncio can only log: exceptions that nobody retrieved, tasks destroyed while pending."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(self.format(record))


class BlockingCalls:
    """Notes the calls that dcm makes in a thread that runs an event loop, and that can block it.

    Attributes
    ----------
    active : bool
        Whether it takes notes just now.
    found : list of str
        What was called, and where in dcm.
    """

    def __init__(self) -> None:
        self.active = False
        self.found: list[str] = []
        self._installed = False

    def install(self) -> None:
        """Start to watch. An audit hook stays until the process ends."""
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.active or event not in BLOCKING_EVENTS or asyncio._get_running_loop() is None:
            return
        if event == "socket.connect" and args[0].gettimeout() == 0:
            return
        if event == "open" and args[0] == "<unknown>":
            return  # no file: where Python 3.13 looks for the source of a frame when it makes a traceback
        culprit = _frame_in_package(sys._getframe(1))
        if culprit is not None:
            where = f"{culprit.f_code.co_filename}:{culprit.f_lineno} in {culprit.f_code.co_name}"
            self.found.append(f"{event}{args!r:.120} at {where}")


def _frame_in_package(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of dcm; None where a test is nearer, a module is being imported, or a traceback is made."""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE_DIR):
            return frame
        if name == linecache.__file__ or name.startswith((TESTS_DIR, "<frozen importlib")):
            return None  # asyncio's debug mode keeps where each task was made, with its source lines
        frame = frame.f_back
    return None
