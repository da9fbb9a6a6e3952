"""Command sets (PS3.7 section 6.3.1, annex E), held against pynetdicom's own DIMSE messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import dimse_messages, dsutils
from pynetdicom.dimse_primitives import C_CANCEL, C_ECHO, C_FIND, C_GET, C_MOVE, C_STORE

from dcm.net.wire import Command, CommandField, Priority
from dcm.net.wire.command import MalformedCommandError
from tests.net.wire.handmade import command_set, element, us

CT = "1.2.840.10008.5.1.4.1.1.2"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
INSTANCE = "1.2.826.0.1.3680043.8.498.1"
F = CommandField


def _made(message: str, primitive: Any, **values: Any) -> bytes:
    """The command set of a message as pynetdicom makes it."""
    for name, value in values.items():
        setattr(primitive, name, value)
    made = getattr(dimse_messages, message)()
    made.primitive_to_message(primitive)
    encoded = dsutils.encode(made.command_set, is_implicit_vr=True, is_little_endian=True)
    assert encoded is not None
    return encoded


def _some() -> BytesIO:
    return BytesIO(b"\0\0")


# Each DIMSE-C message that there is (PS3.7 section 9.3), as we say it and as pynetdicom does.
MESSAGES: dict[str, tuple[Callable[[], bytes], Command]] = {
    "C-ECHO-RQ": (
        lambda: _made("C_ECHO_RQ", C_ECHO(), MessageID=7, AffectedSOPClassUID="1.2.840.10008.1.1"),
        Command(F.C_ECHO_RQ, message_id=7, affected_class="1.2.840.10008.1.1"),
    ),
    "C-ECHO-RSP": (
        lambda: _made(
            "C_ECHO_RSP", C_ECHO(), MessageIDBeingRespondedTo=7, AffectedSOPClassUID="1.2.840.10008.1.1", Status=0
        ),
        Command(F.C_ECHO_RSP, responding_to=7, affected_class="1.2.840.10008.1.1", status=0),
    ),
    "C-STORE-RQ": (
        lambda: _made(
            "C_STORE_RQ",
            C_STORE(),
            MessageID=65535,
            AffectedSOPClassUID=CT,
            AffectedSOPInstanceUID=INSTANCE,
            Priority=0,
            DataSet=_some(),
        ),
        Command(
            F.C_STORE_RQ,
            message_id=65535,
            affected_class=CT,
            affected_instance=INSTANCE,
            priority=Priority.MEDIUM,
            has_data=True,
        ),
    ),
    "C-STORE-RQ of a C-MOVE": (
        lambda: _made(
            "C_STORE_RQ",
            C_STORE(),
            MessageID=1,
            AffectedSOPClassUID=CT,
            AffectedSOPInstanceUID=INSTANCE,
            Priority=2,
            MoveOriginatorApplicationEntityTitle="MOVER",
            MoveOriginatorMessageID=3,
            DataSet=_some(),
        ),
        Command(
            F.C_STORE_RQ,
            message_id=1,
            affected_class=CT,
            affected_instance=INSTANCE,
            priority=Priority.LOW,
            move_originator="MOVER",
            move_originator_id=3,
            has_data=True,
        ),
    ),
    "C-STORE-RSP": (
        lambda: _made(
            "C_STORE_RSP",
            C_STORE(),
            MessageIDBeingRespondedTo=1,
            AffectedSOPClassUID=CT,
            AffectedSOPInstanceUID=INSTANCE,
            Status=0xA700,
            ErrorComment="the disk is full",
        ),
        Command(
            F.C_STORE_RSP,
            responding_to=1,
            affected_class=CT,
            affected_instance=INSTANCE,
            status=0xA700,
            error_comment="the disk is full",
        ),
    ),
    "C-FIND-RQ": (
        lambda: _made("C_FIND_RQ", C_FIND(), MessageID=2, AffectedSOPClassUID=FIND, Priority=1, Identifier=_some()),
        Command(F.C_FIND_RQ, message_id=2, affected_class=FIND, priority=Priority.HIGH, has_data=True),
    ),
    "C-FIND-RSP pending": (
        lambda: _made(
            "C_FIND_RSP",
            C_FIND(),
            MessageIDBeingRespondedTo=2,
            AffectedSOPClassUID=FIND,
            Status=0xFF00,
            Identifier=_some(),
        ),
        Command(F.C_FIND_RSP, responding_to=2, affected_class=FIND, status=0xFF00, has_data=True),
    ),
    "C-FIND-RSP final": (
        lambda: _made("C_FIND_RSP", C_FIND(), MessageIDBeingRespondedTo=2, AffectedSOPClassUID=FIND, Status=0),
        Command(F.C_FIND_RSP, responding_to=2, affected_class=FIND, status=0),
    ),
    "C-GET-RQ": (
        lambda: _made("C_GET_RQ", C_GET(), MessageID=3, AffectedSOPClassUID=FIND, Priority=0, Identifier=_some()),
        Command(F.C_GET_RQ, message_id=3, affected_class=FIND, priority=0, has_data=True),
    ),
    "C-GET-RSP pending": (
        lambda: _made(
            "C_GET_RSP",
            C_GET(),
            MessageIDBeingRespondedTo=3,
            AffectedSOPClassUID=FIND,
            Status=0xFF00,
            NumberOfRemainingSuboperations=4,
            NumberOfCompletedSuboperations=3,
            NumberOfFailedSuboperations=2,
            NumberOfWarningSuboperations=1,
        ),
        Command(
            F.C_GET_RSP,
            responding_to=3,
            affected_class=FIND,
            status=0xFF00,
            remaining=4,
            completed=3,
            failed=2,
            warning=1,
        ),
    ),
    "C-MOVE-RQ": (
        lambda: _made(
            "C_MOVE_RQ",
            C_MOVE(),
            MessageID=4,
            AffectedSOPClassUID=FIND,
            Priority=0,
            MoveDestination="ODD",
            Identifier=_some(),
        ),
        Command(F.C_MOVE_RQ, message_id=4, affected_class=FIND, priority=0, move_destination="ODD", has_data=True),
    ),
    "C-MOVE-RSP final": (
        lambda: _made(
            "C_MOVE_RSP",
            C_MOVE(),
            MessageIDBeingRespondedTo=4,
            AffectedSOPClassUID=FIND,
            Status=0xB000,
            NumberOfCompletedSuboperations=500,
            NumberOfFailedSuboperations=1,
            NumberOfWarningSuboperations=0,
            Identifier=_some(),
        ),
        Command(
            F.C_MOVE_RSP,
            responding_to=4,
            affected_class=FIND,
            status=0xB000,
            completed=500,
            failed=1,
            warning=0,
            has_data=True,
        ),
    ),
    "C-CANCEL-RQ": (
        lambda: _made("C_CANCEL_RQ", C_CANCEL(), MessageIDBeingRespondedTo=4),
        Command(F.C_CANCEL_RQ, responding_to=4),
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_command_sets_are_byte_for_byte_those_of_pynetdicom(name: str) -> None:
    make, command = MESSAGES[name]
    assert command.encode() == make()


@pytest.mark.parametrize("name", MESSAGES)
def test_command_sets_of_pynetdicom_are_read(name: str) -> None:
    make, command = MESSAGES[name]
    assert Command.decode(make()) == command
    assert command.name == name.split()[0]
    assert command.is_response is ("RSP" in name)


@pytest.mark.parametrize("name", MESSAGES)
def test_command_sets_are_read_by_pynetdicom(name: str) -> None:
    command = MESSAGES[name][1]
    read = dsutils.decode(BytesIO(command.encode()), is_implicit_vr=True, is_little_endian=True)
    assert isinstance(read, Dataset)
    assert read.CommandField == command.field
    assert read.CommandGroupLength == len(command.encode()) - 12
    assert (read.CommandDataSetType != 0x0101) is command.has_data
    assert read.get("AffectedSOPClassUID") == (UID(command.affected_class) if command.affected_class else None)


@pytest.mark.parametrize("field", CommandField)
def test_every_message_of_the_standard_has_its_name(field: CommandField) -> None:
    """PS3.7 section E.1; the names are those of pynetdicom's classes."""
    name = Command(field).name
    assert hasattr(dimse_messages, name.replace("-", "_"))
    assert Command(field).is_response is name.endswith("-RSP")


