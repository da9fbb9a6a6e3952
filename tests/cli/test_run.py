"""What a command raises becomes one line on stderr and an exit code; signals cancel what it does."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from dcm import errors
from dcm.cli._run import CliState, print_error, run
from dcm.errors import ConnectionFailedError, DcmError
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


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """As in ``dcm ... | head -1``: quiet, and not a success."""
    process = subprocess.Popen([*DCM, "conf", "--show-default"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, shown = process.communicate(timeout=25)
    assert shown == b""
    assert process.returncode == 1


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
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.stdout.readline() == "asked\n"
        if not ends:
            process.send_signal(number)
        printed, shown = process.communicate(timeout=20)
    assert printed == (f"('done', <Signals.{number.name}: {int(number)}>)\n" if ends else "")
    assert shown == ""
    assert process.returncode == (0 if ends else -number)
