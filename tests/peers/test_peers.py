"""The peers themselves work: shown with DCMTK's tools only, so that what fails elsewhere is ours."""

from __future__ import annotations

import gc
import os
import signal
import socket
from pathlib import Path

import pytest
from pydicom import dcmread

from tests import data
from tests.peers import (
    HOST,
    Certificates,
    DcmtkQrscp,
    DcmtkStorescp,
    Fault,
    FaultProxy,
    OrthancPeer,
    PeerProcess,
    PeerStartError,
    PynetdicomEchoscp,
    PynetdicomQrscp,
    echoscu,
    findscu,
    free_port,
    getscu,
    movescu,
    require_program,
    storescu,
)
from tests.peers.fixtures import LOCAL_AE, Archive, Receiver


def test_archive_echo(archive: Archive) -> None:
    assert echoscu(archive.port, archive.ae_title)


def test_archive_find(archive: Archive, samples: list[data.Sample], tmp_path: Path) -> None:
    keys = ["QueryRetrieveLevel=STUDY", "StudyInstanceUID", "PatientID=Vamp001"]
    found = findscu(archive.port, archive.ae_title, keys, tmp_path / "found")
    expected = {sample.study_uid for sample in samples if sample.patient_id == "Vamp001"}
    assert {dcmread(path).StudyInstanceUID for path in found} == expected


def test_archive_move(archive: Archive, samples: list[data.Sample], local_port: int, tmp_path: Path) -> None:
    wanted = samples[0].study_uid
    with DcmtkStorescp(tmp_path / "scp", ae_title=LOCAL_AE, port=local_port) as receiver:
        movescu(archive.port, archive.ae_title, LOCAL_AE, ["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={wanted}"])
        assert len(receiver.received()) == sum(sample.study_uid == wanted for sample in samples)


def test_dcmtk_get_is_byte_for_byte(dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], tmp_path: Path) -> None:
    wanted = samples[0]
    keys = ["QueryRetrieveLevel=SERIES", f"StudyInstanceUID={wanted.study_uid}"]
    keys.append(f"SeriesInstanceUID={wanted.series_uid}")
    got = getscu(dcmtk_archive.port, dcmtk_archive.ae_title, keys, tmp_path / "got")
    expected = {sample.data_set_bytes for sample in samples if sample.series_uid == wanted.series_uid}
    assert {data.data_set_of(path.read_bytes()) for path in got} == expected


def test_orthanc_rest(orthanc_archive: OrthancPeer, samples: list[data.Sample]) -> None:
    assert orthanc_archive.sop_instance_uids() == {sample.sop_instance_uid for sample in samples}
    assert len(orthanc_archive.instance_ids()) == len(samples)
    by_uid = {sample.sop_instance_uid: sample for sample in samples}
    for uid, file in orthanc_archive.files():
        assert data.data_set_of(file) == by_uid[uid].data_set_bytes


def test_orthanc_destinations_and_settings(tmp_path: Path, samples: list[data.Sample]) -> None:
    with OrthancPeer(tmp_path / "orthanc", settings={"LimitFindResults": 2}) as orthanc:
        assert orthanc.sop_instance_uids() == set()
        assert orthanc.fill([samples[0].path, Path(__file__)]) == [Path(__file__)]
        orthanc.set_destination("ELSEWHERE", free_port())
        assert "ELSEWHERE" in orthanc.get("/modalities")
        orthanc.remove_destination("ELSEWHERE")
        assert "ELSEWHERE" not in orthanc.get("/modalities")
        orthanc.clear()
        assert orthanc.instance_ids() == []


@pytest.mark.parametrize("nodelay", [True, False])
def test_receivers_take_what_storescu_sends(receiver: Receiver, samples: list[data.Sample], nodelay: bool) -> None:
    paths = [sample.path for sample in samples[:3]]
    storescu(receiver.port, receiver.ae_title, paths, nodelay=nodelay)
    received = {data.data_set_of(path.read_bytes()) for path in receiver.received()}
    assert received == {path_sample.data_set_bytes for path_sample in samples[:3]}


def test_qrscp_takes_what_storescu_sends(tmp_path: Path, samples: list[data.Sample]) -> None:
    with DcmtkQrscp(tmp_path / "qrscp", nodelay=False) as archive:
        storescu(archive.port, archive.ae_title, [samples[0].path])
        keys = ["QueryRetrieveLevel=STUDY", "StudyInstanceUID"]
        assert len(findscu(archive.port, archive.ae_title, keys, tmp_path / "found")) == 1


