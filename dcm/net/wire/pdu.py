"""Protocol data units of the DICOM upper layer (PS3.8 section 9.3), but for those that negotiate.

Everything here is a pure function or a constant: bytes in, bytes out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    Buffer: TypeAlias = "bytes | bytearray | memoryview"

__all__ = [
    "ABORT",
    "ASSOCIATE_AC",
    "ASSOCIATE_RJ",
    "ASSOCIATE_RQ",
    "COMMAND_BIT",
    "INVALID_VALUE",
    "LAST_BIT",
    "P_DATA",
    "RELEASE_RP",
    "RELEASE_RQ",
    "UNEXPECTED_PDU",
    "UNRECOGNISED_PDU",
    "Limits",
    "ViolationError",
    "abort_pdu",
    "abort_reason",
    "fragment_size",
    "frame",
    "release_rp_pdu",
    "release_rq_pdu",
]

ASSOCIATE_RQ = 0x01
ASSOCIATE_AC = 0x02
ASSOCIATE_RJ = 0x03
P_DATA = 0x04
RELEASE_RQ = 0x05
RELEASE_RP = 0x06
ABORT = 0x07

# Bits of the message control header (PS3.8 annex E.2).
COMMAND_BIT = 0x01
LAST_BIT = 0x02

# The provider's reasons for an abort (PS3.8 table 9-26).
UNRECOGNISED_PDU = 1
UNEXPECTED_PDU = 2
INVALID_VALUE = 6

# PDU type, reserved, PDU length; PDV length, context id, message control header (PS3.8 section 9.3.5, annex E.2)
_PDATA_HEADER = struct.Struct(">BxIIBB")
# What a peer that sets no limit gets from us: large enough to cost nothing, small enough to keep memory flat.
_UNLIMITED = 1 << 18
_WORTH_A_SLICE = 512


@dataclass(frozen=True)
class Limits:
    """What we take from a peer before we abort.

    Parameters
    ----------
    max_pdu : int
        The maximum length of a P-DATA-TF PDU in bytes that we advertise, and hold the peer to (PS3.8 annex D.1).
    max_associate : int
        The longest A-ASSOCIATE-RQ or -AC in bytes.
    max_command : int
        The longest command set in bytes.
    max_data_set : int
        The longest encoded data set in bytes.
    max_contexts : int
        The most presentation contexts in one association; ids are odd and below 256 (PS3.8 section 9.3.2.2).
    """

    max_pdu: int = 1 << 18
    max_associate: int = 1 << 20
    max_command: int = 1 << 16
    max_data_set: int = 1 << 36
    max_contexts: int = 128


class ViolationError(Exception):
    """The peer broke the protocol.

    Parameters
    ----------
    message : str
        What was wrong, with the section of the standard that says so.
    reason : int
        The provider's reason for the A-ABORT.
    """

    def __init__(self, message: str, reason: int) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


_ABORT_SOURCES = {0: "its user", 2: "its upper layer"}
_ABORT_REASONS = {
    0: "reason not specified",
    UNRECOGNISED_PDU: "unrecognised PDU",
    UNEXPECTED_PDU: "unexpected PDU",
    4: "unrecognised PDU parameter",
    5: "unexpected PDU parameter",
    INVALID_VALUE: "invalid PDU parameter value",
}


def abort_pdu(source: int = 0, reason: int = 0) -> bytes:
    """Return an A-ABORT PDU (PS3.8 section 9.3.8).

    Parameters
    ----------
    source : int
        0 for the service user, 2 for the service provider.
    reason : int
        The provider's reason; 0 where the user aborts.
    """
    return struct.pack(">BxIxxBB", ABORT, 4, source, reason)


def abort_reason(source: int, reason: int) -> str:
    """Say in words who aborted and why (PS3.8 table 9-26)."""
    who = _ABORT_SOURCES.get(source, f"unknown source {source}")
    return who if source != 2 else f"{who}: {_ABORT_REASONS.get(reason, f'unknown reason {reason}')}"


def release_rq_pdu() -> bytes:
    """Return an A-RELEASE-RQ PDU (PS3.8 section 9.3.6)."""
    return struct.pack(">BxI4x", RELEASE_RQ, 4)


def release_rp_pdu() -> bytes:
    """Return an A-RELEASE-RP PDU (PS3.8 section 9.3.7)."""
    return struct.pack(">BxI4x", RELEASE_RP, 4)


def fragment_size(peer_max_pdu: int) -> int:
    """Return how many bytes of a message fit in one PDU for a peer.

    Parameters
    ----------
    peer_max_pdu : int
        The maximum length that the peer negotiated; 0 means that it has none (PS3.8 annex D.1.1).

    Returns
    -------
    int
        At least 1, and even wherever that is possible.
    """
    size = (peer_max_pdu or _UNLIMITED) - 6
    size = min(size, _UNLIMITED)
    return size & ~1 if size > 1 else 1


def frame(context_id: int, data: Buffer, *, command: bool, last: bool, size: int) -> list[Buffer]:
    """Cut part of a message into P-DATA-TF PDUs with one PDV each (PS3.8 section 9.3.5, annex E).

    Parameters
    ----------
    context_id : int
        The presentation context.
    data : bytes-like
        A command set, or (part of) a data set.
    command : bool
        True for a command set.
    last : bool
        Whether the message part ends with `data`.
    size : int
        The most bytes in one fragment, from `fragment_size`.

    Returns
    -------
    list of bytes-like
        To be written one after the other: headers, and slices of `data` that are not copies unless they are tiny.
    """
    pieces = _pieces(context_id, data, COMMAND_BIT if command else 0, last, size)
    if size >= _WORTH_A_SLICE:
        return list(pieces)
    # A peer that takes a few bytes at a time would have us make two objects for each of them.
    joined = bytearray()
    for piece in pieces:
        joined += piece
    return [joined]


def _pieces(context_id: int, data: Buffer, control: int, last: bool, size: int) -> Iterator[Buffer]:
    view = memoryview(data).cast("B")
    total = len(view)
    start = 0
    while True:
        end = min(start + size, total)
        final = end == total
        flags = control | LAST_BIT if final and last else control
        n = end - start
        yield _PDATA_HEADER.pack(P_DATA, n + 6, n + 2, context_id, flags)
        if n:
            yield view[start:end]
        if final:
            return
        start = end
