"""``--since`` and ``--before``."""

from __future__ import annotations

import datetime

import pytest
from pydicom import Dataset

from dcm.cli._dates import date_range, limit_dates, parse_day
from dcm.errors import QueryError

TODAY = datetime.date(2021, 3, 4)  # a Thursday


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2020-10-31", (2020, 10, 31)),
        ("20201031", (2020, 10, 31)),
        (" 2020.10.31 ", (2020, 10, 31)),
        ("2020-10", (2020, 10, 1)),
        ("2020", (2020, 1, 1)),
        ("31 Oct 2020", (2020, 10, 31)),
        ("October 31, 2020", (2020, 10, 31)),
        ("31.10.2020", (2020, 10, 31)),
        ("03.03.2020", (2020, 3, 3)),
        ("today", (2021, 3, 4)),
        ("yesterday", (2021, 3, 3)),
        ("3 weeks ago", (2021, 2, 11)),
        ("monday", (2021, 3, 1)),
        ("October 2020", (2020, 10, 1)),
    ],
)
def test_days_as_people_write_them(text: str, day: tuple[int, int, int]) -> None:
    assert parse_day(text, TODAY) == datetime.date(*day)


@pytest.mark.parametrize("text", ["", "xyz", "5", "123", "2020-02-30", "20201301", "1.2.20", "\x1b[31m"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_day(text, TODAY)
    assert caught.value.message.isprintable()
    assert caught.value.exit_code == 2


def test_what_could_be_two_days_is_refused() -> None:
    with pytest.raises(QueryError, match="could be two days") as caught:
        parse_day("3/4/2020", TODAY)
    assert caught.value.hint == "write 2020-04-03 or 2020-03-04"


@pytest.mark.parametrize(
    ("since", "before", "expected"),
    [
        ("2020-10-31", None, "20201031-"),
        (None, "2020-11-01", "-20201031"),
        ("2020-10-31", "2020-11-01", "20201031-20201031"),
        ("yesterday", "today", "20210303-20210303"),
        (None, "2020-03-01", "-20200229"),
    ],
)
def test_since_has_its_day_and_before_has_not(since: str | None, before: str | None, expected: str) -> None:
    assert date_range(since, before, TODAY) == expected


def test_there_must_be_a_day_in_between() -> None:
    with pytest.raises(QueryError, match="no day is since 2020-10-31 and before 2020-10-31"):
        date_range("2020-10-31", "2020-10-31")


def test_the_range_goes_into_the_query_unless_it_has_one() -> None:
    query = Dataset()
    limit_dates(query, None, None)
    assert "StudyDate" not in query
    query.StudyDate = ""
    limit_dates(query, "2020-10-31", None)
    assert query.StudyDate == "20201031-"
    with pytest.raises(QueryError, match="StudyDate, and --since or --before"):
        limit_dates(query, None, "2020-10-31")
