"""Destinations that a forwarder must not have: they would give back what it delivers there, or perhaps lose it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from dcm._node_text import LOCALHOST, host_key
from dcm.errors import UsageError
from dcm.store.local_dir import LocalDir
from dcm.store.net_repo import NetRepo

if TYPE_CHECKING:
    from pathlib import Path

    from dcm.net import DcmNode
    from dcm.route import Way

__all__ = ["check_apart"]

_ANYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


def check_apart(way: Way, spool: Path, local: DcmNode) -> None:
    """Refuse destinations that would give us back what we deliver there, or do not wait for their disk.

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
    if isinstance(way.sink, LocalDir) and not way.sink.sync:
        raise UsageError(
            f"{way.sink} does not wait for its disk, and what is delivered leaves the spool",
            hint="LocalDir(..., sync=True) does",
        )
    if isinstance(way.sink, NetRepo) and _is_here(way.sink.remote, local):
        raise UsageError(f"{way.sink} cannot be a destination: that is where we listen ourselves")


def _is_here(remote: DcmNode, local: DcmNode) -> bool:
    """Whether a node is where another one listens, as far as the names tell."""
    if remote.port != local.port:
        return False
    here = {host_key(local.host)}
    if local.host in _ANYWHERE or LOCALHOST in here:
        here |= {LOCALHOST, host_key(socket.gethostname())}
    return host_key(remote.host) in here
