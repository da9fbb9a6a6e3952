"""Capped answers: when to suspect that a peer stops at a limit, and how to ask for the same in smaller pieces.

Many archives answer at most 100, 500 or 1,000 matches and then say success. What is left out can be had with narrower
keys: ranges of StudyDate, within one day of StudyTime, then a modality at a time (PS3.4 section C.2.2.2.5 for ranges).

For the instances of one series there is no key to narrow by. But InstanceNumber is a required key, and a peer that
stops half way leaves out numbers: where they have no gap, and nothing has the number before the first or after the
last, nothing was left out.

What has no StudyDate or StudyTime matches no range, so what is found in ranges may lack such studies. A result is said
to be in doubt for that as soon as one of them is seen anywhere; an archive whose only such studies are hidden behind
its limit cannot be told from one that has none.
"""

from __future__ import annotations

import bisect
import datetime as dt
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from dcm.attrs import Attributes
from dcm.levels import QueryLevel
from dcm.query._keys import parse_date

__all__ = [
    "INSTANCE_NUMBER",
    "MODALITIES_IN_STUDY",
    "MODALITY",
    "STUDY_DATE",
    "STUDY_TIME",
    "Range",
    "Seen",
    "date_range",
    "is_suspicious",
    "modalities_to_ask",
    "numbers_to_probe",
    "split_dates",
    "split_times",
    "time_range",
]

STUDY_DATE = 0x00080020
STUDY_TIME = 0x00080030
MODALITY = 0x00080060
MODALITIES_IN_STUDY = 0x00080061
INSTANCE_NUMBER = 0x00200013

_DAY = 86_400
_MIN_DATE, _MAX_DATE = dt.date.min.toordinal(), dt.date.max.toordinal()
# Where the middle of "any date" is, for a peer that gives no dates to go by.
_FIRST_DATE = dt.date(1995, 1, 1).toordinal()
_COMMON_MODALITIES = ("CR", "CT", "DX", "MG", "MR", "NM", "OT", "PT", "RF", "SC", "SR", "US", "XA")


def is_suspicious(count: int) -> bool:
    """Whether a number of answers looks like a limit: 100, 200, 250, 300, … 1000, 1024, 1500, 2000, 2048, 2500, …."""
    if count < 100:
        return False
    if count >= 1024 and count & (count - 1) == 0:
        return True
    unit = 10 ** (len(str(count)) - 1)
    return count % unit == 0 or count * 10 in (15 * unit, 25 * unit)


@dataclass(frozen=True)
class Range:
    """A range of days (ordinals) or of seconds of a day, both ends included; None is an open end."""

    first: int | None = None
    last: int | None = None

    def __contains__(self, number: int) -> bool:
        return (self.first is None or number >= self.first) and (self.last is None or number <= self.last)

    @property
    def single(self) -> bool:
        """Whether it is one day, or one second."""
        return self.first is not None and self.first == self.last

    @property
    def open(self) -> bool:
        """Whether it has no end at all, so that it matches what has no date, too."""
        return self.first is None and self.last is None

    def cut(self, number: int) -> list[Range]:
        """What is up to a number, and what is after it."""
        return [Range(self.first, number), Range(number + 1, self.last)]

    def dates(self) -> str:
        """The range as a DA to match."""
        first, last = [_date_text(end) for end in (self.first, self.last)]
        return first if self.single else f"{first}-{last}"

    def times(self) -> str:
        """The range as a TM to match."""
        first, last = [_time_text(end) for end in (self.first, self.last)]
        return f"{first}-{last}"


def _date_text(ordinal: int | None) -> str:
    if ordinal is None:
        return ""
    day = dt.date.fromordinal(ordinal)
    return f"{day.year:04d}{day.month:02d}{day.day:02d}"


def _time_text(second: int | None) -> str:
    return "" if second is None else f"{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}"


def date_range(text: str) -> Range:
    """The range that a DA key matches, see `dcm.query._keys.QueryKeys`; '' is any date."""
    first, dash, last = text.partition("-")
    days = [parse_date(first), parse_date(last if dash else first)]
    return Range(*[None if day is None else day.toordinal() for day in days])


def time_range(text: str) -> Range:
    """The range that a TM key matches, in seconds; '' is any time."""
    first, dash, last = text.partition("-")
    return Range(_seconds(first), _seconds(last if dash else first))


def _seconds(text: str) -> int | None:
    digits = text.strip().partition(".")[0].replace(":", "")
    if len(digits) not in (2, 4, 6) or not (digits.isascii() and digits.isdecimal()):
        return None
    hours, minutes, seconds = [int(digits[i : i + 2] or 0) for i in (0, 2, 4)]
    return min(hours * 3600 + minutes * 60 + seconds, _DAY - 1)


