"""Searching the index: which headers match, which instances, and what they make up.

Every key is judged on whole paths: an instance with the attributes of its series, study and patient. A patient, study
or series matches where something in it does. A key that the index does not hold is looked for in the files of those
instances that all other keys leave.
"""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dcm.attrs import Attributes, Value
from dcm.errors import DcmError
from dcm.levels import QueryLevel
from dcm.peek import QUERY_TAGS, peek_file
from dcm.query import QueryResult
from dcm.query._elements import UID_TAGS, up_to
from dcm.query.match import Matcher, is_about_query
from dcm.store.index._codec import Header
from dcm.store.index._reading import COMMON_TAGS
from dcm.store.index._tree import COMPUTED_TAGS, Tree, owner_of
from dcm.store.index._writing import LISTED, id_list

__all__ = ["search"]

_AVAILABLE_TRANSFER_SYNTAX_UID = 0x00083002
_HELD = QUERY_TAGS | COMPUTED_TAGS | {_AVAILABLE_TRANSFER_SYNTAX_UID}
_CONDITIONS = (
    f"patient_id IN {LISTED}",
    f"study_uid IN {LISTED}",
    f"series_uid IN {LISTED}",
    f"id IN (SELECT header FROM file WHERE sop_uid IN {LISTED})",  # noqa: S608 - our own words
)


@dataclass(slots=True)
class _Row:
    """A header that may match."""

    number: int
    uids: tuple[str, str, str]
    header: Header


def search(
    connection: sqlite3.Connection,
    root: bytes,
    level: QueryLevel,
    query: Attributes | None,
    within: QueryResult | None,
) -> list[Attributes]:
    """Find what matches.

    Parameters
    ----------
    connection : sqlite3.Connection
        In a transaction.
    root : bytes
        The directory, for keys that have to be looked for in the files.
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
    return _Search(connection, root, level, query or Attributes(), within).run()


class _Search:
    def __init__(
        self,
        connection: sqlite3.Connection,
        root: bytes,
        level: QueryLevel,
        query: Attributes,
        within: QueryResult | None,
    ) -> None:
        self._db = connection
        self._root = root
        self._level = level
        self._limits = _limits(query, within)
        matcher = Matcher(query)
        self._common = matcher.only(COMMON_TAGS)
        self._computed = matcher.only(COMPUTED_TAGS)
        self._own = matcher.only(_HELD - COMMON_TAGS - COMPUTED_TAGS)
        self._others = matcher.only(matcher.tags - _HELD)
        self._asked = COMPUTED_TAGS.intersection(query)
        self._unheld = frozenset([tag for tag in query if tag not in _HELD and not is_about_query(tag)])

    def run(self) -> list[Attributes]:
        rows = [row for row in self._headers() if self._common(row.header.record)]
        tree = Tree(self._db, {row.number: row.header for row in rows}, {row.uids[0] for row in rows})
        if self._computed.tags:
            rows = [row for row in rows if self._computed(tree.computed(row.uids, QueryLevel.SERIES))]
        if self._level is QueryLevel.IMAGE:
            return self._images(rows, tree)
        if self._own.tags or self._unheld or QueryLevel.IMAGE in self._limits:
            samples = {row.number: next(self._instances(row), None) for row in rows}
            rows = [row for row in rows if samples[row.number] is not None]
        else:
            samples = {}
            rows = [row for row in rows if tree.sizes.get(row.number)]
        return list(self._entities(rows, samples, tree))

    def _headers(self) -> Iterator[_Row]:
        """The headers within the limits that SQL can see to."""
        where, parameters = ["1"], []
        for level, limits in self._limits.items():
            for wanted in limits:
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
        make, matches, always = row.header.instance, self._own, not self._own.tags
        limits = self._limits.get(QueryLevel.IMAGE, [])
        for uid, data, *place in self._db.execute(_INSTANCES_AT if self._unheld else _INSTANCES, (row.number,)):
            if limits and not all(uid in wanted for wanted in limits):
                continue
            record = make(uid, data)
            if not (always or matches(record)):
                continue
            if not place:
                yield record
            elif (whole := self._with_unheld(record, *place)) is not None:
                yield whole

    def _with_unheld(self, record: Attributes, directory: bytes, name: bytes) -> Attributes | None:
        """A record with what the index does not hold of it; None where that does not match, or cannot be read."""
        path = b"/".join(part for part in (self._root, directory, name) if part)
        try:
            found = peek_file(os.fsdecode(path), self._unheld).attributes
        except DcmError:
            return None
        return record.replace(found.elements()) if self._others(found) else None

    def _images(self, rows: Iterable[_Row], tree: Tree) -> list[Attributes]:
        found: list[Attributes] = []
        for row in rows:
            if self._asked:
                items = _chosen(tree.computed(row.uids, QueryLevel.SERIES), self._asked)
                found.extend([record.replace(items) for record in self._instances(row)])
            else:
                found.extend(self._instances(row))
        found.sort(key=lambda record: tuple(map(record.text, UID_TAGS)))
        return found

    def _entities(
        self, rows: Iterable[_Row], samples: dict[int, Attributes | None], tree: Tree
    ) -> Iterator[Attributes]:
        """One record for each patient, study or series that the headers belong to."""
        level = self._level
        groups: dict[str, list[_Row]] = defaultdict(list)
        for row in rows:
            groups[row.uids[level]].append(row)
        wanted = self._asked | {tag for tag in COMPUTED_TAGS if owner_of(tag) is level}
        for members in groups.values():
            # Of headers that differ the one that most instances have, of equals the first by content.
            row = max(members, key=lambda member: tree.sizes.get(member.number, 0))
            record = samples.get(row.number) or row.header.record
            yield record.only(up_to(level)).replace(_chosen(tree.computed(row.uids, level), wanted))


_INSTANCES = "SELECT sop_uid, data FROM file WHERE header = ? AND copy = 0"
_INSTANCES_AT = (
    "SELECT f.sop_uid, f.data, d.path, f.name FROM file f JOIN directory d ON d.id = f.directory "
    "WHERE f.header = ? AND f.copy = 0 ORDER BY d.path, f.name"
)


def _chosen(record: Attributes, tags: frozenset[int] | set[int]) -> list[tuple[int, str, Value]]:
    return [item for item in record.elements() if item[0] in tags]


def _limits(query: Attributes, within: QueryResult | None) -> dict[QueryLevel, list[set[str]]]:
    """Unique keys, of which the query and the earlier result allow only these, by level."""
    limits: dict[QueryLevel, list[set[str]]] = defaultdict(list)
    for level in QueryLevel:
        value = query.get(level.uid_tag)
        values = [str(item) for item in (value if isinstance(value, tuple) else (value,)) if item]
        if level:
            values = [uid for text in values for uid in text.split("\\") if uid]
        if values and not any(set("*?") & set(text) for text in values):
            limits[level].append(set(values))
    if within is not None:
        limits[within.level].append(set(within.uids()))
    return limits
