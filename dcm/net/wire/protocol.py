"""One association as a pure object: bytes in, events out; requests in, bytes out.

`Wire` keeps the states of PS3.8 section 9.2 and cuts messages out of P-DATA (PS3.8 annex E) as they come: a fragment is
handed on as a slice of the buffer that it came in, never collected and never copied, so a PDU of any legal length costs
the same. No asyncio, no sockets, no clock.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from dcm.net.wire import pdu
from dcm.net.wire.associate import (
    FIXED_SIZE,
    NegotiationError,
    UnacceptableError,
    decode_accept,
    decode_reject,
    decode_request,
    encode_accept,
    encode_reject,
    encode_request,
)
from dcm.net.wire.events import (
    Aborted,
    Accepted,
    Rejected,
    ReleaseConfirmed,
    ReleaseRequested,
    Requested,
    Violated,
)
from dcm.net.wire.messages import MessageReader
from dcm.net.wire.negotiation import ACCEPTANCE
from dcm.net.wire.pdu import INVALID_VALUE, UNEXPECTED_PDU, UNRECOGNISED_PDU, ViolationError
from dcm.net.wire.state import MAY_RECEIVE, MAY_SEND, State, WireStateError

if TYPE_CHECKING:
    from dcm.net.wire.command import Command
    from dcm.net.wire.events import Event
    from dcm.net.wire.negotiation import AssociateAccept, AssociateReject, AssociateRequest, Context
    from dcm.net.wire.pdu import Buffer

__all__ = ["State", "Wire", "WireStateError"]


_HEADER = struct.Struct(">BxI")
_PDV_HEADER = struct.Struct(">IBB")
_NOTHING = memoryview(b"")
_FIXED_LENGTH = frozenset({pdu.ASSOCIATE_RJ, pdu.RELEASE_RQ, pdu.RELEASE_RP, pdu.ABORT})


class Wire:
    """The protocol of one association, for either role.

    Parameters
    ----------
    limits : Limits, optional
        What is taken from the peer before it is an abuse; also what we advertise at most.

    Attributes
    ----------
    state : State
    contexts : dict of int to Context
        The accepted presentation contexts by id, once established.
    fragment_size : int
        How many bytes of a message fit in one PDU to the peer.
    pdus : int
        How many PDUs have begun.
    """

    def __init__(self, limits: pdu.Limits | None = None) -> None:
        self.limits = limits or pdu.Limits()
        self.state = State.IDLE
        self.contexts: dict[int, Context] = {}
        self.fragment_size = 1
        self.pdus = 0
        self._requestor = False
        self._request: AssociateRequest | None = None
        self._request_head = b""
        self._max_pdu = self.limits.max_pdu
        self._output = bytearray()
        self._last_message_id = 0
        # Where the reader stands: a header or a short PDU being collected in _held, until it has _want bytes; what is
        # left of the P-DATA PDU, and of the PDV in it.
        self._held = bytearray()
        self._want = 6
        self._pdu_left = 0
        self._pdv_left = 0
        self._messages = MessageReader(self.limits)

    # -- requests of ours ----------------------------------------------------------------------------------------------

    def request(self, request: AssociateRequest) -> bytes:
        """Ask for an association (AE-2): returns the bytes to send.

        The maximum length that goes out is never more than what `Limits` lets in.
        """
        self._must_be(State.IDLE)
        output = encode_request(replace(request, max_pdu=self._advertised(request.max_pdu)))
        self._requestor = True
        self._request = request
        self.state = State.AWAITING_ANSWER
        return output

    def listen(self) -> None:
        """Await a request on an accepted connection (AE-5)."""
        self._must_be(State.IDLE)
        self.state = State.AWAITING_REQUEST

    def accept(self, accept: AssociateAccept) -> bytes:
        """Accept the association that was requested (AE-7); empty where the peer is gone meanwhile."""
        if self.state is State.CLOSING:
            return b""
        self._must_be(State.AWAITING_LOCAL_ANSWER)
        assert self._request is not None
        accept = replace(accept, max_pdu=self._advertised(accept.max_pdu))
        output = encode_accept(accept, self._request_head)
        self._establish(accept.contexts, self._request.max_pdu)
        return output

    def reject(self, reject: AssociateReject) -> bytes:
        """Reject the association that is (AE-8) or will be requested; empty where the peer is gone meanwhile."""
        if self.state is State.CLOSING:
            return b""
        self._must_be(State.AWAITING_LOCAL_ANSWER, State.AWAITING_REQUEST)
        self.state = State.CLOSING
        return encode_reject(reject)

    def release(self) -> bytes:
        """Ask for the release of the association (AR-1)."""
        self._must_be(State.ESTABLISHED)
        self.state = State.AWAITING_RELEASE
        return pdu.release_rq_pdu()

    def confirm_release(self) -> bytes:
        """Agree to the release that the peer asked for (AR-4); empty where the peer is gone meanwhile."""
        if self.state is State.CLOSING:
            return b""
        self._must_be(State.AWAITING_LOCAL_RELEASE)
        self.state = State.CLOSING
        return pdu.release_rp_pdu()

    def abort(self) -> bytes:
        """Abort (AA-1); nothing more is read or may be sent. Empty where there is nobody to tell."""
        silent = self.state in (State.IDLE, State.CLOSING)
        self.state = State.CLOSING
        return b"" if silent else pdu.abort_pdu()

    def next_message_id(self) -> int:
        """Return the id for the next request of ours, 1 to 65535 and round again (PS3.7 section E.1)."""
        self._last_message_id = self._last_message_id % 0xFFFF + 1
        return self._last_message_id

    def send_message(self, context_id: int, command: Command, data: Buffer | None = None) -> list[Buffer]:
        """Frame a whole message (DT-1).

        Parameters
        ----------
        context_id : int
            An accepted presentation context.
        command : Command
            Its ``has_data`` must say whether a data set follows, now or by `send_data`.
        data : bytes-like, optional
            The encoded data set; it is not copied.

        Returns
        -------
        list of bytes-like
            To be written one after the other.
        """
        self._may_send(context_id)
        assert data is None or command.has_data, "a data set that the command does not announce"
        out = pdu.frame(context_id, command.encode(), command=True, last=True, size=self.fragment_size)
        if data is not None:
            out += pdu.frame(context_id, data, command=False, last=True, size=self.fragment_size)
        return out

    def send_data(self, context_id: int, data: Buffer, *, last: bool) -> list[Buffer]:
        """Frame the next part of a data set whose command has been sent."""
        self._may_send(context_id)
        return pdu.frame(context_id, data, command=False, last=last, size=self.fragment_size)

    def take_output(self) -> bytes:
        """Return what must be sent in answer to what was received, and forget it."""
        output = bytes(self._output)
        self._output.clear()
        return output

    # -- what comes from the peer --------------------------------------------------------------------------------------

    @property
    def in_pdu(self) -> bool:
        """Whether a PDU has begun and not ended: the shell holds it to a deadline."""
        return self.state is not State.CLOSING and (bool(self._held) or self._pdu_left > 0)

    def receive(self, data: memoryview) -> list[Event]:
        """Take bytes from the peer.

        Parameters
        ----------
        data : memoryview of bytes
            Any number of them.

        Returns
        -------
        list of Event
            In the order of what happened. `DataReceived` events hold slices of `data`. A breach of the protocol is an
            event too: nothing that a peer sends raises an exception.
        """
        events: list[Event] = []
        if self.state is State.CLOSING:
            return events
        try:
            self._read(data, events)
        except ViolationError as violation:
            # AA-8; AA-1 where nothing was requested yet, so that there is no association for the provider to abort.
            awaiting = self.state is State.AWAITING_REQUEST
            self._output += pdu.abort_pdu() if awaiting else pdu.abort_pdu(2, violation.reason)
            self.state = State.CLOSING
            events.append(Violated(violation.message))
        return events

    def receive_eof(self) -> list[Event]:
        """The peer closed its side of the connection (AA-4)."""
        if self.state is State.CLOSING:
            return []
        self.state = State.CLOSING
        return [Aborted("the connection was closed")]

    def _read(self, data: memoryview, events: list[Event]) -> None:
        position, end = 0, len(data)
        while position < end and self.state is not State.CLOSING:
            if self._pdv_left:
                taken = min(self._pdv_left, end - position)
                self._pdv_left -= taken
                self._pdu_left -= taken
                self._messages.fragment(data[position : position + taken], self._pdv_left == 0, events)
                position += taken
            elif not self._held and self._pdu_left == 0 and end - position >= 12 and data[position] == pdu.P_DATA:
                # The common case: both headers lie before us.
                self.pdus += 1
                self._begin_pdu(pdu.P_DATA, _HEADER.unpack_from(data, position)[1])
                length, context_id, control = _PDV_HEADER.unpack_from(data, position + 6)
                self._begin_pdv(length, context_id, control, events)
                position += 12
            else:
                if not self._held and not self._pdu_left:
                    self.pdus += 1
                taken = min(self._want - len(self._held), end - position)
                self._held += data[position : position + taken]
                position += taken
                if len(self._held) == self._want:
                    self._collected(events)

    def _collected(self, events: list[Event]) -> None:
        """A PDU header, a PDV header, or a whole PDU of another kind lies in _held."""
        held = bytes(self._held)
        if self._pdu_left:
            self._held.clear()
            length, context_id, control = _PDV_HEADER.unpack(held)
            self._begin_pdv(length, context_id, control, events)
        elif len(held) == 6:
            kind, length = _HEADER.unpack(held)
            self._begin_pdu(kind, length)
            if kind == pdu.P_DATA:
                self._held.clear()
            else:
                self._want = 6 + length
        else:
            self._held.clear()
            self._want = 6
            self._control_pdu(held, events)

    def _begin_pdu(self, kind: int, length: int) -> None:
        """Judge a PDU by its header alone, before a byte of it is kept."""
        if kind == pdu.P_DATA:
            if self.state not in MAY_RECEIVE:
                raise ViolationError(f"P-DATA in state {self.state.value} (PS3.8 table 9-10)", UNEXPECTED_PDU)
            if not 6 <= length <= self._max_pdu:
                what = "is shorter than one PDV item" if length < 6 else f"exceeds the negotiated {self._max_pdu}"
                raise ViolationError(f"P-DATA length {length} {what} (PS3.8 section 9.3.5, D.1)", INVALID_VALUE)
            self._pdu_left = length
            self._want = 6
        elif kind in (pdu.ASSOCIATE_RQ, pdu.ASSOCIATE_AC):
            if not 68 <= length <= self.limits.max_associate:
                raise ViolationError(f"A-ASSOCIATE length {length} (PS3.8 section 9.3.2)", INVALID_VALUE)
            expected = State.AWAITING_REQUEST if kind == pdu.ASSOCIATE_RQ else State.AWAITING_ANSWER
            if self.state is not expected:
                raise ViolationError(f"A-ASSOCIATE in state {self.state.value} (PS3.8 table 9-10)", UNEXPECTED_PDU)
        elif kind in _FIXED_LENGTH:
            if length != 4:
                raise ViolationError(f"PDU type {kind} with length {length}, not 4 (PS3.8 section 9.3)", INVALID_VALUE)
        else:
            raise ViolationError(f"unknown PDU type 0x{kind:02X} (PS3.8 section 9.3.1)", UNRECOGNISED_PDU)

    def _begin_pdv(self, length: int, context_id: int, control: int, events: list[Event]) -> None:
        """Judge a PDV by its header (PS3.8 section 9.3.5.1, annex E.2)."""
        self._pdu_left -= 6
        if not 2 <= length <= self._pdu_left + 2:
            left = self._pdu_left + 2
            raise ViolationError(
                f"a PDV of length {length} in a PDU with {left} left (PS3.8 section 9.3.5.1)", INVALID_VALUE
            )
        if context_id not in self.contexts:
            raise ViolationError(f"data on presentation context {context_id}, which was not accepted", INVALID_VALUE)
        self._messages.begin(context_id, control)
        self._pdv_left = length - 2
        if 0 < self._pdu_left - self._pdv_left < 6:
            raise ViolationError("bytes after the last PDV of a PDU (PS3.8 section 9.3.5)", INVALID_VALUE)
        if not self._pdv_left:
            self._messages.fragment(_NOTHING, True, events)

    def _control_pdu(self, data: bytes, events: list[Event]) -> None:
        kind = data[0]
        if kind == pdu.ABORT:
            self.state = State.CLOSING
            events.append(Aborted(pdu.abort_reason(data[8], data[9])))
        elif kind == pdu.RELEASE_RQ:
            self._release_requested(events)
        elif kind == pdu.RELEASE_RP:
            self._release_confirmed(events)
        elif kind == pdu.ASSOCIATE_RJ:
            if self.state is not State.AWAITING_ANSWER:
                raise ViolationError(f"A-ASSOCIATE-RJ in state {self.state.value} (PS3.8 table 9-10)", UNEXPECTED_PDU)
            self.state = State.CLOSING
            events.append(Rejected(decode_reject(data)))
        else:
            self._associate(kind, data, events)

    def _associate(self, kind: int, data: bytes, events: list[Event]) -> None:
        try:
            if kind == pdu.ASSOCIATE_RQ:
                self._request = decode_request(data, self.limits)
                self._request_head = data[:FIXED_SIZE]
                self.state = State.AWAITING_LOCAL_ANSWER
                events.append(Requested(self._request))
            else:
                assert self._request is not None
                accept = decode_accept(data, self.limits, self._request)
                self._establish(accept.contexts, accept.max_pdu)
                events.append(Accepted(accept))
        except UnacceptableError as error:
            self._output += encode_reject(error.reject)
            self.state = State.CLOSING
            events.append(Violated(f"A-ASSOCIATE-RQ: {error} (PS3.8 section 9.3.2)"))
        except NegotiationError as error:
            name = "A-ASSOCIATE-RQ" if kind == pdu.ASSOCIATE_RQ else "A-ASSOCIATE-AC"
            raise ViolationError(f"{name}: {error}", INVALID_VALUE) from None

    def _advertised(self, max_pdu: int) -> int:
        """The maximum length that we tell the peer, and hold it to."""
        if max_pdu:
            self._max_pdu = min(max_pdu, self._max_pdu)
        return self._max_pdu

    def _establish(self, contexts: tuple[Context, ...], peer_max_pdu: int) -> None:
        self.contexts = {context.id: context for context in contexts if context.result == ACCEPTANCE}
        self.fragment_size = pdu.fragment_size(peer_max_pdu)
        self.state = State.ESTABLISHED

    def _release_requested(self, events: list[Event]) -> None:
        if self.state is State.ESTABLISHED:
            self.state = State.AWAITING_LOCAL_RELEASE
            events.append(ReleaseRequested())
        elif self.state is State.AWAITING_RELEASE and self._requestor:
            # Release collision, requestor's side (AR-8, AR-9): answer at once, then await the answer to ours.
            self._output += pdu.release_rp_pdu()
            self.state = State.COLLISION_REQUESTOR
        elif self.state is State.AWAITING_RELEASE:
            self.state = State.COLLISION_ACCEPTOR
        else:
            raise ViolationError(f"A-RELEASE-RQ in state {self.state.value} (PS3.8 table 9-10)", UNEXPECTED_PDU)

    def _release_confirmed(self, events: list[Event]) -> None:
        if self.state is State.COLLISION_ACCEPTOR:
            # AR-10: theirs has come, now ours may go.
            self._output += pdu.release_rp_pdu()
        elif self.state not in (State.AWAITING_RELEASE, State.COLLISION_REQUESTOR):
            raise ViolationError(f"A-RELEASE-RP in state {self.state.value} (PS3.8 table 9-10)", UNEXPECTED_PDU)
        self.state = State.CLOSING
        events.append(ReleaseConfirmed())

    # -- our own mistakes ----------------------------------------------------------------------------------------------

    def _must_be(self, *states: State) -> None:
        if self.state not in states:
            raise WireStateError(f"not possible in state {self.state.name} ({self.state.value})")

    def _may_send(self, context_id: int) -> None:
        self._must_be(*MAY_SEND)
        if context_id not in self.contexts:
            raise WireStateError(f"presentation context {context_id} was not accepted")
