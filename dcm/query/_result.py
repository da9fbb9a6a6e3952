"""QueryResult: what a query has found, as a set of data sets and as a tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from dcm.attrs import Attributes
from dcm.errors import InvalidDicomError
from dcm.levels import QueryLevel
from dcm.query import _algebra
from dcm.query._described import Described
from dcm.query._elements import kept_of, level_of_keyword
from dcm.query._json import load_document
from dcm.query._nodes import DataNode, DataPath
from dcm.query._prov import QueryProv
from dcm.query._storage import Storage

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["QueryResult"]


class QueryResult(Described):
    """A set of data sets, one for each patient, study, series or instance, that is also the tree which they span.

    Parameters
    ----------
    level : QueryLevel
        What the data sets are about. Each is known by its unique key at that level.
    data_sets : iterable of Dataset or Attributes, optional
        What to start with; see `add`.
    prov : QueryProv, optional
        Where the result comes from.

    Attributes
    ----------
    prov : QueryProv
        Where the result comes from. It may be set.

    Notes
    -----
    Data sets are kept as `Attributes` (see `records`); iteration and ``[uid]`` make new pydicom Datasets, so that
    changing one does not change the result. `level` may become coarser by ``|=`` only.

    A patient may be without a PatientID, as many archives return it empty or not at all: below PATIENT level that
    is the patient ``''``. Once a study turns out to have a PatientID, all of its data sets have that one. Every other
    identifier must be there.
    """

    __slots__ = ()

    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __init__(
        self,
        level: QueryLevel,
        data_sets: Iterable[Dataset | Attributes] | None = None,
        prov: QueryProv | None = None,
    ) -> None:
        self._store = Storage(QueryLevel(level))
        self.prov = QueryProv() if prov is None else prov
        for data_set in data_sets or ():
            self.add(data_set)

    @classmethod
    def _of(cls, store: Storage, prov: QueryProv) -> QueryResult:
        res = cls.__new__(cls)
        res._store = store
        res.prov = prov
        return res

    # --- a set of data sets

    def add(self, data_set: Dataset | Attributes) -> bool:
        """Add a data set.

        Parameters
        ----------
        data_set : Dataset or Attributes
            With the identifiers of its level and of those above it. One of a finer level is taken as what it says about
            the level of this result. Of a Dataset all standard attributes are kept that describe: no pixel data, file
            meta, private elements or other payload. Attributes are kept whole.

        Returns
        -------
        bool
            False where there is one with the same unique key already, which then stays.

        Raises
        ------
        InvalidDicomError
            An identifier is missing.
        InconsistentDataError
            It contradicts the hierarchy: a study of two patients, a series of two studies, an instance of two series.
        """
        return self._store.add(_record(data_set))

    def remove(self, data_set: Dataset | Attributes) -> None:
        """Remove a data set, by its identifiers.

        Raises
        ------
        KeyError
            It is not in here.
        InvalidDicomError
            An identifier is missing.
        """
        record = _record(data_set)
        uid = self._store.identify(record)[-1]
        if not self._store.holds(record):
            raise KeyError(uid)
        self._store.remove(uid)

    def __delitem__(self, uid: str) -> None:
        self._store.remove(uid)

    def clear(self) -> None:
        """Remove all data sets; where they came from stays."""
        self._store = Storage(self.level)

    def __len__(self) -> int:
        return len(self._store.leaves)

    def __contains__(self, item: object) -> bool:
        """Whether there is such a data set (Dataset or Attributes), unique key (str), `DataNode` or `DataPath`.

        What is below another parent here is not the same, and so not in here; nor is a data set without identifiers.
        """
        if isinstance(item, str):
            return item in self._store.leaves
        if isinstance(item, DataNode):
            return item.level <= self.level and self._store.has(item.level, item.uid)
        if isinstance(item, DataPath):
            return self._store.has_path(item.uids)
        from pydicom import Dataset

        if not isinstance(item, (Attributes, Dataset)):
            return False
        try:
            return self._store.holds(_record(item))
        except InvalidDicomError:
            return False

    def __iter__(self) -> Iterator[Dataset]:
        return (record.to_dataset() for record in self._store.leaves.values())

    def __getitem__(self, uid: str) -> Dataset:
        return self._store.leaves[uid].to_dataset()

    def copy(self) -> QueryResult:
        """A result that can be changed without changing this one."""
        return self._of(self._store.copy(), self.prov)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> QueryResult:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.level, self.prov, list(self._store.leaves.values()))

    # --- set algebra

    def __or__(self, other: QueryResult) -> QueryResult:
        if not isinstance(other, QueryResult):
            return NotImplemented
        return self._of(_algebra.union(self._store, other._store), self._merged_prov(other))

    def __ior__(self, other: QueryResult) -> QueryResult:
        if not isinstance(other, QueryResult):
            return NotImplemented
        prov = self._merged_prov(other)
        if other.level < self.level:
            self._store = _algebra.union(self._store, other._store)
        else:
            _algebra.merge(self._store, other._store)
        self.prov = prov
        return self

    def __and__(self, other: QueryResult) -> QueryResult:
        if not isinstance(other, QueryResult):
            return NotImplemented
        prov = other.prov if other.level > self.level else self.prov
        return self._of(_algebra.intersection(self._store, other._store), prov)

    def __sub__(self, other: QueryResult) -> QueryResult:
        if not isinstance(other, QueryResult):
            return NotImplemented
        return self.sub(other)

    def __isub__(self, other: QueryResult) -> QueryResult:
        if not isinstance(other, QueryResult):
            return NotImplemented
        if other is self:
            self.clear()
        else:
            _algebra.subtract(self._store, other._store)
        return self

    def __xor__(self, other: QueryResult) -> QueryResult:
        if not isinstance(other, QueryResult):
            return NotImplemented
        return (self - other) | (other - self)

    def _merged_prov(self, other: QueryResult) -> QueryProv:
        if not self.prov and not self:
            return other.prov
        if not other.prov and not other:
            return self.prov
        return self.prov.merged(other.prov)

    def sub(self, other: QueryResult, ignore_subcounts: bool = False) -> QueryResult:
        """What this result has and another one is not known to have; ``-`` does the same.

        Nodes are compared at the coarser level of the two. One that the other result does not have stays, and so does
        all that is below it. For one that both have, the finest count that either knows decides: of instances, else of
        series, else of studies. Counts are those of what a result has, or below its level those that the peer reports.

        ============================= ==========================================================================
        the two counts                the node
        ============================= ==========================================================================
        here not more than there      goes, with all that is below it
        here more than there          stays; as a data set at the coarser level, with the difference of the
                                      instances as its count and all other counts unknown
        known on one side only        stays, as unknown is not zero; as a data set at the coarser level, with all
                                      counts unknown
        neither knows any             goes: nothing tells the two apart
        ============================= ==========================================================================

        So a study at STUDY level with 10 instances, minus an IMAGE level result with 4 of them, has 6 left, and minus
        one with all 10 it is gone. An IMAGE level result minus a STUDY level one loses the studies of which the other
        side has as many instances, and keeps all of those of which it may not have all.

        Parameters
        ----------
        other : QueryResult
            What to take away, at any level.
        ignore_subcounts : bool
            Do not look at counts: every node goes that the other result has.

        Returns
        -------
        QueryResult
            At the level of this one.
        """
        return self._of(_algebra.difference(self._store, other._store, ignore_subcounts=ignore_subcounts), self.prov)

    def __eq__(self, other: object) -> bool:
        """Whether both have the same level, the same nodes in the same places, and the same counts."""
        if not isinstance(other, QueryResult):
            return NotImplemented
        return self is other or _algebra.same(self._store, other._store)

    def equivalent(self, other: QueryResult) -> bool:
        """Whether both describe the same data, be it at different levels.

        At the coarser level they must have the same nodes in the same places, and for each of these nodes the finest
        count that either of them knows must be known to both and the same. So subtracting one from the other leaves
        nothing, either way. Unlike ``==``, a coarser count that only one of them knows does not matter.
        """
        return self is other or _algebra.equivalent(self._store, other._store)

    # --- parts

    def sub_query(self, node: DataNode, max_level: QueryLevel | None = None) -> QueryResult:
        """The part of the result at and below a node.

        Parameters
        ----------
        node : DataNode
            The root of the part.
        max_level : QueryLevel, optional
            Go no finer than this level.

        Raises
        ------
        KeyError
            There is no such node.
        ValueError
            `max_level` is coarser than the node.
        """
        self._find(node)
        if max_level is not None and max_level < node.level:
            raise ValueError(f"max_level {max_level.name} is coarser than a node at {node.level.name} level")
        part = self._of(self._store.subset(self._store.below(node.level, node.uid)), self.prov)
        return part if max_level is None or max_level >= self.level else part.reduced(max_level)

    def only(self, uids: Iterable[str]) -> QueryResult:
        """The part of the result with these unique keys of its level, in this order; KeyError for one that is not."""
        return self._of(self._store.subset(uids), self.prov)

    def level_sub_queries(self, level: QueryLevel) -> Iterator[QueryResult]:
        """Yield the part of the result at and below each node of a level; QueryError where there is no such level."""
        return (self.sub_query(path.end) for path in self.level_paths(level))

    def reduced(self, level: QueryLevel) -> QueryResult:
        """The same data at a coarser level: a data set for each node of it, with counts of what is below that.

        Raises
        ------
        QueryError
            The result has no data at that level.
        """
        self._check(level)
        elems = self.prov.queried_elems
        if elems is not None:
            elems = frozenset([keyword for keyword in elems if level_of_keyword(keyword) <= level])
        prov = QueryProv(self.prov.source, elems, self.prov.removed_existing_on)
        return self._of(_algebra.reduced(self._store, level), prov)

    # --- documents

    @classmethod
    def from_json(cls, text: str | bytes) -> QueryResult:
        """Read what `to_json` has written.

        Parameters
        ----------
        text : str or bytes
            The document; bytes are UTF-8.

        Returns
        -------
        QueryResult
            Equal to the one that was written, in the attributes of its data sets and its provenance too.

        Raises
        ------
        InvalidDicomError
            It is no such document, or of a later version; the message says on one line what is wrong with it.
        InconsistentDataError
            Its data sets contradict one another.
        """
        level, prov, records = load_document(text)
        return _restore(level, prov, records, cls)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.level.name}: {self.to_line()}>"


def _restore(
    level: QueryLevel, prov: QueryProv, records: Iterable[Attributes], cls: type[QueryResult] = QueryResult
) -> QueryResult:
    res = cls(level, prov=prov)
    for record in records:
        res._store.add(record, nameless=True)
    return res


def _record(data_set: Dataset | Attributes) -> Attributes:
    return data_set if isinstance(data_set, Attributes) else kept_of(data_set)
