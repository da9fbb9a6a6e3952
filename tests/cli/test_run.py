"""What a command raises becomes one line on stderr and an exit code; signals cancel what it does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydicom.data import get_testdata_file

from dcm import errors
from dcm.cli._run import CliState, print_error, run
from dcm.errors import ConnectionFailedError, DcmError
from tests import data
from tests.cli.runner import DCM, run_dcm


def command_that_raises(error: BaseException, *, debug: bool = False) -> click.Command:
    @click.command()
    @click.pass_obj
    def command(state: CliState) -> None:
        state.debug = debug
        raise error

    return command


def all_errors(root: type[DcmError] = DcmError) -> Iterator[type[DcmError]]:
    yield root
    for child in root.__subclasses__():
        yield from all_errors(child)


@pytest.mark.parametrize("kind", [kind for kind in all_errors() if kind.__module__ == errors.__name__])
def test_every_error_ends_with_its_exit_code(kind: type[DcmError], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command_that_raises(kind("it failed", hint="do this")), []) == kind.exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Error: it failed\n       do this\n"


def test_what_a_peer_said_cannot_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConnectionFailedError("host \x1b[31mred\nError: forged", hint="\x9b2J")
    assert run(command_that_raises(error), []) == 4
    assert capsys.readouterr().err == "Error: host \\x1b[31mred\\nError: forged\n       \\x9b2J\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such file or directory", "x.dcm"), "Error: x.dcm: No such file or directory\n"),
        (OSError("odd"), "Error: odd\n"),
        (KeyError("x"), "Error: unexpected KeyError: 'x'\n       dcm --debug shows where\n"),
    ],
)
def test_what_nobody_expected_is_a_line_too(error: Exception, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command_that_raises(error), []) == 1
    assert capsys.readouterr().err == line


def test_a_name_that_the_locale_has_no_letters_for(tmp_path: Path) -> None:
    ds = data.data_set()
    ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 192", "Yamada^Tarou=山田^太郎"
    (tmp_path / "mess").mkdir()
    ds.save_as(tmp_path / "mess" / "a.dcm", enforce_file_format=True)
    command = f"{DCM_SH} sort --dir-format '{{PatientName}}/{{SOPInstanceUID}}' mess sorted"
    legacy = "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"
    code, _, shown = run_shell(f"{legacy} {command}", tmp_path)
    assert code == 1
    error, hint = shown.decode().splitlines()
    assert error.startswith("Error: no file can be called 'Yamada^Tarou=")
    assert error.endswith(" in this locale (ascii)")
    assert hint == "       PYTHONUTF8=1 dcm ... can"
    assert run_shell(f"LC_ALL=C PYTHONUTF8=1 {command}", tmp_path)[0] == 0


def test_debug_shows_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command_that_raises(KeyError("x"), debug=True), []) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("Error: unexpected KeyError: 'x'\n")
    assert run(command_that_raises(DcmError("y"), debug=True), []) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_130_and_an_answer_that_does_not_come_is_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command_that_raises(KeyboardInterrupt()), []) == 130
    assert run(command_that_raises(EOFError()), []) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_where_an_answer_is_expected_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(prompt: str) -> str:
        raise KeyboardInterrupt

    @click.command()
    def command() -> None:
        click.confirm("For good?", err=True)

    monkeypatch.setattr("click.termui.visible_prompt_func", interrupted)
    assert run(command, []) == 130
    assert "Error" not in capsys.readouterr().err


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3), (5, 5)])
def test_a_command_returns_its_exit_code(returned: int | None, code: int) -> None:
    assert run(click.Command("x", callback=lambda: returned), []) == code


def test_errors_have_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("a\nb")
    assert capsys.readouterr().err == "Error: a\\nb\n"


SAYS_SOMETHING = [
    ["--help"],
    ["version"],
    ["conf", "--show-default"],
    ["dump", "a.dcm"],
    ["dump", "--out-format", "json", "a.dcm"],
    ["diff", "a.dcm", "b.dcm"],
    ["diff", "--out-format", "side-by-side", "a.dcm", "b.dcm"],
    ["diff", "--out-format", "json", "a.dcm", "b.dcm"],
    ["sort", "-n", "a.dcm", "there"],
    ["query", ".", "--no-index"],
]


@pytest.fixture
def two_files(tmp_path: Path) -> Path:
    """A directory with a.dcm and b.dcm, to be in."""
    for sample, name in zip(data.write_series(tmp_path, data.SeriesSpec(n_instances=2)), "ab", strict=True):
        sample.path.rename(tmp_path / f"{name}.dcm")
    return tmp_path


def run_shell(command: str, where: Path) -> tuple[int, bytes, bytes]:
    """Run ``dcm`` in a shell, with buffers, as most users have it."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), env.get("PYTHONPATH", "")])
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=where, env=env, timeout=25, check=False)
    return done.returncode, done.stdout, done.stderr


DCM_SH = f"'{sys.executable}' -m dcm"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("args", SAYS_SOMETHING, ids=" ".join)
def test_a_reader_that_goes_away_is_no_error(args: list[str], two_files: Path) -> None:
    """As in ``dcm ... | head -1``: quiet, and what a shell says of git, grep and diff then."""
    # The pipe is closed before anything can be written to it.
    command = f"{{ sleep 0.1; {DCM_SH} {' '.join(args)}; echo $? >code; }} | true"
    _, _, shown = run_shell(command, two_files)
    for _ in range(100):
        if (two_files / "code").exists() and (two_files / "code").read_text():
            break
        time.sleep(0.1)
    assert (two_files / "code").read_text() == "141\n"
    assert shown == b""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_reader_of_errors_that_goes_away_is_none_either(two_files: Path) -> None:
    for args in ("dump missing", "query -x", "diff missing a.dcm", "dump a.dcm missing"):
        run_shell(f"{{ sleep 0.1; {DCM_SH} {args}; echo $? >code; }} 2>&1 | true", two_files)
        assert (two_files / "code").read_text() == "141\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("args", SAYS_SOMETHING, ids=" ".join)
