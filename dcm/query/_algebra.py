"""Sets of records at the same or at different levels: union, intersection, difference, equality.

Nodes are matched by their unique key alone; only a union, which has to put both hierarchies into one, minds whether
they contradict each other. Where the levels differ, a record at the coarser level stands for all that is below it, as
far as its counts say how much that is.
"""

from __future__ import annotations

from collections.abc import Iterable

from dcm.attrs import Attributes
from dcm.levels import QueryLevel
from dcm.query._counts import agreed, counts_of, node_record, remainder, with_counts
from dcm.query._elements import UID_TAGS
from dcm.query._storage import Storage, contradiction

__all__ = ["difference", "equivalent", "intersection", "merge", "reduced", "same", "subtract", "union"]


def reduced(store: Storage, level: QueryLevel) -> Storage:
    """One record for each node at a level, with counts of what is below it."""
    if level == store.level:
        return store.copy()
    res = Storage(level)
    for uid in store.uids(level):
        res.attach(store.path(level, uid), node_record(store, level, uid))
    return res


def union(left: Storage, right: Storage) -> Storage:
    """What either has, at the coarser level; attributes are those of the left one where both have a record.

    Counts on which the two do not agree become unknown: what one has of a node may or may not be part of what the other
    has.

    Raises
    ------
    InconsistentDataError
        A node is below one parent here, below another there.
    """
    level = min(left.level, right.level)
    res = reduced(left, level)
    merge(res, right)
    return res


def merge(store: Storage, other: Storage) -> None:
    """Add what the other has, which is at the same or at a finer level; errors as in `union`, nothing changes then."""
    level = store.level
    if other.level != level:
        other = reduced(other, level)
    _check_consistent(store, other)
    # An absent PatientID may turn out to be a known one, on either side; else all is known to fit together by now.
    careful = "" in store.uids(QueryLevel.PATIENT) or "" in other.uids(QueryLevel.PATIENT)
    parent_tag = UID_TAGS[level - 1] if level else 0
    for uid, record in other.leaves.items():
        known = store.leaves.get(uid)
        if careful:
            store.add(record, nameless=True)
        elif known is None:
            parent = store.nodes[-1].get(record.text(parent_tag)) if level else None
            if parent is None:
                store.attach(other.path(level, uid), record)
            else:
                parent.children[uid] = None
                store.leaves[uid] = record
        if known is not None and level < QueryLevel.IMAGE:
            store.replace(uid, agreed(store.leaves[uid], record, level))


def _check_consistent(store: Storage, other: Storage) -> None:
    for level in range(1, store.level + 1):
        few, many = store, other
        if len(few.uids(QueryLevel(level))) > len(many.uids(QueryLevel(level))):
            few, many = many, few
        for uid in few.uids(QueryLevel(level)):
            if many.has(QueryLevel(level), uid):
                parents = {few.parent(level, uid), many.parent(level, uid)}
                if len(parents) > 1 and not (level == QueryLevel.STUDY and "" in parents):
                    raise contradiction(level, uid)


def intersection(left: Storage, right: Storage) -> Storage:
    """The records of the finer one that are, or are below, a record of the other; of the left one at the same level.

    Counts on which two records of a node do not agree become unknown.
    """
    if left.level != right.level:
        fine, coarse = (left, right) if left.level > right.level else (right, left)
        level = coarse.level
        return fine.subset(
            [uid for node in fine.uids(level) if coarse.has(level, node) for uid in fine.below(level, node)]
        )
    res = left.subset([uid for uid in left.leaves if uid in right.leaves])
    if res.level < QueryLevel.IMAGE:
        for uid, record in list(res.leaves.items()):
            res.replace(uid, agreed(record, right.leaves[uid], res.level))
    return res


def difference(left: Storage, right: Storage, *, ignore_subcounts: bool = False) -> Storage:
    """What the left one has and the right one is not known to have, at the level of the left one.

    See `QueryResult.sub` for what that means where the levels or the counts differ.
    """
    gone, less = _compare(left, right, ignore_subcounts)
    out = frozenset(gone)
    res = left.subset([uid for uid in left.leaves if uid not in out])
    for uid, record in less.items():
        res.replace(uid, record)
    return res


def subtract(store: Storage, other: Storage) -> None:
    """Make a result what `difference` gives."""
    gone, less = _compare(store, other, False)
    for uid in gone:
        store.remove(uid)
    for uid, record in less.items():
        store.replace(uid, record)


def _compare(left: Storage, right: Storage, ignore_subcounts: bool) -> tuple[Iterable[str], dict[str, Attributes]]:
    """Which records of the left one go, and which stay in a reduced form."""
    level = min(left.level, right.level)
    if left.level == right.level and (ignore_subcounts or level == QueryLevel.IMAGE):
        return [uid for uid in left.leaves if uid in right.leaves], {}
    gone: list[str] = []
    less: dict[str, Attributes] = {}
    for uid in left.uids(level):
        if not right.has(level, uid):
            continue
        rest = 0 if ignore_subcounts else remainder(left, right, level, uid)
        if rest == 0:
            gone.extend(left.below(level, uid))
        elif left.level == level:
            # How many series or studies the rest is spread over, nobody knows.
            counts = [None] * (QueryLevel.IMAGE - level - 1)
            less[uid] = with_counts(left.leaves[uid], level, [*counts, rest])
    return gone, less


def same(left: Storage, right: Storage) -> bool:
    """Whether both have the same nodes in the same places, with the same counts."""
    level = left.level
    if level != right.level or left.leaves.keys() != right.leaves.keys():
        return False
    for uid, record in left.leaves.items():
        other = right.leaves[uid]
        if level and record.text(UID_TAGS[level - 1]) != other.text(UID_TAGS[level - 1]):
            return False
        if level < QueryLevel.IMAGE and counts_of(record, level) != counts_of(other, level):
            return False
    return level == 0 or all(node.path == right.nodes[-1][uid].path for uid, node in left.nodes[-1].items())


def equivalent(left: Storage, right: Storage) -> bool:
    """Whether at the coarser level both have the same nodes in the same places, and no count tells them apart."""
    level = min(left.level, right.level)
    if left.uids(level) != right.uids(level):
        return False
    return all(
        left.path(level, uid) == right.path(level, uid)
        and remainder(left, right, level, uid) == 0
        and remainder(right, left, level, uid) == 0
        for uid in left.uids(level)
    )
