"""DIMSE operations as a user (PS3.7 section 9.1) on an open association.

Each is a coroutine or an asynchronous generator. One that is left before its final response, by an exception, by
`break` or because the task is cancelled, sends a C-CANCEL, gives the peer a moment to agree, and aborts if it does not.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcm.errors import NetworkError, NoContextError, OperationFailedError, ProtocolError, StoreError
from dcm.net._registry import VERIFICATION, class_name, status_text
from dcm.net._tasks import cancel_all, within
from dcm.net.wire import Command, CommandField, Priority
from dcm.part10 import DEFLATED_SYNTAXES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dcm._bridge import Bridge
    from dcm.instance import Instance
    from dcm.net._association import Association
    from dcm.net._exchange import Exchange
    from dcm.net.wire import Context
    from dcm.net.wire.pdu import Buffer

__all__ = ["SubOperations", "begin_store", "context_for", "echo", "find", "get", "is_pending", "move", "store"]

# C-CANCEL, then release or abort: all of it within two seconds.
_CANCEL_WITHIN = 0.8
_CHUNK = 1 << 20


def is_pending(status: int | None) -> bool:
    """Whether a status says that more is to come (PS3.4 section C.4.1.1.4)."""
    return status in (0xFF00, 0xFF01)


@dataclass(frozen=True)
class SubOperations:
    """One C-GET or C-MOVE response (PS3.4 sections C.4.2 and C.4.3); a count is None where the peer gave none."""

    status: int
    remaining: int | None
    completed: int | None
    failed: int | None
    warning: int | None
    comment: str
    identifier: bytes | None
    transfer_syntax: str

    @property
    def pending(self) -> bool:
        """Whether more is to come."""
        return is_pending(self.status)


def context_for(association: Association, sop_class: str, transfer_syntax: str = "") -> Context:
    """An accepted presentation context.

    Raises
    ------
    NoContextError
        The peer accepted none for this SOP class, or none with this transfer syntax.
    """
    association.check()
    for context in association.wire.contexts.values():
        if context.abstract_syntax == sop_class and transfer_syntax in ("", context.transfer_syntax):
            return context
    syntax = f" in {class_name(transfer_syntax)}" if transfer_syntax else ""
    raise NoContextError(
        f"{association.peer} accepted no presentation context for {class_name(sop_class)}{syntax}",
        peer=association.peer,
        hint="it does not offer that service, or not to us",
    )


async def _responses(
    association: Association, exchange: Exchange
) -> AsyncGenerator[tuple[Command, bytes | None], None]:
    """Yield the responses to a request that can be cancelled, the final one included."""
    try:
        while True:
            response, identifier = await exchange.next()
            yield response, identifier
            if not is_pending(response.status):
                return
    finally:
        association.resume("responses")
        if not exchange.finished and association.usable:
            association.cancel(exchange)
            try:
                await within(_drain(exchange), _CANCEL_WITHIN)
            except (asyncio.TimeoutError, NetworkError):
                await association.abort()
            except asyncio.CancelledError:
                await association.abort()
                raise


async def _drain(exchange: Exchange) -> None:
    while is_pending((await exchange.next())[0].status):
        pass


def _status(association: Association, response: Command) -> int:
    if response.status is None:
        association.fail(ProtocolError(f"{association.peer} answered without a status (PS3.7 section 9.3)"))
        association.check()
    return response.status or 0


async def echo(association: Association) -> int:
    """C-ECHO (PS3.7 section 9.1.5): returns the status."""
    context = context_for(association, VERIFICATION)
    exchange = association.start(context.id, Command(CommandField.C_ECHO_RQ, affected_class=VERIFICATION))
    response, _ = await exchange.next()
    return _status(association, response)


async def find(
    association: Association, sop_class: str, identifier: bytes
) -> AsyncGenerator[tuple[int, bytes | None, str], None]:
    """C-FIND (PS3.7 section 9.1.2).

    Parameters
    ----------
    association : Association
    sop_class : str
        The information model.
    identifier : bytes
        Encoded in the transfer syntax of the accepted context.

    Yields
    ------
    int, bytes or None, str
        Status, identifier and Error Comment of each response, the final one included, whatever it says.
    """
    context = context_for(association, sop_class)
    command = Command(CommandField.C_FIND_RQ, affected_class=sop_class, priority=Priority.MEDIUM, has_data=True)
    exchange = association.start(context.id, command, identifier)
    async with contextlib.aclosing(_responses(association, exchange)) as responses:
        async for response, data in responses:
            yield _status(association, response), data, response.error_comment or ""


def get(association: Association, sop_class: str, identifier: bytes) -> AsyncGenerator[SubOperations, None]:
    """C-GET (PS3.7 section 9.1.3): the instances come to the association's owner.

    Yields
    ------
    SubOperations
        Each response, the final one included, whatever it says.
    """
    command = Command(CommandField.C_GET_RQ, affected_class=sop_class, priority=Priority.MEDIUM, has_data=True)
    return _sub_operations(association, command, identifier)


def move(
    association: Association, sop_class: str, identifier: bytes, destination: str
) -> AsyncGenerator[SubOperations, None]:
    """C-MOVE (PS3.7 section 9.1.4): the instances go to the AE title `destination`, as the peer knows it.

    Yields
    ------
    SubOperations
        Each response, the final one included, whatever it says.
    """
    command = Command(CommandField.C_MOVE_RQ, affected_class=sop_class, priority=Priority.MEDIUM, has_data=True)
    command.move_destination = destination
    return _sub_operations(association, command, identifier)


async def _sub_operations(
    association: Association, command: Command, identifier: bytes
) -> AsyncGenerator[SubOperations, None]:
    context = context_for(association, command.affected_class or "")
    exchange = association.start(context.id, command, identifier)
    async with contextlib.aclosing(_responses(association, exchange)) as responses:
        async for response, data in responses:
            yield SubOperations(
                _status(association, response),
                response.remaining,
                response.completed,
                response.failed,
                response.warning,
                response.error_comment or "",
                data,
                context.transfer_syntax,
            )


async def store(association: Association, context: Context, instance: Instance, bridge: Bridge) -> int:
    """C-STORE (PS3.7 section 9.1.1), the data set as it is, never decoded.

    Parameters
    ----------
    association : Association
    context : Context
        Accepted for its SOP class and transfer syntax.
    instance : Instance
    bridge : Bridge
        Files are read in its threads.

    Returns
    -------
    int
        The status.

    Raises
    ------
    NetworkError
        The association failed.
    StoreError
        The file of the instance cannot be read, or has changed; the association is aborted if part of it had been sent.
    """
    size = instance.size
    # Read before anything is said: a file that cannot be read then costs one instance, not the association.
    chunk = await _read(instance, bridge, 0, min(size, _CHUNK))
    whole = len(chunk) == size
    exchange = begin_store(association, context, instance, chunk if whole else None)
    if not whole:
        await _send_rest(association, context.id, instance, bridge, chunk)
    await association.drained()
    response, _ = await exchange.next()
    return _status(association, response)


def begin_store(association: Association, context: Context, instance: Instance, data: Buffer | None) -> Exchange:
    """Send the request of a C-STORE, and the data set if it is given."""
    if data is not None:
        data = _even(instance, data)
    command = Command(
        CommandField.C_STORE_RQ,
        affected_class=instance.sop_class_uid,
        affected_instance=instance.sop_instance_uid,
        priority=Priority.MEDIUM,
        has_data=True,
    )
    return association.start(context.id, command, data)


async def _send_rest(
    association: Association, context_id: int, instance: Instance, bridge: Bridge, chunk: Buffer
) -> None:
    """Send a data set chunk by chunk; while one is on its way, the next is read."""
    size, sent = instance.size, 0
    ahead: asyncio.Future[Buffer] | None = None
    try:
        while True:
            sent += len(chunk)
            if sent == size:
                chunk = _even(instance, chunk)
            else:
                ahead = asyncio.ensure_future(_read(instance, bridge, sent, min(size - sent, _CHUNK)))
            await association.send_data(context_id, chunk, last=sent == size)
            if ahead is None:
                return
            chunk, ahead = await ahead, None
    except BaseException:
        # Half of a data set has left, and there is no way to take it back but to end the association.
        if ahead is not None:
            await cancel_all(ahead)
        await association.abort()
        raise


def _even(instance: Instance, end: Buffer) -> Buffer:
    """The end of a data set as it is sent: a deflated one of odd length is padded (PS3.5 section A.5).

    Some files are not, and a peer by DCMTK waits for ever, or aborts, where it is sent an odd number of bytes.
    """
    if instance.size % 2 and instance.transfer_syntax_uid in DEFLATED_SYNTAXES:
        return bytes(end) + b"\0"
    return end


async def _read(instance: Instance, bridge: Bridge, offset: int, n: int) -> Buffer:
    if instance.in_memory:
        return instance.read(offset, n)
    chunk = await bridge.run(instance.read, offset, n, cost=n)
    if len(chunk) != n:
        raise StoreError("a temporary file is shorter than it was")
    return chunk


def failure(operation: str, association: Association, status: int, comment: str = "") -> OperationFailedError:
    """The error for a failure status."""
    said = f" ({comment})" if comment else ""
    return OperationFailedError(
        f"{association.peer} failed the {operation}: {status_text(operation, status)}{said}",
        peer=association.peer,
        status=status,
    )
