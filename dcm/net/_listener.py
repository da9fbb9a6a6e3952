"""Associations that others ask of us: who may, what they may ask, and who answers.

One `Listener` serves one port in one event loop; several handlers share it where their filters do not collide.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import tempfile
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from dcm._atomic import TempFile
from dcm._bridge import Bridge
from dcm.errors import ListenError
from dcm.net._association import Association
from dcm.net._incoming import CLASS_NOT_SUPPORTED, SUCCESS, DicomEvent, StoreService, log_unkept
from dcm.net._policy import AccessPolicy
from dcm.net._registry import IMPLICIT_LE, STORAGE_SYNTAXES, UNCOMPRESSED, VERIFICATION, storage_classes
from dcm.net._talk import log_association
from dcm.net._tasks import within
from dcm.net.tls import server_context
from dcm.net.wire import AssociateAccept, AssociateReject, Limits, accept_contexts
from dcm.node import DicomOpType
from dcm.text import safe_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dcm.net._incoming import Begin, Handler
    from dcm.net._owner import DataSink
    from dcm.net._policy import EventFilter
    from dcm.net.wire import AssociateRequest, Command
    from dcm.node import DcmNode, Timeouts, TlsConfig

__all__ = ["CLOSE_WITHIN", "Listener", "temp_file"]

log = logging.getLogger(__name__)

CLOSE_WITHIN = 1.0
_GRACE = 0.5
# Between two instances a sender needs a moment, for its disk; one that is silent for longer has none under way.
_SILENT = 1.0
_TRANSIENT, _PERMANENT = 2, 1
_BY_USER, _BY_PRESENTATION = 1, 3
_TOO_MANY = AssociateReject(_TRANSIENT, _BY_PRESENTATION, 2)
_CALLING_UNKNOWN = AssociateReject(_PERMANENT, _BY_USER, 3)
_CALLED_UNKNOWN = AssociateReject(_PERMANENT, _BY_USER, 7)


class _Entry(NamedTuple):
    event_filter: EventFilter
    handler: Handler
    new_temp: Callable[[], TempFile]
    private_classes: frozenset[str]
    unkept: Callable[[DicomEvent, str, Exception], None] | None
    begin: Begin | None
    refused: Callable[[], None] | None


class Listener:
    """Listens on the local node's port while at least one handler is registered.

    Parameters
    ----------
    local : DcmNode
        Host (the interface), AE title and port; port 0 lets the system choose one, see `port`.
    bridge : Bridge
    timeouts : Timeouts
    policy : AccessPolicy, optional
    private_classes : iterable of str
        Storage SOP classes to accept beyond those of the standard.
    tls : TlsConfig, optional
    limits : Limits, optional
    """

    def __init__(
        self,
        local: DcmNode,
        bridge: Bridge,
        timeouts: Timeouts,
        *,
        policy: AccessPolicy | None = None,
        private_classes: Iterable[str] = (),
        tls: TlsConfig | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.local = local
        self.port = local.port
        self._timeouts = timeouts
        self._policy = policy or AccessPolicy()
        self._tls = tls
        self._limits = limits or Limits()
        self._private_classes = frozenset(private_classes)
        self._service = StoreService(
            bridge, self._temp_maker, self._dispatch, self._unkept, self._beginner, self._refused
        )
        self._handlers: list[_Entry] = []
        self._free = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._associations: set[Association] = set()
        self._per_address: Counter[str] = Counter()
        self._peers: dict[Association, tuple[str, str]] = {}
        self._draining = False

    async def open(self) -> None:
        """Begin to listen.

        Raises
        ------
        ListenError
            The port is taken, or it or the interface is not ours to take.
        """
        loop = asyncio.get_running_loop()
        context = server_context(self._tls) if self._tls is not None else None
        try:
            self._server = await loop.create_server(
                self._accepted,
                self.local.host,
                self.local.port,
                ssl=context,
                ssl_handshake_timeout=self._timeouts.association if context is not None else None,
                backlog=256,
            )
        except OSError as error:
            raise _listen_error(self.local, error) from error
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def n_associations(self) -> int:
        """How many associations are open, or about to be."""
        return len(self._associations)

    async def deserted(self) -> None:
        """Wait until no association is open."""
        while self._associations:
            await asyncio.wait([association.closed for association in self._associations])

    async def drain(self, seconds: float) -> None:
        """Let nobody else in, and wait until those who are here have gone or are silent, for some seconds at most.

        What they send meanwhile is taken and answered as before. `close` ends what is left.
        """
        self._draining = True
        if self._server is not None:
            self._server.close()
        for association in list(self._associations):
            association.hurry(_SILENT)
        with contextlib.suppress(asyncio.TimeoutError):
            await within(self.deserted(), seconds)

    async def close(self, *, patience: float | None = None) -> None:
        """Stop listening, wait for the handlers, and end what associations there are.

        Parameters
        ----------
        patience : float, optional
            How many seconds to wait for the handlers before they are cancelled; for ever where not given.
        """
        if self._server is not None:
            self._server.close()
        try:
            with contextlib.suppress(asyncio.TimeoutError):
                await within(self._service.settled(), patience)
            if patience is None and self._associations:
                # Whoever has just been answered is about to release the association.
                await asyncio.wait([a.closed for a in self._associations], timeout=_GRACE)
        finally:
            await self._service.close()
            if self._associations:
                await asyncio.gather(*(association.abort() for association in self._associations))
            if self._server is not None:
                # From Python 3.12 on this waits for TLS handshakes as well, which nobody will finish.
                with contextlib.suppress(asyncio.TimeoutError):
                    await within(self._server.wait_closed(), CLOSE_WITHIN)

    async def register(
        self,
        handler: Handler,
        event_filter: EventFilter,
        new_temp: Callable[[], TempFile] | None = None,
        private_classes: Iterable[str] = (),
        unkept: Callable[[DicomEvent, str, Exception], None] | None = None,
        begin: Begin | None = None,
        refused: Callable[[], None] | None = None,
    ) -> _Entry:
        """Add a handler as soon as no other one collides with it.

        Parameters
        ----------
        handler : callable
        event_filter : EventFilter
        new_temp : callable, optional
            Makes the files for large instances that are for this handler, where it wants them.
        private_classes : iterable of str
            Further storage SOP classes to accept as long as it is registered.
        unkept : callable, optional
            Told of each instance that is refused because `new_temp` could not make a file, or it could not be written:
            an event without it, its UID and why. That is logged where not given.
        begin : callable, optional
            Asked before the handler for instances that are in memory, and must not wait: see `StoreService`.
        refused : callable, optional
            Called for each C-STORE request that is refused and logged before anybody is asked.
        """
        private = frozenset(private_classes)
        entry = _Entry(event_filter, handler, new_temp or temp_file, private, unkept, begin, refused)
        async with self._free:
            await self._free.wait_for(lambda: not any(event_filter.collides(e.event_filter) for e in self._handlers))
            self._handlers.append(entry)
        return entry

    async def unregister(self, entry: _Entry) -> None:
        """Remove a handler."""
        async with self._free:
            self._handlers.remove(entry)
            self._free.notify_all()

    async def _dispatch(self, event: DicomEvent) -> int:
        for entry in self._handlers:
            if entry.event_filter.matches(event.type, event.calling_ae):
                return await entry.handler(event)
        if event.type is DicomOpType.ECHO:
            return SUCCESS
        return CLASS_NOT_SUPPORTED

    def _temp_maker(self, association: Association) -> Callable[[], TempFile]:
        for entry in self._handlers:
            if entry.event_filter.matches(DicomOpType.STORE, association.calling_ae):
                return entry.new_temp
        return temp_file

    def _beginner(self, association: Association) -> Begin | None:
        for entry in self._handlers:
            if entry.event_filter.matches(DicomOpType.STORE, association.calling_ae):
                return entry.begin
        return None

    def _unkept(self, association: Association, uid: str, error: Exception) -> None:
        event = DicomEvent(DicomOpType.STORE, association.calling_ae, association.called_ae, association.address)
        for entry in self._handlers:
            if entry.unkept is not None and entry.event_filter.matches(event.type, event.calling_ae):
                entry.unkept(event, uid, error)
                return
        log_unkept(association, uid, error)

    def _refused(self, association: Association) -> None:
        for entry in self._handlers:
            if entry.refused is not None and entry.event_filter.matches(DicomOpType.STORE, association.calling_ae):
                entry.refused()
                return

    def _supported(self) -> Mapping[str, frozenset[str]]:
        return _supported(self._private_classes.union(*(entry.private_classes for entry in self._handlers)))

    # -- what associations ask of their owner --------------------------------------------------------------------------

    def _accepted(self) -> Association:
        return _Guest("caller", self._timeouts, self, self._limits, self._policy.idle)

    def connected(self, association: Association) -> None:
        """A connection was made; nothing has been said on it yet."""
        self._associations.add(association)
        self._per_address[association.address] += 1
        association.wire.listen()
        policy, address = self._policy, association.address
        if self._draining:  # it was in the queue of the socket when that was closed
            association.hurry(_SILENT)
        if not policy.admits_address(address):
            log.warning("%s is not an address that may call us", address)
            association.refuse(_CALLING_UNKNOWN)
        elif len(self._associations) > policy.max_associations or self._per_address[address] > policy.max_per_address:
            log.warning("too many associations: %s is told to come back later", address)
            association.refuse(_TOO_MANY)
        else:
            association.arm()

    def association_requested(self, association: Association, request: AssociateRequest) -> None:
        """Accept or reject (PS3.8 section 7.1.1)."""
        policy = self._policy
        name = safe_text(f"{request.calling_ae}@{association.address}", 60)
        association.peer = name
        if not policy.admits_caller(request.calling_ae):
            log.warning("%s is not an AE title that may call us", name)
            association.refuse(_CALLING_UNKNOWN)
        elif not policy.admits_call(request.called_ae, self.local.ae_title):
            log.warning("%s called for %s, which is not us", name, safe_text(request.called_ae, 20))
            association.refuse(_CALLED_UNKNOWN)
        elif not self._has_room_for(association, request.calling_ae):
            log.warning("too many associations of %s: it is told to come back later", name)
            association.refuse(_TOO_MANY)
        else:
            contexts = accept_contexts(request.contexts, self._supported())
            # A requestor that proposes to be an SCP as well learns that we only receive (PS3.7 annex D.3.3.4).
            roles = {uid: (scu, False) for uid, (scu, scp) in request.roles.items() if scu}
            accept = AssociateAccept(contexts, roles, self._limits.max_pdu)
            association.answer(association.wire.accept(accept))
            log_association(association)

    def _has_room_for(self, association: Association, calling_ae: str) -> bool:
        """Whether a caller may have one more association, which is counted from now on."""
        limit, peer = self._policy.max_per_peer, (calling_ae, association.address)
        if limit is None:
            return True
        # One that is released already may still be closing its connection.
        if sum(other == peer and open_one.usable for open_one, other in self._peers.items()) >= limit:
            return False
        self._peers[association] = peer
        return True

    def request_received(self, association: Association, context_id: int, command: Command) -> DataSink | None:
        """A DIMSE request has come."""
        return self._service.request_received(association, context_id, command)

    def association_closed(self, association: Association) -> None:
        """Forget an association."""
        self._peers.pop(association, None)
        if association in self._associations:
            self._associations.discard(association)
            self._per_address[association.address] -= 1
            self._per_address += Counter()  # drops what is zero: callers from many addresses must not add up
        self._service.association_closed(association)


def temp_file() -> TempFile:
    """A file for a large instance where nobody says where it belongs."""
    return TempFile.create(tempfile.gettempdir())


class _Guest(Association):
    """An association that was asked of us."""

    _owner: Listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peername = transport.get_extra_info("peername")
        self.address = str(peername[0]) if peername else ""
        self.peer = self.address
        self._owner.connected(self)


def _listen_error(local: DcmNode, error: OSError) -> ListenError:
    where = f"{local.host} port {local.port}"
    if error.errno == errno.EADDRINUSE:
        return ListenError(
            f"cannot listen on {where}: another program does", hint="stop it, or choose another port with --local"
        )
    if error.errno == errno.EACCES:
        return ListenError(f"cannot listen on {where}: not permitted", hint="ports below 1024 need privileges")
    # Since Python 3.13 asyncio tries all addresses of a name, and says so without a number.
    if error.errno == errno.EADDRNOTAVAIL or "could not bind on any address" in str(error):
        return ListenError(
            f"cannot listen on {where}: {local.host} is not an address of this machine", hint="0.0.0.0 is all of them"
        )
    return ListenError(f"cannot listen on {where}: {error.strerror or error}")


@lru_cache(maxsize=8)
def _supported(private_classes: frozenset[str]) -> dict[str, frozenset[str]]:
    """What a listener accepts: any storage class that is known or configured, in any transfer syntax.

    Nothing is decoded, so what can be stored does not depend on the transfer syntax.
    """
    syntaxes = frozenset(STORAGE_SYNTAXES)
    supported = dict.fromkeys((*storage_classes(), *private_classes), syntaxes)
    supported[VERIFICATION] = frozenset({IMPLICIT_LE, *UNCOMPRESSED})
    return supported
