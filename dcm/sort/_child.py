"""The process that looks at files and places them for another one; and how the two talk.

It imports no more than it needs: its start is a part of the time that everybody waits for. It ends when its standard
input does. `dcm.sort._worker` is the other end.

A message is its length in four bytes and what `marshal` makes of it: both ends are of one interpreter, and nobody else
has the pipe.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import sys
from pathlib import Path
from typing import IO, Any, NamedTuple

from dcm.sort._look import ThreadSorter
from dcm.store._placing import Conflict
from dcm.store._target import DirTarget
from dcm.store.base import TransferMethod
from dcm.template import PathTemplate

__all__ = ["Settings", "main", "receive", "send"]


class Settings(NamedTuple):
    """What the process has to know."""

    path: str
    out_fmt: str
    file_ext: str
    conflict: str
    sync: bool
    method: str


def send(stream: IO[bytes], message: Any) -> None:
    """Write a message: of the types that are built in, and none that is derived from them."""
    data = marshal.dumps(message)
    stream.write(len(data).to_bytes(4, "big") + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read the next message.

    Raises
    ------
    EOFError
        Nothing more will come.
    """
    head = stream.read(4)
    size = int.from_bytes(head, "big")
    data = stream.read(size) if len(head) == 4 else b""
    if not data or len(data) < size:
        raise EOFError
    return marshal.loads(data)  # noqa: S302 - of ourselves


def main() -> None:
    """Be the process."""
    # Nothing of what is imported by now will ever be garbage, and of a portion hardly anything is in a cycle.
    gc.freeze()
    gc.set_threshold(50_000)
    # EOFError: nobody wants to know any more. BrokenPipeError: the same.
    with contextlib.suppress(EOFError, BrokenPipeError):
        _serve(sys.stdin.buffer, sys.stdout.buffer)


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    settings = Settings(*receive(requests))
    dest = DirTarget(
        *(Path(settings.path), PathTemplate(settings.out_fmt), settings.file_ext),
        make_missing=False,
        conflict=Conflict(settings.conflict),
        sync=settings.sync,
    )
    sorter = ThreadSorter(dest, TransferMethod(settings.method))
    send(answers, True)
    while True:
        what, portion = receive(requests)
        done = sorter.look(portion) if what == "look" else sorter.place(portion, what != "place")
        send(answers, [tuple(each) for each in done])
