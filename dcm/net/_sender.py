"""Sending instances to one peer (C-STORE as a user, PS3.4 annex B), straight from where they are, never decoded.

The presentation contexts follow from the instances at hand: one for each pair of SOP class and transfer syntax. When a
new pair turns up, another association takes over that also proposes it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from dcm.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    ConnectionFailedError,
    DataError,
    DcmError,
    NetworkError,
    NoContextError,
    PeerTimeoutError,
    StoreError,
)
from dcm.instance import Instance
from dcm.net._connect import connect
from dcm.net._contexts import MAX_CONTEXTS
from dcm.net._incoming import SPILL_SIZE
from dcm.net._operations import store
from dcm.net._registry import class_name, status_text, wants_class
from dcm.report import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom import Dataset

    from dcm._bridge import Bridge
    from dcm.net._association import Association
    from dcm.net._owner import Owner
    from dcm.node import DcmNode, RemoteNode
    from dcm.report import TransferReport

__all__ = ["SendQueue", "Sender"]

log = logging.getLogger(__name__)

_QUEUE_LENGTH = 64
_QUEUE_BYTES = 32 << 20
_TRIES = 3
_BACKOFF = 0.5
# One instance after the other that ends the association: it is the peer that is broken, not they.
_MOST_CHOKED = 3

_Pair = tuple[str, str]


class SendQueue:
    """What `LocalEntity.send` gives: put instances in, they are sent in that order.

    Attributes
    ----------
    failure : BaseException or None
        What ended the sending before its time.
    """

    def __init__(
        self,
        remote: RemoteNode,
        bridge: Bridge,
        report: TransferReport,
        transfer_syntaxes: Iterable[str] | None = None,
        dest: str = "",
    ) -> None:
        self._remote = remote
        self._bridge = bridge
        self._report = report
        self._dest = dest
        syntaxes = remote.transfer_syntaxes or None if transfer_syntaxes is None else transfer_syntaxes
        self._syntaxes = frozenset(syntaxes) if syntaxes is not None else None
        self._waiting: deque[tuple[Instance, asyncio.Future[bool] | None]] = deque()
        self._bytes = 0
        self._ended = False
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self.failure: BaseException | None = None

    async def put(self, item: Dataset | Instance | str | os.PathLike[str]) -> None:
        """Send an instance; waits while there is no room.

        Parameters
        ----------
        item : Dataset, Instance or path
            A file is read in a worker thread, and one that cannot be read, or is not DICOM, fails by itself.

        Raises
        ------
        DcmError
            What ended the sending.
        """
        self._check()
        if isinstance(item, (str, os.PathLike)):
            try:
                instance = await self._bridge.run(_load, item)
            except (DataError, StoreError, OSError) as error:
                reason = error.message if isinstance(error, DcmError) else (error.strerror or str(error))
                self._fail(os.fspath(item), f"cannot be read: {reason}", item)
                return
        else:
            instance = item if isinstance(item, Instance) else Instance.from_dataset(item)
        await self._add(instance, None)

    async def place(self, instance: Instance) -> bool:
        """Send an instance, wait until the peer has answered, and say whether it has it now.

        Raises
        ------
        DcmError
            What ended the sending.
        """
        self._check()
        placed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        await self._add(instance, placed)
        return await placed

    async def _add(self, instance: Instance, placed: asyncio.Future[bool] | None) -> None:
        self._report.expect([instance.sop_instance_uid], dest=self._dest)
        if not wants_class(self._remote, instance.sop_class_uid):
            reason = f"the settings of {self._remote} leave out {class_name(instance.sop_class_uid)}"
            self._report.record(instance.sop_instance_uid, Outcome.FILTERED, dest=self._dest, reason=reason)
            if placed is not None:
                placed.set_result(True)
            return
        if self._syntaxes is not None and instance.transfer_syntax_uid not in self._syntaxes:
            reason = f"is in {class_name(instance.transfer_syntax_uid)}, which is not to be sent"
            self._fail(instance.sop_instance_uid, reason, instance.path)
            if placed is not None:
                placed.set_result(False)
            return
        while len(self._waiting) >= _QUEUE_LENGTH or (self._bytes and self._bytes + _weight(instance) > _QUEUE_BYTES):
            self._room.clear()
            await self._room.wait()
            self._check()
        self._bytes += _weight(instance)
        self._waiting.append((instance, placed))
        self._more.set()

    def _fail(self, uid: str, reason: str, path: str | os.PathLike[str] | None, *, refused: bool = False) -> None:
        self._report.record(uid, Outcome.FAILED, dest=self._dest, reason=reason, path=path, refused=refused)

    async def take(self) -> tuple[Instance, asyncio.Future[bool] | None] | None:
        """Return the next instance, None at the end."""
        while not self._waiting and not self._ended:
            self._more.clear()
            await self._more.wait()
        if not self._waiting:
            return None
        taken = self._waiting.popleft()
        self._bytes -= _weight(taken[0])
        self._room.set()
        return taken

    def pairs(self) -> set[_Pair]:
        """SOP class and transfer syntax of all that waits."""
        return {_pair(instance) for instance, _ in self._waiting}

    def end(self) -> None:
        """Say that nothing more will come."""
        self._ended = True
        self._more.set()

    def fail(self, error: BaseException) -> None:
        """Let nobody wait any more: nothing will be sent."""
        self.failure = error
        for instance, placed in self._waiting:
            self._fail(instance.sop_instance_uid, _why(error), instance.path, refused=isinstance(error, NetworkError))
            if placed is not None and not placed.done():
                placed.set_exception(error)
        self._waiting.clear()
        self._room.set()

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure


class Sender:
    """Sends what comes through a queue.

    Parameters
    ----------
    local, remote : DcmNode, RemoteNode
    bridge : Bridge
    owner : Owner
        Answers what the peer may ask on our associations.
    report : TransferReport
    dest : str
        The name of the destination in the report.
    """

    def __init__(
        self,
        local: DcmNode,
        remote: RemoteNode,
        bridge: Bridge,
        owner: Owner,
        report: TransferReport,
        dest: str = "",
    ) -> None:
        self._local = local
        self._remote = remote
        self._bridge = bridge
        self._owner = owner
        self._report = report
        self._dest = dest
        self._association: Association | None = None
        self._pairs: OrderedDict[_Pair, None] = OrderedDict()
        self._refused: set[_Pair] = set()
        self._answered = False
        self._choked = 0

    async def run(self, queue: SendQueue) -> None:
        """Send until the queue ends.

        Raises
        ------
        NetworkError
            The peer cannot be reached, refuses us, or breaks every association.
        """
        try:
            while (taken := await queue.take()) is not None:
                instance, placed = taken
                try:
                    safe = await self._send(instance, queue)
                except BaseException as error:
                    self._record(instance, Outcome.FAILED, _why(error))
                    if placed is not None and not placed.done():
                        placed.set_exception(error)
                    raise
                if placed is not None and not placed.done():
                    placed.set_result(safe)
        except BaseException as error:
            queue.fail(error)
            raise
        finally:
            await self.close()

    async def close(self) -> None:
        """Release the association."""
        association, self._association = self._association, None
        if association is not None:
            await association.release()

    async def _send(self, instance: Instance, queue: SendQueue) -> bool:
        """Send one instance, and say whether the peer has it.

        On another association where this one breaks, and once more where the peer is short of resources.
        """
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(_BACKOFF * 2**attempt)
            last = attempt == _TRIES - 1
            try:
                association = await self._association_for(_pair(instance), queue)
                status = await store(association, instance, self._bridge)
            except NoContextError as error:
                self._record(instance, Outcome.FAILED, error.message)
                return False
            except (
                AssociationAbortedError,
                PeerTimeoutError,
                AssociationRejectedError,
                ConnectionFailedError,
            ) as error:
                await self.close()
                if not self._worth_a_try(error):
                    raise
                if last or (attempt and isinstance(error, PeerTimeoutError)):
                    # It may be this one instance that the peer chokes on, time and again: the others are not to blame.
                    self._choked += 1
                    if self._choked == _MOST_CHOKED or isinstance(error, ConnectionFailedError):
                        raise
                    self._record(instance, Outcome.FAILED, error.message)
                    return False
                log.warning("%s; trying again", error.message)
                continue
            except (OSError, DcmError) as error:
                if isinstance(error, NetworkError):
                    raise
                self._record(instance, Outcome.FAILED, f"cannot be read: {error}")
                return False
            self._choked = 0
            self._answered = True
            # Out of resources is the one failure that another try may cure (PS3.4 table B.2-1).
            if status & 0xFF00 != 0xA700 or last:
                return self._judge(instance, status)
        return False

    def _worth_a_try(self, error: NetworkError) -> bool:
        """Whether another association may help; a peer that never took one is not asked again."""
        if isinstance(error, AssociationRejectedError):
            return error.transient and self._answered
        return self._answered or not isinstance(error, ConnectionFailedError)

    def _judge(self, instance: Instance, status: int) -> bool:
        if status == 0:
            self._record(instance, Outcome.SENT, "", instance.size)
        elif status & 0xF000 == 0xB000:
            self._record(instance, Outcome.WARNED, status_text("C-STORE", status), instance.size, status)
        else:
            self._record(instance, Outcome.FAILED, status_text("C-STORE", status), 0, status)
            return False
        return True

    def _record(
        self, instance: Instance, outcome: Outcome, reason: str, n_bytes: int = 0, status: int | None = None
    ) -> None:
        refused = outcome is Outcome.FAILED and not reason.startswith("cannot be read")
        self._report.record(
            instance.sop_instance_uid,
            outcome,
            dest=self._dest,
            n_bytes=n_bytes,
            reason=reason,
            status=status,
            refused=refused,
            path=instance.path,
        )

    async def _association_for(self, pair: _Pair, queue: SendQueue) -> Association:
        """The association that has a context for a pair, as far as the peer accepts one."""
        association = self._association
        if pair in self._refused:
            raise self._refusal(pair)
        if association is not None and association.usable and pair in self._pairs:
            return association
        await self.close()
        # Propose what waits as well, and what was needed before: the fewer associations, the better.
        proposed = list(dict.fromkeys([pair, *queue.pairs(), *self._pairs]))[:MAX_CONTEXTS]
        contexts = [(uid, (syntax,)) for uid, syntax in proposed]
        try:
            self._association = association = await connect(self._local, self._remote, contexts, self._owner)
        except NoContextError:
            self._refused.update(proposed)
            raise self._refusal(pair) from None
        accepted = {(c.abstract_syntax, c.transfer_syntax) for c in association.wire.contexts.values()}
        self._pairs = OrderedDict.fromkeys(p for p in proposed if p in accepted)
        self._refused.update(p for p in proposed if p not in accepted)
        if pair not in accepted:
            raise self._refusal(pair)
        return association

    def _refusal(self, pair: _Pair) -> NoContextError:
        uid, syntax = pair
        return NoContextError(
            f"{self._remote} does not take {class_name(uid)} in {class_name(syntax)}", peer=str(self._remote)
        )


def _why(error: BaseException) -> str:
    return error.message if isinstance(error, DcmError) else "the transfer was stopped"


def _load(path: str | os.PathLike[str]) -> Instance:
    """Read a file: a small one whole, so that sending it needs the disk no more."""
    instance = Instance.from_file(path)
    if instance.size > SPILL_SIZE:
        return instance
    loaded = Instance.from_buffer(*_identity(instance), instance.read(0, instance.size), path=instance.path)
    instance.close()
    return loaded


def _identity(instance: Instance) -> tuple[str, str, str]:
    return instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid


def _pair(instance: Instance) -> _Pair:
    return instance.sop_class_uid, instance.transfer_syntax_uid


def _weight(instance: Instance) -> int:
    return instance.size if instance.in_memory else 0
