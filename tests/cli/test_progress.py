"""Progress is shown on a terminal, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from dcm.cli._progress import progress_text, show_progress
from dcm.report import NullProgress, TransferReport

SCRIPT = """
import logging, sys, time
from dcm.cli._logging import setup_logging
from dcm.cli._progress import show_progress
setup_logging(verbosity=0, quiet=False, debug=False, log_path=None, file_level="info")
with show_progress(sys.argv[1:] != ["off"]) as progress:
    progress.phase("from [bold]mypacs[/foo] \\x1b[31m")
    progress.expected(4, None)
    for _ in range(4):
        progress.advanced(1, 512 * 1024)
        time.sleep(0.15)
    logging.getLogger("dcm").warning("something [odd]")
    print("data")
"""


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ((0, None, 0, 0.0), "0 instances"),
        ((1, None, 0, 0.0), "1 instance"),
        ((12, 500, 6_300_000, 2.0), "12/500 instances, 6.3 MB, 3.1 MB/s"),
        ((1, 1, 0, 1.0), "1/1 instances"),
        ((12_345, 1_000_000, 10, 0.0), "12,345/1,000,000 instances, 10 bytes"),
    ],
)
def test_how_far_a_transfer_is(counts: tuple[int, int | None, int, float], text: str) -> None:
    assert progress_text(*counts) == text


def test_off_a_terminal_there_is_none() -> None:
    with show_progress() as progress:
        assert isinstance(progress, NullProgress)
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=25, check=True)
    assert done.stdout == "data\n"
    assert done.stderr == "WARNING: something [odd]\n"


def on_terminal(*args: str, **env: str) -> tuple[str, str]:
    """What the script prints on stdout, and what a terminal shows of its stderr."""
    terminal, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *args],
        stdout=subprocess.PIPE,
        stderr=side,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", **env},
    )
    os.close(side)
    printed = process.communicate(timeout=25)[0].decode()
    shown = b""
    try:
        while chunk := os.read(terminal, 65536):
            shown += chunk
    except OSError:  # EIO: the other side is closed and all is read
        pass
    os.close(terminal)
    assert process.returncode == 0
    return printed, shown.decode()


def test_on_a_terminal_it_shows_instances_bytes_rate_and_time_left() -> None:
    printed, shown = on_terminal()
    assert printed == "data\n"
    assert "/4 instances" in shown
    assert "MB/s" in shown
    assert "00:0" in shown
    assert "from [bold]mypacs[/foo] \\x1b[31m" in shown
    assert "WARNING: something [odd]" in shown


@pytest.mark.parametrize(("args", "env"), [(("off",), {}), ((), {"TERM": "dumb"})])
def test_it_can_be_switched_off(args: tuple[str, ...], env: dict[str, str]) -> None:
    printed, shown = on_terminal(*args, **env)
    assert printed == "data\n"
    assert shown == "WARNING: something [odd]\r\n"


def test_a_report_drives_it() -> None:
    with show_progress() as progress:
        report = TransferReport(progress=progress)
        report.expect(["1.2.3"])
