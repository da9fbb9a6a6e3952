"""`LocalEntity`: our side of every association, as coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from dcm._bridge import Bridge
from dcm.errors import NetworkError
from dcm.net._connect import connect
from dcm.net._contexts import query_contexts
from dcm.net._fetch import Fetch, settle_report
from dcm.net._finder import Finder, together
from dcm.net._incoming import Nobody
from dcm.net._listener import Listener
from dcm.net._mover import move
from dcm.net._operations import echo
from dcm.net._policy import EventFilter
from dcm.net._registry import VERIFICATION
from dcm.net._send_queue import SendQueue
from dcm.net._sender import Sender
from dcm.net._shared import Listeners
from dcm.node import RemoteNode, Timeouts
from dcm.report import QueryReport, TransferReport
from dcm.store.local_dir import LocalDir

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
    from pathlib import Path

    from pydicom import Dataset

    from dcm._atomic import TempFile
    from dcm.attrs import Attributes
    from dcm.instance import Instance
    from dcm.levels import QueryLevel
    from dcm.net._incoming import Handler
    from dcm.net._policy import AccessPolicy
    from dcm.node import DcmNode, TlsConfig
    from dcm.query import QueryResult

__all__ = ["LocalEntity"]

log = logging.getLogger(__name__)


class LocalEntity:
    """An application entity of our own, from which peers are asked, and which they may ask.

    It keeps no event loop, thread or socket between calls: one entity serves any number of ``asyncio.run``.

    Parameters
    ----------
    local : DcmNode
        Our AE title, and where we listen (for C-MOVE to ourselves, and `listen`): the host is the interface.
    timeouts : Timeouts, optional
        For those who call us; a `RemoteNode` has its own.
    policy : AccessPolicy, optional
        Who may call us.
    tls : TlsConfig, optional
        Listen with TLS.
    private_store_classes : iterable of str, optional
        Storage SOP classes to accept beyond those of the standard.

    Notes
    -----
    Wherever a remote is asked for, a plain `DcmNode` is good. Where a method takes a `report`, what goes wrong with
    single instances or answers is found there, and nothing is raised for it; without one, warnings are logged and
    failures raised.
    """

    def __init__(
        self,
        local: DcmNode,
        *,
        timeouts: Timeouts | None = None,
        policy: AccessPolicy | None = None,
        tls: TlsConfig | None = None,
        private_store_classes: Iterable[str] = (),
    ) -> None:
        self.local = local
        self._timeouts = timeouts or Timeouts()
        self._policy = policy
        self._tls = tls
        self._private_classes = tuple(private_store_classes)
        self._listeners = Listeners(self._make_listener)

    def __repr__(self) -> str:
        return f"LocalEntity({self.local!r})"

    async def echo(self, remote: DcmNode) -> bool:
        """Ask a peer whether it is there (C-ECHO, PS3.4 annex A).

        Returns
        -------
        bool
            Whether it answered with success.

        Raises
        ------
        NetworkError
            It did not answer at all; the message says why.
        """
        peer = RemoteNode.from_node(remote)
        association = await connect(self.local, peer, query_contexts([VERIFICATION]), _NOBODY)
        try:
            return await echo(association) == 0
        finally:
            await association.release()

    async def query(
        self,
        remote: DcmNode,
        level: QueryLevel | None = None,
        query: Dataset | Attributes | None = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> QueryResult:
        """Ask a peer what it has (C-FIND, PS3.4 section C.4.1).

        Parameters
        ----------
        remote : DcmNode
        level : QueryLevel, optional
            Where not given: the finest level that `query` names attributes of, else that of `query_res`, else STUDY.
        query : Dataset or Attributes, optional
            What to match: universal, wildcard, range and list matching (PS3.4 section C.2.2.2) as the peer knows them.
            Identifiers of the levels above that are not in it are found by queries of their own.
        query_res : QueryResult, optional
            An earlier result to refine: one query for each of its nodes.
        report : QueryReport, optional

        Returns
        -------
        QueryResult

        Raises
        ------
        QueryError
            The query makes no sense.
        NetworkError
            The peer cannot be reached, or refuses all of it.
        """
        return await together(self.queries(remote, level, query, query_res, report))

    async def queries(
        self,
        remote: DcmNode,
        level: QueryLevel | None = None,
        query: Dataset | Attributes | None = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> AsyncGenerator[QueryResult, None]:
        """Like `query`, but yield partial results as they come; at least one, which may be empty."""
        own = report if report is not None else QueryReport()
        finder = Finder(self.local, RemoteNode.from_node(remote), _NOBODY)
        try:
            async with contextlib.aclosing(finder.queries(level, query, query_res, own)) as parts:
                async for part in parts:
                    yield part
        finally:
            await finder.close()
        if report is None:
            for text in own.warnings:
                log.warning("%s", text)
            own.raise_failures()

    async def instances(
        self,
        remote: DcmNode,
        query_res: QueryResult,
        report: TransferReport | None = None,
        keep_errors: bool = False,
    ) -> AsyncGenerator[Instance, None]:
        """Fetch what a query result names (C-GET or C-MOVE to ourselves), without decoding it.

        Parameters
        ----------
        remote : DcmNode
        query_res : QueryResult
        report : TransferReport, optional
        keep_errors : bool
            Yield duplicates, unexpected and inconsistent instances as well; they are in the report in any case.

        Yields
        ------
        Instance
            The peer is told of success as soon as it is handed over here. Closing the generator early cancels the
            operation on the peer.

        Raises
        ------
        NetworkError
            The peer cannot be reached, or refuses.
        PartialError
            Without a report: something failed, or is missing.
        """
        fetch = Fetch(self, RemoteNode.from_node(remote))
        async with fetch, contextlib.aclosing(fetch.stream(query_res, _as_it_is, report, keep_errors)) as found:
            async for instance in found:
                yield instance

    async def retrieve(
        self,
        remote: DcmNode,
        query_res: QueryResult,
        report: TransferReport | None = None,
        keep_errors: bool = False,
    ) -> AsyncGenerator[Dataset, None]:
        """Like `instances`, but yield decoded pydicom data sets, each with its file meta information.

        One that cannot be decoded fails by itself: it is in the report, and the peer is told.
        """
        fetch = Fetch(self, RemoteNode.from_node(remote))

        async def decode(instance: Instance) -> Dataset:
            return await fetch.bridge.run(_data_set_of, instance, cost=instance.size)

        async with fetch, contextlib.aclosing(fetch.stream(query_res, decode, report, keep_errors)) as found:
            async for data_set in found:
                yield data_set

    async def download(
        self,
        remote: DcmNode,
        query_res: QueryResult,
        dest_dir: str | os.PathLike[str],
        report: TransferReport | None = None,
    ) -> list[Path]:
        """Fetch what a query result names into one directory, each instance as ``<SOPInstanceUID>.dcm``.

        Returns
        -------
        list of Path
            The files that are there now: written, or found with the same bytes.

        Raises
        ------
        NetworkError
            The peer cannot be reached, or refuses.
        UsageError, StoreError
            `dest_dir` cannot be used.
        PartialError
            Without a report: something failed, or is missing.
        """
        dest = LocalDir(dest_dir, out_fmt="{SOPInstanceUID}")
        try:
            async with Fetch(self, RemoteNode.from_node(remote), dest.new_temp) as fetch:
                return await fetch.into(dest, query_res, report)
        finally:
            dest.close()

    @contextlib.asynccontextmanager
    async def send(
        self,
        remote: DcmNode,
        transfer_syntaxes: Iterable[str] | None = None,
        report: TransferReport | None = None,
        *,
        dest: str = "",
    ) -> AsyncIterator[SendQueue]:
        """Send instances to a peer (C-STORE, PS3.4 annex B).

        Parameters
        ----------
        remote : DcmNode
        transfer_syntaxes : iterable of str, optional
            Fail instances that are in another one; nothing is ever transcoded, an instance travels in the bytes that it
            has. Where not given: those of the settings of `remote`, which are all if not set.
        report : TransferReport, optional
        dest : str, optional
            The name of this destination in the report, where there are several.

        Yields
        ------
        SendQueue
            ``await queue.put(x)``, x a Dataset, an Instance or a path. Leaving the context waits until all is sent.

        Raises
        ------
        NetworkError
            The peer cannot be reached, or refuses us.
        PartialError
            Without a report: something failed.
        """
        peer = RemoteNode.from_node(remote)
        own = report if report is not None else TransferReport()
        async with Bridge() as bridge:
            queue = SendQueue(peer, bridge, own, transfer_syntaxes, dest)
            sending = asyncio.ensure_future(Sender(self.local, peer, bridge, _NOBODY, own, dest).run(queue))
            error: NetworkError | None = None
            try:
                yield queue
                queue.end()
                await sending
            except NetworkError as exc:
                # What ended the sending, whoever noticed first: we, or the body when it put something in.
                if exc is not queue.failure:
                    raise
                error = exc
            finally:
                sending.cancel()
                await asyncio.wait([sending])
                await queue.close()
        if report is None:
            own.finish()
        settle_report(own, report, error)

    async def upload(
        self, remote: DcmNode, paths: Iterable[str | os.PathLike[str]], report: TransferReport | None = None
    ) -> None:
        """Send files to a peer, in their order; see `send`."""
        async with self.send(remote, report=report) as queue:
            for path in paths:
                await queue.put(path)

    async def move(
        self, source: DcmNode, dest: DcmNode, query_res: QueryResult, report: TransferReport | None = None
    ) -> None:
        """Have one peer send to another what a query result names (third-party C-MOVE, PS3.4 section C.4.2).

        What has arrived is then asked of `dest` itself; where it cannot be asked, completeness stays unknown.

        Parameters
        ----------
        source : DcmNode
        dest : DcmNode
            `source` must know its AE title.
        query_res : QueryResult
        report : TransferReport, optional

        Raises
        ------
        MoveDestinationError
            `source` does not know the AE title of `dest`.
        NetworkError
            `source` cannot be reached, or refuses.
        PartialError
            Without a report: something failed, or is missing.
        """
        own = report if report is not None else TransferReport()
        error: NetworkError | None = None
        try:
            await move(self, RemoteNode.from_node(source), RemoteNode.from_node(dest), query_res, own)
        except NetworkError as exc:
            error = exc
        except asyncio.CancelledError:
            own.interrupted = True
            raise
        finally:
            own.finish()
        settle_report(own, report, error)

    @contextlib.asynccontextmanager
    async def listen(
        self,
        handler: Handler,
        event_filter: EventFilter | None = None,
        *,
        new_temp: Callable[[], TempFile] | None = None,
    ) -> AsyncIterator[int]:
        """Answer what others ask of us (C-ECHO and C-STORE as a provider) while the context is open.

        Parameters
        ----------
        handler : callable
            ``await handler(event)`` returns the DIMSE status for the answer, which is not sent before.
        event_filter : EventFilter, optional
            What this handler is for. Listeners in one event loop share the port; where two filters collide, the
            second waits until the first is through.
        new_temp : callable, optional
            Makes the files into which large instances stream while they arrive; `new_temp` of the store where they
            will stay, so that they need not be copied. In the directory for temporary files where not given.

        Yields
        ------
        int
            The port.

        Raises
        ------
        ListenError
            The port is not to be had.
        """
        async with self.listening() as listener:
            entry = await listener.register(handler, event_filter or EventFilter(), new_temp)
            try:
                yield listener.port
            finally:
                await listener.unregister(entry)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Listener]:
        """The listener of the running event loop, which lives as long as somebody is in here."""
        async with self._listeners.open() as listener:
            yield listener

    def _make_listener(self, bridge: Bridge) -> Listener:
        return Listener(
            self.local,
            bridge,
            self._timeouts,
            policy=self._policy,
            private_classes=self._private_classes,
            tls=self._tls,
        )


async def _as_it_is(instance: Instance) -> Instance:
    return instance


def _data_set_of(instance: Instance) -> Dataset:
    return instance.dataset


_NOBODY = Nobody()
