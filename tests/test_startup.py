"""Starting up is cheap: what takes long to import is imported when it is needed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"dateparser", "numpy", "pydicom", "pynetdicom", "sqlite3"}

IMPORT = "import dcm"
RUN = """
import runpy
sys.argv = ["dcm", *{arguments!r}]
try:
    runpy.run_module("dcm", run_name="__main__", alter_sys=True)
except SystemExit as exit:
    assert not exit.code, exit.code
"""
REPORT = "\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has imported after running the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"import json, sys\n{code}{REPORT}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_import_dcm() -> None:
    assert not HEAVY & modules_after(IMPORT)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["version"], ["query", "--help"], ["sync", "--help"]])
def test_help_and_version(arguments: list[str]) -> None:
    assert not HEAVY & modules_after(RUN.format(arguments=arguments))


def test_the_light_names() -> None:
    """An address, a level and the errors need no DICOM library."""
    assert not HEAVY & modules_after("from dcm import DcmError, DcmNode, QueryLevel, RemoteNode")
