"""Receive what storescu sends by dcm forward, which keeps it safe before it answers, beside storescp, which does not.

Timed are the senders, from their start until the last of them has its last acknowledgement, into receivers that have
been up for a second; ``dcm forward`` delivers into a directory meanwhile, and after the clock has stopped. Then the
memory of a forwarder after 2,000 and after 20,000 instances. ``python -m benchmarks.bench_forward --help`` says more.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._peers import HOST, KeepingSink, PlainStorescp, Sink
from benchmarks._race import (
    DCM,
    ROOT,
    BenchmarkError,
    Contestant,
    Race,
    check_received,
    fresh_directory,
    mode_name,
    modes,
    parser,
    progress,
    require,
    run_races,
)
from dcm.spool import Spool
from tests import data
from tests.peers import PeerProcess
from tests.peers.dcmtk import nodelay_env

# How many times as fast as with storescp the senders should be through, with CT instances and TCP_NODELAY=1.
BAR = 1.5
# How much more memory a forwarder may have after 20,000 instances than after 2,000.
MEMORY_BAR = 20_000_000
_DRAIN_WITHIN = 300.0
# Seconds that a receiver has to itself before anything comes: who waits for studies all day has that.
_UP_FOR = 1.0


class Forwarder(PeerProcess):
    """``dcm forward``, into a directory."""

    def __init__(self, work_dir: Path, *options: str) -> None:
        super().__init__(work_dir, "DCMBENCH")
        self.directory = work_dir / "delivered"
        self.options = options

    def command(self) -> Sequence[str]:
        spool = str(self.work_dir / "spool")
        return [*DCM, "--quiet", "forward", "--local", str(self.node), "--spool", spool, *self.options, self.dest]

    @property
    def dest(self) -> str:
        return f"{self.directory}:{{SOPInstanceUID}}"

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(ROOT)}

    def drained(self, n_files: int) -> None:
        """Wait until everything is delivered, and the spool is empty."""
        deadline = time.monotonic() + _DRAIN_WITHIN
        while time.monotonic() < deadline:
            with Spool(self.work_dir / "spool", exclusive=False) as spool:
                spooled = spool.counts().entries
            if not spooled and sum(1 for _ in self.directory.iterdir()) == n_files:
                return
            time.sleep(0.2)
        raise BenchmarkError(f"the forwarder has not delivered {n_files} instances within {_DRAIN_WITHIN:.0f} s")

    def resident(self) -> int:
        """Bytes that it has resident now (Linux)."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB$", text, re.MULTILINE)
        assert found is not None, "no VmRSS: not a process that runs on Linux"
        return int(found[1]) * 1024


Receiver = Forwarder | PlainStorescp | Sink


