"""What dcmdump says of a file, element by element."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Line", "dcmdump"]

_LINE = re.compile(
    r"(?P<indent> *)\((?P<group>[0-9a-f]{4}),(?P<element>[0-9a-f]{4})\) (?P<vr>..) (?P<value>.*?) *"
    r"# +(?P<length>[0-9]+|u/l), *(?P<vm>[0-9]+) (?P<keyword>.*)"
)


class Line(NamedTuple):
    """A line of dcmdump."""

    depth: int
    tag: int
    vr: str
    value: str
    length: str
    vm: int
    keyword: str


def dcmdump(path: Path) -> tuple[int, list[Line]]:
    """The exit code of dcmdump, and its lines: long values whole, UIDs as numbers, odd characters as octal numbers.

    Without its lines for delimiters.
    """
    done = subprocess.run(
        ["dcmdump", "-q", "+L", "-Un", "+Qo", str(path)], capture_output=True, check=False, timeout=25
    )
    return done.returncode, list(_lines(done.stdout.decode("latin-1")))


def _lines(output: str) -> Iterator[Line]:
    for text in output.split("\n"):
        match = _LINE.fullmatch(text)
        if match is None:
            assert not text.strip() or text.lstrip().startswith("#"), text
            continue
        tag = int(match["group"] + match["element"], 16)
        if tag not in (0xFFFEE00D, 0xFFFEE0DD):
            depth = len(match["indent"]) // 2
            yield Line(depth, tag, match["vr"], match["value"], match["length"], int(match["vm"]), match["keyword"])
