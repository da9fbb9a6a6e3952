"""What waits to be sent to one peer, in its order; files are read by worker threads before it is their turn."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING

from dcm.errors import DcmError, NetworkError
from dcm.instance import Instance
from dcm.net._data_in import SPILL_SIZE
from dcm.net._loading import BATCH_BYTES, load_all
from dcm.net._registry import class_name, wants_class
from dcm.net._tasks import cancel_all
from dcm.part10 import DEFLATED_SYNTAXES
from dcm.report import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom import Dataset

    from dcm._bridge import Bridge
    from dcm.node import RemoteNode
    from dcm.report import TransferReport

__all__ = ["Item", "Pair", "SendQueue", "pair_of", "why"]

_QUEUE_LENGTH = 256
_QUEUE_BYTES = 32 << 20
# Crossing to a thread and back costs as much as reading several small files.
_BATCH_LENGTH = 32
_MOST_READERS = 2

Pair = tuple[str, str]


class Item:
    """An instance on its way.

    Attributes
    ----------
    source : Instance or path
        What was put in.
    instance : Instance or None
        What is to be sent, once that is known: one that is small enough is in memory then.
    placed : Future or None
        Whether the peer has it, for whoever waits.
    tries : int
        How many associations have broken while it was being sent.
    answers : int
        How often the peer had no room for it just then.
    over : bool
        Whether it has reached an end.
    """

    __slots__ = ("answers", "instance", "number", "over", "placed", "source", "tries")

    def __init__(self, source: Instance | str | os.PathLike[str], placed: asyncio.Future[bool] | None) -> None:
        self.number = 0
        self.source = source
        self.instance: Instance | None = None
        self.placed = placed
        self.tries = 0
        self.answers = 0
        self.over = False

    @property
    def weight(self) -> int:
        """Bytes that it holds in memory."""
        return self.instance.size if self.instance is not None and self.instance.in_memory else 0

    def end(self, *, safe: bool) -> None:
        """It has reached an end: say whether the peer has it, or need not have it."""
        self.over = True
        if self.placed is not None and not self.placed.done():
            self.placed.set_result(safe)


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
        self._waiting: deque[Item] = deque()
        self._unread: deque[Item] = deque()
        self._readers: set[asyncio.Task[None]] = set()
        self._n_readers = 1
        self._bytes = 0
        self._n_put = 0
        self._n_out = 0
        self._ended = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self.failure: BaseException | None = None

    # -- for whoever has something to send -----------------------------------------------------------------------------

    async def put(self, item: Dataset | Instance | str | os.PathLike[str]) -> None:
        """Send an instance; waits while there is no room.

        Parameters
        ----------
        item : Dataset, Instance or path
            A file is read in a worker thread, and one that cannot be read, is not DICOM or is cut short fails by
            itself.

        Raises
        ------
        DcmError
            What ended the sending.
        """
        if self.failure is not None:
            raise self.failure
        if not isinstance(item, (str, os.PathLike, Instance)):
            item = Instance.from_dataset(item)
        await self._add(Item(item, None))

    async def place(self, instance: Instance) -> bool:
        """Send an instance, wait until the peer has answered, and say whether it has it now.

        Raises
        ------
        DcmError
            What ended the sending.
        """
        if self.failure is not None:
            raise self.failure
        placed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        await self._add(Item(instance, placed))
        return await placed

    async def _add(self, item: Item) -> None:
        source = item.source
        weight = 0
        if isinstance(source, Instance):
            if not self._admit(item, source):
                return
            weight = source.size if source.in_memory else 0
        while len(self._waiting) >= _QUEUE_LENGTH or (self._bytes and self._bytes + weight > _QUEUE_BYTES):
            self._room.clear()
            await self._room.wait()
            if self.failure is not None:
                raise self.failure
        self._n_put += 1
        item.number = self._n_put
        self._waiting.append(item)
        if isinstance(source, Instance) and (source.in_memory or source.size > SPILL_SIZE):
            item.instance = source
            self._bytes += weight
            self._changed.set()
        else:
            self._unread.append(item)
            self._read_ahead()

    def end(self) -> None:
        """Say that nothing more will come."""
        self._ended = True
        self._changed.set()

    # -- reading ahead -------------------------------------------------------------------------------------------------

    def _read_ahead(self) -> None:
        if not self._unread or len(self._readers) >= self._n_readers:
            return
        # What is next must be read, whatever else there is.
        if self._bytes < _QUEUE_BYTES or self._unread[0] is self._waiting[0]:
            reader = asyncio.get_running_loop().create_task(self._read())
            self._readers.add(reader)
            reader.add_done_callback(self._reader_ended)

    def _reader_ended(self, reader: asyncio.Task[None]) -> None:
        self._readers.discard(reader)
        if self.failure is None:
            self._read_ahead()
        self._changed.set()

    async def _read(self) -> None:
        """Have one batch of files read, or as much of it as is worth a trip."""
        batch = [self._unread.popleft() for _ in range(min(len(self._unread), _BATCH_LENGTH))]
        if not batch:
            return
        loaded = await self._bridge.run(load_all, [item.source for item in batch], cost=BATCH_BYTES)
        if len(loaded) < len(batch):
            self._unread.extend(batch[len(loaded) :])
            self._unread = deque(sorted(self._unread, key=lambda item: item.number))
        for item, result in zip(batch, loaded, strict=False):
            if item.over:
                continue
            if not isinstance(result, Instance):
                self._unreadable(item, result)
            elif isinstance(item.source, Instance) or self._admit(item, result):
                item.instance = result
                self._bytes += item.weight

    def _unreadable(self, item: Item, reason: str) -> None:
        source = item.source
        subject, path = (
            (source.sop_instance_uid, source.path) if isinstance(source, Instance) else (os.fspath(source), source)
        )
        self._fail(subject, f"cannot be read: {reason}", path)
        item.end(safe=False)

    def _admit(self, item: Item, instance: Instance) -> bool:
        """Whether an instance is to be sent at all; what is not has reached its end."""
        self._report.expect([instance.sop_instance_uid], dest=self._dest)
        if not wants_class(self._remote, instance.sop_class_uid):
            reason = f"the settings of {self._remote} leave out {class_name(instance.sop_class_uid)}"
            self._report.record(instance.sop_instance_uid, Outcome.FILTERED, dest=self._dest, reason=reason)
            item.end(safe=True)
            return False
        reason = ""
        if self._syntaxes is not None and instance.transfer_syntax_uid not in self._syntaxes:
            reason = f"is in {class_name(instance.transfer_syntax_uid)}, which is not to be sent"
        elif instance.size % 2 and instance.transfer_syntax_uid not in DEFLATED_SYNTAXES:
            # PS3.5 section 7.1.1. Orthanc gives up half-way, and storescp waits for the byte that is missing.
            reason = "its data set has an odd number of bytes, so it is malformed, and peers would choke on it"
        if reason:
            self._fail(instance.sop_instance_uid, reason, instance.path)
            item.end(safe=False)
        return not reason

    def _fail(self, uid: str, reason: str, path: str | os.PathLike[str] | None, *, refused: bool = False) -> None:
        self._report.record(uid, Outcome.FAILED, dest=self._dest, reason=reason, path=path, refused=refused)

    # -- for whoever sends ---------------------------------------------------------------------------------------------

    async def take(self) -> Item | None:
        """Return the next item, its instance known; None when there will be no more.

        Whoever takes it says `done`, or puts it `back`.
        """
        while (item := self.take_now()) is None:
            if not self._waiting and self._ended and not self._n_out:
                return None
            if self._unread and self._n_put > len(self._waiting):
                # The disk is slower than the peer. Else one reader is better: the others would only be in our way.
                self._n_readers = _MOST_READERS
                self._read_ahead()
            self._changed.clear()
            await self._changed.wait()
        return item

    def take_now(self) -> Item | None:
        """Return the next item if it is there and has been read."""
        waiting = self._waiting
        while waiting and waiting[0].over:
            waiting.popleft()
        item = None
        if waiting and waiting[0].instance is not None:
            item = waiting.popleft()
            self._bytes -= item.weight
            self._n_out += 1
        self._make_room()
        return item

    def _make_room(self) -> None:
        # Not for each single one: whoever puts in would be woken for nothing more than that.
        if len(self._waiting) <= _QUEUE_LENGTH // 2 and self._bytes < _QUEUE_BYTES:
            self._room.set()
        self._read_ahead()

    def done(self) -> None:
        """An item that was taken has reached its end."""
        self._n_out -= 1
        if self._ended and not self._n_out:
            self._changed.set()

    def back(self, item: Item) -> None:
        """An item that was taken is to be sent by somebody else."""
        self._waiting.appendleft(item)
        self._bytes += item.weight
        self._n_out -= 1
        self._changed.set()

    @property
    def backlog(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def pairs(self) -> list[Pair]:
        """SOP class and transfer syntax of what waits, as far as it has been read; waits while it is being read."""
        while self._readers and self._bytes < BATCH_BYTES:
            await asyncio.wait(list(self._readers), return_when=asyncio.FIRST_COMPLETED)
        return list(dict.fromkeys(pair_of(item.instance) for item in self._waiting if item.instance is not None))

    async def close(self) -> None:
        """Stop reading: nothing more will be sent."""
        await cancel_all(*self._readers)

    def fail(self, error: BaseException) -> None:
        """Let nobody wait any more: nothing will be sent."""
        self.failure = error
        for item in self._waiting:
            if item.over:
                continue
            known = item.instance or item.source
            subject, path = (
                (known.sop_instance_uid, known.path) if isinstance(known, Instance) else (os.fspath(known), known)
            )
            self._fail(subject, why(error), path, refused=isinstance(error, NetworkError))
            item.over = True
            if item.placed is not None and not item.placed.done():
                item.placed.set_exception(error)
        self._waiting.clear()
        self._unread.clear()
        self._room.set()


def why(error: BaseException) -> str:
    """The reason that a report gives for what an error has kept from being sent."""
    return error.message if isinstance(error, DcmError) else "the transfer was stopped"


def pair_of(instance: Instance) -> Pair:
    """SOP class and transfer syntax: what a presentation context is for."""
    return instance.sop_class_uid, instance.transfer_syntax_uid
