"""Reading a query result as the tree that it is: patients, studies, series, instances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dcm.errors import QueryError
from dcm.levels import QueryLevel
from dcm.query._counts import count_all, count_below
from dcm.query._nodes import DataNode, DataPath
from dcm.query._storage import Storage

__all__ = ["Hierarchy"]

_NAMES = ("patients", "studies", "series", "instances")


class Hierarchy:
    """The tree that the records of a query result span. Made by `QueryResult` only."""

    __slots__ = ("_store",)

    _store: Storage

    @property
    def level(self) -> QueryLevel:
        """The finest level that there is data for: that of the data sets."""
        return self._store.level

    def uids(self) -> Iterator[str]:
        """Yield the unique keys of the data sets, in the order in which they were added."""
        return iter(self._store.leaves)

    def patients(self) -> Iterator[str]:
        """Yield the PatientIDs; '' stands for patients without one."""
        return self._uids(QueryLevel.PATIENT, None)

    def studies(self, patient_id: str | None = None) -> Iterator[str]:
        """Yield the StudyInstanceUIDs, all or those of one patient.

        Raises
        ------
        QueryError
            The result has no studies, because it is at PATIENT level.
        KeyError
            There is no such patient.
        """
        return self._uids(QueryLevel.STUDY, patient_id)

    def series(self, study_uid: str | None = None) -> Iterator[str]:
        """Yield the SeriesInstanceUIDs, all or those of one study; errors as in `studies`."""
        return self._uids(QueryLevel.SERIES, study_uid)

    def instances(self, series_uid: str | None = None) -> Iterator[str]:
        """Yield the SOPInstanceUIDs, all or those of one series; errors as in `studies`."""
        return self._uids(QueryLevel.IMAGE, series_uid)

    def children(self, node: DataNode | None = None) -> Iterator[DataNode]:
        """Yield the nodes right below one, or the patients.

        Raises
        ------
        KeyError
            There is no such node.
        """
        level = QueryLevel.PATIENT if node is None else node.level.child
        if node is not None and node.level >= self.level:
            self._find(node)
            return iter(())
        assert level is not None
        return (DataNode(level, uid) for uid in self._uids(level, None if node is None else node.uid))

    def walk(self, start: DataNode | None = None) -> Iterator[tuple[DataPath, list[str]]]:
        """Walk through the tree, depth first, parents before their children.

        Parameters
        ----------
        start : DataNode, optional
            Walk through what is below this node only, beginning with itself.

        Yields
        ------
        path : DataPath
            Where the walk is.
        sub_uids : list of str
            The unique keys of what is right below. Take away from it, or clear it, to leave those out.

        Raises
        ------
        KeyError
            There is no such node.
        """
        if start is not None:
            return self._walk([self.get_path(start)])
        return self._walk([DataPath(QueryLevel.PATIENT, (uid,)) for uid in self.patients()])

    def _walk(self, start: Iterable[DataPath]) -> Iterator[tuple[DataPath, list[str]]]:
        stack = [iter(start)]
        while stack:
            path = next(stack[-1], None)
            if path is None:
                stack.pop()
                continue
            sub_uids = list(self._store.children(path.level, path.uids[-1]))
            yield path, sub_uids
            if sub_uids:
                stack.append(_paths_below(path, sub_uids))

    def level_paths(self, level: QueryLevel) -> Iterator[DataPath]:
        """Yield the path to each node at a level, depth first.

        Raises
        ------
        QueryError
            The result has no data at that level.
        """
        self._check(level)
        return self._level_paths(level)

    def _level_paths(self, level: QueryLevel) -> Iterator[DataPath]:
        for path, sub_uids in self.walk():
            if path.level == level:
                sub_uids.clear()
                yield path

    def get_path(self, node: DataNode) -> DataPath:
        """The path to a node; KeyError where there is no such node."""
        self._find(node)
        return DataPath(node.level, self._store.path(node.level, node.uid))

    def n_patients(self) -> int:
        """How many patients there are; all those without a PatientID count as one."""
        return len(self._store.uids(QueryLevel.PATIENT))

    def n_studies(self, node: DataNode | None = None) -> int | None:
        """How many studies there are below a patient, or in all; None where unknown. See `get_count`."""
        return self.get_count(QueryLevel.STUDY, node)

    def n_series(self, node: DataNode | None = None) -> int | None:
        """How many series there are below a patient or study, or in all; None where unknown. See `get_count`."""
        return self.get_count(QueryLevel.SERIES, node)

    def n_instances(self, node: DataNode | None = None) -> int | None:
        """How many instances there are below a node, or in all; None where unknown. See `get_count`."""
        return self.get_count(QueryLevel.IMAGE, node)

    def get_count(self, level: QueryLevel, node: DataNode | None = None) -> int | None:
        """How many nodes of a level there are.

        Down to the level of the result they are counted. Below that the counts that the peer reported (Number of Study
        Related Instances and its like) are added up; where one is absent the sum is unknown, since unknown is not zero.

        Parameters
        ----------
        level : QueryLevel
            What to count.
        node : DataNode, optional
            Count what is below this node, instead of all.

        Returns
        -------
        int or None
            None where it is unknown.

        Raises
        ------
        ValueError
            What is to be counted is not below the node.
        KeyError
            There is no such node.
        """
        if node is None:
            return count_all(self._store, level)
        if level <= node.level:
            raise ValueError(f"{_NAMES[level]} are not below a node at {node.level.name} level")
        self._find(node)
        return count_below(self._store, node.level, node.uid, level)

    def _uids(self, level: QueryLevel, parent: str | None) -> Iterator[str]:
        self._check(level)
        if parent is None:
            return iter(self._store.uids(level))
        return iter(self._store.children(QueryLevel(level - 1), parent))

    def _check(self, level: QueryLevel) -> None:
        if level > self.level:
            raise QueryError(
                f"a query result at {self.level.name} level has no {_NAMES[level]}", hint=f"query at {level.name} level"
            )

    def _find(self, node: DataNode) -> None:
        if node.level > self.level or not self._store.has(node.level, node.uid):
            raise KeyError(node)


def _paths_below(path: DataPath, sub_uids: list[str]) -> Iterator[DataPath]:
    level = QueryLevel(path.level + 1)
    return (DataPath(level, (*path.uids, uid)) for uid in sub_uids)
