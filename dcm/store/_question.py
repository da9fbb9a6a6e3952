"""What is asked of a store that answers by itself, and its answer as a query result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dcm.errors import InconsistentDataError, InvalidDicomError
from dcm.levels import QueryLevel
from dcm.query import QueryProv, QueryResult
from dcm.query._elements import keyword_of
from dcm.query._keys import RETURN_KEYS, QueryKeys, has_value
from dcm.query._parts import parts_of

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.attrs import Attributes
    from dcm.report import QueryReport

__all__ = ["Question"]


class Question:
    """A query, with all that it leaves open decided as for a query to a node (`LocalEntity.query`).

    Parameters
    ----------
    level : QueryLevel, optional
        The level of the answer; else that of the query's keys, of the earlier result, or STUDY.
    query : Dataset or Attributes, optional
        Keys with a value must match, the others are to be returned. One that is finer than the level finds what has
        something that matches: the studies that have a series of a modality.
    query_res : QueryResult, optional
        An earlier result: only what it names, and what is above or below that.

    Attributes
    ----------
    level : QueryLevel
    keys : Attributes
    within : QueryResult or None

    Raises
    ------
    QueryError
        The query makes no sense.
    """

    def __init__(
        self, level: QueryLevel | None, query: Dataset | Attributes | None, query_res: QueryResult | None
    ) -> None:
        keys = QueryKeys.of(query)
        self.level = keys.choose_level(level, None if query_res is None else query_res.level)
        self.keys = keys.items
        self.within = query_res
        keys.check_returned(max(self.level, keys.finest(valued=True) or QueryLevel.PATIENT))

    @property
    def valued(self) -> Attributes:
        """The keys that must match."""
        return self.keys.only({tag for tag, value in self.keys.items() if has_value(value)})

    def answer(self, records: Iterable[Attributes], source: str | None, report: QueryReport) -> QueryResult:
        """Put records together.

        Parameters
        ----------
        records : iterable of Attributes
            What matches, at the level of the question.
        source : str or None
            The store, as one gives it on the command line.
        report : QueryReport
            Learns of records that contradict earlier ones, or lack their identifiers: these are left out.
        """
        tags = {tag for level in QueryLevel if level <= self.level for tag, _ in RETURN_KEYS[level]}
        prov = QueryProv(_written_down(source), map(keyword_of, tags.union(self.keys)))
        result = QueryResult(self.level, prov=prov)
        name = self.level.name
        for record in records:
            report.n_responses += 1
            try:
                result.add(record)
            except InvalidDicomError:
                report.drop("invalid", record.text(self.level.uid_tag), f"data without identifiers for {name} level")
            except InconsistentDataError:
                report.drop("inconsistent", record.text(self.level.uid_tag), f"{name} records that contradict others")
        return result


def _written_down(name: str | None) -> str | None:
    """What a document can say of a place: nothing of one whose name is no text, rather than something wrong."""
    try:
        (name or "").encode()
    except UnicodeEncodeError:
        return None
    return name


def groups_of(query_res: QueryResult, size: int) -> Iterator[list[QueryResult]]:
    """The studies of a query result, or its patients, as many together as have so many instances."""
    group: list[QueryResult] = []
    n_instances = 0
    for part in parts_of(query_res, 1):
        group.append(part)
        n_instances += part.n_instances() or size
        if n_instances >= size:
            yield group
            group, n_instances = [], 0
    if group:
        yield group
