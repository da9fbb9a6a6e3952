"""Dividing a query result into parts."""

from __future__ import annotations

import pytest

from dcm.attrs import Attributes
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from dcm.query._parts import parts_of

_N_INSTANCES = 0x00201208


def studies(*counts: int | None) -> QueryResult:
    records = []
    for number, count in enumerate(counts):
        items = [(QueryLevel.PATIENT.uid_tag, "LO", "P"), (QueryLevel.STUDY.uid_tag, "UI", f"1.{number}")]
        records.append(
            Attributes.from_items(items if count is None else [*items, (_N_INSTANCES, "IS", str(count))]),
        )
    return QueryResult(QueryLevel.STUDY, records)


def sizes(query_res: QueryResult, size: int, most: int | None = None, unknown: int | None = None) -> list[int]:
    parts = [*parts_of(query_res, size, most=most, unknown=unknown)]
    together = QueryResult(query_res.level)
    for part in parts:
        together |= part
    assert together == query_res, "nothing is lost"
    assert sum(map(len, parts)) == len(query_res)
    return [len(part) for part in parts]


def test_whole_studies_up_to_a_number_of_instances() -> None:
    assert sizes(studies(3, 3, 3, 3), 6) == [2, 2]
    assert sizes(studies(3, 3, 3, 3), 7) == [2, 2]
    assert sizes(studies(100, 3, 3), 6) == [1, 2], "a study is never divided"


def test_studies_without_a_count() -> None:
    assert sizes(studies(None, None, 3, 3), 6) == [1, 1, 2]
    assert sizes(studies(None, None, 3, 3), 6, unknown=1) == [3, 1]


def test_at_most_so_many_studies() -> None:
    assert sizes(studies(1, 1, 1, 1, 1), 100, most=2) == [2, 2, 1]


@pytest.mark.parametrize("level", QueryLevel)
def test_nothing(level: QueryLevel) -> None:
    assert not [*parts_of(QueryResult(level), 10)]


def test_patients_where_it_is_no_finer() -> None:
    records = [Attributes.from_items([(QueryLevel.PATIENT.uid_tag, "LO", f"P{n}")]) for n in range(3)]
    assert sizes(QueryResult(QueryLevel.PATIENT, records), 10, unknown=5) == [2, 1]
