"""Messages in P-DATA of any legal shape (PS3.8 section 9.3.5 and annex E; PS3.7 section 6.3.1)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dcm.net.wire import Command, CommandField, State, Wire
from dcm.net.wire.events import DataReceived, Event
from dcm.net.wire.pdu import fragment_size
from tests.net.wire.handmade import (
    ECHO_PDU,
    ECHO_RQ,
    STORE_RQ,
    abort_by_provider,
    acceptor,
    command_set,
    element,
    feed,
    names,
    p_data,
    pdv,
    requestor,
    us,
    violation,
)

STORE_WITH_DATA = p_data(pdv(STORE_RQ, command=True, last=True)) + p_data(pdv(b"abcd", command=False, last=True))
STORED = ["C-STORE-RQ in 1", f"data {b'abcd'.hex()}"]


def _chunked(wire: Wire, stream: bytes, cuts: Sequence[int]) -> list[str]:
    """Feed a stream in pieces; names are taken at once, as the pieces are gone afterwards."""
    edges = [0, *sorted(cuts), len(stream)]
    events: list[Event] = []
    for start, end in itertools.pairwise(edges):
        chunk = bytearray(stream[start:end])
        for event in wire.receive(memoryview(chunk)):
            if isinstance(event, DataReceived):
                event = DataReceived(memoryview(bytes(event.data)), event.last)
            events.append(event)
    return names(events)


# -- shapes, one by one ------------------------------------------------------------------------------------------------


def test_one_pdu_for_each_part() -> None:
    assert names(feed(acceptor(), STORE_WITH_DATA)) == STORED


def test_command_and_data_in_one_pdu() -> None:
    """PS3.8 annex E.1: a PDU may hold several presentation data values."""
    stream = p_data(pdv(STORE_RQ, command=True, last=True), pdv(b"abcd", command=False, last=True))
    assert names(feed(acceptor(), stream)) == STORED


def test_several_messages_in_one_pdu() -> None:
    """Each value names its own context, so that they need not even be of one."""
    stream = p_data(
        pdv(ECHO_RQ, command=True, last=True),
        pdv(STORE_RQ, command=True, last=True, context_id=3),
        pdv(b"ab", command=False, last=False, context_id=3),
        pdv(b"cd", command=False, last=True, context_id=3),
        pdv(ECHO_RQ, command=True, last=True),
    )
    assert names(feed(acceptor(), stream)) == ["C-ECHO-RQ in 1", "C-STORE-RQ in 3", STORED[1], "C-ECHO-RQ in 1"]


def test_fragments_of_one_byte() -> None:
    stream = b"".join(
        p_data(pdv(STORE_RQ[i : i + 1], command=True, last=i == len(STORE_RQ) - 1)) for i in range(len(STORE_RQ))
    )
    stream += b"".join(p_data(pdv(bytes((byte,)), command=False, last=byte == ord("d"))) for byte in b"abcd")
    assert names(feed(acceptor(), stream)) == STORED


def test_empty_last_fragments() -> None:
    """Senders that do not know that the data end flush with an empty value."""
    stream = p_data(pdv(STORE_RQ, command=True, last=False)) + p_data(pdv(b"", command=True, last=True))
    stream += p_data(pdv(b"abcd", command=False, last=False)) + p_data(pdv(b"", command=False, last=True))
    assert names(feed(acceptor(), stream)) == STORED


def test_empty_fragments_in_between_are_nothing() -> None:
    stream = p_data(pdv(STORE_RQ, command=True, last=True))
    stream += p_data(*[pdv(b"", command=False, last=False)] * 3, pdv(b"abcd", command=False, last=True))
    events = feed(acceptor(), stream)
    assert names(events) == STORED
    assert len(events) == 2


def test_empty_data_set() -> None:
    stream = p_data(pdv(STORE_RQ, command=True, last=True), pdv(b"", command=False, last=True))
    assert names(feed(acceptor(), stream)) == ["C-STORE-RQ in 1", "data "]


def test_reserved_bits_of_the_control_header_are_not_tested() -> None:
    """PS3.8 annex E.2: bits 2 to 7 are 0 when sent, and "not tested"."""
    stream = bytearray(STORE_WITH_DATA)
    stream[11] |= 0xFC
    stream[12 + len(STORE_RQ) + 11] |= 0xFC
    assert names(feed(acceptor(), bytes(stream))) == STORED


def test_reserved_byte_of_a_pdu_is_not_tested() -> None:
    stream = bytearray(ECHO_PDU)
    stream[1] = 0xFF
    assert names(feed(acceptor(), bytes(stream))) == ["C-ECHO-RQ in 1"]


def test_every_way_to_cut_the_stream_in_three() -> None:
    for first in range(len(STORE_WITH_DATA)):
        for second in range(first, len(STORE_WITH_DATA), 7):
            assert _chunked(acceptor(), STORE_WITH_DATA, [first, second]) == STORED


def test_data_are_slices_of_what_was_fed() -> None:
    """No copy: a data set of any length costs the memory of one chunk."""
    chunk = bytearray(STORE_WITH_DATA)
    data = [event.data for event in acceptor().receive(memoryview(chunk)) if isinstance(event, DataReceived)]
    assert [view.obj is chunk for view in data] == [True]


def test_data_come_before_their_pdu_is_complete() -> None:
    wire = acceptor()
    feed(wire, p_data(pdv(STORE_RQ, command=True, last=True)))
    events = feed(wire, p_data(pdv(bytes(10000), command=False, last=True))[: 12 + 4000])
    assert [(len(event.data), event.last) for event in events if isinstance(event, DataReceived)] == [(4000, False)]
    assert wire.in_pdu


def test_responses_without_data_follow_one_another() -> None:
    response = command_set(us(0x0100, 0x8020), us(0x0120, 1), us(0x0800, 0x0101), us(0x0900, 0))
    stream = p_data(pdv(response, command=True, last=True)) * 3
    assert names(feed(requestor(), stream)) == ["C-FIND-RSP in 1"] * 3


# -- in_pdu and pdus, for the shell's deadline -------------------------------------------------------------------------


def test_in_pdu_from_the_first_byte_to_the_last() -> None:
    wire = acceptor()
    for stream in (ECHO_PDU, STORE_WITH_DATA):
        pdus = wire.pdus
        assert not wire.in_pdu
        for i in range(len(stream)):
            feed(wire, stream[i : i + 1])
            ends = i + 1 in (len(stream), 12 + len(STORE_RQ) if stream is STORE_WITH_DATA else 0)
            assert wire.in_pdu is not ends
            second = stream is STORE_WITH_DATA and i >= 12 + len(STORE_RQ)
            assert wire.pdus == pdus + 1 + second


def test_pdus_are_counted_however_they_come() -> None:
    whole, bitwise = acceptor(), acceptor()
    before = whole.pdus
    feed(whole, STORE_WITH_DATA * 2)
    _chunked(bitwise, STORE_WITH_DATA * 2, range(2 * len(STORE_WITH_DATA)))
    assert whole.pdus == bitwise.pdus == before + 4


# -- any of them -------------------------------------------------------------------------------------------------------


def _pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    edges = [0, *sorted(draw(st.lists(st.integers(0, len(data)), max_size=6))), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@st.composite
def _conversation(draw: st.DrawFn) -> tuple[list[str], bytes, int]:
    """The events that a sequence of messages must give, and its bytes in some cutting into values and PDUs."""
    expected: list[str] = []
    values: list[bytes] = []
    for _ in range(draw(st.integers(1, 4))):
        context_id = draw(st.sampled_from([1, 3]))
        data = draw(st.none() | st.binary(max_size=60))
        field = draw(st.sampled_from([0x0001, 0x8001, 0x0030, 0x8020]))
        has_data = us(0x0800, 0x0101 if data is None else draw(st.sampled_from([0, 1, 0x0102])))
        filler = element(0x1000, b"1" * draw(st.integers(0, 30)))
        command = command_set(us(0x0100, field), has_data, filler)
        expected.append(f"{Command(field).name} in {context_id}")
        pieces = _pieces(draw, command)
        values += [
            pdv(piece, command=True, last=i == len(pieces) - 1, context_id=context_id) for i, piece in enumerate(pieces)
        ]
        if data is not None:
            expected.append(f"data {data.hex()}")
            pieces = _pieces(draw, data)
            values += [
                pdv(piece, command=False, last=i == len(pieces) - 1, context_id=context_id)
                for i, piece in enumerate(pieces)
            ]
    stream = b""
    n_pdus = 0
    while values:
        n = draw(st.integers(1, len(values)))
        stream += p_data(*values[:n])
        n_pdus += 1
        values = values[n:]
    return expected, stream, n_pdus


@given(_conversation(), st.data())
def test_any_cutting_of_any_messages_gives_the_same_events(
    conversation: tuple[list[str], bytes, int], data: st.DataObject
) -> None:
    expected, stream, n_pdus = conversation
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20) | st.just(range(len(stream))))
    wire = acceptor()
    before = wire.pdus
    assert _chunked(wire, stream, cuts) == expected
    assert wire.state is State.ESTABLISHED
    assert wire.take_output() == b""
    assert not wire.in_pdu
    assert wire.pdus == before + n_pdus


@given(peer_max=st.integers(7, 300) | st.just(0), data=st.binary(max_size=600), n_parts=st.integers(1, 4))
@example(peer_max=7, data=b"", n_parts=1)
def test_what_one_wire_sends_another_receives(peer_max: int, data: bytes, n_parts: int) -> None:
    """Whatever maximum the peer set (PS3.8 annex D.1), and in how many parts the sender has its data set."""
    sender, receiver = requestor(), acceptor()
    sender.fragment_size = fragment_size(peer_max)
    command = Command(CommandField.C_STORE_RQ, message_id=9, affected_instance="1.2.3", has_data=True)
    if n_parts == 1:
        stream = b"".join(sender.send_message(3, command, data))
    else:
        stream = b"".join(sender.send_message(3, command))
        step = len(data) // n_parts + 1
        parts = [data[i : i + step] for i in range(0, len(data), step)] or [b""]
        for part in parts[:-1]:
            stream += b"".join(sender.send_data(3, part, last=False))
        stream += b"".join(sender.send_data(3, parts[-1], last=True))
    assert names(feed(receiver, stream)) == ["C-STORE-RQ in 3", f"data {data.hex()}"]


def test_message_ids_go_round_without_zero() -> None:
    """PS3.7 section E.1: any number but one in use; peers have been seen to take 0 for none."""
    wire = requestor()
    ids = [wire.next_message_id() for _ in range(0xFFFF + 2)]
    assert ids[:2] == [1, 2]
    assert ids[0xFFFE:] == [0xFFFF, 1, 2]
    assert len(set(ids)) == 0xFFFF


# -- what is not legal -------------------------------------------------------------------------------------------------

UNEXPECTED, INVALID = abort_by_provider(2), abort_by_provider(6)


@pytest.mark.parametrize(
    ("values", "message", "abort"),
    [
        ([pdv(b"ab", command=False, last=True)], "data set fragment without a command", UNEXPECTED),
        ([pdv(b"", command=False, last=False)], "data set fragment without a command", UNEXPECTED),
        (
            [pdv(ECHO_RQ, command=True, last=True), pdv(b"ab", command=False, last=True)],
            "data set fragment without a command",
            UNEXPECTED,
        ),
        (
            [pdv(STORE_RQ[:9], command=True, last=False), pdv(b"ab", command=False, last=True)],
            "data set fragment without a command",
            UNEXPECTED,
        ),
        (
            [pdv(STORE_RQ, command=True, last=True), pdv(ECHO_RQ, command=True, last=True)],
            "command fragment where a data set is due",
            UNEXPECTED,
        ),
        (
            [pdv(STORE_RQ, command=True, last=True), pdv(b"ab", command=False, last=True, context_id=3)],
            "one message in two presentation contexts",
            INVALID,
        ),
        (
            [pdv(STORE_RQ[:9], command=True, last=False), pdv(STORE_RQ[9:], command=True, last=True, context_id=3)],
            "one message in two presentation contexts",
            INVALID,
        ),
        ([pdv(ECHO_RQ, command=True, last=True, context_id=5)], "context 5, which was not accepted", INVALID),
        ([pdv(ECHO_RQ, command=True, last=True, context_id=0)], "context 0, which was not accepted", INVALID),
        ([pdv(ECHO_RQ[:-1], command=True, last=True)], "malformed command set: element", INVALID),
        ([pdv(b"", command=True, last=True)], "malformed command set: .* without a CommandField", INVALID),
        ([pdv(ECHO_RQ, command=True, last=True), b"\0"], "bytes after the last PDV", INVALID),
        ([pdv(ECHO_RQ, command=True, last=True), b"\0\0\0\2\1"], "bytes after the last PDV", INVALID),
        ([b"\0\0\0\1\1\1"], "a PDV of length 1 in a PDU with 2 left", INVALID),
        ([b"\0\0\0\0\1\1"], "a PDV of length 0 in a PDU with 2 left", INVALID),
        ([b"\0\0\0\3\1\1"], "a PDV of length 3 in a PDU with 2 left", INVALID),
        ([b"\xff\xff\xff\xff\1\1"], "a PDV of length 4294967295 in a PDU with 2 left", INVALID),
        ([b"\0\0\0\2\1"], "P-DATA length 5 is shorter than one PDV", INVALID),
        ([], "P-DATA length 0 is shorter than one PDV", INVALID),
    ],
)
def test_breach_of_annex_e(values: list[bytes], message: str, abort: bytes) -> None:
    """Each ends the association by AA-8, whether it comes at once or byte by byte."""
    stream = p_data(*values) + ECHO_PDU
    for n_cuts in (0, len(stream)):
        wire = acceptor()
        assert _chunked(wire, stream, range(n_cuts))[-1] == "Violated"
        assert wire.take_output() == abort
        assert wire.state is State.CLOSING
    assert re.search(message, violation(feed(acceptor(), stream)))


def test_data_on_a_refused_context_are_refused() -> None:
    wire = acceptor()
    del wire.contexts[3]
    stream = p_data(pdv(ECHO_RQ, command=True, last=True, context_id=3))
    assert "context 3, which was not accepted" in violation(feed(wire, stream))


def test_what_came_before_a_breach_is_told() -> None:
    wire = acceptor()
    assert names(feed(wire, STORE_WITH_DATA + ECHO_PDU + b"GET / HTTP/1.1\r\n\r\n")) == [
        *STORED,
        "C-ECHO-RQ in 1",
        "Violated",
    ]
    assert wire.take_output() == abort_by_provider(1)


def test_a_data_set_that_the_command_does_not_announce_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        requestor().send_message(1, Command(CommandField.C_STORE_RQ, message_id=1), b"data")
