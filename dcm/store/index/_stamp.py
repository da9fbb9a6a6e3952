"""What a file looks like from outside."""

from __future__ import annotations

import os
from typing import NamedTuple

__all__ = ["LeftOut", "Stamp", "stamp_of"]


class Stamp(NamedTuple):
    """What tells whether a file has changed."""

    size: int
    mtime_ns: int
    inode: int


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file, its inode in the 64 bits with a sign that SQLite has."""
    inode = status.st_ino
    return Stamp(status.st_size, status.st_mtime_ns, inode if inode < 1 << 63 else inode - (1 << 64))


class LeftOut(NamedTuple):
    """Why a file is not in the index: the kind and the reason for `Report.leave_out`."""

    kind: str
    reason: str
