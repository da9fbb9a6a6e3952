"""The states of an association (PS3.8 section 9.2)."""

from __future__ import annotations

import enum

__all__ = ["MAY_RECEIVE", "MAY_SEND", "State", "WireStateError"]


class State(enum.Enum):
    """Where an association stands (PS3.8 section 9.2.1); the value is the standard's name of the state.

    Sta4 is not among them, because connecting is over when the wire begins; nor are Sta9 and Sta12, because a release
    that collides with ours is confirmed at once.
    """

    IDLE = "Sta1"
    AWAITING_REQUEST = "Sta2"
    AWAITING_LOCAL_ANSWER = "Sta3"
    AWAITING_ANSWER = "Sta5"
    ESTABLISHED = "Sta6"
    AWAITING_RELEASE = "Sta7"
    AWAITING_LOCAL_RELEASE = "Sta8"
    COLLISION_ACCEPTOR = "Sta10"
    COLLISION_REQUESTOR = "Sta11"
    CLOSING = "Sta13"


class WireStateError(RuntimeError):
    """A call that the association's state does not allow: a mistake of ours, never the peer's."""


# The states in which data may come: AR-6 lets a peer finish what it was saying after we asked for release.
MAY_RECEIVE = frozenset({State.ESTABLISHED, State.AWAITING_RELEASE})
# AR-7: after the peer asked for release, what it still waits for may go out.
MAY_SEND = frozenset({State.ESTABLISHED, State.AWAITING_LOCAL_RELEASE})
