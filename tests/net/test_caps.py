"""Capped answers: what is suspected, and that the parts of a range are the range."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.net._caps import (
    Range,
    Seen,
    date_range,
    is_suspicious,
    modalities_to_ask,
    numbers_to_probe,
    split_dates,
    split_times,
    time_range,
)

TODAY = dt.date(2024, 1, 1).toordinal()
DAYS = st.integers(dt.date(1990, 1, 1).toordinal(), dt.date(2030, 1, 1).toordinal())
SECONDS = st.integers(0, 86_399)


def counts_of(numbers: list[int]) -> dict[int, int]:
    return {number: numbers.count(number) for number in numbers}


def range_of(ends: tuple[int | None, int | None]) -> Range:
    first, last = ends
    return Range(last, first) if first is not None and last is not None and first > last else Range(first, last)


@pytest.mark.parametrize("n", [100, 200, 250, 300, 500, 1000, 1024, 1500, 2000, 2048, 2500, 4096, 5000, 10000, 65536])
def test_suspicious_counts(n: int) -> None:
    assert is_suspicious(n)
    assert not is_suspicious(n + 1)
    assert not is_suspicious(n - 1)


def test_small_and_usual_counts_are_not_suspicious() -> None:
    assert not any(is_suspicious(n) for n in [*range(100), 128, 110, 160, 256, 512, 1100, 12345])


@pytest.mark.parametrize("text", ["20200101", "20200101-", "-20200101", "20200101-20201231", "-"])
def test_ranges_of_dates_are_written_as_they_are_read(text: str) -> None:
    assert date_range(text).dates() == text


def test_ranges_of_times() -> None:
    assert time_range("12") == Range(43_200, 43_200)
    assert time_range("1200-120059.5") == Range(43_200, 43_259)
    assert time_range("12:00:00-") == Range(43_200, None)
    assert time_range("").open
    assert time_range("235960").first == 86_399
    assert Range(43_200, None).times() == "120000-"
    assert Range(None, 61).times() == "-000101"


@given(st.tuples(st.none() | DAYS, st.none() | DAYS).map(range_of), st.lists(DAYS, max_size=30), DAYS)
def test_parts_of_dates_cover_the_range_once_and_are_smaller(asked: Range, days: list[int], day: int) -> None:
    parts = split_dates(asked, counts_of(days), TODAY)
    if asked.single:
        assert parts == []
    if parts:
        assert len(parts) > 1
        assert sum(day in part for part in parts) == (day in asked)
        assert all(part != asked for part in parts)
        assert all(part.first is None or part.last is None or part.first <= part.last for part in parts)
        # no part has all that was seen, if there are two days to tell apart
        inside = [d for d in days if d in asked]
        if len(set(inside)) > 1:
            assert all(sum(d in part for d in inside) < len(inside) for part in parts)
    elif not asked.single:
        assert not days or not any(d in asked for d in days)


@given(st.tuples(st.none() | SECONDS, st.none() | SECONDS).map(range_of), st.lists(SECONDS, max_size=30), SECONDS)
def test_parts_of_times_cover_the_range_and_are_smaller(asked: Range, seconds: list[int], second: int) -> None:
    parts = split_times(asked, counts_of(seconds))
    if parts:
        assert any(second in part for part in parts) == (second in asked)
        assert all(part != asked for part in parts)
        width = (86_399 if asked.last is None else asked.last) - (asked.first or 0)
        for part in parts:
            assert (86_399 if part.last is None else part.last) - (part.first or 0) < width


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=300), st.booleans())
def test_splitting_ends(days: list[int], newest_first: bool) -> None:
    """A peer with a cap of 5 is asked in a number of requests that its studies bound."""
    first = dt.date(2015, 1, 1).toordinal()
    held = sorted((first + day for day in days), reverse=newest_first)
    todo, found, asked_for = [Range()], 0, 0
    while todo:
        asked = todo.pop()
        asked_for += 1
        answers = [day for day in held if day in asked]
        parts = split_dates(asked, counts_of(answers[:5]), TODAY) if len(answers) > 5 else []
        if parts:
            todo.extend(parts)
        else:
            found += len(answers)
    assert found == len(held)
    assert asked_for <= 1 + 3 * len(set(held))


def test_the_first_and_the_last_day_there_is() -> None:
    for day in (dt.date.min, dt.date.max):
        ordinal = day.toordinal()
        for part in split_dates(Range(), {ordinal: 3}, TODAY):
            assert date_range(part.dates()) == part


def test_a_day_that_is_alone_gets_a_part_of_its_own() -> None:
    day = dt.date(2020, 5, 5).toordinal()
    assert split_dates(Range(), {day: 100}, TODAY) == [Range(day, day), Range(None, day - 1), Range(day + 1, None)]
    assert split_dates(Range(day, day + 1), {day: 100}, TODAY) == [Range(day, day), Range(day + 1, day + 1)]


def test_without_answers_the_middle_is_between_1995_and_today() -> None:
    early, late = split_dates(Range(), {}, TODAY)
    assert early.dates() == "-20090702"
    assert late.dates() == "20090703-"
    assert split_dates(Range(None, dt.date(1990, 1, 1).toordinal()), {}, TODAY) == []


def seen_numbers(*numbers: int) -> Seen:
    seen = Seen()
    seen.numbers.update(numbers)
    return seen


def test_numbers_to_probe() -> None:
    assert numbers_to_probe(seen_numbers(*range(1, 501))) == [0, 501]
    assert numbers_to_probe(seen_numbers(*range(100))) == [100]
    assert numbers_to_probe(seen_numbers(1, 2, 4)) == []
    assert numbers_to_probe(Seen()) == []


def test_modalities_to_ask_are_those_seen_and_the_usual_ones() -> None:
    seen = Seen()
    seen.modalities.update({"RTPLAN": None, "": None, "CT": None})
    asked = modalities_to_ask(seen)
    assert {"RTPLAN", "CT", "MR", "US"} <= set(asked)
    assert "" not in asked
    assert len(asked) == len(set(asked))
