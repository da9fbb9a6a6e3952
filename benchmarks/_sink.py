"""Answer each C-STORE as soon as it has come, and forget it: ``python -m benchmarks._sink NODE``.

One connection at a time, on a blocking socket: no receiver in Python is faster, and none that keeps anything as fast.
"""

from __future__ import annotations

import socket
import sys

from dcm.net._registry import IMPLICIT_LE, STORAGE_SYNTAXES, VERIFICATION, storage_classes
from dcm.net.wire import AssociateAccept, Command, State, Wire, accept_contexts
from dcm.net.wire.events import CommandReceived, DataReceived, ReleaseRequested, Requested
from dcm.node import DcmNode

SUPPORTED = {**dict.fromkeys(storage_classes(), frozenset(STORAGE_SYNTAXES)), VERIFICATION: frozenset({IMPLICIT_LE})}


def answer(connection: socket.socket) -> None:
    """Take what one sender has, to its last byte."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire = Wire()
    wire.listen()
    buffer = memoryview(bytearray(1 << 18))
    request = CommandReceived(0, Command(0))
    while wire.state is not State.CLOSING and (n := connection.recv_into(buffer)):
        if hasattr(socket, "TCP_QUICKACK"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        for event in wire.receive(buffer[:n]):
            if isinstance(event, CommandReceived):
                request = event
            elif isinstance(event, DataReceived) and event.last:
                response = Command(request.command.field | 0x8000, responding_to=request.command.message_id, status=0)
                connection.sendall(b"".join(wire.send_message(request.context_id, response)))
            elif isinstance(event, Requested):
                accept = AssociateAccept(accept_contexts(event.request.contexts, SUPPORTED))
                connection.sendall(wire.accept(accept))
            elif isinstance(event, ReleaseRequested):
                connection.sendall(wire.confirm_release())


def serve(node: DcmNode) -> None:
    """Listen until killed."""
    with socket.create_server((node.host, node.port)) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                answer(connection)


if __name__ == "__main__":
    serve(DcmNode.parse(sys.argv[1]))
