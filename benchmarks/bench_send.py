"""Send instances to storescp and to Orthanc: LocalEntity.upload, and dcm sync as a whole command, beside storescu.

``python -m benchmarks.bench_send --help`` says more.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._peers import HOST, PlainStorescp
from benchmarks._race import (
    DCM,
    BenchmarkError,
    Contestant,
    Race,
    check_received,
    fresh_directory,
    mode_name,
    modes,
    parser,
    require,
    run_command,
    run_races,
)
from tests import data
from tests.peers import OrthancPeer
from tests.peers.dcmtk import nodelay_env

# How many times as fast as storescu LocalEntity.upload should be, for CT and for tiny instances.
BARS = {True: (2.0, 1.3), False: (20.0, 50.0)}
ORTHANC_BAR = 5.0

PYNETDICOM = (sys.executable, "-m", "pynetdicom")

Receiver = PlainStorescp | OrthancPeer


@dataclass(frozen=True)
class Setup:
    """What is sent, and to whom."""

    name: str
    samples: Sequence[data.Sample]
    work_dir: Path
    nodelay: bool
    orthanc: bool
    bar: float

    def run(self, send: Callable[[Receiver], float]) -> float:
        """Start a receiver, have everything sent to it, and see that it has everything."""
        n_bytes = sum(sample.path.stat().st_size for sample in self.samples) * 99 // 100
        with fresh_directory(self.work_dir / "receiver") as directory, self.receiver(directory) as receiver:
            seconds = send(receiver)
            if isinstance(receiver, PlainStorescp):
                check_received(receiver.directory, len(self.samples), n_bytes)
            elif (n_held := len(receiver.instance_ids())) != len(self.samples):
                raise BenchmarkError(f"Orthanc has {n_held} of {len(self.samples)} instances")
        return seconds

    def receiver(self, directory: Path) -> Receiver:
        """Who receives, started afresh."""
        return OrthancPeer(directory) if self.orthanc else PlainStorescp(directory, nodelay=self.nodelay)

    @property
    def sent(self) -> Path:
        """The directory with what is to be sent."""
        return self.samples[0].path.parent

    def command(self, *command: str) -> float:
        """The time of a whole command."""
        return run_command(command, self.work_dir / "send.log", nodelay_env(self.nodelay))

    def library(self, how: str, receiver: Receiver) -> float:
        """The time that a process says it took to send, without its start."""
        self.command(sys.executable, "-m", "benchmarks._sender", how, str(receiver.node), str(self.sent))
        return float((self.work_dir / "send.log").read_text())

    def dcm_sync(self, receiver: Receiver) -> float:
        """The time of the whole command dcm sync."""
        return self.command(*DCM, "sync", "-s", str(self.sent), str(receiver.node))

    def storescu(self, receiver: Receiver) -> float:
        """The time of the whole command storescu."""
        return self.command("storescu", "-aec", receiver.ae_title, "+sd", HOST, str(receiver.port), str(self.sent))

    def pynetdicom(self, receiver: Receiver) -> float:
        """The time of the whole command storescu of pynetdicom."""
        where = ("-q", "-aec", receiver.ae_title, HOST, str(receiver.port))
        return self.command(*PYNETDICOM, "storescu", *where, str(self.sent))

    def race(self, *, pynetdicom: bool) -> Race:
        """Who sends, ours first."""
        contestants = [
            Contestant("LocalEntity.upload", lambda: self.run(lambda peer: self.library("upload", peer))),
            Contestant("storescu", lambda: self.run(self.storescu), self.bar),
            Contestant("dcm sync", lambda: self.run(self.dcm_sync)),
            Contestant("the least possible", lambda: self.run(lambda peer: self.library("floor", peer))),
        ]
        if pynetdicom:
            contestants.append(Contestant("pynetdicom storescu", lambda: self.run(self.pynetdicom)))
        to = "Orthanc" if self.orthanc else "storescp"
        return Race(f"Send {self.name} to {to}, {mode_name(self.nodelay)}", contestants)


def make_races(options: argparse.Namespace, work_dir: Path) -> Iterator[Race]:
    """A race for each kind of data and each mode of DCMTK, and with Orthanc as it comes."""
    n_ct, n_tiny = (50, 100) if options.quick else (500, 2000)
    kinds = (
        (f"{n_ct} CT instances", data.write_ct(work_dir / "ct", n_ct)),
        (f"{n_tiny:,} tiny instances", data.write_tiny(work_dir / "tiny", n_tiny)),
    )
    for nodelay, (number, (name, samples)) in itertools.product(modes(options), enumerate(kinds)):
        setup = Setup(name, samples, work_dir, nodelay, orthanc=False, bar=BARS[nodelay][number])
        yield setup.race(pynetdicom=options.pynetdicom)
    if False in modes(options):
        for name, samples in kinds:
            setup = Setup(name, samples, work_dir, nodelay=False, orthanc=True, bar=ORTHANC_BAR)
            yield setup.race(pynetdicom=options.pynetdicom)


def main() -> int:
    """Run the benchmark."""
    options = parser(__doc__).parse_args()
    require("storescu", "storescp", "Orthanc")
    return run_races(options, lambda work_dir: make_races(options, work_dir))


if __name__ == "__main__":
    sys.exit(main())
