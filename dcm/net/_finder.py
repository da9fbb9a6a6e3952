"""Queries to one peer (C-FIND as a user): carries out what a `FindPlan` decides, on a few associations.

The plan says which requests can be sent now; answers may bring more of them. Associations are kept for the next request
until `close`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dcm.errors import AssociationAbortedError, AssociationRejectedError, InvalidDicomError, PeerTimeoutError
from dcm.net._connect import connect
from dcm.net._contexts import query_contexts
from dcm.net._identifier import encode_identifier
from dcm.net._operations import context_for, find, is_pending
from dcm.net._plan import FindPlan
from dcm.net._registry import FIND_CLASSES
from dcm.net._tasks import cancel_all, within
from dcm.peek import read_attributes
from dcm.query import QueryResult
from dcm.report import QueryReport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from pydicom import Dataset

    from dcm.attrs import Attributes
    from dcm.levels import QueryLevel
    from dcm.net._association import Association
    from dcm.net._owner import Owner
    from dcm.net._plan import FindRequest
    from dcm.node import DcmNode, RemoteNode

__all__ = ["Finder", "together"]

log = logging.getLogger(__name__)

# Queries are cheap for us and may be dear for the peer: more than these at a time gain little.
_MOST_AT_A_TIME = 3
# How many results may come before they are handed on.
_PORTION = 500
_TRIES = 3
# A peer that has no room is asked again after 0.5, 1, 2, ... seconds, for half a minute.
_WAITS = 6
_BACKOFF = 0.5
_RELATIONAL = b"\x01"


class Finder:
    """Queries one peer.

    Parameters
    ----------
    local, remote : DcmNode, RemoteNode
    owner : Owner
        Answers what the peer may ask on our associations.
    most : int, optional
        How many associations to use at a time, less where the peer allows less.
    """

    def __init__(self, local: DcmNode, remote: RemoteNode, owner: Owner, most: int = _MOST_AT_A_TIME) -> None:
        self._local = local
        self._remote = remote
        self._owner = owner
        self._most = min(most, remote.max_assoc)
        self._idle: list[Association] = []
        self._lent = 0
        self._returned = asyncio.Event()

    async def close(self) -> None:
        """Release the associations."""
        idle, self._idle = self._idle, []
        if idle:
            await asyncio.gather(*(association.release() for association in idle))

    async def query(
        self,
        level: QueryLevel | None,
        query: Dataset | Attributes | None,
        query_res: QueryResult | None,
        report: QueryReport,
    ) -> QueryResult:
        """Like `queries`, all at once."""
        return await together(self.queries(level, query, query_res, report))

    async def queries(
        self,
        level: QueryLevel | None,
        query: Dataset | Attributes | None,
        query_res: QueryResult | None,
        report: QueryReport,
    ) -> AsyncGenerator[QueryResult, None]:
        """Query, and yield what is found, in parts as they come; at least one.

        Raises
        ------
        QueryError
            The query makes no sense.
        NetworkError
            The peer cannot be reached, or breaks every association. What it answers with a failure is in the report.
        """
        # Whether the peer takes relational queries decides how to ask, and only an association tells.
        FindPlan(self._remote, level, query, query_res)  # what is wrong with the query is said before we connect
        association = await self._acquire()
        await self._give_back(association)
        plan = FindPlan(self._negotiated(association), level, query, query_res, report=report)
        waiting: deque[FindRequest] = deque(plan.ready())
        running: set[asyncio.Future[None]] = set()
        news = asyncio.Event()
        yielded = False
        try:
            while waiting or running:
                while waiting and len(running) < self._most:
                    running.add(asyncio.ensure_future(self._send(plan, waiting.popleft(), news)))
                await _first_of(running, news)
                news.clear()
                for task in [task for task in running if task.done()]:
                    running.discard(task)
                    task.result()
                waiting.extend(plan.ready())
                part = plan.partial()
                if len(part):
                    yielded = True
                    yield part
        finally:
            await cancel_all(*running)
            plan.close()
        rest = plan.partial()
        if len(rest) or not yielded:
            yield rest

    async def _send(self, plan: FindPlan, request: FindRequest, news: asyncio.Event) -> None:
        """Send one request and feed the plan with the answers; once more where the association is lost under it."""
        for attempt in range(_TRIES):
            association = await self._acquire()
            try:
                await self._answers(association, plan, request, news)
            except (AssociationAbortedError, PeerTimeoutError) as error:
                if attempt == _TRIES - 1:
                    raise
                log.warning("%s; asking again", error.message)
                plan.again(request)
            else:
                return
            finally:
                await self._give_back(association)

    async def _answers(
        self, association: Association, plan: FindPlan, request: FindRequest, news: asyncio.Event
    ) -> None:
        sop_class = FIND_CLASSES[request.model]
        syntax = context_for(association, sop_class).transfer_syntax
        identifier = encode_identifier(request.identifier, syntax, self._remote.charset)
        n_answers = 0
        async with contextlib.aclosing(find(association, sop_class, identifier)) as answers:
            async for status, data, comment in answers:
                if not is_pending(status):
                    plan.done(request, status, comment)
                    return
                try:
                    record = read_attributes(data or b"", syntax, charset=self._remote.charset)
                except InvalidDicomError as error:
                    plan.unreadable(request, error.message)
                    continue
                plan.feed(request, record)
                n_answers += 1
                if n_answers % _PORTION == 0:
                    news.set()

    def _negotiated(self, association: Association) -> RemoteNode:
        """The peer with what it agreed to in place of what it may be able to."""
        classes = {context.abstract_syntax for context in association.wire.contexts.values()}
        models = tuple(model for model in self._remote.query_models if FIND_CLASSES[model] in classes)
        relational = self._remote.relational
        if relational is None:
            # PS3.4 section C.5.1.1.2.1: it answers for each SOP class by itself.
            extended = association.accepted.extended if association.accepted is not None else {}
            relational = all(extended.get(uid, b"")[:1] == _RELATIONAL for uid in classes)
        return replace(self._remote, query_models=models, relational=relational)

    async def _acquire(self) -> Association:
        """An association to query on; waits for one where the peer takes no more of them for now."""
        for attempt in range(_WAITS + 1):
            while self._idle:
                association = self._idle.pop()
                if association.usable:
                    self._lent += 1
                    return association
                await association.release()
            try:
                association = await self._connect()
            except AssociationRejectedError as error:
                if not error.transient or attempt == _WAITS:
                    raise
                self._most = max(1, self._lent)
                log.info("%s; waiting", error.message)
                self._returned.clear()
                with contextlib.suppress(asyncio.TimeoutError):
                    # Where some of ours are at work, one of them comes back; else somebody else may go.
                    await within(self._returned.wait(), None if self._lent else _BACKOFF * 2**attempt)
            else:
                self._lent += 1
                return association
        raise AssertionError

    async def _connect(self) -> Association:
        classes = [FIND_CLASSES[model] for model in self._remote.query_models]
        extended = {} if self._remote.relational is False else dict.fromkeys(classes, _RELATIONAL)
        return await connect(self._local, self._remote, query_contexts(classes), self._owner, extended=extended)

    async def _give_back(self, association: Association) -> None:
        self._lent -= 1
        try:
            if association.usable:
                self._idle.append(association)
            else:
                await association.release()
        finally:
            self._returned.set()


async def together(parts: AsyncGenerator[QueryResult, None]) -> QueryResult:
    """Put partial results together; there is at least one."""
    result: QueryResult | None = None
    async with contextlib.aclosing(parts):
        async for part in parts:
            if result is None:
                result = part
            else:
                result |= part
    assert result is not None, "a query yields one part at least"
    return result


async def _first_of(running: Iterable[asyncio.Future[Any]], news: asyncio.Event) -> None:
    """Wait until a request has ended, or some results are there."""
    told: asyncio.Future[bool] = asyncio.ensure_future(news.wait())
    try:
        await asyncio.wait([*running, told], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_all(told)
