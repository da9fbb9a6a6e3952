"""Fixtures of the network's tests, for those of a forwarder."""

from __future__ import annotations

from tests.net.conftest import nothing_left

__all__ = ["nothing_left"]
