"""A table of queries: one a row, the columns are keywords."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

from dcm.cli._keywords import add_key, resolve_keyword
from dcm.errors import QueryError
from dcm.text import safe_text

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["read_batch"]

_DELIMITERS = "\t;,"  # what spreadsheets write, each in its country; a tag, 0010,0020, has a comma too


def read_batch(path: Path, base: Dataset) -> list[Dataset]:
    """The queries of a CSV file.

    Parameters
    ----------
    path : Path
        The first row has keywords or tags, with commas, semicolons or tabs between them. In the other rows an empty
        cell is no key, and a row of empty cells is no query.
    base : Dataset
        Keys that are part of every query.

    Raises
    ------
    QueryError
        The file cannot be read, has no queries, or something in it is no query; the message names the line.
    """
    rows = _rows(path)
    first, columns = next(rows, (0, []))
    with _at_line(path, first):
        for name in columns:
            resolve_keyword(name)
    queries = []
    for line, row in rows:
        with _at_line(path, line):
            if len(row) > len(columns):
                raise QueryError(f"there are {len(row)} cells, and {len(columns)} columns")
            query = deepcopy(base)
            for name, cell in zip(columns, row, strict=False):
                if cell:
                    add_key(query, name, cell)
            queries.append(query)
    if not queries:
        raise QueryError(f"{path} has no queries", hint="it takes a row of keywords, and a row for each query")
    return queries


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, with their line numbers; cells without the space around them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise QueryError(f"{path} is no text in UTF-8", hint="save it as CSV in UTF-8") from None
    except OSError as exc:
        raise QueryError(f"cannot read {path}: {exc.strerror}") from exc
    header = text.lstrip().partition("\n")[0]
    delimiter = next((char for char in _DELIMITERS if char in header), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as exc:
        raise QueryError(f"{path}, line {reader.line_num}: not CSV: {safe_text(exc)}") from exc


@contextlib.contextmanager
def _at_line(path: Path, line: int) -> Iterator[None]:
    try:
        yield
    except QueryError as exc:
        raise QueryError(f"{path}, line {line}: {exc.message}", hint=exc.hint) from exc
