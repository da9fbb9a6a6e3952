"""Who acts on what a peer asks for on an association."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dcm.net._association import Association
    from dcm.net.wire import AssociateRequest, Command

__all__ = ["DataSink", "Owner"]


class DataSink(Protocol):
    """Takes the data set that follows a command."""

    def feed(self, data: memoryview, last: bool) -> None:
        """Take a part of it, which is valid only until this returns."""


class Owner(Protocol):
    """Acts on what the peer asks for."""

    def request_received(self, association: Association, context_id: int, command: Command) -> DataSink | None:
        """Begin to act on a request; what is returned takes the data set that follows, if one does."""

    def association_requested(self, association: Association, request: AssociateRequest) -> None:
        """Accept or reject."""

    def association_closed(self, association: Association) -> None:
        """Forget the association."""
