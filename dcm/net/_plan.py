"""Which C-FIND requests answer a query: a pure object that says what to ask, and learns from the answers.

The shell around it sends what `FindPlan.ready` gives, as many at a time as it likes, feeds each answer, and says when
a request is done::

    plan = FindPlan(remote, query=query, report=report)
    while not plan.finished:
        for request in plan.ready():
            for answer in <C-FIND in request.model with request.identifier>:
                plan.feed(request, answer)
            plan.done(request, status)
    plan.result

**Hierarchical peers** (PS3.4 section C.4.1.2.1) want the unique keys of all levels above the one that is asked for.
What the query does not say is found by pre-queries: a SERIES query by StudyDate is a STUDY query by StudyDate and then
a SERIES query for each study. Keys go to the level that they belong to. A relational peer (C.4.1.3.2.1) is asked at
once.

**Capped answers** are suspected where the count is a round one, or the peer says that it had enough, and asked for
again in smaller pieces (`dcm.net._caps`), as long as that pays (`dcm.net._split`). What is in doubt in the end is in
`QueryReport.capped`. Nothing that was answered is ever taken back.

**Lists of UIDs** are used where the query's own level is asked again for what an earlier result names, and no other key
has to match. They are part of the baseline there (C.2.2.2.2), but not for the levels above in a hierarchical request. A
peer that does not know lists, and answers nothing or only the first, is asked for the rest one by one; with other keys
it could not be told from one where the rest does not match.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from dcm.attrs import Attributes
from dcm.levels import QueryLevel
from dcm.net._caps import Seen, is_suspicious
from dcm.net._fold import Fold
from dcm.net._request import EMPTY, FindRequest, Node
from dcm.net._seeds import Seeds
from dcm.net._split import Splitter
from dcm.node import DcmNode, QueryModel, RemoteNode
from dcm.query import QueryProv, QueryResult
from dcm.query._counts import count_of
from dcm.query._elements import keyword_of, up_to
from dcm.query._keys import RETURN_KEYS, QueryKeys, has_value, level_in, level_of
from dcm.report import QueryReport
from dcm.text import plural, safe_text

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["FindPlan", "FindRequest"]

_UNIQUE_TAGS = frozenset(level.uid_tag for level in QueryLevel)


class FindPlan:
    """The plan of one query.

    Parameters
    ----------
    remote : DcmNode
        Whom to ask. The settings of a `RemoteNode` say what it can do: replace them by what was negotiated.
    level : QueryLevel, optional
        The level of the result. By default it is the QueryRetrieveLevel of the query, else the finest level of its
        keys, else that of `query_res`, else STUDY.
    query : Dataset or Attributes, optional
        The keys: those with a value must match, those without are to be returned. Keys finer than `level` are matched
        at their own level, and what they find is reduced: the studies that have a series of a modality.
    query_res : QueryResult, optional
        Refine this: ask only for what it names, and for what is below that.
    report : QueryReport, optional
        Told about everything.
    list_size : int, optional
        How many UIDs a request may name; 1: no lists.
    today : date, optional
        To know where the middle of an open range is.

    Attributes
    ----------
    level : QueryLevel
        The level of the result.
    search_level : QueryLevel
        The level that is searched, finer where a key is.
    report : QueryReport
        What happened so far.

    Raises
    ------
    QueryError
        The query makes no sense: a date is none, an attribute is to be returned that the level does not have.
    """

    def __init__(
        self,
        remote: DcmNode,
        level: QueryLevel | None = None,
        query: Dataset | Attributes | None = None,
        query_res: QueryResult | None = None,
        *,
        report: QueryReport | None = None,
        list_size: int = 50,
        today: dt.date | None = None,
    ) -> None:
        settings = RemoteNode.from_node(remote)
        models = settings.query_models
        self.report = QueryReport() if report is None else report
        self._keys = QueryKeys.of(query)
        self.level = self._keys.choose_level(level, None if query_res is None else query_res.level)
        self.search_level = max(self.level, self._keys.finest(valued=True) or QueryLevel.PATIENT)
        if self.search_level is QueryLevel.PATIENT and QueryModel.PATIENT_ROOT not in models:
            self.search_level = QueryLevel.STUDY
        self._keys.check_returned(self.search_level)
        by_patient = self.search_level is QueryLevel.PATIENT
        self._model = QueryModel.PATIENT_ROOT if by_patient else models[0]
        self._relational = bool(settings.relational)
        study_root = by_patient and QueryModel.STUDY_ROOT in models
        self.models = (self._model, QueryModel.STUDY_ROOT) if study_root else (self._model,)
        day = dt.datetime.now(dt.timezone.utc).date() if today is None else today
        self._splitter = Splitter(self.report, day, study_root=study_root)
        filters = any(has_value(value) for tag, value in self._keys.items.items() if tag not in _UNIQUE_TAGS)
        self._list_size = 1 if filters or by_patient else max(1, list_size)
        asked = [tag for lvl in QueryLevel if lvl <= self.level for tag, _ in RETURN_KEYS[lvl]]
        prov = QueryProv(remote, [keyword_of(tag) for tag in {*asked, *self._keys.items}])
        self._fold = Fold(self.level, self.search_level, self.report, prov, frozenset(self._keys.items))
        self._todo: deque[FindRequest] = deque()
        self._open: set[FindRequest] = set()
        self._closed = False
        self._query_res = query_res
        self._started = False

    # -- for the shell

    @property
    def finished(self) -> bool:
        """True where nothing is left to ask, and all that was asked is done."""
        return self._started and not (self._todo or self._open)

    @property
    def result(self) -> QueryResult:
        """What was found so far."""
        return self._fold.result

    def partial(self) -> QueryResult:
        """What was found since the last call."""
        return self._fold.partial()

    def ready(self, limit: int | None = None) -> list[FindRequest]:
        """Requests that can be sent now, each of them once; all of them, or a number that is to be sent at a time."""
        if not self._started:
            self._start()
        out: list[FindRequest] = []
        while self._todo and (limit is None or len(out) < limit):
            request = self._todo.pop()
            request.build(self._keys, self.search_level)
            self._open.add(request)
            self.report.n_queries += 1
            out.append(request)
        return out

    def feed(self, request: FindRequest, answer: Attributes) -> None:
        """Take one answer: a pending response (status 0xFF00 or 0xFF01) to a request."""
        record, fresh = self._fold.take(request, answer)
        if record is None:
            return
        if fresh:
            self._splitter.earn()
        if request.level >= self.search_level:
            if fresh and request.level > self.level:
                self._fold.deliver(record)
            return
        node, uid = request.node, record.text(request.level.uid_tag)
        if uid in node.asked_below:
            return
        node.asked_below.add(uid)
        uids = {level: record.text(level.uid_tag) for level in QueryLevel if level <= request.level}
        below = [
            replace(
                one, uids={**one.uids, **uids}, context=one.context.replace(record.elements()), verified=request.level
            )
            for one in node.below
        ]
        self._advance(below or [Node(uids, record, request.level)])

    def done(self, request: FindRequest, status: int = 0, comment: str = "") -> None:
        """Take the final response to a request.

        Parameters
        ----------
        request : FindRequest
            The request.
        status : int, optional
            The DIMSE status (PS3.4 table C.4-1). Where we have cancelled it ourselves, `close` the plan instead.
        comment : str, optional
            The Error Comment (0000,0902).
        """
        self._open.discard(request)
        request.status = status
        says = _says(status, comment) if status else ""
        if len(request.contexts) > 1 and self._list_failed(request):
            missing = {uid: told for uid, told in request.contexts.items() if uid not in request.seen.uids}
            self._push(request.level, request.node, missing, size=1)
        elif status and not _has_more(status):
            self.report.fail(str(request), says, status)
            self._todo.extend(self._splitter.failed(request))
        elif request.node.relational and _too_wide(request):
            self._advance([replace(request.node, relational=False)])
        else:
            self.report.n_succeeded += status == 0
            request.expected = self._expected(request)
            self._todo.extend(self._splitter.judge(request, says))
        self._finish()

    def unreadable(self, request: FindRequest, message: str) -> None:
        """Take an answer that cannot be decoded."""
        self.report.n_responses += 1
        self.report.drop("invalid", str(request), message)
        request.seen.n += 1

    def again(self, request: FindRequest) -> None:
        """Forget how a request has been answered: it got no final response, and is sent another time.

        What its answers have told stays.
        """
        request.seen = Seen(n_fresh=request.seen.n_fresh)
        self.report.n_queries += 1

    def close(self) -> None:
        """Give up what is left to ask; the report gets what is in doubt."""
        if not self.finished:
            self._splitter.note("the query was given up before all was asked")
        self._started = True
        self._todo.clear()
        self._open.clear()
        self._finish()

    # -- how it goes on

    def _start(self) -> None:
        self._started = True
        nodes = [Node()]
        if self._query_res is not None:
            found = Seeds.of(self._query_res, self.search_level, self._keys, self._model)
            if found.n_nameless:
                self._splitter.note(f"{plural(found.n_nameless, 'patient')} without PatientID cannot be asked for")
            nodes = found.nodes
        self._advance([replace(node, relational=self._relational) for node in nodes])
        self._finish()

    def _finish(self) -> None:
        if self.finished and not self._closed:
            self._closed = True
            self.report.capped.extend(self._splitter.notes)

    def _advance(self, nodes: Iterable[Node]) -> None:
        """Ask for what comes next below some nodes: at the search level, or first at one above it."""
        parents: dict[tuple[QueryLevel, str], list[Node]] = {}
        for node in nodes:
            level = self._next_level(node)
            if level == self.search_level or level not in node.uids:
                self._push(level, node, node.targets if level == self.search_level else {})
            else:
                parents.setdefault((level, node.uids[level]), []).append(node)
        # What is known, and has to match a key of its own level: asked for once, for all that is below it.
        for (level, uid), below in parents.items():
            uids = {above: below[0].uids[above] for above in below[0].uids if above < level}
            context = below[0].context.only(up_to(QueryLevel(level - 1))) if level > QueryLevel.PATIENT else EMPTY
            self._push(level, Node(uids, context, below=tuple(below)), {uid: context})

    def _next_level(self, node: Node) -> QueryLevel:
        for level in QueryLevel:
            if level >= self.search_level:
                break
            if node.relational or (level is QueryLevel.PATIENT and self._model is QueryModel.STUDY_ROOT):
                continue
            if (node.verified is None or level > node.verified) and self._needs(level, node):
                return level
        return self.search_level

    def _needs(self, level: QueryLevel, node: Node) -> bool:
        """Whether a node has to be asked for at a level above the search level."""
        if level not in node.uids:
            return True
        return any(
            has_value(value) or tag not in node.context
            for tag, value in self._keys.items.items()
            if level_in(tag, self._model) == level and tag not in _UNIQUE_TAGS
        )

    def _push(self, level: QueryLevel, node: Node, targets: Mapping[str, Attributes], size: int = 0) -> None:
        """Add requests at a level below a node, for some unique keys only where there are targets."""
        uids = self._keys.value(level.uid_tag)
        if isinstance(uids, tuple) and self._model is QueryModel.STUDY_ROOT and level is QueryLevel.STUDY:
            # A list of studies from the user. All of them should be there, which cannot be said of a list of series
            # that each of several studies is asked for.
            targets = targets or {str(uid): node.context for uid in uids if not node.uids}
        if not targets:
            self._todo.append(FindRequest(self._model, level, node))
        pairs = iter(targets.items())
        while chunk := dict(islice(pairs, size or self._list_size)):
            self._todo.append(FindRequest(self._model, level, node, chunk))

    def _list_failed(self, request: FindRequest) -> bool:
        """Whether a peer has to be asked again, one by one, for what a list of UIDs names."""
        n_answered = len(request.seen.uids)
        return request.status != 0 or (n_answered <= 1 and n_answered < len(request.contexts))

    def _expected(self, request: FindRequest) -> int | None:
        """How many answers there should be by what the peer itself said of the parent; None where it did not."""
        node, parent = request.node, request.node.verified
        if parent is None or parent != node.parent_of(request.level) or request.contexts or len(request.narrow):
            return None
        valued = [level_of(tag) for tag, value in self._keys.items.items() if has_value(value)]
        if any(level is None or level > parent for level in valued):
            return None
        return count_of(node.context, parent, request.level)


def _too_wide(request: FindRequest) -> bool:
    """Whether to ask level by level what was asked at once: the answers look capped, and cannot be narrowed by date."""
    level, parent = request.level, request.level.parent
    capped = request.status != 0 or is_suspicious(request.seen.n)
    return capped and level > QueryLevel.STUDY and parent not in request.node.uids


# DIMSE statuses of C-FIND (PS3.4 table C.4-1, PS3.7 annex C), for people.
_MEANINGS = {
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0xA700: "out of resources",
    0xA900: "identifier does not match the SOP class",
    0xFE00: "cancelled by the peer",
}


def _has_more(status: int) -> bool:
    """Whether a status says that the answers are not all: out of resources, a warning, a cancellation not asked for.

    The last is how Orthanc says that it has reached its limit.
    """
    return 0xA700 <= status <= 0xA7FF or 0xB000 <= status <= 0xBFFF or status in (0xFE00, 0x0001, 0x0107, 0x0116)


def _says(status: int, comment: str) -> str:
    kind = "warning" if _has_more(status) else "unable to process"
    text = _MEANINGS.get(status) or _MEANINGS.get(status & 0xFF00, kind)
    return f"{text} (0x{status:04X}{': ' + safe_text(comment, 100) if comment else ''})"
