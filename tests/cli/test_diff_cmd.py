"""``dcm diff``."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from dcm.diff import diff_files
from dcm.errors import StoreError
from tests import data
from tests.cli.runner import DCM, run_dcm, run_on_terminal

DIFF = shlex.join([*DCM, "diff"])
HOSTILE = "a\x1b[2J\n\u202eb[bold]"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two files that differ in every way that there is."""
    left, right = tmp_path / "a.dcm", tmp_path / "b.dcm"
    ds = data.data_set()
    ds.save_as(left)
    ds.PatientID = "Other"
    del ds.StudyDescription
    item = Dataset()
    item.StudyInstanceUID = "1.2.3"
    ds.RequestAttributesSequence = [item]
    ds.save_as(right)
    return left, right


def test_plain_lines_off_a_terminal(pair: tuple[Path, Path]) -> None:
    left, right = pair
    done = run_dcm("diff", left, right)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        f"--- {left}",
        f"+++ {right}",
        "-StudyDescription: 'Night scan'",
        "-PatientID: 'Vamp001'",
        "+PatientID: 'Other'",
        "+RequestAttributesSequence: <1 item: {StudyInstanceUID: '1.2.3'}>",
    ]


def test_the_same(pair: tuple[Path, Path]) -> None:
    for out_format in ("plain", "ndjson", "side-by-side"):
        done = run_dcm("diff", pair[0], pair[0], "--out-format", out_format)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_ignored_and_the_only_ones(pair: tuple[Path, Path]) -> None:
    ignored = ("--ignore", "PatientID", "--ignore", "0008,1030")
    done = run_dcm("diff", *pair, *ignored)
    assert done.stdout.count("\n") == 3
    assert run_dcm("diff", *pair, *ignored, "--ignore", "RequestAttributesSequence").returncode == 0
    done = run_dcm("diff", *pair, "--only", "RequestAttributesSequence.StudyInstanceUID")
    assert done.stdout.splitlines()[2:] == ["+RequestAttributesSequence[0].StudyInstanceUID: '1.2.3'"]
    done = run_dcm("diff", *pair, "--only", "PatietnID")
    assert done.returncode == 2
    assert "did you mean PatientID?" in done.stderr


def test_brief(pair: tuple[Path, Path], tmp_path: Path) -> None:
    done = run_dcm("diff", "-q", *pair)
    assert (done.returncode, done.stdout) == (1, f"Files {pair[0]} and {pair[1]} differ\n")
    found = json.loads(run_dcm("diff", "--brief", *pair, "--out-format", "ndjson").stdout)
    assert "differences" not in found


def test_json(pair: tuple[Path, Path]) -> None:
    left, right = pair
    done = run_dcm("diff", left, right, "--out-format", "json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert (document["left"], document["right"]) == (str(left), str(right))
    assert document["counts"]["different"] == 1
    (found,) = document["files"]
    assert (found["state"], found["sop_instance_uid"]) == ("different", str(dcmread(left).SOPInstanceUID))
    assert found["differences"] == [
        {"path": "StudyDescription", "tag": "00081030", "kind": "missing", "left": "Night scan"},
        {"path": "PatientID", "tag": "00100020", "kind": "changed", "left": "Vamp001", "right": "Other"},
        {
            "path": "RequestAttributesSequence",
            "tag": "00400275",
            "kind": "added",
            "right": [{"StudyInstanceUID": "1.2.3"}],
        },
    ]
    assert json.loads(run_dcm("diff", left, right, "--out-format", "ndjson").stdout) == found
    same = json.loads(run_dcm("diff", left, left, "--out-format", "json").stdout)
    assert (same["files"], same["counts"]["same"]) == ([], 1)


def test_values_of_all_kinds_as_json(pair: tuple[Path, Path]) -> None:
    left, right = pair
    ds = dcmread(left)
    ds.add_new(0x00190010, "LO", "ACME")
    ds.add_new(0x00191001, "OB", b"\x01\x02")
    ds.add_new(0x00191002, "FD", [1.5, float("inf")])
    ds.add_new(0x00191003, "FD", float("nan"))
    ds.ImageType = ["A", "B"]
    ds.FrameIncrementPointer = [0x00181063, 0x00181065]
    ds.PixelData = bytes(len(ds.PixelData))
    ds.save_as(right)
    (found,) = json.loads(run_dcm("diff", left, right, "--out-format", "json").stdout)["files"]
    by_path = {diff["path"]: diff for diff in found["differences"]}
    assert by_path["(0019,1001)"]["right"] == {"length": 2, "hex": "0102"}
    assert by_path["(0019,1001)"]["creator"] == "ACME"
    assert by_path["(0019,1002)"]["right"] == [1.5, "inf"]
    assert by_path["(0019,1003)"]["right"] == "nan"
    assert by_path["ImageType"]["right"] == ["A", "B"]
    assert by_path["FrameIncrementPointer"]["right"] == ["(0018,1063)", "(0018,1065)"]
    assert by_path["PixelData"]["right"].keys() == {"length", "sha256"}


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    left, right = tmp_path / "left", tmp_path / "right"
    samples = data.write_series(left)
    shutil.copytree(left, right)
    ds = dcmread(samples[0].path)
    ds.PatientID = "Other"
    ds.save_as(right / samples[0].path.name)
    (right / samples[1].path.name).unlink()
    (left / "notes.txt").write_text("no DICOM")
    return left, right


def test_trees(trees: tuple[Path, Path]) -> None:
    left, right = trees
    names = sorted(path.name for path in left.glob("*.dcm"))
    done = run_dcm("diff", left, right)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"--- {left / names[0]}",
        f"+++ {right / names[0]}",
        "-PatientID: 'Vamp001'",
        "+PatientID: 'Other'",
        f"Only on the left: {left / names[1]}",
    ]
    figures = "1 same, 1 different, 1 only on the left, 0 only on the right, 1 file left out: not DICOM\n"
    assert done.stderr == figures
    assert run_dcm("--quiet", "diff", left, right).stderr == ""
    back = run_dcm("diff", "-q", right, left).stdout
    assert f"Only on the right: {left / names[1]}\n" in back
    document = json.loads(run_dcm("diff", left, right, "--out-format", "json").stdout)
    assert [found["state"] for found in document["files"]] == ["different", "only-left"]
    assert document["counts"]["foreign"] == 1
    assert run_dcm("diff", left, left).returncode == 0


