"""The asyncio shell around `Wire`: one association on one connection, in either role.

The event loop feeds what comes from the socket to the wire and acts on the events at once, in the callback that brought
the bytes. Whoever waits for a response waits on a future; nothing polls, and nothing sleeps.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING

from ..errors import AssociationAbortedError, NetworkError, PeerTimeoutError, ProtocolError
from .wire import Command, CommandField, State, Wire
from .wire.events import (
    Aborted,
    Accepted,
    CommandReceived,
    DataReceived,
    Rejected,
    ReleaseConfirmed,
    ReleaseRequested,
    Requested,
    Violated,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from ..node import Timeouts
    from .wire import AssociateAccept, AssociateReject, AssociateRequest, Limits
    from .wire.pdu import Buffer

    class DataSink(Protocol):
        """Takes the data set that follows a command."""

        def feed(self, data: memoryview, last: bool) -> None: ...

    class Owner(Protocol):
        """Acts on what the peer asks for."""

        def request_received(self, association: Association, context_id: int, command: Command) -> DataSink | None: ...

        def association_requested(self, association: Association, request: AssociateRequest) -> None: ...

        def association_closed(self, association: Association) -> None: ...


__all__ = ["Association", "Exchange"]

_BUFFER_SIZE = 1 << 18
# Responses that nobody has taken yet, before we stop reading: a slow reader of a C-FIND must not fill our memory.
_MAX_WAITING = 2000
_MAX_IDENTIFIER = 1 << 24
# Linux only, and the kernel forgets it at each read: without it, a peer that leaves Nagle's algorithm on waits 40 ms
# for our delayed ACK with each instance.
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_CLOSE_WITHIN = 1.0


class Exchange:
    """One request of ours and the responses to it.

    Attributes
    ----------
    finished : bool
        Whether the final response has come.
    """

    def __init__(self, association: Association, context_id: int, command: Command) -> None:
        self.context_id = context_id
        self.command = command
        self.finished = False
        self._association = association
        self._responses: deque[tuple[Command, bytes | None]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._identifier = bytearray()
        self._response: Command | None = None

    def feed(self, data: memoryview, last: bool) -> None:
        """Take a part of the identifier of the current response."""
        self._identifier += data
        if len(self._identifier) > _MAX_IDENTIFIER:
            peer = self._association.peer
            self._association.fail(ProtocolError(f"{peer} sent an identifier of more than {_MAX_IDENTIFIER} bytes"))
        elif last and self._response is not None:
            self.add(self._response, bytes(self._identifier))
            self._identifier.clear()

    def begin(self, response: Command) -> None:
        """Keep a response until its identifier has come."""
        self._response = response

    def add(self, response: Command, identifier: bytes | None) -> None:
        """Queue a whole response."""
        self._responses.append((response, identifier))
        if response.status is None or response.status not in (0xFF00, 0xFF01):
            self.finished = True
            self._association.exchange_finished(self)
        elif len(self._responses) == _MAX_WAITING:
            self._association.pause("responses")
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> tuple[Command, bytes | None]:
        """Return the next response and its identifier.

        Raises
        ------
        NetworkError
            The association failed, and all that came before has been taken.
        """
        while not self._responses:
            self._association.check()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        taken = self._responses.popleft()
        if len(self._responses) == _MAX_WAITING // 2:
            self._association.resume("responses")
        return taken


class Association(asyncio.BufferedProtocol):
    """One association: the transport, the deadlines and the exchanges on it.

    Parameters
    ----------
    peer : str
        How errors and logs call the other side.
    timeouts : Timeouts
        For the association and for DIMSE; connecting is over.
    owner : Owner
        Answers the peer's requests.
    limits : Limits, optional
    idle : float, optional
        Seconds without any exchange after which an acceptor gives up on the requestor.
    """

    def __init__(
        self,
        peer: str,
        timeouts: Timeouts,
        owner: Owner,
        limits: Limits | None = None,
        idle: float | None = None,
    ) -> None:
        self.peer = peer
        self.wire = Wire(limits)
        self.request: AssociateRequest | None = None
        self.accepted: AssociateAccept | None = None
        self.rejected: AssociateReject | None = None
        self.address = ""
        self.busy = 0  # requests of the peer that we are answering
        self._timeouts = timeouts
        self._owner = owner
        self._idle = idle
        self._buffer = memoryview(bytearray(_BUFFER_SIZE))
        self._exchanges: dict[int, Exchange] = {}
        self._sink: DataSink | None = None
        self._failure: NetworkError | None = None
        self._paused: set[str] = set()
        self._can_write: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last_progress = 0.0
        self._pdu_since: float | None = None
        self._pdus_seen = 0
        self._socket: socket.socket | None = None
        self._opened: asyncio.Future[None] | None = None
        self._connected = False

    @property
    def calling_ae(self) -> str:
        """The AE title of the requestor."""
        return self.request.calling_ae if self.request is not None else ""

    @property
    def called_ae(self) -> str:
        """The AE title that the requestor called."""
        return self.request.called_ae if self.request is not None else ""

    # -- what asyncio calls --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._connected = True
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._socket = transport.get_extra_info("socket")
        if self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._last_progress = self._loop.time()
        self._quick_ack()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._quick_ack()
        self._progress()
        for event in self.wire.receive(self._buffer[:nbytes]):
            self._act(event)
        self._watch_pdu()
        output = self.wire.take_output()
        if output:
            self._transport.write(output)

    def eof_received(self) -> bool:
        if self.wire.receive_eof():
            self._fail(AssociationAbortedError(f"{self.peer} hung up", peer=self.peer))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.wire.state is not State.CLOSING or self._failure is None:
            why = f": {exc.strerror or exc}" if isinstance(exc, OSError) else ""
            released = self.wire.state is State.CLOSING and exc is None
            self._fail(None if released else AssociationAbortedError(f"{self.peer} hung up{why}", peer=self.peer))
        self.wire.abort()
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed.done():
            self._closed.set_result(None)
        self._owner.association_closed(self)

    def pause_writing(self) -> None:
        self._can_write = self._loop.create_future()

    def resume_writing(self) -> None:
        self._progress()
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_result(None)
        self._can_write = None

    # -- events --------------------------------------------------------------------------------------------------------

    def _act(self, event: object) -> None:
        if type(event) is DataReceived:
            if self._sink is not None:
                self._sink.feed(event.data, event.last)
        elif type(event) is CommandReceived:
            self._command(event.context_id, event.command)
        elif type(event) is Requested:
            self.request = event.request
            self._owner.association_requested(self, event.request)
        elif type(event) is Accepted:
            self.accepted = event.accept
            self._open()
        elif type(event) is Rejected:
            self.rejected = event.reject
            self._open()
        elif type(event) is ReleaseRequested:
            self._write([self.wire.confirm_release()])
            self._fail(AssociationAbortedError(f"{self.peer} released the association", peer=self.peer))
            self._close_transport()
        elif type(event) is ReleaseConfirmed:
            self._fail(None)
            self._close_transport()
        elif type(event) is Aborted:
            why = event.reason
            self._fail(AssociationAbortedError(f"{self.peer} aborted the association ({why})", peer=self.peer))
            self._close_transport()
        elif type(event) is Violated:
            output = self.wire.take_output()
            self._transport.write(output)
            self._fail(ProtocolError(f"{self.peer} broke the DICOM protocol: {event.message}", peer=self.peer))
            self._close_transport()

    def _command(self, context_id: int, command: Command) -> None:
        self._sink = None
        if not command.is_response:
            self._sink = self._owner.request_received(self, context_id, command)
            return
        exchange = self._exchanges.get(command.responding_to or 0)
        if exchange is None:
            # An answer to a request that we have given up on: its identifier is read and dropped.
            return
        if command.has_data:
            exchange.begin(command)
            self._sink = exchange
        else:
            exchange.add(command, None)

    # -- requests ------------------------------------------------------------------------------------------------------

    async def open(self, request: AssociateRequest) -> None:
        """Ask for the association and await the answer: `accepted` or `rejected` is set after it.

        Raises
        ------
        NetworkError
        """
        self.request = request
        self._opened = self._loop.create_future()
        self._write([self.wire.request(request)])
        self._arm()
        await self._opened
        self.check()

    def start(self, context_id: int, command: Command, data: Buffer | None = None) -> Exchange:
        """Send a request; its message id is set here.

        Raises
        ------
        NetworkError
            The association is over.
        """
        self.check()
        command.message_id = self.wire.next_message_id()
        exchange = Exchange(self, context_id, command)
        self._exchanges[command.message_id] = exchange
        self._progress()
        self._write(self.wire.send_message(context_id, command, data))
        self._arm()
        return exchange

    async def send_data(self, context_id: int, data: Buffer, *, last: bool) -> None:
        """Send the next part of a data set, and wait until the peer takes it off our hands."""
        self.check()
        self._write(self.wire.send_data(context_id, data, last=last))
        await self.drained()

    async def drained(self) -> None:
        """Wait while the peer does not read.

        Raises
        ------
        NetworkError
        """
        if self._can_write is not None:
            await asyncio.shield(self._can_write)
        self.check()

    def respond(self, context_id: int, command: Command, data: Buffer | None = None) -> None:
        """Answer a request of the peer; nothing where the association is over."""
        if self._failure is None and self.wire.state in (State.ESTABLISHED, State.AWAITING_LOCAL_RELEASE):
            self._write(self.wire.send_message(context_id, command, data))
            self._progress()
            self._arm()

    def cancel(self, exchange: Exchange) -> None:
        """Send a C-CANCEL for an exchange that has not finished (PS3.7 section 9.3.2.3)."""
        if self._failure is None and not exchange.finished and self.wire.state is State.ESTABLISHED:
            command = Command(CommandField.C_CANCEL_RQ, responding_to=exchange.command.message_id)
            self._write(self.wire.send_message(exchange.context_id, command))

    def exchange_finished(self, exchange: Exchange) -> None:
        """The final response of an exchange has come."""
        self._exchanges.pop(exchange.command.message_id or 0, None)

    def answer(self, output: bytes) -> None:
        """Write what the wire returned for an answer to the association request."""
        self._transport.write(output)
        self._progress()
        self._arm()

    def refuse(self, reject: AssociateReject) -> None:
        """Reject the association and close the connection."""
        self._transport.write(self.wire.reject(reject))
        self.close()

    # -- the end -------------------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return self._failure is None and self.wire.state is State.ESTABLISHED

    def check(self) -> None:
        """Raise what ended the association, if something did."""
        if self._failure is not None:
            raise self._failure

    async def release(self) -> None:
        """Release the association in order; abort where that is not possible or takes too long."""
        if self.usable and not self._exchanges:
            self._write([self.wire.release()])
            await asyncio.wait([self._closed], timeout=_CLOSE_WITHIN)
        await self.abort()

    async def abort(self) -> None:
        """End the association at once; nothing where it has ended."""
        if not self._closed.done():
            output = self.wire.abort()
            if output:
                self._transport.write(output)
            self._fail(AssociationAbortedError(f"we aborted the association with {self.peer}", peer=self.peer))
            self._close_transport()
            await asyncio.wait([self._closed], timeout=_CLOSE_WITHIN)
            self._transport.abort()

    def drop(self) -> None:
        """Close the connection at once, if there is one."""
        if self._connected:
            self._transport.abort()

    def close(self) -> None:
        """Close the connection when what was written has left."""
        self._fail(None)
        self._close_transport()

    def fail(self, error: NetworkError) -> None:
        """Abort for a reason of ours, which whoever waits is told."""
        output = self.wire.abort()
        if output:
            self._transport.write(output)
        error.peer = self.peer
        self._fail(error)
        self._close_transport()

    def _fail(self, error: NetworkError | None) -> None:
        if self._failure is None:
            self._failure = error or AssociationAbortedError(
                f"the association with {self.peer} is released", peer=self.peer
            )
        self._open()
        for exchange in list(self._exchanges.values()):
            exchange.wake()
        if self._can_write is not None and not self._can_write.done():
            self._can_write.set_result(None)

    def _open(self) -> None:
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)

    def _close_transport(self) -> None:
        self._transport.close()
        if self._transport.get_write_buffer_size():
            # A peer that does not read must not keep the connection open with what we have left to say.
            self._loop.call_later(_CLOSE_WITHIN, self._transport.abort)

    # -- reading, writing ----------------------------------------------------------------------------------------------

    def pause(self, why: str) -> None:
        """Stop reading from the peer, until each one that paused has resumed."""
        if not self._paused and not self._transport.is_closing():
            self._transport.pause_reading()
        self._paused.add(why)

    def resume(self, why: str) -> None:
        self._paused.discard(why)
        self._progress()
        self._arm()
        if not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def _write(self, buffers: Iterable[Buffer]) -> None:
        self._transport.write(b"".join(buffers))

    def _quick_ack(self) -> None:
        if _QUICKACK is not None and self._socket is not None:
            try:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            except OSError:
                # Not TCP, or closed under us: it was only an optimisation.
                self._socket = None

    # -- deadlines -----------------------------------------------------------------------------------------------------

    def _progress(self) -> None:
        self._last_progress = self._loop.time()

    def _watch_pdu(self) -> None:
        """Note when the PDU that is coming in began."""
        if not self.wire.in_pdu:
            self._pdu_since = None
        elif self._pdu_since is None or self.wire.pdus != self._pdus_seen:
            self._pdu_since = self._last_progress
            self._pdus_seen = self.wire.pdus
            self._arm()

    def _due(self) -> tuple[float, str] | None:
        """When something must have happened, and what."""
        dues: list[tuple[float, str]] = []
        timeouts = self._timeouts
        if self.wire.state in (State.AWAITING_ANSWER, State.AWAITING_REQUEST):
            if timeouts.association is not None:
                dues.append((self._last_progress + timeouts.association, "negotiate an association"))
        elif self._exchanges and not self.busy and not self._paused:
            if timeouts.dimse is not None:
                dues.append((self._last_progress + timeouts.dimse, "go on with the operation"))
        elif self._idle is not None and not self.busy and not self._paused:
            dues.append((self._last_progress + self._idle, "send anything"))
        if self._pdu_since is not None and timeouts.dimse is not None and not self._paused:
            dues.append((self._pdu_since + timeouts.dimse, "finish a PDU"))
        return min(dues, default=None)

    def _arm(self) -> None:
        """See to it that `_check_due` runs; a timer that is too early looks again, so progress costs nothing."""
        if self._timer is None and self._failure is None:
            due = self._due()
            if due is not None:
                self._timer = self._loop.call_at(due[0], self._check_due)

    def arm(self) -> None:
        """Begin to hold the peer to its deadlines (an acceptor does so as soon as it is connected)."""
        self._arm()

    def _check_due(self) -> None:
        self._timer = None
        due = self._due()
        if due is not None and due[0] <= self._loop.time():
            waited = self._loop.time() - (
                self._pdu_since if due[1] == "finish a PDU" and self._pdu_since else self._last_progress
            )
            self.fail(PeerTimeoutError(f"{self.peer} did not {due[1]} within {waited:.0f} s"))
        elif due is not None and self._failure is None:
            self._timer = self._loop.call_at(due[0], self._check_due)
