"""The stores that we have, through the suite that every store runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ImplicitVRLittleEndian

from dcm.net import DcmNode, LocalEntity
from dcm.store import DataRepo
from dcm.store.local_dir import LocalDir
from dcm.store.memory import MemoryStore
from dcm.store.net_repo import NetRepo
from tests.peers import HOST, DcmtkQrscp, OrthancPeer
from tests.peers.fixtures import LOCAL_AE
from tests.store.conformance import Conformance

Repo = DataRepo[Any]


class TestMemory(Conformance):
    @pytest.fixture
    def fresh(self) -> Repo:
        return MemoryStore(chunk_size=4)


class TestDirectory(Conformance):
    @pytest.fixture
    def fresh(self, tmp_path: Path) -> Iterator[Repo]:
        directory = LocalDir(tmp_path / "store", max_chunk=4)
        yield directory
        directory.close()


class TestDirectoryWithoutIndex(Conformance):
    @pytest.fixture
    def fresh(self, tmp_path: Path) -> Iterator[Repo]:
        directory = LocalDir(tmp_path / "store", file_ext="", max_chunk=4, index=False)
        yield directory
        directory.close()


class _Node(Conformance):
    tells_present = False


class TestDcmtk(_Node):
    converts = staticmethod(lambda sample: sample.transfer_syntax_uid == ImplicitVRLittleEndian)

    @pytest.fixture
    def fresh(self, tmp_path: Path) -> Iterator[Repo]:
        with DcmtkQrscp(tmp_path / "archive") as archive:
            yield NetRepo(LocalEntity(DcmNode(HOST, LOCAL_AE)), archive.node, chunk_size=4)

    @pytest.fixture
    def filled(self, dcmtk_archive: DcmtkQrscp, local_port: int) -> Repo:
        return NetRepo(LocalEntity(DcmNode(HOST, LOCAL_AE, local_port)), dcmtk_archive.node, chunk_size=4)


class TestOrthanc(_Node):
    @pytest.fixture
    def fresh(self, tmp_path: Path) -> Iterator[Repo]:
        with OrthancPeer(tmp_path / "archive") as archive:
            yield NetRepo(LocalEntity(DcmNode(HOST, LOCAL_AE)), archive.node, chunk_size=4)

    @pytest.fixture
    def filled(self, orthanc_archive: OrthancPeer, local_port: int) -> Repo:
        return NetRepo(LocalEntity(DcmNode(HOST, LOCAL_AE, local_port)), orthanc_archive.node, chunk_size=4)
