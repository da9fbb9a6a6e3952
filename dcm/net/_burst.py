"""Small instances back to back: each goes out in the callback that brings the answer to the one before.

A task that is woken for every answer has the event loop look for other events in between, which takes as long as all
else that is done for a small instance. What is not simple is handed back to the task.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dcm.errors import NetworkError, ProtocolError
from dcm.net._operations import begin_store
from dcm.net._send_queue import pair_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dcm.net._association import Association
    from dcm.net._send_queue import Item, Pair
    from dcm.net.wire import Command, Context

__all__ = ["Burst"]


class Burst:
    """Sends instances on one association for as long as that is simple.

    Parameters
    ----------
    association : Association
    contexts : mapping
        Its accepted contexts.
    take : callable
        Gives the next item, or None where there is none just now.
    settle : callable
        ``settle(item, status, seconds)`` says what the answer means; False where the item is to be sent once more.

    Attributes
    ----------
    item : Item or None
        What is being sent, or what was taken and is for somebody else to send.
    error : NetworkError or None
        What has ended the association while `item` was on its way.
    """

    def __init__(
        self,
        association: Association,
        contexts: Mapping[Pair, Context],
        take: Callable[[], Item | None],
        settle: Callable[[Item, int, float], bool],
    ) -> None:
        self._association = association
        self._contexts = contexts
        self._take = take
        self._settle = settle
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._begun = 0.0
        self.item: Item | None = None
        self.error: NetworkError | None = None

    async def run(self) -> None:
        """Send until there is nothing, or something that is not simple; see `item` and `error`."""
        self._send_next()
        await self._ended

    def _send_next(self) -> None:
        self.item = item = self._take()
        if item is not None and item.instance is not None and item.instance.in_memory and not item.answers:
            instance = item.instance
            context = self._contexts.get(pair_of(instance))
            if context is not None and self._association.usable:
                exchange = begin_store(self._association, context, instance, instance.read(0, instance.size))
                exchange.then = self._answered
                self._begun = self._loop.time()
                return
        self._ended.set_result(None)

    def _answered(self, response: Command | None) -> None:
        """Act on an answer, None where there will be none any more."""
        if self._ended.done():
            # We were cancelled.
            return
        try:
            item = self.item
            assert item is not None
            if response is None or response.status is None:
                self.error = self._no_answer(response)
                self._ended.set_result(None)
                return
            waited = self._loop.time() - self._begun
            if response.status == 0:
                # The books can wait; the peer should not.
                try:
                    self._send_next()
                finally:
                    self._settle(item, 0, waited)
            elif self._settle(item, response.status, waited):
                self._send_next()
            else:
                self._ended.set_result(None)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever awaits us, not to the transport
            if not self._ended.done():
                self._ended.set_exception(error)

    def _no_answer(self, response: Command | None) -> NetworkError:
        peer = self._association.peer
        if response is not None:
            self._association.fail(ProtocolError(f"{peer} answered without a status (PS3.7 section 9.3)"))
        try:
            self._association.check()
        except NetworkError as error:
            return error
        raise AssertionError("an exchange has ended before its association")
