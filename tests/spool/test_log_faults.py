"""The log of a spool where the disk, another process or a power cut does its worst."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from dcm.errors import SpoolError, SpoolFullError, StoreError
from dcm.instance import Instance
from dcm.route import Way
from dcm.spool import Arrival, DeliveryState, Spool, _log, _pool, _segment
from dcm.spool._breaker import Breaker
from dcm.spool._courier import Courier
from dcm.spool._intake import Arrived
from dcm.spool._queue import Queues
from dcm.store.local_dir import LocalDir
from tests.spool.conftest import SEGMENT
from tests.spool.support import (
    DELIVERED,
    HERE,
    QUEUED,
    Route,
    admit,
    files,
    fill_segments,
    in_log,
    pixels_of,
    quarantine_some,
    recount,
    segments,
    settle,
    take,
)
from tests.spool.support import uids as uids_of
from tests.store.instances import make

KIB = 1 << 10


class CrashError(BaseException):
    """What ends a process."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def no_route(instance: Instance) -> NoReturn:
    raise AssertionError("nothing has to be routed anew")


def is_right(spool: Spool, uid: str) -> bool:
    (delivery,) = spool.ls(uids=[uid])
    with spool.instance(delivery) as instance:
        return bytes(instance.read(0, instance.size)).endswith(pixels_of(uid))


