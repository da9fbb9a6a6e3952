"""A-ASSOCIATE PDUs, written and read (PS3.8 section 9.3.2 to 9.3.4 and annex D; PS3.7 annex D.3.3).

pynetdicom has codecs for them too, and the tests hold these against it. But its decoders raise on what real peers send
and on what the standard says to skip (AE titles padded with NUL, items of an unknown type, any transfer syntax in a
refused context), and trust lengths and counts; its encoders refuse or warn of UIDs that are not well formed, which are
not ours to judge; and 128 contexts cost it 8 ms each way, in which an event loop does nothing else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dcm.net.wire.negotiation import (
    ACCEPTANCE,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    Context,
    ProposedContext,
)
from dcm.net.wire.pdu import ASSOCIATE_AC, ASSOCIATE_RJ, ASSOCIATE_RQ

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcm.net.wire.pdu import Limits

__all__ = [
    "FIXED_SIZE",
    "NegotiationError",
    "UnacceptableError",
    "decode_accept",
    "decode_reject",
    "decode_request",
    "encode_accept",
    "encode_reject",
    "encode_request",
]

_APPLICATION_CONTEXT_NAME = "1.2.840.10008.3.1.1.1"
# What a refused context is answered with: some transfer syntax must be there, which nobody reads (PS3.8 table 9-18).
_ANY_SYNTAX = "1.2.840.10008.1.2"
# What a peer takes that does not say how long a PDU may be. It must say (PS3.8 annex D.1); 16 KiB suit everybody.
_UNSAID_MAX_PDU = 1 << 14

_APPLICATION_CONTEXT, _CONTEXT_RQ, _CONTEXT_AC, _USER_INFORMATION = 0x10, 0x20, 0x21, 0x50
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_MAX_LENGTH, _CLASS_UID, _ROLE, _VERSION_NAME, _EXTENDED = 0x51, 0x52, 0x54, 0x55, 0x56

# PDU type, length, protocol version, called and calling AE title, reserved; the items follow (PS3.8 table 9-11).
_FIXED = struct.Struct(">BxIHxx16s16s32s")
_ITEM = struct.Struct(">BxH")
_TITLES = slice(10, 74)
FIXED_SIZE = _FIXED.size
# 128 contexts and a few others; each context may bring a role and an extended negotiation.
_MAX_ITEMS = 128 + 16
_MAX_USER_ITEMS = 2 * 128 + 16
_MAX_SYNTAXES = 256


class NegotiationError(ValueError):
    """An A-ASSOCIATE PDU that the standard does not allow, or that we refuse to take apart."""


class UnacceptableError(NegotiationError):
    """A well-formed request that the provider rejects without asking its user (AE-6, PS3.8 table 9-7)."""

    def __init__(self, message: str, reject: AssociateReject) -> None:
        super().__init__(message)
        self.reject = reject


# -- writing -----------------------------------------------------------------------------------------------------------


def encode_request(request: AssociateRequest) -> bytes:
    """Return an A-ASSOCIATE-RQ PDU (PS3.8 section 9.3.2).

    Raises
    ------
    ValueError
        If an AE title is longer than 16 characters, or a text has characters beyond Latin-1.
    """
    contexts = b"".join(
        _item(
            _CONTEXT_RQ,
            bytes((context.id, 0, 0, 0)),
            _text_item(_ABSTRACT_SYNTAX, context.abstract_syntax),
            *(_text_item(_TRANSFER_SYNTAX, uid) for uid in context.transfer_syntaxes),
        )
        for context in request.contexts
    )
    return _pdu(ASSOCIATE_RQ, _padded(request.called_ae) + _padded(request.calling_ae) + bytes(32), contexts, request)


def encode_accept(accept: AssociateAccept, request_pdu: bytes) -> bytes:
    """Return an A-ASSOCIATE-AC PDU (PS3.8 section 9.3.3).

    Parameters
    ----------
    accept : AssociateAccept
    request_pdu : bytes
        The A-ASSOCIATE-RQ, or its first `FIXED_SIZE` bytes: the requestor must get its AE titles and reserved bytes
        back as it sent them.
    """
    contexts = b"".join(
        _item(
            _CONTEXT_AC,
            bytes((context.id, 0, context.result, 0)),
            _text_item(_TRANSFER_SYNTAX, context.transfer_syntax if context.result == ACCEPTANCE else _ANY_SYNTAX),
        )
        for context in accept.contexts
    )
    return _pdu(ASSOCIATE_AC, request_pdu[_TITLES], contexts, accept)


def encode_reject(reject: AssociateReject) -> bytes:
    """Return an A-ASSOCIATE-RJ PDU (PS3.8 section 9.3.4)."""
    return struct.pack(">BxIxBBB", ASSOCIATE_RJ, 4, reject.result, reject.source, reject.reason)


def _pdu(kind: int, titles: bytes, contexts: bytes, said: AssociateRequest | AssociateAccept) -> bytes:
    application_context = _text_item(_APPLICATION_CONTEXT, _APPLICATION_CONTEXT_NAME)
    items = application_context + contexts + _item(_USER_INFORMATION, *_user_information(said))
    return struct.pack(">BxIHxx", kind, 68 + len(items), 1) + titles + items


def _user_information(said: AssociateRequest | AssociateAccept) -> Iterator[bytes]:
    """Yield the sub-items in the order of their types (PS3.8 section 9.3.1)."""
    yield _item(_MAX_LENGTH, struct.pack(">I", said.max_pdu))
    yield _text_item(_CLASS_UID, said.implementation_class_uid)
    for uid, (scu, scp) in said.roles.items():
        yield _item(_ROLE, _counted(uid), bytes((scu, scp)))
    if said.implementation_version:
        yield _text_item(_VERSION_NAME, said.implementation_version[:16])
    for uid, information in said.extended.items():
        yield _item(_EXTENDED, _counted(uid), information)


def _item(kind: int, *parts: bytes) -> bytes:
    value = b"".join(parts)
    return _ITEM.pack(kind, len(value)) + value


def _text_item(kind: int, text: str) -> bytes:
    return _item(kind, text.encode("latin-1"))


def _counted(uid: str) -> bytes:
    raw = uid.encode("latin-1")
    return struct.pack(">H", len(raw)) + raw


def _padded(ae_title: str) -> bytes:
    raw = ae_title.encode("latin-1")
    if len(raw) > 16:
        raise ValueError(f"AE title {ae_title!r} is longer than 16 characters")
    return raw.ljust(16)


# -- reading -----------------------------------------------------------------------------------------------------------


@dataclass
class _Items:
    """The variable items of a PDU; contexts are not taken apart yet."""

    application_context: str = ""
    contexts: dict[int, bytes] = field(default_factory=dict)
    max_pdu: int = _UNSAID_MAX_PDU
    implementation_class_uid: str = ""
    implementation_version: str = ""
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    extended: dict[str, bytes] = field(default_factory=dict)


def decode_request(pdu: bytes, limits: Limits) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ PDU.

    Parameters
    ----------
    pdu : bytes
        The whole PDU with its header.
    limits : Limits

    Raises
    ------
    UnacceptableError
        If it is of another protocol version or application context.
    NegotiationError
        If a length lies, there are too many contexts or items, or a context id is even or repeated.
    """
    _check_size(pdu)
    _, _, version, called, calling, _ = _FIXED.unpack_from(pdu)
    if not version & 1:
        raise UnacceptableError(f"protocol version 0x{version:04X}, not 1", AssociateReject(1, 2, 2))
    items = _read_items(pdu, _CONTEXT_RQ, limits)
    if items.application_context != _APPLICATION_CONTEXT_NAME:
        # As repr: it may hold anything.
        name = items.application_context[:64]
        raise UnacceptableError(f"application context {name!r}, not DICOM's", AssociateReject(1, 1, 2))
    return AssociateRequest(
        calling_ae=_ae_title(calling),
        called_ae=_ae_title(called),
        contexts=tuple(_proposed(context_id, value) for context_id, value in items.contexts.items()),
        roles=items.roles,
        max_pdu=items.max_pdu,
        extended=items.extended,
        implementation_class_uid=items.implementation_class_uid,
        implementation_version=items.implementation_version,
    )