def test_pynetdicom_archive_holds_all(pynetdicom_archive: PynetdicomQrscp, samples: list[data.Sample]) -> None:
    assert len(pynetdicom_archive.received()) == len(samples)


def test_echo_only(echo_only: PynetdicomEchoscp, samples: list[data.Sample]) -> None:
    assert echoscu(echo_only.port, echo_only.ae_title)
    assert storescu(echo_only.port, echo_only.ae_title, [samples[0].path], check=False).returncode != 0


def test_tls(tmp_path: Path, certificates: Certificates) -> None:
    """With the right certificates only; and so the peer is one that really checks them."""
    options = certificates.dcmtk_options(certificates.server)
    with DcmtkStorescp(tmp_path / "tls", options=options) as peer:
        assert echoscu(peer.port, peer.ae_title, options=certificates.dcmtk_options(certificates.client))
        strange = certificates.dcmtk_options(certificates.stranger)
        assert not echoscu(peer.port, peer.ae_title, options=strange, check=False)
        assert not echoscu(peer.port, peer.ae_title, check=False)


class BrokenPeer(PeerProcess):
    """Prints something, and ends instead of serving."""

    def command(self) -> list[str]:
        return [require_program("sh", "dash"), "-c", "echo out of order; exit 3"]


def test_a_peer_that_does_not_start_says_why(tmp_path: Path) -> None:
    peer = BrokenPeer(tmp_path, "BROKEN")
    with pytest.raises(PeerStartError, match="out of order"):
        peer.start()
    assert peer not in PeerProcess.running


def test_a_stopped_peer_leaves_no_process(tmp_path: Path) -> None:
    peer = DcmtkQrscp(tmp_path)
    with peer:
        group = peer.pid
        # A child is serving this association when the peer is stopped.
        with socket.create_connection((HOST, peer.port)):
            pass
    with pytest.raises(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def test_a_missing_peer_skips_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DCM_REQUIRE_PEERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed"):
        require_program("no-such-program", "no-such-package")
    monkeypatch.setenv("DCM_REQUIRE_PEERS", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-package"):
        require_program("no-such-program", "no-such-package")


def test_proxy_lets_through(dcmtk_archive: DcmtkQrscp) -> None:
    with FaultProxy(dcmtk_archive.port) as proxy:
        assert echoscu(proxy.port, dcmtk_archive.ae_title)
        assert proxy.n_connections == 1
        assert proxy.bytes_to_peer > 100
        assert proxy.bytes_to_client > 100


def test_proxy_byte_by_byte(dcmtk_archive: DcmtkQrscp) -> None:
    byte = Fault(chunk=1)
    with FaultProxy(dcmtk_archive.port, to_peer=byte, to_client=byte) as proxy:
        assert echoscu(proxy.port, dcmtk_archive.ae_title)


@pytest.mark.parametrize("fault", [Fault(cut_at=20), Fault(reset_at=20), Fault(cut_at=0)])
def test_proxy_ends_connections(dcmtk_archive: DcmtkQrscp, fault: Fault) -> None:
    with FaultProxy(dcmtk_archive.port, to_client=fault, n_faulty=1) as proxy:
        assert not echoscu(proxy.port, dcmtk_archive.ae_title, check=False)
        assert proxy.bytes_to_client == (fault.cut_at if fault.cut_at is not None else fault.reset_at)
        assert echoscu(proxy.port, dcmtk_archive.ae_title)


def test_proxy_reset_is_a_reset() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        with FaultProxy(port, to_peer=Fault(reset_at=3)) as proxy:
            with socket.create_connection((HOST, proxy.port)) as client:
                client.sendall(b"abcdef")
                with pytest.raises(ConnectionResetError):
                    client.recv(1)


def test_proxy_stalls_until_resumed() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        with FaultProxy(port, to_peer=Fault(stall_at=3)) as proxy:
            with socket.create_connection((HOST, proxy.port)) as client:
                accepted, _ = server.accept()
                with accepted:
                    client.sendall(b"abcdef")
                    assert proxy.stalled.wait(10)
                    assert accepted.recv(100) == b"abc"
                    proxy.resume()
                    assert accepted.recv(100) == b"def"


def test_proxy_ends_in_the_middle_of_anything() -> None:
    """Whatever a connection is about to do when the proxy stops, nothing of it is left open."""
    with socket.create_server((HOST, 0), backlog=300) as target:
        for _ in range(100):
            with FaultProxy(target.getsockname()[1]) as proxy:
                for _ in range(3):
                    socket.create_connection((HOST, proxy.port)).close()
            # Only the young: after thousands of other tests, looking at everything takes a second.
            gc.collect(1)
    gc.collect()
