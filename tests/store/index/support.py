"""Directories to be indexed, and a look at what an index reads."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from dcm.attrs import Attributes
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from dcm.store.index import Index
from dcm.store.index._reading import FileReader, Finding


def age(root: Path, seconds: float = 100) -> None:
    """Make all files below a directory look older than they are: as old as those are that nobody is writing."""
    then = time.time() - seconds
    for path in [root, *root.rglob("*")]:
        if path.is_file() and not path.is_symlink():
            os.utime(path, (then, then))


class Reads:
    """The names of the files that were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        read = FileReader.read

        def noted(reader: FileReader, path: str | bytes) -> Finding | None:
            self.names.append(Path(os.fsdecode(path)).name)
            return read(reader, path)

        monkeypatch.setattr(FileReader, "read", noted)

    def take(self) -> list[str]:
        """Those since the last call, sorted."""
        names, self.names = sorted(self.names), []
        return names


def result_of(index: Index, level: QueryLevel = QueryLevel.IMAGE, query: Attributes | None = None) -> QueryResult:
    """What an index finds."""
    return QueryResult(level, index.records(level, query))


def keys(*items: tuple[int, str, str]) -> Attributes:
    """A query."""
    return Attributes.from_items(items)


def uids(records: Iterable[Attributes], level: QueryLevel = QueryLevel.IMAGE) -> list[str]:
    """The unique keys of records."""
    return [record.text(level.uid_tag) for record in records]