def send_all(receiver: Receiver, directories: Sequence[Path], env: Mapping[str, str], log: Path) -> float:
    """Run a storescu for each directory, all at once, and give the seconds until the last is through."""
    start = time.perf_counter()
    with open(log, "wb") as out:
        senders = [
            subprocess.Popen(
                ["storescu", "-aec", receiver.ae_title, "+sd", HOST, str(receiver.port), str(directory)],
                env={**os.environ, **env},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            for directory in directories
        ]
        codes = [sender.wait() for sender in senders]
    seconds = time.perf_counter() - start
    if any(codes):
        raise BenchmarkError(f"storescu ended with {codes}:\n{log.read_text(errors='replace')[-3000:]}")
    return seconds


@dataclass(frozen=True)
class Setup:
    """What the senders send, and how."""

    name: str
    directories: Sequence[Path]
    n_files: int
    n_bytes: int
    work_dir: Path
    nodelay: bool

    def run(self, make_receiver: Callable[[Path], Receiver]) -> float:
        """Start a receiver, send it everything, and see that it has everything."""
        with fresh_directory(self.work_dir / "receiver") as directory, make_receiver(directory) as receiver:
            time.sleep(_UP_FOR)
            seconds = send_all(receiver, self.directories, nodelay_env(self.nodelay), self.work_dir / "storescu.log")
            if isinstance(receiver, Forwarder):
                receiver.drained(self.n_files)
            if not isinstance(receiver, Sink):
                check_received(receiver.directory, self.n_files, self.n_bytes * 99 // 100)
        return seconds

    def race(self, bar: float | None) -> Race:
        """Who receives, ours first."""
        contestants = [
            Contestant("dcm forward", lambda: self.run(Forwarder)),
            Contestant("storescp", lambda: self.run(lambda path: PlainStorescp(path, nodelay=self.nodelay)), bar),
            Contestant("dcm forward --ack received", lambda: self.run(lambda p: Forwarder(p, "--ack", "received"))),
            Contestant("the least possible, synced", lambda: self.run(KeepingSink)),
            Contestant("the least possible", lambda: self.run(Sink)),
        ]
        return Race(f"{self.name}, DCMTK {mode_name(self.nodelay)}", contestants)


def make_races(options: argparse.Namespace, work_dir: Path) -> Iterator[Race]:
    """A race for each kind of data, number of senders and mode of DCMTK."""
    n_ct, n_tiny = (48, 100) if options.quick else (500, 2000)
    kinds = {
        f"{n_ct} CT instances": data.write_ct(work_dir / "ct", n_ct),
        f"{n_tiny:,} tiny instances": data.write_tiny(work_dir / "tiny", n_tiny),
    }
    for nodelay, (name, samples), n_senders in itertools.product(modes(options), kinds.items(), (1, 4)):
        n_bytes = sum(sample.path.stat().st_size for sample in samples)
        directories = shares(samples, n_senders)
        title = f"Forward {name} from {n_senders} storescu" + (" at once" if n_senders > 1 else "")
        bar = BAR if nodelay and " CT " in name else None
        yield Setup(title, directories, len(samples), n_bytes, work_dir, nodelay).race(bar)


def shares(samples: Sequence[data.Sample], n_senders: int) -> list[Path]:
    """Directories with the files of each sender."""
    own = samples[0].path.parent
    if n_senders == 1:
        return [own]
    directories = [own.with_name(f"{own.name}-{n_senders}-{i}") for i in range(n_senders)]
    if not directories[0].exists():
        for directory in directories:
            directory.mkdir()
        for i, sample in enumerate(samples):
            (directories[i % n_senders] / sample.path.name).hardlink_to(sample.path)
    return directories


def measure_memory(options: argparse.Namespace, work_dir: Path) -> bool:
    """Print what a forwarder has resident after few and after many instances, and say whether that passes the bar."""
    few, many = (200, 2000) if options.quick else (2000, 20_000)
    samples = data.write_tiny(work_dir / "many", many)
    first, rest = work_dir / "first", work_dir / "rest"
    for directory in (first, rest):
        directory.mkdir()
    for i, sample in enumerate(samples):
        shutil.move(sample.path, (first if i < few else rest) / sample.path.name)
    with fresh_directory(work_dir / "receiver") as directory, Forwarder(directory) as forwarder:
        figures = []
        for share, n_delivered in ((first, few), (rest, many)):
            send_all(forwarder, [share], nodelay_env(True), work_dir / "storescu.log")
            forwarder.drained(n_delivered)
            figures.append(forwarder.resident())
            progress(f"after {n_delivered:,} instances: {figures[-1] / 1e6:.1f} MB")
    more = figures[1] - figures[0]
    passed = more <= MEMORY_BAR
    word = "pass" if passed else "ABOVE"
    print(f"\nMemory of dcm forward after {few:,} and {many:,} instances: {figures[0] / 1e6:.1f} and "
          f"{figures[1] / 1e6:.1f} MB, {more / 1e6:+.1f} MB (bar {MEMORY_BAR / 1e6:g}: {word})")  # fmt: skip
    return passed


def main() -> int:
    """Run the benchmark."""
    options = parser(__doc__)
    options.add_argument("--only", choices=("time", "memory"), help="only one of the two halves")
    chosen = options.parse_args()
    require("storescu", "storescp")
    codes = [0]
    if chosen.only != "memory":
        codes.append(run_races(chosen, lambda work_dir: make_races(chosen, work_dir)))
    if chosen.only != "time":
        from benchmarks._race import work_directory

        with work_directory(chosen) as work_dir:
            codes.append(0 if measure_memory(chosen, work_dir) or chosen.quick else 1)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
