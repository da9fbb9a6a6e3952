"""The index of a directory: what is in its files, kept in one SQLite database, so that a directory can be queried."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

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

    def __getattr__(name):
        """Import a public name when it is first asked for (PEP 562)."""
        module = _EXPORTS.get(name)
        if module is None:
            raise AttributeError(f"module 'dcm.store.index' has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(module), name)
        return value

    def __dir__():
        return sorted({*globals(), *_EXPORTS})


__all__ = ["Index", "IndexedFile", "ScanResult", "remove_all"]
