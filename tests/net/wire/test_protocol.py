"""Whole conversations: negotiated, spoken, released; with the bytes of DCMTK and Orthanc."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from dcm.net.wire import (
    AssociateReject,
    AssociateRequest,
    Command,
    CommandField,
    Context,
    Limits,
    ProposedContext,
    State,
    Wire,
    WireStateError,
)
from dcm.net.wire.associate import decode_accept, decode_reject, decode_request
from dcm.net.wire.events import Aborted, Accepted, CommandReceived, Event, Rejected, Requested
from tests.net.wire import captures
from tests.net.wire.captures import CONVERSATIONS
from tests.net.wire.handmade import (
    ABORT_BY_USER,
    ACCEPT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    CT_IMAGE,
    ECHO_PDU,
    EXPLICIT,
    IMPLICIT,
    REJECT_PDU,
    RELEASE_RQ_PDU,
    REQUEST,
    abort_by_provider,
    associate,
    associate_ac,
    associate_rq,
    context_ac,
    context_rq,
    feed,
    listening,
    names,
    p_data,
    pdv,
    requested,
    requesting,
    requestor,
    user_information,
    violation,
)

# What each recorded conversation says, in the words of our events.
SAID = {
    "ECHO": [
        "Requested",
        "Accepted",
        "C-ECHO-RQ in 1",
        "C-ECHO-RSP in 1",
        "ReleaseRequested",
        "ReleaseConfirmed",
    ],
    "STORE": [
        "Requested",
        "Accepted",
        "C-STORE-RQ in 1",
        "data",
        "C-STORE-RSP in 1",
        "ReleaseRequested",
        "ReleaseConfirmed",
    ],
    "FIND": [
        "Requested",
        "Accepted",
        "C-FIND-RQ in 1",
        "data",
        "C-FIND-RSP in 1",
        "data",
        "C-FIND-RSP in 1",
        "ReleaseRequested",
        "ReleaseConfirmed",
    ],
    "MOVE_REFUSED": [
        "Requested",
        "Accepted",
        "C-MOVE-RQ in 3",
        "data",
        "C-MOVE-RSP in 3",
        "ReleaseRequested",
        "ReleaseConfirmed",
    ],
    "GET": [
        "Requested",
        "Accepted",
        "C-GET-RQ in 1",
        "data",
        "C-STORE-RQ in 159",
        "data",
        "C-STORE-RSP in 159",
        "C-GET-RSP in 1",
        "C-GET-RSP in 1",
        "ReleaseRequested",
        "ReleaseConfirmed",
    ],
    "REJECTED": ["Requested", "Rejected"],
    "ABORTED": ["Requested", "Accepted", "C-ECHO-RQ in 1", "C-ECHO-RSP in 1", "Aborted"],
}
SAID["STORE_ORTHANC"] = SAID["STORE"]


def _replay(conversation: captures.Conversation, step: int) -> list[str]:
    """Let a wire listen to each side, and do with each what its own side did; returns all events in order."""
    request = decode_request(conversation[0][1], Limits())
    client, server = Wire(), Wire()
    server.listen()
    client.request(request)
    found: list[str] = []
    for who, said in conversation:
        listener, speaker = (server, client) if who == "C" else (client, server)
        if said[0] == ASSOCIATE_AC:
            speaker.accept(decode_accept(said, Limits(), request))
        elif said[0] == ASSOCIATE_RJ:
            speaker.reject(decode_reject(said))
        elif said == RELEASE_RQ_PDU:
            speaker.release()
        events: list[Event] = []
        for start in range(0, len(said), step):
            chunk = said[start : start + step]
            events += feed(listener, chunk)
        found += ["data" if name.startswith("data ") else name for name in names(events)]
    assert not client.in_pdu
    assert not server.in_pdu
    return found


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_of_dcmtk_and_orthanc(name: str, step: int) -> None:
    assert _replay(CONVERSATIONS[name], step) == SAID[name]


def test_get_is_answered_through_the_other_context() -> None:
    """PS3.4 section C.4.3: the C-STORE sub-operations of a C-GET come on its own association, by role selection."""
    request = decode_request(captures.GET[0][1], Limits())
    client = Wire()
    client.request(request)
    feed(client, captures.GET[1][1])
    stored = feed(client, captures.GET[3][1])[0]
    assert isinstance(stored, CommandReceived)
    assert stored.command.affected_class == client.contexts[stored.context_id].abstract_syntax


def test_fragments_go_by_what_the_peer_said() -> None:
    """PS3.8 annex D.1: each side sets the maximum for what it receives."""
    server = listening()
    feed(server, captures.STORE_ORTHANC[0][1])
    server.accept(ACCEPT)
    assert server.fragment_size == 4096 - 6
    client = requesting()
    feed(client, associate_ac())
    assert client.fragment_size == 16384 - 6


# -- negotiation -------------------------------------------------------------------------------------------------------


def test_accepted_contexts_are_those_that_can_be_used() -> None:
    wire = requesting()
    (event,) = feed(wire, associate_ac(context_ac(3), context_ac(1, 4, b"\xff")))
    assert isinstance(event, Accepted)
    assert len(event.accept.contexts) == 2
    assert wire.contexts == {3: Context(3, CT_IMAGE, IMPLICIT)}
    assert wire.state is State.ESTABLISHED
    with pytest.raises(WireStateError, match="context 1 was not accepted"):
        wire.send_message(1, Command(CommandField.C_ECHO_RQ))


def test_no_context_accepted_is_an_association_all_the_same() -> None:
    """PS3.8 section 7.1.1.14: for the user to judge, who will release it."""
    wire = requesting()
    feed(wire, associate_ac(context_ac(1, 3), context_ac(3, 3)))
    assert wire.state is State.ESTABLISHED
    assert wire.contexts == {}
    assert wire.release()


def test_rejection() -> None:
    wire = requesting()
    (event,) = feed(wire, REJECT_PDU)
    assert event == Rejected(AssociateReject(1, 1, 3))
    assert wire.take_output() == b""


@pytest.mark.parametrize(
    ("said", "reject"),
    [
        (associate(ASSOCIATE_RQ, context_rq(1), version=2), "03000000000400010202"),
        (associate(ASSOCIATE_RQ, context_rq(1), application_context="1.2.3"), "03000000000400010102"),
    ],
)
def test_provider_rejects_what_it_cannot_speak(said: bytes, reject: str) -> None:
    """AE-6, PS3.8 table 9-21: the user isn't asked; the requestor is told why, which an A-ABORT could not."""
    wire = listening()
    assert "A-ASSOCIATE-RQ: " in violation(feed(wire, said + ECHO_PDU))
    assert wire.take_output() == bytes.fromhex(reject)
    assert wire.state is State.CLOSING


