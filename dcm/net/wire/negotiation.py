"""Association negotiation (PS3.8 section 9.3.2 to 9.3.4, annex D; PS3.7 annex D.3).

The PDUs are coded by pynetdicom; this is the only module of the library that imports it. Its decoders trust lengths and
counts, so `decode` checks both before they see a byte, and turns whatever they still raise into our own error.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
)
from pynetdicom.presentation import PresentationContext

from ...part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .pdu import Limits

__all__ = [
    "AssociateAccept",
    "AssociateReject",
    "AssociateRequest",
    "Context",
    "NegotiationError",
    "ProposedContext",
    "accept_contexts",
    "decode_accept",
    "decode_reject",
    "decode_request",
    "encode_accept",
    "encode_reject",
    "encode_request",
]

ACCEPTANCE = 0
USER_REJECTION = 1
ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED = 4

_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_CONTEXT_RQ, _CONTEXT_AC, _USER_INFORMATION = 0x20, 0x21, 0x50
# Each presentation context may bring a role and an extended negotiation; a handful of other items exist.
_MAX_USER_ITEMS = 2 * 128 + 16


class NegotiationError(ValueError):
    """An A-ASSOCIATE PDU that the standard does not allow, or that we refuse to take apart."""


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as the requestor proposes it."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context as the acceptor answered it; `result` 0 is acceptance (PS3.8 table 9-18)."""

    id: int
    abstract_syntax: str
    transfer_syntax: str
    result: int = ACCEPTANCE


@dataclass(frozen=True)
class AssociateRequest:
    """What an A-ASSOCIATE-RQ says.

    Attributes
    ----------
    calling_ae, called_ae : str
        Without padding.
    contexts : tuple of ProposedContext
    roles : mapping of str to (bool, bool)
        SOP class UID to the SCU and SCP roles proposed for the requestor (PS3.7 annex D.3.3.4).
    max_pdu : int
        The longest PDU that the requestor takes, 0 for any.
    extended : mapping of str to bytes
        SOP class extended negotiation (PS3.7 annex D.3.3.5).
    """

    calling_ae: str
    called_ae: str
    contexts: tuple[ProposedContext, ...]
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    max_pdu: int = 0
    extended: Mapping[str, bytes] = field(default_factory=dict)
    implementation_class_uid: str = IMPLEMENTATION_CLASS_UID
    implementation_version: str = IMPLEMENTATION_VERSION_NAME


@dataclass(frozen=True)
class AssociateAccept:
    """What an A-ASSOCIATE-AC says; see `AssociateRequest`."""

    contexts: tuple[Context, ...]
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    max_pdu: int = 0
    extended: Mapping[str, bytes] = field(default_factory=dict)
    implementation_class_uid: str = IMPLEMENTATION_CLASS_UID
    implementation_version: str = IMPLEMENTATION_VERSION_NAME


@dataclass(frozen=True)
class AssociateReject:
    """What an A-ASSOCIATE-RJ says (PS3.8 section 9.3.4)."""

    result: int
    source: int
    reason: int

    @property
    def text(self) -> str:
        """The reason in words."""
        known = _REJECT_REASONS.get((self.source, self.reason))
        return known or f"source {self.source}, reason {self.reason}"


_REJECT_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


# -- encoding ----------------------------------------------------------------------------------------------------------


def encode_request(request: AssociateRequest) -> bytes:
    """Return an A-ASSOCIATE-RQ PDU (PS3.8 section 9.3.2)."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = _APPLICATION_CONTEXT
    primitive.calling_ae_title = request.calling_ae
    primitive.called_ae_title = request.called_ae
    contexts = []
    for proposed in request.contexts:
        context = PresentationContext()
        context.context_id = proposed.id
        context.abstract_syntax = proposed.abstract_syntax
        context.transfer_syntax = list(proposed.transfer_syntaxes)
        contexts.append(context)
    primitive.presentation_context_definition_list = contexts
    primitive.user_information = _user_information(request)
    return bytes(A_ASSOCIATE_RQ(primitive).encode())


def encode_accept(accept: AssociateAccept, request: AssociateRequest) -> bytes:
    """Return an A-ASSOCIATE-AC PDU (PS3.8 section 9.3.3) that echoes the request's AE titles as it must."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = _APPLICATION_CONTEXT
    primitive.calling_ae_title = request.calling_ae
    primitive.called_ae_title = request.called_ae
    primitive.result = 0
    primitive.result_source = 1
    contexts = []
    for answered in accept.contexts:
        context = PresentationContext()
        context.context_id = answered.id
        context.abstract_syntax = answered.abstract_syntax
        context.transfer_syntax = [answered.transfer_syntax]
        context.result = answered.result
        contexts.append(context)
    primitive.presentation_context_definition_results_list = contexts
    primitive.user_information = _user_information(accept)
    return bytes(A_ASSOCIATE_AC(primitive).encode())


