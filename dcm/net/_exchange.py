"""One request of ours on an association, and the responses to it as they come."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from dcm.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcm.net._association import Association
    from dcm.net.wire import Command

__all__ = ["Exchange"]

# Responses that nobody has taken yet, before we stop reading: a slow reader of a C-FIND must not fill our memory.
_MAX_WAITING = 2000
_MAX_IDENTIFIER = 1 << 24


class Exchange:
    """One request of ours and the responses to it.

    Attributes
    ----------
    finished : bool
        Whether the final response has come.
    then : callable or None
        Called at once with the final response, or with None when the association is over, where nobody awaits `next`.
    """

    def __init__(self, association: Association, context_id: int, command: Command) -> None:
        self.context_id = context_id
        self.command = command
        self.finished = False
        self.then: Callable[[Command | None], None] | None = None
        self._association = association
        self._responses: deque[tuple[Command, bytes | None]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._identifier = bytearray()
        self._response: Command | None = None

    def feed(self, data: memoryview, last: bool) -> None:
        """Take a part of the identifier of the current response."""
        self._identifier += data
        if len(self._identifier) > _MAX_IDENTIFIER:
            peer = self._association.peer
            self._association.fail(ProtocolError(f"{peer} sent an identifier of more than {_MAX_IDENTIFIER} bytes"))
        elif last and self._response is not None:
            self.add(self._response, bytes(self._identifier))
            self._identifier.clear()

    def begin(self, response: Command) -> None:
        """Keep a response until its identifier has come."""
        self._response = response

    def add(self, response: Command, identifier: bytes | None) -> None:
        """Queue a whole response."""
        self._responses.append((response, identifier))
        if response.status is None or response.status not in (0xFF00, 0xFF01):
            self.finished = True
            self._association.exchange_finished(self)
            if self.then is not None:
                self.then(response)
                return
        elif len(self._responses) == _MAX_WAITING:
            self._association.pause("responses")
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again: there is a response, or the association is over."""
        if self.then is not None and not self.finished:
            then, self.then = self.then, None
            then(None)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> tuple[Command, bytes | None]:
        """Return the next response and its identifier.

        Raises
        ------
        NetworkError
            The association failed, and all that came before has been taken.
        """
        while not self._responses:
            self._association.check()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        taken = self._responses.popleft()
        if len(self._responses) == _MAX_WAITING // 2:
            self._association.resume("responses")
        return taken
