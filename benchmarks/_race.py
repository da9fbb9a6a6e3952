"""Races of whole commands: interleaved runs, their ratios, and the bars that they should pass."""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers import PeerStartError

ROOT = Path(__file__).parent.parent
DCM = (sys.executable, "-m", "dcm")


class BenchmarkError(Exception):
    """A command failed, or did not do all of its work: its time means nothing."""


@dataclass(frozen=True)
class Contestant:
    """A command to be timed.

    Attributes
    ----------
    name : str
        What it is called in the table.
    run : callable
        Does all of the work once, checks that it is done, and gives the seconds that the command took.
    bar : float or None
        How many times as fast as this one `dcm` should be.
    """

    name: str
    run: Callable[[], float]
    bar: float | None = None


@dataclass
class Race:
    """Contestants that do the same work under the same conditions; the first of them is ours."""

    title: str
    contestants: Sequence[Contestant]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def run(self, n_runs: int) -> None:
        """Let each run in turn, and all of them again, so that what slows the machine for a while slows all."""
        for number in range(1, n_runs + 1):
            for contestant in self.contestants:
                # What the one before has left to be written must not be written in this one's time.
                os.sync()
                seconds = contestant.run()
                self.seconds.setdefault(contestant.name, []).append(seconds)
                progress(f"{self.title}: run {number}/{n_runs}: {contestant.name}: {seconds:.2f} s")

    def ratios(self, name: str) -> list[float]:
        """How many times as fast ours was, pair by pair of neighbouring runs."""
        ours = self.seconds[self.contestants[0].name]
        return [theirs / our for theirs, our in zip(self.seconds[name], ours, strict=True)]

    def table(self) -> str:
        """Seconds, and the ratios with their bars: the least, the median and the most of all runs."""
        rows = [("", *(f"{word} s" for word in _HEAD), *(f"{word} ratio" for word in _HEAD), "bar")]
        for contestant in self.contestants:
            row = (contestant.name, *_spread(self.seconds[contestant.name]))
            if contestant is self.contestants[0]:
                rows.append((*row, "", "", "", ""))
                continue
            ratios = self.ratios(contestant.name)
            rows.append((*row, *_spread(ratios), verdict(statistics.median(ratios), contestant.bar)))
        return f"{self.title}\n{format_table(rows)}"

    def passed(self) -> bool:
        """Whether every bar is passed by the median."""
        bars = [(c.bar, statistics.median(self.ratios(c.name))) for c in self.contestants[1:] if c.bar is not None]
        return all(median >= bar for bar, median in bars)


_HEAD = ("min", "median", "max")


def _spread(values: Sequence[float]) -> tuple[str, str, str]:
    return f"{min(values):.2f}", f"{statistics.median(values):.2f}", f"{max(values):.2f}"


def verdict(value: float, bar: float | None) -> str:
    """A bar that should be reached, and whether it is."""
    if bar is None:
        return ""
    return f"{bar:g} {'pass' if value >= bar else 'BELOW'}"


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: names to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        name, *figures = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join((name.strip().ljust(widths[0]), *figures)).rstrip())
    return "\n".join(lines)


def progress(text: str) -> None:
    """Tell on stderr how far we are."""
    print(text, file=sys.stderr, flush=True)


