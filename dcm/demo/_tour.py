"""The tour that ``dcm demo`` gives: commands shown as one types them, and really run, in processes of their own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from dcm.demo._archive import DemoArchive
from dcm.demo._samples import pydicom_files
from dcm.errors import StoreError
from dcm.levels import QueryLevel
from dcm.node import DcmNode
from dcm.text import plural, safe_text

__all__ = ["Step", "run_step", "run_tour", "steps", "tree_lines", "worst"]

ARCHIVE_AE = "DCMDEMO"
OUR_AE = "DCMUSER"

INTERRUPTED = 130
# Seconds that a command has to end after Ctrl-C; it takes two at most to leave an association.
_GRACE = 5.0
# From good to bad: all is well; not known; partial; no, or an error; usage; nothing could be done; interrupted.
_SEVERITY = (0, 5, 3, 1, 2, 4, INTERRUPTED)

_CONFIG = """\
[local_nodes.default]
host = "{us.host}"
ae_title = "{us.ae_title}"
port = {us.port}

[remote_nodes.demo]
host = "{demo.host}"
ae_title = "{demo.ae_title}"
port = {demo.port}
"""


@dataclass(frozen=True)
class Step:
    """One thing to show: a command, or a pipeline of several, and what it is about."""

    remark: str
    pipeline: tuple[tuple[str, ...], ...]

    @property
    def typed(self) -> str:
        """The command as it is typed into a shell."""
        return " | ".join(shlex.join(command) for command in self.pipeline)


def steps(directory: str, *, terminal: bool, compressed: bool = True) -> list[Step]:
    """What the tour shows.

    Parameters
    ----------
    directory : str
        Where the data goes, as the user would type it.
    terminal : bool
        Off a terminal a query answers in JSON, so that a tree must be asked for.
    compressed : bool
        Whether the archive holds pydicom's own files, which are of 2003 and 2004.
    """
    year = "20040101-20041231" if compressed else "20201101-20201130"
    tree = () if terminal else ("--out-format", "tree")
    query = ("dcm", "query", "demo")
    sync = ("dcm", "sync", "-s", "demo", "-q", "StudyDate=20201031", directory)
    return [
        Step("Does it answer?", (("dcm", "echo", "demo"),)),
        Step("Which studies were made on a day?", ((*query, "StudyDate=20201031", *tree),)),
        Step(
            "Which series has a patient of whom only a part of the name is known?",
            ((*query, "PatientName=*cula*", "Modality=CT", "--level", "series", *tree),),
        ),
        Step("Bring the studies of that day home.", (sync,)),
        Step(
            "Let a query say what to bring, and from where." + (" Compressed images stay so." if compressed else ""),
            ((*query, f"StudyDate={year}"), ("dcm", "sync", directory)),
        ),
        Step("Once more: all of it is there already, and nothing is sent.", (sync,)),
        Step("A directory answers queries, too.", (("dcm", "query", directory, "Modality=MR", *tree),)),
        Step(
            "Send a patient's images back to the archive under another identity, with new UIDs.",
            (("dcm", "sync", "-s", directory, "-q", "PatientID=Vamp002", "-e", "PatientID=ANON1", "demo"),),
        ),
    ]


def run_tour(say: Callable[[str], None], directory: Path | None = None, *, serve: bool = False) -> int:
    """Start an archive, show commands that use it, and what is on the disk afterwards.

    Parameters
    ----------
    say : callable
        Prints a line to stdout at once: the commands write there, too.
    directory : Path, optional
        Where the data goes, and stays. Without it a temporary directory is used and removed.
    serve : bool
        Leave the archive running until Ctrl-C.

    Returns
    -------
    int
        The worst of the exit codes of the commands.

    Raises
    ------
    StoreError
        A temporary directory, or the archive's port, cannot be had.
    """
    with ExitStack() as stack:
        try:
            work_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dcm-demo-")))
            us = DcmNode("127.0.0.1", OUR_AE, _free_port())
            archive = stack.enter_context(DemoArchive(ARCHIVE_AE, destinations={OUR_AE: us}))
            config = work_dir / "dcm_conf.toml"
            config.write_text(_CONFIG.format(us=us, demo=archive.node), encoding="utf-8")
        except OSError as exc:
            raise StoreError(f"the demo's archive cannot be started: {exc.strerror or exc}") from exc
        studies, instances = archive.count(QueryLevel.STUDY), archive.count(QueryLevel.IMAGE)
        say(f"# A small archive listens at {archive.node}, on this machine only.")
        say(f"# It holds {plural(studies, 'study')}, {plural(instances, 'instance')}, all made for the demo.")
        say("# A configuration of its own names it 'demo'.")
        say(f"$ export DCM_CONFIG_PATH={shlex.quote(str(config))}")
        target = directory if directory is not None else work_dir / "data"
        if directory is None:
            stack.callback(_forget, target)
        env = {**os.environ, "DCM_CONFIG_PATH": str(config)}
        code = 0
        for step in steps(str(target), terminal=sys.stdout.isatty(), compressed=bool(pydicom_files())):
            say(f"\n# {step.remark}\n$ {step.typed}")
            code = worst([code, run_step(step, env)])
            if code == INTERRUPTED:
                return code
        say("\n# What lies on the disk now:")
        for line in tree_lines(target):
            say(line)
        if serve:
            say("\n# The archive goes on until you press Ctrl-C. In another terminal, begin with")
            say(f"$ export DCM_CONFIG_PATH={shlex.quote(str(config))}")
            _wait_for_ctrl_c()
        elif directory is None:
            say("\n# All of it is removed again. 'dcm demo --dir DIR' keeps the data, '--serve' the archive.")
        return code


def run_step(step: Step, env: Mapping[str, str]) -> int:
    """Run a step's commands, connected by pipes; its output goes where ours goes.

    Returns
    -------
    int
        The worst of their exit codes.
    """
    # Only a terminal is handed on: a command reads a query result from whatever else stands on its stdin.
    stdin = None if sys.stdin is not None and sys.stdin.isatty() else subprocess.DEVNULL
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number, command in enumerate(step.pipeline, 1):
            assert command[0] == "dcm"
            upstream = processes[-1].stdout if processes else None
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", *command],
                    env=env,
                    stdin=stdin if upstream is None else upstream,
                    stdout=None if number == len(step.pipeline) else subprocess.PIPE,
                )
            )
            if upstream is not None:
                # The copy in this process would keep the pipe open after its reader has gone.
                upstream.close()
        return worst([process.wait() for process in processes])
    except KeyboardInterrupt:
        # The terminal has interrupted the commands as well, and they end cleanly when they are given the time.
        return worst([*(_end(process) for process in processes), INTERRUPTED])


def worst(codes: Sequence[int]) -> int:
    """The worst of several exit codes; what was ended by a signal counts as an error."""
    known = [code if code in _SEVERITY else 1 for code in codes]
    return max(known, key=_SEVERITY.index, default=0)


def tree_lines(directory: Path, *, most: int = 3) -> list[str]:
    """What lies in a directory, as a tree.

    Parameters
    ----------
    directory : Path
        The root of the tree.
    most : int
        How many files of one directory are listed.
    """
    if not directory.is_dir():
        return ["nothing"]
    files = [path for path in directory.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    return [safe_text(directory), *_branches(directory, "", most), f"{plural(len(files), 'file')}, {size:,} bytes"]


def _branches(directory: Path, indent: str, most: int) -> Iterator[str]:
    entries = sorted(directory.iterdir(), key=lambda path: (path.is_file(), path.name))
    n_directories = sum(path.is_dir() for path in entries)
    shown, n_more = entries, len(entries) - n_directories - most
    if n_more > 1:
        shown = entries[: n_directories + most]
    for number, path in enumerate(shown, 1):
        last = number == len(shown) == len(entries)
        yield f"{indent}{'└── ' if last else '├── '}{safe_text(path.name)}"
        if path.is_dir() and not path.is_symlink():
            yield from _branches(path, indent + ("    " if last else "│   "), most)
    if len(shown) < len(entries):
        yield f"{indent}└── … and {len(entries) - len(shown)} more"


def _forget(directory: Path) -> None:
    """Remove the index of a directory that will be there no more."""
    from dcm.store.index import remove_all

    with suppress(StoreError):  # it is a cache, and no harm where it is
        remove_all(directory)


def _end(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(timeout=_GRACE)
    except subprocess.TimeoutExpired:
        process.terminate()
        return process.wait()


def _wait_for_ctrl_c() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def _free_port() -> int:
    """A port at which dcm may listen for what the archive moves to it."""
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port
