"""The index of a directory: what is in its files, kept in one SQLite database, so that a directory can be queried."""

from __future__ import annotations

from dcm.store.index._index import Index, IndexedFile
from dcm.store.index._places import remove_all
from dcm.store.index._scan import ScanResult

__all__ = ["Index", "IndexedFile", "ScanResult", "remove_all"]
