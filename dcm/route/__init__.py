"""Which instances go to which destinations, what becomes of them on the way, and how they get there."""

from __future__ import annotations

from dcm.route._static import StaticRoute

__all__ = ["StaticRoute"]
