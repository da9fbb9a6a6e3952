"""What the wire tells the shell: one small object for each thing that the peer did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeAlias

    from dcm.net.wire.command import Command
    from dcm.net.wire.negotiation import AssociateAccept, AssociateReject, AssociateRequest

__all__ = [
    "Aborted",
    "Accepted",
    "CommandReceived",
    "DataReceived",
    "Event",
    "Rejected",
    "ReleaseConfirmed",
    "ReleaseRequested",
    "Requested",
    "Violated",
]


@dataclass(slots=True)
class Requested:
    """The peer asks for an association (A-ASSOCIATE indication)."""

    request: AssociateRequest


@dataclass(slots=True)
class Accepted:
    """The peer accepted the association (A-ASSOCIATE confirmation)."""

    accept: AssociateAccept


@dataclass(slots=True)
class Rejected:
    """The peer rejected the association."""

    reject: AssociateReject


@dataclass(slots=True)
class CommandReceived:
    """A whole command set has come; `DataReceived` events follow if ``command.has_data``."""

    context_id: int
    command: Command


@dataclass(slots=True)
class DataReceived:
    """Some bytes of the data set that belongs to the last command.

    Attributes
    ----------
    data : memoryview
        Valid only until the next bytes are fed to the wire: copy what must stay.
    last : bool
        Whether the data set ends here.
    """

    data: memoryview
    last: bool


@dataclass(slots=True)
class ReleaseRequested:
    """The peer wants to release the association; the shell answers with `Wire.confirm_release`."""


@dataclass(slots=True)
class ReleaseConfirmed:
    """The association is released: close the connection."""


@dataclass(slots=True)
class Aborted:
    """The peer aborted."""

    reason: str


@dataclass(slots=True)
class Violated:
    """The peer broke the protocol; an A-ABORT waits in `Wire.take_output`, and nothing more will be read.

    Where it wants an association of another protocol version or application context, an A-ASSOCIATE-RJ waits instead.

    Attributes
    ----------
    message : str
        What was wrong, with the section of the standard that says so.
    """

    message: str


Event: TypeAlias = (
    "Requested | Accepted | Rejected | CommandReceived | DataReceived"
    " | ReleaseRequested | ReleaseConfirmed | Aborted | Violated"
)
