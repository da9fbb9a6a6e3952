"""What of the answers to a query is good, and what it adds to what is known.

A peer may leave out the identifiers of the parents, answer at another level, ignore keys, repeat itself and contradict
itself. What is left of its answers is sound: it has all identifiers, belongs to what was asked for, and fits the
hierarchy of what came before.
"""

from __future__ import annotations

from dcm.attrs import Attributes, Shape
from dcm.errors import InconsistentDataError, InvalidDicomError
from dcm.levels import QueryLevel
from dcm.net._request import FindRequest
from dcm.query import QueryProv, QueryResult
from dcm.query._elements import up_to
from dcm.query._keys import QUERY_RETRIEVE_LEVEL, SPECIFIC_CHARACTER_SET
from dcm.report import QueryReport

__all__ = ["Fold"]

# How and where an answer was got: nothing about the object.
_ENVELOPE = frozenset({SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, 0x00080054})
_MAX_FORMS = 256


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
        self._forms: dict[tuple[int, int], _Form] = {}

    def take(self, request: FindRequest, answer: Attributes) -> tuple[Attributes | None, bool]:
        """Take one answer to a request.

        Returns
        -------
        record : Attributes or None
            The answer with the identifiers and attributes of its parents; None where it is no good.
        fresh : bool
            Whether it names something that no answer has named before.
        """
        self._report.n_responses += 1
        request.seen.n += 1
        uid = answer.text(request.level.uid_tag)
        fault = _fault(request, answer, uid)
        context = request.context_of(uid)
        if fault or context is None:
            kind, message = fault or ("outside", f"{request.level.name} answers with a UID that was not asked for")
            self._report.drop(kind, uid, message)
            return None, False
        request.seen.note(request.level, answer)
        record = self._filled(context, answer)
        known = self._known[request.level]
        fresh = self._add(known, record)
        if fresh is None:
            return None, False
        request.seen.n_fresh += fresh
        if fresh and known is self.result:
            self._new.append(record)
        return record, fresh

    def deliver(self, record: Attributes) -> None:
        """Add to the result what a record of a finer level says."""
        record = record.only(up_to(self.result.level))
        if self._add(self.result, record):
            self._new.append(record)

    def _add(self, known: QueryResult, record: Attributes) -> bool | None:
        """Whether a record is new to a result; None where it does not fit."""
        try:
            return known.add(record)
        except InvalidDicomError:
            kind, message = "invalid", f"{known.level.name} answers without one identifier for each level"
        except InconsistentDataError:
            kind, message = "inconsistent", f"{known.level.name} answers that contradict earlier ones"
        self._report.drop(kind, record.text(known.level.uid_tag), message)
        return None

    def partial(self) -> QueryResult:
        """What was found since the last call."""
        new, self._new = self._new, []
        return QueryResult(self.result.level, new, self.result.prov)

    def _filled(self, context: Attributes, answer: Attributes) -> Attributes:
        """The answer, with what is known about its parents where the peer does not say."""
        key = (id(context), id(answer._shape))
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _MAX_FORMS:
                self._forms.clear()
            form = self._forms[key] = _Form(context, answer._shape, self._dropped)
        return form.fill(answer)


class _Form:
    """How to complete the answers of one shape below one node; worked out once, as there may be thousands of them.

    Parameters
    ----------
    context : Attributes
        What is known about the parents.
    shape : Shape
        The shape of the answers.
    dropped : frozenset of int
        The tags that are not kept.
    """

    def __init__(self, context: Attributes, shape: Shape, dropped: frozenset[int]) -> None:
        # Kept so that nothing else can get their ids.
        self._context, self._source = context, shape
        vrs = {tag: vr for tag, vr, value in context.elements() if value is not None}
        vrs.update((tag, vr) for tag, vr in zip(shape.tags, shape.vrs, strict=True) if tag not in dropped)
        tags = tuple(sorted(vrs))
        self._shape = Shape.of(tags, tuple([vrs[tag] for tag in tags]))
        # Where each value is in the answer (-1: nowhere), and what to take in place of none.
        self._values = [(shape.index.get(tag, -1), context.get(tag)) for tag in tags]

    def fill(self, answer: Attributes) -> Attributes:
        """Complete one answer."""
        told = answer._values
        values = [known if at < 0 or told[at] is None else told[at] for at, known in self._values]
        return Attributes.from_shape(self._shape, tuple(values))


_UID_LEVELS = (QueryLevel.STUDY, QueryLevel.SERIES, QueryLevel.IMAGE)


def _can_be_asked_for(uid: str) -> bool:
    """Whether a UID can be sent back to the peer; it need not be a good one (PS3.5 section 9.1)."""
    return uid.isascii() and uid.isprintable()


def _fault(request: FindRequest, answer: Attributes, uid: str) -> tuple[str, str] | None:
    """The kind of fault and what it is; None where there is none."""
    name = request.level.name
    level = answer.text(QUERY_RETRIEVE_LEVEL).strip().upper()
    if level and level != name:
        return "invalid", f"{name} query answered at another level"
    if not uid.strip():
        return "invalid", f"{name} answers without {request.level.uid_keyword}"
    if any(not _can_be_asked_for(answer.text(level.uid_tag)) for level in _UID_LEVELS if level <= request.level):
        return "invalid", f"{name} answers with a UID that no request can have in it"
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
