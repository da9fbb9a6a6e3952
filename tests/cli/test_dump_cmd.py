"""``dcm dump``."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shlex
import shutil
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from dcm.cli import main
from tests import data
from tests.cli.runner import run_dcm, run_on_terminal


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    return data.write_series(tmp_path / "series", data.SeriesSpec(n_instances=1))[0].path


def test_one_file(sample: Path) -> None:
    done = run_dcm("dump", sample)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "(0010,0020) LO [Vamp001] " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("(7fe0,0010) OW ")
    assert "\x1b" not in done.stdout


def test_colors_on_a_terminal_only(sample: Path) -> None:
    code, shown = run_on_terminal("dump", "-i", "PatientID", sample)
    assert code == 0
    assert "\x1b[36m(0010,0020)" in shown
    code, shown = run_on_terminal("dump", "-i", "PatientID", sample, env={"NO_COLOR": "1"})
    assert "\x1b[" not in shown


def test_a_broken_file_is_shown_as_far_as_it_goes_and_the_others_go_on(sample: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(sample.read_bytes()[:-1000])
    done = run_dcm("dump", "-g", "7fe0", "-i", "PatientID", broken, sample, tmp_path / "missing", __file__)
    assert done.returncode == 1
    assert done.stdout.count("(0010,0020) LO [Vamp001]") == 2
    assert done.stdout.count("(7fe0,0010) OW ") == 2
    assert f"# {broken}\n" in done.stdout
    errors = done.stderr.splitlines()
    assert re.fullmatch(
        rf"Error: {re.escape(str(broken))}: \(7fe0,0010\) is longer than the file: 1000 of its 2048 bytes are missing, "
        r"at offset [0-9]+",
        errors[0],
    )
    assert errors[1] == f"Error: {tmp_path / 'missing'}: cannot be read: No such file or directory"
    assert errors[2].startswith(f"Error: {__file__}: not a DICOM file")
    assert len(errors) == 3


def test_directories(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "series" / "notes.txt").write_text("nothing of interest, and no DICOM either")
    os.mkfifo(tmp_path / "series" / "pipe")
    done = run_dcm("dump", "-r", "--plain-fmt", "{ds.PatientID} {file}", tmp_path)
    assert done.returncode == 0
    assert done.stdout == f"Vamp001 {sample}\n"
    assert done.stderr == "Left out: 1 file that is not DICOM\n"
    done = run_dcm("dump", tmp_path)
    assert done.returncode == 1
    assert "a directory, not a file" in done.stderr


def test_an_empty_name_is_none(sample: Path) -> None:
    """That of a variable that is not set; as a path it would be the current directory."""
    for options in ((), ("-r",)):
        done = run_dcm("dump", *options, sample, "")
        assert (done.returncode, done.stdout) == (2, "")
        assert "an empty name" in done.stderr


def test_stdin(sample: Path) -> None:
    done = run_dcm("dump", "-i", "PatientID", "--plain-fmt", "{file}: {elem.value}", "-", stdin=sample.read_bytes())
    assert (done.returncode, done.stdout) == (0, "stdin: Vamp001\n")
    done = run_dcm("dump", "--out-format", "json", "-", stdin=sample.read_bytes())
    assert "InlineBinary" in json.loads(done.stdout)["7FE00010"]


def test_json(sample: Path, tmp_path: Path) -> None:
    large = data.write_ct(tmp_path / "large", 1, size=64)[0].path
    one = json.loads(run_dcm("dump", "--out-format", "json", large).stdout)
    assert one["00100020"] == {"vr": "LO", "Value": ["Vamp001"]}
    assert one["7FE00010"]["BulkDataURI"].startswith(f"{large.as_uri()}?offset=")
    offset, length = map(int, re.findall(r"=([0-9]+)", one["7FE00010"]["BulkDataURI"]))
    assert large.stat().st_size == offset + length
    several = run_dcm("dump", "--out-format", "json", "-i", "PatientID", sample, __file__, large)
    assert several.returncode == 1
    assert json.loads(several.stdout) == [{"00100020": {"vr": "LO", "Value": ["Vamp001"]}}] * 2
    assert json.loads(run_dcm("dump", "-r", "--out-format", "json", sample).stdout)[0]
    lines = run_dcm("dump", "--out-format", "ndjson", "--full", sample, large).stdout.splitlines()
    assert ["InlineBinary" in json.loads(line)["7FE00010"] for line in lines] == [True, True]
    assert run_dcm("dump", "-r", "--out-format", "json", tmp_path / "series").stdout.startswith("[\n{")
    assert run_dcm("dump", "--out-format", "json", __file__).stdout == ""


@pytest.mark.parametrize("given", ["<(cat {path})", "/dev/fd/3 3< {path}", "/dev/stdin < {path}", "{path}.fifo"])
def test_json_refers_to_nothing_that_is_gone_afterwards(given: str, tmp_path: Path) -> None:
    (sample,) = data.write_series(tmp_path, data.SeriesSpec(n_instances=1, rows=64, columns=64))
    os.mkfifo(f"{sample.path}.fifo")
    command = f"'{sys.executable}' -m dcm dump --out-format json {given.format(path=shlex.quote(str(sample.path)))}"
    if "fifo" in given:
        command = f"cat {shlex.quote(str(sample.path))} > {shlex.quote(str(sample.path))}.fifo & {command}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=25, check=True)
    pixels = json.loads(done.stdout)["7FE00010"]
    assert sorted(pixels) == ["InlineBinary", "vr"]
    assert "BulkDataURI" in run_dcm("dump", "--out-format", "json", sample.path).stdout


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["-i", "PatientNam"], "did you mean PatientName?"),
        (["--plain-fmt", "{elem.valu}"], "there is no elem.valu"),
        (["--plain-fmt", "{elem.value}", "--out-format", "json"], "--plain-fmt is for plain output"),
        (["--window", "40,400"], "--window and --frame are for pictures"),
        (["--png", "x.png", "--full"], "A picture (--image, --png) has no elements"),
        (["--image"], "stdout is no terminal"),
        (["--png", "x.png", "--window", "40"], "it is CENTER,WIDTH: 40,400 say"),
        (["--png", "x.png", "--frame", "2"], "there is no frame 2"),
    ],
)
def test_usage(options: list[str], error: str, sample: Path) -> None:
    done = run_dcm("dump", *options, sample)
    assert done.returncode == 2
    assert error in done.stderr
    assert done.stdout == ""


def test_the_reader_may_go_away(sample: Path) -> None:
    if shutil.which("head") is None:
        pytest.skip("no head")
    files = " ".join([str(sample)] * 300)
    done = subprocess.run(
        f"'{sys.executable}' -m dcm dump {files} | head -1", shell=True, capture_output=True, timeout=25, check=False
    )
    assert done.stdout.startswith(b"# ")
    assert done.stderr == b""


@pytest.mark.parametrize("options", [(), ("--out-format", "json"), ("--out-format", "ndjson")])
@pytest.mark.parametrize("n_files", [1, 60])
def test_output_that_does_not_fit_is_no_fault_of_a_file(options: tuple[str, ...], n_files: int, sample: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dcm", "dump", "--full", *options, *[str(sample)] * n_files],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=25,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"Error: cannot write to stdout: No space left on device\n")


# -- pictures


def test_png(sample: Path, tmp_path: Path) -> None:
    done = run_dcm("dump", "--png", tmp_path / "a.png", "--window", "1000,100", sample)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    done = run_dcm("dump", "--png", tmp_path / "missing" / "a.png", sample)
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert run_dcm("dump", "--png", "a.png", sample, sample).returncode == 2


def test_a_picture_from_stdin(sample: Path, tmp_path: Path) -> None:
    assert run_dcm("dump", "--png", tmp_path / "a.png", sample).returncode == 0
    done = run_dcm("dump", "--png", tmp_path / "b.png", "-", stdin=sample.read_bytes())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    done = run_dcm("dump", "--png", tmp_path / "c.png", "-", stdin=b"nothing")
    assert (done.returncode, done.stderr[:31]) == (1, "Error: stdin: not a DICOM file:")


def test_a_picture_from_a_pipe(sample: Path, tmp_path: Path) -> None:
    """As in ``dcm dump --png a.png <(gunzip -c image.dcm.gz)``."""
    command = f"cat '{sample}' | '{sys.executable}' -m dcm dump --png '{tmp_path}/a.png' /dev/stdin"
    done = subprocess.run(command, shell=True, capture_output=True, timeout=25, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_does_not_fit_leaves_nothing(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    assert main(["dump", "--png", str(tmp_path / "a.png"), str(sample)]) == 1
    assert capsys.readouterr().err == f"Error: cannot write {tmp_path / 'a.png'}: No space left on device\n"
    assert not (tmp_path / "a.png").exists()


def test_a_picture_is_written_over_nothing_else(sample: Path, tmp_path: Path) -> None:
    """Of ``--png *.dcm`` with two files, the first one would be lost."""
    other = tmp_path / "other.dcm"
    other.write_bytes(sample.read_bytes())
    done = run_dcm("dump", "--png", other, sample)
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        [
            f"Error: {other} is there, and is no PNG file: it is not overwritten",
            "       behind --png stands the file to write, then the one to show: --png picture.png image.dcm",
        ],
    )
    assert other.read_bytes() == sample.read_bytes()
    (tmp_path / "empty.png").touch()
    for _ in range(2):
        assert run_dcm("dump", "--png", tmp_path / "empty.png", sample).returncode == 0
    assert run_dcm("dump", "--png", "/dev/null", sample).returncode == 0


def test_what_is_no_dicom_in_a_directory_is_left_out_of_pictures_too(sample: Path, tmp_path: Path) -> None:
    (sample.parent / "notes.txt").write_text("nothing of interest, and no DICOM either")
    report = next(path for path in data.pydicom_files() if path.name == "rtplan.dcm")
    code, shown = run_on_terminal("dump", "-r", "--image", sample.parent)
    assert code == 0
    assert "Error" not in shown
    assert "Left out: 1 file that is not DICOM" in shown
    code, shown = run_on_terminal("dump", "--image", sample, report, sample.parent / "notes.txt")
    assert code == 1
    assert shown.count("Error") == 2


def shown_by(command: str, answers: dict[bytes, bytes], size: tuple[int, int] = (24, 80)) -> bytes:
    """What a command shows on a terminal that answers so when it is asked."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        os.execvp("sh", ["sh", "-c", command])
    shown, seen = b"", 0
    deadline = time.monotonic() + 25
    while time.monotonic() < deadline and select.select([terminal], [], [], 25)[0]:
        try:
            chunk = os.read(terminal, 1 << 16)
        except OSError:  # it is closed
            break
        shown += chunk
        for question, answer in answers.items():
            if question in shown[seen:]:
                os.write(terminal, answer)
                seen = len(shown)
    os.close(terminal)
    os.waitpid(pid, 0)
    return shown


