"""Receive by C-STORE into a directory until SIGTERM: ``python -m benchmarks._receiver NODE DIR``."""

from __future__ import annotations

import asyncio
import signal
import sys

from dcm.net import DicomEvent, LocalEntity
from dcm.node import DcmNode
from dcm.report import TransferReport
from dcm.store.local_dir import LocalDir

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700


async def receive(node: DcmNode, store: LocalDir) -> None:
    """Listen at a node, and answer each instance when its file has its name."""

    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with store.send(TransferReport()) as queue:

        async def on_event(event: DicomEvent) -> int:
            if event.instance is not None and not await queue.place(event.instance):
                return OUT_OF_RESOURCES
            return SUCCESS

        async with LocalEntity(node).listen(on_event, new_temp=store.new_temp):
            await stopped.wait()


if __name__ == "__main__":
    asyncio.run(receive(DcmNode.parse(sys.argv[1]), LocalDir(sys.argv[2])))
