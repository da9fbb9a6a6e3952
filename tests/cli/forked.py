"""``dcm`` in a process of its own that need not be started: a server that has imported everything forks for each run.

Starting Python and importing are most of what a run takes. That a real start works, and what it imports, is shown by
`tests.test_startup` and by the commands of the documentation.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]
# Their environment is that of the interpreter, which has started already.
_STARTUP_VARIABLES = ("PYTHONPATH", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONWARNINGS", "LC_ALL", "LANG", "TZ")

_server: subprocess.Popen[bytes] | None = None
_address = ""


def can_fork(env: dict[str, str]) -> bool:
    """Whether a run with an environment may be a fork: nothing in it that is read when an interpreter starts."""
    other = [name for name in _STARTUP_VARIABLES if env.get(name) != os.environ.get(name)]
    return not [name for name in other if name != "PYTHONPATH" or env[name] != str(ROOT)]


def run(args: list[str], fds: tuple[int, int, int], env: dict[str, str], cwd: str, timeout: float) -> int:
    """Run ``dcm`` to its end in a fork, and give its exit code as `subprocess` does."""
    request = json.dumps({"args": args, "env": env, "cwd": cwd}).encode()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout)
        sock.connect(_start())
        socket.send_fds(sock, [len(request).to_bytes(4, "big")], fds)
        sock.sendall(request)
        answer = sock.recv(64)
        pid = int(answer)
        try:
            return int(sock.recv(64))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise


def _start() -> str:
    """The address of the server, started where it does not run yet."""
    global _server, _address
    if _server is None or _server.poll() is not None:
        _address = str(Path(tempfile.mkdtemp(prefix="dcm-forked-")) / "socket")
        command = [sys.executable, "-m", "tests.cli.forked", _address]
        _server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert _server.stdout is not None
        assert _server.stdout.readline() == b"ready\n"
        atexit.register(_stop, _server, _address)
    return _address


def _stop(server: subprocess.Popen[bytes], address: str) -> None:
    server.communicate(timeout=10)
    Path(address).parent.rmdir()


# -- the server


def _serve(address: str) -> dict[str, Any] | None:
    """Fork for each connection until stdin ends; gives None then, and in a fork what is to be run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ready, _, _ = select.select([0, listener.fileno()], [], [])
            if 0 in ready:
                Path(address).unlink()
                return None
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    return _fork(connection)


def _fork(connection: socket.socket) -> dict[str, Any]:
    """Fork again for what is asked for: one waits for the other and gives its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, fds, _, _ = socket.recv_fds(connection, 4, 3)
    content = b""
    while len(content) < int.from_bytes(head, "big"):
        content += connection.recv(1 << 16)
    pid = os.fork()
    if pid == 0:
        connection.close()
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
            os.close(fd)
        request: dict[str, Any] = json.loads(content)
        return request
    for fd in fds:
        os.close(fd)
    connection.sendall(str(pid).encode().ljust(64))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(str(code).encode().ljust(64))
    os._exit(0)


def _import_all() -> None:
    import dcm
    import tests.cli  # noqa: F401

    for module in pkgutil.walk_packages(dcm.__path__, "dcm."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # of what is not installed
                importlib.import_module(module.name)
    gc.freeze()


def main() -> None:
    """Serve; in a fork, be ``python -m dcm``."""
    _import_all()
    request = _serve(sys.argv[1])
    if request is None:
        return
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    # As they are now, and not as they were when this process started.
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8")
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)), "utf-8", "backslashreplace", line_buffering=True
    )
    sys.argv = ["dcm", *request["args"]]
    try:
        runpy.run_module("dcm", run_name="__main__", alter_sys=True)
    except SystemExit as exc:
        if exc.code is None or isinstance(exc.code, int):
            _end(exc.code or 0)
        raise


def _end(code: int) -> NoReturn:
    """End as an interpreter does, but for taking apart all that is imported, which is most of the time."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


if __name__ == "__main__":
    main()
