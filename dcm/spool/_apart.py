"""Destinations that a forwarder must not have: they would give back or lose what it delivers, or never take it."""

from __future__ import annotations

import socket
import stat
from typing import TYPE_CHECKING

from dcm._node_text import LOCALHOST, host_key
from dcm.errors import UsageError
from dcm.store.local_dir import LocalDir
from dcm.store.net_repo import NetRepo
from dcm.text import safe_text

if TYPE_CHECKING:
    from pathlib import Path

    from dcm.net import DcmNode
    from dcm.route import Way

__all__ = ["check_apart"]

_ANYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


def check_apart(way: Way, spool: Path, local: DcmNode) -> None:
    """Refuse destinations that would give us back what we deliver, do not wait for their disk, or are no directories.

    A directory that is not there, or not to be written to, is none of these: it may be mounted later.

    Raises
    ------
    UsageError
        It is one.
    """
    if way.sink.overlaps(LocalDir(spool)):
        raise UsageError(
            f"{way.sink} cannot be a destination: it overlaps the spool, {spool}",
            hint="say with --spool where else the spool should be",
        )
    if isinstance(way.sink, LocalDir) and (file := _file_at(way.sink.path)):
        below = "" if file == way.sink.path else f", for {safe_text(file)} is none"
        raise UsageError(f"{safe_text(way.sink)} is not a directory{below}")
    if isinstance(way.sink, LocalDir) and not way.sink.sync:
        raise UsageError(
            f"{way.sink} does not wait for its disk, and what is delivered leaves the spool",
            hint="LocalDir(..., sync=True) does",
        )
    if isinstance(way.sink, NetRepo) and _is_here(way.sink.remote, local):
        raise UsageError(f"{way.sink} cannot be a destination: that is where we listen ourselves")


def _file_at(path: Path) -> Path | None:
    """What is at a path, or on the way there, and no directory."""
    for place in (path, *path.parents):
        try:
            mode = place.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:  # nobody knows, now
            return None
        return None if stat.S_ISDIR(mode) else place
    return None


def _is_here(remote: DcmNode, local: DcmNode) -> bool:
    """Whether a node is where another one listens, as far as the names tell."""
    if remote.port != local.port:
        return False
    here = {host_key(local.host)}
    if local.host in _ANYWHERE or LOCALHOST in here:
        here |= {LOCALHOST, host_key(socket.gethostname())}
    return host_key(remote.host) in here
