"""Every command and every piece of code in the README, run against a real archive."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import data
from tests.cli.runner import run_on_terminal
from tests.examples import ROOT, Example, blocks, commands, run_python, run_shell
from tests.peers import HOST, DcmtkQrscp, DcmtkStorescp

README = ROOT / "README.rst"

# For a person who installs or develops dcm; the first two are in a test of their own, and this is the third.
NOT_HERE = ("pip install .", "dcm demo", 'pip install -e ".[test]"', "python -m pytest")

Here = Callable[[str], str]


@pytest.fixture
def here(
    dcmtk_archive: DcmtkQrscp,
    dcmtk_receiver: DcmtkStorescp,
    free_port: int,
    isolated_config: Path,
    tmp_path: Path,
) -> Here:
    """Makes the README's nodes those of this test: in its configuration file, its commands and its code."""

    def replace(text: str) -> str:
        for host, ae_title, peer in (
            ("mypacs.org", "MYPACS", dcmtk_archive),
            ("otherpacs.org", "OTHERPACS", dcmtk_receiver),
        ):
            text = text.replace(f"{host}:{ae_title}:11112", f"{HOST}:{peer.ae_title}:{peer.port}")
            text = text.replace(f'"{host}", "{ae_title}", 11112', f'"{HOST}", "{peer.ae_title}", {peer.port}')
            config = f'host = "{host}"\nae_title = "{ae_title}"\nport = 11112'
            text = text.replace(config, f'host = "{HOST}"\nae_title = "{peer.ae_title}"\nport = {peer.port}')
        return text.replace('"LOCALAE", 11112', f'"LOCALAE", {free_port}')

    [config] = [block.text for block in blocks(README) if block.language == "toml"]
    isolated_config.write_text(replace(config))
    (tmp_path / "cohort.csv").write_text("PatientID,StudyDate\nVamp001,20201031\nVamp003,\n")
    return replace


def shape(lines: list[str]) -> list[str]:
    """What is printed without its counts, sizes and times, and columns."""
    text = re.sub(
        r"\b([0-9.]+|NA)(?= (patients|studies|series|instances|sent|already|s\b|[kMG]?B|bytes))", "#", "\n".join(lines)
    )
    return [re.sub(r" +", " ", re.sub(r"# [kMG]?B", "# B", line)) for line in text.splitlines()]


def test_there_are_examples() -> None:
    found = list(commands(README))
    assert {example.text for example in found} >= set(NOT_HERE)
    assert {example.text.split()[1] for example in found if example.text.startswith("dcm ")} == {
        *("demo", "diff", "dump", "echo", "query", "sort", "sync")
    }


def test_the_commands(here: Here, tmp_path: Path, samples: list[data.Sample]) -> None:
    for example in commands(README):
        if example.text in NOT_HERE:
            continue
        done = run_shell(here(example.text), tmp_path, {})
        assert done.returncode == 0, f"{example}: {done.stderr}"
        if example.output and not example.output[0].startswith("2 patients"):
            assert shape((done.stdout + done.stderr).splitlines()) == shape(example.output), str(example)
    kept = {path.stem for path in (tmp_path / "path" / "to" / "save" / "data").rglob("*.dcm")}
    assert kept == {sample.sop_instance_uid for sample in samples if sample.patient_id == "Vamp001"}
    assert (tmp_path / "report.json").exists()
    assert list((tmp_path / "flat" / "Vamp001" / "20201031").glob("002-*.dcm"))


@pytest.mark.skipif(sys.platform == "win32", reason="terminals")
def test_the_tree_on_a_terminal(here: Here) -> None:
    [example] = [example for example in commands(README) if example.output and "patients" in example.output[0]]
    code, shown = run_on_terminal(*here(example.text).split()[1:])
    assert code == 0
    assert shape(shown.splitlines()) == shape(example.output)


def test_the_python_code(here: Here, tmp_path: Path, samples: list[data.Sample]) -> None:
    [code] = [block.text for block in blocks(README) if block.language == "python"]
    done = run_python(here(code), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    night = {sample.sop_instance_uid for sample in samples if sample.patient_id != "Vamp003"}
    assert {path.stem for path in (tmp_path / "path/to/save/data").iterdir()} == night
    assert set(done.stdout.split()) >= night
    assert done.stdout.startswith("2 patients | 3 studies | ")


def test_the_exit_codes_are_those_of_the_help() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "dcm", "--help"], capture_output=True, text=True, cwd=ROOT, timeout=25, check=True
    ).stdout
    codes = re.findall(r"^ +([0-9]+) {2,}\S", help_text.partition("Exit codes:")[2], re.MULTILINE)
    table = README.read_text().partition("How it ended is in the exit code:")[2]
    assert re.findall(r"^([0-9]+) {2,}\S", table, re.MULTILINE) == codes


@pytest.mark.slow
def test_what_a_newcomer_types(tmp_path: Path) -> None:
    """``pip install . && dcm demo`` in a fresh environment, of a copy: installing leaves nothing in the tree."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    source = tmp_path / "dcm"
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=120)
    command = f". {venv}/bin/activate && pip install --quiet . && cd {tmp_path} && dcm demo"
    done = subprocess.run(
        ["bash", "-c", f"unset PYTHONPATH; {command}"],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "26 files" in done.stdout
    assert "23 already there" in done.stderr
    assert {example.text for example in commands(README)} >= {"pip install .", "dcm demo"}


def test_examples_are_found(tmp_path: Path) -> None:
    document = tmp_path / "document.rst"
    document.write_text("Text\n\n.. code-block:: console\n\n    $ one \\\n      two\n    said\n    $ three\n\nMore\n")
    assert list(commands(document)) == [
        Example("console", 5, "one \\\n  two", ["said"]),
        Example("console", 8, "three", []),
    ]
