"""Whatever a peer sends: never an exception, never more memory than the limits say, and after a breach the end."""

from __future__ import annotations

import itertools
import pickle
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.net.wire import AssociateAccept, Limits, State, Wire, accept_contexts
from dcm.net.wire.events import (
    Aborted,
    CommandReceived,
    DataReceived,
    Event,
    Rejected,
    ReleaseConfirmed,
    ReleaseRequested,
    Requested,
    Violated,
)
from tests.net.wire.captures import CONVERSATIONS
from tests.net.wire.handmade import (
    ABORT_BY_USER,
    CT_IMAGE,
    ECHO_PDU,
    ECHO_RQ,
    IMPLICIT,
    IN_STATE,
    REJECT_PDU,
    RELEASE_RP_PDU,
    RELEASE_RQ_PDU,
    STORE_RQ,
    acceptor,
    associate,
    context_ac,
    context_rq,
    feed,
    item,
    listening,
    p_data,
    pdv,
    role,
    user_information,
)

# So low that they are often met.
LIMITS = Limits(max_pdu=300, max_associate=1500, max_command=150, max_data_set=200, max_contexts=4)
ENDS = (Violated, Aborted, Rejected, ReleaseConfirmed)
STATES = sorted(IN_STATE, key=lambda state: state.value)


class Shell:
    """Feeds a wire, answers as an acceptor does, and holds it to what it promises about any bytes.

    The bound on what is kept holds for any number of bytes: a PDU that negotiates, a command set, and what a request
    said (as objects, which are larger than their bytes).
    """

    def __init__(self, wire: Wire, answers: bool = True) -> None:
        self.wire = wire
        self.answers = answers
        self.seen: list[Event] = []
        self._expects_data = False
        self._most = len(pickle.dumps(wire)) + 8 * wire.limits.max_associate + wire.limits.max_command + 1000

    def feed(self, chunk: bytes) -> None:
        before = self.wire.state
        buffer = bytearray(chunk)
        events = self.wire.receive(memoryview(buffer))
        output = self.wire.take_output()
        assert len(pickle.dumps(self.wire)) < self._most
        if before is State.CLOSING:
            assert (events, output) == ([], b"")
            return
        for event in events:
            self._judge(event, buffer)
        ended = bool(events) and isinstance(events[-1], ENDS)
        assert not any(isinstance(event, ENDS) for event in events[:-1])
        assert (self.wire.state is State.CLOSING) is ended
        if ended:
            assert not self.wire.in_pdu
        if ended and isinstance(events[-1], Violated):
            self._judge_end(events[-1], output)
        else:
            # Nothing but the answer to a release that collides with ours goes out by itself.
            assert output in (b"", RELEASE_RP_PDU)
        for event in events if self.answers else ():
            self._answer(event)

    def eof(self) -> None:
        before = self.wire.state
        assert [type(event) for event in self.wire.receive_eof()] == ([] if before is State.CLOSING else [Aborted])
        assert self.wire.state is State.CLOSING
        assert self.wire.take_output() == b""

    def _judge(self, event: Event, buffer: bytearray) -> None:
        if isinstance(event, CommandReceived):
            assert not self._expects_data
            assert event.context_id in self.wire.contexts or self.wire.state is State.CLOSING
            self._expects_data = event.command.has_data
        elif isinstance(event, DataReceived):
            assert self._expects_data
            assert event.data.obj is buffer or not event.data
            self._expects_data = not event.last
            event = DataReceived(memoryview(bytes(event.data)), event.last)
        self.seen.append(event)

    def _judge_end(self, violated: Violated, output: bytes) -> None:
        assert violated.message.isprintable()
        assert len(violated.message) < 500
        last = output[-10:]
        if last[0] == REJECT_PDU[0]:
            assert "A-ASSOCIATE-RQ" in violated.message
        else:
            assert last[:8] == ABORT_BY_USER[:8]
        assert output[:-10] in (b"", RELEASE_RP_PDU)

    def _answer(self, event: Event) -> None:
        if isinstance(event, Requested):
            proposed = event.request.contexts
            syntaxes = frozenset(syntax for context in proposed for syntax in context.transfer_syntaxes)
            contexts = accept_contexts(proposed, {context.abstract_syntax: syntaxes for context in proposed})
            answer = self.wire.accept(AssociateAccept(contexts, event.request.roles))
            assert bool(answer) is (self.wire.state is not State.CLOSING)
        elif isinstance(event, ReleaseRequested):
            self.wire.confirm_release()


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def _run(wire: Wire, chunks: list[bytes], answers: bool = True) -> Shell:
    shell = Shell(wire, answers)
    for chunk in chunks:
        shell.feed(chunk)
    return shell


