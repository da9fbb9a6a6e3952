"""Peers that do on demand what no real one will: lie, stall, abort, say things too late; in bytes on a socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType

from dcm.net.wire import (
    AssociateAccept,
    AssociateRequest,
    Command,
    CommandField,
    Context,
    Limits,
    ProposedContext,
    Wire,
)
from dcm.net.wire.events import (
    Aborted,
    Accepted,
    CommandReceived,
    DataReceived,
    Event,
    Rejected,
    ReleaseConfirmed,
    ReleaseRequested,
    Requested,
    Violated,
)
from dcm.node import DcmNode
from tests.data import Sample

HOST = "127.0.0.1"
# How long a script may go on when the test is through.
_PATIENCE = 5.0
PENDING, SUCCESS, CANCELLED = 0xFF00, 0x0000, 0xFE00


@dataclass
class Message:
    """A whole DIMSE message."""

    context_id: int
    command: Command
    data: bytes


class ConnectionEndedError(Exception):
    """The other side released, aborted or hung up while the script expected something else."""


class Link:
    """One connection of a scripted peer, in either role.

    Attributes
    ----------
    seen : list of str
        What came, in its order: ``C-FIND-RQ``, ``release``, ``abort``, ``end`` and so on.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: Limits | None = None
    ) -> None:
        self.wire = Wire(limits)
        self.seen: list[str] = []
        self.request: AssociateRequest | None = None
        self._reader = reader
        self._writer = writer
        self._events: deque[Event] = deque()

    # -- what comes

    async def event(self) -> Event | None:
        """The next thing that the other side did; None when the connection has ended."""
        while not self._events:
            try:
                data = await self._reader.read(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                self.seen.append("end")
                return None
            self._events.extend(self.wire.receive(memoryview(data)))
            self.raw(self.wire.take_output())
        event = self._events.popleft()
        name = _NAMES.get(type(event), "")
        if isinstance(event, CommandReceived):
            name = event.command.name
        if name:
            self.seen.append(name)
        return event

    async def message(self) -> Message:
        """The next DIMSE message, with all of its data set."""
        event = await self.event()
        if not isinstance(event, CommandReceived):
            raise ConnectionEndedError(self.seen)
        data = b""
        if event.command.has_data:
            while isinstance(part := await self.event(), DataReceived):
                data += part.data
                if part.last:
                    break
            else:
                raise ConnectionEndedError(self.seen)
        return Message(event.context_id, event.command, data)

    async def rest(self) -> list[str]:
        """Read until the connection ends, and say what came in all; a release is agreed to."""
        while (event := await self.event()) is not None:
            if isinstance(event, ReleaseRequested):
                self.raw(self.wire.confirm_release())
                return self.seen
        return self.seen

    # -- what goes

    def raw(self, *data: bytes | bytearray | memoryview) -> None:
        """Send bytes as they are."""
        if not self._writer.is_closing():
            self._writer.write(b"".join(data))

    def send(self, context_id: int, command: Command, data: bytes | None = None) -> None:
        """Send a message."""
        command.has_data = data is not None
        self.raw(*self.wire.send_message(context_id, command, data))

    def answer(
        self,
        request: Message,
        status: int,
        data: bytes | None = None,
        *,
        completed: int | None = None,
        failed: int | None = None,
        comment: str | None = None,
    ) -> None:
        """Send a response to a request."""
        command = Command(
            request.command.field | 0x8000,
            responding_to=request.command.message_id,
            affected_class=request.command.affected_class,
            affected_instance=request.command.affected_instance,
            status=status,
            completed=completed,
            failed=failed,
            error_comment=comment,
        )
        self.send(request.context_id, command, data)

    async def store(
        self, sample: Sample, data: bytes | None = None, *, uid: str = "", answered: bool = True
    ) -> int | None:
        """Send an instance; returns the status of the answer."""
        accepted = {(c.abstract_syntax, c.transfer_syntax): c.id for c in self.wire.contexts.values()}
        context_id = accepted[sample.sop_class_uid, sample.transfer_syntax_uid]
        command = Command(
            CommandField.C_STORE_RQ,
            message_id=self.wire.next_message_id(),
            affected_class=sample.sop_class_uid,
            affected_instance=uid or sample.sop_instance_uid,
            priority=0,
        )
        self.send(context_id, command, sample.data_set_bytes if data is None else data)
        return (await self.message()).command.status if answered else None

    async def drained(self) -> None:
        """Wait while the other side does not read."""
        await self._writer.drain()

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    # -- associations

    async def accept(
        self, wanted: Callable[[ProposedContext], bool] = lambda _: True, *, extended: dict[str, bytes] | None = None
    ) -> AssociateRequest:
        """Accept an association with the first transfer syntax of each context that is wanted."""
        event = await self.event()
        if not isinstance(event, Requested):
            raise ConnectionEndedError(self.seen)
        self.request = request = event.request
        contexts = tuple(
            Context(c.id, c.abstract_syntax, c.transfer_syntaxes[0], 0 if wanted(c) else 3) for c in request.contexts
        )
        self.raw(self.wire.accept(AssociateAccept(contexts, request.roles, extended=extended or {})))
        return request

    async def associate(self, *pairs: tuple[str, str], calling: str = "SCRIPT", called: str = "LOCALAE") -> None:
        """Ask for an association, and see it accepted; pairs of abstract and transfer syntax."""
        contexts = tuple(ProposedContext(2 * i + 1, uid, (syntax,)) for i, (uid, syntax) in enumerate(pairs))
        self.raw(self.wire.request(AssociateRequest(calling, called, contexts)))
        if not isinstance(await self.event(), Accepted):
            raise ConnectionEndedError(self.seen)

    async def release(self) -> None:
        """Release the association."""
        self.raw(self.wire.release())
        await self.event()


_NAMES: dict[type, str] = {
    Requested: "associate",
    Accepted: "accepted",
    Rejected: "rejected",
    ReleaseRequested: "release",
    ReleaseConfirmed: "released",
    Aborted: "abort",
    Violated: "violation",
}

Script = Callable[[Link], Awaitable[None]]


class ScriptedPeer:
    """Listens on a port of its own in the running event loop, and plays one script for each connection.

    Parameters
    ----------
    *scripts : callable
        ``await script(link)`` for the first connection, the second and so on; the last one for all that follow. The
        connection is closed at its end.
    """

    def __init__(self, *scripts: Script, ae_title: str = "SCRIPTED") -> None:
        self.links: list[Link] = []
        self.ae_title = ae_title
        self._scripts = scripts
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def node(self) -> DcmNode:
        return DcmNode(HOST, self.ae_title, self.port)

    async def __aenter__(self) -> ScriptedPeer:
        self._server = await asyncio.start_server(self._connected, HOST, 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        stuck: list[list[str]] = []
        if error is None and self._tasks:
            await asyncio.wait(self._tasks, timeout=_PATIENCE)
            stuck = [link.seen for link, task in zip(self.links, self._tasks, strict=True) if not task.done()]
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        if error is None:
            assert not stuck, f"scripts that wait for ever: {stuck}"
            for result in results:
                if isinstance(result, BaseException):
                    raise result

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._play(Link(reader, writer))))

    async def _play(self, link: Link) -> None:
        link.wire.listen()
        self.links.append(link)
        try:
            await self._scripts[min(len(self.links), len(self._scripts)) - 1](link)
        finally:
            await link.close()


@contextlib.asynccontextmanager
async def calling(port: int) -> AsyncIterator[Link]:
    """Connect to a port of this machine; the association is still to be asked for."""
    reader, writer = await asyncio.open_connection(HOST, port)
    link = Link(reader, writer)
    try:
        yield link
    finally:
        await link.close()


async def serve(link: Link, status: Callable[[Message], int] = lambda _: 0) -> None:
    """Answer all that comes, and agree to the release."""
    await link.accept()
    while True:
        try:
            request = await link.message()
        except ConnectionEndedError:
            link.raw(link.wire.confirm_release() if link.seen[-1] == "release" else b"")
            return
        link.answer(request, status(request))
