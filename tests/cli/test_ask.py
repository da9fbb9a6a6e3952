"""Many queries, one answer."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from pydicom import Dataset

from dcm.attrs import Attributes
from dcm.cli._ask import ask_all, common_level
from dcm.cli._keywords import parse_query
from dcm.errors import ConnectionFailedError, NetworkError, OperationFailedError
from dcm.query import QueryLevel, QueryResult
from dcm.report import QueryReport
from dcm.store import DataRepo


class Archive:
    """Stands for a node that knows each patient's study, and fails as it is told."""

    def __init__(self, **failures: NetworkError) -> None:
        self.failures = failures
        self.asked: list[tuple[QueryLevel | None, str]] = []
        self.at_a_time = self.most_at_a_time = 0
        self.study_of_all = ""

    async def query(
        self,
        level: QueryLevel | None,
        query: Dataset,
        query_res: QueryResult | None,
        report: QueryReport,
    ) -> QueryResult:
        patient = str(query.PatientID)
        self.at_a_time += 1
        self.most_at_a_time = max(self.at_a_time, self.most_at_a_time)
        self.asked.append((level, patient))
        for _ in range(10):
            await asyncio.sleep(0)
        self.at_a_time -= 1
        if patient in self.failures:
            raise self.failures[patient]
        report.n_queries += 1
        report.n_responses += 1
        uid = self.study_of_all or f"1.2.{ord(patient)}"
        return QueryResult(
            QueryLevel.STUDY, [Attributes.from_items([(0x00100020, "LO", patient), (0x0020000D, "UI", uid)])]
        )

    @property
    def repo(self) -> DataRepo[Any]:
        return cast("DataRepo[Any]", self)


def queries(patients: str) -> list[Dataset]:
    return [parse_query([f"PatientID={patient}"]) for patient in patients]


async def test_all_are_asked_and_merged_in_order_no_more_at_a_time_than_the_node_takes() -> None:
    archive = Archive()
    result, report = await ask_all(archive.repo, queries("abcdef"), at_once=2)
    assert [data_set.PatientID for data_set in result] == list("abcdef")
    assert sorted(patient for _, patient in archive.asked) == list("abcdef")
    assert archive.most_at_a_time == 2
    assert (report.n_queries, report.exit_code) == (6, 0)


async def test_a_refused_query_is_reported_and_the_others_go_on() -> None:
    archive = Archive(b=OperationFailedError("mypacs said no", status=0xA900))
    result, report = await ask_all(archive.repo, queries("abc"))
    assert [data_set.PatientID for data_set in result] == ["a", "c"]
    assert report.exit_code == 3
    assert report.warnings == ["1 requests refused: mypacs said no (query 2)"]


async def test_a_node_that_goes_away_ends_it_with_what_there_is() -> None:
    archive = Archive(b=ConnectionFailedError("mypacs has gone"))
    result, report = await ask_all(archive.repo, queries("abcdefgh"))
    assert [data_set.PatientID for data_set in result] == ["a"]
    assert (report.n_failed, report.exit_code) == (7, 3)
    assert len(archive.asked) < 8


async def test_a_node_that_was_never_there_is_an_error() -> None:
    with pytest.raises(ConnectionFailedError, match="nobody there"):
        await ask_all(Archive(a=ConnectionFailedError("nobody there")).repo, queries("abc"))


async def test_the_only_query_fails_with_its_own_error() -> None:
    with pytest.raises(OperationFailedError, match="it said no"):
        await ask_all(Archive(a=OperationFailedError("it said no")).repo, queries("a"))


async def test_all_refused_is_nothing_done() -> None:
    error = OperationFailedError("it said no")
    result, report = await ask_all(Archive(a=error, b=error).repo, queries("ab"))
    assert len(result) == 0
    assert report.exit_code == 4


async def test_answers_that_contradict_each_other_are_reported() -> None:
    archive = Archive()
    archive.study_of_all = "1.2.3"
    result, report = await ask_all(archive.repo, queries("ab"))
    assert [data_set.PatientID for data_set in result] == ["a"]
    assert report.problems.count("inconsistent") == 1
    assert report.exit_code == 5


async def test_many_queries_are_asked_at_one_level() -> None:
    archive = Archive()
    both = [parse_query(["PatientID=a"]), parse_query(["PatientID=b", "Modality=CT"])]
    await ask_all(archive.repo, both)
    assert {level for level, _ in archive.asked} == {QueryLevel.SERIES}
    archive = Archive()
    await ask_all(archive.repo, both, level=QueryLevel.IMAGE)
    assert {level for level, _ in archive.asked} == {QueryLevel.IMAGE}
    archive = Archive()
    await ask_all(archive.repo, both[:1])
    assert archive.asked == [(None, "a")]


async def test_cancelling_cancels_all_of_them() -> None:
    archive = Archive()
    task = asyncio.ensure_future(ask_all(archive.repo, queries("abcdef"), at_once=2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(archive.asked) <= 2
    assert len(asyncio.all_tasks()) == 1


def test_the_common_level_is_the_finest() -> None:
    assert common_level([parse_query(["PatientID=1", "SeriesDescription=x"]), parse_query(["StudyDate="])]) == (
        QueryLevel.SERIES
    )
    assert common_level([parse_query([])]) is None
