"""The records of a query result and the hierarchy that they span, packed as tightly as plain Python can.

A leaf is one dict entry, one entry among its parent's children, and its record. A record's parents are not stored with
it: it names them itself. All nodes above the leaves have a `Node`. Values that a record has in common with a record
near it are shared.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Iterator

from dcm.attrs import Attributes, Value
from dcm.errors import InconsistentDataError, InvalidDicomError
from dcm.levels import QueryLevel
from dcm.query._elements import UID_TAGS, up_to
from dcm.text import safe_text

__all__ = ["Node", "Storage", "contradiction"]

_PATIENT_ID = UID_TAGS[0]
_NAMES = ("patient", "study", "series", "instance")
_PLURALS = ("patients", "studies", "series", "instances")


class Node:
    """A patient, study or series that has something below it."""

    __slots__ = ("children", "path")

    def __init__(self, path: tuple[str, ...], children: dict[str, None]) -> None:
        self.path = path
        # A dict for its order, its quick removal, and its 20 to 40 bytes an entry where a set takes 60 and more.
        self.children = children


class Storage:
    """Records at one level, by their unique key, and the nodes above them.

    Attributes
    ----------
    level : QueryLevel
        The level of the records.
    leaves : dict of str to Attributes
        The records. To be changed by `add`, `remove` and `replace` only.
    nodes : tuple of dict
        The nodes of each level above the records', by their unique key.
    """

    __slots__ = ("_tags", "leaves", "level", "nodes")

    def __init__(self, level: QueryLevel) -> None:
        self.level = level
        self._tags = UID_TAGS[: level + 1]
        self.leaves: dict[str, Attributes] = {}
        self.nodes: tuple[dict[str, Node], ...] = tuple([{} for _ in range(level)])

    def uids(self, level: QueryLevel) -> Collection[str]:
        """The unique keys at a level that is not finer than that of the records."""
        return self.leaves.keys() if level == self.level else self.nodes[level].keys()

    def has(self, level: QueryLevel, uid: str) -> bool:
        """Whether there is such a node."""
        return uid in (self.leaves if level == self.level else self.nodes[level])

    def children(self, level: QueryLevel, uid: str) -> Collection[str]:
        """The unique keys below a node; KeyError where there is no such node."""
        if level == self.level:
            self.leaves[uid]
            return ()
        return self.nodes[level][uid].children.keys()

    def parent(self, level: int, uid: str) -> str:
        """The unique key of the node above; KeyError where there is no such node."""
        if level == self.level:
            return self.leaves[uid].text(UID_TAGS[level - 1])
        return self.nodes[level][uid].path[-2]

    def path(self, level: int, uid: str) -> tuple[str, ...]:
        """The unique keys from the patient down to this node; KeyError where there is no such node."""
        if level < self.level:
            return self.nodes[level][uid].path
        record = self.leaves[uid]
        return (*self.nodes[-1][record.text(UID_TAGS[level - 1])].path, uid) if level else (uid,)

    def has_path(self, uids: tuple[str, ...]) -> bool:
        """Whether there is a node with this path."""
        level = len(uids) - 1
        if level > self.level or not self.has(QueryLevel(level), uids[-1]):
            return False
        return self.path(level, uids[-1]) == uids

    def holds(self, record: Attributes) -> bool:
        """Whether a record with these identifiers is there; an absent PatientID fits any.

        Raises
        ------
        InvalidDicomError
            See `identify`.
        """
        uids = self.identify(record, nameless=True)
        if uids[-1] not in self.leaves:
            return False
        path = self.path(self.level, uids[-1])
        return path == uids or (self.level > 0 and path[1:] == uids[1:] and not (path[0] and uids[0]))

    def below(self, level: int, uid: str) -> Iterator[str]:
        """The unique keys of the records below a node, in order, or of the record that it is."""
        if level == self.level:
            yield uid
        elif level == self.level - 1:
            yield from self.nodes[level][uid].children
        else:
            for child in self.nodes[level][uid].children:
                yield from self.below(level + 1, child)

    def sample(self, level: int, uid: str) -> Attributes:
        """The first record below a node."""
        while level < self.level:
            uid = next(iter(self.nodes[level][uid].children))
            level += 1
        return self.leaves[uid]

    def identify(self, record: Attributes, *, nameless: bool = False) -> tuple[str, ...]:
        """The unique keys of a record, from the patient down to its own level.

        Parameters
        ----------
        record : Attributes
            What to identify.
        nameless : bool
            Whether a record at PATIENT level may be without a PatientID. Below it, every record may.

        Raises
        ------
        InvalidDicomError
            An identifier is missing, or is not a single value.
        """
        uids = tuple(map(record.text, self._tags))
        if all(uids[1:]) and "\\" not in "".join(uids[1:]) and (uids[0] or self.level or nameless):
            return uids
        level = next((level for level, uid in enumerate(uids) if level and (not uid or "\\" in uid)), 0)
        fault = "several values of" if uids[level] else "no"
        parent = f" for {_NAMES[level - 1]} {safe_text(uids[level - 1], 64)}" if level > 1 else ""
        keyword = QueryLevel(level).uid_keyword
        raise InvalidDicomError(f"a data set at {self.level.name} level has {fault} {keyword}{parent}")

    def add(self, record: Attributes, *, nameless: bool = False) -> bool:
        """Add a record; False where one with its unique key is there already, which then stays.

        Raises
        ------
        InvalidDicomError
            See `identify`.
        InconsistentDataError
            A node that it names is there below another parent. Nothing has changed then.
        """
        if self.level == QueryLevel.IMAGE:
            if self._add_sibling(record):
                return True
        elif any(tag in record for tag in UID_TAGS[self.level + 1 :]):
            # A record of a finer level: only what it says about this one is wanted.
            record = record.only(up_to(self.level))
        uids = self.identify(record, nameless=nameless)
        depth = self._known_depth(uids)
        if depth > 0:
            path = self.path(depth, uids[depth])
            if path != uids[: depth + 1]:
                self._reconcile(path, uids)
                if not uids[0]:
                    uids = (path[0], *uids[1:])
                    record = record.replace([(_PATIENT_ID, "LO", path[0])])
        if depth == self.level:
            return False
        if depth >= 0:
            record = _share(record, self.sample(depth, uids[depth]))
        self.attach(uids, record)
        return True

    def _add_sibling(self, record: Attributes) -> bool:
        """Add one more instance of a known series: what `add` does in general, made quick for most of its work."""
        uids = tuple(map(record.text, self._tags))
        uid = uids[-1]
        series = self.nodes[-1].get(uids[-2])
        if series is None or series.path != uids[:-1] or not uid or "\\" in uid or uid in self.leaves:
            return False
        self.leaves[uid] = _share(record, self.leaves[next(iter(series.children))])
        series.children[uid] = None
        return True

    def _known_depth(self, uids: tuple[str, ...]) -> int:
        """The finest level at which there is such a node; -1 for none."""
        if uids[-1] in self.leaves:
            return self.level
        for level in range(self.level - 1, -1, -1):
            if uids[level] in self.nodes[level]:
                return level
        return -1

    def attach(self, uids: tuple[str, ...], record: Attributes) -> None:
        """Add a record that is known to be new and to contradict nothing, by its path."""
        child = uids[-1]
        self.leaves[child] = record
        for level in range(self.level - 1, -1, -1):
            node = self.nodes[level].get(uids[level])
            if node is not None:
                node.children[child] = None
                return
            self.nodes[level][uids[level]] = Node(uids[: level + 1], {child: None})
            child = uids[level]

    def _reconcile(self, path: tuple[str, ...], uids: tuple[str, ...]) -> None:
        """Judge a path that is not the one known: an absent PatientID contradicts nothing, all else does."""
        if len(path) > 1 and path[1:] == uids[1 : len(path)] and not (path[0] and uids[0]):
            if uids[0]:
                self._rename_patient(uids[1], uids[0])
            return
        level = max(level for level in range(1, len(path)) if path[level - 1] != uids[level - 1])
        raise contradiction(level, path[level])

    def _rename_patient(self, study: str, patient: str) -> None:
        """Move a study that was without a patient to the one that it turns out to have."""
        for uid in self.below(1, study):
            self.leaves[uid] = self.leaves[uid].replace([(_PATIENT_ID, "LO", patient)])
        nodes = [self.nodes[1][study]] if self.level > 1 else []
        if self.level > 2:
            nodes += [self.nodes[2][series] for series in nodes[0].children]
        for node in nodes:
            node.path = (patient, *node.path[1:])
        self._detach(0, "", study)
        self.nodes[0].setdefault(patient, Node((patient,), {})).children[study] = None

    def remove(self, uid: str) -> None:
        """Remove a record, and the nodes above it that have nothing else below them; KeyError if it is not there."""
        level = self.level
        parent = self.parent(level, uid) if level else ""
        del self.leaves[uid]
        if level:
            self._detach(level - 1, parent, uid)

    def _detach(self, level: int, uid: str, child: str) -> None:
        node = self.nodes[level][uid]
        del node.children[child]
        while not node.children:
            del self.nodes[level][uid]
            if not level:
                return
            level, child, uid = level - 1, uid, node.path[-2]
            node = self.nodes[level][uid]
            del node.children[child]

    def replace(self, uid: str, record: Attributes) -> None:
        """Put a record in the place of the one with the same identifiers."""
        self.leaves[uid] = record

    def copy(self) -> Storage:
        """A copy that shares only what never changes."""
        res = Storage(self.level)
        res.leaves = self.leaves.copy()
        res.nodes = tuple(
            [{uid: Node(node.path, node.children.copy()) for uid, node in level.items()} for level in self.nodes]
        )
        return res

    def subset(self, uids: Iterable[str]) -> Storage:
        """The records with these unique keys, in this order."""
        res = Storage(self.level)
        if not self.level:
            res.leaves = {uid: self.leaves[uid] for uid in uids}
            return res
        leaves, parents, tag = self.leaves, res.nodes[-1], UID_TAGS[self.level - 1]
        for uid in uids:
            record = leaves[uid]
            parent = parents.get(record.text(tag))
            if parent is None:
                res.attach(self.path(self.level, uid), record)
            else:
                res.leaves[uid] = record
                parent.children[uid] = None
        return res


def contradiction(level: int, uid: str) -> InconsistentDataError:
    """The error for a node that has two parents. It names no patient: it may go to a log."""
    return InconsistentDataError(f"{_NAMES[level]} {safe_text(uid, 64)} is in two {_PLURALS[level - 1]}")


def _share(record: Attributes, like: Attributes) -> Attributes:
    """The record, with the texts that it has in common with another one held once.

    Readers make a new string of each value that they decode. The instances of a series differ in two or three values
    out of twenty, so that this is most of the memory. A friend of `Attributes`: it looks at the tuples of values.
    """
    values = record._values
    others = like._values if record._shape is like._shape else tuple(map(like.get, record))
    shared = tuple(
        [a if a == b and (type(a) is str or _is_texts(a)) else b for a, b in zip(others, values, strict=True)]
    )
    if all(map(operator.is_, shared, values)):
        return record
    return Attributes.from_shape(record._shape, shared)


def _is_texts(value: Value) -> bool:
    # Nothing but texts: 0.0 equals -0.0, and the items of sequences may be equal and yet differ in their VRs.
    return type(value) is tuple and type(value[0]) is str
