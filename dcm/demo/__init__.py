"""An archive with sample studies on this machine, and a tour of the commands that use it.

It is what ``dcm demo`` shows, and a peer to learn with and to test against where no PACS is at hand. Importing it takes
as long as importing pynetdicom does.
"""

from __future__ import annotations

from dcm.demo._archive import DemoArchive
from dcm.demo._tour import run_tour

__all__ = ["DemoArchive", "run_tour"]
