"""Cutting what was found into parts that are planned and transferred one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dcm.levels import QueryLevel
from dcm.query import QueryResult

if TYPE_CHECKING:
    from dcm.attrs import Attributes

__all__ = ["batches"]

# Small enough that the first data moves soon, and large enough that it is worth an association.
_MOST_STUDIES = 50
_MOST_INSTANCES = 2000


def batches(
    found: QueryResult, most_studies: int = _MOST_STUDIES, most_instances: int = _MOST_INSTANCES
) -> Iterator[QueryResult]:
    """Yield parts of a result: whole studies, or patients where it is no finer than that.

    Parameters
    ----------
    found : QueryResult
    most_studies : int
        How many studies or patients a part has at most.
    most_instances : int
        How many instances a part has at most, as far as counts are known, unless it is a single study.
    """
    if not len(found):
        return
    records: list[Attributes] = []
    n_studies = n_instances = 0
    for study in found.level_sub_queries(min(found.level, QueryLevel.STUDY)):
        count = study.n_instances() or 0
        if n_studies and (n_studies == most_studies or n_instances + count > most_instances):
            yield QueryResult(found.level, records, found.prov)
            records, n_studies, n_instances = [], 0, 0
        records.extend(study.records())
        n_studies += 1
        n_instances += count
    yield QueryResult(found.level, records, found.prov)
