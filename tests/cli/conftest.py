"""File systems that are full or read-only, for destinations."""

from __future__ import annotations

from tests.store.conftest import read_only_disk, small_disk

__all__ = ["read_only_disk", "small_disk"]
