"""``dcm index``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from dcm.store.index import Index
from tests import data
from tests.cli.runner import DCM, run_dcm, run_on_terminal
from tests.store.index.support import age
from tests.store.instances import write_file


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "archive"
    data.write_studies(path)
    age(path)
    return path


def test_a_summary(archive: Path) -> None:
    done = run_dcm("index", archive)
    assert done.returncode == 0
    assert (
        done.stdout == f"{archive}: 17 files: 17 instances of 4 studies of 3 patients; 17 new, 0 changed, 0 removed\n"
    )
    assert not done.stderr
    next(archive.glob("*.dcm")).unlink()
    write_file(archive / "more.dcm")
    done = run_dcm("index", archive)
    assert done.stdout.endswith("17 instances of 5 studies of 3 patients; 1 new, 0 changed, 1 removed\n")
    assert run_dcm("index", "--verify", archive).stdout.endswith("0 new, 0 changed, 0 removed\n")
    assert run_dcm("index", "--rebuild", archive).stdout.endswith("17 new, 0 changed, 0 removed\n")


def test_what_is_left_out_is_named(archive: Path) -> None:
    (archive / "notes.txt").write_text("no instance")
    done = run_dcm("index", archive)
    assert done.returncode == 0
    assert f"not a DICOM file ({archive / 'notes.txt'})" in done.stderr
    (archive / "cut.dcm").write_bytes(next(archive.glob("*.dcm")).read_bytes()[:-1])
    done = run_dcm("index", archive)
    assert done.returncode == 3
    assert f"the data ends too early ({archive / 'cut.dcm'})" in done.stderr
    assert run_dcm("--quiet", "index", archive).stderr == ""
    done = run_dcm("index", "--in-file-ext", "txt", archive)
    assert (done.returncode, done.stdout[-60:]) == (0, run_dcm("index", "--in-file-ext", "txt", archive).stdout[-60:])


def test_json(archive: Path, tmp_path: Path) -> None:
    (archive / "notes.txt").write_text("no instance")
    other = tmp_path / "other"
    write_file(other / "sub" / "a.dcm")
    done = run_dcm("index", "--out-format", "json", "--no-recurse", archive, other)
    first, second = json.loads(done.stdout)
    assert (first["n_instances"], first["n_new"], first["left_out"]) == (17, 17, {"foreign": 1})
    assert first["files"][0]["path"] == str(archive / "notes.txt")
    assert (second["directory"], second["n_files"]) == (str(other), 0)


def test_where_it_is_and_removing_it(archive: Path) -> None:
    run_dcm("index", archive)
    shown = run_dcm("index", "--path", archive).stdout.strip()
    assert shown == str(Index(archive).path)
    assert Path(shown).stat().st_mode & 0o777 == 0o600
    done = run_dcm("index", "--remove", archive)
    assert done.returncode == 0
    assert str(Path(shown).parent) in done.stderr
    assert not Path(shown).exists()
    assert run_dcm("index", "--remove", archive).stderr == ""


def test_a_directory_from_the_configuration(archive: Path, isolated_config: Path) -> None:
    isolated_config.write_text(f'[local_dirs.mine]\npath = "{archive}"\n')
    assert "17 instances" in run_dcm("index", "mine").stdout


def test_what_is_refused_before_anything_is_done(archive: Path, tmp_path: Path) -> None:
    done = run_dcm("index", archive, tmp_path / "none")
    assert done.returncode == 2
    assert "no such directory" in done.stderr
    assert not done.stdout
    assert run_dcm("index").returncode == 2


def test_on_a_terminal(archive: Path) -> None:
    code, shown = run_on_terminal("index", archive, columns=150)
    assert code == 0
    assert "17 instances of 4 studies" in shown


def test_interrupted(tmp_path: Path) -> None:
    root = tmp_path / "root"
    data.write_tiny(root, 100)
    lock = Index(root)._only_writer(None, None)
    lock.__enter__()  # so that it has something to wait for
    process = subprocess.Popen(
        [*DCM, "index", str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stderr is not None
    assert "waiting for another process" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    lock.__exit__(None, None, None)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