# -- strategies --------------------------------------------------------------------------------------------------------

cuts = st.lists(st.integers(0, 10_000), max_size=10)
states = st.sampled_from(STATES)
headers = st.builds(
    lambda kind, length, rest: struct.pack(">BxI", kind, length) + rest,
    st.integers(0, 9),
    st.sampled_from([0, 4, 6, 12, 68, 100, 300, 301, 1500, 1501, 0xFFFFFFFF]),
    st.binary(max_size=100),
)
texts = st.sampled_from([b"", b"1.2.3", CT_IMAGE.encode(), IMPLICIT.encode(), b"\xff\0\x1b", b"1" * 100])
items = st.recursive(
    st.builds(item, st.sampled_from([0x10, 0x20, 0x21, 0x30, 0x40, 0x50, 0x51, 0x54, 0x56, 0x99]), texts)
    | st.builds(context_rq, st.integers(0, 9))
    | st.builds(context_ac, st.integers(0, 9), st.integers(0, 5), texts)
    | st.builds(role, st.just(CT_IMAGE), st.integers(0, 2), st.integers(0, 2))
    | st.just(user_information()),
    lambda inner: st.builds(
        lambda kind, parts, length: item(kind, *parts, length=length),
        st.sampled_from([0x20, 0x21, 0x50]),
        st.lists(inner | st.binary(max_size=8), max_size=4),
        st.none() | st.integers(0, 200),
    ),
    max_leaves=6,
)
negotiating = st.builds(
    lambda kind, parts, version: associate(kind, *parts, version=version),
    st.sampled_from([1, 2]),
    st.lists(items, max_size=6),
    st.sampled_from([1, 1, 1, 2]),
)
values = st.builds(
    lambda data, command, last, context_id: pdv(data, command=command, last=last, context_id=context_id),
    st.sampled_from([ECHO_RQ, STORE_RQ, STORE_RQ[:20], STORE_RQ[20:], b""]) | st.binary(max_size=40),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 1, 3, 5]),
)
data_pdus = st.lists(values | st.binary(max_size=6), max_size=5).map(lambda parts: p_data(*parts))
pdus = st.one_of(
    data_pdus,
    data_pdus,
    negotiating,
    headers,
    st.sampled_from([ECHO_PDU, RELEASE_RQ_PDU, RELEASE_RP_PDU, ABORT_BY_USER, REJECT_PDU]),
)


# -- tests -------------------------------------------------------------------------------------------------------------


@given(states, st.lists(st.binary(max_size=80), max_size=12))
def test_any_bytes_in_any_state(state: State, chunks: list[bytes]) -> None:
    _run(IN_STATE[state](LIMITS), chunks).eof()


@given(states, st.lists(pdus, max_size=8), cuts)
def test_any_pdus_in_any_state(state: State, stream: list[bytes], where: list[int]) -> None:
    """PDUs that are mostly well-formed get further than bytes do."""
    _run(IN_STATE[state](LIMITS), _cut(b"".join(stream), where)).eof()


