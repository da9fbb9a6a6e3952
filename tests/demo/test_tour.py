"""The tour: what it types is what it runs, and what it ends with is the worst that happened."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dcm._version import __version__
from dcm.demo import _tour, run_tour
from dcm.demo._tour import Step, run_step, steps, tree_lines, worst
from tests.peers import HOST

VERSION = ("dcm", "--version")


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([], 0), ([0, 0], 0), ([0, 5], 5), ([5, 3], 3), ([3, 1, 0], 1), ([4, 5], 4), ([4, 130], 130), ([0, -9], 1)],
)
def test_worst(codes: list[int], expected: int) -> None:
    assert worst(codes) == expected


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("terminal", [True, False])
def test_steps_are_typed_as_they_are_run(terminal: bool, compressed: bool) -> None:
    shown = steps("a dir", terminal=terminal, compressed=compressed)
    for step in shown:
        words = shlex.split(step.typed)
        assert words == [word for command in step.pipeline for word in ("|", *command)][1:]
        assert all(command[0] == "dcm" for command in step.pipeline)
    assert {command[1] for step in shown for command in step.pipeline} == {"echo", "query", "sync"}
    assert any("'a dir'" in step.typed for step in shown)
    assert any("--out-format" in step.typed for step in shown) is not terminal


def test_a_step_writes_where_we_write(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_step(Step("", (VERSION,)), os.environ) == 0
    assert capfd.readouterr().out == f"dcm {__version__}\n"


def test_a_pipeline(capfd: pytest.CaptureFixture[str]) -> None:
    # What the first one prints goes into the pipe; the second one has nothing to say about it.
    assert run_step(Step("", (VERSION, ("dcm", "no-such-command"))), os.environ) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "no-such-command" in captured.err
    assert run_step(Step("", (("dcm", "no-such-command"), VERSION)), os.environ) == 2
    assert __version__ in capfd.readouterr().out


def test_ctrl_c_ends_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tour, "_GRACE", 0.1)
    with socket.create_server((HOST, 0)) as server:
        ended = threading.Event()

        def interrupt_when_called() -> None:
            connection, _ = server.accept()
            with connection:
                # The command is waiting for an answer now.
                os.kill(os.getpid(), signal.SIGINT)
                while connection.recv(1000):
                    pass
                ended.set()

        thread = threading.Thread(target=interrupt_when_called)
        thread.start()
        echo = ("dcm", "echo", f"{HOST}:SILENT:{server.getsockname()[1]}")
        assert run_step(Step("", (echo,)), os.environ) == 130
        thread.join()
        assert ended.is_set()


def test_tree(tmp_path: Path) -> None:
    for name in ("b/1", "b/2", "b/3", "b/4", "b/5", "a/x/1", "a/x/2", "a/x/3", "a/x/4", "a/é\x1b"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12")
    assert tree_lines(tmp_path / "root", most=3) == [
        str(tmp_path / "root"),
        "├── a",
        "│   ├── x",
        "│   │   ├── 1",
        "│   │   ├── 2",
        "│   │   ├── 3",
        "│   │   └── 4",
        "│   └── é\\x1b",
        "└── b",
        "    ├── 1",
        "    ├── 2",
        "    ├── 3",
        "    └── … and 2 more",
        "10 files, 20 bytes",
    ]
    assert tree_lines(tmp_path / "nowhere") == ["nothing"]


@pytest.fixture
def only_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tour of one command that works and one that does not."""
    shown = [Step("Which one is it?", (VERSION,)), Step("And this?", (("dcm", "no-such-command"),))]
    monkeypatch.setattr(_tour, "steps", lambda directory, **kwargs: shown)


@pytest.mark.usefixtures("only_version")
def test_the_tour_goes_on_and_ends_with_the_worst(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    lines: list[str] = []
    assert run_tour(lines.append) == 2
    said = "\n".join(lines)
    assert "$ dcm --version" in said
    assert "$ dcm no-such-command" in said
    assert said.index("DCM_CONFIG_PATH=") < said.index("$ dcm --version")
    assert __version__ in capfd.readouterr().out
    assert not list((tmp_path / "temp").iterdir())


@pytest.mark.usefixtures("only_version")
def test_the_configuration_names_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dcm.conf import DcmConfig

    nodes = []

    def note(step: Step, env: dict[str, str]) -> int:
        config = DcmConfig(Path(env["DCM_CONFIG_PATH"]))
        nodes.append((config.remote_node("demo").ae_title, config.local_node(None).ae_title))
        return 130

    monkeypatch.setattr(_tour, "run_step", note)
    lines: list[str] = []
    assert run_tour(lines.append, tmp_path / "data") == 130
    assert nodes == [("DCMDEMO", "DCMUSER")]
    assert "disk" not in lines[-1]


def test_no_index_stays_of_what_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(directory: str, **kwargs: bool) -> list[Step]:
        sync = ("dcm", "sync", "-s", "demo", "-q", "PatientID=Vamp002", directory)
        return [Step("", (sync,)), Step("", (("dcm", "query", directory, "PatientID=*"),))]

    monkeypatch.setattr(_tour, "steps", shown)
    assert run_tour(lambda line: None) == 0
    assert list(Path(os.environ["XDG_CACHE_HOME"]).glob("dcm/index/*")) == []


def test_a_disk_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from dcm.errors import StoreError

    monkeypatch.setattr("tempfile.tempdir", "/no/such/directory")
    with pytest.raises(StoreError, match="No such file"):
        run_tour(lambda line: None)


def run_demo(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parent.parent.parent
    return subprocess.run(
        [sys.executable, "-m", "dcm", "demo", *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=25,
        check=False,
    )


def test_the_whole_demo(tmp_path: Path, isolated_config: Path) -> None:
    done = run_demo("--dir", "try it", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "$ dcm sync -s demo -q StudyDate=20201031 'try it'" in done.stdout
    assert "\nSuccess\n" in done.stdout
    assert "├── ID: Vamp001 | Name: Dracula^Count" in done.stdout
    said = done.stderr.splitlines()
    # The second sync sends nothing, and says so.
    assert said[0].endswith(" sent")
    n_first = said[0].split()[0]
    assert said[2].startswith(f"{n_first} instances in ")
    assert said[2].endswith(f": {n_first} already there")
    # A directory is queried, and a source.
    assert "$ dcm query 'try it' Modality=MR --out-format tree" in done.stdout
    assert "$ dcm sync -s 'try it' -q PatientID=Vamp002 -e PatientID=ANON1 demo" in done.stdout
    assert said[3].endswith(": 5 sent")
    assert len(said) == 4
    files = [path for path in (tmp_path / "try it").rglob("*") if path.is_file()]
    assert len(files) == 26
    assert "26 files" in done.stdout
    assert "Traceback" not in done.stderr
    assert not isolated_config.exists()


def test_the_archive_goes_on_until_ctrl_c(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent.parent
    process = subprocess.Popen(
        [sys.executable, "-m", "dcm", "demo", "--serve", "--dir", str(tmp_path / "data")],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        config = ""
        for line in process.stdout:
            if line.startswith("$ export DCM_CONFIG_PATH="):
                seen, config = config, line.strip().partition("=")[2]
                if seen:
                    break
        echo = [sys.executable, "-m", "dcm", "--config", config, "echo", "demo"]
        done = subprocess.run(echo, capture_output=True, text=True, timeout=20, check=False, cwd=root)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
    assert done.stdout == "Success\n"
    assert not Path(config).exists()