def test_trouble(trees: tuple[Path, Path], tmp_path: Path) -> None:
    left, right = trees
    for arguments in ((left, tmp_path / "none"), (left / "notes.txt", next(left.glob("*.dcm")))):
        done = run_dcm("diff", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("Error: ")
        assert done.stdout == ""
    victim = sorted(right.glob("*.dcm"))[1]
    victim.write_bytes(victim.read_bytes()[:-10])
    done = run_dcm("diff", left, right)
    assert done.returncode == 2
    assert f"Error: {victim}: ends within (7fe0,0010), 10 bytes are missing" in done.stderr
    assert "PatientID" in done.stdout
    assert "1 not compared to the end" in done.stderr
    assert run_dcm("diff", left).returncode == 2


def test_hostile_values_and_names(pair: tuple[Path, Path], tmp_path: Path) -> None:
    left = pair[0]
    ds = dcmread(left)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientComments = HOSTILE
    ds.add_new(0x00190010, "LO", "\x1b[31mACME")
    ds.add_new(0x00191001, "LO", "x")
    right = tmp_path / os.fsdecode(b"b\x1b[1m\xff.dcm")
    ds.save_as(right)
    for options in (
        (),
        ("-q",),
        ("--out-format", "side-by-side"),
        ("--out-format", "json"),
        ("--out-format", "ndjson"),
    ):
        done = run_dcm("diff", left, right, *options)
        assert done.returncode == 1
        assert done.stdout.replace("\n", "").isprintable(), options
        if "-q" not in options:
            assert "[bold]" in done.stdout
    (found,) = json.loads(run_dcm("diff", left, right, "--out-format", "json").stdout)["files"]
    assert HOSTILE in [diff.get("right") for diff in found["differences"]]


def test_side_by_side_on_a_terminal(pair: tuple[Path, Path], trees: tuple[Path, Path]) -> None:
    code, shown = run_on_terminal("diff", *pair, columns=200)
    assert code == 1
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert re.search(r"^ +\S*a\.dcm +\S*b\.dcm *$", plain, re.MULTILINE)
    assert re.search(r"^PatientID +'Vamp001' +'Other' *$", plain, re.MULTILINE)
    assert "\x1b[31m" in shown or "\x1b[1;31m" in shown
    code, shown = run_on_terminal("diff", *pair, columns=200, env={"NO_COLOR": "1"})
    assert "\x1b[31m" not in shown
    code, shown = run_on_terminal("diff", *trees, columns=200)
    assert code == 1
    assert "1 same, 1 different" in shown


def test_pixels(tmp_path: Path) -> None:
    folder = next(path for path in data.pydicom_files() if path.name == "MR_small.dcm").parent
    plain, compressed = folder / "MR_small.dcm", folder / "MR_small_RLE.dcm"
    assert run_dcm("diff", plain, compressed).returncode == 1
    assert run_dcm("diff", plain, compressed, "--no-meta").stdout.count("PixelData") == 2
    assert run_dcm("diff", plain, compressed, "--pixels").returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes")
def test_through_pipes(pair: tuple[Path, Path], tmp_path: Path) -> None:
    left, right = pair
    expected = run_dcm("diff", left, right)
    assert expected.returncode == 1
    # As <(...) of a shell, and as what is piped in.
    script = f'{DIFF} <(cat "{left}") <(cat "{right}"); cat "{left}" | {DIFF} - "{right}"; {DIFF} "{left}" - <"{right}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=25)
    assert (done.returncode, done.stderr) == (1, "")
    without_names = [line for line in done.stdout.splitlines() if not line.startswith(("---", "+++"))]
    assert without_names == expected.stdout.splitlines()[2:] * 3
    assert "--- /dev/stdin" in done.stdout
    assert "+++ /dev/stdin" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes")
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ('{diff} <(echo hello) "{file}"', "not a DICOM file"),
        ('{diff} <(head -c 200 "{file}") "{file}"', "ends within"),
        ('cat "{file}" | {diff} - -', "only one side can be stdin"),
        ('cat "{file}" | {diff} - "{dir}"', "/dev/stdin: not a regular file"),
    ],
)
def test_pipes_that_cannot_be_compared(script: str, message: str, pair: tuple[Path, Path], tmp_path: Path) -> None:
    script = script.format(diff=DIFF, file=pair[0], dir=tmp_path)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=25)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_no_room_for_a_copy(pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "w+b", buffering=0))  # noqa: SIM115
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(pair[0].read_bytes()))
    writer.start()
    with pytest.raises(StoreError, match=r"cannot write a copy of .*pipe in .*: No space left on device") as caught:
        diff_files(tmp_path / "pipe", pair[1])
    assert caught.value.hint == "TMPDIR says where it goes"
    writer.join(10)


def test_an_empty_name_is_not_the_current_directory(tmp_path: Path) -> None:
    done = run_dcm("diff", "", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "an empty name" in done.stderr