def encode_reject(reject: AssociateReject) -> bytes:
    """Return an A-ASSOCIATE-RJ PDU (PS3.8 section 9.3.4)."""
    return struct.pack(">BxIxBBB", 0x03, 4, reject.result, reject.source, reject.reason)


def _user_information(pdu: AssociateRequest | AssociateAccept) -> list[Any]:
    maximum = MaximumLengthNotification()
    maximum.maximum_length_received = pdu.max_pdu
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = pdu.implementation_class_uid
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = pdu.implementation_version
    items: list[Any] = [maximum, implementation, version]
    for uid, (scu, scp) in pdu.roles.items():
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid = uid
        role.scu_role = scu
        role.scp_role = scp
        items.append(role)
    for uid, information in pdu.extended.items():
        extended = SOPClassExtendedNegotiation()
        extended.sop_class_uid = uid
        extended.service_class_application_information = information
        items.append(extended)
    return items


# -- decoding ----------------------------------------------------------------------------------------------------------


def decode_request(pdu: bytes, limits: Limits) -> AssociateRequest:
    """Read an A-ASSOCIATE-RQ PDU.

    Parameters
    ----------
    pdu : bytes
        The whole PDU with its header.
    limits : Limits

    Raises
    ------
    NegotiationError
        If a length lies, there are too many contexts, or a context id is even or repeated.
    """
    _check(pdu, _CONTEXT_RQ, limits)
    primitive = _decode(A_ASSOCIATE_RQ, pdu)
    contexts = tuple(
        ProposedContext(_int(c.context_id), _uid(c.abstract_syntax), tuple(_uid(t) for t in c.transfer_syntax))
        for c in primitive.presentation_context_definition_list
    )
    # AE titles straight from their fields: pynetdicom's setters refuse what real peers send (PS3.8 table 9-11).
    called, calling = _ae_title(pdu[10:26]), _ae_title(pdu[26:42])
    return AssociateRequest(calling, called, contexts, **_read_user_information(primitive))


def decode_accept(pdu: bytes, limits: Limits, proposed: Iterable[ProposedContext]) -> AssociateAccept:
    """Read an A-ASSOCIATE-AC PDU; what it says of contexts is joined with what was proposed.

    Raises
    ------
    NegotiationError
        As `decode_request`, and where a context was answered that nobody proposed, or with a transfer syntax that was
        not proposed for it.
    """
    _check(pdu, _CONTEXT_AC, limits)
    primitive = _decode(A_ASSOCIATE_AC, pdu)
    known = {context.id: context for context in proposed}
    contexts = []
    for answer in primitive.presentation_context_definition_results_list:
        context = known.get(_int(answer.context_id))
        if context is None:
            raise NegotiationError(
                f"presentation context {answer.context_id} was never proposed (PS3.8 section 9.3.3.2)"
            )
        result = USER_REJECTION if answer.result is None else int(answer.result)
        syntax = _uid(answer.transfer_syntax[0]) if answer.transfer_syntax else ""
        if result == ACCEPTANCE and syntax not in context.transfer_syntaxes:
            raise NegotiationError(
                f"presentation context {context.id} was accepted with transfer syntax {syntax!r}, never proposed"
            )
        contexts.append(Context(context.id, context.abstract_syntax, syntax, result))
    return AssociateAccept(tuple(contexts), **_read_user_information(primitive))


def decode_reject(pdu: bytes) -> AssociateReject:
    """Read an A-ASSOCIATE-RJ PDU."""
    if len(pdu) != 10:
        raise NegotiationError(f"an A-ASSOCIATE-RJ of {len(pdu)} bytes, not 10 (PS3.8 section 9.3.4)")
    return AssociateReject(pdu[7], pdu[8], pdu[9])


def _decode(kind: type[Any], pdu: bytes) -> Any:
    decoder = kind()
    try:
        decoder.decode(pdu)
        return decoder.to_primitive()
    except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        # pynetdicom's codecs have no error of their own: these are what they raise on bytes that are none of theirs.
        raise NegotiationError(f"cannot be decoded ({type(error).__name__})") from error


