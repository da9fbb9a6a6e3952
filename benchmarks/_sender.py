"""Send a directory once, and print the seconds: ``python -m benchmarks._sender upload|floor NODE DIR``.

``upload`` is `LocalEntity.upload`, from the paths to the report. ``floor`` is what remains if nothing is done but what
must be: all is read before the clock starts, and a blocking socket sends one instance and waits for its answer, again
and again.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dcm.instance import Instance
from dcm.net import LocalEntity
from dcm.net.wire import AssociateRequest, Command, CommandField, ProposedContext, Wire
from dcm.net.wire.events import CommandReceived
from dcm.node import DcmNode
from dcm.report import TransferReport

AE_TITLE = "DCMBENCH"


def upload(node: DcmNode, paths: Sequence[Path]) -> float:
    """Send files by the library."""
    local, report = LocalEntity(DcmNode("127.0.0.1", AE_TITLE)), TransferReport()
    start = time.perf_counter()
    asyncio.run(local.upload(node, paths, report))
    seconds = time.perf_counter() - start
    if not report.ok:
        sys.exit(report.summary())
    return seconds


def floor(node: DcmNode, paths: Sequence[Path]) -> float:
    """Send what has been read by next to nothing."""
    instances = [Instance.from_file(path) for path in paths]
    contents = [instance.read(0, instance.size) for instance in instances]
    pairs = list({(instance.sop_class_uid, instance.transfer_syntax_uid) for instance in instances})
    proposed = tuple(ProposedContext(2 * i + 1, uid, (syntax,)) for i, (uid, syntax) in enumerate(pairs))
    wire, buffer = Wire(), memoryview(bytearray(1 << 16))
    start = time.perf_counter()
    with socket.create_connection((node.host, node.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(wire.request(AssociateRequest(AE_TITLE, node.ae_title, proposed, {}, 1 << 16, {})))
        while not wire.contexts:
            wire.receive(buffer[: sock.recv_into(buffer)])
        ids = {(c.abstract_syntax, c.transfer_syntax): c.id for c in wire.contexts.values()}
        for instance, content in zip(instances, contents, strict=True):
            command = Command(
                CommandField.C_STORE_RQ,
                message_id=wire.next_message_id(),
                affected_class=instance.sop_class_uid,
                affected_instance=instance.sop_instance_uid,
                priority=0,
                has_data=True,
            )
            context_id = ids[instance.sop_class_uid, instance.transfer_syntax_uid]
            sock.sendall(b"".join(wire.send_message(context_id, command, content)))
            await_success(sock, wire, buffer)
        sock.sendall(wire.release())
        sock.recv(64)
    return time.perf_counter() - start


def await_success(sock: socket.socket, wire: Wire, buffer: memoryview) -> None:
    """Read one answer."""
    while True:
        if hasattr(socket, "TCP_QUICKACK"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        for event in wire.receive(buffer[: sock.recv_into(buffer)]):
            assert isinstance(event, CommandReceived)
            assert event.command.status == 0
            return


if __name__ == "__main__":
    found = sorted(path for path in Path(sys.argv[3]).rglob("*") if path.is_file())
    print({"upload": upload, "floor": floor}[sys.argv[1]](DcmNode.parse(sys.argv[2]), found))
