"""Fixtures of the network's tests, for those of a forwarder; and how a spool keeps small instances."""

from __future__ import annotations

import pytest

from dcm.spool import _files
from tests.net.conftest import nothing_left

__all__ = ["nothing_left"]

SEGMENT = 1 << 20


@pytest.fixture(autouse=True)
def segment_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of a segment of the spools of a test: few, or, with the mark ``own_files``, none."""
    default = 0 if request.node.get_closest_marker("own_files") else SEGMENT
    size: int = getattr(request, "param", default)
    monkeypatch.setattr(_files, "segment_size", lambda total: size)
    return size
