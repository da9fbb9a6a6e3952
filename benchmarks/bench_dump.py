"""How fast files are dumped as text, beside dcmdump: one process for all files, and one for each.

    python -m benchmarks.bench_dump [--files 500] [--runs 5] [--quick]

500 CT images of 512 KiB with about 130 lines each, and 500 of 2.7 KiB with about 45, in a warm page cache; the text
goes to a file. The times are those of whole commands, Python's start included. The bars: faster than dcmdump in a loop,
and no more than three times as long as one dcmdump for all.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks._race import (
    DCM,
    BenchmarkError,
    Contestant,
    Race,
    parser,
    require,
    run_command,
    run_races,
)
from benchmarks.bench_peek import SYNTAXES, write_files
from tests.data import write_tiny


def run_checked(command: Sequence[str], log: Path, n_files: int) -> float:
    """Dump all files with one command, and see that all are there."""
    seconds = run_command(command, log)
    found = log.read_bytes().count(b"(0008,0018) UI ")
    if found != n_files:
        raise BenchmarkError(f"{command[0]} showed {found} of {n_files} files")
    return seconds


def run_loop(paths: Sequence[str], log: Path) -> float:
    """Dump each file with a dcmdump of its own."""
    start = time.perf_counter()
    script = 'for file in "$@"; do dcmdump "$file" || exit 1; done'
    run_checked(["sh", "-c", script, "sh", *paths], log, len(paths))
    return time.perf_counter() - start


def race(title: str, paths: Sequence[str], work_dir: Path) -> Race:
    """All three, over the same files."""
    log = work_dir / "log"
    n_files = len(paths)
    return Race(
        title,
        (
            Contestant("dcm dump", functools.partial(run_checked, [*DCM, "dump", *paths], log, n_files)),
            Contestant("dcmdump", functools.partial(run_checked, ["dcmdump", *paths], log, n_files), 1 / 3),
            Contestant("dcmdump for each", functools.partial(run_loop, paths, log), 1),
        ),
    )


def main() -> int:
    arguments = parser(__doc__, modes=False)
    arguments.add_argument("--files", type=int, default=500, metavar="N", help="files of each kind (default: 500)")
    options = arguments.parse_args()
    n_files = 20 if options.quick else options.files
    require("dcmdump")

    def races(work_dir: Path) -> Iterator[Race]:
        large = work_dir / "large"
        large.mkdir()
        paths = write_files(large, n_files, SYNTAXES["explicit"])
        for path in paths:
            Path(path).read_bytes()
        yield race(f"{n_files} CT images of 512 KiB", paths, work_dir)
        tiny = [str(sample.path) for sample in write_tiny(work_dir / "tiny", n_files)]
        yield race(f"{n_files} images of 2.7 KiB", tiny, work_dir)

    return run_races(options, races)


if __name__ == "__main__":
    sys.exit(main())
