"""Fixtures for the tests of a `LocalEntity`."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from dcm.net import DcmNode, LocalEntity
from tests.net.support import open_things
from tests.peers.fixtures import LOCAL_AE
from tests.peers.process import HOST


@pytest.fixture
def local(local_port: int) -> LocalEntity:
    """Us, as the archives know us."""
    return LocalEntity(DcmNode(HOST, LOCAL_AE, local_port))


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail a test after which a thread, a connection or a file of ours is still open."""
    before = open_things()
    yield
    gc.collect()
    left = open_things() - before
    assert not left, f"still open: {sorted(left)}"
