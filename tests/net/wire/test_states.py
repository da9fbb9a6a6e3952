"""PS3.8 table 9-10: what a PDU, a call of ours or the end of the connection does in each state."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import pytest
from pynetdicom.fsm import TRANSITION_TABLE

from dcm.net.wire import AssociateReject, Command, CommandField, State, Wire, WireStateError
from tests.net.wire.handmade import (
    ABORT_BY_USER,
    ACCEPT,
    ECHO_PDU,
    IN_STATE,
    REJECT_PDU,
    RELEASE_RP_PDU,
    RELEASE_RQ_PDU,
    REQUEST,
    abort_by_provider,
    acceptor,
    associate_ac,
    associate_rq,
    collision_acceptor,
    collision_requestor,
    feed,
    names,
    releasing,
    requestor,
)

# The standard's own table, without the states that a wire passes through at once (Sta4, Sta9, Sta12). In Sta7, AR-8 is
# for a requestor here.
TABLE = """
event             Sta2   Sta3   Sta5   Sta6   Sta7   Sta8   Sta10  Sta11  Sta13
A-ASSOCIATE-AC    AA-1   AA-8   AE-3   AA-8   AA-8   AA-8   AA-8   AA-8   AA-6
A-ASSOCIATE-RJ    AA-1   AA-8   AE-4   AA-8   AA-8   AA-8   AA-8   AA-8   AA-6
A-ASSOCIATE-RQ    AE-6   AA-8   AA-8   AA-8   AA-8   AA-8   AA-8   AA-8   AA-7
P-DATA-TF         AA-1   AA-8   AA-8   DT-2   AR-6   AA-8   AA-8   AA-8   AA-6
A-RELEASE-RQ      AA-1   AA-8   AA-8   AR-2   AR-8   AA-8   AA-8   AA-8   AA-6
A-RELEASE-RP      AA-1   AA-8   AA-8   AA-8   AR-3   AA-8   AR-10  AR-3   AA-6
A-ABORT           AA-2   AA-3   AA-3   AA-3   AA-3   AA-3   AA-3   AA-3   AA-2
unrecognised      AA-1   AA-8   AA-8   AA-8   AA-8   AA-8   AA-8   AA-8   AA-7
closed            AA-5   AA-4   AA-4   AA-4   AA-4   AA-4   AA-4   AA-4   AR-5
"""

PDUS = {
    "A-ASSOCIATE-AC": associate_ac(),
    "A-ASSOCIATE-RJ": REJECT_PDU,
    "A-ASSOCIATE-RQ": associate_rq(),
    "P-DATA-TF": ECHO_PDU,
    "A-RELEASE-RQ": RELEASE_RQ_PDU,
    "A-RELEASE-RP": RELEASE_RP_PDU,
    "A-ABORT": ABORT_BY_USER,
    "unrecognised": bytes.fromhex("08000000000400000000"),
}

# What an action does: the state after it, the events, and what goes to the peer.
ACTIONS: dict[str, tuple[State, list[str], bytes]] = {
    "AE-3": (State.ESTABLISHED, ["Accepted"], b""),
    "AE-4": (State.CLOSING, ["Rejected"], b""),
    "AE-6": (State.AWAITING_LOCAL_ANSWER, ["Requested"], b""),
    "DT-2": (State.ESTABLISHED, ["C-ECHO-RQ in 1"], b""),
    "AR-2": (State.AWAITING_LOCAL_RELEASE, ["ReleaseRequested"], b""),
    "AR-3": (State.CLOSING, ["ReleaseConfirmed"], b""),
    "AR-5": (State.CLOSING, [], b""),
    "AR-6": (State.AWAITING_RELEASE, ["C-ECHO-RQ in 1"], b""),
    "AR-8": (State.COLLISION_REQUESTOR, [], RELEASE_RP_PDU),  # and AR-9 at once: Sta9 is not waited in
    "AR-10": (State.CLOSING, ["ReleaseConfirmed"], RELEASE_RP_PDU),  # and AR-4 at once: nor is Sta12
    "AA-1": (State.CLOSING, ["Violated"], ABORT_BY_USER),
    "AA-2": (State.CLOSING, ["Aborted"], b""),
    "AA-3": (State.CLOSING, ["Aborted"], b""),
    "AA-4": (State.CLOSING, ["Aborted"], b""),
    "AA-5": (State.CLOSING, ["Aborted"], b""),
    "AA-6": (State.CLOSING, [], b""),
    # The standard answers with another A-ABORT. We have sent one, or an A-ASSOCIATE-RJ or A-RELEASE-RP, and are closing
    # the connection: the peer learns nothing from a second.
    "AA-7": (State.CLOSING, [], b""),
    "AA-8": (State.CLOSING, ["Violated"], abort_by_provider(2)),
}


def _table() -> list[tuple[str, State, str]]:
    header, *rows = (line.split() for line in TABLE.strip().splitlines())
    return [(row[0], State(state), action) for row in rows for state, action in zip(header[1:], row[1:], strict=True)]


def _expected(event: str, action: str, state: State) -> tuple[State, list[str], bytes]:
    if action == "AA-2" and state is State.CLOSING:
        return State.CLOSING, [], b""  # the timer's matter; there is nobody to be told
    if action == "AA-8" and event == "unrecognised":
        return State.CLOSING, ["Violated"], abort_by_provider(1)
    return ACTIONS[action]


def test_the_table_is_that_of_the_standard() -> None:
    """It agrees with pynetdicom's copy."""
    numbers = {
        "A-ASSOCIATE-AC": 3,
        "A-ASSOCIATE-RJ": 4,
        "A-ASSOCIATE-RQ": 6,
        "P-DATA-TF": 10,
        "A-RELEASE-RQ": 12,
        "A-RELEASE-RP": 13,
        "A-ABORT": 16,
        "closed": 17,
        "unrecognised": 19,
    }
    for event, state, action in _table():
        assert TRANSITION_TABLE[f"Evt{numbers[event]}", state.value] == action


