"""What of the answers to a query is good, and what it adds to what is known.

A peer may leave out the identifiers of the parents, answer at another level, ignore keys, repeat itself and contradict
itself. What is left of its answers is sound: it has all identifiers, belongs to what was asked for, and fits the
hierarchy of what came before.
"""

from __future__ import annotations

from dcm.attrs import Attributes
from dcm.errors import InconsistentDataError, InvalidDicomError
from dcm.levels import QueryLevel
from dcm.net._keys import QUERY_RETRIEVE_LEVEL, SPECIFIC_CHARACTER_SET
from dcm.net._request import FindRequest
from dcm.query import QueryProv, QueryResult
from dcm.query._elements import up_to
from dcm.report import QueryReport

__all__ = ["Fold"]

# How and where an answer was got: nothing about the object.
_ENVELOPE = frozenset({SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, 0x00080054})


class Fold:
    """Folds answers into query results.

    Parameters
    ----------
    level : QueryLevel
        The level of the result.
    search_level : QueryLevel
        The level that the answers come from, which is finer where a key is.
    report : QueryReport
        Told about every answer, and why some are left out.
    prov : QueryProv
        Where the result comes from.
    asked : frozenset of int, optional
        The keys that were asked for by the user, which are kept whatever they are.

    Attributes
    ----------
    result : QueryResult
        All that was found so far.
    """

    def __init__(
        self,
        level: QueryLevel,
        search_level: QueryLevel,
        report: QueryReport,
        prov: QueryProv,
        asked: frozenset[int] = frozenset(),
    ) -> None:
        self.result = QueryResult(level, prov=prov)
        self._report = report
        self._dropped = _ENVELOPE - asked
        # What is known at each level, to which an answer must fit. What a pre-query finds is not yet a result.
        self._known = {known: QueryResult(known) for known in QueryLevel}
        if level is search_level:
            self._known[level] = self.result
        self._new: list[Attributes] = []

    def take(self, request: FindRequest, answer: Attributes) -> Attributes | None:
        """Take one answer to a request.

        Returns
        -------
        Attributes or None
            The answer with the identifiers and attributes of its parents, where it is good and names something new.
        """
        self._report.n_responses += 1
        request.seen.n += 1
        uid = answer.text(request.level.uid_tag)
        fault = _fault(request, answer, uid)
        context = request.context_of(uid)
        if fault or context is None:
            kind, message = fault or ("outside", f"{request.level.name} answers with a UID that was not asked for")
            self._report.drop(kind, uid, message)
            return None
        request.seen.note(request.level, answer)
        record = self._filled(context, answer)
        known = self._known[request.level]
        if not self._add(known, record, uid):
            return None
        request.seen.n_fresh += 1
        if known is self.result:
            self._new.append(record)
        return record

    def deliver(self, record: Attributes) -> None:
        """Add to the result what a record of a finer level says."""
        record = record.only(up_to(self.result.level))
        if self._add(self.result, record, record.text(self.result.level.uid_tag)):
            self._new.append(record)

    def _add(self, known: QueryResult, record: Attributes, uid: str) -> bool:
        try:
            return known.add(record)
        except InvalidDicomError:
            self._report.drop("invalid", uid, f"{known.level.name} answers without one identifier for each level")
        except InconsistentDataError:
            self._report.drop("inconsistent", uid, f"{known.level.name} answers that contradict earlier ones")
        return False

    def partial(self) -> QueryResult:
        """What was found since the last call."""
        new, self._new = self._new, []
        return QueryResult(self.result.level, new, self.result.prov)

    def _filled(self, context: Attributes, answer: Attributes) -> Attributes:
        """The answer, with what is known about its parents where the peer does not say."""
        record = answer.without(self._dropped)
        gaps = [element for element in context.elements() if element[2] is not None and not record.text(element[0])]
        return record.replace(gaps) if gaps else record


def _fault(request: FindRequest, answer: Attributes, uid: str) -> tuple[str, str] | None:
    """The kind of fault and what it is; None where there is none."""
    name = request.level.name
    level = answer.text(QUERY_RETRIEVE_LEVEL).strip().upper()
    if level and level != name:
        return "invalid", f"{name} query answered at another level"
    if not uid.strip():
        return "invalid", f"{name} answers without {request.level.uid_keyword}"
    for parent, known in request.node.uids.items():
        if parent >= request.level or not known:
            continue
        told = answer.text(parent.uid_tag)
        if told and told != known:
            # Where it was not part of the question, the peer has said before that it is so.
            kind = "outside" if request.key(parent.uid_tag) else "inconsistent"
            return kind, f"{name} answers below another {parent.uid_keyword} than the one that was asked for"
    asked = request.key(request.level.uid_tag)
    if asked and not request.contexts and request.level > QueryLevel.PATIENT and uid not in asked.split("\\"):
        return "outside", f"{name} answers with another {request.level.uid_keyword} than the one that was asked for"
    return None
