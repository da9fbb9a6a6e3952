"""Run a command and note the most memory that it had resident: ``python -S _peak.py FILE COMMAND...``.

A program of its own, which imports nothing large: what a child is forked from counts as the child's own peak.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    code = subprocess.run(sys.argv[2:], check=False).returncode
    unit = 1 if sys.platform == "darwin" else 1024
    Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit))
    sys.exit(code)
