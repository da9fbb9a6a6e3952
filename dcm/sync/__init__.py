"""Bringing destinations up to date with sources: see `sync`.

It knows stores by what `dcm.store.base` says of them, nothing about networks or disks.
"""

from __future__ import annotations

from dcm.sync._sync import sync
from dcm.sync._sync import sync as sync_data

__all__ = ["sync", "sync_data"]
