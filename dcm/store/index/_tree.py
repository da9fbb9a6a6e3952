"""What is counted and collected, not held: related studies, series and instances, modalities, SOP classes."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from dcm.attrs import Attributes, Value
from dcm.levels import QueryLevel
from dcm.query._counts import COUNT_TAGS
from dcm.store.index._codec import Header
from dcm.store.index._writing import LISTED, id_list

__all__ = ["COMPUTED_TAGS", "Tree", "owner_of"]

_MODALITY = 0x00080060
_COLLECTED: Final = ((0x00080061, "CS"), (0x00080062, "UI"))  # Modalities in Study, SOP Classes in Study
_OWNERS: Final = {tag: QueryLevel(owner) for (owner, _), tag in COUNT_TAGS.items()}

COMPUTED_TAGS: Final = frozenset(_OWNERS).union([tag for tag, _ in _COLLECTED])
"""The attributes that are computed (PS3.4 section C.3.4)."""


def owner_of(tag: int) -> QueryLevel:
    """The level that a computed attribute belongs to."""
    return _OWNERS.get(tag, QueryLevel.STUDY)


class Tree:
    """All that some patients have.

    Parameters
    ----------
    connection : sqlite3.Connection
        In a transaction.
    headers : mapping of int to Header
        Those that are unpacked already, by their numbers.
    patients : iterable of str

    Attributes
    ----------
    sizes : dict of int to int
        How many instances have a header, by its number.
    """

    def __init__(self, connection: sqlite3.Connection, headers: Mapping[int, Header], patients: Iterable[str]) -> None:
        self.sizes: dict[int, int] = {}
        self._studies: dict[str, set[str]] = defaultdict(set)
        self._series: dict[str, set[str]] = defaultdict(set)
        self._n_instances: dict[str, int] = defaultdict(int)
        self._collected: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
        self._known: dict[tuple[str, QueryLevel], Attributes] = {}
        rows = connection.execute(
            "SELECT h.id, h.patient_id, h.study_uid, h.series_uid, h.sop_class_uid, h.digest, h.data, "  # noqa: S608
            "(SELECT count(*) FROM file f WHERE f.header = h.id AND f.copy = 0) FROM header h "
            f"WHERE h.patient_id IN {LISTED}",
            (id_list(patients),),
        )
        for number, patient, study, series, sop_class, digest, data, size in rows:
            if size:
                header = headers.get(number) or Header(digest, data, patient, study)
                self._take(number, (patient, study, series), size, header.record.text(_MODALITY), sop_class)

    def _take(self, number: int, uids: tuple[str, str, str], size: int, modality: str, sop_class: str) -> None:
        patient, study, series = uids
        self.sizes[number] = size
        self._studies[patient].add(study)
        self._series[study].add(series)
        self._n_instances[series] += size
        modalities, classes = self._collected[study]
        modalities.update(filter(None, [modality]))
        classes.add(sop_class)

    def computed(self, uids: tuple[str, str, str], level: QueryLevel) -> Attributes:
        """The counts and collections of a patient, study and series, down to a level."""
        key = (uids[level], level)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._compute(uids, level)
        return known

    def _compute(self, uids: tuple[str, str, str], level: QueryLevel) -> Attributes:
        patient, study, series = uids
        studies = self._studies[patient]
        counts = {
            (QueryLevel.PATIENT, QueryLevel.STUDY): len(studies),
            (QueryLevel.PATIENT, QueryLevel.SERIES): sum([len(self._series[uid]) for uid in studies]),
            (QueryLevel.PATIENT, QueryLevel.IMAGE): sum(map(self._size, studies)),
            (QueryLevel.STUDY, QueryLevel.SERIES): len(self._series[study]),
            (QueryLevel.STUDY, QueryLevel.IMAGE): self._size(study),
            (QueryLevel.SERIES, QueryLevel.IMAGE): self._n_instances[series],
        }
        items: list[tuple[int, str, Value]] = [
            (COUNT_TAGS[key], "IS", str(count)) for key, count in counts.items() if key[0] <= level
        ]
        if level >= QueryLevel.STUDY:
            found = zip(_COLLECTED, self._collected[study], strict=True)
            items += [(tag, vr, tuple(sorted(values))) for (tag, vr), values in found]
        return Attributes.from_items(items)

    def _size(self, study: str) -> int:
        return sum([self._n_instances[uid] for uid in self._series[study]])
