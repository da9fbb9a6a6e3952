"""Counts: what a result has, what a peer says there is, and what the two together say about the rest.

An unknown count is not zero. Every function here gives None for it, and what depends on it stays in doubt.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dcm.attrs import Attributes, Value
from dcm.levels import QueryLevel
from dcm.query._elements import up_to
from dcm.query._storage import Storage

__all__ = [
    "COUNT_TAGS",
    "agreed",
    "count_all",
    "count_below",
    "count_of",
    "counts_of",
    "node_record",
    "remainder",
    "with_counts",
]

COUNT_TAGS: Final[dict[tuple[int, int], int]] = {
    (QueryLevel.PATIENT, QueryLevel.STUDY): 0x00201200,
    (QueryLevel.PATIENT, QueryLevel.SERIES): 0x00201202,
    (QueryLevel.PATIENT, QueryLevel.IMAGE): 0x00201204,
    (QueryLevel.STUDY, QueryLevel.SERIES): 0x00201206,
    (QueryLevel.STUDY, QueryLevel.IMAGE): 0x00201208,
    (QueryLevel.SERIES, QueryLevel.IMAGE): 0x00201209,
}
"""Number of Patient/Study/Series Related Studies/Series/Instances, by (level that has it, level that it counts)."""

_TAGS_OF: Final = tuple(
    [frozenset([tag for (owner, _), tag in COUNT_TAGS.items() if owner == lvl]) for lvl in range(4)]
)
_MAX_DIGITS = 12  # an IS has no more


def count_of(record: Attributes, level: QueryLevel, counted: QueryLevel) -> int | None:
    """A count that a peer reports with a record at `level`; None where it is absent, empty or no number.

    Nor is 0 a count: what was found has an instance, and some archives send 0 for what they did not count.
    """
    text = record.text(COUNT_TAGS[level, counted])
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
        return None
    return int(text) or None


def counts_of(record: Attributes, level: QueryLevel) -> tuple[int | None, ...]:
    """All that `count_of` gives, coarsest first."""
    return tuple([count_of(record, level, QueryLevel(counted)) for counted in range(level + 1, 4)])


def with_counts(record: Attributes, level: QueryLevel, counts: Iterable[int | None]) -> Attributes:
    """The record with these counts, in the order of `counts_of`, in place of those that it has."""
    items: list[tuple[int, str, Value]] = [
        (COUNT_TAGS[level, counted], "IS", str(count))
        for counted, count in enumerate(counts, level + 1)
        if count is not None
    ]
    bare = record.without(_TAGS_OF[level])
    return bare.replace(items) if items else bare


def agreed(record: Attributes, other: Attributes, level: QueryLevel) -> Attributes:
    """The record with only those counts on which another one of the same node agrees with it."""
    counts, others = counts_of(record, level), counts_of(other, level)
    if counts == others:
        return record
    return with_counts(record, level, [a if a == b else None for a, b in zip(counts, others, strict=True)])


def count_all(store: Storage, counted: QueryLevel) -> int | None:
    """How many nodes there are at a level, in all; below the level of the records what these say, added up."""
    if counted <= store.level:
        return len(store.uids(counted))
    return _total([count_of(record, store.level, counted) for record in store.leaves.values()])


def count_below(store: Storage, level: QueryLevel, uid: str, counted: QueryLevel) -> int | None:
    """How many nodes of a finer level there are below a node."""
    if counted <= store.level:
        return _count(store, level, uid, counted)
    leaves = store.leaves
    return _total([count_of(leaves[leaf], store.level, counted) for leaf in store.below(level, uid)])


def _count(store: Storage, level: int, uid: str, counted: int) -> int:
    children = store.nodes[level][uid].children
    if counted == level + 1:
        return len(children)
    return sum([_count(store, level + 1, child, counted) for child in children])


def _total(counts: list[int | None]) -> int | None:
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def node_record(store: Storage, level: QueryLevel, uid: str) -> Attributes:
    """The attributes of a node: a record, or for a node above the records what they say of it, with its counts.

    What a peer says that the node has in all is left out then: this is about what the result has of it.
    """
    if level == store.level:
        return store.leaves[uid]
    record = store.sample(level, uid).only(up_to(level))
    return with_counts(record, level, [count_below(store, level, uid, QueryLevel(i)) for i in range(level + 1, 4)])


def remainder(left: Storage, right: Storage, level: QueryLevel, uid: str) -> int | None:
    """How much of a node that both have is left when what the right one has of it is taken from the left one.

    The finest count that either of them knows decides: instances, else series, else studies.

    Returns
    -------
    int or None
        0 where the left one has no more than the right one, or where nothing tells them apart since neither knows a
        count. The number of instances where it has more. None where it has more of something else, or where
        only one of the two knows the count: something may be left.
    """
    for counted in (QueryLevel.IMAGE, QueryLevel.SERIES, QueryLevel.STUDY):
        if counted <= level:
            break
        n_left, n_right = count_below(left, level, uid, counted), count_below(right, level, uid, counted)
        if n_left is None and n_right is None:
            continue
        if n_left is None or n_right is None:
            return None
        if n_left <= n_right:
            return 0
        return n_left - n_right if counted == QueryLevel.IMAGE else None
    return 0
