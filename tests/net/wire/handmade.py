"""PDUs as a peer would send them, made from the tables of PS3.8 without the code under test; wires in each state."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from dcm.net.wire import AssociateAccept, AssociateRequest, Context, Limits, ProposedContext, State, Wire
from dcm.net.wire.events import CommandReceived, DataReceived, Event, Violated

VERIFICATION = "1.2.840.10008.1.1"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)

RELEASE_RQ_PDU = bytes.fromhex("05000000000400000000")
RELEASE_RP_PDU = bytes.fromhex("06000000000400000000")
ABORT_BY_USER = bytes.fromhex("07000000000400000000")
REJECT_PDU = bytes.fromhex("03000000000400010103")


def abort_by_provider(reason: int) -> bytes:
    """A-ABORT of the service provider (PS3.8 table 9-26)."""
    return bytes.fromhex("0700000000040000") + bytes((2, reason))


# -- negotiation -------------------------------------------------------------------------------------------------------


def item(kind: int, *parts: bytes | str, length: int | None = None) -> bytes:
    """An item or sub-item (PS3.8 section 9.3.1), with a length that may lie."""
    value = b"".join(part.encode("latin-1") if isinstance(part, str) else part for part in parts)
    return struct.pack(">BxH", kind, len(value) if length is None else length) + value


def context_rq(context_id: int, abstract_syntax: str = CT_IMAGE, syntaxes: Iterable[str] = (IMPLICIT,)) -> bytes:
    subitems = [item(0x40, syntax) for syntax in syntaxes]
    return item(0x20, bytes((context_id, 0, 0, 0)), item(0x30, abstract_syntax), *subitems)


def context_ac(context_id: int, result: int = 0, syntax: bytes | str | None = IMPLICIT) -> bytes:
    return item(0x21, bytes((context_id, 0, result, 0)), b"" if syntax is None else item(0x40, syntax))


def user_information(*subitems: bytes, max_length: int | None = 16384) -> bytes:
    said = [] if max_length is None else [item(0x51, struct.pack(">I", max_length))]
    return item(0x50, *said, item(0x52, "1.2.3"), *subitems)


def role(uid: str, scu: int, scp: int) -> bytes:
    return item(0x54, struct.pack(">H", len(uid)), uid, bytes((scu, scp)))


def associate(
    kind: int,
    *items: bytes,
    called: bytes = b"SCP".ljust(16),
    calling: bytes = b"SCU".ljust(16),
    version: int = 1,
    reserved: bytes = bytes(32),
    application_context: str | None = APPLICATION_CONTEXT,
) -> bytes:
    """An A-ASSOCIATE-RQ or -AC (PS3.8 tables 9-11 and 9-17)."""
    first = b"" if application_context is None else item(0x10, application_context)
    body = struct.pack(">Hxx", version) + called + calling + reserved + first + b"".join(items)
    return struct.pack(">BxI", kind, len(body)) + body


def associate_rq(*contexts: bytes) -> bytes:
    return associate(ASSOCIATE_RQ, *(contexts or (context_rq(1),)), user_information())


def associate_ac(*contexts: bytes) -> bytes:
    return associate(ASSOCIATE_AC, *(contexts or (context_ac(1), context_ac(3))), user_information())


# -- data --------------------------------------------------------------------------------------------------------------


def pdv(data: bytes, *, command: bool, last: bool, context_id: int = 1) -> bytes:
    """A presentation data value item (PS3.8 section 9.3.5.1, annex E.2)."""
    return struct.pack(">IBB", len(data) + 2, context_id, command | last << 1) + data


def p_data(*values: bytes) -> bytes:
    """A P-DATA-TF PDU (PS3.8 section 9.3.5)."""
    body = b"".join(values)
    return struct.pack(">BxI", P_DATA, len(body)) + body


def element(number: int, value: bytes) -> bytes:
    """An element of a command set (PS3.7 section 6.3.1)."""
    return struct.pack("<HHI", 0, number, len(value)) + value


def us(number: int, value: int) -> bytes:
    return element(number, struct.pack("<H", value))


def command_set(*elements: bytes) -> bytes:
    return element(0, struct.pack("<I", sum(map(len, elements)))) + b"".join(elements)


ECHO_RQ = command_set(element(0x0002, b"1.2.840.10008.1.1\0"), us(0x0100, 0x0030), us(0x0110, 1), us(0x0800, 0x0101))
STORE_RQ = command_set(
    element(0x0002, b"1.2.840.10008.5.1.4.1.1.2\0"),
    us(0x0100, 0x0001),
    us(0x0110, 2),
    us(0x0700, 0),
    us(0x0800, 0x0001),
    element(0x1000, b"1.2.3.4\0"),
)
ECHO_PDU = p_data(pdv(ECHO_RQ, command=True, last=True))


# -- wires in each state -----------------------------------------------------------------------------------------------

PROPOSED = (ProposedContext(1, CT_IMAGE, (IMPLICIT,)), ProposedContext(3, CT_IMAGE, (EXPLICIT, IMPLICIT)))
REQUEST = AssociateRequest("SCU", "SCP", PROPOSED)
ACCEPT = AssociateAccept((Context(1, CT_IMAGE, IMPLICIT), Context(3, CT_IMAGE, IMPLICIT)))


def feed(wire: Wire, data: bytes) -> list[Event]:
    return wire.receive(memoryview(data))


def requesting(limits: Limits | None = None) -> Wire:
    wire = Wire(limits)
    wire.request(REQUEST)
    return wire


def listening(limits: Limits | None = None) -> Wire:
    wire = Wire(limits)
    wire.listen()
    return wire


def requestor(limits: Limits | None = None) -> Wire:
    """An association that we asked for, established with contexts 1 and 3."""
    wire = requesting(limits)
    feed(wire, associate_ac())
    assert wire.state is State.ESTABLISHED
    return wire


def acceptor(limits: Limits | None = None) -> Wire:
    """An association that was asked of us, established with contexts 1 and 3."""
    wire = requested(limits)
    wire.accept(ACCEPT)
    assert wire.state is State.ESTABLISHED
    return wire


def requested(limits: Limits | None = None) -> Wire:
    wire = listening(limits)
    feed(wire, associate_rq(context_rq(1), context_rq(3)))
    return wire


def releasing(limits: Limits | None = None) -> Wire:
    wire = requestor(limits)
    wire.release()
    return wire


def release_asked(limits: Limits | None = None) -> Wire:
    wire = requestor(limits)
    feed(wire, RELEASE_RQ_PDU)
    return wire


def collision_acceptor(limits: Limits | None = None) -> Wire:
    wire = acceptor(limits)
    wire.release()
    feed(wire, RELEASE_RQ_PDU)
    return wire


def collision_requestor(limits: Limits | None = None) -> Wire:
    wire = releasing(limits)
    feed(wire, RELEASE_RQ_PDU)
    wire.take_output()
    return wire


def closing(limits: Limits | None = None) -> Wire:
    wire = requestor(limits)
    wire.abort()
    return wire


# How to get into each state that a connection can be in.
IN_STATE: dict[State, Callable[..., Wire]] = {
    State.AWAITING_REQUEST: listening,
    State.AWAITING_LOCAL_ANSWER: requested,
    State.AWAITING_ANSWER: requesting,
    State.ESTABLISHED: requestor,
    State.AWAITING_RELEASE: releasing,
    State.AWAITING_LOCAL_RELEASE: release_asked,
    State.COLLISION_ACCEPTOR: collision_acceptor,
    State.COLLISION_REQUESTOR: collision_requestor,
    State.CLOSING: closing,
}


def names(events: Iterable[Event]) -> list[str]:
    """The events in a few words; fragments of one data set are one."""
    found: list[str] = []
    open_data = False
    for event in events:
        if isinstance(event, DataReceived):
            if not open_data:
                found.append("")
            found[-1] += bytes(event.data).hex()
            open_data = not event.last
            if event.last:
                found[-1] = f"data {found[-1]}"
        elif isinstance(event, CommandReceived):
            found.append(f"{event.command.name} in {event.context_id}")
        else:
            found.append(type(event).__name__)
    return found


def violation(events: Iterable[Event]) -> str:
    """The message of the violation that the events end with."""
    last = list(events)[-1]
    assert isinstance(last, Violated), last
    return last.message
