"""Searching the index: which headers match, which instances, and what they make up.

Every key is judged on whole paths: an instance with the attributes of its series, study and patient. A patient, study
or series matches where something in it does.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dcm.attrs import Attributes, Value
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from dcm.query._counts import COUNT_TAGS
from dcm.query._elements import UID_TAGS, up_to
from dcm.query.match import Matcher
from dcm.store.index._codec import Header
from dcm.store.index._reading import COMMON_TAGS
from dcm.store.index._writing import id_list

__all__ = ["search"]

_MODALITY = 0x00080060
_MODALITIES_IN_STUDY = 0x00080061
_SOP_CLASSES_IN_STUDY = 0x00080062
_STUDY_SETS = ((_MODALITIES_IN_STUDY, "CS"), (_SOP_CLASSES_IN_STUDY, "UI"))
_COMPUTED = frozenset({*COUNT_TAGS.values(), _MODALITIES_IN_STUDY, _SOP_CLASSES_IN_STUDY})
_CONDITIONS = (
    "patient_id IN (SELECT value FROM json_each(?))",
    "study_uid IN (SELECT value FROM json_each(?))",
    "series_uid IN (SELECT value FROM json_each(?))",
    "id IN (SELECT header FROM file WHERE sop_uid IN (SELECT value FROM json_each(?)))",
)


@dataclass(slots=True)
class _Series:
    """The headers of one series, by their numbers, and how many instances each has."""

    study: str
    headers: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Row:
    """A header that may match."""

    number: int
    uids: tuple[str, str, str]
    header: Header


def search(
    connection: sqlite3.Connection, level: QueryLevel, query: Attributes | None, within: QueryResult | None
) -> list[Attributes]:
    """Find what matches.

    Parameters
    ----------
    connection : sqlite3.Connection
        In a transaction.
    level : QueryLevel
        The level of the records.
    query : Attributes or None
        The keys.
    within : QueryResult or None
        Only what it names, and what is above or below that.

    Returns
    -------
    list of Attributes
        With what the index holds of this level and those above it, counts of what is below, and at STUDY level the
        modalities and SOP classes. Sorted by unique keys, from the patient down.
    """
    return _Search(connection, level, query or Attributes(), within).run()


class _Search:
    def __init__(
        self, connection: sqlite3.Connection, level: QueryLevel, query: Attributes, within: QueryResult | None
    ) -> None:
        self._db = connection
        self._level = level
        self._query = query
        self._within = within
        self._limits = _limits(query, within)
        matcher = Matcher(query)
        self._common = matcher.only(COMMON_TAGS | set(UID_TAGS[:3]))
        self._computed = matcher.only(_COMPUTED)
        self._own = matcher.only(matcher.tags - self._common.tags - _COMPUTED)
        asked = {tag for tag in query if tag in _COMPUTED}
        self._extra = asked  # attributes of levels above that are asked for

    def run(self) -> list[Attributes]:
        rows = [row for row in self._headers() if self._common(row.header.record)]
        tree = _Tree(self._db, {row.uids[0] for row in rows})
        if self._computed.tags:
            rows = [row for row in rows if self._computed(tree.computed(row, QueryLevel.SERIES))]
        if self._level is QueryLevel.IMAGE:
            return self._images(rows, tree)
        if self._own.tags or 3 in self._limits:
            rows = [row for row in rows if next(self._instances(row), None) is not None]
        else:
            rows = [row for row in rows if tree.size(row)]
        return self._entities(rows, tree)

    def _headers(self) -> Iterator[_Row]:
        """The headers within the limits that SQL can see to."""
        where, parameters = ["1"], []
        for level, uids in self._limits.items():
            for wanted in uids:
                where.append(_CONDITIONS[level])
                parameters.append(id_list(wanted))
        cursor = self._db.execute(
            "SELECT id, patient_id, study_uid, series_uid, digest, data FROM header "  # noqa: S608 - our own words
            f"WHERE {' AND '.join(where)} ORDER BY patient_id, study_uid, series_uid, digest",
            parameters,
        )
        for number, patient, study, series, digest, data in cursor:
            yield _Row(number, (patient, study, series), Header(digest, data, patient, study))

    def _instances(self, row: _Row) -> Iterator[Attributes]:
        """The instances with a header that match."""
        rows = self._db.execute("SELECT sop_uid, data FROM file WHERE header = ? AND copy = 0", (row.number,))
        limits = self._limits.get(3, [])
        make, matches, always = row.header.instance, self._own, not self._own.tags
        for uid, data in rows:
            if limits and not all(uid in wanted for wanted in limits):
                continue
            record = make(uid, data)
            if always or matches(record):
                yield record

    def _images(self, rows: list[_Row], tree: _Tree) -> list[Attributes]:
        found: list[Attributes] = []
        for row in rows:
            records = self._instances(row)
            if self._extra:
                items = [item for item in tree.computed(row, QueryLevel.SERIES).elements() if item[0] in self._extra]
                records = (record.replace(items) for record in records)
            found.extend(records)
        found.sort(key=lambda record: tuple([record.text(tag) for tag in UID_TAGS]))
        return found

    def _entities(self, rows: list[_Row], tree: _Tree) -> list[Attributes]:
        """One record for each patient, study or series that the headers belong to."""
        level = self._level
        groups: dict[str, list[_Row]] = defaultdict(list)
        for row in rows:
            groups[row.uids[level]].append(row)
        found = []
        for members in groups.values():
            # Of headers that differ the one that most instances have; of equals the first by content.
            row = max(members, key=tree.size)
            computed = tree.computed(row, level)
            keep = [item for item in computed.elements() if item[0] in self._extra or _owner(item[0]) is level]
            found.append(row.header.record.only(up_to(level)).replace(keep))
        return found


def _owner(tag: int) -> QueryLevel:
    """The level that a computed attribute belongs to."""
    return next((QueryLevel(owner) for (owner, _), count in COUNT_TAGS.items() if count == tag), QueryLevel.STUDY)


def _limits(query: Attributes, within: QueryResult | None) -> dict[int, list[set[str]]]:
    """Unique keys, of which the query and the earlier result allow only these, by level."""
    limits: dict[int, list[set[str]]] = defaultdict(list)
    for level, tag in enumerate(UID_TAGS):
        value = query.get(tag)
        values = [str(item) for item in (value if isinstance(value, tuple) else (value,)) if item]
        if level:
            values = [uid for text in values for uid in text.split("\\") if uid]
        if values and not any(set("*?") & set(text) for text in values):
            limits[level].append(set(values))
    if within is not None:
        limits[within.level].append(set(within.uids()))
    return limits


class _Tree:
    """All that some patients have, to be counted."""

    def __init__(self, connection: sqlite3.Connection, patients: Iterable[str]) -> None:
        self._patients: dict[str, set[str]] = defaultdict(set)
        self._studies: dict[str, set[str]] = defaultdict(set)
        self._n_instances: dict[str, int] = defaultdict(int)
        self._sizes: dict[int, int] = {}
        self._sets: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
        self._known: dict[tuple[str, QueryLevel], Attributes] = {}
        rows = connection.execute(
            "SELECT h.id, h.patient_id, h.study_uid, h.series_uid, h.sop_class_uid, h.digest, h.data, "
            "(SELECT count(*) FROM file f WHERE f.header = h.id AND f.copy = 0) FROM header h "
            "WHERE h.patient_id IN (SELECT value FROM json_each(?))",
            (id_list(patients),),
        )
        for number, patient, study, series, sop_class, digest, data, size in rows:
            self._sizes[number] = size
            if not size:
                continue
            self._patients[patient].add(study)
            self._studies[study].add(series)
            self._n_instances[series] += size
            modalities, classes = self._sets[study]
            modality = Header(digest, data, patient, study).record.text(_MODALITY)
            if modality:
                modalities.add(modality)
            classes.add(sop_class)

    def size(self, row: _Row) -> int:
        """How many instances have a header."""
        return self._sizes.get(row.number, 0)

    def computed(self, row: _Row, level: QueryLevel) -> Attributes:
        """The counts and collections that belong to the path of a header, down to a level."""
        uid = row.uids[level]
        known = self._known.get((uid, level))
        if known is None:
            known = self._known[uid, level] = self._compute(row.uids, level)
        return known

    def _compute(self, uids: tuple[str, str, str], level: QueryLevel) -> Attributes:
        patient, study, series = uids
        studies = self._patients[patient]
        all_series = [uid for each in studies for uid in self._studies[each]]
        counts = {
            (QueryLevel.PATIENT, QueryLevel.STUDY): len(studies),
            (QueryLevel.PATIENT, QueryLevel.SERIES): len(all_series),
            (QueryLevel.PATIENT, QueryLevel.IMAGE): sum([self._n_instances[uid] for uid in all_series]),
            (QueryLevel.STUDY, QueryLevel.SERIES): len(self._studies[study]),
            (QueryLevel.STUDY, QueryLevel.IMAGE): sum([self._n_instances[uid] for uid in self._studies[study]]),
            (QueryLevel.SERIES, QueryLevel.IMAGE): self._n_instances[series],
        }
        items: list[tuple[int, str, Value]] = [
            (COUNT_TAGS[owner, counted], "IS", str(count))
            for (owner, counted), count in counts.items()
            if owner <= level
        ]
        if level >= QueryLevel.STUDY:
            items += [
                (tag, vr, tuple(sorted(found))) for (tag, vr), found in zip(_STUDY_SETS, self._sets[study], strict=True)
            ]
        return Attributes.from_items(items)