KITTY = {b"a=q": b"\x1b_Gi=31;OK\x1b\\"}
SIXEL = {b"\x1b[c": b"\x1b[?62;4;22c"}
NEITHER = {b"\x1b[c": b"\x1b[?62;22c"}


@pytest.mark.parametrize("from_stdin", [False, True])
@pytest.mark.parametrize(
    ("answers", "drawn"),
    [(KITTY | NEITHER, b"\x1b_G"), (SIXEL, b"\x1bP"), (NEITHER, "▀".encode()), ({}, "▀".encode())],
    ids=["kitty", "sixel", "neither", "silent"],
)
def test_the_terminal_decides_how_pictures_are_drawn(
    answers: dict[bytes, bytes], drawn: bytes, from_stdin: bool, sample: Path
) -> None:
    command = f"'{sys.executable}' -m dcm dump --image"
    shown = shown_by(f"cat '{sample}' | {command} -" if from_stdin else f"{command} '{sample}'", answers)
    _, _, picture = shown.partition(b"a=q")
    marks = {b"\x1b_G": picture, b"\x1bP": shown, "▀".encode(): shown}
    assert {mark for mark, where in marks.items() if where.count(mark) > 0} == {drawn}, shown[-300:]
    assert b"Traceback" not in shown


def test_a_terminal_of_no_size(sample: Path) -> None:
    shown = shown_by(f"'{sys.executable}' -m dcm dump --image '{sample}'", {}, (0, 0))
    assert b"the terminal does not say how large it is" in shown


