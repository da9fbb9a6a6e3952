"""Small instances share files, which are used again: nothing that is needed is ever written over."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from dcm.errors import SpoolError, StoreError
from dcm.instance import Instance
from dcm.spool import Arrival, DeliveryState, Origin, Settled, Spool, _pool, _segment, _spool
from dcm.spool._intake import Arrived
from tests.spool.conftest import SEGMENT
from tests.spool.support import (
    DELIVERED,
    HERE,
    LOST,
    QUEUED,
    Route,
    admit,
    files,
    fill_segments,
    held,
    in_log,
    pixels_of,
    quarantine_some,
    recount,
    segments,
    settle,
    take,
    uids,
)
from tests.store.instances import make

KIB = 1 << 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def no_route(instance: Instance) -> NoReturn:
    raise AssertionError("nothing has to be routed anew")


def data_of(spool: Spool, uid: str) -> bytes:
    """What a spool would deliver of an instance."""
    (delivery,) = spool.ls(uids=[uid])
    with spool.instance(delivery) as instance:
        return bytes(instance.read(0, instance.size))


# -- how it is written ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 200 * KIB])
def test_an_instance_comes_and_goes(path: Path, size: int) -> None:
    steps: list[str] = []
    with Spool(path, step=steps.append) as spool:
        instance = make("1.1", pixels=b"x" * size)
        admitted = spool.admit(instance, HERE, Route("pacs"))
        assert admitted.kind is Arrival.NEW
        assert steps == ["write", "fsync", "journal", "answer"]
        assert files(path) == []
        ((segment, position),) = in_log(path).values()
        expected = instance.meta_bytes() + bytes(instance.read(0, instance.size))
        assert (path / "log" / f"{segment:012x}.seg").read_bytes()[position:].startswith(expected)
        (delivery,) = take(spool, "pacs")
        with spool.instance(delivery) as again:
            assert again.path is None
            assert not again.in_memory
            assert again.size == instance.size
            assert bytes(again.read(0, again.size)) == bytes(instance.read(0, instance.size))
            assert bytes(again.read(5, 10)) == bytes(instance.read(5, 10))
            assert b"".join(again.chunks(7 * KIB)) == bytes(instance.read(0, instance.size))
            assert again.header.complete
            assert again.dataset.SOPInstanceUID == "1.1"
            assert again.source_ae == "SCANNER"
        steps.clear()
        settle(spool, [delivery])
        assert steps == ["settle", "unlink"]
        assert held(path) == []
        assert spool.counts().entries == 0


def test_those_that_come_together_are_one_batch(path: Path) -> None:
    steps: list[str] = []
    with Spool(path, step=steps.append) as spool:
        arrived = [Arrived(make(f"1.{i}"), Origin(f"CT{i}"), Route("pacs")) for i in range(10)]
        outcomes = spool.admit_all(arrived)
        assert [getattr(outcome, "kind", outcome) for outcome in outcomes] == [Arrival.NEW] * 10
        assert steps == ["write", "fsync", "journal", *["answer"] * 10]
        out = take(spool, "pacs")
        assert uids(out) == [f"1.{i}" for i in range(10)]
        assert [delivery.origin.calling_ae for delivery in out] == [f"CT{i}" for i in range(10)]
        recount(path)


def test_the_same_one_several_times_at_once(path: Path) -> None:
    with Spool(path) as spool:
        first, other = b"a" * 50, b"b" * 50
        arrived = [Arrived(make("1.1", pixels=pixels), HERE, Route("pacs")) for pixels in (first, other, first, other)]
        arrived.insert(2, Arrived(make("1.2"), HERE, Route()))
        outcomes = spool.admit_all(arrived)
        kinds = [getattr(outcome, "kind", outcome) for outcome in outcomes]
        assert kinds == [Arrival.NEW, Arrival.CONFLICT, Arrival.NEW, Arrival.REPEATED, Arrival.REPEATED]
        assert len(held(path)) == 2
        counts = spool.counts()
        assert (counts.received, counts.repeated, counts.conflicts, counts.nowhere) == (5, 2, 1, 1)
        recount(path)


def test_one_that_cannot_be_kept_keeps_nobody_out(path: Path) -> None:
    class BrokenError(Exception):
        pass

    def broken(instance: Instance) -> NoReturn:
        raise BrokenError

    def unreadable(offset: int, n: int) -> NoReturn:
        raise StoreError("cannot be read")

    with Spool(path) as spool:
        bad = make("1.2")
        bad = Instance.from_reader(bad.sop_class_uid, "1.2", bad.transfer_syntax_uid, bad.size, unreadable)
        outcomes = spool.admit_all(
            [
                Arrived(make("1.1"), HERE, broken),
                Arrived(bad, HERE, lambda _: ["pacs"]),
                Arrived(make("1.3"), HERE, Route("pacs")),
            ]
        )
        assert isinstance(outcomes[0], BrokenError)
        assert isinstance(outcomes[1], StoreError)
        assert getattr(outcomes[2], "kind", None) is Arrival.NEW
        assert uids(take(spool, "pacs")) == ["1.3"]
        assert spool.counts().received == 1
        recount(path)


def test_a_large_one_has_a_file_of_its_own(path: Path) -> None:
    with Spool(path) as spool:
        admit(spool, "1.1", "pacs", pixels=b"x" * (SEGMENT // 4))
        assert len(files(path)) == 1
        assert in_log(path) == {}
        admit(spool, "1.2", "pacs")
        assert held(path) == [1, 2]
        assert uids(take(spool, "pacs")) == ["1.1", "1.2"]
        recount(path)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("at", ["pwritev", "_sync"])
def test_a_disk_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch, at: str, number: int) -> None:
    """What was written is not known then: nothing is written behind it, and nobody is told that it is there."""

    def fail(*args: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    with Spool(path) as spool:
        admit(spool, "1.1", "pacs")
        before = in_log(path)
        with monkeypatch.context() as patch:
            patch.setattr(*((os, at, fail) if at == "pwritev" else (_segment, at, fail)))
            outcomes = spool.admit_all([Arrived(make(uid), HERE, Route("pacs")) for uid in ("1.2", "1.3")])
        if number == errno.ENOSPC:  # a file system that copies on write: there is room for a file perhaps
            assert [getattr(outcome, "kind", outcome) for outcome in outcomes] == [Arrival.NEW] * 2
            assert len(files(path)) == 2
        else:
            assert all(isinstance(outcome, SpoolError) for outcome in outcomes)
            assert outcomes[0] is not outcomes[1]
            assert held(path) == [1]
        assert admit(spool, "1.2", "pacs", pixels=b"others")
        after = in_log(path)
        assert {segment for segment, _ in after.values()} > {segment for segment, _ in before.values()}
        recount(path)
    with Spool(path) as spool:
        assert spool.recover(no_route if at == "pwritev" else Route("pacs")).n_lost == 0
        assert {"1.1", "1.2"} <= set(uids(list(spool.ls())))


def test_a_journal_that_fails_takes_the_instance_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Spool(path) as spool:
        for i in range(3):
            with monkeypatch.context() as patch:
                patch.setattr("dcm.spool._intake.record", _refuse)
                with pytest.raises(SpoolError, match="not now"):
                    admit(spool, f"1.{i}", "pacs")
        assert held(path) == []
        assert len(in_log(path)) == 3
        admit(spool, "2", "pacs")
    with Spool(path) as spool:
        # Its sender was told that it was not kept: it does not come up again.
        assert spool.recover(no_route).readmitted == 0
        assert uids(list(spool.ls())) == ["2"]


def _refuse(*args: object) -> NoReturn:
    raise SpoolError("not now")


# -- segments are used again ---------------------------------------------------------------------------------------


def test_segments_are_used_again(path: Path) -> None:
    with Spool(path) as spool:
        for round_ in range(8):
            named = fill_segments(spool, 3, str(round_))
            for uid in named:
                assert uid.encode() in data_of(spool, uid)
            settle(spool, take(spool, "pacs"))
            # One that is written to, one that comes next, a few that are spare, and none for each round.
            assert len(segments(path)) + len(segments(path, "spare")) <= 8
            recount(path)
        used = {segment for segment, _ in in_log(path).values()}
        assert max(used) > 20
    sizes = {file.stat().st_size for file in [*segments(path), *segments(path, "spare")]}
    assert sizes == {SEGMENT}
    with Spool(path) as spool:
        assert spool.recover(no_route).readmitted == 0
        assert list(spool.ls()) == []
        assert admit(spool, "9", "pacs") == 8 * 15 + 1


def test_what_is_needed_is_never_written_over(path: Path) -> None:
    with Spool(path) as spool:
        kept: list[str] = []
        for round_ in range(10):
            named = fill_segments(spool, 2, str(round_))
            kept.append(named[round_ % len(named)])
            settle(spool, [d for d in take(spool, "pacs") if d.sop_instance_uid not in kept])
            spool.give_back(spool.ls())
            for uid in kept:
                assert data_of(spool, uid).endswith(pixels_of(uid))
        assert sorted(uids(list(spool.ls()))) == sorted(kept)
        recount(path)


def test_who_reads_what_was_written_over_is_told(path: Path) -> None:
    with Spool(path) as spool:
        fill_segments(spool, 1)
        out = take(spool, "pacs")
        instances = [spool.instance(delivery) for delivery in out]
        settle(spool, out)
        fill_segments(spool, 8, "2")
        settle(spool, take(spool, "pacs"))
        fill_segments(spool, 8, "3")
        for instance in instances:
            with pytest.raises(StoreError):
                instance.read(0, 10)
            with pytest.raises(StoreError):
                list(instance.chunks())


def test_what_a_visitor_drops_makes_room(path: Path) -> None:
    with Spool(path) as spool, Spool(path, exclusive=False) as visitor:
        fill_segments(spool, 3)
        n = len(segments(path))
        assert visitor.drop(states=[QUEUED]) == 15
        assert len(segments(path)) == n  # a visitor uses nothing again
        spool.look_again()
        assert len(segments(path)) <= 2
        admit(spool, "2", "pacs")
        assert uids(take(spool, "pacs")) == ["2"]
        recount(path)


def test_a_segment_that_was_miscounted_is_not_used_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Spool(path) as spool:
        named = fill_segments(spool, 3)
        for use in spool._files.log.uses._uses.values():
            use.n = 1
        settle(spool, take(spool, "pacs", 1))
        assert "needed still" in caplog.text
        for uid in named[1:]:
            assert uid.encode() in data_of(spool, uid)


@pytest.mark.parametrize("remember", [0.0, 1000.0])
def test_what_is_through_is_remembered_while_it_is_there(
    path: Path, monkeypatch: pytest.MonkeyPatch, remember: float
) -> None:
    """Else it would be taken for something that nobody has delivered yet, when the spool is opened again."""
    monkeypatch.setattr("dcm.spool._queue._PRUNE_PAUSE", 0)
    with Spool(path, remember=remember) as spool:
        named = fill_segments(spool, 2)
        settle(spool, take(spool, "pacs")[1:])
        _forget_marks(path)
    with Spool(path, remember=remember) as spool:
        assert spool.recover(no_route).readmitted == 0
        assert uids(list(spool.ls())) == [named[0]]
        settle(spool, take(spool, "pacs"))
        for round_ in range(4):
            fill_segments(spool, 2, str(round_ + 2))
            settle(spool, take(spool, "pacs"))
        if not remember:
            past = list(spool.ls(states=[DELIVERED]))
            assert set(named).isdisjoint(uids(past))  # it is not there any more


def _forget_marks(path: Path) -> None:
    for file in segments(path):
        file.write_bytes(file.read_bytes().replace(b"is done\n", bytes(8)))


# -- what little is needed moves -----------------------------------------------------------------------------------


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcm.spool._moving._PAUSE", 0)


@pytest.mark.usefixtures("no_pause")
def test_what_waits_does_not_keep_a_segment_each(path: Path) -> None:
    with Spool(path) as spool:
        refused = quarantine_some(spool, 30)
        assert len(segments(path)) < 12
        assert len(files(path)) > 15
        recount(path)
        assert spool.counts().adds_up
        for uid in refused:
            assert data_of(spool, uid).endswith(pixels_of(uid))
    with Spool(path) as spool:
        found = spool.recover(no_route)
        assert (found.readmitted, found.removed, found.n_lost) == (0, 0, 0)
        assert spool.retry() == 30
        out = take(spool, "pacs")
        assert uids(out) == refused
        # The same again is known, wherever it is.
        assert spool.admit(make("9"), HERE, Route("pacs")).kind is Arrival.NEW
        uid = refused[0]
        again = spool.admit(make(uid, pixels=pixels_of(uid)), HERE, Route("pacs"))
        assert (again.kind, again.n_deliveries) == (Arrival.REPEATED, 0)
        settle(spool, out)
        assert files(path) == []


def test_one_that_moves_while_it_is_delivered(path: Path) -> None:
    with Spool(path) as spool:
        refused = quarantine_some(spool, 20)
        spool.retry()
        out = take(spool, "pacs")
        assert spool._queues._mover.move_some(now=True) > 5
        # Known before it moved, opened after that.
        for delivery, uid in zip(out, refused, strict=True):
            with spool.instance(delivery) as instance:
                assert uid.encode() in bytes(instance.read(0, instance.size))
        settle(spool, out)
        assert held(path) == []


@pytest.mark.parametrize("at", ["link", "journal"])
def test_a_crash_while_it_moves(path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    class CrashError(BaseException):
        pass

    def crash(*args: object) -> NoReturn:
        raise CrashError

    with Spool(path) as spool:
        refused = quarantine_some(spool, 20)
        with monkeypatch.context() as patch:
            patch.setattr(spool._queues._mover, "_drop", lambda name: None)  # as a crash leaves it
            if at == "link":
                patch.setattr(spool._files, "sync", crash)
            else:
                patch.setattr("dcm.spool._moving._moved", crash)
            with pytest.raises(CrashError):
                spool._queues._mover.move_some(now=True)
        assert files(path) != []
    with Spool(path) as spool:
        found = spool.recover(no_route)
        assert found.removed > 0
        assert (found.readmitted, found.n_lost) == (0, 0)
        assert files(path) == []
        assert sorted(uids(list(spool.ls()))) == sorted(refused)
        recount(path)
        assert spool._queues._mover.move_some(now=True) > 5
        recount(path)
        for uid in refused:
            assert uid.encode() in data_of(spool, uid)


def test_there_is_no_room_to_move(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Spool(path) as spool:
        refused = quarantine_some(spool, 20)
        monkeypatch.setattr(spool._files, "min_free", 1 << 60)
        assert spool._queues._mover.move_some(now=True) == 0
        assert "cannot tidy up" in caplog.text
        assert files(path) == []
        for uid in refused:
            assert uid.encode() in data_of(spool, uid)
        recount(path)


# -- after a crash, or worse ---------------------------------------------------------------------------------------


def test_what_has_no_entry_is_routed_and_delivered(path: Path) -> None:
    class PowerCutError(BaseException):
        pass

    def step(name: str) -> None:
        if name == "journal":
            raise PowerCutError

    with Spool(path, step=step) as spool:
        spool._intake._take_back = lambda candidate: None  # type: ignore[method-assign]
        ids = make("1.1")
        instance = Instance.from_buffer(
            *(ids.sop_class_uid, "1.1", ids.transfer_syntax_uid, bytes(ids.read(0, ids.size)), "CT1")
        )
        with pytest.raises(PowerCutError):
            spool.admit(instance, HERE, Route("pacs"))
    assert len(in_log(path)) == 1
    with Spool(path) as spool:
        admit(spool, "1.2", "pacs")  # may come before
        found = spool.recover(Route("archive"))
        assert (found.readmitted, found.removed, found.n_lost, found.unreadable) == (1, 0, 0, 0)
        (delivery,) = take(spool, "archive")
        assert delivery.origin == Origin(calling_ae="CT1")
        with spool.instance(delivery) as again:
            assert again.header.complete
        assert spool.admit(make("1.1"), HERE, Route("archive")).kind is Arrival.REPEATED
        recount(path)
        settle(spool, [delivery])
        settle(spool, take(spool, "pacs"))
        assert held(path) == []


def test_segments_that_are_gone_are_lost_and_named(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Spool(path) as spool:
        named = fill_segments(spool, 3)
    first = segments(path)[0]
    gone = [number for number, (segment, _) in in_log(path).items() if segment == int(first.stem, 16)]
    first.unlink()
    for spare in segments(path, "spare"):
        spare.unlink()
    with Spool(path) as spool:
        fill_segments(spool, 2, "new")  # none of them gets the number of the one that is gone
        found = spool.recover(no_route)
        assert found.n_lost == len(gone) == 5
        assert set(found.lost) == set(named[:5])
        assert named[0] in caplog.text
        assert spool.counts().ways["pacs"][LOST] == 5
        assert spool.counts().adds_up
        recount(path)
        for uid in named[5:]:
            assert uid.encode() in data_of(spool, uid)
        assert spool.recover(no_route).n_lost == 0


def test_what_is_cut_is_not_delivered(path: Path) -> None:
    with Spool(path) as spool:
        admit(spool, "1.1", "pacs", pixels=b"x" * 100 * KIB)
    (file,) = list(segments(path))
    with open(file, "r+b") as opened:
        opened.truncate(50 * KIB)
    with Spool(path) as spool:
        spool.recover(no_route)
        (delivery,) = take(spool, "pacs")
        with pytest.raises(SpoolError, match="bytes instead of"):
            spool.instance(delivery)


def test_a_journal_that_is_lost_brings_back_what_is_needed(path: Path) -> None:
    with Spool(path) as spool:
        named = fill_segments(spool, 3)
        settle(spool, take(spool, "pacs", 7))
    (path / "journal.sqlite").write_text("nothing")
    route = Route("pacs", "archive")
    with Spool(path) as spool:
        found = spool.recover(route)
        assert (found.readmitted, found.n_lost) == (8, 0)
        assert uids(take(spool, "archive")) == named[7:]
        recount(path)


def test_a_segment_that_cannot_be_read_keeps_nobody_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Spool(path) as spool:
        fill_segments(spool, 3)
    with Spool(path) as spool:
        real = os.pread

        def pread(fd: int, n: int, offset: int) -> bytes:
            if offset == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(fd, n, offset)

        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", pread)
            found = spool.recover(no_route)
        assert found.unreadable == 3
        settle(spool, take(spool, "pacs"))
        # Nobody knows what else is in them: they stay.
        assert len(segments(path)) >= 3
        assert spool.recover(no_route).unreadable == 0
        assert len(segments(path)) <= 2


def test_without_a_log_what_is_in_one_is_delivered(path: Path) -> None:
    with Spool(path) as spool:
        named = fill_segments(spool, 2)
    with Spool(path, segment_size=0) as spool:
        spool.recover(no_route)
        admit(spool, "2", "pacs")
        assert len(files(path)) == 1
        out = take(spool, "pacs")
        assert uids(out) == [*named, "2"]
        settle(spool, out)
        assert held(path) == []


def test_another_size_of_segments(path: Path) -> None:
    with Spool(path) as spool:
        fill_segments(spool, 3)
        settle(spool, take(spool, "pacs"))
    with Spool(path, segment_size=SEGMENT // 4) as spool:
        spool.recover(no_route)
        for i in range(40):
            admit(spool, f"2.{i}", "pacs", pixels=b"%d" % i * 10_000)
        assert {file.stat().st_size for file in segments(path)} == {SEGMENT // 4}
        for i in range(40):
            assert (b"%d" % i * 10_000) in data_of(spool, f"2.{i}")


# -- segments that are ready ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("total", "size"),
    [(1 << 20, 256 * KIB), (256 << 20, 1 << 20), (4 << 30, 16 << 20), (8 << 30, 32 << 20), (1 << 50, 32 << 20)],
)
def test_segments_suit_the_disk(total: int, size: int) -> None:
    assert _pool.segment_size(total) == size


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it does not happen")


def test_some_are_ready_before_anything_comes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled: list[bool] = []
    real = _segment.fill

    def fill(fd: int, size: int, *, written: bool) -> None:
        real(fd, size, written=written)
        filled.append(written)

    monkeypatch.setattr(_pool, "fill", fill)
    with Spool(path) as spool:
        pool = spool._files.log._pool
        assert pool is not None
        n = min(8, pool._most)
        wait_for(lambda: len(pool._spare) == n)
        assert [file.stat().st_blocks * 512 >= SEGMENT for file in segments(path, "spare")] == [True] * n
        admit(spool, "1", "pacs")
        pool.drop()
        pool._wanted.set()
        wait_for(lambda: len(pool._spare) == 2)  # one that is kept for the journal, and the next one
    assert filled == [True] * n + [False]  # not with zeros while something comes
    assert len(segments(path)) == 1
    assert len(segments(path, "spare")) == 2


def test_what_is_spare_is_not_in_the_way_of_a_large_instance(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is less room than one could take that is written while it comes; there is enough to begin."""
    with Spool(path) as spool:
        pool = spool._files.log._pool
        assert pool is not None
        wait_for(lambda: len(pool._spare) == min(8, pool._most))
        monkeypatch.setattr(_spool, "_LARGE", 0)
        spool.new_temp().discard()
        assert segments(path, "spare")
        monkeypatch.setattr(_spool, "_LARGE", 1 << 60)
        spool.new_temp().discard()
        assert segments(path, "spare") == []


