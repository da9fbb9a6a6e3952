"""Query results on stdout: a tree for people, JSON, JSON lines and CSV for programs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from dcm.cli._streams import flush_stdout, write_stdout
from dcm.text import UNSAFE_CHARS, csv_cell

if TYPE_CHECKING:
    from dcm.attrs import Attributes, Value
    from dcm.query import QueryResult

__all__ = ["FORMATS", "harmless_json", "print_result"]

FORMATS = ("tree", "json", "ndjson", "csv")

# What identifies a row comes first, then the rest by tag.
_FIRST = (0x00100020, 0x00100010, 0x0020000D, 0x00080020, 0x00080030, 0x0020000E, 0x00080060, 0x00080018)
_UNSAFE = re.compile(rf"(?![\x00-\x1f])[{UNSAFE_CHARS}]")
# How the peer wrote its answer: of no use once it is read.
_LEFT_OUT = frozenset({0x00080005, 0x00080052, 0x00080054, 0x00080056})


def print_result(result: QueryResult, out_format: str) -> None:
    """Print a query result.

    Parameters
    ----------
    result : QueryResult
        What to print.
    out_format : str
        One of `FORMATS`. JSON and CSV are in UTF-8, wherever they go.
    """
    if out_format == "tree":
        click.echo(result.to_tree())
        return
    if out_format == "json":
        chunks: Iterable[bytes] = (harmless_json(result.to_json().rstrip("\n")).encode(), b"\n")
    else:
        records = list(result.records())
        chunks = _json_lines(records) if out_format == "ndjson" else _csv_lines(records)
    for chunk in chunks:
        write_stdout(chunk)
    flush_stdout()


def _json_lines(records: Iterable[Attributes]) -> Iterator[bytes]:
    """An object for each record: keyword to value; a list where there are several, null where it is empty."""
    import msgspec.json

    for record in records:
        yield harmless_json(msgspec.json.encode(_plain(record)).decode()).encode() + b"\n"


def harmless_json(document: str) -> str:
    """The same JSON with what acts on a terminal escaped; JSON by itself escapes C0 control characters only."""
    return _UNSAFE.sub(_escape, document)


def _escape(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be", "surrogatepass").hex()
    return "".join([f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4)])


def _csv_lines(records: list[Attributes]) -> Iterator[bytes]:
    """A header of keywords, and a row for each record; several values have a backslash between them."""
    tags = _columns(records)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_keyword(tag) for tag in tags])
    for record in records:
        writer.writerow([csv_cell(record.text(tag)) for tag in tags])
        yield buffer.getvalue().encode("utf-8", "backslashreplace")
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue().encode()


def _columns(records: Iterable[Attributes]) -> list[int]:
    tags = {tag for record in records for tag in record if tag not in _LEFT_OUT}
    first = [tag for tag in _FIRST if tag in tags]
    return first + sorted(tags.difference(first))


def _plain(record: Attributes) -> dict[str, Any]:
    return {_keyword(tag): _plain_value(vr, value) for tag, vr, value in record.elements() if tag not in _LEFT_OUT}


def _plain_value(vr: str, value: Value) -> Any:
    if isinstance(value, tuple):
        return [_plain_value(vr, item) for item in value]
    if isinstance(value, str):
        return _number(vr, value)
    if value is None or isinstance(value, (int, float, bytes)):
        return value
    return _plain(value)


def _number(vr: str, text: str) -> str | int | float:
    """An IS or DS as the number that it is, where it is one."""
    try:
        return int(text) if vr == "IS" else float(text) if vr == "DS" else text
    except ValueError:
        return text


def _keyword(tag: int) -> str:
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(tag) or f"{tag:08X}"
