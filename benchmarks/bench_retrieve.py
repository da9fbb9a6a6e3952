"""Retrieve 500 CT instances from dcmqrscp into a directory: dcm sync beside movescu and getscu.

Whole commands are timed, from their start to their end. ``python -m benchmarks.bench_retrieve --help`` says more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._peers import HOST, QuietQrscp, free_port
from benchmarks._race import (
    DCM,
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

# How many times as fast as movescu dcm sync should be.
BARS = {True: 1.5, False: 8.0}

PYNETDICOM = (sys.executable, "-m", "pynetdicom")

CONFIG = """\
[local_nodes.default]
host = "{host}"
ae_title = "DCMBENCH"
port = {dcm_port}

[remote_nodes.by_move]
host = "{host}"
ae_title = "{archive.ae_title}"
port = {archive.port}
retrieve_methods = ["MOVE"]
"""


@dataclass(frozen=True)
class Setup:
    """An archive that holds one study, and who may be asked to fetch it."""

    archive: QuietQrscp
    samples: Sequence[data.Sample]
    work_dir: Path
    nodelay: bool
    move_port: int
    pynetdicom_port: int

    def fetcher(self, name: str, command: Callable[[Path], Sequence[str]]) -> Callable[[], float]:
        """A run of a command, which is given the directory to fetch into."""
        n_bytes = sum(sample.path.stat().st_size for sample in self.samples) * 99 // 100

        def run() -> float:
            with fresh_directory(self.work_dir / "fetched") as directory:
                log = self.work_dir / f"{name.replace(' ', '-')}.log"
                seconds = run_command(command(directory), log, nodelay_env(self.nodelay))
                check_received(directory, len(self.samples), n_bytes)
            return seconds

        return run

    def keys(self) -> list[str]:
        """The study, as DCMTK's tools want to be told, and pynetdicom's."""
        uid = self.samples[0].study_uid
        return ["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid}"]

    def peer(self) -> list[str]:
        """The archive, as DCMTK's tools want to be told, and pynetdicom's."""
        return ["-aec", self.archive.ae_title, HOST, str(self.archive.port)]

    def dcm_sync(self, source: str) -> Callable[[Path], Sequence[str]]:
        """``dcm sync`` of the study."""
        config = str(self.work_dir / "dcm_conf.toml")
        query = f"StudyInstanceUID={self.samples[0].study_uid}"
        return lambda directory: [*DCM, "--config", config, "sync", "-s", source, "-q", query, str(directory)]

    def movescu(self, directory: Path) -> Sequence[str]:
        """DCMTK's C-MOVE, to a listener of its own."""
        us = ["-aet", "MOVESCU", "-aem", "MOVESCU", "--port", str(self.move_port)]
        return ["movescu", *us, "-od", str(directory), *self.keys(), *self.peer()]

    def getscu(self, directory: Path) -> Sequence[str]:
        """DCMTK's C-GET."""
        return ["getscu", "-od", str(directory), *self.keys(), *self.peer()]

    def pynetdicom_movescu(self, directory: Path) -> Sequence[str]:
        """pynetdicom's C-MOVE, to a listener of its own, with PDUs of any size."""
        us = ["-aem", "PYMOVE", "--store", "--store-aet", "PYMOVE", "--store-port", str(self.pynetdicom_port)]
        return [*PYNETDICOM, "movescu", "-q", "-pdu", "0", *us, "-od", str(directory), *self.keys(), *self.peer()]

    def pynetdicom_getscu(self, directory: Path) -> Sequence[str]:
        """pynetdicom's C-GET, with PDUs of any size."""
        return [*PYNETDICOM, "getscu", "-q", "-pdu", "0", "-od", str(directory), *self.keys(), *self.peer()]

    def contestants(self, *, pynetdicom: bool) -> Iterator[Contestant]:
        """Who fetches, ours first."""
        commands = {
            "dcm sync": self.dcm_sync(str(self.archive.node)),
            "dcm sync by C-MOVE": self.dcm_sync("by_move"),
            "movescu": self.movescu,
            "getscu": self.getscu,
        }
        if pynetdicom:
            commands["pynetdicom movescu"] = self.pynetdicom_movescu
            commands["pynetdicom getscu"] = self.pynetdicom_getscu
        for name, command in commands.items():
            yield Contestant(name, self.fetcher(name, command), BARS[self.nodelay] if name == "movescu" else None)


def make_races(options: argparse.Namespace, work_dir: Path) -> Iterator[Race]:
    """A race for each mode of DCMTK, with an archive of its own."""
    n_instances = 50 if options.quick else 500
    samples = data.write_ct(work_dir / "samples", n_instances)
    for nodelay in modes(options):
        ports = {"MOVESCU": free_port(), "DCMBENCH": free_port(), "PYMOVE": free_port()}
        directory = work_dir / f"nodelay-{nodelay}"
        with QuietQrscp(directory, ports, nodelay=nodelay) as archive:
            archive.fill(sample.path for sample in samples)
            config = CONFIG.format(host=HOST, archive=archive, dcm_port=ports["DCMBENCH"])
            (directory / "dcm_conf.toml").write_text(config)
            setup = Setup(archive, samples, directory, nodelay, ports["MOVESCU"], ports["PYMOVE"])
            title = f"Retrieve {n_instances} CT instances from dcmqrscp, DCMTK {mode_name(nodelay)}"
            yield Race(title, list(setup.contestants(pynetdicom=options.pynetdicom)))


def main() -> int:
    """Run the benchmark."""
    options = parser(__doc__).parse_args()
    require("dcmqrscp", "dcmqridx", "movescu", "getscu")
    return run_races(options, lambda work_dir: make_races(options, work_dir))


if __name__ == "__main__":
    sys.exit(main())
