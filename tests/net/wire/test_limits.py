"""What is taken from a peer before it is an abuse: judged by headers, before anything is kept."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from dcm.net.wire import AssociateAccept, Limits, State, Wire
from dcm.net.wire.associate import decode_accept, decode_request
from dcm.net.wire.events import Event, Violated
from tests.net.wire.handmade import (
    ABORT,
    ABORT_BY_USER,
    ACCEPT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    ECHO_PDU,
    ECHO_RQ,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    REQUEST,
    STORE_RQ,
    abort_by_provider,
    acceptor,
    associate_rq,
    context_rq,
    feed,
    item,
    listening,
    names,
    p_data,
    pdv,
    requested,
    requesting,
    requestor,
    violation,
)


def header(kind: int, length: int) -> bytes:
    return struct.pack(">BxI", kind, length)


def kept(wire: Wire) -> int:
    """How much memory a wire holds on to, about."""
    return len(pickle.dumps(wire))


# -- the length of a PDU -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "good", "bad"),
    [
        (listening, ASSOCIATE_RQ, [68, 1 << 20], [0, 67, (1 << 20) + 1, 0xFFFFFFFF]),
        (requesting, ASSOCIATE_AC, [68, 1 << 20], [0, 67, (1 << 20) + 1, 0xFFFFFFFF]),
        (requesting, ASSOCIATE_RJ, [4], [0, 3, 5, 0xFFFFFFFF]),
        (requestor, P_DATA, [6, 1 << 18], [0, 5, (1 << 18) + 1, 0xFFFFFFFF]),
        (requestor, RELEASE_RQ, [4], [0, 3, 5, 0xFFFFFFFF]),
        (requestor, RELEASE_RP, [4], [0, 3, 5, 0xFFFFFFFF]),
        (requestor, ABORT, [4], [0, 3, 5, 0xFFFFFFFF]),
    ],
)
def test_length_is_judged_by_the_header(make: Callable[[], Wire], kind: int, good: list[int], bad: list[int]) -> None:
    """PS3.8 section 9.3, annex D.1: A-ASSOCIATE up to 1 MiB, P-DATA up to what we advertised, all others 4 bytes."""
    for length in good:
        wire = make()
        assert feed(wire, header(kind, length)) == []
        assert wire.in_pdu
    for length in bad:
        wire = make()
        first, last = header(kind, length)[:5], header(kind, length)[5:]
        assert feed(wire, first) == []
        assert str(length) in violation(feed(wire, last))
        assert wire.take_output() in (abort_by_provider(6), ABORT_BY_USER)


@pytest.mark.parametrize("make", [listening, requested, requesting])
def test_data_before_there_is_an_association_are_refused_by_their_header(make: Callable[[], Wire]) -> None:
    """Whatever the maximum says: pynetdicom has been seen to read 1,500 MiB here."""
    assert "P-DATA in state Sta" in violation(feed(make(), header(P_DATA, 1 << 17)))


@pytest.mark.parametrize("make", [requested, requestor])
def test_requests_where_none_is_due_are_refused_by_their_header(make: Callable[[], Wire]) -> None:
    assert "A-ASSOCIATE in state Sta" in violation(feed(make(), header(ASSOCIATE_RQ, 1 << 20)))


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"SSH-2.0-", bytes(6)])
def test_other_protocols_are_recognised_by_their_first_bytes(first: bytes) -> None:
    wire = listening()
    assert f"unknown PDU type 0x{first[0]:02X}" in violation(feed(wire, first))


def test_peer_is_held_to_the_maximum_that_we_advertised() -> None:
    """PS3.8 annex D.1: also to one that is lower than what we could take."""
    for asked, limit, effective in ((0, 5000, 5000), (4000, 5000, 4000), (6000, 5000, 5000)):
        wire = Wire(Limits(max_pdu=limit))
        said = decode_request(wire.request(replace(REQUEST, max_pdu=asked)), Limits())
        assert said.max_pdu == effective
        feed(wire, requested().accept(ACCEPT))
        assert feed(wire, header(P_DATA, effective)) == []

        wire = requested(Limits(max_pdu=limit))
        answer = wire.accept(AssociateAccept(ACCEPT.contexts, max_pdu=asked))
        assert decode_accept(answer, Limits(), REQUEST).max_pdu == effective
        assert f"exceeds the negotiated {effective}" in violation(feed(wire, header(P_DATA, effective + 1)))


def test_largest_pdu_passes_whole() -> None:
    wire = acceptor()
    stream = p_data(pdv(STORE_RQ, command=True, last=True)) + p_data(
        pdv(bytes((1 << 18) - 6), command=False, last=True)
    )
    assert [type(event).__name__ for event in feed(wire, stream)] == ["CommandReceived", "DataReceived"]


# -- what adds up ------------------------------------------------------------------------------------------------------


def test_endless_command_set() -> None:
    """No more than 64 KiB are kept, however small the fragments are, and however many are empty."""
    wire = acceptor()
    fragment = p_data(*[pdv(b"\0", command=True, last=False), pdv(b"", command=True, last=False)] * 500)
    largest = 0
    events: list[Event] = []
    while not events:
        events = feed(wire, fragment)
        largest = max(largest, kept(wire))
    assert "command set of more than 65536 bytes" in violation(events)
    assert largest < 70_000
    assert wire.take_output() == abort_by_provider(6)


def test_command_set_up_to_the_limit() -> None:
    limits = Limits(max_command=len(ECHO_RQ))
    assert names(feed(acceptor(limits), ECHO_PDU)) == ["C-ECHO-RQ in 1"]
    limits = Limits(max_command=len(ECHO_RQ) - 1)
    assert names(feed(acceptor(limits), ECHO_PDU)) == ["Violated"]


def test_the_limit_is_for_each_command_set() -> None:
    assert names(feed(acceptor(Limits(max_command=len(ECHO_RQ))), ECHO_PDU * 5)) == ["C-ECHO-RQ in 1"] * 5


def test_data_set_up_to_the_limit() -> None:
    command = p_data(pdv(STORE_RQ, command=True, last=True))
    part = p_data(pdv(bytes(40), command=False, last=False))
    end = p_data(pdv(bytes(20), command=False, last=True))
    wire = acceptor(Limits(max_data_set=100))
    assert names(feed(wire, (command + part + part + end) * 2))[1::2] == [f"data {'00' * 100}"] * 2
    one_more = p_data(pdv(bytes(21), command=False, last=True))
    assert "data set of more than 100 bytes" in violation(feed(wire, command + part + part + one_more))


def test_a_data_set_is_never_kept() -> None:
    wire = acceptor()
    feed(wire, p_data(pdv(STORE_RQ, command=True, last=True)))
    before = kept(wire)
    for _ in range(100):
        feed(wire, p_data(pdv(bytes(50_000), command=False, last=False)))
    assert kept(wire) < before + 100


def test_request_is_kept_up_to_its_limit() -> None:
    """A request of 1 MiB that never ends costs 1 MiB, and nothing after it is refused."""
    wire = listening()
    feed(wire, header(ASSOCIATE_RQ, 1 << 20))
    for _ in range(20):
        feed(wire, bytes(1 << 16))
    assert wire.state is State.CLOSING
    wire = listening()
    feed(wire, header(ASSOCIATE_RQ, 1 << 20) + bytes((1 << 20) - 1))
    assert kept(wire) < (1 << 20) + 10_000


def test_flood_of_contexts() -> None:
    """Ids are odd and below 256, so that the 129th repeats one (PS3.8 section 9.3.2.2); the request ends there."""
    flood = [context_rq(2 * i % 256 | 1) for i in range(5000)]
    wire = listening()
    assert "even or repeated" in violation(feed(wire, associate_rq(*flood)))
    assert wire.take_output() == ABORT_BY_USER


@pytest.mark.parametrize(
    "flood",
    [
        [item(0x99)] * 200_000,
        [item(0x50, *[item(0x5F)] * 10_000)] * 20,
        [item(0x50, *[item(0x54, b"\0\1", str(i % 10), b"\1\1") for i in range(5000)])],
        [item(0x20, b"\1\0\0\0", *[item(0x40)] * 16_000)],
    ],
    ids=["items", "user items", "roles", "syntaxes"],
)
def test_flood_of_items(flood: list[bytes]) -> None:
    (event,) = feed(listening(), associate_rq(*flood))
    assert isinstance(event, Violated)
    assert "too many items" in event.message


def test_limit_of_contexts() -> None:
    contexts = [context_rq(1), context_rq(3), context_rq(5)]
    assert names(feed(listening(Limits(max_contexts=3)), associate_rq(*contexts))) == ["Requested"]
    wire = listening(Limits(max_contexts=2))
    assert "more than 2 presentation contexts" in violation(feed(wire, associate_rq(*contexts)))
