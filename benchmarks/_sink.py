"""Answer each C-STORE as soon as it has come, and forget it: ``python -m benchmarks._sink NODE [FILE]``.

One connection at a time, on a blocking socket: no receiver in Python is faster, and none that keeps anything as fast.
With a FILE each instance is written to it, over what is there, and synced, before it is answered: nobody who keeps what
he acknowledges can do less.
"""

from __future__ import annotations

import os
import socket
import sys

from dcm.net._registry import IMPLICIT_LE, STORAGE_SYNTAXES, VERIFICATION, storage_classes
from dcm.net.wire import AssociateAccept, Command, State, Wire, accept_contexts
from dcm.net.wire.events import CommandReceived, DataReceived, ReleaseRequested, Requested
from dcm.node import DcmNode

SUPPORTED = {**dict.fromkeys(storage_classes(), frozenset(STORAGE_SYNTAXES)), VERIFICATION: frozenset({IMPLICIT_LE})}


# So much is written before it begins again, and there from the start.
FILE_SIZE = 64 << 20


class Kept:
    """A file with all its blocks on the disk, that instances are written to."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        for at in range(0, FILE_SIZE, 1 << 20):
            os.pwrite(self.fd, bytes(1 << 20), at)
        os.fsync(self.fd)
        self.at = 0

    def keep(self, data: bytearray) -> None:
        """Write an instance, and wait until it is on the disk."""
        if self.at + len(data) > FILE_SIZE:
            self.at = 0
        os.pwrite(self.fd, data, self.at)
        os.fdatasync(self.fd)
        self.at += -(-len(data) // 4096) * 4096


def answer(connection: socket.socket, kept: Kept | None) -> None:
    """Take what one sender has, to its last byte."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire = Wire()
    wire.listen()
    buffer = memoryview(bytearray(1 << 18))
    request = CommandReceived(0, Command(0))
    data = bytearray()
    while wire.state is not State.CLOSING and (n := connection.recv_into(buffer)):
        if hasattr(socket, "TCP_QUICKACK"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        for event in wire.receive(buffer[:n]):
            if isinstance(event, CommandReceived):
                request = event
            elif isinstance(event, DataReceived):
                if kept is not None:
                    data += event.data
                if not event.last:
                    continue
                if kept is not None:
                    kept.keep(data)
                    data = bytearray()
                response = Command(request.command.field | 0x8000, responding_to=request.command.message_id, status=0)
                connection.sendall(b"".join(wire.send_message(request.context_id, response)))
            elif isinstance(event, Requested):
                accept = AssociateAccept(accept_contexts(event.request.contexts, SUPPORTED))
                connection.sendall(wire.accept(accept))
            elif isinstance(event, ReleaseRequested):
                connection.sendall(wire.confirm_release())


def serve(node: DcmNode, kept: Kept | None) -> None:
    """Listen until killed."""
    with socket.create_server((node.host, node.port)) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                answer(connection, kept)


if __name__ == "__main__":
    serve(DcmNode.parse(sys.argv[1]), Kept(sys.argv[2]) if len(sys.argv) > 2 else None)
