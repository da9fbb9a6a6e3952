"""A peer for plans, without a network: an archive that answers C-FIND identifiers as PS3.4 says, or worse."""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from dcm.attrs import Attributes, Value
from dcm.levels import QueryLevel
from dcm.net._caps import date_range, time_range
from dcm.net._plan import FindPlan, FindRequest
from dcm.node import QueryModel
from dcm.query._keys import level_of, parse_date

Record = dict[int, str]

LEVEL, CHARSET = 0x00080052, 0x00080005
DATE, TIME, MODALITY, MODALITIES = 0x00080020, 0x00080030, 0x00080060, 0x00080061
PATIENT_ID, STUDY_UID, SERIES_UID, SOP_UID = (level.uid_tag for level in QueryLevel)
NUMBER = 0x00200013
COUNTS = {
    QueryLevel.PATIENT: {0x00201200: QueryLevel.STUDY, 0x00201202: QueryLevel.SERIES, 0x00201204: QueryLevel.IMAGE},
    QueryLevel.STUDY: {0x00201206: QueryLevel.SERIES, 0x00201208: QueryLevel.IMAGE},
    QueryLevel.SERIES: {0x00201209: QueryLevel.IMAGE},
    QueryLevel.IMAGE: {},
}


@dataclass
class Archive:
    """The instances that a peer holds, each with the attributes of all levels, and its manners."""

    instances: list[Record]
    relational: bool = False
    cap: int | None = None
    cap_status: int = 0x0000
    counts: bool = True
    lists: bool = True
    names_parents: bool = False
    ignores: frozenset[int] = frozenset()
    seen: list[Attributes] = field(default_factory=list)
    tables: dict[tuple[int, int], dict[str, set[str]]] = field(default_factory=dict)

    def find(self, request: FindRequest) -> tuple[list[Attributes], int]:
        """The pending answers, and the final status."""
        identifier = request.identifier
        level = QueryLevel[identifier.text(LEVEL)]
        assert level is request.level
        if not self.relational:
            check_hierarchical(identifier, level, request.model)
        self.seen.append(identifier)
        keys = [(tag, value) for tag, value in identifier.items() if tag not in (LEVEL, CHARSET, *self.ignores)]
        entities: dict[str, list[Record]] = {}
        for record in self.instances:
            if all(self._matches(record, tag, value) for tag, value in keys if tag != MODALITIES):
                entities.setdefault(record[level.uid_tag], []).append(record)
        wanted = identifier.text(MODALITIES) if MODALITIES not in self.ignores else ""
        answers = [
            self._answer(level, identifier, records)
            for records in entities.values()
            if not wanted or any(record[MODALITY] == wanted for record in records)
        ]
        if self.cap is not None and len(answers) > self.cap:
            return answers[: self.cap], self.cap_status
        return answers, 0x0000

    def _below(self, tag: int, counted: int) -> dict[str, set[str]]:
        """The values of one attribute, by those of another."""
        if (tag, counted) not in self.tables:
            table = self.tables[tag, counted] = {}
            for record in self.instances:
                table.setdefault(record[tag], set()).add(record[counted])
        return self.tables[tag, counted]

    def _matches(self, record: Record, tag: int, value: Value) -> bool:
        if value is None or tag not in record:
            return True
        have = record[tag]
        if isinstance(value, tuple):
            return have in value if self.lists else False
        text = str(value)
        if tag == DATE:
            day = parse_date(have)
            return day is not None and day.toordinal() in date_range(text)
        if tag == TIME:
            second = time_range(have).first
            return second is not None and second in time_range(text)
        if tag in (STUDY_UID, SERIES_UID, SOP_UID, NUMBER):
            return have == text
        return fnmatch.fnmatchcase(have, text)

    def _answer(self, level: QueryLevel, identifier: Attributes, records: list[Record]) -> Attributes:
        record = records[0]
        items: list[tuple[int, str, Value]] = [(LEVEL, "CS", level.name)]
        for tag, vr, _ in identifier.elements():
            own = level_of(tag)
            if own is None or (own < level and not self.names_parents and not self.relational and own != 0):
                continue
            if tag in COUNTS[level] and self.counts:
                below = self._below(level.uid_tag, COUNTS[level][tag].uid_tag)[record[level.uid_tag]]
                items.append((tag, vr, str(len(below))))
            elif tag == MODALITIES and tag not in self.ignores:
                items.append((tag, vr, tuple(sorted(self._below(STUDY_UID, MODALITY)[record[STUDY_UID]]))))
            elif tag in record:
                items.append((tag, vr, record[tag] or None))
        return Attributes.from_items(items)


def check_hierarchical(identifier: Attributes, level: QueryLevel, model: QueryModel) -> None:
    """What PS3.4 section C.4.1.2.1 asks for: one value for the unique key of each level above, no other key of it."""
    top = QueryLevel.PATIENT if model is QueryModel.PATIENT_ROOT else QueryLevel.STUDY
    for above in QueryLevel:
        if top <= above < level:
            assert isinstance(identifier[above.uid_tag], str), f"{level.name} query without one {above.uid_keyword}"
    for tag in identifier:
        own = level_of(tag)
        if own is None or own == level or (own < top and level == top):
            continue
        assert top <= own < level, f"{tag:08X} does not belong into a {level.name} query"
        assert tag == own.uid_tag, f"{tag:08X} in a {level.name} query is no unique key"


def run(plan: FindPlan, find: Callable[[FindRequest], tuple[list[Attributes], int]], seed: int = 0) -> FindPlan:
    """Carry out a plan, with the answers to several requests in any order."""
    rng = random.Random(seed)
    open_: list[tuple[FindRequest, Iterator[Attributes], int]] = []
    while not plan.finished:
        for request in plan.ready(rng.choice([None, 1, 2, 3])):
            answers, status = find(request)
            open_.append((request, iter(answers), status))
        if not open_:
            continue
        index = rng.randrange(len(open_))
        request, answers_left, status = open_[index]
        for _ in range(rng.choice([1, 10, 1000])):
            answer = next(answers_left, None)
            if answer is None:
                del open_[index]
                plan.done(request, status)
                break
            plan.feed(request, answer)
    return plan


def make_archive(
    studies: Iterable[tuple[str, str, str, Iterable[tuple[str, int]]]],
) -> list[Record]:
    """Instances of studies: (patient, date, time, series), each series a modality and a number of instances."""
    instances = []
    for i, (patient, date, time, series) in enumerate(studies, 1):
        for j, (modality, n) in enumerate(series, 1):
            for k in range(1, n + 1):
                instances.append(
                    {
                        PATIENT_ID: patient,
                        0x00100010: f"Name^{patient}",
                        STUDY_UID: f"1.{i}",
                        DATE: date,
                        TIME: time,
                        0x00081030: f"study {i}",
                        SERIES_UID: f"1.{i}.{j}",
                        MODALITY: modality,
                        0x0008103E: f"series {j}",
                        SOP_UID: f"1.{i}.{j}.{k}",
                        0x00080016: "1.2.840.10008.5.1.4.1.1.2",
                        NUMBER: str(k),
                    }
                )
    return instances
