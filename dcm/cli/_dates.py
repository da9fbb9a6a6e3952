"""``--since`` and ``--before``: dates as people write them."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING

from dcm.errors import QueryError
from dcm.text import safe_text

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["date_range", "limit_dates", "parse_day"]

_NUMERIC = re.compile(r"([0-9]{4})([-./]?([0-9]{2})([-./]?([0-9]{2}))?)?")
_AMBIGUOUS = re.compile(r"([0-9]{1,2})([-./])([0-9]{1,2})\2([0-9]{2}|[0-9]{4})")


def parse_day(text: str, today: datetime.date | None = None) -> datetime.date:
    """The day that a person means.

    Parameters
    ----------
    text : str
        2020-10-31, 20201031, 31 Oct 2020, yesterday, 3 weeks ago, ... A month or a year is its first day.
    today : date, optional
        What "today" is.

    Raises
    ------
    QueryError
        It is no date, or could be two.
    """
    stripped = text.strip()
    numeric = _NUMERIC.fullmatch(stripped)
    if numeric:
        try:
            return datetime.date(int(numeric[1]), int(numeric[3] or 1), int(numeric[5] or 1))
        except ValueError:
            raise QueryError(f"there is no such day: '{safe_text(text)}'") from None
    ambiguous = _AMBIGUOUS.fullmatch(stripped)
    if ambiguous:
        one, two, year = int(ambiguous[1]), int(ambiguous[3]), ambiguous[4]
        if len(year) == 2:
            raise QueryError(f"'{safe_text(text)}' could be several days", hint="write YYYY-MM-DD")
        if one != two and one <= 12 and two <= 12:
            hint = f"write {year}-{two:02d}-{one:02d} or {year}-{one:02d}-{two:02d}"
            raise QueryError(f"'{safe_text(text)}' could be two days", hint=hint)
    day = (
        None
        if stripped.isdecimal() or not stripped.isprintable()
        else _human_day(stripped, today or datetime.datetime.now().astimezone().date())
    )
    if day is None:
        raise QueryError(f"'{safe_text(text)}' is no date", hint="2020-10-31, yesterday and 3 weeks ago are some")
    return day


def date_range(since: str | None, before: str | None, today: datetime.date | None = None) -> str:
    """The range of StudyDate (PS3.4 section C.2.2.2.5) from a day on, and up to the day before another.

    Raises
    ------
    QueryError
        A date is none, or no day is in between.
    """
    first = parse_day(since, today) if since is not None else None
    end = parse_day(before, today) if before is not None else None
    if first and end and first >= end:
        raise QueryError(f"no day is since {first} and before {end}", hint="--before leaves its own day out")
    last = end - datetime.timedelta(days=1) if end else None
    return "-".join(day.strftime("%Y%m%d") if day else "" for day in (first, last))


def limit_dates(query: Dataset, since: str | None, before: str | None) -> None:
    """Put the range of ``--since`` and ``--before`` into a query.

    Raises
    ------
    QueryError
        A date is none, no day is in between, or the query has a StudyDate already.
    """
    if since is None and before is None:
        return
    if query.get("StudyDate"):
        raise QueryError("there is a StudyDate, and --since or --before", hint="keep one of them")
    query.StudyDate = date_range(since, before)


def _human_day(text: str, today: datetime.date) -> datetime.date | None:
    import dateparser

    noon = datetime.datetime.combine(today, datetime.time(12))
    settings = {"RELATIVE_BASE": noon, "PREFER_DATES_FROM": "past", "PREFER_DAY_OF_MONTH": "first"}
    found = dateparser.parse(text, settings=settings)
    return found.date() if found else None
