"""Reading what a query result says about its nodes, as values, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dcm.attrs import BYTES_VRS, Attributes
from dcm.levels import QueryLevel
from dcm.query._counts import node_record
from dcm.query._elements import describes, keyword_of, plain_value, tag_of
from dcm.query._hierarchy import Hierarchy
from dcm.query._json import dump_document, dump_records
from dcm.query._nodes import DataNode, DataPath
from dcm.query._prov import QueryProv
from dcm.query._render import render_line, render_tree

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Described"]

_COUNT_NAMES = ("n_patients", "n_studies", "n_series", "n_instances")


class Described(Hierarchy):
    """The attributes of a query result. Made by `QueryResult` only."""

    __slots__ = ("prov",)

    prov: QueryProv

    def records(self) -> Iterator[Attributes]:
        """Yield the data sets as `Attributes`, in the order in which they were added."""
        return iter(self._store.leaves.values())

    def record(self, node: DataNode) -> Attributes:
        """The attributes of a node and of those above it, with counts of what the result has below it.

        For a node above the level of the result these are taken from the first data set below it.

        Raises
        ------
        KeyError
            There is no such node.
        """
        self._find(node)
        return node_record(self._store, node.level, node.uid)

    def node_info(self, node: DataNode | None = None, *, counts: bool = True) -> dict[str, Any]:
        """What is known about a node by itself, or about all there is.

        Parameters
        ----------
        node : DataNode, optional
            A node of the tree.
        counts : bool
            Count what is below it as well.

        Returns
        -------
        dict of str to value
            The attributes of its level, by keyword: text, int for IS, float for DS, a tuple of several, '' where empty.
            Counts as ``n_patients``, ``n_studies``, ``n_series`` and ``n_instances``, as far as these are below
            the node; None where unknown.

        Raises
        ------
        KeyError
            There is no such node.
        """
        info: dict[str, Any] = {}
        if node is not None:
            for tag, vr, value in self.sample(node).elements():
                if describes(tag, node.level, self.level):
                    info[keyword_of(tag)] = plain_value(vr, value)
        if counts:
            info.update(self.node_counts(node))
        return info

    def node_counts(self, node: DataNode | None = None) -> dict[str, int | None]:
        """The counts of `node_info` alone."""
        finer = [level for level in QueryLevel if node is None or level > node.level]
        return {_COUNT_NAMES[level]: self.get_count(level, node) for level in finer}

    def sample(self, node: DataNode) -> Attributes:
        """The first data set at or below a node, which has the attributes of the node; KeyError where there is none."""
        self._find(node)
        return self._store.sample(node.level, node.uid)

    def path_info(self, path: DataPath) -> dict[str, Any]:
        """What `node_info` says of each node along a path, the counts being those of its end; KeyError as there."""
        if not self._store.has_path(path.uids):
            raise KeyError(path)
        info: dict[str, Any] = {}
        for level, uid in enumerate(path.uids[:-1]):
            info.update(self.node_info(DataNode(QueryLevel(level), uid), counts=False))
        info.update(self.node_info(path.end))
        return info

    def path_data_set(self, path: DataPath) -> Dataset:
        """The attributes along a path as a pydicom Dataset, see `record`; KeyError where there is no such path."""
        if not self._store.has_path(path.uids):
            raise KeyError(path)
        return self.record(path.end).to_dataset()

    def to_line(self, node: DataNode | None = None, *, sep: str = " | ", missing: str = "NA") -> str:
        """One line of text about a node, or about all there is.

        Parameters
        ----------
        node : DataNode, optional
            A node of the tree.
        sep : str
            What to put between the parts.
        missing : str
            What to show where something is empty, absent or unknown.

        Returns
        -------
        str
            Printable text: what a peer has sent goes through `dcm.text.safe_text`.
        """
        return render_line(self, node, sep, missing)

    def to_tree(self, max_level: QueryLevel | None = None, *, sep: str = " | ", missing: str = "NA") -> str:
        """The whole tree as text, sorted by PatientID, date and time, and number; columns aligned within each level.

        Parameters
        ----------
        max_level : QueryLevel, optional
            Show nothing finer than this level.
        sep, missing : str
            As in `to_line`.

        Returns
        -------
        str
            Lines without a newline at the end.
        """
        return render_tree(self, self.level if max_level is None else max_level, sep, missing)

    def columns(self) -> tuple[str, ...]:
        """The keywords of the attributes that any of the data sets has, in the order of the tags, for a table.

        Sequences and binary values are not among them.
        """
        seen: set[tuple[int, ...]] = set()
        tags: set[int] = set()
        for record in self.records():
            shape = tuple(record)
            if shape not in seen:
                seen.add(shape)
                tags.update([tag for tag, vr, _ in record.elements() if vr != "SQ" and vr not in BYTES_VRS])
        return tuple(map(keyword_of, sorted(tags)))

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[tuple[str, ...]]:
        r"""Yield the values of each data set as text, '' where empty or absent; several values are joined with ``\``.

        Parameters
        ----------
        columns : sequence of str, optional
            Keywords; those of `columns` by default.

        Raises
        ------
        QueryError
            A keyword is unknown.
        """
        tags = [tag_of(keyword) for keyword in (self.columns() if columns is None else columns)]
        return (tuple(map(record.text, tags)) for record in self.records())

    def to_json(self) -> str:
        """A JSON document with all there is: level, provenance, and the data sets in the DICOM JSON model (PS3.18 F).

        See `QueryResult.from_json` for the way back.
        """
        return dump_document(self.level, self.prov, self.records())

    def json_lines(self) -> Iterator[str]:
        """Yield each data set as a DICOM JSON object on one line, without a newline at the end."""
        return dump_records(self.records())
