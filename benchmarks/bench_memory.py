"""The memory that a 1 GB multi-frame instance takes on its way: from dcmqrscp by dcm sync, and from storescu.

What DCMTK's tools take for the same is shown beside it. ``python -m benchmarks.bench_memory --help`` says more.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks._peers import HOST, DcmReceiver, PlainStorescp, QuietQrscp, free_port, peak_memory
from benchmarks._race import (
    ROOT,
    check_received,
    describe_machine,
    format_table,
    fresh_directory,
    parser,
    progress,
    require,
    run_command,
    work_directory,
)
from benchmarks.bench_retrieve import CONFIG, Setup
from tests import data
from tests.peers.dcmtk import nodelay_env

MB = 1_000_000
BAR = 150 * MB


def fetch(setup: Setup, command: Callable[[Path], Sequence[str]]) -> int:
    """Fetch the instance by a command, and give the most memory that it had."""
    peak = setup.work_dir / "peak"
    launcher = [sys.executable, "-S", "-E", str(ROOT / "benchmarks" / "_peak.py"), str(peak)]
    with fresh_directory(setup.work_dir / "fetched") as directory:
        run_command([*launcher, *command(directory)], setup.work_dir / "fetch.log", nodelay_env(True))
        check_received(directory, 1, setup.samples[0].path.stat().st_size * 99 // 100)
    return int(peak.read_text())


def receive(sample: data.Sample, work_dir: Path, make_receiver: Callable[[Path], DcmReceiver | PlainStorescp]) -> int:
    """Send the instance to a receiver, and give the most memory that it had."""
    with fresh_directory(work_dir / "receiver") as directory, make_receiver(directory) as receiver:
        command = ["storescu", "-aec", receiver.ae_title, HOST, str(receiver.port), str(sample.path)]
        run_command(command, work_dir / "storescu.log", nodelay_env(True))
        check_received(receiver.directory, 1, sample.path.stat().st_size * 99 // 100)
        return peak_memory(receiver.pid)


def measure(work_dir: Path, n_bytes: int, n_runs: int) -> dict[str, list[int]]:
    """The peaks of all runs, by what was run."""
    progress(f"making an instance of {n_bytes // MB:,} MB")
    sample = data.write_multi_frame(work_dir / "sample" / "multi-frame.dcm", n_bytes)
    move_port, dcm_port = free_port(), free_port()
    peaks: dict[str, list[int]] = {}
    directory = work_dir / "archive"
    with QuietQrscp(directory, {"MOVESCU": move_port, "DCMBENCH": dcm_port}) as archive:
        archive.fill([sample.path])
        (directory / "dcm_conf.toml").write_text(CONFIG.format(host=HOST, archive=archive, dcm_port=dcm_port))
        setup = Setup(archive, [sample], directory, nodelay=True, move_port=move_port, pynetdicom_port=0)
        measured: dict[str, Callable[[], int]] = {
            "dcm sync": lambda: fetch(setup, setup.dcm_sync(str(archive.node))),
            "dcm sync by C-MOVE": lambda: fetch(setup, setup.dcm_sync("by_move")),
            "LocalEntity.listen": lambda: receive(sample, work_dir, DcmReceiver),
            "movescu": lambda: fetch(setup, setup.movescu),
            "getscu": lambda: fetch(setup, setup.getscu),
            "storescp": lambda: receive(sample, work_dir, PlainStorescp),
        }
        for number in range(1, n_runs + 1):
            for name, run in measured.items():
                peak = run()
                peaks.setdefault(name, []).append(peak)
                progress(f"run {number}/{n_runs}: {name}: {peak / MB:.0f} MB")
    return peaks


def is_ours(name: str) -> bool:
    """Whether the bar is for it."""
    return name.startswith(("dcm", "LocalEntity"))


def table(peaks: dict[str, list[int]]) -> str:
    """Megabytes, and the bar beside ours."""
    rows: list[Sequence[str]] = [("", "min MB", "median MB", "max MB", "bar")]
    for name, values in peaks.items():
        spread = [f"{value / MB:.0f}" for value in (min(values), statistics.median(values), max(values))]
        verdict = "pass" if statistics.median(values) < BAR else "ABOVE"
        rows.append((name, *spread, f"{BAR // MB} {verdict}" if is_ours(name) else ""))
    return format_table(rows)


def main() -> int:
    """Run the benchmark."""
    options = parser(__doc__, modes=False).parse_args()
    require("dcmqrscp", "dcmqridx", "movescu", "getscu", "storescu", "storescp")
    print(describe_machine(), flush=True)
    # dcmqrscp takes no study of more than 1 GiB.
    n_bytes = 100 * MB if options.quick else 1000 * MB
    with work_directory(options) as work_dir:
        peaks = measure(work_dir, n_bytes, 2 if options.quick else options.runs)
    print(f"\nThe most memory resident, for an instance of {n_bytes // MB:,} MB\n{table(peaks)}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(peaks, indent=2))
    return 0 if all(statistics.median(values) < BAR for name, values in peaks.items() if is_ours(name)) else 1


if __name__ == "__main__":
    sys.exit(main())
