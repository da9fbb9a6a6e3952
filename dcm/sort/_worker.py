"""Looking at files and placing them in a process of its own: what takes the time is Python, and it has one thread.

The process is an interpreter of its own, whatever the program is that started it, and runs `dcm.sort._child`; it ends
when its standard input does. Signals from the terminal go to the program alone, which lets the process finish the file
that it is at.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import IO, Any

from dcm.errors import DcmError
from dcm.sort._child import Settings, receive, send
from dcm.sort._look import Looked, Placed, Sorter, ThreadSorter
from dcm.store import TransferMethod
from dcm.store.local_dir import LocalDir

__all__ = ["ProcessSorter", "SafeSorter", "WorkerError"]

# Isolated: neither the current directory nor the environment decides what is imported, but the path of the program,
# which has what the module site adds to it.
_OPTIONS = ("-I", "-S")
_START = "import sys; sys.path[:] = sys.argv[1:]; from dcm.sort._child import main; main()"


class WorkerError(DcmError):
    """The process has ended, or cannot be started."""


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
                [sys.executable, *_OPTIONS, "-c", _START, *path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as exc:
            raise WorkerError(f"cannot start {sys.executable}: {exc.strerror}") from exc
        settings = Settings(
            *(os.fspath(dest.path.absolute()), str(dest.out_fmt), dest.file_ext, dest.conflict.value, dest.sync),
            method.value,
        )
        self._tell(tuple(settings))

    def ready(self) -> None:
        """Wait until it can be asked."""
        self._answer()

    def look(self, paths: Sequence[bytes]) -> list[Looked]:
        """Look at a portion of files, and keep in mind what they are."""
        return [Looked(*each) for each in self._ask("look", paths)]

    def place(self, chosen: Sequence[int], keeps: bool = False) -> list[Placed]:
        """Place some of them, by their numbers in the portion; with `keeps`, nothing is replaced."""
        return [Placed(*each) for each in self._ask("place, replace nothing" if keeps else "place", chosen)]

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

    def _ask(self, what: str, portion: Sequence[bytes] | Sequence[int]) -> Any:
        self._tell((what, list(portion)))
        return self._answer()

    def _answer(self) -> Any:
        try:
            return receive(self._stream(self._process.stdout))
        except EOFError:
            raise self._ended() from None

    def _tell(self, message: Any) -> None:
        try:
            send(self._stream(self._process.stdin), message)
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

    def place(self, chosen: Sequence[int], keeps: bool = False) -> list[Placed]:
        """Place some of them, by their numbers in the portion; with `keeps`, nothing is replaced."""
        try:
            return self._sorter.place(chosen, keeps)
        except WorkerError as exc:
            self.close()
            # Nobody knows which of them are placed. Each of them is whole, wherever it is.
            return [Placed("failed", "", f"{exc.message}: sort again to see what is done")] * len(chosen)

    def close(self) -> None:
        """Let the process end."""
        sorter, self._sorter = self._sorter, self._instead
        sorter.close()
