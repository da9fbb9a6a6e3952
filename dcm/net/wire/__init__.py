"""The DICOM upper layer and DIMSE without any I/O (PS3.7, PS3.8): see `Wire`."""

from .command import Command, CommandField, Priority
from .negotiation import (
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    Context,
    ProposedContext,
    accept_contexts,
)
from .pdu import Limits
from .protocol import State, Wire, WireStateError

__all__ = [
    "AssociateAccept",
    "AssociateReject",
    "AssociateRequest",
    "Command",
    "CommandField",
    "Context",
    "Limits",
    "Priority",
    "ProposedContext",
    "State",
    "Wire",
    "WireStateError",
    "accept_contexts",
]
