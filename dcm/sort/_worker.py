"""Looking at files and placing them in a process of its own: what takes the time is Python, and it has one thread.

Both ends of the conversation are here. The process is an interpreter that imports nothing but what it needs, whatever
the program is that started it; it ends when its standard input does. Signals from the terminal go to the program alone,
which lets the process finish the file that it is at.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import IO

import msgspec.msgpack

from dcm.errors import DcmError
from dcm.sort._look import Looked, Placed, Sorter, ThreadSorter
from dcm.store import TransferMethod
from dcm.store.local_dir import Conflict, LocalDir

__all__ = ["ProcessSorter", "SafeSorter", "WorkerError", "main"]

# Isolated: neither the current directory nor the environment decides what is imported, but the path of the program.
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from dcm.sort._worker import main; main()"
_encode = msgspec.msgpack.Encoder().encode
_decode_looked = msgspec.msgpack.Decoder(list[Looked]).decode
_decode_placed = msgspec.msgpack.Decoder(list[Placed]).decode
_decode_look = msgspec.msgpack.Decoder(list[bytes]).decode
_decode_place = msgspec.msgpack.Decoder(list[int]).decode


class WorkerError(DcmError):
    """The process has ended, or cannot be started."""


class _Settings(msgspec.Struct):
    """What the process has to know."""

    path: str
    out_fmt: str
    file_ext: str
    conflict: str
    sync: bool
    method: str


class ProcessSorter:
    """A `dcm.sort._look.Sorter` that works in a process of its own.

    Raises
    ------
    WorkerError
        It cannot be started; from the methods: it has ended.
    """

    def __init__(self, dest: LocalDir, method: TransferMethod) -> None:
        path = [os.path.abspath(entry) for entry in sys.path if entry]  # noqa: PTH100 - may be no file
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _START, json.dumps(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as exc:
            raise WorkerError(f"cannot start {sys.executable}: {exc.strerror}") from exc
        settings = _Settings(
            *(os.fspath(dest.path.absolute()), str(dest.out_fmt), dest.file_ext, dest.conflict.value, dest.sync),
            method.value,
        )
        self._tell(json.dumps(msgspec.to_builtins(settings)).encode())

    def ready(self) -> None:
        """Wait until it can be asked."""
        self._answer()

    def look(self, paths: Sequence[bytes]) -> list[Looked]:
        """Look at a portion of files, and keep in mind what they are."""
        return _decode_looked(self._ask(b"l" + _encode(paths)))

    def place(self, chosen: Sequence[int]) -> list[Placed]:
        """Place some of them, by their numbers in the portion."""
        return _decode_placed(self._ask(b"p" + _encode(chosen)))

    def close(self) -> None:
        """Let the process end."""
        with contextlib.suppress(OSError):
            self._stream(self._process.stdin).close()
        self._process.wait()
        self._stream(self._process.stdout).close()

    @staticmethod
    def _stream(stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None
        return stream

    def _ask(self, request: bytes) -> bytes:
        self._tell(request)
        return self._answer()

    def _answer(self) -> bytes:
        answer = _receive(self._stream(self._process.stdout))
        if answer is None:
            raise self._ended()
        return answer

    def _tell(self, message: bytes) -> None:
        try:
            _send(self._stream(self._process.stdin), message)
        except OSError:
            raise self._ended() from None

    def _ended(self) -> WorkerError:
        code = self._process.wait()
        return WorkerError(f"a process that sorted files has ended ({f'signal {-code}' if code < 0 else code})")


class SafeSorter:
    """A `ProcessSorter`, and a `ThreadSorter` in its place should its process end or not even start."""

    def __init__(self, dest: LocalDir, method: TransferMethod) -> None:
        self._instead = ThreadSorter(dest, method)
        self._sorter: Sorter = self._instead
        with contextlib.suppress(WorkerError):
            self._sorter = ProcessSorter(dest, method)

    def ready(self) -> bool:
        """Wait until it can be asked; False where there is no such process, and others do its work as well."""
        try:
            if isinstance(self._sorter, ProcessSorter):
                self._sorter.ready()
                return True
        except WorkerError:
            self.close()
        return False

    def look(self, paths: Sequence[bytes]) -> list[Looked]:
        """Look at a portion of files, and keep in mind what they are."""
        try:
            return self._sorter.look(paths)
        except WorkerError:
            self.close()
            return self._sorter.look(paths)

    def place(self, chosen: Sequence[int]) -> list[Placed]:
        """Place some of them, by their numbers in the portion."""
        try:
            return self._sorter.place(chosen)
        except WorkerError as exc:
            self.close()
            # Nobody knows which of them are placed. Each of them is whole, wherever it is.
            return [Placed("failed", "", f"{exc.message}: sort again to see what is done")] * len(chosen)

    def close(self) -> None:
        """Let the process end."""
        sorter, self._sorter = self._sorter, self._instead
        sorter.close()


def _send(stream: IO[bytes], message: bytes) -> None:
    stream.write(len(message).to_bytes(4, "big") + message)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes | None:
    """The next message; None where nothing more will come."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    size = int.from_bytes(head, "big")
    message = stream.read(size)
    return message if len(message) == size else None


def main() -> None:
    """Be the process."""
    # Nothing of what is imported by now will ever be garbage, and of a portion hardly anything is in a cycle.
    gc.freeze()
    gc.set_threshold(50_000)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    first = _receive(requests)
    if first is None:
        return
    settings = msgspec.json.decode(first, type=_Settings)
    dest = LocalDir(
        *(settings.path, True, settings.file_ext),
        out_fmt=settings.out_fmt,
        make_missing=False,
        conflict=Conflict(settings.conflict),
        sync=settings.sync,
    )
    sorter = ThreadSorter(dest, TransferMethod(settings.method))
    with contextlib.suppress(BrokenPipeError):  # nobody wants to know any more
        _send(answers, b"")
        while (request := _receive(requests)) is not None:
            _send(answers, _encode(_answer(sorter, request)))


def _answer(sorter: ThreadSorter, request: bytes) -> list[Looked] | list[Placed]:
    if request[:1] == b"l":
        return sorter.look(_decode_look(request[1:]))
    return sorter.place(_decode_place(request[1:]))
