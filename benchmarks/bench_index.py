"""How fast a directory is indexed, beside a loop over pydicom; and how fast it is seen that nothing has changed.

    python -m benchmarks.bench_index [--files 20000] [--large-files 2000] [--unchanged 100000] [--runs 5]

Three directories in a warm page cache: small files (2.7 KiB), CT images of 512 KiB, and a hundred thousand small ones
for the second scan. pydicom reads each file with ``dcmread(stop_before_pixels=True, specific_tags=...)`` and takes the
values of the attributes that the index keeps. ``Index.refresh`` walks through the directory, reads every file, sees
whether it is complete, and writes its database, from nothing each time. Runs are paired: a ratio is pydicom's time
divided by ours in the same round. The bars are a ratio of 10, and 1.5 s for the second scan; both for the median.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pydicom import dcmread

from benchmarks._race import describe_machine, progress
from dcm.peek import QUERY_TAGS
from dcm.store.index import Index
from tests.data import SeriesSpec, write_series

BAR = 10.0
UNCHANGED_BAR = 1.5
TAGS = sorted(QUERY_TAGS)
PER_SERIES = 250
PER_DIRECTORY = 1000


def write_archive(root: Path, n_files: int, *, size: int) -> None:
    """Write instances of `size` × `size` × 16 bit: 250 a series, 1,000 a patient and a directory."""
    for number in range(0, n_files, PER_SERIES):
        patient, series = divmod(number, PER_DIRECTORY)
        spec = SeriesSpec(
            patient_id=f"Vamp{patient:05d}",
            series=series // PER_SERIES + 1,
            n_instances=min(PER_SERIES, n_files - number),
            rows=size,
            columns=size,
        )
        write_series(root / spec.patient_id, spec)
    then = time.time() - 3600  # nobody is writing them any more
    for path in root.rglob("*.dcm"):
        os.utime(path, (then, then))


def pydicom_loop(root: Path) -> int:
    """Read all files with pydicom; gives how many."""
    n = 0
    for directory, _, names in os.walk(root):
        for name in names:
            ds = dcmread(f"{directory}/{name}", stop_before_pixels=True, specific_tags=TAGS)
            _ = [ds[tag].value for tag in TAGS if tag in ds]
            n += 1
    return n


def index_anew(root: Path, where: Path) -> int:
    """Index all files from nothing; gives how many."""
    with Index(root, path=where) as index:
        n = index.refresh().n_new
    shutil.rmtree(where)
    return n


def timed(call: Callable[[], int], expected: int) -> float:
    """The seconds that a call takes, which has to do all of its work."""
    start = time.perf_counter()
    done = call()
    seconds = time.perf_counter() - start
    if done != expected:
        sys.exit(f"the benchmark failed: {done} of {expected} files")
    return seconds


def race(title: str, root: Path, n_files: int, runs: int, where: Path) -> float:
    """Time both in turn; print and return the median of the ratios."""
    laps = []
    for number in range(runs + 1):
        theirs = timed(lambda: pydicom_loop(root), n_files)
        ours = timed(lambda: index_anew(root, where), n_files)
        progress(f"{title}: {f'run {number}/{runs}' if number else 'warming up'}: {theirs:.2f} s, {ours:.2f} s")
        if number:
            laps.append((theirs, ours))
    ratios = sorted(theirs / ours for theirs, ours in laps)
    median = statistics.median(ratios)
    theirs, ours = (statistics.median(column) for column in zip(*laps, strict=True))
    print(f"{title:<28} {theirs:9.2f} s {ours:9.2f} s {ratios[0]:8.1f} {median:8.1f} {ratios[-1]:8.1f}", flush=True)
    return median


def unchanged(root: Path, n_files: int, runs: int, where: Path) -> float:
    """Time scans that find nothing new, each with an index that is opened anew; print and return the median."""
    timed(lambda: scan(root, where), n_files)
    laps = sorted(timed(lambda: scan(root, where), n_files) for _ in range(runs))
    median = statistics.median(laps)
    print(
        f"{f'{n_files:,} unchanged files':<28} {'':>11} {median:9.2f} s  ({laps[0]:.2f} to {laps[-1]:.2f} s)",
        flush=True,
    )
    return median


def scan(root: Path, where: Path) -> int:
    with Index(root, path=where) as index:
        return index.refresh().n_files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000, help="small files (default: 20,000)")
    parser.add_argument("--large-files", type=int, default=2_000, help="files of 512 KiB (default: 2,000, 1 GB)")
    parser.add_argument("--unchanged", type=int, default=100_000, help="files of the second scan (default: 100,000)")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs of each (default: 5)")
    parser.add_argument("--work-dir", type=Path, metavar="DIR", help="where the data goes (default: a temporary one)")
    parser.add_argument("--quick", action="store_true", help="little data and two runs: shows that it runs, no more")
    options = parser.parse_args()
    sizes = (500, 50, 2_000) if options.quick else (options.files, options.large_files, options.unchanged)
    runs = 2 if options.quick else options.runs

    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="dcm-benchmark-", dir=options.work_dir) as directory:
        base = Path(directory)
        where = base / "index"
        print(f"{'all files, median':<28} {'pydicom':>11} {'dcm':>11} {'least':>8} {'median':>8} {'most':>8}  (ratio)")
        ratios = []
        for title, n_files, size in (("2.7 KiB", sizes[0], 32), ("512 KiB", sizes[1], 512)):
            root = base / title
            write_archive(root, n_files, size=size)
            ratios.append(race(f"{n_files:,} files of {title}", root, n_files, runs, where))
            shutil.rmtree(root)
        root = base / "unchanged"
        write_archive(root, sizes[2], size=4)
        seconds = unchanged(root, sizes[2], runs, where)
    if options.quick:
        return 0
    missed = [f"indexing at least {BAR:g} times as fast"] if min(ratios) < BAR else []
    missed += [f"a second scan in {UNCHANGED_BAR} s"] if seconds > UNCHANGED_BAR else []
    for bar in missed:
        print(f"missed: {bar}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