def _check(pdu: bytes, context_type: int, limits: Limits) -> None:
    """Hold lengths, counts and context ids to the standard before anything is decoded."""
    if len(pdu) < 74:
        raise NegotiationError(f"only {len(pdu)} bytes long, 74 is the least (PS3.8 section 9.3.2)")
    seen: set[int] = set()
    for kind, start, end in _items(pdu, 74, len(pdu)):
        if kind == context_type:
            if end - start < 4:
                raise NegotiationError("a presentation context item that is too short (PS3.8 section 9.3.2.2)")
            context_id = pdu[start]
            if not context_id & 1 or context_id in seen:
                raise NegotiationError(
                    f"presentation context id {context_id} is even or repeated (PS3.8 section 9.3.2.2)"
                )
            seen.add(context_id)
            if len(seen) > limits.max_contexts:
                raise NegotiationError(f"more than {limits.max_contexts} presentation contexts")
            if sum(1 for _ in _items(pdu, start + 4, end)) > 256:
                raise NegotiationError(f"more than 256 syntaxes in presentation context {context_id}")
        elif kind == _USER_INFORMATION and sum(1 for _ in _items(pdu, start, end)) > _MAX_USER_ITEMS:
            raise NegotiationError(f"more than {_MAX_USER_ITEMS} user information items")


def _items(pdu: bytes, start: int, end: int) -> Iterable[tuple[int, int, int]]:
    """Yield the type, start and end of the value of each item or sub-item."""
    while start < end:
        if start + 4 > end:
            raise NegotiationError("an item header is cut short (PS3.8 section 9.3.1)")
        kind, length = pdu[start], pdu[start + 2] << 8 | pdu[start + 3]
        start += 4
        if start + length > end:
            raise NegotiationError(
                f"item 0x{kind:02X} claims {length} bytes, {end - start} are left (PS3.8 section 9.3.1)"
            )
        yield kind, start, start + length
        start += length


def _read_user_information(primitive: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"roles": {}, "extended": {}, "implementation_class_uid": "", "implementation_version": ""}
    for item in primitive.user_information:
        if isinstance(item, MaximumLengthNotification):
            found["max_pdu"] = int(item.maximum_length_received or 0)
        elif isinstance(item, ImplementationClassUIDNotification):
            found["implementation_class_uid"] = str(item.implementation_class_uid or "")
        elif isinstance(item, ImplementationVersionNameNotification):
            found["implementation_version"] = str(item.implementation_version_name or "")
        elif isinstance(item, SCP_SCU_RoleSelectionNegotiation):
            found["roles"][_uid(item.sop_class_uid)] = bool(item.scu_role), bool(item.scp_role)
        elif isinstance(item, SOPClassExtendedNegotiation):
            found["extended"][_uid(item.sop_class_uid)] = item.service_class_application_information or b""
    return found


def _ae_title(raw: bytes) -> str:
    return raw.decode("latin-1").strip("\0 ")


def _uid(value: object) -> str:
    return str(value or "").strip("\0 ")


def _int(value: int | None) -> int:
    return 0 if value is None else int(value)


# -- answering ---------------------------------------------------------------------------------------------------------


def accept_contexts(
    proposed: Iterable[ProposedContext], supported: Mapping[str, frozenset[str]]
) -> tuple[Context, ...]:
    """Answer each proposed context as an acceptor (PS3.8 section 9.3.3.2).

    Parameters
    ----------
    proposed : iterable of ProposedContext
    supported : mapping of str to frozenset of str
        Abstract syntax UID to the transfer syntax UIDs that we take for it.

    Returns
    -------
    tuple of Context
        The first transfer syntax of each context that we take: the requestor lists them as it likes them, and a sender
        likes best what it has.
    """
    answers = []
    for context in proposed:
        known = supported.get(context.abstract_syntax)
        first = context.transfer_syntaxes[0] if context.transfer_syntaxes else "1.2.840.10008.1.2"
        if known is None:
            answers.append(Context(context.id, context.abstract_syntax, first, ABSTRACT_SYNTAX_NOT_SUPPORTED))
            continue
        chosen = next((syntax for syntax in context.transfer_syntaxes if syntax in known), None)
        if chosen is None:
            answers.append(Context(context.id, context.abstract_syntax, first, TRANSFER_SYNTAXES_NOT_SUPPORTED))
        else:
            answers.append(Context(context.id, context.abstract_syntax, chosen))
    return tuple(answers)
