"""The demo's archive, asked by DCMTK."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dcm.demo import DemoArchive
from dcm.demo._samples import SAMPLE_SERIES
from dcm.levels import QueryLevel
from dcm.node import DcmNode
from tests import data
from tests.peers import (
    HOST,
    DcmtkStorescp,
    echoscu,
    findscu,
    free_port,
    getscu,
    movescu,
    require_program,
    run_tool,
    storescu,
)

MOVE_AE = "MOVEDEST"


@pytest.fixture(scope="module")
def move_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def demo(move_port: int) -> Iterator[DemoArchive]:
    with DemoArchive(destinations={MOVE_AE: DcmNode(HOST, MOVE_AE, move_port)}) as archive:
        yield archive


class Found:
    """Asks an archive by findscu."""

    def __init__(self, archive: DemoArchive, directory: Path) -> None:
        self.archive = archive
        self.directory = directory
        self.n = 0

    def __call__(self, *keys: str, model: str = "-S") -> list[Dataset]:
        self.n += 1
        node = self.archive.node
        paths = findscu(node.port, node.ae_title, keys, self.directory / str(self.n), model=model)
        return [dcmread(path, force=True) for path in paths]


@pytest.fixture
def find(demo: DemoArchive, tmp_path: Path) -> Found:
    return Found(demo, tmp_path / "found")


def study_of(find: Found, patient_id: str) -> str:
    uid: str = find("QueryRetrieveLevel=STUDY", "StudyInstanceUID", f"PatientID={patient_id}")[0].StudyInstanceUID
    return uid


def verbose(program: str, archive: DemoArchive, model: str, keys: list[str]) -> str:
    """What a tool of DCMTK prints, statuses included."""
    arguments = [part for key in keys for part in ("-k", key)]
    node = archive.node
    tool = require_program(program, "dcmtk")
    return run_tool(
        [tool, "-v", "-aec", node.ae_title, model, *arguments, node.host, str(node.port)], check=False
    ).stdout


def test_echo(demo: DemoArchive) -> None:
    assert demo.node.host == "127.0.0.1"
    assert echoscu(demo.node.port, demo.node.ae_title)


def test_it_is_nobody_else(demo: DemoArchive) -> None:
    assert not echoscu(demo.node.port, "NOTME", check=False)


def test_patients(find: Found, demo: DemoArchive) -> None:
    keys = ("QueryRetrieveLevel=PATIENT", "PatientID", "PatientName", "NumberOfPatientRelatedInstances", "StudyDate")
    found = find(*keys, model="-P")
    assert len(found) == demo.count(QueryLevel.PATIENT)
    assert sum(ds.NumberOfPatientRelatedInstances for ds in found) == demo.count(QueryLevel.IMAGE)
    assert all("StudyDate" not in ds for ds in found)
    by_id = {ds.PatientID: ds for ds in found}
    assert by_id["Vamp003"].PatientName == "Yamada^Tarou=山田^太郎"


def test_studies(find: Found) -> None:
    keys = ["QueryRetrieveLevel=STUDY", "StudyInstanceUID", "StudyDate=20201031", "StudyTime", "PatientName=*cula*"]
    keys += ["NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "ModalitiesInStudy"]
    keys += ["NumberOfPatientRelatedStudies", "NumberOfSeriesRelatedInstances"]
    found = {ds.StudyTime: ds for ds in find(*keys)}
    jaw = found["164315.866000"]
    assert (jaw.NumberOfStudyRelatedSeries, jaw.NumberOfStudyRelatedInstances) == (2, 14)
    assert (jaw.ModalitiesInStudy, jaw.NumberOfPatientRelatedStudies) == ("CT", 2)
    assert "NumberOfSeriesRelatedInstances" not in jaw
    assert found["203205.137000"].ModalitiesInStudy == "MR"
    assert len(found) == 3


def test_studies_by_modality_and_range(find: Found) -> None:
    keys = ("QueryRetrieveLevel=STUDY", "StudyInstanceUID", "StudyDate=20201031-20201102", "PatientID")
    assert sorted(ds.PatientID for ds in find(*keys, "ModalitiesInStudy=MR")) == ["Vamp001", "Vamp003"]
    assert len(find(*keys)) == 4
    assert find("QueryRetrieveLevel=STUDY", "StudyInstanceUID", "StudyDate=-18990101") == []


def test_studies_by_a_list_of_uids(find: Found) -> None:
    uids = [study_of(find, "Vamp002"), study_of(find, "Vamp003")]
    found = find("QueryRetrieveLevel=STUDY", "StudyInstanceUID=" + "\\".join(uids), "StudyDescription")
    assert {ds.StudyDescription for ds in found} == {"Jaw", "Größe"}


@pytest.mark.parametrize("model", ["-S", "-P"])
def test_series_and_images(find: Found, model: str) -> None:
    study = study_of(find, "Vamp002")
    parents = [f"StudyInstanceUID={study}", "PatientID=Vamp002"]
    keys = ["QueryRetrieveLevel=SERIES", "SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances"]
    (series,) = find(*parents, *keys, model=model)
    assert (series.Modality, series.NumberOfSeriesRelatedInstances) == ("CT", 5)
    parents.append(f"SeriesInstanceUID={series.SeriesInstanceUID}")
    images = find(*parents, "QueryRetrieveLevel=IMAGE", "SOPInstanceUID", "InstanceNumber", "SOPClassUID", model=model)
    assert sorted(ds.InstanceNumber for ds in images) == [1, 2, 3, 4, 5]
    (image,) = find(*parents, "QueryRetrieveLevel=IMAGE", "SOPInstanceUID", "InstanceNumber=3", model=model)
    assert image.SOPInstanceUID == next(ds.SOPInstanceUID for ds in images if ds.InstanceNumber == 3)


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        ("-S", ["QueryRetrieveLevel=SERIES", "SeriesInstanceUID"]),
        ("-S", ["QueryRetrieveLevel=SERIES", "StudyInstanceUID=1.2\\1.3"]),
        ("-S", ["QueryRetrieveLevel=PATIENT", "PatientID"]),
        ("-S", ["QueryRetrieveLevel=NOWHERE", "PatientID"]),
        ("-S", ["PatientID"]),
        ("-P", ["QueryRetrieveLevel=STUDY", "StudyInstanceUID"]),
        ("-P", ["QueryRetrieveLevel=STUDY", "PatientID=Vamp*"]),
    ],
)
def test_what_the_hierarchy_does_not_allow_is_refused(demo: DemoArchive, model: str, keys: list[str]) -> None:
    assert "DataSetDoesNotMatchSOPClass" in verbose("findscu", demo, model, keys)


def test_get(demo: DemoArchive, find: Found, tmp_path: Path) -> None:
    keys = ["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study_of(find, 'Vamp001')}"]
    got = getscu(demo.node.port, demo.node.ae_title, keys, tmp_path / "got")
    assert len(got) == sum(s.n_instances for s in SAMPLE_SERIES if (s.patient_id, s.study_id) == ("Vamp001", "1"))


def test_get_of_nothing(demo: DemoArchive, tmp_path: Path) -> None:
    keys = ["QueryRetrieveLevel=STUDY", "StudyInstanceUID=1.2.3"]
    assert getscu(demo.node.port, demo.node.ae_title, keys, tmp_path / "got") == []


@pytest.mark.parametrize("keys", [["PATIENT"], ["SERIES"], ["SERIES", "StudyInstanceUID=1.2.3"], ["STUDY"]])
def test_get_needs_its_unique_keys(demo: DemoArchive, keys: list[str]) -> None:
    assert "DataSetDoesNotMatchSOPClass" in verbose("getscu", demo, "-S", [f"QueryRetrieveLevel={keys[0]}", *keys[1:]])


def test_move(demo: DemoArchive, find: Found, move_port: int, tmp_path: Path) -> None:
    wanted = {patient: study_of(find, patient) for patient in ("4MR1", "8NM1", "Vamp003")}
    with DcmtkStorescp(tmp_path / "scp", ae_title=MOVE_AE, port=move_port) as receiver:
        keys = ["QueryRetrieveLevel=STUDY", "StudyInstanceUID=" + "\\".join(wanted.values())]
        movescu(demo.node.port, demo.node.ae_title, MOVE_AE, keys)
        received = [dcmread(path) for path in receiver.received()]
    assert {ds.PatientID for ds in received} == set(wanted)
    assert {ds.file_meta.TransferSyntaxUID.is_compressed for ds in received} == {True, False}


def test_move_to_a_stranger(demo: DemoArchive, find: Found) -> None:
    keys = ["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study_of(find, 'Vamp001')}"]
    done = movescu(demo.node.port, demo.node.ae_title, "STRANGER", keys, check=False)
    assert "MoveDestinationUnknown" in done.stdout


def test_store(tmp_path: Path) -> None:
    sample = data.write_series(tmp_path / "series", data.SeriesSpec(n_instances=2))
    with DemoArchive(files=[]) as archive:
        assert archive.count(QueryLevel.IMAGE) == 0
        for _ in range(2):
            storescu(archive.node.port, archive.node.ae_title, [s.path for s in sample])
        assert archive.count(QueryLevel.IMAGE) == 2
        keys = ["QueryRetrieveLevel=SERIES", f"StudyInstanceUID={sample[0].study_uid}"]
        got = getscu(
            archive.node.port,
            archive.node.ae_title,
            [*keys, f"SeriesInstanceUID={sample[0].series_uid}"],
            tmp_path / "got",
        )
    by_uid = {s.sop_instance_uid: dcmread(s.path) for s in sample}
    assert {ds.SOPInstanceUID: ds for ds in map(dcmread, got)} == by_uid


def test_it_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    level = logging.getLogger("pynetdicom").level
    archive = DemoArchive()
    archive.start()
    assert list(tmp_path.iterdir())
    port = archive.node.port
    archive.stop()
    archive.stop()
    assert not list(tmp_path.iterdir())
    assert logging.getLogger("pynetdicom").level == level
    with pytest.raises(ConnectionRefusedError), socket.create_connection((HOST, port)):
        pass


def test_a_taken_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with socket.create_server((HOST, 0)) as server, pytest.raises(OSError, match="in use"):
        DemoArchive(port=server.getsockname()[1]).start()
    assert not list(tmp_path.iterdir())
