"""A spool on a disk that fills: it says so, loses nothing, and goes on when there is room again."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from dcm.errors import SpoolError, SpoolFullError
from dcm.spool import Arrival, Spool
from tests.spool.support import DELIVERED, HERE, Route, admit, held, recount, settle, take, uids
from tests.store.instances import make

KIB = 1 << 10
DISK = 2048 * KIB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(path)], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a file system needs the right to do so")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(spool: Spool, size: int, prefix: str = "1") -> list[str]:
    """Bring instances in until the spool says that it is full; gives those that it took."""
    taken: list[str] = []
    while len(taken) < 1000:
        uid = f"{prefix}.{len(taken)}"
        try:
            admit(spool, uid, "pacs", pixels=os.urandom(size))
        except SpoolFullError:
            return taken
        taken.append(uid)
    raise AssertionError("it never was full")


def fill_up(disk: Path) -> None:
    """Leave no room at all."""
    with open(disk / "ballast", "ab", buffering=0) as ballast, pytest.raises(OSError, match="No space"):
        ballast.writelines(bytes(4 * KIB) for _ in range(1000))


@pytest.mark.parametrize("segment_size", [0, 64 * KIB], indirect=True)
@pytest.mark.parametrize("size", [8 * KIB, 300 * KIB, 100])
def test_a_disk_that_fills_and_empties(disk: Path, size: int) -> None:
    with Spool(disk / "spool", min_free=0) as spool:
        waiting = fill(spool, size)
        assert len(waiting) > 3
        recount(spool.path)
        for round_ in range(3):  # it is full, and delivers; then there is room again
            out = take(spool, "pacs", 3)
            assert uids(out) == waiting[:3]
            settle(spool, out)
            assert spool.counts().ways["pacs"][DELIVERED] == 3 * (round_ + 1)
            waiting = waiting[3:] + fill(spool, size, f"2.{round_}")
            recount(spool.path)
        assert spool.counts().adds_up
    with Spool(disk / "spool", min_free=0) as spool:
        found = spool.recover(Route("pacs"))
        assert (found.readmitted, found.n_lost, found.rebuilt) == (0, 0, "")
        while out := take(spool, "pacs"):
            assert uids(out) == waiting[: len(out)]
            waiting = waiting[len(out) :]
            settle(spool, out)
        assert waiting == []
        assert held(spool.path) == []
        assert spool.counts().adds_up


@pytest.mark.parametrize("segment_size", [0, 64 * KIB], indirect=True)
def test_the_reserve_is_left_to_what_is_delivered(disk: Path) -> None:
    with Spool(disk / "spool", min_free=512 * KIB) as spool:
        waiting = fill(spool, 20 * KIB)
        free = os.statvfs(disk)
        assert free.f_bavail * free.f_frsize > 400 * KIB
        while out := take(spool, "pacs", 1):
            settle(spool, out)
            waiting = waiting[1:]
        assert waiting == []
        admit(spool, "9", "pacs", pixels=bytes(20 * KIB))


@pytest.mark.parametrize("segment_size", [0, 64 * KIB], indirect=True)
def test_others_fill_the_disk_to_the_last_byte(disk: Path) -> None:
    with Spool(disk / "spool", min_free=0) as spool:
        kept = [f"1.{i}" for i in range(4)]
        for uid in kept:
            admit(spool, uid, "pacs", pixels=bytes(4 * KIB))
        fill_up(disk)
        kept += fill(spool, 40 * KIB, "4")  # what the log has in store goes first
        fill_up(disk)
        for i in range(5):
            with pytest.raises(SpoolFullError, match="full") as caught:
                admit(spool, f"2.{i}", "pacs", pixels=bytes(40 * KIB))
            assert "make room" in caught.value.hint
            with pytest.raises((SpoolError, OSError)):
                spool.new_temp().write(bytes(4 * KIB))
        # Deliveries can be recorded or not, as it happens to be; what could not is not given to anybody else.
        out = take(spool, "pacs")
        try:
            settle(spool, out)
        except SpoolFullError:
            assert take(spool, "pacs") == []
            (disk / "ballast").unlink()
            settle(spool, out)
        (disk / "ballast").unlink(missing_ok=True)
        spool.tidy()
        assert uids(out) == kept
        assert held(spool.path) == []
        admit(spool, "3", "pacs", pixels=bytes(40 * KIB))
        recount(spool.path)


@pytest.mark.own_files
def test_threads_that_share_a_commit_all_learn_that_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(4)
    errors: list[BaseException] = []

    with Spool(tmp_path / "spool") as spool:

        def fail(placed: object) -> NoReturn:
            raise SpoolFullError("the spool is full")

        monkeypatch.setattr(spool._files, "sync", fail)

        def bring(uid: str) -> None:
            together.wait()
            try:
                admit(spool, uid, "pacs")
            except SpoolFullError as error:
                errors.append(error)

        threads = [threading.Thread(target=bring, args=(f"1.{i}",)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(error) for error in errors}) == 4
        assert held(spool.path) == []
        assert spool.counts().received == 0
        monkeypatch.undo()
        admit(spool, "1.1", "pacs")
        recount(spool.path)


@pytest.mark.own_files
@pytest.mark.parametrize("name", ["fsync", "link", "writev", "mkdir", "open"])
@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, SpoolFullError), (errno.EDQUOT, SpoolFullError), (errno.EIO, SpoolError)])  # fmt: skip  # noqa: E501
def test_a_call_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int, kind: type[SpoolError]
) -> None:
    def fail(*args: object, **kwargs: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    with Spool(tmp_path / "spool") as spool:
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(SpoolError) as caught:
                admit(spool, "1.1", "pacs")
            assert type(caught.value) is kind
        assert held(spool.path) == []
        entry = spool.admit(make("1.1"), HERE, Route("pacs"))
        assert entry.kind is Arrival.NEW
        assert uids(take(spool, "pacs")) == ["1.1"]
        recount(spool.path)
