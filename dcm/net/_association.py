"""The asyncio shell around `Wire`: one association on one connection, in either role.

The event loop feeds what comes from the socket to the wire and acts on the events at once, in the callback that brought
the bytes. Whoever waits for a response waits on a future; nothing polls, and nothing sleeps.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dcm.errors import AssociationAbortedError, NetworkError, PeerTimeoutError, ProtocolError
from dcm.net._deadlines import Deadlines, Phase
from dcm.net._exchange import Exchange
from dcm.net._input import Input
from dcm.net._output import Output
from dcm.net._watch import Watch
from dcm.net.wire import Command, CommandField, State, Wire
from dcm.net.wire.events import (
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
    from dcm.net._owner import DataSink, Owner
    from dcm.net.wire import AssociateAccept, AssociateReject, AssociateRequest, Limits
    from dcm.net.wire.pdu import Buffer
    from dcm.node import Timeouts

__all__ = ["Association"]

_CLOSE_WITHIN = 1.0
# A peer awaits each answer before its next request, as we never negotiate anything else (PS3.7 annex D.3.3.3). One that
# does not could fill our memory with instances that wait for the disk.
_MOST_REQUESTS = 8


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
        self, peer: str, timeouts: Timeouts, owner: Owner, limits: Limits | None = None, idle: float | None = None
    ) -> None:
        self.peer = peer
        self.wire = Wire(limits)
        self.request: AssociateRequest | None = None
        self.accepted: AssociateAccept | None = None
        self.rejected: AssociateReject | None = None
        self.address = ""
        self.busy = 0  # requests of the peer that we are answering
        self._owner = owner
        self._exchanges: dict[int, Exchange] = {}
        self._sink: DataSink | None = None
        self._failure: NetworkError | None = None
        self._deadlines = Deadlines(timeouts, idle)
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
        self._input = Input(transport)
        self._output = Output(transport, self._peer_reads)
        self._watch = Watch(self._deadlines, self._phase, self._output.moves, self._late)
        self._connected = True  # and without Nagle's algorithm: asyncio sees to that
        self._closed: asyncio.Future[None] = self._loop.create_future()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._input.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._input.acknowledge()
        self._watch.progress()
        events = self.wire.receive(self._input.buffer[:nbytes])
        output = self.wire.take_output()
        if output:
            # Before the events: some of them close the connection.
            self._transport.write(output)
        for event in events:
            self._act(event)
        self._watch.reading(self.wire.pdus if self.wire.in_pdu else None)

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
        # It is closed already, but with TLS Python 3.10 warns of one on which nobody has called this.
        self._transport.close()
        self._output.close()
        self._watch.stop()
        if not self._closed.done():
            self._closed.set_result(None)
        self._owner.association_closed(self)

    def pause_writing(self) -> None:
        self._output.pause()
        if not self._exchanges:
            # It asks, and does not read our answers: it must not ask for more.
            self.pause("answers")
        self.arm()

    def resume_writing(self) -> None:
        self._output.resume()

    def _peer_reads(self) -> None:
        self._watch.progress()
        self.resume("answers")

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
            self._output.write([self.wire.confirm_release()])
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
        # With TLS 1.3 a peer can refuse our certificate when the handshake seems to be over.
        self.check()
        self.request = request
        self._opened = self._loop.create_future()
        self._watch.start()
        self._output.write([self.wire.request(request)])
        self.arm()
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
        self._watch.progress()
        self._output.write(self.wire.send_message(context_id, command, data))
        self.arm()
        return exchange

    async def send_data(self, context_id: int, data: Buffer, *, last: bool) -> None:
        """Send the next part of a data set, and wait until the peer takes it off our hands."""
        self.check()
        self._output.write(self.wire.send_data(context_id, data, last=last))
        await self.drained()

    async def drained(self) -> None:
        """Wait while the peer does not read.

        Raises
        ------
        NetworkError
        """
        await self._output.drained()
        self.check()

    def respond(self, context_id: int, command: Command, data: Buffer | None = None) -> None:
        """Answer a request of the peer; nothing where the association is over."""
        if self._failure is None and self.wire.state in (State.ESTABLISHED, State.AWAITING_LOCAL_RELEASE):
            self._output.write(self.wire.send_message(context_id, command, data))
            self._watch.progress()
            self.arm()

    def cancel(self, exchange: Exchange) -> None:
        """Send a C-CANCEL for an exchange that has not finished (PS3.7 section 9.3.2.3)."""
        if self._failure is None and not exchange.finished and self.wire.state is State.ESTABLISHED:
            command = Command(CommandField.C_CANCEL_RQ, responding_to=exchange.command.message_id)
            self._output.write(self.wire.send_message(exchange.context_id, command))

    def exchange_finished(self, exchange: Exchange) -> None:
        """The final response of an exchange has come."""
        self._exchanges.pop(exchange.command.message_id or 0, None)

    def answer(self, output: bytes) -> None:
        """Write what the wire returned for an answer to the association request."""
        self._transport.write(output)
        self._watch.progress()
        self.arm()

    def refuse(self, reject: AssociateReject) -> None:
        """Reject the association and close the connection."""
        self._transport.write(self.wire.reject(reject))
        self.close()

    # -- the end -------------------------------------------------------------------------------------------------------

    def hurry(self, idle: float) -> None:
        """End it, as an acceptor, as soon as the requestor asks for nothing for so many seconds."""
        self._deadlines.hurry(idle)
        self.arm()

    @property
    def closed(self) -> asyncio.Future[None]:
        """Done when the connection is closed."""
        return self._closed

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
        try:
            if self.usable and not self._exchanges:
                self._output.write([self.wire.release()])
                await asyncio.wait([self._closed], timeout=_CLOSE_WITHIN)
        except asyncio.CancelledError:
            self.drop()
            raise
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
            self.drop()

    def drop(self) -> None:
        """Close the connection at once, if there is one."""
        # A transport that has closed itself must not be touched: it has let go of its event loop.
        if self._connected and not self._closed.done():
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
            released = f"the association with {self.peer} is released"
            self._failure = error or AssociationAbortedError(released, peer=self.peer)
        self._open()
        for exchange in list(self._exchanges.values()):
            exchange.wake()
        if self._connected:
            self._output.release()

    def _open(self) -> None:
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)

    def _close_transport(self) -> None:
        self._transport.close()
        if self._transport.get_write_buffer_size():
            # A peer that does not read must not keep the connection open with what we have left to say.
            self._loop.call_later(_CLOSE_WITHIN, self.drop)

    # -- reading, writing ----------------------------------------------------------------------------------------------

    def pause(self, why: str) -> None:
        """Stop reading from the peer, until each one that paused has resumed."""
        self._input.pause(why)

    def resume(self, why: str) -> None:
        """Go on reading, unless somebody else has paused too."""
        if self._input.resume(why):
            self._watch.our_turn_ends()

    def begin_answer(self) -> None:
        """A request of the peer is being acted on, which may take its time."""
        self.busy += 1
        if self.busy == _MOST_REQUESTS:
            self.pause("requests")

    def end_answer(self) -> None:
        """A request of the peer has been answered: the clock runs for the peer again."""
        self.busy -= 1
        self.resume("requests")
        self._watch.our_turn_ends()

    def arm(self) -> None:
        """See to it that the next deadline is looked at in time."""
        self._watch.arm()

    def _phase(self) -> Phase | None:
        if self._failure is not None:
            return None
        if self.wire.state in (State.AWAITING_ANSWER, State.AWAITING_REQUEST):
            return Phase.NEGOTIATING
        if self._output.paused:
            return Phase.READING
        if self.busy or self._input.paused:
            # It is we who keep the peer waiting.
            return Phase.OURS
        return Phase.OPERATING if self._exchanges else Phase.IDLE

    def _late(self, what: str) -> None:
        self.fail(PeerTimeoutError(f"{self.peer} did not {what}", hint="it may be overloaded, or hang"))
