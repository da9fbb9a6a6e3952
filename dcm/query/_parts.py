"""Dividing a query result into parts that are worked on one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dcm.levels import QueryLevel
from dcm.query._result import QueryResult

if TYPE_CHECKING:
    from dcm.attrs import Attributes

__all__ = ["parts_of"]


def parts_of(
    query_res: QueryResult, size: int, *, most: int | None = None, unknown: int | None = None
) -> Iterator[QueryResult]:
    """Divide a query result into parts of whole studies, or of patients where it is no finer than that.

    Parameters
    ----------
    query_res : QueryResult
    size : int
        About how many instances a part has, unless it is a single study.
    most : int, optional
        How many studies a part has at most.
    unknown : int, optional
        How many instances to expect in a study without a count; by default a part of them.
    """
    records: list[Attributes] = []
    n_studies = n_instances = 0
    for study in query_res.level_sub_queries(min(query_res.level, QueryLevel.STUDY)):
        n_more = study.n_instances() or (size if unknown is None else unknown)
        if n_studies and (n_studies == most or n_instances + n_more > size):
            yield QueryResult(query_res.level, records, query_res.prov)
            records, n_studies, n_instances = [], 0, 0
        records.extend(study.records())
        n_studies += 1
        n_instances += n_more
    if records:
        yield QueryResult(query_res.level, records, query_res.prov)
