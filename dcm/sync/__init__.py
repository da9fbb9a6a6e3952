"""Bringing destinations up to date with sources: see `sync`, and `SyncManager` for one step after the other.

It knows stores by what `dcm.store.base` says of them, nothing about networks or disks.
"""

from __future__ import annotations

from dcm.sync._manager import SyncManager, Transfer
from dcm.sync._sync import sync
from dcm.sync._sync import sync as sync_data
from dcm.sync._targets import Validator

__all__ = ["SyncManager", "Transfer", "Validator", "sync", "sync_data"]
