"""Running ``dcm`` as a user does: in a process of its own, off a terminal or on one."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.cli import forked

DCM = (sys.executable, "-m", "dcm")


def run_dcm(
    *args: str | Path,
    stdin: bytes | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``dcm`` to its end, off a terminal; bytes on stdin come through a pipe, else it is ``/dev/null``."""
    full_env, directory = {**os.environ, **(env or {})}, str(cwd or Path.cwd())
    if not forked.can_fork(full_env):
        done = subprocess.run(
            [*DCM, *map(str, args)],
            stdin=subprocess.DEVNULL if stdin is None else None,
            input=stdin,
            capture_output=True,
            env=full_env,
            cwd=directory,
            timeout=25,
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
    with contextlib.ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        if stdin is None:
            given = stack.enter_context(open(os.devnull, "rb")).fileno()
        else:
            given = stack.enter_context(_pipe(stdin))
        command = [str(arg) for arg in args]
        code = forked.run(command, (given, out.fileno(), err.fileno()), full_env, directory, 25)
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess([*DCM, *command], code, out.read().decode(), err.read().decode())


@contextlib.contextmanager
def _pipe(content: bytes) -> Iterator[int]:
    """The end of a pipe that gives some bytes."""
    reading, writing = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), open(writing, "wb") as pipe:
            pipe.write(content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield reading
    finally:
        os.close(reading)
        writer.join()


def run_on_terminal(
    *args: str | Path, answer: str = "", env: dict[str, str] | None = None, columns: int = 100
) -> tuple[int, str]:
    """Run ``dcm`` on a terminal, type an answer, and give the exit code and all that the terminal showed."""
    import fcntl
    import struct
    import termios

    terminal, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [*DCM, *map(str, args)],
        stdin=side,
        stdout=side,
        stderr=side,
        env={**os.environ, "TERM": "xterm-256color", **(env or {})},
        start_new_session=True,
    )
    os.close(side)
    shown = b""
    if answer:
        os.write(terminal, answer.encode())
    deadline = time.monotonic() + 25
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            if process.poll() is not None:
                break
            continue
        chunk = b""
        with contextlib.suppress(OSError):  # EIO is how a terminal says that the other side is closed
            chunk = os.read(terminal, 65536)
        if not chunk:
            break
        shown += chunk
    code = process.wait(timeout=5)
    os.close(terminal)
    return code, shown.decode().replace("\r\n", "\n")