def test_where_none_can_be_made_there_are_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, size: int, *, written: bool) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_pool, "fill", full)
    with Spool(path) as spool:
        outcomes = spool.admit_all([Arrived(make(f"1.{i}"), HERE, Route("pacs")) for i in range(3)])
        assert [getattr(outcome, "kind", outcome) for outcome in outcomes] == [Arrival.NEW] * 3
        assert len(files(path)) == 3
        assert [*segments(path), *segments(path, "spare")] == []
        monkeypatch.undo()


def test_by_many_threads_at_once(path: Path) -> None:
    """Those who bring, and those who deliver, at the same time: every byte is right, and all adds up."""
    errors: list[BaseException] = []
    brought = threading.Event()
    n_threads, n_each = 4, 60

    def bring(thread: int) -> None:
        for i in range(n_each):
            uid = f"1.{thread}.{i}"
            admit(spool, uid, "pacs", pixels=uid.encode() * (1000 * (i % 20) + 5))

    def deliver() -> None:
        while True:
            last = brought.is_set()
            out = take(spool, "pacs", 7)
            for delivery in out:
                with spool.instance(delivery) as instance:
                    uid = delivery.sop_instance_uid
                    assert uid.encode() * 5 in bytes(instance.read(0, instance.size))
            spool.settle(Settled(delivery.id, DeliveryState.DELIVERED) for delivery in out)
            if last and not out:
                return

    def guarded(do: Callable[..., None], *args: int) -> None:
        try:
            do(*args)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            errors.append(error)

    with Spool(path) as spool:
        bringing = [threading.Thread(target=guarded, args=(bring, i)) for i in range(n_threads)]
        delivering = threading.Thread(target=guarded, args=(deliver,))
        for thread in [*bringing, delivering]:
            thread.start()
        for thread in bringing:
            thread.join()
        brought.set()
        delivering.join()
        assert errors == []
        counts = spool.counts()
        assert counts.adds_up
        assert counts.ways["pacs"][DELIVERED] == counts.received == n_threads * n_each
        recount(path)
    shutil.rmtree(path)
