"""What is said when an association is negotiated (PS3.8 section 7.1, PS3.7 annex D.3); `associate` has the bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dcm.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "ABSTRACT_SYNTAX_NOT_SUPPORTED",
    "ACCEPTANCE",
    "TRANSFER_SYNTAXES_NOT_SUPPORTED",
    "AssociateAccept",
    "AssociateReject",
    "AssociateRequest",
    "Context",
    "ProposedContext",
    "accept_contexts",
]

# Results of a presentation context (PS3.8 table 9-18).
ACCEPTANCE = 0
ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as the requestor proposes it."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context as the acceptor answered it; `result` 0 is acceptance (PS3.8 table 9-18).

    The transfer syntax means something only where the context is accepted.
    """

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
        The longest PDU that the requestor takes, 0 for any; what a peer does not say is taken for 16384. In a request
        of ours, 0 stands for what `Limits` says.
    extended : mapping of str to bytes
        SOP class extended negotiation (PS3.7 annex D.3.3.5).
    implementation_class_uid, implementation_version : str
        Who made the requestor (PS3.7 annex D.3.3.2); empty where a peer does not say.
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
    """What an A-ASSOCIATE-AC says; see `AssociateRequest`.

    A context that the acceptor left out is not in `contexts`. The roles of a peer never go beyond those proposed to it.
    """

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


# PS3.8 table 9-21
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
        if known is None:
            answers.append(Context(context.id, context.abstract_syntax, "", ABSTRACT_SYNTAX_NOT_SUPPORTED))
            continue
        chosen = next((syntax for syntax in context.transfer_syntaxes if syntax in known), None)
        if chosen is None:
            answers.append(Context(context.id, context.abstract_syntax, "", TRANSFER_SYNTAXES_NOT_SUPPORTED))
        else:
            answers.append(Context(context.id, context.abstract_syntax, chosen))
    return tuple(answers)
