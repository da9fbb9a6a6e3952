"""The DICOM upper layer and DIMSE without any I/O (PS3.7, PS3.8): see `Wire`."""

from dcm.net.wire.command import Command, CommandField, Priority
from dcm.net.wire.negotiation import (
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    Context,
    ProposedContext,
    accept_contexts,
)
from dcm.net.wire.pdu import Limits
from dcm.net.wire.protocol import Wire
from dcm.net.wire.state import State, WireStateError

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
