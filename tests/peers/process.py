"""Peers as processes of their own: started, waited for until they answer, and ended with all their children."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, NoReturn, TypeVar

import pytest

if TYPE_CHECKING:
    from dcm.node import DcmNode

HOST = "127.0.0.1"
REQUIRE_PEERS = "DCM_REQUIRE_PEERS"

_PeerT = TypeVar("_PeerT", bound="PeerProcess")
_ports_given: set[int] = set()


def free_port() -> int:
    """A TCP port that nobody listens on, and that is given only once in a run.

    It lies below the range that the kernel takes the local ports of outgoing connections from, so that no connection
    made between now and the use of the port can take it. Of several workers of one run each has ports of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    n_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    for _ in range(1000):
        port = random.randrange(15000 + worker % n_workers, 32000, n_workers)
        if port in _ports_given:
            continue
        with socket.socket() as sock:
            try:
                sock.bind((HOST, port))
            except OSError:
                continue
        _ports_given.add(port)
        return port
    raise RuntimeError("no free TCP port found")


def peers_required() -> bool:
    """True where a peer that is not installed is a failure: in CI."""
    return os.environ.get(REQUIRE_PEERS, "") not in ("", "0")


def missing_peer(reason: str) -> NoReturn:
    """Skip the test; fail it where `DCM_REQUIRE_PEERS` is set, because a skip would pass unnoticed there."""
    if peers_required():
        pytest.fail(f"{reason}, and {REQUIRE_PEERS} is set", pytrace=False)
    pytest.skip(reason)


def require_module(name: str, package: str) -> None:
    """The same as `require_program` for a Python module that a peer needs."""
    if importlib.util.find_spec(name) is None:
        missing_peer(f"the Python package {package} is not installed")


def require_program(name: str, package: str) -> str:
    """The path of an installed program; without it the test is skipped, or fails with ``DCM_REQUIRE_PEERS=1``."""
    directories = [*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/local/sbin", "/usr/sbin"]
    for directory in directories:
        found = shutil.which(name, path=directory)
        if found is not None and not _is_script(found):
            return found
    missing_peer(f"{name} is not installed (Debian package {package})")


def _is_script(path: str) -> bool:
    """Whether a program is a script: pynetdicom installs some with the names of DCMTK's tools, first on the path."""
    with open(path, "rb") as file:
        return file.read(2) == b"#!"


class PeerStartError(Exception):
    """A peer that ended, or did not answer in time, instead of serving."""


class PeerProcess:
    """One running peer.

    Attributes
    ----------
    host, ae_title, port
        Where it listens for associations.
    log : Path
        What it prints; shown with every test that fails while the peer runs.
    """

    running: ClassVar[list[PeerProcess]] = []
    start_deadline: ClassVar[float] = 20.0
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, work_dir: Path, ae_title: str, port: int | None = None) -> None:
        self.host = HOST
        self.ae_title = ae_title
        self.port = free_port() if port is None else port
        self.work_dir = work_dir
        self.work_dir.mkdir(parents=True, exist_ok=True)
        self.log = work_dir / f"{type(self).__name__}-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def node(self) -> DcmNode:
        """The peer as the library names it."""
        from dcm.node import DcmNode

        return DcmNode(self.host, self.ae_title, self.port)

    @property
    def pid(self) -> int:
        """The process id (of the parent, where a peer forks one child for each association)."""
        assert self._process is not None, "not started"
        return self._process.pid

    def command(self) -> Sequence[str]:
        """The command line to run, given by each kind of peer."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """What is added to the environment."""
        return {}

    def ready(self) -> bool:
        """Whether it answers by now."""
        return accepts_connections(self.host, self.port)

    def start(self) -> None:
        """Start the peer and wait until it answers.

        Call it in the main thread: the kernel ends the peer together with the thread that started it, so that it does
        not survive a run that was killed.
        """
        command = list(self.command())
        setpriv = shutil.which("setpriv")
        if setpriv is not None:
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.work_dir,
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        PeerProcess.running.append(self)
        deadline = time.monotonic() + self.start_deadline
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                text = self.log_tail()
                self.stop()
                raise PeerStartError(f"{' '.join(command)} does not serve:\n{text}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End the peer and its children: politely, then not. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        PeerProcess.running.remove(self)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, self.stop_signal)
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def kill(self) -> None:
        """End the peer and its children at once, as a crash does."""
        assert self._process is not None, "not started"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.stop()

    def log_size(self) -> int:
        """How many bytes the peer printed so far."""
        return self.log.stat().st_size if self.log.exists() else 0

    def log_tail(self, limit: int = 20_000, *, start: int = 0) -> str:
        """The end of what the peer printed, from byte `start` on."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[start:][-limit:].decode(errors="replace")

    def __enter__(self: _PeerT) -> _PeerT:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.host}:{self.ae_title}:{self.port}"


def accepts_connections(host: str, port: int) -> bool:
    """Whether a TCP connection can be made; it is closed at once."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


@atexit.register
def _stop_all() -> None:
    for peer in list(PeerProcess.running):
        peer.stop()