def lose_journal(path: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        (path / f"journal.sqlite{ending}").unlink(missing_ok=True)


def crash_at(step: str) -> Callable[[str], None]:
    def at(name: str) -> None:
        if name == step:
            raise CrashError

    return at


# -- what was never synced -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "step"), [(20 * KIB, "fsync"), (200 * KIB, "fsync"), (200 * KIB, "journal")])
def test_what_a_crash_has_left_is_written_once_more(
    path: Path, monkeypatch: pytest.MonkeyPatch, size: int, step: str
) -> None:
    """It may never have been synced. Who sends it again is told that it is here: then it must be on the disk."""
    instance = make("1.1", pixels=b"x" * size)
    with Spool(path, step=crash_at(step)) as spool:
        # As a crash leaves it: nobody tidies up.
        spool._intake._take_back = lambda candidate: None  # type: ignore[method-assign]
        spool._files.log._release = lambda number: None  # type: ignore[method-assign]
        with pytest.raises(CrashError):
            spool.admit(instance, HERE, Route("pacs"))
    ((old, _),) = in_log(path).values()
    synced: set[str] = set()
    real = _segment._sync

    def sync(fd: int) -> None:
        real(fd)
        synced.add(Path(f"/proc/self/fd/{fd}").readlink().stem)

    monkeypatch.setattr(_segment, "_sync", sync)
    with Spool(path) as spool:
        assert spool.recover(Route("pacs")).readmitted == 1
        assert spool.admit(instance, HERE, Route("pacs")).kind is Arrival.REPEATED
        (delivery,) = take(spool, "pacs")
        segment, _ = in_log(path)[delivery.entry_id]
        assert segment != old
        assert f"{segment:012x}" in synced
        with spool.instance(delivery) as again:
            assert bytes(again.read(0, again.size)) == bytes(instance.read(0, instance.size))
        recount(path)
    with Spool(path) as spool:  # and not a third time
        assert spool.recover(no_route).readmitted == 0


def test_a_segment_is_on_the_disk_before_anything_is_written_to_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its old name is gone, then its header is new, and both are synced."""
    events: list[str] = []
    real_rename, real_fsync, real_sync, real_write = os.rename, os.fsync, _segment._sync, _segment._write

    def rename(src: str, dst: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if dst.endswith(".seg"):
            events.append("rename")
        real_rename(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode) and events:
            events.append("fsync of the directory")
        real_fsync(fd)

    def sync(fd: int) -> None:
        events.append("sync")
        real_sync(fd)

    def write(fd: int, buffers: list[bytes], position: int) -> None:
        events.append("header" if position == 0 else "write")
        real_write(fd, buffers, position)

    with Spool(path) as spool:
        monkeypatch.setattr(os, "rename", rename)
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(_segment, "_sync", sync)
        monkeypatch.setattr(_segment, "_write", write)
        admit(spool, "1.1", "pacs")
        monkeypatch.undo()
    assert events == ["rename", "header", "sync", "fsync of the directory", "write", "sync"]


# -- what is read ------------------------------------------------------------------------------------------------------


def test_a_disk_that_gives_less_than_was_asked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system gives what is before a bad sector, without a word."""
    with Spool(path) as spool:
        admit(spool, "1.1", "pacs", pixels=pixels_of("1.1"))
        (delivery,) = take(spool, "pacs")
        with spool.instance(delivery) as instance:
            whole = bytes(instance.read(0, instance.size))
            real = os.pread
            monkeypatch.setattr(os, "pread", lambda fd, n, offset: real(fd, min(n, 50_000), offset))
            assert bytes(instance.read(0, instance.size)) == whole
            assert b"".join(instance.chunks()) == whole
            monkeypatch.setattr(os, "pread", lambda fd, n, offset: real(fd, min(n, 50_000), offset)[: n // 2])
            monkeypatch.undo()
            (file,) = (
                each for each in segments(path) if any(int(each.stem, 16) == s for s, _ in in_log(path).values())
            )
            with open(file, "r+b") as opened:
                opened.truncate(100_000)
            for read in (
                lambda: instance.read(0, instance.size),
                lambda: list(instance.chunks()),
                lambda: instance.dataset,
            ):
                with pytest.raises(StoreError, match="cut short"):
                    read()


def test_who_reads_while_it_is_written_over_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Spool(path) as spool:
        fill_segments(spool, 2)
        delivery, *others = take(spool, "pacs")
        with spool.instance(delivery) as instance:
            real = os.pread

            def pread(fd: int, n: int, offset: int) -> bytes:
                monkeypatch.undo()
                # Between the opening of the file and its reading: all is through, and the file used again.
                settle(spool, [delivery, *others])
                fill_segments(spool, 8, "2")
                return real(fd, n, offset)

            monkeypatch.setattr(os, "pread", pread)
            with pytest.raises(StoreError):
                instance.read(0, instance.size)


# -- what is counted ---------------------------------------------------------------------------------------------------


def test_a_full_disk_while_it_is_tidied_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is tried again, each instance is taken off the books once."""
    with Spool(path) as spool:
        named = fill_segments(spool, 1)
        real, left = Queues._forget_entries, [3]

        def forget(self: Queues, names: object) -> None:
            left[0] -= 1
            if left[0] >= 0:
                raise SpoolFullError("the spool is full")
            real(self, names)  # type: ignore[arg-type]

        monkeypatch.setattr(Queues, "_forget_entries", forget)
        settle(spool, take(spool, "pacs", 2))
        spool.tidy()
        uses = spool._files.log.uses._uses
        assert [use.n for use in uses.values() if use.last] == [3]
        for uid in named[2:]:
            assert is_right(spool, uid)
        settle(spool, take(spool, "pacs"))
        assert sum(use.n for use in uses.values()) == 0
        recount(path)


def test_what_has_no_entry_yet_keeps_its_segment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch lies in two segments; the first is left, and all else in it is through, before the batch is recorded."""
    with Spool(path) as spool:
        before = fill_segments(spool, 1)[:4]
        settle(spool, take(spool, "pacs", 5))
        real = spool._intake._record

        def record(batch: list[object]) -> None:
            spool._files.log.recount({})  # the books know nothing of it
            real(batch)  # type: ignore[arg-type]

        monkeypatch.setattr(spool._intake, "_record", record)
        named = [f"2.{i}" for i in range(10)]
        outcomes = spool.admit_all([Arrived(make(uid, pixels=pixels_of(uid)), HERE, Route("pacs")) for uid in named])
        assert {getattr(outcome, "kind", outcome) for outcome in outcomes} == {Arrival.NEW}
        monkeypatch.undo()
        fill_segments(spool, 3, "3")
        for uid in named:
            assert is_right(spool, uid)
        assert before
        recount(path)


def test_a_visitor_writes_to_no_segment(path: Path) -> None:
    """It could be one that is used again meanwhile."""
    with Spool(path) as spool, Spool(path, exclusive=False) as visitor:
        fill_segments(spool, 2)
        before = {file: file.read_bytes() for file in segments(path)}
        assert visitor.drop(states=[QUEUED]) == 10
        assert {file: file.read_bytes() for file in segments(path)} == before
        spool.look_again()
        # The one that is written to as well: it is free as soon as it is left.
        assert {use.n for use in spool._files.log.uses._uses.values()} == {0}


def test_one_unreadable_segment_does_not_keep_the_past_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dcm.spool._queue._PRUNE_PAUSE", 0)
    caplog.set_level(logging.CRITICAL)
    with Spool(path) as spool:
        fill_segments(spool, 2)
    inode = segments(path)[0].stat().st_ino
    real = os.pread

    def pread(fd: int, n: int, offset: int) -> bytes:
        if os.fstat(fd).st_ino == inode and offset == _segment.BLOCK:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, n, offset)

    with Spool(path, remember=0) as spool:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", pread)
            assert spool.recover(no_route).unreadable == 1
        for round_ in range(10):
            fill_segments(spool, 1, str(round_ + 2))
            settle(spool, take(spool, "pacs"))
        assert len(list(spool.ls(states=[DELIVERED]))) < 30


# -- what is damaged ---------------------------------------------------------------------------------------------------


def test_one_that_cannot_be_read_stays_for_the_next_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Spool(path) as spool:
        fill_segments(spool, 1)
    lose_journal(path)
    with Spool(path) as spool:
        real = spool._files.reopen
        failed: list[object] = []

        def reopen(name: object) -> Instance:
            if not failed:
                failed.append(name)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(name)  # type: ignore[arg-type]

        monkeypatch.setattr(spool._files, "reopen", reopen)
        found = spool.recover(Route("pacs"))
        assert (found.readmitted, found.unreadable) == (4, 1)
        settle(spool, take(spool, "pacs"))
        fill_segments(spool, 3, "2")
        settle(spool, take(spool, "pacs"))
    with Spool(path) as spool:
        assert spool.recover(Route("pacs")).readmitted == 1
        assert uids_of(list(spool.ls())) == ["1.0"]
        assert is_right(spool, "1.0")


@pytest.mark.parametrize("what", ["header", "head", "data"])
def test_a_damaged_block_takes_no_more_with_it_than_it_must(
    path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And what is left is kept, for somebody who can make more of it."""
    with Spool(path) as spool:
        for i in range(5):
            admit(spool, f"1.{i}", "pacs", pixels=b"%d" % i * 20 * KIB)
    (file,) = segments(path)
    second = in_log(path)[2][1]
    with open(file, "r+b") as opened:
        opened.seek({"header": 3, "head": second // 4096 * 4096 + 20, "data": second + 5000}[what])
        opened.write(b"damaged")
    lose_journal(path)
    with Spool(path) as spool:
        found = spool.recover(Route("pacs"))
        assert (found.readmitted, found.unreadable) == (0 if what == "header" else 4, 1)
        assert file.name in caplog.text
        settle(spool, take(spool, "pacs"))
        fill_segments(spool, 3, "2")
        assert file.exists()
        assert b"damaged" in file.read_bytes()
        recount(path)


def test_a_segment_that_was_about_to_be_used_again_is_an_empty_one(path: Path) -> None:
    """The machine stopped between its new name and its new header."""
    with Spool(path) as spool:
        fill_segments(spool, 1)
        settle(spool, take(spool, "pacs"))
    (file,) = segments(path)
    file.rename(file.with_name(f"{99:012x}.seg"))
    lose_journal(path)
    with Spool(path) as spool:
        found = spool.recover(no_route)
        assert (found.readmitted, found.unreadable) == (0, 0)
        assert not (path / "log" / f"{99:012x}.seg").exists()
        assert admit(spool, "1.1", "pacs")


def test_numbers_of_segments_that_are_gone_never_come_again(path: Path) -> None:
    """What is left in the journal of one would else be found in another."""
    with Spool(path) as spool:
        fill_segments(spool, 3)
    for file in path.glob("log/*"):
        file.unlink()
    with Spool(path) as spool:
        fill_segments(spool, 3, "2")
        found = spool.recover(no_route)
        assert found.n_lost == 15
        recount(path)
        for delivery in take(spool, "pacs"):
            assert is_right(spool, delivery.sop_instance_uid)


def test_a_bad_sector_in_the_newest_segment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spool opens all the same, and no number comes twice."""
    with Spool(path) as spool:
        fill_segments(spool, 2)
        last = max(delivery.entry_id for delivery in spool.ls())
    inode = segments(path)[-1].stat().st_ino
    lose_journal(path)
    real = os.pread

    def pread(fd: int, n: int, offset: int) -> bytes:
        if os.fstat(fd).st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, n, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", pread)
        with Spool(path) as spool:
            assert admit(spool, "2", "pacs") > last
            found = spool.recover(Route("pacs"))
            assert (found.readmitted, found.unreadable) == (5, 1)
    with Spool(path) as spool:
        assert spool.recover(Route("pacs")).readmitted == 5


def test_recovery_reads_no_more_than_it_must(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has an entry need not be read to know that it is whole."""
    with Spool(path) as spool:
        for i in range(60):
            admit(spool, f"1.{i}", "pacs", pixels=b"%d" % i * 20 * KIB)
    n_read = [0]
    real = os.pread

    def pread(fd: int, n: int, offset: int) -> bytes:
        data = real(fd, n, offset)
        n_read[0] += len(data)
        return data

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", pread)
        with Spool(path) as spool:
            assert spool.recover(no_route).unreadable == 0
    assert n_read[0] < 5 * SEGMENT // 2  # of which the ends of segments that are not full are most


# -- segments that cannot be written -----------------------------------------------------------------------------------


def test_a_disk_that_takes_no_blocks_ends_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n_tried = [0]
    real = os.pwrite

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        if len(data) < SEGMENT:
            return real(fd, data, offset)
        n_tried[0] += 1
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        with Spool(path) as spool:
            assert admit(spool, "1.1", "pacs")
    assert 0 < n_tried[0] < 20


def test_a_file_that_the_disk_does_not_write_to_is_not_used_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Spool(path) as spool:
        admit(spool, "1", "pacs")
        bad = spool._files.log._current
        assert bad is not None
        real, fd_of_bad = _segment._sync, bad.fd

        def sync(fd: int) -> None:
            if fd == fd_of_bad and spool._files.log._current is bad:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(fd)

        monkeypatch.setattr(_segment, "_sync", sync)
        refused = 0
        for i in range(20):
            try:
                settle(spool, take(spool, "pacs"))
                admit(spool, f"2.{i}", "pacs")
            except SpoolError:
                refused += 1
        monkeypatch.undo()
        assert refused == 1
        assert f"{bad.number:012x}" not in {file.stem for file in path.glob("log/*")}


@pytest.mark.parametrize("size", [3, 1000, 8 << 10, 48 << 10])
def test_sizes_that_segments_do_not_have(path: Path, size: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Spool(path, segment_size=size)


def test_without_a_log_nothing_is_kept_of_it(path: Path) -> None:
    with Spool(path) as spool:
        fill_segments(spool, 3)
    with Spool(path, segment_size=0) as spool:
        spool.recover(no_route)
        settle(spool, take(spool, "pacs"))
    assert list((path / "log").iterdir()) == []


def test_no_thread_dies_of_a_disk_that_does_not_answer(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = threading.Event()

    def check(size: int) -> NoReturn:
        asked.set()
        raise SpoolError("cannot write: EIO")

    with Spool(path) as spool:
        admit(spool, "1", "pacs")
        pool = spool._files.log._pool
        assert pool is not None
        monkeypatch.setattr(pool, "_check_room", check)
        pool.drop(reserve=True)
        pool._wanted.set()
        assert asked.wait(20)
        monkeypatch.undo()
        pool._wanted.set()
        for _ in range(2000):
            if pool._spare:
                break
            threading.Event().wait(0.005)
        assert pool._spare
    assert "cannot make room" in caplog.text


# -- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.blocking_allowed("it works with the spool, too")
async def test_what_the_disk_has_damaged_is_not_delivered(path: Path, tmp_path: Path) -> None:
    """One bit is another one: that instance waits for a human, and the others go."""
    out = tmp_path / "out"
    with Spool(path) as spool:
        way = Way(LocalDir(out, out_fmt="{SOPInstanceUID}"))
        for uid in ("1.1", "1.2", "1.3"):
            spool.admit(make(uid, pixels=pixels_of(uid)), HERE, lambda _: [way.key])
        (number,) = [one.entry_id for one in spool.ls(uids=["1.2"])]
        segment, position = in_log(path)[number]
        file = path / "log" / f"{segment:012x}.seg"
        data = bytearray(file.read_bytes())
        data[position + 500] ^= 1
        file.write_bytes(data)
        courier = Courier(way, spool, Breaker())
        running = asyncio.create_task(courier.run())
        await courier.drained()
        await courier.stop(5)
        await asyncio.wait_for(asyncio.gather(running, return_exceptions=True), 5)
        assert {file.stem for file in out.iterdir()} == {"1.1", "1.3"}
        (left,) = spool.ls()
        assert (left.sop_instance_uid, left.state) == ("1.2", DeliveryState.QUARANTINED)
        assert re.search(r"seg is damaged: 1\.2 is not what was written", left.reason)
        # It is no repetition of what is here: sent once more, it is kept, and delivered.
        again = spool.admit(make("1.2", pixels=pixels_of("1.2")), HERE, lambda _: [way.key])
        assert again.kind is Arrival.CONFLICT
        (fresh,) = spool.ls(states=[DeliveryState.QUEUED])
        with spool.instance(fresh) as instance:
            assert bytes(instance.read(0, instance.size)).endswith(pixels_of("1.2"))


def ten_in_each_of_six_batches(path: Path) -> dict[str, int]:
    """Acknowledged, and the journal is lost: UIDs, and where each is in the one segment."""
    with Spool(path) as spool:
        for batch in range(6):
            arrived = [make(f"1.{batch}.{i}", pixels=b"pixels" * 500) for i in range(10)]
            spool.admit_all([Arrived(instance, HERE, Route("pacs")) for instance in arrived])
        numbers = {one.sop_instance_uid: one.entry_id for one in spool.ls()}
    places = in_log(path)
    lose_journal(path)
    return {uid: places[number][1] for uid, number in numbers.items()}


def bad_sector(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    real = os.pread

    def pread(fd: int, n: int, position: int) -> bytes:
        if position <= at < position + n:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, n, position)

    monkeypatch.setattr(os, "pread", pread)


@pytest.mark.parametrize("how", ["flip", "EIO"])
def test_a_bad_record_takes_no_other_with_it(path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    places = ten_in_each_of_six_batches(path)
    (segment,) = segments(path)
    if how == "flip":
        data = bytearray(segment.read_bytes())
        data[places["1.2.4"] + 400] ^= 4
        segment.write_bytes(data)
    else:
        bad_sector(monkeypatch, places["1.2.4"] + 400)
    for again in range(2):
        with Spool(path) as spool:
            found = spool.recover(Route("pacs"))
            assert (found.readmitted, found.unreadable) == (0 if again else 59, 1)
            assert {one.sop_instance_uid for one in spool.ls()} == places.keys() - {"1.2.4"}
    assert segment in segments(path)  # for somebody who can make more of it


def test_a_bad_head_takes_only_its_batch_with_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = ten_in_each_of_six_batches(path)
    (segment,) = segments(path)
    bad_sector(monkeypatch, places["1.2.0"] // 4096 * 4096)
    with Spool(path) as spool:
        found = spool.recover(Route("pacs"))
        assert (found.readmitted, found.unreadable) == (50, 1)
    assert segment in segments(path)


def test_what_was_not_written_to_the_end_is_removed(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the last batch of all, which was never acknowledged; what of it is whole is kept all the same."""
    places = ten_in_each_of_six_batches(path)
    (segment,) = segments(path)
    data = bytearray(segment.read_bytes())
    data[places["1.5.9"] + 400] ^= 4
    segment.write_bytes(data)
    with Spool(path) as spool:
        found = spool.recover(Route("pacs"))
        assert (found.readmitted, found.unreadable) == (59, 0)
        assert segment not in segments(path)
    assert "1 instance not written to the end when the last forwarder ended, and removed" in caplog.text


def test_a_segment_is_not_used_again_while_it_is_marked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark that comes late would be one in somebody else's instance."""
    needed: list[bool] = []
    real = _segment.mark_done

    def mark(fd: int, position: int) -> None:
        needed.append(log.uses.is_free(segment))
        real(fd, position)

    with Spool(path) as spool:
        log = spool._files.log
        fill_segments(spool, 2, "x")
        segment = min(segment for segment, _ in in_log(path).values())
        monkeypatch.setattr(_log, "mark_done", mark)
        settle(spool, take(spool, "pacs"))
    assert needed
    assert not any(needed)


# -- moving ------------------------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_in_the_middle_of_a_move(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Spool(path) as spool:
        refused = quarantine_some(spool, 20)
        real, left = spool._files.check_room, [3]

        def check(size: int) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise SpoolFullError("the spool is full")
            real(size)

        with monkeypatch.context() as patch:
            patch.setattr(spool._files, "check_room", check)
            assert spool._queues._mover.move_some(now=True) == 3
            assert spool._queues._mover.move_some(now=True) == 0
        assert len(files(path)) == 3
        assert spool._queues._mover.move_some(now=True) > 5
        recount(path)
        for uid in refused:
            assert is_right(spool, uid)


def test_one_that_cannot_be_read_keeps_no_other_from_moving(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Spool(path) as spool:
        refused = quarantine_some(spool, 20)
        real = spool._files.open

        def open_(name: object, *args: str) -> Instance:
            if args[1] == refused[0]:
                raise SpoolError("cannot be read")
            return real(name, *args)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(spool._files, "open", open_)
            n = spool._queues._mover.move_some(now=True)
        assert n > 5
        assert len(files(path)) == n
        for uid in refused:
            assert is_right(spool, uid)


def test_a_move_that_is_not_recorded_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is recorded is on the disk before the segment is used again."""
    with Spool(path) as spool:
        quarantine_some(spool, 20)
        with monkeypatch.context() as patch:
            patch.setattr("dcm.spool._moving._moved", lambda db, name: False)
            assert spool._queues._mover.move_some(now=True) == 0
        assert files(path) == []
        durable: list[bool] = []
        real = spool._journal.write  # type: ignore[union-attr]

        def write(*, durable_: list[bool] = durable, **kwargs: bool) -> object:
            durable_.append(kwargs["durable"])
            return real(**kwargs)

        monkeypatch.setattr(spool._journal, "write", write)
        assert spool._queues._mover.move_some(now=True) > 5
        assert durable == [True]


def test_a_move_holds_up_nobody_for_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcm.spool._moving._PAGE", 4)
    with Spool(path) as spool:
        refused = quarantine_some(spool, 20)
        moved = []
        while n := spool._queues._mover.move_some(now=True):
            moved.append(n)
        assert max(moved) == 4
        assert sum(moved) > 5
        for uid in refused:
            assert is_right(spool, uid)


def test_where_there_is_no_room_for_a_segment_senders_are_not_refused_yet(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each instance gets a file of its own, for as long as there is room for one."""
    with Spool(path) as spool:
        monkeypatch.setattr(_pool.Pool, "take", _full)
        outcomes = [admit(spool, f"1.{i}", "pacs") for i in range(3)]
        assert outcomes == [2, 4, 6]  # the numbers that were meant for the log are gone
        assert len(files(path)) == 3


def _full(self: object) -> NoReturn:
    raise SpoolFullError("no room for a segment")
