"""The data set of an instance on its way in: kept whole while it is small, else written to disk as it comes."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from dcm.errors import DcmError
from dcm.instance import Instance
from dcm.part10 import pack_meta

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcm._atomic import TempFile
    from dcm.net._association import Association
    from dcm.net._incoming import StoreService
    from dcm.net.wire import Command

__all__ = ["SPILL_SIZE", "Incoming"]

# Up to here an instance is kept whole, from here on it streams to disk in pieces of this size.
SPILL_SIZE = 1 << 20
# What may wait for the disk before we stop reading from the peer.
_HIGH_WATER = 4 * SPILL_SIZE
_HEAD_SIZE = 1 << 16


class Incoming:
    """The data set of one C-STORE request on its way in."""

    def __init__(self, service: StoreService, association: Association, context_id: int, command: Command) -> None:
        self.association = association
        self.context_id = context_id
        self.command = command
        self.error: BaseException | None = None
        self.unwanted = False  # the association is over
        self._service = service
        self._syntax = association.wire.contexts[context_id].transfer_syntax
        self._data = bytearray()
        self._head = b""
        self._temp: TempFile | None = None
        self._temp_lock = threading.Lock()
        self._offset = 0
        self._stream: asyncio.Task[None] | None = None
        self._chunks: list[bytearray] = []
        self._waiting = 0
        self._ended = False
        self._wake: asyncio.Future[None] | None = None

    def feed(self, data: memoryview, last: bool) -> None:
        """Take a part of the data set (called by the association as it arrives)."""
        if self.unwanted:
            return
        self._data += data
        if len(self._data) >= SPILL_SIZE and not (last and self._stream is None):
            self._spill()
        if last:
            self._end()
            self._service.received(self)

    def _spill(self) -> None:
        chunk, self._data = self._data, bytearray()
        if self.error is not None:
            return
        self._chunks.append(chunk)
        self._waiting += len(chunk)
        if self._stream is None:
            self._head = bytes(chunk[:_HEAD_SIZE])
            self._stream = asyncio.get_running_loop().create_task(self._write())
        elif self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        if self._waiting > _HIGH_WATER:
            self.association.pause("disk")

    def _end(self) -> None:
        self._ended = True
        if self._stream is not None:
            self._spill()

    async def _write(self) -> None:
        """Write what arrives, all that has come meanwhile at a time, in worker threads."""
        bridge = self._service.bridge
        try:
            make_temp = self._service.temp_maker(self.association)
            while self._chunks or not self._ended:
                if self._chunks:
                    chunks, size = self._chunks, self._waiting
                    self._chunks = []
                    await bridge.run(self._append, make_temp, chunks, cost=size)
                    self._waiting -= size
                    if self._waiting <= _HIGH_WATER // 2:
                        self.association.resume("disk")
                else:
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
        except (OSError, DcmError) as error:
            # What is still to come of this instance is read and dropped; the sender is told at its end.
            self.error = error
            self._chunks.clear()
            self.association.resume("disk")

    def _append(self, make_temp: Callable[[], TempFile], chunks: list[bytearray]) -> None:
        """Write what has come, in a worker thread; the first time, what goes before it as well."""
        with self._temp_lock:
            if self.unwanted:
                return
            try:
                if self._temp is None:
                    self._temp = make_temp()
                    meta = pack_meta(*self._identity, self.association.calling_ae)
                    self._offset = len(meta)
                    self._temp.write(meta)
                self._temp.write(*chunks)
            except BaseException:
                # At once, and not with the last reference to it: the disk may be full.
                if self._temp is not None:
                    self._temp.discard()
                raise

    def _drop(self) -> None:
        """Discard what was written, in a worker thread; another one may still be writing."""
        with self._temp_lock:
            if self._temp is not None:
                self._temp.discard()

    @property
    def _identity(self) -> tuple[str, str, str]:
        return self.command.affected_class or "", self.command.affected_instance or "", self._syntax

    def whole(self) -> Instance | None:
        """The instance, if all of it is in memory."""
        if self._stream is not None:
            return None
        return Instance.from_buffer(*self._identity, self._data, self.association.calling_ae)

    async def finish(self) -> Instance:
        """Return the instance when all of it is in memory, or on its way to disk no more.

        Raises
        ------
        OSError, DcmError
            It could not be written.
        """
        if (instance := self.whole()) is not None:
            return instance
        assert self._stream is not None
        await self._stream
        if self.error is not None:
            raise self.error
        assert self._temp is not None
        temp, self._temp = self._temp, None
        return Instance.from_temp(*self._identity, temp, self._offset, self._head, self.association.calling_ae)

    async def discard(self) -> None:
        """Give up; `unwanted` is set."""
        if self._stream is not None:
            self._stream.cancel()
            await self._service.bridge.run(self._drop)
