"""One line to a peer: an association, and another one where it breaks; what it takes from the queue reaches an end.

The presentation contexts follow from the instances at hand: one for each pair of SOP class and transfer syntax, so that
the peer cannot choose a transfer syntax that an instance is not in. Nothing is transcoded: an instance travels in the
bytes that it has, and where the peer does not take its transfer syntax it fails, and the report says why. When a new
pair turns up, another association takes over that also proposes it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from dcm.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    ConnectionFailedError,
    DcmError,
    NetworkError,
    NoContextError,
    PeerTimeoutError,
)
from dcm.net._burst import Burst
from dcm.net._connect import connect
from dcm.net._contexts import MAX_CONTEXTS
from dcm.net._operations import store
from dcm.net._registry import class_name, status_text
from dcm.net._send_queue import pair_of, why
from dcm.report import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dcm._bridge import Bridge
    from dcm.instance import Instance
    from dcm.net._association import Association
    from dcm.net._owner import Owner
    from dcm.net._send_queue import Item, Pair, SendQueue
    from dcm.net.wire import Context
    from dcm.node import DcmNode, RemoteNode
    from dcm.report import TransferReport

__all__ = ["Line", "SendState"]

log = logging.getLogger(__name__)

_BACKOFF = 0.5
_LONGEST_BACKOFF = 30.0
# How often an instance is tried whose association breaks, or for which the peer has no room just now; and how often we
# knock at the door of a peer that we have sent something to: that is a minute, in which a server has started anew.
_TRIES = 3
_KNOCKS = 8
# One instance after the other that ends the association, or meets a full disk: it is the peer that is broken, not they.
_MOST_CHOKED = 3
_MOST_SHORT = 3


class SendState:
    """What the lines to one peer share.

    Attributes
    ----------
    refused : set of Pair
        What the peer does not take.
    answered : bool
        Whether it has answered anything yet.
    choked : int
        How many instances in succession have ended every association that they were sent on.
    short : int
        How many instances in succession the peer had no room for, time and again.
    failure : BaseException or None
        What ends all lines.
    """

    def __init__(
        self, local: DcmNode, remote: RemoteNode, bridge: Bridge, owner: Owner, report: TransferReport, dest: str
    ) -> None:
        self.local = local
        self.remote = remote
        self.bridge = bridge
        self.owner = owner
        self.report = report
        self.dest = dest
        self.refused: set[Pair] = set()
        self.answered = False
        self.choked = 0
        self.short = 0
        self.failure: BaseException | None = None
        self.answered_one: Callable[[int, float], None] = lambda _n_bytes, _waited: None

    def record(
        self,
        instance: Instance,
        outcome: Outcome,
        reason: str = "",
        n_bytes: int = 0,
        status: int | None = None,
        error: Exception | None = None,
    ) -> None:
        """Enter what became of an instance."""
        refused = outcome is Outcome.FAILED and not reason.startswith("cannot be read")
        self.report.record(
            instance.sop_instance_uid,
            outcome,
            dest=self.dest,
            n_bytes=n_bytes,
            reason=reason,
            status=status,
            refused=refused,
            path=instance.path,
            error=error,
        )


class Line:
    """Sends what it takes from the queue, one instance after the other.

    Parameters
    ----------
    state : SendState
    queue : SendQueue
    on_open : callable, optional
        For a line beyond the first: called when its first association is there. It opens that before it takes
        anything, and where it meets trouble it gives back what it has, and ends.
    """

    def __init__(self, state: SendState, queue: SendQueue, on_open: Callable[[], None] | None = None) -> None:
        self._state = state
        self._queue = queue
        self._on_open = on_open
        self._association: Association | None = None
        self._contexts: dict[Pair, Context] = {}
        self._retired = False
        self.opened = False

    def retire(self) -> None:
        """Take nothing more."""
        self._retired = True

    async def run(self) -> None:
        """Send until the queue ends.

        Raises
        ------
        NetworkError
            The peer cannot be reached, refuses us, or breaks every association; not from a line beyond the first.
        """
        try:
            if self._on_open is not None:
                wanted = await self._queue.pairs()
                if not wanted:
                    return
                await self._open(wanted)
                self._on_open()
            self.opened = True
            while not self._retired and (item := await self._queue.take()) is not None:
                await self._see_through(item)
                await self._go_ahead()
        except NetworkError as error:
            if self._on_open is None:
                raise
            log.debug("no other association with %s: %s", self._state.remote, error.message)
        finally:
            await self._close()

    async def _go_ahead(self) -> None:
        """Send what is read and fits the association that is open, without much ado."""
        while self._association is not None:
            burst = Burst(self._association, self._contexts, self._take_now, self._settle)
            try:
                await burst.run()
            except BaseException as error:
                if burst.item is not None and not burst.item.over:
                    self._give_up(burst.item, error)
                raise
            if burst.item is None:
                return
            await self._see_through(burst.item, burst.error)

    def _take_now(self) -> Item | None:
        return None if self._retired else self._queue.take_now()

    async def _see_through(self, item: Item, lost: NetworkError | None = None) -> None:
        """Send one instance, whatever it takes; `lost` has ended the association on which it was."""
        assert item.instance is not None
        try:
            safe = await self._send(item, item.instance, lost)
        except BaseException as error:
            if isinstance(error, NetworkError) and self._on_open is not None:
                # Somebody else's turn: this is not the line that waits for the peer to come back.
                self._queue.back(item)
            else:
                self._give_up(item, error)
            raise
        self._end(item, safe=safe)

    def _give_up(self, item: Item, error: BaseException) -> None:
        """Nothing more will be sent."""
        cause = self._state.failure or error
        assert item.instance is not None
        # Where no association could be had, it is not this one that failed: it was not sent at all.
        own = error if item.tries and isinstance(error, NetworkError) else None
        self._state.record(item.instance, Outcome.FAILED, why(cause), error=own)
        if item.placed is not None and not item.placed.done():
            item.placed.set_exception(cause)
        self._end(item, safe=False)

    def _end(self, item: Item, *, safe: bool) -> None:
        self._queue.done()
        item.end(safe=safe)

    async def _close(self) -> None:
        association, self._association = self._association, None
        if association is not None:
            await association.release()

    # -- one instance --------------------------------------------------------------------------------------------------

    async def _send(self, item: Item, instance: Instance, lost: NetworkError | None) -> bool:
        """Send an instance, and say whether the peer has it.

        Again where the answer did not come: to store an instance twice is to store it once.
        """
        state = self._state
        time = asyncio.get_running_loop().time
        while True:
            if lost is not None:
                await self._close()
                if not self._go_on(item, lost):
                    state.record(instance, Outcome.FAILED, lost.message, error=lost)
                    return False
                await self._pause(item.tries, lost)
            elif item.answers:
                await asyncio.sleep(_delay(item.answers))
            try:
                association, context = await self._association_for(pair_of(instance))
            except NoContextError as error:
                if self._on_open is not None:
                    raise
                state.record(instance, Outcome.FAILED, error.message, error=error)
                return False
            begun = time()
            try:
                status = await store(association, context, instance, state.bridge)
            except NetworkError as error:
                lost = error
                continue
            except (OSError, DcmError) as error:
                state.record(instance, Outcome.FAILED, f"cannot be read: {why(error)}", error=error)
                return False
            if self._enough(item, status, time() - begun):
                return self._judge(instance, status)

    def _settle(self, item: Item, status: int, waited: float) -> bool:
        """Enter what the answer to an instance means; False where it is to be sent once more."""
        if not self._enough(item, status, waited):
            return False
        assert item.instance is not None
        self._end(item, safe=self._judge(item.instance, status))
        return True

    def _enough(self, item: Item, status: int, waited: float) -> bool:
        """Whether an answer is the last word on an instance."""
        state = self._state
        state.choked = 0
        state.answered = True
        # Out of resources is the one failure that another try may cure (PS3.4 table B.2-1).
        if status & 0xFF00 != 0xA700 or not state.report.patient:
            state.short = 0
            assert item.instance is not None
            state.answered_one(item.instance.size, waited)
            return True
        item.answers += 1
        if item.answers < _TRIES and state.short < _MOST_SHORT:
            return False
        state.short += 1
        return True

    def _go_on(self, item: Item, error: NetworkError) -> bool:
        """Whether to send an instance once more whose association broke."""
        patient = self._state.report.patient
        if patient and not isinstance(error, (AssociationAbortedError, PeerTimeoutError)):
            raise error
        item.tries += 1
        if patient and item.tries < (2 if isinstance(error, PeerTimeoutError) else _TRIES):
            if self._on_open is not None:
                raise error
            return True
        # It may be this one instance that the peer chokes on, time and again: the others are not to blame.
        self._state.choked += 1
        if self._state.choked >= _MOST_CHOKED:
            raise error
        return False

    def _judge(self, instance: Instance, status: int) -> bool:
        if status == 0:
            self._state.record(instance, Outcome.SENT, "", instance.size)
        elif status & 0xF000 == 0xB000:
            self._state.record(instance, Outcome.WARNED, status_text("C-STORE", status), instance.size, status)
        else:
            self._state.record(instance, Outcome.FAILED, status_text("C-STORE", status), 0, status)
            return False
        return True

    # -- associations --------------------------------------------------------------------------------------------------

    async def _association_for(self, pair: Pair) -> tuple[Association, Context]:
        """The association that has a context for a pair, as far as the peer accepts one."""
        association, context = self._association, self._contexts.get(pair)
        if association is not None and context is not None and association.usable:
            return association, context
        n_tries = 0
        while True:
            if pair in self._state.refused:
                raise self._refusal(pair)
            await self._close()
            try:
                # What waits as well, and what was needed before: the fewer associations, the better.
                association = await self._open([pair, *await self._queue.pairs(), *self._contexts])
            except NoContextError:
                raise self._refusal(pair) from None
            except (
                AssociationAbortedError,
                PeerTimeoutError,
                AssociationRejectedError,
                ConnectionFailedError,
            ) as error:
                n_tries += 1
                if not self._knock_again(error, n_tries):
                    raise
                await self._pause(n_tries, error)
                continue
            if pair not in self._contexts:
                raise self._refusal(pair)
            return association, self._contexts[pair]

    async def _open(self, wanted: list[Pair]) -> Association:
        state = self._state
        pairs = [pair for pair in dict.fromkeys(wanted) if pair not in state.refused][:MAX_CONTEXTS]
        try:
            association = await connect(
                state.local, state.remote, [(uid, (syntax,)) for uid, syntax in pairs], state.owner
            )
        except NoContextError:
            self._refuse(pairs)
            raise
        self._association = association
        self._contexts = {(c.abstract_syntax, c.transfer_syntax): c for c in association.wire.contexts.values()}
        self._refuse(pair for pair in pairs if pair not in self._contexts)
        return association

    def _refuse(self, pairs: Iterable[Pair]) -> None:
        # What a peer does not take on another association it may well take on the first.
        if self._on_open is None:
            self._state.refused.update(pairs)

    def _knock_again(self, error: NetworkError, n_tries: int) -> bool:
        """Whether another association may be had later; a peer that was never there is not asked again."""
        if self._on_open is not None or (isinstance(error, ConnectionFailedError) and not self._state.answered):
            return False
        if isinstance(error, AssociationRejectedError) and not error.transient:
            return False
        if not self._state.report.patient:
            return False
        return n_tries < (_KNOCKS if self._state.answered else _TRIES)

    async def _pause(self, n_tries: int, error: NetworkError) -> None:
        delay = _delay(n_tries)
        log.warning("%s; trying again in %.1f s", error.message, delay)
        await asyncio.sleep(delay)

    def _refusal(self, pair: Pair) -> NoContextError:
        uid, syntax = pair
        return NoContextError(
            f"{self._state.remote} does not take {class_name(uid)} in {class_name(syntax)}",
            peer=str(self._state.remote),
        )


def _delay(n_tries: int) -> float:
    """Longer each time, and never the same for all who were turned away together."""
    delay: float = min(_BACKOFF * 2 ** (n_tries - 1), _LONGEST_BACKOFF)
    return delay * random.uniform(0.75, 1.25)
