"""Several instances stored together: one wait for the names of all in a directory, and each has an end of its own."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from dcm._bridge import Bridge
from dcm.errors import DcmError, StoreError
from dcm.instance import Instance
from dcm.report import Outcome, TransferReport
from dcm.store._queue import StoreQueue
from dcm.store._tree import reason_of
from dcm.store.base import TransferMethod
from dcm.store.local_dir import LocalDir, Stored
from tests.store.instances import data_set_of, encode, files, make, write_file

FLAT = "{PatientID}/{SOPInstanceUID}"


class Disk:
    """What is synced and named, in order; and what is there at each step, as a crash would leave it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.failing = ""
        self._root = root
        self._synced: set[int] = set()
        self._fsync, self._link = os.fsync, os.link
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "link", self.link)

    def fsync(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}")
        name = str(path.readlink().relative_to(self._root)) if path.is_dir() else "file"
        self.events.append(f"sync {name}")
        if self.failing == name:
            raise OSError(errno.EIO, "broken")
        self._fsync(fd)
        self._synced.add(os.fstat(fd).st_ino)
        self.check()

    def link(self, src: str, dst: str, *, dst_dir_fd: int) -> None:
        self._link(src, dst, dst_dir_fd=dst_dir_fd)
        self.events.append(f"link {dst}")
        self.check()

    def check(self) -> None:
        """Whatever has a name is complete, and on the disk."""
        for path in self._root.rglob("*.dcm"):
            assert data_set_of(path) == encode(path.stem, patient_id=path.parent.name)
            assert path.stat().st_ino in self._synced


def test_names_of_one_directory_are_synced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path, monkeypatch)
    dest = LocalDir(tmp_path, out_fmt=FLAT, sync=True)
    uids = {"1.1": "A", "2.1": "B", "1.2": "A", "1.3": "A"}
    done = dest.store_all([make(uid, patient_id=patient) for uid, patient in uids.items()])
    assert done == [
        Stored(tmp_path / f"{patient}/{uid}.dcm", Outcome.SENT) for uid, patient in uids.items()
    ]  # in the order that was asked for
    files_of_a = [event for uid in ("1.1", "1.2", "1.3") for event in ("sync file", f"link {uid}.dcm")]
    assert disk.events == ["sync .", *files_of_a, "sync A", "sync .", "sync file", "link 2.1.dcm", "sync B"]


def test_without_sync_nothing_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    LocalDir(tmp_path, out_fmt=FLAT).store_all([make("1.1"), make("1.2")])
    assert not synced
    assert len(files(tmp_path)) == 3


def test_one_that_fails_stops_nobody_else(tmp_path: Path) -> None:
    dest = LocalDir(tmp_path, out_fmt=FLAT, sync=True)
    (tmp_path / "Vamp001/1.2.dcm").mkdir(parents=True)
    (tmp_path / "Vamp002").symlink_to(tmp_path)
    instances = [make("1.1"), make("1.2"), make("2.1", patient_id="Vamp002"), make("1.3")]
    first, second, third, last = dest.store_all(instances)
    assert first == Stored(tmp_path / "Vamp001/1.1.dcm", Outcome.SENT)
    assert isinstance(second, StoreError)
    assert isinstance(third, StoreError)
    assert reason_of(third) == "a symbolic link is in the way"
    assert last == Stored(tmp_path / "Vamp001/1.3.dcm", Outcome.SENT)
    assert data_set_of(tmp_path / "Vamp001/1.3.dcm") == encode("1.3")


def test_where_names_cannot_be_synced_none_of_them_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path, monkeypatch)
    dest = LocalDir(tmp_path, out_fmt=FLAT, sync=True)
    disk.failing = "A"
    done = dest.store_all([make("1.1", patient_id="A"), make("2.1", patient_id="B"), make("1.2", patient_id="A")])
    assert [type(result) for result in done] == [StoreError, Stored, StoreError]
    assert isinstance(done[0], StoreError)
    assert reason_of(done[0]) == "broken"
    disk.failing = ""
    again = dest.store_all([make("1.1", patient_id="A")])
    assert again == [Stored(tmp_path / "A/1.1.dcm", Outcome.PRESENT)]


def test_where_one_fails_the_names_before_it_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path, monkeypatch)
    (tmp_path / "Vamp001/1.2.dcm").mkdir(parents=True)
    monkeypatch.setattr(disk, "check", lambda: None)
    LocalDir(tmp_path, out_fmt=FLAT, sync=True).store_all([make("1.1"), make("1.2")])
    assert disk.events == ["sync .", "sync file", "link 1.1.dcm", "sync Vamp001"]


def test_conflicts_among_those_stored_together(tmp_path: Path) -> None:
    dest = LocalDir(tmp_path, out_fmt=FLAT, sync=True)
    done = dest.store_all([make("1.1"), make("1.1"), make("1.1", pixels=b"others")])
    assert [result.outcome for result in done if isinstance(result, Stored)] == [
        Outcome.SENT,
        Outcome.PRESENT,
        Outcome.CONFLICT,
    ]
    assert data_set_of(tmp_path / "Vamp001/1.1.dcm") == encode("1.1")
    assert len(files(tmp_path)) == 3