def decode_accept(pdu: bytes, limits: Limits, request: AssociateRequest) -> AssociateAccept:
    """Read an A-ASSOCIATE-AC PDU; what it says is joined with what was proposed.

    AE titles and reserved bytes are not looked at, nor is the transfer syntax of a refused context: they "shall not be
    tested" (PS3.8 tables 9-17 and 9-18).

    Raises
    ------
    NegotiationError
        As `decode_request`, and where a context was accepted that nobody proposed, or with a transfer syntax that was
        not proposed for it.
    """
    _check_size(pdu)
    items = _read_items(pdu, _CONTEXT_AC, limits)
    proposed = {context.id: context for context in request.contexts}
    contexts = []
    for context_id, value in items.contexts.items():
        context = proposed.get(context_id)
        if value[2] != ACCEPTANCE:
            if context is not None:
                contexts.append(Context(context_id, context.abstract_syntax, "", value[2]))
            continue
        syntax = next((_text(raw) for kind, raw in _split(value[4:], _MAX_SYNTAXES) if kind == _TRANSFER_SYNTAX), "")
        if context is None:
            raise NegotiationError(
                f"presentation context {context_id} is accepted and was never proposed (PS3.8 section 9.3.3.2)"
            )
        if syntax not in context.transfer_syntaxes:
            raise NegotiationError(
                f"presentation context {context_id} is accepted with transfer syntax {syntax[:64]!r}, which was not "
                "proposed for it (PS3.8 section 9.3.3.2)"
            )
        contexts.append(Context(context_id, context.abstract_syntax, syntax))
    return AssociateAccept(
        contexts=tuple(contexts),
        # An acceptor may only take away from the roles that were proposed (PS3.7 annex D.3.3.4).
        roles={
            uid: (scu and request.roles[uid][0], scp and request.roles[uid][1])
            for uid, (scu, scp) in items.roles.items()
            if uid in request.roles
        },
        max_pdu=items.max_pdu,
        extended=items.extended,
        implementation_class_uid=items.implementation_class_uid,
        implementation_version=items.implementation_version,
    )