@given(st.lists(data_pdus, max_size=10), cuts)
def test_any_data_on_an_association(stream: list[bytes], where: list[int]) -> None:
    _run(acceptor(LIMITS), _cut(b"".join(stream), where)).eof()


@given(st.lists(negotiating | headers, min_size=1, max_size=3), cuts)
def test_any_request(stream: list[bytes], where: list[int]) -> None:
    _run(listening(LIMITS), _cut(b"".join(stream), where)).eof()


@given(st.lists(pdus, max_size=6), cuts, states)
def test_chunks_make_no_difference(stream: list[bytes], where: list[int], state: State) -> None:
    """The same bytes give the same events and the same end, legal or not, in whatever pieces they come."""
    data = b"".join(stream)
    bytewise = [data[i : i + 1] for i in range(len(data))]
    whole, pieces, single = (
        _run(IN_STATE[state](LIMITS), chunks, answers=False) for chunks in ([data], _cut(data, where), bytewise)
    )
    assert _told(whole) == _told(pieces) == _told(single)
    assert whole.wire.state is pieces.wire.state is single.wire.state


def _told(shell: Shell) -> list[object]:
    told: list[object] = []
    for event in shell.seen:
        if isinstance(event, DataReceived):
            if told and isinstance(told[-1], bytearray):
                told[-1] += event.data
            else:
                told.append(bytearray(event.data))
            if event.last:
                told.append("last")
        else:
            told.append(event)
    return told


def _said_by_client(name: str) -> list[bytes]:
    """Request, messages and release: after each it awaited an answer."""
    return [data for who, data in CONVERSATIONS[name] if who == "C"]


@st.composite
def _damaged(draw: st.DrawFn) -> list[bytes]:
    """What a client of DCMTK said, with bytes changed, left out, doubled or put in, in chunks."""
    said = _said_by_client(draw(st.sampled_from([name for name in sorted(CONVERSATIONS) if name != "GET"])))
    chunks: list[bytes] = []
    for part in map(bytearray, said):
        for _ in range(draw(st.integers(0, 2))):
            at = draw(st.integers(0, len(part)))
            n = draw(st.integers(0, 12))
            kind = draw(st.sampled_from(["change", "leave out", "double", "put in"]))
            if kind == "change":
                part[at : at + n] = draw(st.binary(min_size=n, max_size=n))
            elif kind == "leave out":
                del part[at : at + n]
            elif kind == "double":
                part[at:at] = part[at : at + n]
            else:
                part[at:at] = draw(st.binary(max_size=12))
        chunks += _cut(bytes(part), draw(cuts))
    return chunks


@given(_damaged())
def test_damaged_conversations(chunks: list[bytes]) -> None:
    _run(listening(), chunks).eof()


@pytest.mark.parametrize("name", ["ECHO", "STORE", "FIND"])
def test_every_byte_of_a_conversation_turned_over(name: str) -> None:
    said = _said_by_client(name)
    for i, part in enumerate(said):
        for j in range(len(part)):
            damaged = bytearray(part)
            damaged[j] ^= 0xFF
            _run(listening(), [*said[:i], bytes(damaged), *said[i + 1 :]]).eof()


@pytest.mark.parametrize("name", ["ECHO", "STORE", "FIND"])
def test_a_conversation_may_end_anywhere(name: str) -> None:
    """The peer hangs up: that is an abort, and no breach."""
    said = _said_by_client(name)
    for i, part in enumerate(said):
        for j in range(len(part)):
            shell = _run(listening(), [*said[:i], part[:j]])
            assert not any(isinstance(event, ENDS) for event in shell.seen)
            shell.eof()


def test_a_violation_is_the_last_word() -> None:
    wire = acceptor()
    assert isinstance(feed(wire, b"\xff" * 20)[-1], Violated)
    wire.take_output()
    assert feed(wire, ECHO_PDU * 100) == []
    assert wire.receive_eof() == []
    assert wire.take_output() == b""
