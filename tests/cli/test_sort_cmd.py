"""``dcm sort`` as a user sees it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dcm.cli import main
from tests.cli.runner import run_dcm, run_on_terminal
from tests.sort.messes import contents, mess
from tests.store.instances import write_file


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(3):
        write_file(tmp_path / "mess" / str(number), f"1.2.{number}", patient_id=f"P{number % 2}")
    return tmp_path / "mess"


def test_a_dry_run_prints_the_tree_and_makes_nothing(source: Path, tmp_path: Path) -> None:
    write_file(source / "other", "1.2.0", patient_id="P0", pixels=b"others")
    done = run_dcm("sort", "-n", "--dir-format", "{PatientID}/{SOPInstanceUID}", source, tmp_path / "sorted")
    assert done.returncode == 3, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == str(tmp_path / "sorted")
    assert lines[1:4] == ["├── P0", "│   ├── 1.2.0.dcm", lines[3]]
    assert lines[3].startswith("│   ├── 1.2.0~")
    assert lines[3].endswith(".dcm  (other bytes under this UID are there already, both are kept)")
    assert lines[4:] == ["│   └── 1.2.2.dcm", "└── P1", "    └── 1.2.1.dcm"]
    assert done.stderr.startswith("4 files: 3 sorted, 1 conflict\n")
    assert not (tmp_path / "sorted").exists()


def test_what_is_neither_a_file_nor_a_directory_is_refused(source: Path, tmp_path: Path) -> None:
    """That of a process substitution, say: nothing of it would be sorted, and nobody may ever write to it."""
    os.mkfifo(tmp_path / "pipe")
    for named in (tmp_path / "pipe", "/dev/null", "/dev/stdin"):
        done = run_dcm("sort", source, named, tmp_path / "sorted", stdin=b"of another program")
        assert done.returncode == 2
        assert f"{named} is neither a file nor a directory" in done.stderr
        assert "write what comes from it to a file first" in done.stderr
        assert not (tmp_path / "sorted").exists()


def test_a_named_pipe_in_a_directory_keeps_nobody_waiting(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "pipe")
    done = run_dcm("sort", source, tmp_path / "sorted")
    assert ": 3 sorted, 1 foreign\n" in done.stderr
    assert done.returncode == 0


def test_options_and_report(source: Path, tmp_path: Path) -> None:
    options = ("--method", "move", "--dir-format", "flat", "--out-file-ext", "", "-j", "2")
    report = tmp_path / "report.json"
    done = run_dcm("sort", *options, "--report", report, source, tmp_path / "sorted")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.endswith(": 3 sorted\n")
    assert set(contents(tmp_path / "sorted")) == {"1.2.0", "1.2.1", "1.2.2"}
    assert contents(source) == {}
    told = json.loads(report.read_text())
    assert {(file["state"], file["dest"]) for file in told["each"]} == {("sorted", f"1.2.{n}") for n in range(3)}


def test_a_report_on_a_terminal_is_harmless(source: Path, tmp_path: Path) -> None:
    (source / "evil \u202egnp\x9b2J.dcm").write_bytes((source / "0").read_bytes())
    done = run_dcm("sort", "-n", "--report", "-", source, tmp_path / "sorted")
    assert "evil \\u202egnp\\u009b2J.dcm" in done.stdout
    assert str(source / "evil \u202egnp\x9b2J.dcm") in [file["path"] for file in json.loads(done.stdout)["each"]]


def test_reports_that_are_no_files(source: Path, tmp_path: Path) -> None:
    before = Path(os.devnull).stat()
    assert run_dcm("sort", "-n", "--report", os.devnull, source, tmp_path / "sorted").returncode == 0
    assert Path(os.devnull).stat().st_ino == before.st_ino
    done = run_dcm("sort", "--report", tmp_path / "sorted", source, tmp_path / "sorted")
    assert done.returncode == 2
    assert "that is where the instances go" in done.stderr
    assert not (tmp_path / "sorted").exists()


def test_what_was_done_is_told_also_where_the_report_cannot_be_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dcm.report._base.write_whole", full)
    code = main(["sort", "--report", str(tmp_path / "r.json"), str(source), str(tmp_path / "sorted")])
    assert code == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"Error: cannot write the report to {tmp_path / 'r.json'}: No space left on device"
    assert told[1].endswith(": 3 sorted")


def test_a_path_with_a_template_and_a_quiet_run(source: Path, tmp_path: Path) -> None:
    done = run_dcm("--quiet", "sort", source, f"{tmp_path}/sorted:{{Modality}}/{{SOPInstanceUID}}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(contents(tmp_path / "sorted")) == 3


def test_a_path_with_the_name_of_a_template(source: Path, tmp_path: Path) -> None:
    assert run_dcm("sort", source, f"{tmp_path}/sorted:flat").returncode == 0
    assert set(contents(tmp_path / "sorted")) == {"1.2.0.dcm", "1.2.1.dcm", "1.2.2.dcm"}
    done = run_dcm(
        "sort", source, f"{tmp_path}/sorted:flat", "--dir-format", "flat"
    )  # twice the same is no contradiction
    assert ": 3 duplicate\n" in done.stderr
    # A directory that is called so is meant, and what is no name of a template is a part of the path.
    (tmp_path / "other:flat").mkdir()
    for dest in ("other:flat", "other:none"):
        assert run_dcm("sort", source, tmp_path / dest).returncode == 0
        assert len(contents(tmp_path / dest)) == 3
    assert not (tmp_path / "other").exists()


def test_a_quiet_run_tells_nothing_but_what_needs_to_be_looked_after(source: Path, tmp_path: Path) -> None:
    (source / "notes.txt").write_text("not DICOM")
    done = run_dcm("--quiet", "sort", source, tmp_path / "sorted")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (source / "short").write_bytes((source / "0").read_bytes()[:-3])
    done = run_dcm("--quiet", "sort", source, tmp_path / "sorted")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"1 left alone: the data ends too early ({source / 'short'})\n"


def test_what_is_wrong_is_said_before_anything_happens(source: Path, tmp_path: Path) -> None:
    cases: tuple[tuple[list[str | Path], str], ...] = (
        (["sort", source, source], "source and destination"),
        (["sort", tmp_path / "none", tmp_path / "sorted"], "there is no"),
        (["sort", "--dir-format", "study", source, tmp_path / "sorted"], "there are default, uid"),
        (["sort", "--dir-format", "{PatientId}", source, tmp_path / "sorted"], "PatientID"),
        (["sort", "--jobs", "1000", source, tmp_path / "sorted"], "1000 is not in the range"),
        (["sort", "--method", "steal", source, tmp_path / "sorted"], "steal"),
        (["sort", source], "Missing argument"),
        (["sort", source, f"{tmp_path}/sorted:{{PatientID}}", "--dir-format", "flat"], "say one of the two"),
        (["sort", source, f"{tmp_path}/sorted:uid", "--dir-format", "flat"], "say one of the two"),
        (["sort", source, tmp_path / "sorted", "--report", ""], "an empty name"),
        (["sort", source, source / "0" / "sorted"], "is not a directory"),
        (["sort", source, tmp_path / ("x" * 300)], "File name too long"),
    )
    for arguments, words in cases:
        done = run_dcm(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert words in done.stderr
    assert not (tmp_path / "sorted").exists()


def test_the_formats_are_listed_with_examples() -> None:
    done = run_dcm("sort", "--list-formats")
    assert done.returncode == 0
    assert "bids-source  sub-{PatientID}/" in done.stdout
    assert "sub-Vamp001/ses-20201031/CT/003-Upper teeth/1.2.840.99.3.17.dcm" in done.stdout


def test_what_is_left_is_told_without_escape_sequences(tmp_path: Path) -> None:
    source = mess(tmp_path / "mess")
    (source / "evil\x1b[2J").write_text("x")
    code, shown = run_on_terminal("sort", source, tmp_path / "sorted")
    assert code == 3
    assert "\x1b[2J" not in shown
    assert "evil\\x1b[2J" in shown
    assert "3 sorted, 2 duplicate, 1 conflict, 4 foreign, 1 truncated" in shown


def test_an_empty_name_is_not_the_current_directory(tmp_path: Path) -> None:
    """That of a variable that is not set: nothing shall be sorted into wherever one is."""
    write_file(tmp_path / "mess" / "a", "1.2.1")
    for args in (("mess", ""), ("", "sorted")):
        done = run_dcm("sort", *args, cwd=tmp_path)
        assert done.returncode == 2
        assert "an empty name" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mess"]
