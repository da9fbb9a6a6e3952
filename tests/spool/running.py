"""``dcm forward`` as a process of its own, and senders that keep account of what was acknowledged."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from dcm.part10 import read_meta
from tests.data import Sample, data_set_of
from tests.peers import HOST, PeerProcess, require_program

_SENT = re.compile(r"^I: Sending file: (.*)$|^I: Received Store Response \((.*)\)$", re.MULTILINE)


class ForwardProcess(PeerProcess):
    """A forwarder that listens on a free port.

    Parameters
    ----------
    work_dir : Path
        Where its log goes.
    *args
        Of the command line, destinations too.
    spool : Path, optional
        In `work_dir` by default.
    program, before : sequence of str, optional
        What runs ``dcm``, and what goes before its command.
    env : mapping, optional
        Added to the environment.
    wait : bool, optional
        Whether starting waits until it listens.
    """

    stop_signal = signal.SIGTERM

    def __init__(
        self,
        work_dir: Path,
        *args: str | Path,
        spool: Path | None = None,
        port: int | None = None,
        program: Sequence[str] = (sys.executable, "-m", "dcm"),
        before: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> None:
        super().__init__(work_dir, "FORWARD", port)
        self.spool = spool or work_dir / "spool"
        self.args = args
        self.program = tuple(program)
        self.before = tuple(before)
        self.env = dict(env or {})
        self.wait = wait
        self._log_start = self.log_size()

    def environment(self) -> Mapping[str, str]:
        return self.env

    def command(self) -> Sequence[str]:
        local = f"{HOST}:{self.ae_title}:{self.port}"
        options = ("--local", local, "--spool", str(self.spool))
        return [*self.program, *self.before, "forward", *options, *map(str, self.args)]

    def ready(self) -> bool:
        return not self.wait or "Listening on" in self.said

    @property
    def said(self) -> str:
        """What it printed."""
        return self.log_tail(1 << 20, start=self._log_start)

    def tell(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def ended(self, timeout: float = 20) -> int:
        """Wait until it ends by itself; its exit code."""
        assert self._process is not None
        code = self._process.wait(timeout=timeout)
        self.stop()
        return code

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.tell(number)
        return self.ended()

    def crash(self) -> None:
        """Kill it at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.stop()


class Sender:
    """``storescu`` with some files, and what it was told of each.

    Parameters
    ----------
    port : int
        Of the forwarder.
    paths : sequence of Path
    log : Path
        Where it writes what it does.
    """

    def __init__(self, port: int, paths: Sequence[Path], log: Path, calling: str = "STORESCU") -> None:
        self.log = log
        command = [
            require_program("storescu", "dcmtk"),
            "-v",
            "-R",
            "-aet",
            calling,
            "-aec",
            "FORWARD",
            HOST,
            str(port),
        ]
        with open(log, "wb") as out:
            self._process = subprocess.Popen(
                [*command, *map(str, paths)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TCP_NODELAY": "1"},
            )

    def finish(self, timeout: float = 25) -> int:
        """Wait for its end; its exit code."""
        return self._process.wait(timeout=timeout)

    @property
    def answers(self) -> dict[Path, str]:
        """What it was told of the files that it sent."""
        found: dict[Path, str] = {}
        path: Path | None = None
        for sent, answer in _SENT.findall(self.log.read_text(errors="replace")):
            if sent:
                path = Path(sent)
            elif path is not None:
                found[path] = answer
                path = None
        return found

    @property
    def acknowledged(self) -> set[Path]:
        """The files that the forwarder has said it has."""
        return {path for path, answer in self.answers.items() if answer == "Success"}


def holds(directory: Path) -> dict[str, bytes]:
    """SOP instance UID to data set of all files in a directory, hidden ones too; each is there once, and is DICOM."""
    found: dict[str, bytes] = {}
    for path in sorted(directory.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        meta = read_meta(content)
        assert meta is not None, f"{path} is not DICOM: {len(content)} bytes"
        assert meta.sop_instance_uid not in found, f"{path} is there twice"
        found[meta.sop_instance_uid] = data_set_of(content)
    return found


def contents(samples: Iterable[Sample]) -> dict[str, bytes]:
    """The same of samples: what should be there."""
    return {sample.sop_instance_uid: sample.data_set_bytes for sample in samples}


def until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Wait until something is so; for tests, which watch other processes from outside."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
