"""Put what ``dcm COMMAND --help`` prints into ``commands.rst``: ``python docs/update_help.py``.

A test fails where it has not been run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

PAGE = Path(__file__).parent / "commands.rst"
# A comment names the command; the literal block behind it is made here.
_HELP = re.compile(r"^\.\. help: (?P<command>dcm[a-z ]*)\n\n\.\. code-block:: text\n\n(?: {4}.*\n|\n)*", re.MULTILINE)


def help_of(command: str) -> str:
    """What a command prints, on a terminal of 80 columns."""
    words = [sys.executable, "-m", *command.split(), "--help"]
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60, env=environment)
    return done.stdout.rstrip()


def updated(page: str) -> str:
    """The page with every help as it is now."""

    def fresh(match: re.Match[str]) -> str:
        block = textwrap.indent(help_of(match["command"]), "    ", lambda line: bool(line.strip()))
        return f".. help: {match['command']}\n\n.. code-block:: text\n\n{block}\n\n"

    return _HELP.sub(fresh, page)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
