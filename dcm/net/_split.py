"""Whether the answers to a request were all there are, and what to ask where that is in doubt."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from dcm.levels import QueryLevel
from dcm.net._caps import (
    INSTANCE_NUMBER,
    MODALITIES_IN_STUDY,
    MODALITY,
    STUDY_DATE,
    STUDY_TIME,
    date_range,
    is_suspicious,
    modalities_to_ask,
    numbers_to_probe,
    split_dates,
    split_times,
    time_range,
)
from dcm.net._request import FindRequest, Split
from dcm.node import QueryModel
from dcm.report import QueryReport
from dcm.text import plural

__all__ = ["Splitter"]

# So many refusals without a single answer between them, and a peer is out of more than patience for large questions. It
# takes 14 to get from any date to one day.
_MOST_REFUSALS = 16


class Splitter:
    """Splits requests whose answers look capped, and remembers what stays in doubt.

    The number of requests that it makes is bounded: by `credit`, and a tenth of the number of things that were found.

    Parameters
    ----------
    report : QueryReport
        Told about requests of which nothing can be had.
    today : date
        No study is much later than this.
    study_root : bool
        Whether patients can be found by their studies.
    credit : float, optional
        How many requests it may make before they have to pay for themselves.
    """

    def __init__(self, report: QueryReport, today: dt.date, *, study_root: bool, credit: float = 64) -> None:
        self._report = report
        self._today = today.toordinal()
        self._study_root = study_root
        self._credit = credit
        self._most: dict[QueryLevel, int] = {}
        self._notes: list[tuple[QueryLevel, int, str, bool]] = []
        self._out: list[FindRequest] = []
        self._n_refusals = 0
        # Ranges do not match what has no value. That was taken for nothing, unless there turn out to be such studies.
        self._assumed: list[tuple[str, str]] = []
        self._n_without = {"StudyDate": 0, "StudyTime": 0}

    def earn(self) -> None:
        """Something new was found: by tenths, that is worth asking more."""
        self._credit += 0.1

    def note(self, text: str) -> None:
        """Something is in doubt whatever else comes out."""
        self._notes.append((QueryLevel.PATIENT, 0, text, False))

    @property
    def notes(self) -> list[str]:
        """What is in doubt.

        A count is no longer suspicious once another request at its level has had more answers.
        """
        notes = [text for level, n, text, guess in self._notes if not (guess and n < self._most.get(level, 0))]
        return notes + [text for without, text in self._assumed if self._n_without[without]]

    def judge(self, request: FindRequest, stopped: str = "") -> list[FindRequest]:
        """Look at a request that has been answered.

        Parameters
        ----------
        request : FindRequest
            With all its answers seen.
        stopped : str, optional
            What the peer said, where it said that there is more.

        Returns
        -------
        list of FindRequest
            What to ask next because of it.
        """
        self._out = []
        self._n_refusals = self._n_refusals + 1 if stopped and not request.seen.n else 0
        n, n_uids = request.seen.n, len(request.seen.uids)
        self._n_without["StudyDate"] += request.seen.n_undated
        self._n_without["StudyTime"] += request.seen.n_untimed
        if stopped:
            request.doubt = f"{stopped} after {plural(n, 'answer')}"
            self._split(request)
            return self._out
        self._most[request.level] = max(n, self._most.get(request.level, 0))
        short = request.expected is not None and n_uids < request.expected
        if short:
            request.doubt = f"{plural(n_uids, 'answer')}, where the peer counts {request.expected}"
        request.guess = is_suspicious(n) and n_uids != request.expected and n >= self._most[request.level]
        if request.guess:
            request.doubt = f"exactly {n} answers, which may be a limit of the peer"
            self._split(request)
        else:
            self._settle(request, complete=not short)
        return self._out

    def failed(self, request: FindRequest) -> list[FindRequest]:
        """Take note of a request that the peer refused; the report has it already."""
        self._out = []
        self._close(request, complete=False)
        return self._out

    def _split(self, request: FindRequest) -> None:
        """Try the next way to split it."""
        if request.part_of is not None and _ignores(request):
            request.part_of.ignored = True
            self._settle(request, complete=False)
            return
        if request.splits is None:
            request.splits = self._ways(request)
        split = next(request.splits, None)
        if split is None or self._n_refusals > _MOST_REFUSALS:
            self._settle(request, complete=False)
        elif split.n_left > self._credit:
            request.doubt += "; to ask in smaller pieces would take too many queries"
            self._settle(request, complete=False)
        else:
            self._credit -= split.n_left
            self._out.extend(split.parts)

    def _settle(self, request: FindRequest, *, complete: bool) -> None:
        """Decide on a request that is not to be split any further."""
        split = request.part_of
        if not complete and (split is None or (split.covers and not split.ignored)):
            if request.status and not request.seen.n:
                self._report.fail(str(request), request.doubt, request.status)
            else:
                self._notes.append((request.level, request.seen.n, f"{request}: {request.doubt}", request.guess))
        self._close(request, complete=complete)

    def _close(self, request: FindRequest, *, complete: bool) -> None:
        """Tell the whole that this part is done, and decide on that one when all are."""
        split = request.part_of
        if split is None:
            return
        split.n_left -= 1
        split.n_fresh += request.seen.n_fresh
        split.found |= request.seen.uids
        split.complete = split.complete and complete
        if split.n_left == 0:
            self._decide(split)

    def _decide(self, split: Split) -> None:
        whole = split.whole
        confirmed = not split.found if split.probes else not split.n_fresh and whole.seen.uids <= split.found
        whole.seen.n_fresh += split.n_fresh
        whole.seen.uids |= split.found
        if split.ignored:
            whole.doubt += "; the peer ignores narrower keys"
        if split.ignored or not (split.complete or split.covers):
            self._settle(whole, complete=False)
        elif not split.complete:
            self._close(whole, complete=False)  # the parts say why
        elif split.covers or (confirmed and not whole.status):
            if split.without and (split.n_fresh or whole.status):
                text = f"{whole}: {whole.doubt}; more studies without a {split.without} may be left out"
                self._assumed.append((split.without, text))
            short = whole.expected is not None and len(whole.seen.uids) < whole.expected
            self._settle(whole, complete=not short)
        else:
            whole.guess = False
            self._split(whole)

    def _ways(self, request: FindRequest) -> Iterator[Split]:
        """The ways to split a request, the best one first."""
        if request.contexts:
            return
        if request.level is QueryLevel.STUDY:
            yield from self._by_date(request)
            yield from _by_time(request)
            yield from _by_modality(request, MODALITIES_IN_STUDY)
        elif request.level is QueryLevel.SERIES:
            yield from _by_modality(request, MODALITY)
        elif request.level is QueryLevel.IMAGE:
            yield from _by_number(request)
        elif self._study_root:
            split = Split(request, n_left=1)
            split.parts.append(FindRequest(QueryModel.STUDY_ROOT, QueryLevel.STUDY, request.node, part_of=split))
            yield split

    def _by_date(self, request: FindRequest) -> Iterator[Split]:
        asked = date_range(request.key(STUDY_DATE))
        split = Split(request, covers=not (asked.open and request.seen.n_undated))
        split.without = "StudyDate" if asked.open else ""
        for part in split_dates(asked, request.seen.dates, self._today):
            split.add(STUDY_DATE, "DA", part.dates())
        if split.parts:
            yield split


def _by_time(request: FindRequest) -> Iterator[Split]:
    if not date_range(request.key(STUDY_DATE)).single:
        return
    asked = time_range(request.key(STUDY_TIME))
    split = Split(request, covers=not (asked.open and request.seen.n_untimed))
    split.without = "StudyTime" if asked.open else ""
    for part in split_times(asked, request.seen.times):
        split.add(STUDY_TIME, "TM", part.times())
    if split.parts:
        yield split


def _by_modality(request: FindRequest, tag: int) -> Iterator[Split]:
    # Without any answers there is nothing that the parts, which do not cover all, could confirm.
    if request.seen.n and not request.key(tag):
        split = Split(request, covers=False)
        for modality in modalities_to_ask(request.seen):
            split.add(tag, "CS", modality)
        yield split


def _by_number(request: FindRequest) -> Iterator[Split]:
    if not request.key(INSTANCE_NUMBER):
        split = Split(request, covers=False, probes=True)
        for number in numbers_to_probe(request.seen):
            split.add(INSTANCE_NUMBER, "IS", str(number))
        if split.parts:
            yield split


def _ignores(part: FindRequest) -> bool:
    """Whether the peer has answered what is outside of the dates or times that make this a part."""
    dates, times = date_range(part.narrow.text(STUDY_DATE)), time_range(part.narrow.text(STUDY_TIME))
    return any(day not in dates for day in part.seen.dates) or any(second not in times for second in part.seen.times)
