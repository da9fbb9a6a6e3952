"""A TCP proxy that does to a connection what networks and broken peers do: delay, dribble, stall, cut, reset."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from tests.peers.process import HOST

if TYPE_CHECKING:
    from dcm.node import DcmNode


@dataclass(frozen=True)
class Fault:
    """What happens to the bytes that flow in one direction of a connection.

    Parameters
    ----------
    chunk : int
        Send at most so many bytes at once; 1 feeds the other side byte by byte. 0 is as they come.
    delay : float
        Wait so many seconds before each piece.
    stall_at : int, optional
        After so many bytes let nothing more through, with the connection open, until `FaultProxy.resume`.
    cut_at : int, optional
        After so many bytes close the connection in an orderly way (FIN) on both sides.
    reset_at : int, optional
        After so many bytes reset the connection (RST) on both sides.
    """

    chunk: int = 0
    delay: float = 0.0
    stall_at: int | None = None
    cut_at: int | None = None
    reset_at: int | None = None


CLEAN = Fault()


class FaultProxy:
    """Listens on a free port of its own, in a thread of its own, and connects on to a peer.

    Parameters
    ----------
    port : int
        The peer's port on this machine.
    to_peer, to_client : Fault
        What happens to the bytes that the client sends, and to those that the peer sends.
    n_faulty : int, optional
        Only the first so many connections suffer; those after them are clean. None: all suffer.
    ae_title : str
        The peer's AE title, for `node`.

    Attributes
    ----------
    n_connections : int
        Connections taken so far.
    bytes_to_peer, bytes_to_client : int
        What was let through so far, over all connections.
    stalled : threading.Event
        Set when a direction stalls.
    """

    def __init__(
        self,
        port: int,
        *,
        to_peer: Fault = CLEAN,
        to_client: Fault = CLEAN,
        n_faulty: int | None = None,
        ae_title: str = "ANYAE",
    ) -> None:
        self.host = HOST
        self.ae_title = ae_title
        self.target_port = port
        self.to_peer = to_peer
        self.to_client = to_client
        self.n_faulty = n_faulty
        self.n_connections = 0
        self.bytes_to_peer = 0
        self.bytes_to_client = 0
        self.stalled = threading.Event()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._resumed: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)

    @property
    def node(self) -> DcmNode:
        """The proxy as the library names a peer."""
        from dcm.node import DcmNode

        return DcmNode(self.host, self.ae_title, self.port)

    def resume(self) -> None:
        """Let what is stalled go on."""
        self._loop.call_soon_threadsafe(self._resume)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        """Drop all connections and end."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def __enter__(self) -> FaultProxy:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(self._serve())
        loop.call_soon(self._started.set)
        loop.run_forever()
        loop.run_until_complete(self._end(server))
        asyncio.set_event_loop(None)
        loop.close()

    async def _end(self, server: asyncio.Server) -> None:
        server.close()
        # What was accepted a moment ago reaches `_accept` in the next steps of the loop.
        await _settle()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A transport that is closed lets go of its socket in a later step.
        await _settle()

    async def _serve(self) -> asyncio.Server:
        self._resumed = asyncio.Event()
        return await asyncio.start_server(self._accept, sock=self._listener, limit=1 << 20)

    def _resume(self) -> None:
        assert self._resumed is not None
        self._resumed.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # One that is cancelled before its first step cannot do it itself.
        task.add_done_callback(lambda _: writer.close())

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.n_connections += 1
        faulty = self.n_faulty is None or self.n_connections <= self.n_faulty
        try:
            peer_reader, peer_writer = await asyncio.open_connection(HOST, self.target_port, limit=1 << 20)
        except OSError:
            return
        pumps = [
            asyncio.create_task(self._pump(reader, peer_writer, self.to_peer if faulty else CLEAN, to_peer=True)),
            asyncio.create_task(self._pump(peer_reader, writer, self.to_client if faulty else CLEAN, to_peer=False)),
        ]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if any(task.result() == "reset" for task in done):
                _reset(writer)
                _reset(peer_writer)
            elif not any(task.result() == "cut" for task in done):
                await asyncio.wait(pumps)
        finally:
            # All at once, before anything is awaited: this may be cancelled here too.
            for pump in pumps:
                pump.cancel()
            peer_writer.close()
            writer.close()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault, *, to_peer: bool
    ) -> str:
        """Copy one direction until it ends: "eof", or by a fault "cut" or "reset"."""
        sent = 0
        try:
            while data := await reader.read(fault.chunk or 65536):
                end, verdict = _verdict(fault, sent, len(data))
                if fault.delay:
                    await asyncio.sleep(fault.delay)
                writer.write(data[: end - sent])
                await writer.drain()
                self._count(end - sent, to_peer=to_peer)
                if verdict == "stall":
                    await self._stall()
                    writer.write(data[end - sent :])
                    self._count(len(data) - (end - sent), to_peer=to_peer)
                    end = sent + len(data)
                elif verdict:
                    return verdict
                sent = end
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            return "cut"
        return "eof"

    async def _stall(self) -> None:
        assert self._resumed is not None
        self.stalled.set()
        await self._resumed.wait()

    def _count(self, n_bytes: int, *, to_peer: bool) -> None:
        if to_peer:
            self.bytes_to_peer += n_bytes
        else:
            self.bytes_to_client += n_bytes


def _verdict(fault: Fault, sent: int, n_bytes: int) -> tuple[int, str]:
    """How far the next piece may go, and what happens then."""
    limits = [(fault.stall_at, "stall"), (fault.cut_at, "cut"), (fault.reset_at, "reset")]
    reached = [(limit, verdict) for limit, verdict in limits if limit is not None and sent <= limit < sent + n_bytes]
    return min(reached) if reached else (sent + n_bytes, "")


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