@pytest.mark.parametrize(
    ("make", "pdu", "message", "abort"),
    [
        (listening, associate_rq(context_rq(2)), "A-ASSOCIATE-RQ: presentation context id 2 is even", ABORT_BY_USER),
        (requesting, associate_ac(context_ac(7)), "A-ASSOCIATE-AC: .* never proposed", abort_by_provider(6)),
        (requesting, associate_ac(context_ac(1, 0, EXPLICIT)), "was not proposed for it", abort_by_provider(6)),
    ],
)
def test_invalid_negotiation_is_aborted(make: Callable[[], Wire], pdu: bytes, message: str, abort: bytes) -> None:
    """PS3.8 table 9-10, "unrecognised or invalid PDU": AA-1 or AA-8."""
    wire = make()
    (event,) = feed(wire, pdu)
    assert re.search(message, str(event))
    assert wire.take_output() == abort


def test_request_of_a_peer_is_told_whole() -> None:
    wire = listening()
    pdu = associate(ASSOCIATE_RQ, context_rq(5, CT_IMAGE, (EXPLICIT, IMPLICIT)), user_information(max_length=0))
    (event,) = feed(wire, pdu)
    assert event == Requested(
        AssociateRequest(
            "SCU",
            "SCP",
            (ProposedContext(5, CT_IMAGE, (EXPLICIT, IMPLICIT)),),
            implementation_class_uid="1.2.3",
            implementation_version="",
        )
    )


def test_titles_come_back_as_they_were_sent() -> None:
    """PS3.8 table 9-17: with whatever padding."""
    said = associate(ASSOCIATE_RQ, context_rq(1), called=b"SCP".ljust(16, b"\0"), reserved=b"R" * 32)
    wire = listening()
    feed(wire, said)
    assert wire.accept(ACCEPT)[10:74] == said[10:74]


def test_two_wires_negotiate() -> None:
    server = listening()
    client = Wire()
    (asked,) = feed(server, client.request(REQUEST))
    assert isinstance(asked, Requested)
    assert asked.request.contexts == REQUEST.contexts
    assert asked.request.max_pdu == Limits().max_pdu
    (answered,) = feed(client, server.accept(ACCEPT))
    assert isinstance(answered, Accepted)
    assert answered.accept.contexts == ACCEPT.contexts
    assert client.contexts == server.contexts
    assert client.fragment_size == server.fragment_size == Limits().max_pdu - 6


def test_a_call_that_fails_leaves_the_state_alone() -> None:
    wire = Wire()
    with pytest.raises(ValueError, match="longer than 16"):
        wire.request(AssociateRequest("SEVENTEEN_LETTERS", "SCP", ()))
    assert wire.state is State.IDLE


# -- ends that come while we think -------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [ABORT_BY_USER, ECHO_PDU, b"garbage"])
def test_requestor_that_is_gone_before_we_answer(end: bytes) -> None:
    """Request and end may be in one chunk, and the answer may take its time: it goes nowhere, and is no error."""
    wire = listening()
    events = feed(wire, associate_rq() + end)
    assert names(events)[0] == "Requested"
    assert len(events) == 2
    assert wire.accept(ACCEPT) == b""
    assert wire.reject(AssociateReject(2, 3, 2)) == b""
    assert wire.state is State.CLOSING


def test_peer_that_asks_for_release_and_hangs_up() -> None:
    wire = requestor()
    assert names(feed(wire, RELEASE_RQ_PDU)) == ["ReleaseRequested"]
    assert wire.receive_eof() == [Aborted("the connection was closed")]
    assert wire.confirm_release() == b""


def test_release_within_a_message() -> None:
    """AR-2, whatever has not come by then never will: the user knows that no data set ended."""
    wire = requested()
    wire.accept(ACCEPT)
    feed(wire, p_data(pdv(b"\0\0", command=True, last=False)))
    assert names(feed(wire, RELEASE_RQ_PDU)) == ["ReleaseRequested"]


def test_output_is_taken_once() -> None:
    wire = requestor()
    feed(wire, b"garbage")
    assert wire.take_output()
    assert wire.take_output() == b""