@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
def test_stdout_that_takes_nothing_is_an_error(args: list[str], where: str, two_files: Path) -> None:
    code, _, shown = run_shell(f"{DCM_SH} {' '.join(args)} {where}", two_files)
    why = "No space left on device" if where == ">/dev/full" else "Bad file descriptor"
    told = [f"Error: cannot write to stdout: {why}\n"]
    if "side-by-side" in args or "conf" in args:  # what leaves the buffer in one piece is not in it any more
        told.append(f"Error: {why}\n")
    assert shown.decode() in told
    assert code == (2 if "diff" in args else 1)  # 1 would be that they differ


@pytest.mark.skipif(sys.platform == "win32", reason="streams that do not wait")
@pytest.mark.parametrize("unbuffered", ["1", ""])
@pytest.mark.parametrize("args", ["dump --full ct.dcm", "dump --full --out-format json ct.dcm"])
def test_a_stdout_that_takes_a_part_at_a_time_gets_all(args: str, unbuffered: str, tmp_path: Path) -> None:
    """A pipe that does not wait, and that is read slowly; with PYTHONUNBUFFERED Python has no buffer before it."""
    shutil.copy(str(get_testdata_file("CT_small.dcm")), tmp_path / "ct.dcm")
    _, expected, _ = run_shell(f"{DCM_SH} {args}", tmp_path)
    assert len(expected) > 65536  # more than a pipe holds
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen([*DCM, *args.split()], stdout=write_end, cwd=tmp_path, env=env) as process:
        os.close(write_end)
        got = b""
        with open(read_end, "rb", buffering=0) as pipe:
            while data := pipe.read(20_000):
                got += data
                time.sleep(0.01)
    assert (process.returncode, got) == (0, expected)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_where_errors_cannot_be_told_the_exit_code_tells(two_files: Path) -> None:
    for where in ("2>/dev/full", "2>&-"):
        assert run_shell(f"{DCM_SH} dump missing {where}", two_files)[0] == 1
        assert run_shell(f"{DCM_SH} diff missing a.dcm {where}", two_files)[0] == 2
    assert run_shell(f"{DCM_SH} sort a.dcm sorted {where}", two_files)[0] == 0
    assert len([*(two_files / "sorted").rglob("*.dcm")]) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a shell")
def test_a_closed_stdin_has_nothing(two_files: Path) -> None:
    code, _, shown = run_shell(f"{DCM_SH} dump - <&-", two_files)
    assert (code, shown) == (1, b"Error: stdin: cannot be read: Bad file descriptor\n")
    code, _, shown = run_shell(f"{DCM_SH} dump --png - - <&-", two_files)
    assert (code, shown) == (1, b"Error: stdin: cannot be read: Bad file descriptor\n")
    code, _, shown = run_shell(f"{DCM_SH} sort a.dcm sorted <&-", two_files)
    assert code == 0


SCRIPT = """
import asyncio, sys
import click
from dcm.cli._loop import run_async
from dcm.cli._run import run

async def work():
    print("begun", flush=True)
    try:
        await asyncio.sleep(20)
    except asyncio.CancelledError:
        await asyncio.sleep(0)
        print("ended well", flush=True)
        {after}

sys.exit(run(click.Command("x", callback=lambda: run_async(work())), []))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("after", "code"), [("raise", 130), ("return 3", 3)])
def test_a_signal_cancels_what_goes_on_and_waits_for_its_end(number: signal.Signals, after: str, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(after=after)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    printed, shown = process.communicate(timeout=20)
    assert printed == "ended well\n"
    assert "Traceback" not in shown
    assert process.returncode == code


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_second_signal_does_not_wait() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(after="await asyncio.sleep(20)")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "ended well\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=15)
    assert process.returncode == -signal.SIGTERM
    assert time.monotonic() - began < 15


def test_a_name_that_the_terminal_cannot_show_is_no_failure() -> None:
    done = run_dcm("echo", "東京", env={"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 2
    assert "no node called '\\u6771\\u4eac'" in done.stderr


SERVICE = """
import asyncio, sys
from dcm.cli._loop import run_service

async def serve():
    print("begun", flush=True)
    await asked.wait()
    print("asked", flush=True)
    {end}
    return "done"

asked = asyncio.Event()
print(run_service(serve(), asked.set), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("ends", [True, False])
def test_a_service_is_asked_to_end_and_a_second_signal_kills(number: signal.Signals, ends: bool) -> None:
    end = "pass" if ends else "__import__('time').sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE.format(end=end)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.stdout.readline() == "asked\n"
        if not ends:
            process.send_signal(number)
        # Not with `communicate`: what came with the last line, and was read with it, it does not know.
        printed, shown = process.stdout.read(), process.stderr.read()
    assert printed == (f"('done', <Signals.{number.name}: {int(number)}>)\n" if ends else "")
    assert shown == ""
    assert process.returncode == (0 if ends else -number)
