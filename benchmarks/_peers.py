"""The servers of the benchmarks: those of the tests, but without their chatty logs, and a receiver of our own."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks._race import ROOT
from tests.peers import HOST, DcmtkQrscp, DcmtkStorescp, PeerProcess, PynetdicomStorescp, free_port

__all__ = [
    "HOST",
    "DcmReceiver",
    "PlainStorescp",
    "PynetdicomReceiver",
    "QuietQrscp",
    "Sink",
    "free_port",
    "peak_memory",
]


class QuietQrscp(DcmtkQrscp):
    """``dcmqrscp`` that logs no more than it does by default."""

    def command(self) -> Sequence[str]:
        return ["warn" if argument == "info" else argument for argument in super().command()]


class PlainStorescp(DcmtkStorescp):
    """``storescp -od DIR -aet AE PORT``, and nothing else."""

    def command(self) -> Sequence[str]:
        return [self.program, "-od", str(self.directory), "-aet", self.ae_title, str(self.port)]


class PynetdicomReceiver(PynetdicomStorescp):
    """pynetdicom's ``storescp`` with PDUs of any size, and quiet."""

    def command(self) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "pynetdicom", "storescp", "-q", "-aet", self.ae_title, "-pdu", "0"),
            *("-od", str(self.directory), str(self.port)),
        ]


class DcmReceiver(PeerProcess):
    """`LocalEntity.listen` that writes into a `LocalDir`: `benchmarks._receiver` in a process of its own."""

    def __init__(self, work_dir: Path, *, ae_title: str = "DCMBENCH", port: int | None = None) -> None:
        super().__init__(work_dir, ae_title, port)
        self.directory = work_dir / "received"
        self.directory.mkdir()

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "benchmarks._receiver", str(self.node), str(self.directory)]

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(ROOT)}


class Sink(DcmReceiver):
    """`benchmarks._sink`: answers, and keeps nothing."""

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "benchmarks._sink", str(self.node)]


class KeepingSink(Sink):
    """`benchmarks._sink` with a file: answers when the instance is written and synced."""

    def command(self) -> Sequence[str]:
        return [*super().command(), str(self.work_dir / "kept")]


def peak_memory(pid: int) -> int:
    """The most memory that a running process has had resident so far, in bytes (Linux)."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None, "no VmHWM: not a process that runs on Linux"
    return int(found[1]) * 1024