def run_command(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> float:
    """Run a command to its end, and give the seconds that it took, its start included.

    Raises
    ------
    BenchmarkError
        It failed; the message has the end of what it printed.
    """
    with open(log, "wb") as out:
        start = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
        seconds = time.perf_counter() - start
    if done.returncode:
        end = log.read_bytes()[-3000:].decode(errors="replace")
        raise BenchmarkError(f"{' '.join(command)} ended with {done.returncode}:\n{end}")
    return seconds


def check_received(directory: Path, n_files: int, n_bytes: int) -> None:
    """See that all instances have arrived.

    Raises
    ------
    BenchmarkError
        Something is missing.
    """
    sizes = [path.stat().st_size for path in directory.rglob("*") if path.is_file()]
    if len(sizes) != n_files or sum(sizes) < n_bytes:
        raise BenchmarkError(f"{directory} has {len(sizes)} of {n_files} files, {sum(sizes)} of {n_bytes} bytes")


@contextmanager
def fresh_directory(path: Path) -> Iterator[Path]:
    """A new directory, which is emptied and set aside afterwards, to be removed with the work directory.

    Not removed at once: for a minute or more, ext4 without a journal looks at each inode that was freed whenever it
    makes a file nearby, and a command would pay half a millisecond a file for the one before it.
    """
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        for file in path.rglob("*"):
            if file.is_file():
                os.truncate(file, 0)
        path.rename(path.with_name(f"{path.name}-{secrets.token_hex(4)}"))


def parser(description: str | None, *, modes: bool = True) -> argparse.ArgumentParser:
    """The options of all benchmarks, and those of the ones that run DCMTK in both its modes."""
    options = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    options.add_argument("--runs", type=int, default=5, metavar="N", help="runs of each command (default: 5)")
    options.add_argument("--quick", action="store_true", help="little data and two runs: shows that it runs, no more")
    if modes:
        options.add_argument("--mode", choices=("nodelay", "default"), help="only with, or only without, TCP_NODELAY=1")
        options.add_argument("--pynetdicom", action="store_true", help="pynetdicom's applications as well")
    options.add_argument("--work-dir", type=Path, metavar="DIR", help="where the data goes (default: a temporary one)")
    options.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")
    return options


def modes(options: argparse.Namespace) -> list[bool]:
    """Whether DCMTK runs with ``TCP_NODELAY=1``: both, or what was asked for."""
    return {"nodelay": [True], "default": [False], None: [True, False]}[options.mode]


def mode_name(nodelay: bool) -> str:
    """How a mode is called in titles."""
    return "TCP_NODELAY=1" if nodelay else "as Debian ships it"


def require(*programs: str) -> None:
    """Stop with a message where a program is missing.

    pynetdicom installs scripts with the names of DCMTK's tools beside the interpreter: they are left out of the path.
    """
    own = str(Path(sys.executable).parent)
    directories = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(directory for directory in directories if directory != own)
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)} (Debian package dcmtk)")


def run_races(options: argparse.Namespace, make_races: Callable[[Path], Iterator[Race]]) -> int:
    """Run all races in a work directory, and print their tables.

    Returns
    -------
    int
        0 where every bar is passed, 1 where not; with ``--quick`` no bar counts.
    """
    print(describe_machine(), flush=True)
    races = []
    with work_directory(options) as work_dir:
        for race in make_races(work_dir):
            race.run(2 if options.quick else options.runs)
            print(f"\n{race.table()}", flush=True)
            races.append(race)
    if options.json is not None:
        options.json.write_text(json.dumps({race.title: race.seconds for race in races}, indent=2))
    return 0 if options.quick or all(race.passed() for race in races) else 1


@contextmanager
def work_directory(options: argparse.Namespace) -> Iterator[Path]:
    """A directory below ``--work-dir``, or a temporary one; it is removed afterwards."""
    try:
        with tempfile.TemporaryDirectory(prefix="dcm-benchmark-", dir=options.work_dir) as directory:
            yield Path(directory)
    except (BenchmarkError, PeerStartError) as exc:
        sys.exit(f"the benchmark failed: {exc}")


def describe_machine() -> str:
    """What the figures were measured on, and whether anything else was running."""
    load = os.getloadavg()[0]
    dcmtk = subprocess.run(("storescu", "--version"), capture_output=True, text=True, check=False).stdout.split()
    version = next((word for word in dcmtk if word.startswith("v")), "unknown")
    cpus = os.cpu_count() or 1
    text = f"{platform.platform(terse=True)}, {cpus} CPUs, Python {platform.python_version()}, DCMTK {version}"
    if load > 0.5:
        text += f"\nThe load is {load:.1f}: something else is running, and the figures will tell little."
    return text
