"""Receive what storescu sends: LocalEntity.listen, which writes into a LocalDir, beside storescp.

Timed is the whole command storescu, which ends when the last instance is acknowledged; the receivers are started
before. The least possible is a receiver that answers and keeps nothing.
``python -m benchmarks.bench_receive --help`` says more.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._peers import HOST, DcmReceiver, PlainStorescp, PynetdicomReceiver, Sink
from benchmarks._race import (
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
from tests.peers.dcmtk import nodelay_env

# How many times as fast as with storescp storescu should be through.
BARS = {True: 1.8, False: 10.0}

Receiver = DcmReceiver | PlainStorescp | PynetdicomReceiver


@dataclass(frozen=True)
class Setup:
    """What storescu sends, and how."""

    name: str
    samples: Sequence[data.Sample]
    work_dir: Path
    nodelay: bool

    def run(self, make_receiver: Callable[[Path], Receiver]) -> float:
        """Start a receiver, send it everything, and see that it has everything."""
        sent = self.samples[0].path.parent
        n_bytes = sum(sample.path.stat().st_size for sample in self.samples) * 99 // 100
        with fresh_directory(self.work_dir / "receiver") as directory, make_receiver(directory) as receiver:
            command = ["storescu", "-aec", receiver.ae_title, "+sd", HOST, str(receiver.port), str(sent)]
            seconds = run_command(command, self.work_dir / "storescu.log", nodelay_env(self.nodelay))
            if not isinstance(receiver, Sink):
                check_received(receiver.directory, len(self.samples), n_bytes)
        return seconds

    def race(self, *, pynetdicom: bool) -> Race:
        """Who receives, ours first."""
        contestants = [
            Contestant("LocalEntity.listen", lambda: self.run(DcmReceiver)),
            Contestant(
                "storescp",
                lambda: self.run(lambda directory: PlainStorescp(directory, nodelay=self.nodelay)),
                BARS[self.nodelay],
            ),
            Contestant("the least possible", lambda: self.run(Sink)),
        ]
        if pynetdicom:
            contestants.append(Contestant("pynetdicom storescp", lambda: self.run(PynetdicomReceiver)))
        return Race(f"Receive {self.name} from storescu, DCMTK {mode_name(self.nodelay)}", contestants)


def make_races(options: argparse.Namespace, work_dir: Path) -> Iterator[Race]:
    """A race for each kind of data and each mode of DCMTK."""
    n_ct, n_tiny = (50, 100) if options.quick else (500, 2000)
    kinds = {
        f"{n_ct} CT instances": data.write_ct(work_dir / "ct", n_ct),
        f"{n_tiny:,} tiny instances": data.write_tiny(work_dir / "tiny", n_tiny),
    }
    for nodelay, (name, samples) in itertools.product(modes(options), kinds.items()):
        yield Setup(name, samples, work_dir, nodelay).race(pynetdicom=options.pynetdicom)


def main() -> int:
    """Run the benchmark."""
    options = parser(__doc__).parse_args()
    require("storescu", "storescp")
    return run_races(options, lambda work_dir: make_races(options, work_dir))


if __name__ == "__main__":
    sys.exit(main())
