"""Sort tiny files by hard links and by copies: dcm sort, beside a loop over pydicom and cp -r.

``python -m benchmarks.bench_sort --help`` says more.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._race import DCM, Contestant, Race, check_received, parser, run_command, run_races
from tests import data

# How many times as fast as the loop dcm sort should be with links, and as cp -r with copies.
LINK_BAR = 10.0
COPY_BAR = 1 / 2.5


@dataclass(frozen=True)
class Setup:
    """What is sorted, and where to."""

    source: Path
    n_files: int
    work_dir: Path
    # Nothing is removed before the end: see `benchmarks._race.fresh_directory`. And linked files may not be emptied.
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def run(self, *command: str) -> float:
        """The time of a whole command, whose last argument is the destination; see that everything is there."""
        dest = self.work_dir / f"sorted-{next(self.numbers)}"
        seconds = run_command([*command, str(self.source), str(dest)], self.work_dir / "sort.log")
        check_received(dest, self.n_files, 0)
        return seconds

    def dcm_sort(self, method: str) -> float:
        """``dcm sort`` with its default template."""
        return self.run(*DCM, "sort", "--method", method)

    def loop(self, method: str, *, specific: bool = False) -> float:
        """What people write instead, in a process of its own."""
        which = ("--specific-tags",) if specific else ()
        return self.run(sys.executable, "-m", "benchmarks._pydicom_sort", method, *which)

    def races(self) -> Iterator[Race]:
        """By links and by copies, ours first."""
        yield Race(
            f"Sort {self.n_files:,} tiny files by hard links",
            [
                Contestant("dcm sort", lambda: self.dcm_sort("link")),
                Contestant("pydicom loop", lambda: self.loop("link"), LINK_BAR),
                Contestant("pydicom loop, these tags only", lambda: self.loop("link", specific=True)),
            ],
        )
        yield Race(
            f"Sort {self.n_files:,} tiny files by copies",
            [
                Contestant("dcm sort", lambda: self.dcm_sort("copy")),
                Contestant("cp -r", lambda: self.run("cp", "-r"), COPY_BAR),
                Contestant("pydicom loop", lambda: self.loop("copy")),
            ],
        )


def make_races(options: argparse.Namespace, work_dir: Path) -> Iterator[Race]:
    """A race for each method."""
    n_files = 400 if options.quick else 20_000
    data.write_tiny(work_dir / "mess", n_files, n_series=20)
    yield from Setup(work_dir / "mess", n_files, work_dir).races()


def main() -> int:
    """Run the benchmark."""
    options = parser(__doc__, modes=False).parse_args()
    return run_races(options, lambda work_dir: make_races(options, work_dir))


if __name__ == "__main__":
    sys.exit(main())