@pytest.mark.parametrize("together", [False, True])
def test_what_is_there_already_is_synced(together: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has put it there may have been killed before that."""
    LocalDir(tmp_path, out_fmt=FLAT).store(make("1.1"))
    disk = Disk(tmp_path, monkeypatch)
    monkeypatch.setattr(disk, "check", lambda: None)
    dest = LocalDir(tmp_path, out_fmt=FLAT, sync=True)
    done = dest.store_all([make("1.1")])[0] if together else dest.store(make("1.1"))
    assert isinstance(done, Stored)
    assert done.outcome is Outcome.PRESENT
    assert disk.events == ["sync .", "sync file", "sync Vamp001"]


@pytest.mark.parametrize("method", [TransferMethod.LOCAL_COPY, TransferMethod.LINK])
def test_files(method: TransferMethod, tmp_path: Path) -> None:
    sources = [write_file(tmp_path / f"in/{i}.dcm", f"1.{i}") for i in range(3)]
    dest = LocalDir(tmp_path / "out", out_fmt=FLAT, sync=True)
    done = dest.store_all([Instance.from_file(path) for path in sources], method)
    assert [result.outcome for result in done if isinstance(result, Stored)] == [Outcome.SENT] * 3
    assert data_set_of(tmp_path / "out/Vamp001/1.2.dcm") == encode("1.2")


# -- from the event loop


class Store:
    """Stores when it may, and notes what comes together."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.begun = threading.Event()
        self.batches: list[list[str]] = []
        self.poison = ""

    def store(self, instance: Instance) -> Stored:
        if instance.sop_instance_uid == self.poison:
            raise ZeroDivisionError
        return Stored(Path(instance.sop_instance_uid), Outcome.SENT)

    def store_all(self, instances: Sequence[Instance]) -> list[Stored | DcmError]:
        self.begun.set()
        self.may.wait(20)
        self.batches.append([instance.sop_instance_uid for instance in instances])
        return [self.store(instance) for instance in instances]


async def test_what_comes_meanwhile_is_stored_together() -> None:
    store, report = Store(), TransferReport()
    async with Bridge() as bridge, StoreQueue(store.store, bridge, report, "", store.store_all) as queue:
        first = asyncio.ensure_future(queue.place(make("1.1")))
        await asyncio.to_thread(store.begun.wait, 20)
        others = [asyncio.ensure_future(queue.place(make(f"2.{i}"))) for i in range(3)]
        await asyncio.sleep(0)
        store.may.set()
        assert await asyncio.gather(first, *others) == [True] * 4
        assert await queue.place(make("3.1"))
    assert store.batches == [["1.1"], ["2.0", "2.1", "2.2"], ["3.1"]]
    assert report.state("3.1") is Outcome.SENT


async def test_something_unforeseen_is_of_one_only() -> None:
    store, report = Store(), TransferReport()
    store.poison = "1.2"
    store.may.set()
    async with Bridge() as bridge, StoreQueue(store.store, bridge, report, "", store.store_all) as queue:
        done = await asyncio.gather(*(queue.place(make(f"1.{i}")) for i in (1, 2, 3)), return_exceptions=True)
    assert done[::2] == [True, True]
    assert isinstance(done[1], ZeroDivisionError)
    assert [report.state(f"1.{i}") for i in (1, 3)] == [Outcome.SENT, Outcome.SENT]


async def test_who_is_cancelled_while_waiting_is_not_stored_and_who_is_under_way_is() -> None:
    store, report = Store(), TransferReport()
    async with Bridge() as bridge, StoreQueue(store.store, bridge, report, "", store.store_all) as queue:
        first = asyncio.ensure_future(queue.place(make("1.1")))
        await asyncio.to_thread(store.begun.wait, 20)
        second = asyncio.ensure_future(queue.place(make("1.2")))
        await asyncio.sleep(0)
        for task in (first, second):
            task.cancel()
        await asyncio.wait([first, second])
        store.may.set()
    assert store.batches == [["1.1"]]
    assert report.state("1.1") is Outcome.SENT
    assert report.state("1.2") is None


async def test_a_directory_that_syncs_takes_files_data_sets_and_what_is_none(tmp_path: Path) -> None:
    report = TransferReport()
    source = write_file(tmp_path / "in/x.dcm", "1.2")
    (tmp_path / "text").write_text("not DICOM")
    async with LocalDir(tmp_path / "out", out_fmt=FLAT, sync=True).send(report) as queue:
        for item in (make("1.1"), source, tmp_path / "text", make("1.3")):
            await queue.put(item)
    assert files(tmp_path / "out") == ["Vamp001/", *(f"Vamp001/1.{i}.dcm" for i in (1, 2, 3))]
    assert report.state(str(tmp_path / "text")) is Outcome.FAILED
    assert report.n_bytes >= 3 * len(encode("1.1"))


def test_a_directory_that_others_have_made_is_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Vamp001").mkdir()
    disk = Disk(tmp_path, monkeypatch)
    dest = LocalDir(tmp_path, out_fmt=FLAT, sync=True)
    for uid in ("1.1", "1.2"):
        dest.store(make(uid))
    assert disk.events.count("sync .") == 1
    dest.close()
    dest.store(make("1.3"))
    assert disk.events.count("sync .") == 2
