"""``python -m dcm``: the same as the command ``dcm``."""

from __future__ import annotations

import sys

from dcm.cli import main

if __name__ == "__main__":
    sys.exit(main())
