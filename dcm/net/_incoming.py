"""Instances that a peer sends us: collected without being decoded, handed on, answered.

A small instance is kept whole in memory. A large one streams to a file that has no name yet, in worker threads, while
it arrives; where the disk is slower than the network, we stop reading.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dcm.errors import DcmError
from dcm.instance import Instance
from dcm.net._data_in import Incoming
from dcm.net.wire import Command, CommandField
from dcm.node import DicomOpType
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
    Begin: TypeAlias = "Callable[[DicomEvent, Pending], bool]"
    Refused: TypeAlias = "Callable[[Association], None]"
    Beginner: TypeAlias = "Callable[[Association], Begin | None]"

__all__ = ["DicomEvent", "Pending", "StoreService", "log_unkept"]

log = logging.getLogger(__name__)

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
CLASS_NOT_SUPPORTED = 0x0122
UNRECOGNISED_OPERATION = 0x0211
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000


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
    beginner : callable, optional
        ``beginner(association)`` may return who takes small instances of it without a task: ``begin(event, pending)``
        has ``pending.answer(status)`` called later, or returns False where the handler is to be asked.
    refused : callable, optional
        Told of each C-STORE request that is refused as it is, so that there is none for the handler either.
    """

    def __init__(
        self,
        bridge: Bridge,
        temp_maker: TempMaker,
        handler: Handler,
        unkept: Unkept | None = None,
        beginner: Beginner | None = None,
        refused: Refused | None = None,
    ) -> None:
        self.bridge = bridge
        self.temp_maker = temp_maker
        self._handler = handler
        self._unkept = unkept or log_unkept
        self._beginner = beginner
        self._refused = refused
        self._said: dict[Association, set[int]] = {}
        self._pending: set[Pending] = set()
        self._answered: asyncio.Future[None] | None = None
        self._incoming: dict[Association, Incoming] = {}
        self._tasks: dict[asyncio.Task[None], Association] = {}
        self._discarding: set[asyncio.Task[None]] = set()

    def request_received(
        self, association: Association, context_id: int, command: Command
    ) -> Incoming | _Ignored | None:
        """Begin to act on a request."""
        if command.field == CommandField.C_CANCEL_RQ:
            return None
        if command.field == CommandField.C_ECHO_RQ and not command.has_data:
            event = DicomEvent(DicomOpType.ECHO, association.calling_ae, association.called_ae, association.address)
            self._start(association, self._echo(association, context_id, command, event))
            return None
        refusal = self._refusal(association, context_id, command)
        if refusal is None:
            incoming = Incoming(self, association, context_id, command)
            self._incoming[association] = incoming
            return incoming
        if command.field == CommandField.C_STORE_RQ:
            self._tell(association, context_id, command, refusal)
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

    def _tell(self, association: Association, context_id: int, command: Command, status: int) -> None:
        """Say why a C-STORE request is refused, once on each association: the next one will be no better."""
        if self._refused is not None:
            self._refused(association)
        said = self._said.setdefault(association, set())
        if status in said:
            return
        said.add(status)
        uid, peer = safe_text(command.affected_class or "", 80), association.peer
        if status == CLASS_NOT_SUPPORTED:
            proposed = association.wire.contexts[context_id].abstract_syntax
            why = f"SOP class {uid} comes in a presentation context for {safe_text(proposed, 80)}"
            hint = "its sender has to propose the SOP class that it sends"
        else:
            why = f"a request with SOP class {uid or '(none)'} has no SOP class, no SOP Instance UID or no data set"
            hint = "its sender has to mend it"
        log.warning("what %s sends is refused (0x%04X): %s; %s", peer, status, why, hint)

    def received(self, incoming: Incoming) -> None:
        """All of an instance has come."""
        self._incoming.pop(incoming.association, None)
        if not self._begin(incoming):
            self._start(incoming.association, self._store(incoming))

    def _begin(self, incoming: Incoming) -> bool:
        """Have it taken without a task, if somebody does that."""
        association = incoming.association
        instance = incoming.whole() if self._beginner is not None else None
        if instance is None:
            return False
        assert self._beginner is not None
        begin = self._beginner(association)
        if begin is None:
            return False
        pending = Pending(self, association, incoming.context_id, incoming.command)
        if not begin(_event(association, incoming.command, instance), pending):
            return False
        association.begin_answer()
        self._pending.add(pending)
        return True

    def answered(self, pending: Pending) -> bool:
        """Forget a request that is about to be answered; False where nobody wants to know any more."""
        if pending not in self._pending:
            return False
        self._pending.discard(pending)
        if not self._pending and self._answered is not None and not self._answered.done():
            self._answered.set_result(None)
        return True

    def association_requested(self, association: Association, request: object) -> None:
        """Nothing to do: we asked for this association ourselves. A listener answers."""

    def association_closed(self, association: Association) -> None:
        """Forget what was coming in on an association that is over."""
        self._said.pop(association, None)
        incoming = self._incoming.pop(association, None)
        if incoming is not None:
            self._discard(incoming)

    def _discard(self, incoming: Incoming) -> None:
        incoming.unwanted = True
        task = asyncio.get_running_loop().create_task(incoming.discard())
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)

    async def close(self) -> None:
        """Stop answering, and wait until nothing is under way."""
        for incoming in self._incoming.values():
            self._discard(incoming)
        self._incoming.clear()
        self._pending.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks or self._discarding:
            await asyncio.wait([*tasks, *self._discarding])

    async def settled(self) -> None:
        """Wait until every instance that has come was handled."""
        while self._tasks or self._pending:
            if self._tasks:
                await asyncio.wait(list(self._tasks))
            else:
                self._answered = asyncio.get_running_loop().create_future()
                await self._answered

    def _start(self, association: Association, coroutine: Coroutine[None, None, None]) -> None:
        association.begin_answer()
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks[task] = association
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task).end_answer()

    async def _echo(self, association: Association, context_id: int, command: Command, event: DicomEvent) -> None:
        _Answer(association, context_id, command, await self._handle(event, association.peer)).send()

    async def _store(self, incoming: Incoming) -> None:
        association, command = incoming.association, incoming.command
        try:
            instance = await incoming.finish()
        except (OSError, DcmError) as error:
            self._unkept(association, safe_text(command.affected_instance or "without a UID", 80), error)
            _Answer(association, incoming.context_id, command, OUT_OF_RESOURCES).send()
            return
        event = _event(association, command, instance)
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


class Pending:
    """A C-STORE request that somebody acts on who will answer it."""

    def __init__(self, service: StoreService, association: Association, context_id: int, request: Command) -> None:
        self._service = service
        self._association = association
        self._context_id = context_id
        self._request = request

    def answer(self, status: int) -> bool:
        """Answer it; False where it is too late for that."""
        if not self._service.answered(self):
            return False
        _Answer(self._association, self._context_id, self._request, status).send()
        self._association.end_answer()
        return True


def _event(association: Association, command: Command, instance: Instance) -> DicomEvent:
    return DicomEvent(
        DicomOpType.STORE,
        association.calling_ae,
        association.called_ae,
        association.address,
        instance,
        command.move_originator or "",
        command.move_originator_id,
    )


def _refuse(association: Association, context_id: int, command: Command, status: int) -> _Ignored | None:
    answer = _Answer(association, context_id, command, status)
    if command.has_data:
        return _Ignored(answer.send)
    answer.send()
    return None


def log_unkept(association: Association, uid: str, error: Exception) -> None:
    """Say that an instance could not be written while it came."""
    log.error("cannot keep instance %s from %s: %s", uid, association.peer, error)