def test_half_blocks_on_a_terminal_that_knows_nothing_else(sample: Path) -> None:
    code, shown = run_on_terminal("dump", "--image", "--window", "40,400", sample)
    assert code == 0
    assert shown.count("▀") > 100


def test_no_color_is_not_about_pictures(sample: Path) -> None:
    code, shown = run_on_terminal("dump", "--image", sample, env={"NO_COLOR": "1"})
    assert code == 0
    assert re.search(r"\x1b\[38;[0-9;]+m▀", shown)


def test_a_terminal_that_can_do_nothing(sample: Path) -> None:
    code, shown = run_on_terminal("dump", "--image", sample, env={"TERM": "dumb"})
    assert code == 2
    assert "this terminal shows no pictures (TERM=dumb)" in shown
    assert "▀" not in shown


def test_what_has_no_picture(tmp_path: Path, sample: Path) -> None:
    report = next(path for path in data.pydicom_files() if path.name == "rtplan.dcm")
    code, shown = run_on_terminal("dump", "--image", report, sample)
    assert code == 1
    assert "has no pixel data" in shown
    assert "▀" in shown


WITHOUT = """
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == {missing!r} else real(name, *more)
from dcm.cli import main
sys.exit(main(["dump", "--png", "x.png", {path!r}]))
"""


@pytest.mark.parametrize("missing", ["numpy", "PIL"])
def test_without_the_extra_it_says_what_to_install(missing: str, sample: Path, tmp_path: Path) -> None:
    code = WITHOUT.format(missing=missing, path=str(sample))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=25, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert f"pictures need {missing}, which is not installed" in done.stderr
    assert 'pip install "dcm[image]"' in done.stderr