@dataclass
class Seen:
    """What the answers to one request have shown so far.

    Attributes
    ----------
    n : int
        How many there were.
    n_fresh : int
        How many of them named something that was not known before.
    uids : set of str
        The unique keys.
    dates, times : dict of int to int
        How many there are of each StudyDate and StudyTime.
    modalities : dict of str to None
        The modalities.
    numbers : set of int
        The instance numbers.
    n_undated, n_untimed : int
        How many are without a StudyDate, or a StudyTime.
    """

    n: int = 0
    n_fresh: int = 0
    uids: set[str] = field(default_factory=set)
    dates: dict[int, int] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    modalities: dict[str, None] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)
    n_undated: int = 0
    n_untimed: int = 0

    def note(self, level: QueryLevel, answer: Attributes) -> None:
        """Take note of an answer that is valid."""
        self.uids.add(answer.text(level.uid_tag))
        if level is QueryLevel.IMAGE:
            text = answer.text(INSTANCE_NUMBER)
            if text.isascii() and text.isdecimal():
                self.numbers.add(int(text))
        elif level is QueryLevel.SERIES:
            self.modalities[answer.text(MODALITY)] = None
        elif level is QueryLevel.STUDY:
            day, second = parse_date(answer.text(STUDY_DATE)), _seconds(answer.text(STUDY_TIME))
            if day is None:
                self.n_undated += 1
            else:
                self.dates[day.toordinal()] = self.dates.get(day.toordinal(), 0) + 1
            if second is None:
                self.n_untimed += 1
            else:
                self.times[second] = self.times.get(second, 0) + 1
            self.modalities.update(dict.fromkeys(answer.text(MODALITIES_IN_STUDY).split("\\")))


def split_dates(asked: Range, dates: dict[int, int], today: int) -> list[Range]:
    """Ranges that cover a range of dates, each smaller than it; none where it cannot be split.

    The cut is made where half of the answers are on either side, so that it is of use whatever end the peer began at.
    The open ends stay open.

    Parameters
    ----------
    asked : Range
        What was asked for.
    dates : dict of int to int
        How many answers there were of each day.
    today : int
        The middle is between 1995 and this day where there were no answers to go by.
    """
    if asked.single:
        return []
    days = sorted(day for day in dates if day in asked)
    if not days:
        first = _FIRST_DATE if asked.first is None else asked.first
        last = max(today, first + 1) if asked.last is None else asked.last
        return asked.cut((first + last) // 2) if first < last else []
    if len(days) > 1:
        return asked.cut(days[_middle(days, dates)])
    # All are of one day: that day by itself, as its times can be split, and what is around it.
    day = days[0]
    parts = [Range(day, day)]
    if day > (_MIN_DATE if asked.first is None else asked.first):
        parts.append(Range(asked.first, day - 1))
    if day < (_MAX_DATE if asked.last is None else asked.last):
        parts.append(Range(day + 1, asked.last))
    return parts


def split_times(asked: Range, times: dict[int, int]) -> list[Range]:
    """Ranges that cover a range of times, each smaller than it; none where it cannot be split.

    Neighbours share the second between them: with times that have a fraction, or no seconds at all, peers differ on
    which side of it they are.
    """
    first = 0 if asked.first is None else asked.first
    last = _DAY - 1 if asked.last is None else asked.last
    seconds = sorted(second for second in times if second in asked)
    if not seconds:
        cuts = [(first + last) // 2]
    elif len(seconds) > 1:
        cut = seconds[_middle(seconds, times)]
        cuts = [cut + 1 if cut + 1 < last else cut]
    else:
        cuts = [seconds[0], seconds[0] + 1]
    cuts = [cut for cut in cuts if first < cut < last]
    if not cuts:
        return []
    ends = [asked.first, *cuts, asked.last]
    return [Range(start, end) for start, end in itertools.pairwise(ends)]


def _middle(ordered: Sequence[int], counts: dict[int, int]) -> int:
    """The index after which about half of the answers come; never the last one."""
    totals = list(itertools.accumulate(counts[number] for number in ordered))
    return min(bisect.bisect_left(totals, totals[-1] / 2), len(ordered) - 2)


def modalities_to_ask(seen: Seen) -> list[str]:
    """The modalities to ask for one at a time: those that were seen, and the usual ones that were not."""
    return sorted({*filter(None, seen.modalities), *_COMMON_MODALITIES})


def numbers_to_probe(seen: Seen) -> list[int]:
    """The instance numbers that must not be there if all was answered; none where the numbers have gaps."""
    if not seen.numbers:
        return []
    first, last = min(seen.numbers), max(seen.numbers)
    if last - first + 1 != len(seen.numbers):
        return []
    return [number for number in (first - 1, last + 1) if number >= 0]
