"""Query results as text for people: a line for a node, and the tree of all of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from dcm.levels import QueryLevel
from dcm.query._elements import plain_value
from dcm.query._nodes import DataNode
from dcm.text import safe_text

if TYPE_CHECKING:
    from dcm.query._described import Described

__all__ = ["CELLS", "render_line", "render_tree"]

CELLS: Final[dict[QueryLevel | None, tuple[str, ...]]] = {
    None: ("{n_patients} patients", "{n_studies} studies", "{n_series} series", "{n_instances} instances"),
    QueryLevel.PATIENT: (
        *("ID: {PatientID}", "Name: {PatientName}"),
        *("{n_studies} studies", "{n_series} series", "{n_instances} instances"),
    ),
    QueryLevel.STUDY: ("Date: {StudyDate}", "Time: {StudyTime}", "{n_series} series", "{n_instances} instances"),
    QueryLevel.SERIES: ("{SeriesNumber:03}", "{SeriesDescription}", "{Modality}", "{n_instances} instances"),
    QueryLevel.IMAGE: ("{InstanceNumber:05}", "{SOPInstanceUID}"),
}
"""What the line of a node consists of, by level; None is the line above all patients."""

_FIELD = re.compile(r"\{(\w+)(?::0(\d))?\}")
_MAX_VALUE = 80  # characters: no attribute may push the others off the screen

# The attributes that the cells show, by level. The first ones decide about the order.
_TAGS: Final[tuple[dict[str, int], ...]] = (
    {"PatientID": 0x00100020, "PatientName": 0x00100010},
    {"StudyDate": 0x00080020, "StudyTime": 0x00080030},
    {"SeriesNumber": 0x00200011, "SeriesDescription": 0x0008103E, "Modality": 0x00080060},
    {"InstanceNumber": 0x00200013, "SOPInstanceUID": 0x00080018},
)
_SORT_KEYS: Final = (("PatientID",), ("StudyDate", "StudyTime"), ("SeriesNumber",), ("InstanceNumber",))


def render_line(result: Described, node: DataNode | None, sep: str, missing: str) -> str:
    """One line about a node, or about all there is."""
    return sep.join(_cells(node, _values(result, node), missing))


def render_tree(result: Described, max_level: QueryLevel, sep: str, missing: str) -> str:
    """A line about all there is and the tree of the nodes, columns aligned within each level."""
    rows = list(_rows(result, None, max_level, "", missing))
    widths: dict[int, list[int]] = {}
    for level, _, cells in rows:
        known = widths.setdefault(level, [0] * len(cells))
        widths[level] = [max(width, _width(cell)) for width, cell in zip(known, cells, strict=True)]
    lines = [render_line(result, None, sep, missing)]
    for level, prefix, cells in rows:
        padded = [cell + " " * (width - _width(cell)) for cell, width in zip(cells[:-1], widths[level], strict=False)]
        lines.append(prefix + sep.join([*padded, cells[-1]]))
    return "\n".join(lines)


def _rows(
    result: Described, node: DataNode | None, max_level: QueryLevel, indent: str, missing: str
) -> Iterator[tuple[int, str, list[str]]]:
    """The level, the branches and the cells of each line below a node."""
    if node is not None and node.level >= max_level:
        return
    children = [(child, _values(result, child)) for child in result.children(node)]
    children.sort(key=_sort_key)
    for number, (child, values) in enumerate(children, 1):
        branch, below = ("└── ", "    ") if number == len(children) else ("├── ", "│   ")
        yield child.level, indent + branch, _cells(child, values, missing)
        yield from _rows(result, child, max_level, indent + below, missing)


def _values(result: Described, node: DataNode | None) -> dict[str, Any]:
    """What the cells of a node are filled with: `Described.node_info`, reduced to what is shown."""
    values: dict[str, Any] = result.node_counts(node)
    if node is not None:
        sample = result.sample(node)
        for keyword, tag in _TAGS[node.level].items():
            if tag in sample:
                values[keyword] = plain_value(sample.vr(tag), sample[tag])
    return values


def _cells(node: DataNode | None, values: Mapping[str, Any], missing: str) -> list[str]:
    return [_fill(cell, values, missing) for cell in CELLS[None if node is None else node.level]]


def _fill(cell: str, values: Mapping[str, Any], missing: str) -> str:
    def value_of(match: re.Match[str]) -> str:
        value = values.get(match[1])
        if value is None or value == "":
            return missing
        if match[2] and isinstance(value, int):
            return f"{value:0{match[2]}d}"
        raw = "\\".join(map(str, value)) if isinstance(value, tuple) else value
        text = safe_text(raw)
        return text if len(text) <= _MAX_VALUE else safe_text(raw, _MAX_VALUE)

    return _FIELD.sub(value_of, cell)


def _sort_key(item: tuple[DataNode, Mapping[str, Any]]) -> list[tuple[int, int, str]]:
    """By date and number where there are, then by unique key: the same order for the same data, always."""
    node, values = item
    keys = [values.get(keyword, "") for keyword in _SORT_KEYS[node.level]]
    return [(0, key, "") if isinstance(key, int) else (1, 0, str(key)) for key in keys] + [(2, 0, node.uid)]


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum([_char_width(char) for char in text])


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
