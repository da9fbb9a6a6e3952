"""Examples in documents, found and run as a reader would: the commands in a shell, the Python in an interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass
class Example:
    """A command of a document, and what the document says that it prints; or a block of code."""

    language: str
    line: int
    text: str
    output: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"line {self.line}: {self.text.splitlines()[0]}"


def blocks(path: Path) -> Iterator[Example]:
    """The ``code-block``\\ s of a document."""
    lines = path.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if not line.lstrip().startswith(".. code-block::"):
            continue
        indent = len(line) - len(line.lstrip())
        while number < len(lines) and not lines[number].strip():
            number += 1
        body, first = [], number + 1
        while number < len(lines) and (not lines[number].strip() or _indent(lines[number]) > indent):
            body.append(lines[number])
            number += 1
        yield Example(line.rpartition("::")[2].strip(), first, textwrap.dedent("\n".join(body)).strip("\n"))


def commands(path: Path) -> Iterator[Example]:
    """The commands of a document's console sessions: what stands behind ``$``, with what follows up to the next."""
    for block in blocks(path):
        if block.language != "console":
            continue
        command: Example | None = None
        for offset, line in enumerate(block.text.splitlines()):
            if line.startswith("$ "):
                if command is not None:
                    yield command
                command = Example("console", block.line + offset, line[2:])
            elif command is not None and command.text.endswith("\\"):
                command.text += f"\n{line}"
            elif command is not None:
                command.output.append(line)
        if command is not None:
            yield command


def run_shell(command: str, cwd: Path, env: Mapping[str, str], timeout: float = 25) -> subprocess.CompletedProcess[str]:
    """Run a command by bash, with a ``dcm`` that is this one."""
    programs = cwd / ".programs"
    if not programs.exists():
        programs.mkdir()
        dcm = programs / "dcm"
        dcm.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dcm "$@"\n')
        dcm.chmod(0o755)
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env, "PATH": f"{programs}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own, where a warning is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