def test_the_table_has_every_state_but_idle() -> None:
    assert {state for _, state, _ in _table()} == set(IN_STATE) == set(State) - {State.IDLE}
    for state, make in IN_STATE.items():
        assert make().state is state


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(("event", "state", "action"), [row for row in _table() if row[0] != "closed"])
def test_pdu_in_state(event: str, state: State, action: str, whole: bool) -> None:
    wire = IN_STATE[state]()
    pdu = PDUS[event]
    chunks = [pdu] if whole else [pdu[i : i + 1] for i in range(len(pdu))]
    events = [event for chunk in chunks for event in feed(wire, chunk)]
    assert (wire.state, names(events), wire.take_output()) == _expected(event, action, state)


@pytest.mark.parametrize(("state", "action"), [row[1:] for row in _table() if row[0] == "closed"])
def test_connection_closed_in_state(state: State, action: str) -> None:
    wire = IN_STATE[state]()
    assert (names(wire.receive_eof()), wire.state, wire.take_output()) == (
        [] if action == "AR-5" else ["Aborted"],
        State.CLOSING,
        b"",
    )
    assert wire.receive_eof() == []


@pytest.mark.parametrize("state", IN_STATE)
@pytest.mark.parametrize("event", PDUS)
def test_connection_closed_within_a_pdu(event: str, state: State) -> None:
    """AA-4 wherever it happens; half a PDU does nothing."""
    for cut in (1, 5, 6, 9):
        wire = IN_STATE[state]()
        feed(wire, PDUS[event][:cut])
        wire.receive_eof()
        assert wire.state is State.CLOSING
        assert feed(wire, PDUS[event][cut:]) == []


@pytest.mark.parametrize("state", IN_STATE)
def test_violation_names_the_state(state: State) -> None:
    """Whoever reads the log finds the row and the column."""
    for event, row_state, action in _table():
        if row_state is state and action in ("AA-1", "AA-8") and event != "unrecognised":
            (violated,) = feed(IN_STATE[state](), PDUS[event])
            assert re.search(rf"{state.value} \(PS3\.8 table 9-10\)", str(violated))


# -- calls of ours -----------------------------------------------------------------------------------------------------

