"""Instances that a peer sends us: collected without being decoded, handed on, answered.

A small instance is kept whole in memory. A large one streams to a file that has no name yet, in worker threads, while
it arrives; where the disk is slower than the network, we stop reading.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dcm.errors import DcmError
from dcm.instance import Instance
from dcm.net.wire import Command, CommandField
from dcm.node import DicomOpType
from dcm.part10 import pack_meta
from dcm.text import safe_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import TypeAlias

    from dcm._atomic import TempFile
    from dcm._bridge import Bridge
    from dcm.net._association import Association

    Handler: TypeAlias = "Callable[[DicomEvent], Awaitable[int]]"
    TempMaker: TypeAlias = "Callable[[Association], Callable[[], TempFile]]"
    Unkept: TypeAlias = "Callable[[Association, str, Exception], None]"

__all__ = ["DicomEvent", "StoreService", "log_unkept"]

log = logging.getLogger(__name__)

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNISED_OPERATION = 0x0211
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000

# Up to here an instance is kept whole, from here on it streams to disk in pieces of this size.
SPILL_SIZE = 1 << 20
# What may wait for the disk before we stop reading from the peer.
_HIGH_WATER = 4 * SPILL_SIZE
_HEAD_SIZE = 1 << 16


@dataclass(frozen=True)
class DicomEvent:
    """A request of a peer, for the handler of a listener.

    Attributes
    ----------
    type : DicomOpType
        ECHO or STORE.
    calling_ae, called_ae : str
        As the peer gave them when it opened the association.
    address : str
        Where it called from.
    instance : Instance or None
        With STORE: what it sent, not decoded. It is the handler's to keep.
    move_originator : str
        AE title of who asked for a C-MOVE that this is part of, or empty (PS3.7 section 9.3.1.1).
    move_originator_id : int or None
        The message id of that C-MOVE.
    """

    type: DicomOpType
    calling_ae: str
    called_ae: str
    address: str
    instance: Instance | None = None
    move_originator: str = ""
    move_originator_id: int | None = field(default=None)


class _Incoming:
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

    async def finish(self) -> Instance:
        """Return the instance when all of it is in memory, or on its way to disk no more.

        Raises
        ------
        OSError, DcmError
            It could not be written.
        """
        source = self.association.calling_ae
        if self._stream is None:
            return Instance.from_buffer(*self._identity, self._data, source)
        await self._stream
        if self.error is not None:
            raise self.error
        assert self._temp is not None
        temp, self._temp = self._temp, None
        return Instance.from_temp(*self._identity, temp, self._offset, self._head, source)

    async def discard(self) -> None:
        """Give up; `unwanted` is set."""
        if self._stream is not None:
            self._stream.cancel()
            await self._service.bridge.run(self._drop)


class _Ignored:
    """A data set that nobody wants: a request that is refused, with its status sent at the end."""

    def __init__(self, answer: Callable[[], None]) -> None:
        self._answer = answer

    def feed(self, data: memoryview, last: bool) -> None:
        if last:
            self._answer()


class StoreService:
    """Answers C-ECHO and C-STORE on associations, as an acceptor or within our own C-GET (PS3.4 annexes A and B).

    Parameters
    ----------
    bridge : Bridge
        Large instances are written in its threads.
    temp_maker : callable
        ``temp_maker(association)`` returns what makes the file for one of them, to be called in a worker thread.
    handler : callable
        ``await handler(event)`` returns the DIMSE status of the answer. It is not sent before.
    unkept : callable, optional
        Told of an instance that could not be written while it came, so that there is none for the handler.
    """

    def __init__(self, bridge: Bridge, temp_maker: TempMaker, handler: Handler, unkept: Unkept | None = None) -> None:
        self.bridge = bridge
        self.temp_maker = temp_maker
        self._handler = handler
        self._unkept = unkept or log_unkept
        self._incoming: dict[Association, _Incoming] = {}
        self._tasks: dict[asyncio.Task[None], Association] = {}
        self._discarding: set[asyncio.Task[None]] = set()

    def request_received(
        self, association: Association, context_id: int, command: Command
    ) -> _Incoming | _Ignored | None:
        """Begin to act on a request."""
        if command.field == CommandField.C_CANCEL_RQ:
            return None
        if command.field == CommandField.C_ECHO_RQ and not command.has_data:
            event = DicomEvent(DicomOpType.ECHO, association.calling_ae, association.called_ae, association.address)
            self._start(association, self._echo(association, context_id, command, event))
            return None
        refusal = self._refusal(association, context_id, command)
        if refusal is None:
            incoming = _Incoming(self, association, context_id, command)
            self._incoming[association] = incoming
            return incoming
        return _refuse(association, context_id, command, refusal)

    def _refusal(self, association: Association, context_id: int, command: Command) -> int | None:
        """The status of a request that we do not even begin (PS3.7 annex C); None where we do."""
        if command.field != CommandField.C_STORE_RQ:
            return UNRECOGNISED_OPERATION
        if not command.has_data or not command.affected_instance or not command.affected_class:
            return CANNOT_UNDERSTAND
        if command.affected_class != association.wire.contexts[context_id].abstract_syntax:
            return CLASS_NOT_SUPPORTED
        return None

    def received(self, incoming: _Incoming) -> None:
        """All of an instance has come."""
        self._incoming.pop(incoming.association, None)
        self._start(incoming.association, self._store(incoming))

    def association_requested(self, association: Association, request: object) -> None:
        """Nothing to do: we asked for this association ourselves. A listener answers."""

    def association_closed(self, association: Association) -> None:
        """Forget what was coming in on an association that is over."""
        incoming = self._incoming.pop(association, None)
        if incoming is not None:
            self._discard(incoming)

    def _discard(self, incoming: _Incoming) -> None:
        incoming.unwanted = True
        task = asyncio.get_running_loop().create_task(incoming.discard())
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)

    async def close(self) -> None:
        """Stop answering, and wait until nothing is under way."""
        for incoming in self._incoming.values():
            self._discard(incoming)
        self._incoming.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks or self._discarding:
            await asyncio.wait([*tasks, *self._discarding])

    async def settled(self) -> None:
        """Wait until every instance that has come was handled."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _start(self, association: Association, coroutine: Coroutine[None, None, None]) -> None:
        association.begin_answer()
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks[task] = association
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task).end_answer()

    async def _echo(self, association: Association, context_id: int, command: Command, event: DicomEvent) -> None:
        _Answer(association, context_id, command, await self._handle(event, association.peer)).send()

    async def _store(self, incoming: _Incoming) -> None:
        association, command = incoming.association, incoming.command
        try:
            instance = await incoming.finish()
        except (OSError, DcmError) as error:
            self._unkept(association, safe_text(command.affected_instance or "without a UID", 80), error)
            _Answer(association, incoming.context_id, command, OUT_OF_RESOURCES).send()
            return
        event = DicomEvent(
            DicomOpType.STORE,
            association.calling_ae,
            association.called_ae,
            association.address,
            instance,
            command.move_originator or "",
            command.move_originator_id,
        )
        # Not closed here: the handler may keep it, and a worker thread may still read it where we are cancelled. Its
        # file goes with the last reference.
        status = await self._handle(event, association.peer)
        _Answer(association, incoming.context_id, command, status).send()

    async def _handle(self, event: DicomEvent, peer: str) -> int:
        """Call the handler; what it raises fails this one request, not the association."""
        try:
            status: object = await self._handler(event)
            if isinstance(status, int) and 0 <= status <= 0xFFFF:
                return int(status)
            log.error("the handler of a request of %s returned %r, which is no DIMSE status", peer, status)
        except DcmError as error:
            log.error("a request of %s failed: %s", peer, error)
        except Exception:
            log.exception("the handler of a request of %s failed", peer)
        return PROCESSING_FAILURE


