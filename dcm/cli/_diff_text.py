"""Differences on stdout: side by side for people, lines like those of a unified diff, JSON for programs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from dcm.attrs import Attributes
from dcm.cli._render import harmless_json
from dcm.cli._streams import flush_stdout, print_text
from dcm.diff import BytesDigest, DataDiff, DiffKind, FileDiff, FileState, TreeCounts, kept, shown_pair, tag_text
from dcm.keywords import keyword_of
from dcm.text import safe_text

if TYPE_CHECKING:
    from pathlib import Path

    from rich.text import Text

__all__ = ["FORMATS", "Printer", "printer_for"]

FORMATS = ("side-by-side", "plain", "json", "ndjson")
_WIDE = 400  # characters of a value in a column


class Printer(Protocol):
    """Prints what is found, pair by pair."""

    def add(self, found: FileDiff) -> None:
        """Print what is different, if anything is."""

    def end(self, counts: TreeCounts) -> None:
        """Print what comes behind the last one."""


def printer_for(out_format: str, left: str, right: str, *, brief: bool) -> Printer:
    """The printer for one of `FORMATS`."""
    if out_format == "json":
        return _Json(left, right, brief=brief)
    if out_format == "ndjson":
        return _JsonLines(brief=brief)
    return _Brief() if brief else _SideBySide() if out_format == "side-by-side" else _Plain()


class _Brief:
    """What ``diff -q`` prints."""

    def add(self, found: FileDiff) -> None:
        """A line for each pair."""
        if found.state is FileState.ONLY_LEFT:
            _print(f"Only on the left: {safe_text(found.left)}")
        elif found.state is FileState.ONLY_RIGHT:
            _print(f"Only on the right: {safe_text(found.right)}")
        elif found.differences:
            self.differences(found)

    def differences(self, found: FileDiff) -> None:
        """Say what is different in a pair."""
        _print(f"Files {safe_text(found.left)} and {safe_text(found.right)} differ")

    def end(self, counts: TreeCounts) -> None:
        """Nothing."""


class _Plain(_Brief):
    """``-`` and what the left one has, ``+`` and what the right one has."""

    def differences(self, found: FileDiff) -> None:
        """A line or two for each difference."""
        lines = [f"--- {safe_text(found.left)}", f"+++ {safe_text(found.right)}"]
        for diff in found.differences:
            left, right = shown_pair(diff)
            if diff.kind is not DiffKind.ADDED:
                lines.append(f"-{diff.place}: {left}")
            if diff.kind is not DiffKind.MISSING:
                lines.append(f"+{diff.place}: {right}")
            if diff.pixels:
                lines.append(f" {diff.place}: {diff.pixels}")
        _print("\n".join(lines))


class _SideBySide(_Brief):
    """A table for each pair of files."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(markup=False, highlight=False, emoji=False)

    def differences(self, found: FileDiff) -> None:
        """The table."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, expand=True, pad_edge=False, header_style="bold")
        table.add_column("", overflow="fold", ratio=2)
        table.add_column(Text(safe_text(found.left)), overflow="fold", ratio=3)
        table.add_column(Text(safe_text(found.right)), overflow="fold", ratio=3)
        for diff in found.differences:
            left, right = shown_pair(diff, _WIDE)
            table.add_row(Text(diff.place), *_marked(left, right))
            if diff.pixels:
                table.add_row(Text(""), Text(str(diff.pixels)))
        self._console.print(table)
        self._console.print()


class _JsonLines:
    """An object for each pair."""

    def __init__(self, *, brief: bool) -> None:
        self._brief = brief

    def add(self, found: FileDiff) -> None:
        """A line."""
        if found.state is not FileState.SAME:
            _print(_json(_object(found, brief=self._brief)))

    def end(self, counts: TreeCounts) -> None:
        """Nothing."""


class _Json:
    """One object, written as it grows."""

    def __init__(self, left: str, right: str, *, brief: bool) -> None:
        self._head = f'{{"left": {_json(safe_text(left))}, "right": {_json(safe_text(right))}, "files": ['
        self._brief = brief
        self._n_files = 0

    def add(self, found: FileDiff) -> None:
        """An element of the list of files."""
        if found.state is not FileState.SAME:
            before = ",\n  " if self._n_files else self._head + "\n  "
            self._n_files += 1
            _print(before + _json(_object(found, brief=self._brief)), end="")

    def end(self, counts: TreeCounts) -> None:
        """The figures."""
        _print(f'{self._head if not self._n_files else chr(10)}], "counts": {_json(counts.to_json())}}}')


def _print(text: str, end: str = "\n") -> None:
    """Print at once: the next pair may take its time."""
    print_text(text + end)
    flush_stdout()


def _marked(left: str, right: str) -> tuple[Text, Text]:
    """Both values in their colours, the part in which they differ in bold."""
    from rich.text import Text

    shorter = min(len(left), len(right))
    start = next((n for n in range(shorter) if left[n] != right[n]), shorter)
    end = next((n for n in range(shorter - start) if left[-1 - n] != right[-1 - n]), shorter - start)
    cells = []
    for value, colour in ((left, "red"), (right, "green")):
        cell = Text(value, style=colour)
        if left and right:
            cell.stylize("bold", start, len(value) - end)
        cells.append(cell)
    return cells[0], cells[1]


def _json(value: Any) -> str:
    import msgspec.json

    return harmless_json(msgspec.json.encode(value).decode())


def _object(found: FileDiff, *, brief: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "state": found.state.value,
        "left": _path(found.left),
        "right": _path(found.right),
        "sop_instance_uid": found.sop_instance_uid,
    }
    if found.problem:
        result["problem"] = safe_text(found.problem)
    if not brief:
        result["differences"] = [_difference(diff) for diff in found.differences]
    return result


def _path(path: Path | None) -> str | None:
    return None if path is None else safe_text(path)


def _difference(diff: DataDiff) -> dict[str, Any]:
    result: dict[str, Any] = {"path": diff.path, "tag": f"{diff.tag:08X}", "kind": diff.kind.value}
    if diff.creator:
        result["creator"] = _value(diff.creator)
    if diff.kind is not DiffKind.ADDED:
        result["left"] = _value(diff.left, diff.vr)
    if diff.kind is not DiffKind.MISSING:
        result["right"] = _value(diff.right, diff.vr)
    if diff.pixels:
        result["pixels"] = diff.pixels._asdict()
    return result


def _value(value: Any, vr: str = "") -> Any:
    """A value as JSON has it: text, numbers, lists, items as objects; bytes by their digits or their digest, tags."""
    if isinstance(value, BytesDigest):
        return {"length": value.length, "sha256": value.sha256}
    if isinstance(value, bytes):
        return {"length": len(value), "hex": value.hex()}
    if isinstance(value, Attributes):
        return {keyword_of(tag): _value(kept(inner), value.vr(tag)) for tag, inner in value.items()}
    if isinstance(value, tuple):
        return [_value(each, vr) for each in value]
    if tag := tag_text(value, vr):
        return tag
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value