def test_unknown_message_has_a_name_too() -> None:
    assert Command(0x0999).name == "command 0x0999"


# -- reading what peers send -------------------------------------------------------------------------------------------

MINIMAL = us(0x0100, 0x0030)


def test_elements_without_a_field_are_skipped() -> None:
    """N-EVENT-REPORT has an event type, old peers have a length to end, some have private ones (PS3.7 section E.2)."""
    command = Command.decode(command_set(element(0x0001, bytes(4)), MINIMAL, us(0x1002, 1), element(0x5010, b"odd")))
    assert command == Command(0x0030)


def test_group_length_may_be_absent_or_wrong() -> None:
    assert Command.decode(MINIMAL).field == 0x0030
    assert Command.decode(element(0, bytes(4)) + MINIMAL).field == 0x0030


def test_elements_may_come_in_any_order() -> None:
    assert Command.decode(us(0x0110, 5) + MINIMAL) == Command(0x0030, message_id=5)


@pytest.mark.parametrize("padding", [b"", b"\0", b" ", b"\0\0\0", b" \0 "])
def test_uids_lose_their_padding_and_nothing_else(padding: bytes) -> None:
    """PS3.5 section 9.1 pads with one NUL; peers pad with spaces, or not at all. What is between is not judged."""
    for uid in ("1.2.840", "1.02.003", "not a UID at all"):
        command = Command.decode(MINIMAL + element(0x1000, uid.encode() + padding))
        assert command.affected_instance == uid


