"""A network node as a store."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dcm._node_text import host_key
from dcm.attrs import Attributes
from dcm.errors import UsageError
from dcm.net import DcmNode, LocalEntity, RemoteNode
from dcm.net._fetch import Fetch
from dcm.net._listener import temp_file
from dcm.net._mover import move
from dcm.node import DicomOpType
from dcm.query._parts import parts_of
from dcm.store.base import Features, TransferMethod

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from pydicom import Dataset

    from dcm._atomic import TempFile
    from dcm.instance import Instance
    from dcm.levels import QueryLevel
    from dcm.net._send_queue import SendQueue
    from dcm.query import QueryResult
    from dcm.report import QueryReport, TransferReport
    from dcm.store.base import DataSink

__all__ = ["NetChunk", "NetRepo"]


def _place(node: DcmNode) -> tuple[str, str, int]:
    """What tells one node from another, however its host is written."""
    return host_key(node.host), node.ae_title, node.port


class NetChunk:
    """Some instances of a node.

    Parameters
    ----------
    repo : NetRepo
        Where they are.
    query_res : QueryResult
        Which they are.
    """

    def __init__(self, repo: NetRepo, query_res: QueryResult) -> None:
        self.repo = repo
        self.query_res = query_res

    def __repr__(self) -> str:
        return f"NetChunk({self.repo!r}, {self.query_res!r})"

    async def gen_data(self) -> AsyncGenerator[Instance, None]:
        """Fetch them, one by one, not decoded."""
        async with contextlib.aclosing(self.repo.instances(self.query_res)) as found:
            async for instance in found:
                yield instance


class NetRepo:
    """A network node, as a source and as a destination.

    Parameters
    ----------
    local : LocalEntity or DcmNode
        Who we are.
    remote : DcmNode
        The peer.
    level : QueryLevel, optional
        How fine its data is listed where no level is asked for.
    base_query : Dataset or Attributes, optional
        What all of its data must match: it is as if nothing else were there.
    chunk_size : int
        About how many instances are in a chunk.
    """

    def __init__(
        self,
        local: LocalEntity | DcmNode,
        remote: DcmNode,
        level: QueryLevel | None = None,
        base_query: Dataset | None = None,
        chunk_size: int = 1000,
    ) -> None:
        self.local = local if isinstance(local, LocalEntity) else LocalEntity(local)
        self.remote = RemoteNode.from_node(remote)
        self.level = level
        self.base_query = base_query
        self.chunk_size = chunk_size

    def __repr__(self) -> str:
        return f"NetRepo({str(self.remote)!r})"

    def __str__(self) -> str:
        return str(self.remote)

    @property
    def features(self) -> Features:
        """It can be read and queried, and another node can send to it."""
        return Features(
            frozenset({TransferMethod.REMOTE_COPY}), readable=True, queryable=True, at_once=self.remote.max_assoc
        )

    def new_temp(self) -> TempFile:
        """Make a file for a large instance on its way to the node."""
        return temp_file()

    def overlaps(self, other: object) -> bool:
        """Whether another store is the same node."""
        return isinstance(other, NetRepo) and _place(other.remote) == _place(self.remote)

    def check_source(self) -> None:
        """Nothing to be found out without asking it."""

    def renew(self) -> None:
        """It is asked anew each time."""

    def why_not(self, method: TransferMethod, source: DataSink) -> str:
        """Say why instances of a source cannot get here in some way; another node can send them itself."""
        if method is TransferMethod.PROXY:
            return ""
        if method is not TransferMethod.REMOTE_COPY:
            return f"{self} is a node: files cannot get there by {method.value}"
        if not isinstance(source, NetRepo):
            return f"{source} is no node that could send to {self} itself"
        if not source.remote.supports(DicomOpType.MOVE):
            return f"the settings of {source} leave out C-MOVE"
        return ""

    def send(
        self,
        report: TransferReport | None = None,
        *,
        dest: str = "",
        method: TransferMethod = TransferMethod.PROXY,
    ) -> contextlib.AbstractAsyncContextManager[SendQueue]:
        """Open it for instances; see `LocalEntity.send`."""
        return self.local.send(self.remote, report=report, dest=dest)

    async def query(
        self,
        level: QueryLevel | None = None,
        query: Dataset | Attributes | None = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> QueryResult:
        """Find what matches; see `LocalEntity.query`."""
        return await self.local.query(
            self.remote, self._level(level, query, query_res), self._both(query), query_res, report
        )

    async def queries(
        self,
        level: QueryLevel | None = None,
        query: Dataset | Attributes | None = None,
        query_res: QueryResult | None = None,
        report: QueryReport | None = None,
    ) -> AsyncGenerator[QueryResult, None]:
        """Find what matches, part by part."""
        level = self._level(level, query, query_res)
        parts = self.local.queries(self.remote, level, self._both(query), query_res, report)
        async with contextlib.aclosing(parts):
            async for part in parts:
                yield part

    async def retrieve(
        self, query_res: QueryResult, report: TransferReport | None = None, keep_errors: bool = False
    ) -> AsyncGenerator[Dataset, None]:
        """Give the data sets that a query result names."""
        async with contextlib.aclosing(self.local.retrieve(self.remote, query_res, report, keep_errors)) as found:
            async for data_set in found:
                yield data_set

    def instances(
        self, query_res: QueryResult, report: TransferReport | None = None, keep_errors: bool = False
    ) -> AsyncGenerator[Instance, None]:
        """Give what a query result names, not decoded."""
        return self.local.instances(self.remote, query_res, report, keep_errors)

    async def fetch(
        self,
        query_res: QueryResult,
        deliver: Callable[[Instance], Awaitable[bool]],
        report: TransferReport,
        *,
        dests: Sequence[str] = ("",),
        keep_errors: bool = False,
        new_temp: Callable[[], TempFile] | None = None,
        method: TransferMethod = TransferMethod.PROXY,
    ) -> None:
        """Hand each instance that a query result names to a coroutine, several at a time; see `DataRepo.fetch`."""
        async with Fetch(self.local, self.remote, new_temp) as fetch:
            await fetch.run(query_res, deliver, report, dests=dests, keep_errors=keep_errors)

    async def remote_copy(
        self, query_res: QueryResult, to: DataSink, report: TransferReport, *, dest: str = ""
    ) -> None:
        """Have the node send to another one; see `DataRepo.remote_copy` and `LocalEntity.move`."""
        if not isinstance(to, NetRepo):
            raise UsageError(to.why_not(TransferMethod.REMOTE_COPY, self) or f"{to} is no node")
        await move(self.local, self.remote, to.remote, query_res, report, name=dest)

    async def gen_chunks(self) -> AsyncIterator[NetChunk]:
        """Name everything that it holds, chunk by chunk."""
        async with contextlib.aclosing(self.queries()) as parts:
            async for part in parts:
                async for chunk in self.gen_query_chunks(part):
                    yield chunk

    async def gen_query_chunks(self, query_res: QueryResult) -> AsyncIterator[NetChunk]:
        """Name what belongs to a query result: whole studies, as many as make a chunk."""
        for part in parts_of(query_res, self.chunk_size):
            yield NetChunk(self, part)

    def _level(
        self, level: QueryLevel | None, query: Dataset | Attributes | None, query_res: QueryResult | None
    ) -> QueryLevel | None:
        return self.level if level is None and query is None and query_res is None else level

    def _both(self, query: Dataset | Attributes | None) -> Dataset | Attributes | None:
        """A query within the base query; what it asks for itself stands, unless it only asks for it to be returned."""
        if self.base_query is None:
            return query
        both = self.base_query.copy()
        if query is not None:
            asked = query.to_dataset() if isinstance(query, Attributes) else query
            both.update({element.tag: element for element in asked if not element.is_empty or element.tag not in both})
        return both
