"""Starting up is cheap: what takes long to import is imported when it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import data

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


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["version"], ["query", "--help"], ["sync", "--help"], ["dump", "--help"]]
)
def test_help_and_version(arguments: list[str]) -> None:
    assert not HEAVY & modules_after(RUN.format(arguments=arguments))


def test_the_light_names() -> None:
    """An address, a level and the errors need no DICOM library."""
    assert not HEAVY & modules_after("from dcm import DcmError, DcmNode, QueryLevel, RemoteNode")


def test_a_dump_needs_no_pydicom(tmp_path: Path) -> None:
    """It takes longer to import than five hundred files to be shown."""
    (sample,) = data.write_series(tmp_path, data.SeriesSpec(n_instances=1, implicit=True))
    for arguments in ([], ["-i", "PatientBirthDate"], ["--out-format", "json"], ["--plain-fmt", "{ds.Rows}"]):
        assert not HEAVY & modules_after(RUN.format(arguments=["dump", *arguments, str(sample.path)]))


EXCHANGE = """
import asyncio, sys
from dcm.net import DcmNode, LocalEntity
from dcm.store.local_dir import LocalDir

async def exchange():
    us = LocalEntity(DcmNode("127.0.0.1", "US", 0))
    async with LocalDir({where!r}).send() as queue:

        async def keep(event):
            return 0 if await queue.place(event.instance) else 0xA700

        async with us.listen(keep) as port:
            await us.upload(DcmNode("127.0.0.1", "US", port), [{path!r}])

asyncio.run(exchange())
"""


def test_sending_and_receiving_decodes_nothing(tmp_path: Path) -> None:
    """A listener must not import for its first caller what takes as long as some hundred instances."""
    (sample,) = data.write_series(tmp_path / "source", data.SeriesSpec(n_instances=1))
    code = EXCHANGE.format(where=str(tmp_path / "received"), path=str(sample.path))
    assert not HEAVY & modules_after(code)
    (received,) = (path for path in (tmp_path / "received").rglob("*") if path.is_file())
    assert data.data_set_of(received.read_bytes()) == sample.data_set_bytes