def test_any_byte_of_a_text_survives() -> None:
    text = bytes(range(1, 32)) + bytes(range(33, 256))
    command = Command.decode(MINIMAL + element(0x0600, text))
    assert command.move_destination == text.decode("latin-1")
    assert text in command.encode()


@pytest.mark.parametrize("value", [0x0000, 0x0001, 0x0100, 0x0102, 0xFEFE, 0xFFFF])
def test_any_data_set_type_but_one_says_that_data_follow(value: int) -> None:
    """PS3.7 section E.1: 0101H is null, anything else is not."""
    assert Command.decode(MINIMAL + us(0x0800, value)).has_data
    assert not Command.decode(MINIMAL + us(0x0800, 0x0101)).has_data


def test_without_a_data_set_type_none_follows() -> None:
    assert not Command.decode(MINIMAL).has_data


def test_empty_numbers_are_absent() -> None:
    command = Command.decode(MINIMAL + element(0x1020, b"") + element(0x0800, b""))
    assert command.remaining is None
    assert not command.has_data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "without a CommandField"),
        (us(0x0110, 1), "without a CommandField"),
        (us(0x0100, 0), "without a CommandField"),
        (MINIMAL[:7], "header is cut short"),
        (MINIMAL + b"\0", "header is cut short"),
        (MINIMAL[:9], r"\(0000,0100\) claims 2 bytes, 1 are left"),
        (MINIMAL + bytes.fromhex("0000 0010 ffffffff"), "claims 4294967295 bytes, 0 are left"),
        (MINIMAL + bytes.fromhex("0800 5800 10000000"), r"\(0008,0058\) claims 16 bytes, 0 are left"),
        (MINIMAL + element(0x0110, b"\1\0\0\0"), r"\(0000,0110\) has 4 bytes, not 2"),
        (MINIMAL + element(0x0800, b"\1"), r"\(0000,0800\) has 1 bytes, not 2"),
    ],
)
def test_what_is_no_command_set_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MalformedCommandError, match=message):
        Command.decode(data)


def test_what_has_no_place_in_a_command_set_is_skipped() -> None:
    """Orthanc ends a C-GET with failures with (0008,0058) in the command set."""
    failed = bytes.fromhex("0800 0000 04000000 0e000000 0800 5800 06000000") + b"1.2.3\0"
    status = us(0x0900, 0xB000)
    assert Command.decode(MINIMAL + status + failed) == Command.decode(MINIMAL + status)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_command_set_or_refused(data: bytes) -> None:
    try:
        Command.decode(data)
    except MalformedCommandError:
        pass


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 2, 0x100, 0x110, 0x120, 0x600, 0x800, 0x900, 0x902, 0x1000, 0x5555]), st.binary()
        ),
        max_size=8,
    )
)
def test_any_elements_are_a_command_set_or_refused(elements: list[tuple[int, bytes]]) -> None:
    data = b"".join(element(number, value) for number, value in elements)
    try:
        Command.decode(data)
    except MalformedCommandError:
        pass


# -- what we say -------------------------------------------------------------------------------------------------------

numbers = st.none() | st.integers(0, 0xFFFF)
uids = st.none() | st.from_regex(r"[0-9.]{1,64}", fullmatch=True)
titles = st.none() | st.from_regex(r"[A-Z0-9_]{1,16}", fullmatch=True)


@st.composite
def commands(draw: st.DrawFn) -> Command:
    command = Command(draw(st.sampled_from(CommandField)), has_data=draw(st.booleans()))
    for field in fields(Command):
        if field.name in ("field", "has_data"):
            continue
        strategy = uids if field.name.endswith(("_class", "_instance")) else numbers
        if field.name in ("move_destination", "move_originator", "error_comment"):
            strategy = titles
        setattr(command, field.name, draw(strategy))
    return command


@given(commands())
def test_what_is_written_is_read_back(command: Command) -> None:
    encoded = command.encode()
    assert len(encoded) % 2 == 0
    assert Command.decode(encoded) == command


@given(commands())
def test_elements_are_written_in_ascending_order_and_even(command: Command) -> None:
    """PS3.7 section 6.3.1, PS3.5 section 7.1."""
    read = dsutils.decode(BytesIO(command.encode()), is_implicit_vr=True, is_little_endian=True)
    assert dsutils.encode(read, is_implicit_vr=True, is_little_endian=True) == command.encode()


def test_error_comment_is_cut_to_what_it_may_hold() -> None:
    """VR LO: 64 characters of the default repertoire. An answer with half a comment is better than none."""
    command = Command(F.C_STORE_RSP, responding_to=1, status=0xA700, error_comment="kein Platz für Łódź " * 5)
    comment = Command.decode(command.encode()).error_comment
    assert comment is not None
    assert comment.startswith("kein Platz f?r ?")
    assert len(comment) <= 64
