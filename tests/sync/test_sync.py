"""`dcm.sync.sync` from Python: what it raises, and what its report says."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset

from dcm.errors import NetworkError, PartialError, StoreError, UsageError
from dcm.levels import QueryLevel
from dcm.net import DcmNode, LocalEntity
from dcm.report import Outcome, TransferReport
from dcm.route import StaticRoute
from dcm.store.base import TransferMethod
from dcm.store.local_dir import LocalDir
from dcm.store.net_repo import NetRepo
from dcm.sync import sync, sync_data
from tests import data
from tests.peers import HOST, DcmtkQrscp

LOCAL = LocalEntity(DcmNode(HOST, "LOCALAE"))


def repo(archive: DcmtkQrscp) -> NetRepo:
    return NetRepo(LOCAL, archive.node)


def patient(patient_id: str) -> Dataset:
    query = Dataset()
    query.PatientID = patient_id
    return query


def uids(samples: list[data.Sample], patient_id: str) -> set[str]:
    return {sample.sop_instance_uid for sample in samples if sample.patient_id == patient_id}


async def test_one_of_each(dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], tmp_path: Path) -> None:
    report = await sync(repo(dcmtk_archive), LocalDir(tmp_path), patient("Vamp001"))
    assert set(report.uids(Outcome.SENT)) == uids(samples, "Vamp001")
    assert (report.exit_code, report.adds_up(), report.n_series) == (0, True, 4)
    assert {path.stem for path in tmp_path.rglob("*.dcm")} == uids(samples, "Vamp001")
    again = await sync_data([repo(dcmtk_archive)], [LocalDir(tmp_path)], patient("Vamp001"))
    assert set(again.uids(Outcome.PRESENT)) == uids(samples, "Vamp001")


@pytest.mark.parametrize("level", [QueryLevel.PATIENT, QueryLevel.STUDY, QueryLevel.SERIES, QueryLevel.IMAGE])
async def test_a_query_result_of_any_level(
    level: QueryLevel, dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], tmp_path: Path
) -> None:
    source = repo(dcmtk_archive)
    found = await source.query(level, patient("Vamp001"))
    report = await sync(source, LocalDir(tmp_path), query_res=found)
    assert set(report.uids(Outcome.SENT)) == uids(samples, "Vamp001")


async def test_a_dry_run(dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], tmp_path: Path) -> None:
    dest = LocalDir(tmp_path / "home")
    report = await sync(repo(dcmtk_archive), dest, patient("Vamp001"), dry_run=True)
    assert set(report.pending()) == uids(samples, "Vamp001")
    assert (report.exit_code, report.dry_run) == (0, True)
    assert not (tmp_path / "home").exists()


async def test_without_a_report_failures_are_raised(
    dcmtk_archive: DcmtkQrscp, free_port: int, samples: list[data.Sample], tmp_path: Path
) -> None:
    dead = NetRepo(LOCAL, DcmNode(HOST, "DEAD", free_port))
    with pytest.raises(NetworkError, match="refused the connection"):
        await sync(dead, LocalDir(tmp_path), patient("Vamp001"))
    with pytest.raises(PartialError, match="refused the connection"):
        await sync([dead, repo(dcmtk_archive)], LocalDir(tmp_path), patient("Vamp001"))
    assert {path.stem for path in tmp_path.rglob("*.dcm")} == uids(samples, "Vamp001")


async def test_a_destination_that_cannot_be_used(
    dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise StoreError("cannot write there: read-only file system")

    broken, good = LocalDir(tmp_path / "broken"), LocalDir(tmp_path / "good")
    monkeypatch.setattr(broken, "check", refuse)
    with pytest.raises(UsageError, match="read-only"):
        await sync(repo(dcmtk_archive), broken, patient("Vamp003"))
    with pytest.raises(UsageError, match="read-only"):
        await sync(repo(dcmtk_archive), [good, broken], patient("Vamp003"))
    assert not list(good.path.rglob("*.dcm")), "nothing has moved"


async def test_what_makes_no_sense(tmp_path: Path, free_port: int) -> None:
    source = NetRepo(LOCAL, DcmNode(HOST, "DEAD", free_port))
    with pytest.raises(UsageError, match="no source"):
        await sync([], LocalDir(tmp_path))
    with pytest.raises(UsageError, match="no destination"):
        await sync(source, [])
    with pytest.raises(UsageError, match="two of the destinations are the same"):
        await sync(source, [LocalDir(tmp_path), LocalDir(tmp_path)])
    route = StaticRoute((LocalDir(tmp_path / "a"), LocalDir(tmp_path / "b")), methods=(TransferMethod.MOVE,))
    (tmp_path / "from").mkdir()
    with pytest.raises(UsageError, match="one destination only"):
        await sync(LocalDir(tmp_path / "from"), route)
    (tmp_path / "file").write_text("")
    home = LocalDir(tmp_path / "home")
    with pytest.raises(UsageError, match="is not a directory"):
        await sync(source, [home, LocalDir(tmp_path / "file")])


async def test_nothing_is_made_where_nothing_goes(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    for report in (TransferReport(), None):
        await sync(LocalDir(tmp_path / "from"), LocalDir(tmp_path / "new" / "to"), report=report)
        assert not (tmp_path / "new").exists()
    # What is there stays, whatever is in it.
    (tmp_path / "to").mkdir()
    await sync(LocalDir(tmp_path / "from"), LocalDir(tmp_path / "to"))
    assert (tmp_path / "to").is_dir()
