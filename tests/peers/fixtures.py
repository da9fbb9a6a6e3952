"""Fixtures that start peers; every test can use them.

The archives hold the sample studies (`tests.data.SAMPLE_STUDIES`), live for the whole run and are only read: a test
that stores, deletes or kills starts a peer of its own. They may move to `LOCALAE`, whose port is `local_port`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests import data
from tests.peers.dcmtk import DcmtkQrscp, DcmtkStorescp
from tests.peers.orthanc import OrthancPeer
from tests.peers.process import PeerProcess, free_port
from tests.peers.pynetdicom_apps import PynetdicomEchoscp, PynetdicomQrscp, PynetdicomStorescp
from tests.peers.tls import Certificates, make_certificates

LOCAL_AE = "LOCALAE"

Archive = DcmtkQrscp | OrthancPeer | PynetdicomQrscp
Receiver = DcmtkStorescp | PynetdicomStorescp


@pytest.fixture(name="free_port")
def _free_port() -> int:
    """A TCP port that nobody listens on. For more than one: `tests.peers.free_port`."""
    return free_port()


@pytest.fixture(scope="session")
def local_port() -> int:
    """The port at which the archives know the AE title ``LOCALAE``, to move to."""
    return free_port()


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[data.Sample]:
    """The sample studies on disk; read only."""
    return data.write_studies(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates for TLS on this machine."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def dcmtk_archive(
    tmp_path_factory: pytest.TempPathFactory, local_port: int, samples: list[data.Sample]
) -> Iterator[DcmtkQrscp]:
    """DCMTK's archive with the sample studies; read only."""
    with DcmtkQrscp(tmp_path_factory.mktemp("dcmqrscp"), {LOCAL_AE: local_port}) as archive:
        archive.fill(sample.path for sample in samples)
        yield archive


@pytest.fixture(scope="session")
def orthanc_archive(
    tmp_path_factory: pytest.TempPathFactory, local_port: int, samples: list[data.Sample]
) -> Iterator[OrthancPeer]:
    """Orthanc with the sample studies; read only."""
    with OrthancPeer(tmp_path_factory.mktemp("orthanc"), {LOCAL_AE: local_port}) as archive:
        assert archive.fill(sample.path for sample in samples) == []
        yield archive


@pytest.fixture(scope="session")
def pynetdicom_archive(
    tmp_path_factory: pytest.TempPathFactory, local_port: int, samples: list[data.Sample]
) -> Iterator[PynetdicomQrscp]:
    """pynetdicom's archive with the sample studies; read only."""
    with PynetdicomQrscp(tmp_path_factory.mktemp("qrscp"), {LOCAL_AE: local_port}) as archive:
        archive.fill([samples[0].path.parent])
        yield archive


@pytest.fixture(params=["dcmtk_archive", "orthanc_archive", "pynetdicom_archive"])
def archive(request: pytest.FixtureRequest) -> Archive:
    """Each of the three archives in turn; read only."""
    peer: Archive = request.getfixturevalue(request.param)
    return peer


@pytest.fixture
def dcmtk_receiver(tmp_path: Path) -> Iterator[DcmtkStorescp]:
    """A fresh ``storescp`` of DCMTK."""
    with DcmtkStorescp(tmp_path / "storescp") as receiver:
        yield receiver


@pytest.fixture
def pynetdicom_receiver(tmp_path: Path) -> Iterator[PynetdicomStorescp]:
    """A fresh ``storescp`` of pynetdicom."""
    with PynetdicomStorescp(tmp_path / "pystorescp") as receiver:
        yield receiver


@pytest.fixture(params=["dcmtk_receiver", "pynetdicom_receiver"])
def receiver(request: pytest.FixtureRequest) -> Receiver:
    """Each of the plain receivers in turn, fresh."""
    peer: Receiver = request.getfixturevalue(request.param)
    return peer


@pytest.fixture
def echo_only(tmp_path: Path) -> Iterator[PynetdicomEchoscp]:
    """A peer that accepts C-ECHO and rejects every other presentation context."""
    with PynetdicomEchoscp(tmp_path / "echoscp") as peer:
        yield peer


_log_sizes: dict[PeerProcess, int] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note how much the running peers have printed so far."""
    _log_sizes.clear()
    _log_sizes.update({peer: peer.log_size() for peer in PeerProcess.running})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with every test that fails what the peers printed while it ran."""
    report = yield
    if report.failed:
        for peer in PeerProcess.running:
            text = peer.log_tail(10_000, start=_log_sizes.get(peer, 0))
            if text:
                report.sections.append((f"log of {peer}", text))
    return report