def decode_reject(pdu: bytes) -> AssociateReject:
    """Read an A-ASSOCIATE-RJ PDU, whose length was checked."""
    return AssociateReject(pdu[7], pdu[8], pdu[9])


def _check_size(pdu: bytes) -> None:
    if len(pdu) < FIXED_SIZE:
        raise NegotiationError(f"only {len(pdu)} bytes long, {FIXED_SIZE} is the least (PS3.8 section 9.3.2)")


def _read_items(pdu: bytes, context_type: int, limits: Limits) -> _Items:
    """Read the variable items; those of other types are "ignored and skipped" (PS3.8 section 9.3.1)."""
    items = _Items()
    for kind, value in _split(pdu[FIXED_SIZE:], _MAX_ITEMS):
        if kind == context_type:
            if len(value) < 4:
                raise NegotiationError("a presentation context item is too short (PS3.8 section 9.3.2.2)")
            context_id = value[0]
            if not context_id & 1 or context_id in items.contexts:
                raise NegotiationError(
                    f"presentation context id {context_id} is even or repeated (PS3.8 section 9.3.2.2)"
                )
            if len(items.contexts) == limits.max_contexts:
                raise NegotiationError(f"more than {limits.max_contexts} presentation contexts")
            items.contexts[context_id] = value
        elif kind == _USER_INFORMATION:
            _read_user_information(value, items)
        elif kind == _APPLICATION_CONTEXT:
            items.application_context = _text(value)
    return items


def _read_user_information(data: bytes, items: _Items) -> None:
    for kind, value in _split(data, _MAX_USER_ITEMS):
        if kind == _MAX_LENGTH:
            if len(value) != 4:
                raise NegotiationError(f"a maximum length item of {len(value)} bytes, not 4 (PS3.8 annex D.1)")
            items.max_pdu = int.from_bytes(value, "big")
        elif kind == _CLASS_UID:
            items.implementation_class_uid = _text(value)
        elif kind == _VERSION_NAME:
            items.implementation_version = _text(value)
        elif kind == _ROLE:
            uid, rest = _split_counted(value)
            if len(rest) < 2:
                raise NegotiationError("a role selection item is too short (PS3.7 annex D.3.3.4)")
            items.roles[uid] = rest[0] == 1, rest[1] == 1
        elif kind == _EXTENDED:
            uid, information = _split_counted(value)
            items.extended[uid] = information


def _proposed(context_id: int, value: bytes) -> ProposedContext:
    abstract_syntax = ""
    syntaxes = []
    for kind, raw in _split(value[4:], _MAX_SYNTAXES):
        if kind == _ABSTRACT_SYNTAX:
            abstract_syntax = _text(raw)
        elif kind == _TRANSFER_SYNTAX:
            syntaxes.append(_text(raw))
    return ProposedContext(context_id, abstract_syntax, tuple(syntaxes))


def _split(data: bytes, most: int) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the value of each item or sub-item."""
    start, end = 0, len(data)
    while start < end:
        if not most:
            raise NegotiationError("too many items")
        most -= 1
        if start + 4 > end:
            raise NegotiationError("an item header is cut short (PS3.8 section 9.3.1)")
        kind, length = _ITEM.unpack_from(data, start)
        start += 4
        if start + length > end:
            raise NegotiationError(
                f"item 0x{kind:02X} claims {length} bytes, {end - start} are left (PS3.8 section 9.3.1)"
            )
        yield kind, data[start : start + length]
        start += length


def _split_counted(value: bytes) -> tuple[str, bytes]:
    """The UID that a sub-item begins with, its length before it, and the rest."""
    length = int.from_bytes(value[:2], "big")
    if 2 + length > len(value):
        raise NegotiationError(f"a UID claims {length} bytes, {max(len(value) - 2, 0)} are left (PS3.7 annex D.3.3)")
    return _text(value[2 : 2 + length]), value[2 + length :]


def _text(raw: bytes) -> str:
    """A UID or name without padding; UIDs should have none here, and some have (PS3.8 annex F)."""
    return raw.decode("latin-1").strip("\0 ")


def _ae_title(raw: bytes) -> str:
    """An AE title without its padding, nor what lies behind a NUL in the buffer of a peer written in C."""
    return _text(raw.strip(b"\0 ").split(b"\0")[0])
