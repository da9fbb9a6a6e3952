"""Where log records go, and what never gets there."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.runner import run_dcm

SCRIPT = """
import logging, sys, warnings
from pathlib import Path
from dcm.cli._logging import setup_logging
options = eval(sys.argv[1])
for _ in range(2):
    setup_logging(**{"verbosity": 0, "quiet": False, "debug": False, "log_path": None, "file_level": "info", **options})
log = logging.getLogger("dcm.net")
log.debug("a detail")
log.info("a step")
log.warning("forged\\nERROR: \\x1b[31mred")
try:
    raise ValueError("why")
except ValueError:
    log.exception("it failed")
logging.getLogger("pynetdicom.events").error("(0010,0010) PN [Dracula^Count]")
import pydicom.config  # which sets the level of its logger
logging.getLogger("pydicom.pixels").error("PatientName Dracula")
logging.getLogger("pydicom").error("PatientName Dracula")
warnings.warn("invalid value for Dracula")
"""


def log_lines(options: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, options], capture_output=True, text=True, timeout=25, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


WARNING = "WARNING: forged\\nERROR: \\x1b[31mred"
ERROR = "ERROR: it failed: why"


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ("{}", [WARNING, ERROR]),
        ("{'verbosity': 1}", ["INFO: a step", WARNING, ERROR]),
        ("{'verbosity': 2}", ["DEBUG: a detail", "INFO: a step", WARNING, ERROR]),
        ("{'quiet': True}", [ERROR]),
    ],
)
def test_stderr_shows_what_was_asked_for_on_lines_of_their_own_and_names_nobody(options: str, lines: list[str]) -> None:
    assert log_lines(options) == lines


def test_debug_shows_everything() -> None:
    shown = "\n".join(log_lines("{'debug': True}"))
    assert "DEBUG: a detail" in shown
    assert "Traceback" in shown
    assert "(0010,0010) PN [Dracula^Count]" in shown


def test_a_log_file_is_appended_to_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "dcm.log"
    for level in ("info", "debug"):
        assert log_lines(f"{{'log_path': Path({str(path)!r}), 'file_level': {level!r}}}") == [WARNING, ERROR]
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert text.count("INFO dcm.net: a step") == 2
    assert text.count("DEBUG dcm.net: a detail") == 1
    assert text.count("WARNING dcm.net: forged\\nERROR: \\x1b[31mred\n") == 2
    assert "Dracula" not in text
    assert "\x1b" not in text


def test_a_log_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    done = run_dcm("--log-path", tmp_path / "none" / "x.log", "version")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: cannot log to")
    assert done.stdout == ""
