"""An earlier query result: a file, stdin, or nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dcm.attrs import Attributes
from dcm.cli._stdin import read_query_res
from dcm.errors import UsageError
from dcm.query import QueryLevel, QueryResult

RESULT = QueryResult(QueryLevel.STUDY, [Attributes.from_items([(0x00100020, "LO", "P"), (0x0020000D, "UI", "1.2.3")])])
SCRIPT = """
import sys
from pathlib import Path
from dcm.cli._stdin import read_query_res
from dcm.errors import UsageError
path = Path(sys.argv[1]) if len(sys.argv) > 1 else None
try:
    result = read_query_res(path)
except UsageError as exc:
    print("error", exc)
else:
    print("none" if result is None else list(result.uids()))
"""


def read_in_a_process(*args: str, stdin: object = None, data: bytes | None = None) -> str:
    command = [sys.executable, "-c", SCRIPT, *args]
    if data is not None:
        return subprocess.run(command, input=data, capture_output=True, timeout=25, check=True).stdout.decode().strip()
    with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True) as process:  # type: ignore[call-overload]
        return str(process.communicate(timeout=25)[0]).strip()


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "res.json"
    path.write_text(RESULT.to_json())
    assert read_query_res(path) == RESULT
    with pytest.raises(UsageError, match=r"cannot read .*none\.json"):
        read_query_res(tmp_path / "none.json")
    path.write_text("PatientID,StudyDate\n")
    with pytest.raises(UsageError, match=r"res\.json: not a query result") as caught:
        read_query_res(path)
    assert caught.value.exit_code == 2
    path.write_text("")
    with pytest.raises(UsageError, match="not a query result"):
        read_query_res(path)


def test_what_is_piped_in_is_read() -> None:
    data = RESULT.to_json().encode()
    assert read_in_a_process(data=data) == "['1.2.3']"
    assert read_in_a_process("-", data=data) == "['1.2.3']"


def test_a_file_on_stdin_is_read(tmp_path: Path) -> None:
    path = tmp_path / "res.json"
    path.write_text(RESULT.to_json())
    with open(path, "rb") as file:
        assert read_in_a_process(stdin=file) == "['1.2.3']"


def test_an_empty_pipe_and_dev_null_hold_nothing() -> None:
    assert read_in_a_process(data=b"") == "none"
    assert read_in_a_process(data=b" \n") == "none"
    assert read_in_a_process(stdin=subprocess.DEVNULL) == "none"
    assert read_in_a_process("-", stdin=subprocess.DEVNULL).startswith("error stdin: not a query result")


def test_what_is_piped_in_by_mistake_is_named() -> None:
    printed = read_in_a_process(data=b"patient1\npatient2\n")
    assert printed.startswith("error stdin: not a query result")
    assert "</dev/null" in printed


@pytest.mark.skipif(sys.platform == "win32", reason="sockets are no files there")
def test_a_socket_is_not_waited_for() -> None:
    """A service manager or an agent may leave one open for ever."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert read_in_a_process(stdin=theirs.fileno()) == "none"


@pytest.mark.skipif(sys.platform == "win32", reason="select takes no pipes there")
def test_a_pipe_that_stays_silent_is_waited_for_and_that_is_said() -> None:
    script = SCRIPT.replace("path =", "import dcm.cli._stdin; dcm.cli._stdin._PATIENCE = 0.05\npath =")
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Waiting for a query result on stdin")
    printed, _ = process.communicate(RESULT.to_json(), timeout=25)
    assert printed.strip() == "['1.2.3']"
