"""What a query has found: a set of data sets, and the tree that they span."""

from __future__ import annotations

from dcm.levels import QueryLevel
from dcm.query._nodes import DataNode, DataPath
from dcm.query._prov import QueryProv
from dcm.query._result import QueryResult

__all__ = ["DataNode", "DataPath", "QueryLevel", "QueryProv", "QueryResult"]
