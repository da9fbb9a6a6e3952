"""The index of a directory: what is in its files, kept in one SQLite database, so that a directory can be queried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcm._lazy import lazy

if TYPE_CHECKING:
    from dcm.store.index._files import IndexedFile as IndexedFile
    from dcm.store.index._index import Index as Index
    from dcm.store.index._places import remove_all as remove_all
    from dcm.store.index._scan import ScanResult as ScanResult
else:
    # When they are first used: sorting walks through a directory as the index does, and needs no database for it.
    _EXPORTS = {
        "Index": "dcm.store.index._index",
        "IndexedFile": "dcm.store.index._files",
        "ScanResult": "dcm.store.index._scan",
        "remove_all": "dcm.store.index._places",
    }
    __getattr__, __dir__ = lazy(__name__, _EXPORTS)


__all__ = ["Index", "IndexedFile", "ScanResult", "remove_all"]
