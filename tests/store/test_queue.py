"""From the event loop into a directory: each instance ends in a state, and one that fails stops nobody else."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dcm.errors import PartialError, StoreError, UsageError
from dcm.instance import Instance
from dcm.report import Outcome, TransferReport
from dcm.store.local_dir import LocalDir, Stored
from tests.store.instances import CT, data_set_of, encode, files, make, write_file

FLAT = "{PatientID}/{SOPInstanceUID}"


def data_set(uid: str) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID = CT
    ds.SOPInstanceUID = uid
    ds.PatientID = "Vamp001"
    ds.SeriesInstanceUID = "1.2.3.9"
    ds.ensure_file_meta()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


async def send_all(directory: LocalDir, instances: list[Instance], report: TransferReport | None = None) -> None:
    async with directory.send(report) as queue:
        for instance in instances:
            await queue.put(instance)


async def test_instances_data_sets_and_files(tmp_path: Path) -> None:
    report = TransferReport()
    source = write_file(tmp_path / "in/x.dcm", "1.2")
    async with LocalDir(tmp_path / "out", out_fmt=FLAT).send(report) as queue:
        await queue.put(make("1.1"))
        await queue.put(source)
        await queue.put(str(source))
        await queue.put(data_set("1.3"))
    assert files(tmp_path / "out") == ["Vamp001/", *(f"Vamp001/1.{i}.dcm" for i in (1, 2, 3))]
    assert {uid: report.state(uid) for uid in ("1.1", "1.2", "1.3")} == dict.fromkeys(
        ("1.1", "1.2", "1.3"), Outcome.SENT
    )
    assert report.n_bytes >= 2 * len(encode("1.1"))
    assert data_set_of(tmp_path / "out/Vamp001/1.2.dcm") == encode("1.2")
    assert report.exit_code == 0


async def test_what_fails_stops_nobody_else(tmp_path: Path) -> None:
    report = TransferReport()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/Vamp002").symlink_to(tmp_path)
    (tmp_path / "text").write_text("not DICOM")
    async with LocalDir(tmp_path / "out", out_fmt=FLAT).send(report, dest="here") as queue:
        await queue.put(make("1.1", patient_id="Vamp002"))
        await queue.put(tmp_path / "text")
        await queue.put(tmp_path / "missing")
        await queue.put(make("1.2"))
        await queue.put(make("1.2", pixels=b"others"))
    assert report.state("1.1", "here") is Outcome.FAILED
    assert report.state(str(tmp_path / "text"), "here") is Outcome.FAILED
    assert report.state(str(tmp_path / "missing"), "here") is Outcome.FAILED
    assert report.state("1.2", "here") is Outcome.CONFLICT
    assert report.exit_code == 3
    summary = report.summary()
    assert "a symbolic link is in the way" in summary
    assert "cannot be read: " in summary


async def test_without_a_report_failures_are_raised_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = LocalDir(tmp_path, out_fmt=FLAT)
    real_writev = os.writev

    def writev(fd: int, buffers: list[bytes]) -> int:
        if any(b"\0full" in bytes(buffer) for buffer in buffers):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real_writev(fd, buffers)

    monkeypatch.setattr(os, "writev", writev)
    instances = [make(f"1.{i}", pixels=b"\0full!" if i % 10 == 7 else b"pixels") for i in range(40)]
    with pytest.raises(PartialError, match="disk full"):
        await send_all(directory, instances)
    assert len(list(tmp_path.rglob("*.dcm"))) == 36


async def test_an_unusable_root_is_refused_before_anything_moves(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="is not a directory"):
        async with LocalDir(tmp_path / "file").send():
            pytest.fail("must not get here")


async def test_put_waits_while_too_much_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = LocalDir(tmp_path)
    go = threading.Event()

    def store(instance: Instance) -> Stored:
        go.wait()
        return Stored(tmp_path, Outcome.SENT)

    monkeypatch.setattr(directory, "store", store)
    report = TransferReport()
    n_put = 0
    async with directory.send(report) as queue:

        async def feed() -> None:
            nonlocal n_put
            for i in range(100):
                await queue.put(make(f"1.{i}"))
                n_put += 1

        feeder = asyncio.ensure_future(feed())
        for _ in range(500):
            await asyncio.sleep(0)
        assert n_put < 100
        go.set()
        await feeder
    assert report.counts[Outcome.SENT] == 100


async def test_leaving_with_an_error_stops_and_keeps_whole_files(tmp_path: Path) -> None:
    class OurError(Exception):
        pass

    async def transfer() -> None:
        async with LocalDir(tmp_path, out_fmt=FLAT).send() as queue:
            for i in range(12):
                await queue.put(make(f"1.{i}", pixels=b"x" * 100_000))
            raise OurError

    with pytest.raises(OurError):
        await transfer()
    for path in tmp_path.rglob("*.dcm"):
        assert data_set_of(path) == encode(path.stem, pixels=b"x" * 100_000)


async def test_cancelling_ends_it(tmp_path: Path) -> None:
    started = asyncio.Event()
    report = TransferReport()

    async def transfer() -> None:
        async with LocalDir(tmp_path, out_fmt=FLAT).send(report) as queue:
            for i in range(1_000_000):
                await queue.put(make(f"1.{i}"))
                started.set()

    task = asyncio.ensure_future(transfer())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for path in tmp_path.rglob("*.dcm"):
        assert data_set_of(path) == encode(path.stem)
    # What was in the hands of a thread is there, and the report knows.
    assert {path.stem for path in tmp_path.rglob("*.dcm")} == {*report.uids(Outcome.SENT)}


async def test_something_unforeseen_is_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = LocalDir(tmp_path)

    def store(instance: Instance) -> Stored:
        raise ZeroDivisionError

    monkeypatch.setattr(directory, "store", store)
    for n in (1, 1000):
        with pytest.raises(ZeroDivisionError):
            await send_all(directory, [make(f"1.{i}") for i in range(n)], TransferReport())


async def test_other_errors_of_ours_are_told_in_their_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = LocalDir(tmp_path)

    def store(instance: Instance) -> Stored:
        raise StoreError("the dog ate it")

    monkeypatch.setattr(directory, "store", store)
    report = TransferReport()
    async with directory.send(report) as queue:
        await queue.put(make())
    assert [problem.message for problem in report.problems] == ["the dog ate it"]
