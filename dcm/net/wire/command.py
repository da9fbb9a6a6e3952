"""Command sets of DIMSE messages (PS3.7 section 6.3.1, annex E), packed and unpacked directly.

A command set is a handful of fixed elements of group 0000 in implicit VR little endian. Building a pydicom data set for
each costs more than sending a small instance, so it isn't done.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

__all__ = ["Command", "CommandField", "MalformedCommandError", "Priority"]

# CommandDataSetType: this value says that no data set follows, any other that one does (PS3.7 section E.1).
NO_DATA_SET = 0x0101
HAS_DATA_SET = 0x0001


class CommandField(enum.IntEnum):
    """The kinds of DIMSE message (PS3.7 section E.1); a response has the highest bit set."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_MOVE_RQ = 0x0021
    C_MOVE_RSP = 0x8021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_GET_RQ = 0x0110
    N_GET_RSP = 0x8110
    N_SET_RQ = 0x0120
    N_SET_RSP = 0x8120
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    N_CREATE_RQ = 0x0140
    N_CREATE_RSP = 0x8140
    N_DELETE_RQ = 0x0150
    N_DELETE_RSP = 0x8150
    C_CANCEL_RQ = 0x0FFF


class Priority(enum.IntEnum):
    """The priority of an operation (PS3.7 section E.1)."""

    MEDIUM = 0
    HIGH = 1
    LOW = 2


class MalformedCommandError(ValueError):
    """Bytes that are not a command set."""


@dataclass(slots=True)
class Command:
    """One command set; a field is None where the element is absent.

    UIDs and AE titles are kept as they came but for their padding, decoded as Latin-1 so that any byte survives.
    """

    field: int
    message_id: int | None = None
    responding_to: int | None = None
    affected_class: str | None = None
    requested_class: str | None = None
    affected_instance: str | None = None
    requested_instance: str | None = None
    has_data: bool = False
    status: int | None = None
    priority: int | None = None
    move_destination: str | None = None
    move_originator: str | None = None
    move_originator_id: int | None = None
    error_comment: str | None = None
    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None

    @property
    def is_response(self) -> bool:
        """Whether this answers a request."""
        return bool(self.field & 0x8000)

    @property
    def name(self) -> str:
        """The message's name in the standard's spelling, ``C-STORE-RQ``."""
        try:
            return CommandField(self.field).name.replace("_", "-")
        except ValueError:
            return f"command 0x{self.field:04X}"

    def encode(self) -> bytes:
        """Return the encoded command set, with its group length (PS3.7 section 6.3.1)."""
        parts = []
        for element, name, kind in _FIELDS:
            value = getattr(self, name)
            if value is None:
                continue
            if kind == _NUMBER:
                parts.append(_ELEMENT_US.pack(0, element, 2, value))
            elif kind == _DATA_SET_TYPE:
                parts.append(_ELEMENT_US.pack(0, element, 2, HAS_DATA_SET if value else NO_DATA_SET))
            else:
                # Only an error comment is free text: what it cannot hold is of less use than an answer.
                raw = value[:64].encode("ascii", "replace") if kind == _COMMENT else value.encode("latin-1")
                if len(raw) & 1:
                    raw += b"\0" if kind == _UID else b" "
                parts.append(_HEAD.pack(0, element, len(raw)) + raw)
        body = b"".join(parts)
        return _ELEMENT_UL.pack(0, 0, 4, len(body)) + body

    @classmethod
    def decode(cls, data: bytes | bytearray) -> Command:
        """Read a command set.

        Parameters
        ----------
        data : bytes
            The whole encoded command set.

        Returns
        -------
        Command
            Elements that it has no field for are skipped, those too that have no place in a command set.

        Raises
        ------
        MalformedCommandError
            If an element leaves the data or has an impossible length, or there is no CommandField.
        """
        data = bytes(data)
        command = cls(0)
        position, end = 0, len(data)
        while position < end:
            if position + 8 > end:
                raise MalformedCommandError("an element header is cut short")
            group, element, length = _HEAD.unpack_from(data, position)
            position += 8
            if length > end - position:
                raise MalformedCommandError(
                    f"element ({group:04X},{element:04X}) claims {length} bytes, {end - position} are left"
                )
            # Orthanc puts the failed instances of a C-GET, (0008,0058), behind the command instead of into a data set.
            name, kind = _BY_ELEMENT.get(element, ("", None)) if group == 0 else ("", None)
            if kind in _TEXTS:
                setattr(command, name, data[position : position + length].decode("latin-1").strip("\0 "))
            elif kind is not None and length:
                if length != 2:
                    raise MalformedCommandError(f"element (0000,{element:04X}) has {length} bytes, not 2")
                number = _US.unpack_from(data, position)[0]
                setattr(command, name, number if kind == _NUMBER else number != NO_DATA_SET)
            position += length
        if not command.field:
            raise MalformedCommandError("a command set without a CommandField")
        return command


# What an element holds, and so how it is written. UIDs are padded with NUL; comments have at most 64 characters of the
# default repertoire (VR LO). Plain numbers, because looking up enum members costs a third of the time of packing.
_UID, _AE_TITLE, _COMMENT, _NUMBER, _DATA_SET_TYPE = range(5)
_TEXTS = (_UID, _AE_TITLE, _COMMENT)
_HEAD = struct.Struct("<HHI")
_US = struct.Struct("<H")
_ELEMENT_US = struct.Struct("<HHIH")
_ELEMENT_UL = struct.Struct("<HHII")

# In the order of their tags, as they must be written (PS3.7 section E.1).
_FIELDS: tuple[tuple[int, str, int], ...] = (
    (0x0002, "affected_class", _UID),
    (0x0003, "requested_class", _UID),
    (0x0100, "field", _NUMBER),
    (0x0110, "message_id", _NUMBER),
    (0x0120, "responding_to", _NUMBER),
    (0x0600, "move_destination", _AE_TITLE),
    (0x0700, "priority", _NUMBER),
    (0x0800, "has_data", _DATA_SET_TYPE),
    (0x0900, "status", _NUMBER),
    (0x0902, "error_comment", _COMMENT),
    (0x1000, "affected_instance", _UID),
    (0x1001, "requested_instance", _UID),
    (0x1020, "remaining", _NUMBER),
    (0x1021, "completed", _NUMBER),
    (0x1022, "failed", _NUMBER),
    (0x1023, "warning", _NUMBER),
    (0x1030, "move_originator", _AE_TITLE),
    (0x1031, "move_originator_id", _NUMBER),
)
_BY_ELEMENT = {element: (name, kind) for element, name, kind in _FIELDS}