REJECT = AssociateReject(1, 1, 3)
ECHO = Command(CommandField.C_ECHO_RQ, message_id=1)
CALLS: dict[str, Callable[[Wire], object]] = {
    "request": lambda wire: wire.request(REQUEST),
    "listen": lambda wire: wire.listen(),
    "accept": lambda wire: wire.accept(ACCEPT),
    "reject": lambda wire: wire.reject(REJECT),
    "send": lambda wire: wire.send_message(1, ECHO),
    "send data": lambda wire: wire.send_data(1, b"", last=True),
    "release": lambda wire: wire.release(),
    "confirm": lambda wire: wire.confirm_release(),
}
# The state after each call that is allowed, by what the table calls it.
ALLOWED = {
    ("request", State.IDLE): State.AWAITING_ANSWER,  # AE-1, AE-2
    ("listen", State.IDLE): State.AWAITING_REQUEST,  # AE-5
    ("accept", State.AWAITING_LOCAL_ANSWER): State.ESTABLISHED,  # AE-7
    ("reject", State.AWAITING_LOCAL_ANSWER): State.CLOSING,  # AE-8
    ("reject", State.AWAITING_REQUEST): State.CLOSING,  # too many associations: rejected before it is asked for
    ("send", State.ESTABLISHED): State.ESTABLISHED,  # DT-1
    ("send", State.AWAITING_LOCAL_RELEASE): State.AWAITING_LOCAL_RELEASE,  # AR-7
    ("send data", State.ESTABLISHED): State.ESTABLISHED,
    ("send data", State.AWAITING_LOCAL_RELEASE): State.AWAITING_LOCAL_RELEASE,
    ("release", State.ESTABLISHED): State.AWAITING_RELEASE,  # AR-1
    ("confirm", State.AWAITING_LOCAL_RELEASE): State.CLOSING,  # AR-4
    # The peer may be gone when we come to answer it: that is no mistake of ours, and there is nothing to say.
    ("accept", State.CLOSING): State.CLOSING,
    ("reject", State.CLOSING): State.CLOSING,
    ("confirm", State.CLOSING): State.CLOSING,
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("call", CALLS)
def test_call_in_state(call: str, state: State) -> None:
    wire = IN_STATE.get(state, Wire)()
    if (call, state) not in ALLOWED:
        with pytest.raises(WireStateError, match=state.value):
            CALLS[call](wire)
        assert wire.state is state
        return
    output = CALLS[call](wire)
    assert wire.state is ALLOWED[call, state]
    if state is State.CLOSING:
        assert output == b""
    elif call != "listen":
        assert output


@pytest.mark.parametrize("state", State)
def test_abort_in_state(state: State) -> None:
    """AA-1 everywhere; nothing is sent before there is an association to be, nor after the end."""
    wire = IN_STATE.get(state, Wire)()
    output = wire.abort()
    assert output == (b"" if state in (State.IDLE, State.CLOSING) else ABORT_BY_USER)
    assert wire.state is State.CLOSING
    assert feed(wire, ECHO_PDU + RELEASE_RQ_PDU) == []
    assert wire.abort() == b""


# -- release -----------------------------------------------------------------------------------------------------------


def test_release() -> None:
    """AR-1, AR-2, AR-4, AR-3: both ends of one."""
    ours, theirs = requestor(), acceptor()
    assert names(feed(theirs, ours.release())) == ["ReleaseRequested"]
    assert names(feed(ours, theirs.confirm_release())) == ["ReleaseConfirmed"]
    assert ours.state is theirs.state is State.CLOSING


def test_data_after_our_release_request() -> None:
    """AR-6: the peer may finish what it was saying."""
    wire = releasing()
    assert names(feed(wire, ECHO_PDU + ECHO_PDU + RELEASE_RP_PDU)) == [
        "C-ECHO-RQ in 1",
        "C-ECHO-RQ in 1",
        "ReleaseConfirmed",
    ]


def test_data_that_began_before_our_release_request() -> None:
    wire = requestor()
    feed(wire, ECHO_PDU[:20])
    wire.release()
    assert names(feed(wire, ECHO_PDU[20:])) == ["C-ECHO-RQ in 1"]
    assert wire.state is State.AWAITING_RELEASE


def test_data_before_we_confirm_the_release() -> None:
    """AR-7: answers that the peer still waits for."""
    wire = acceptor()
    feed(wire, RELEASE_RQ_PDU)
    answer = Command(CommandField.C_ECHO_RSP, responding_to=1, status=0)
    assert names(feed(releasing(), b"".join(wire.send_message(1, answer)))) == ["C-ECHO-RSP in 1"]


def test_release_collision() -> None:
    """PS3.8 section 7.2.2.4: the requestor confirms first (AR-8, AR-9), then the acceptor (AR-10, AR-4)."""
    ours, theirs = requestor(), acceptor()
    our_request, their_request = ours.release(), theirs.release()
    assert feed(ours, their_request) == []
    assert feed(theirs, our_request) == []
    assert (ours.state, theirs.state) == (State.COLLISION_REQUESTOR, State.COLLISION_ACCEPTOR)
    assert theirs.take_output() == b""
    assert names(feed(theirs, ours.take_output())) == ["ReleaseConfirmed"]
    assert names(feed(ours, theirs.take_output())) == ["ReleaseConfirmed"]
    assert ours.state is theirs.state is State.CLOSING


@pytest.mark.parametrize("collided", [collision_requestor, collision_acceptor])
def test_nothing_but_the_answer_may_come_after_a_release_collision(collided: Callable[[], Wire]) -> None:
    wire = collided()
    assert names(feed(wire, ECHO_PDU + RELEASE_RP_PDU)) == ["Violated"]
    assert wire.take_output() == abort_by_provider(2)


def test_pdus_after_the_end_are_not_read() -> None:
    """What lies behind the last PDU in the same chunk is of no concern."""
    for last, (first, second) in itertools.product(
        (ABORT_BY_USER, RELEASE_RP_PDU), itertools.permutations((ECHO_PDU, RELEASE_RQ_PDU))
    ):
        wire = releasing()
        assert len(feed(wire, last + first + second + b"garbage")) == 1
        assert wire.take_output() == b""
        assert not wire.in_pdu