class Nobody:
    """The owner of an association on which the peer has nothing to ask: requests are refused."""

    def request_received(self, association: Association, context_id: int, command: Command) -> _Ignored | None:
        """Refuse it."""
        if command.field == CommandField.C_CANCEL_RQ:
            return None
        return _refuse(association, context_id, command, UNRECOGNISED_OPERATION)

    def association_requested(self, association: Association, request: object) -> None:
        """Cannot happen: the association was our idea."""

    def association_closed(self, association: Association) -> None:
        """Nothing to forget."""


class _Answer:
    """The response to one request (PS3.7 section 9.3)."""

    def __init__(self, association: Association, context_id: int, request: Command, status: int) -> None:
        self._association = association
        self._context_id = context_id
        self._response = Command(
            request.field | 0x8000,
            responding_to=request.message_id,
            affected_class=request.affected_class or request.requested_class,
            affected_instance=request.affected_instance,
            status=status,
        )

    def send(self) -> None:
        self._association.respond(self._context_id, self._response)


def _refuse(association: Association, context_id: int, command: Command, status: int) -> _Ignored | None:
    answer = _Answer(association, context_id, command, status)
    if command.has_data:
        return _Ignored(answer.send)
    answer.send()
    return None


def log_unkept(association: Association, uid: str, error: Exception) -> None:
    """Say that an instance could not be written while it came."""
    log.error("cannot keep instance %s from %s: %s", uid, association.peer, error)
