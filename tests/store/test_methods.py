"""Files that get into a directory as they are: copied, moved, linked, and what must not happen to them."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dcm._atomic import TempFile
from dcm.errors import ConflictError, StoreError, UnsafePathError
from dcm.instance import Instance
from dcm.report import Outcome, TransferReport
from dcm.store import TransferMethod, _methods
from dcm.store._methods import METHODS, placing_for
from dcm.store._placing import Conflict, Named, Placing, Stored
from dcm.store.local_dir import LocalDir
from dcm.store.memory import MemoryStore
from tests import data
from tests.store.instances import data_set_of, encode, files, make, write_file

FLAT = "{PatientID}/{SOPInstanceUID}"
NAME = "Vamp001/1.2.3.4.dcm"
COPY, MOVE = TransferMethod.LOCAL_COPY, TransferMethod.MOVE
LINK, SYMLINK = TransferMethod.LINK, TransferMethod.SYMLINK
ALL = sorted(METHODS, key=lambda method: method.value)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_file(tmp_path / "in" / "a file")


@pytest.fixture
def dest(tmp_path: Path) -> LocalDir:
    return LocalDir(tmp_path / "out", out_fmt=FLAT)


def store(dest: LocalDir, path: Path, method: TransferMethod) -> Stored:
    with Instance.from_file(path) as instance:
        return dest.store(instance, method)


# -- each way, in the usual case


@pytest.mark.parametrize("method", ALL)
def test_the_whole_file_gets_there(method: TransferMethod, source: Path, dest: LocalDir) -> None:
    whole, inode = source.read_bytes(), source.stat().st_ino
    assert store(dest, source, method) == (dest.path / NAME, Outcome.SENT, "")
    there = dest.path / NAME
    assert there.read_bytes() == whole  # with the file meta information of its maker
    assert files(dest.path) == ["Vamp001/", NAME]
    assert source.exists() == (method is not MOVE)
    assert there.is_symlink() == (method is SYMLINK)
    assert (there.stat().st_ino == inode) == (method is not COPY)


@pytest.fixture
def umask_027() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask_027")
@pytest.mark.parametrize("pixels", [b"pixels", bytes(200_000)])
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444, 0o4755])
@pytest.mark.parametrize("way", ["at once", "beside", "in place of"])
def test_a_copy_has_no_more_permissions_than_its_file(way: str, mode: int, pixels: bytes, tmp_path: Path) -> None:
    """As with cp(1), whatever the way that it takes."""
    source = write_file(tmp_path / "in" / "a", pixels=pixels)
    source.chmod(mode)
    conflict = Conflict.REPLACE if way == "in place of" else Conflict.RENAME
    dest = LocalDir(tmp_path / "out", out_fmt=FLAT, conflict=conflict)
    if way != "at once":
        write_file(dest.path / NAME, pixels=b"others")
    with Instance.from_file(source) as instance:
        if len(pixels) < 1000:
            instance.whole_file = source.read_bytes()  # as when it was sorted
        (done,) = dest.store_each([(dest.parts_of(instance), instance)], COPY)
    assert isinstance(done, Named)
    there = dest.path.joinpath(NAME).parent / done.name
    assert there.read_bytes() == source.read_bytes()
    assert stat.S_IMODE(there.stat().st_mode) == mode & 0o750


@pytest.mark.parametrize("conflict", [Conflict.RENAME, Conflict.REPLACE])
def test_a_file_that_is_moved_to_another_device_looks_as_before(
    conflict: Conflict, source: Path, other_device: Path
) -> None:
    dest = LocalDir(other_device / "out", out_fmt=FLAT, conflict=conflict)
    write_file(dest.path / NAME, pixels=b"others") if conflict is Conflict.REPLACE else None
    os.utime(source, ns=(10**18, 10**18 + 5))
    source.chmod(0o606)
    if os.geteuid() == 0:
        os.chown(source, 12, 34)
    before = source.stat()
    store(dest, source, MOVE)
    assert not source.exists()
    after = (dest.path / NAME).stat()
    for name in ("st_mode", "st_mtime_ns", "st_uid", "st_gid"):
        assert getattr(after, name) == getattr(before, name)


def test_what_a_link_points_to_is_copied_like_any_other_file(source: Path, dest: LocalDir) -> None:
    """When it is moved, it is the link that goes."""
    source.chmod(0o600)
    os.utime(source, ns=(10**18, 10**18))
    link = source.with_name("link")
    link.symlink_to(source)
    store(dest, link, MOVE)
    after = (dest.path / NAME).stat()
    assert (stat.S_IMODE(after.st_mode), after.st_mtime_ns != 10**18) == (0o600, True)


@pytest.mark.parametrize("method", ALL)
def test_a_second_time_it_is_there(method: TransferMethod, source: Path, dest: LocalDir) -> None:
    whole = source.read_bytes()
    store(dest, source, method)
    source.write_bytes(whole) if method is MOVE else None
    assert store(dest, source, method) == (dest.path / NAME, Outcome.PRESENT, "")
    assert source.exists() == (method is not MOVE)
    assert (dest.path / NAME).read_bytes() == whole


@pytest.mark.parametrize("method", ALL)
def test_the_data_set_decides_what_is_the_same(method: TransferMethod, source: Path, dest: LocalDir) -> None:
    """Another preamble and another file meta header do not make it another instance."""
    dest.store(make())
    before = (dest.path / NAME).read_bytes()
    assert store(dest, source, method).outcome is Outcome.PRESENT
    assert (dest.path / NAME).read_bytes() == before != source_or_none(source)
    assert source.exists() == (method is not MOVE)


def source_or_none(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


@pytest.mark.parametrize("method", ALL)
def test_other_bytes_are_kept_beside(method: TransferMethod, tmp_path: Path, dest: LocalDir) -> None:
    dest.store(make())
    path = write_file(tmp_path / "in" / "x", pixels=b"others")
    for _ in range(2):
        stored = store(dest, path, method)
        assert stored.outcome is Outcome.CONFLICT
        assert stored.path.name.startswith("1.2.3.4~")
        assert data_set_of(stored.path) == encode(pixels=b"others")
        write_file(path, pixels=b"others") if method is MOVE else None
    assert data_set_of(dest.path / NAME) == encode()
    assert len(files(dest.path)) == 3


@pytest.mark.parametrize("method", ALL)
def test_replaced_where_that_is_asked_for(method: TransferMethod, tmp_path: Path) -> None:
    dest = LocalDir(tmp_path / "out", out_fmt=FLAT, force_overwrite=True)
    dest.store(make())
    stored = store(dest, write_file(tmp_path / "in" / "x", pixels=b"others"), method)
    assert (stored.path, stored.outcome) == (dest.path / NAME, Outcome.SENT)
    assert data_set_of(stored.path) == encode(pixels=b"others")
    assert files(dest.path) == ["Vamp001/", NAME]


@pytest.mark.parametrize("method", ALL)
def test_what_is_no_file_is_written(method: TransferMethod, dest: LocalDir) -> None:
    assert placing_for(method, make()) is Placing
    assert dest.store(make(), method).outcome is Outcome.SENT
    assert data_set_of(dest.path / NAME) == encode()


@pytest.mark.parametrize("method", ALL)
def test_data_that_is_held_already_is_not_written_twice(method: TransferMethod, source: Path, dest: LocalDir) -> None:
    """A small file that was read whole still is a file that can be linked."""
    with Instance.from_file(source) as one:
        uids = one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid
        held = Instance.from_buffer(*uids, one.read(0, one.size), path=source, mark=one.mark)
    dest.store(held, method)
    assert (dest.path / NAME).is_symlink() == (method is SYMLINK)
    assert source.exists() == (method is not MOVE)


# -- the source changes, or is not what it seems


@pytest.mark.parametrize("method", ALL)
def test_a_file_that_has_changed_fails(method: TransferMethod, source: Path, dest: LocalDir) -> None:
    instance = Instance.from_file(source)
    source.write_bytes(source.read_bytes() + b"more")
    with pytest.raises(StoreError, match="has changed since it was looked at"):
        dest.store(instance, method)
    assert source.exists()
    assert files(dest.path) == []


@pytest.mark.parametrize("method", ALL)
def test_a_file_that_has_vanished_fails(method: TransferMethod, source: Path, dest: LocalDir) -> None:
    instance = Instance.from_file(source)
    source.unlink()
    with pytest.raises(StoreError, match="cannot read"):
        dest.store(instance, method)
    assert files(dest.path) == []


@pytest.mark.parametrize("method", [COPY, LINK, MOVE])
def test_a_file_that_changes_meanwhile_is_not_left_there(
    method: TransferMethod, source: Path, dest: LocalDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = Instance.from_file(source)

    def changing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            os.utime(source, ns=(1, 1))
            return result

        return call

    monkeypatch.setattr(_methods, "_copy", changing(_methods._copy))
    monkeypatch.setattr(os, "link", changing(os.link))
    with pytest.raises(StoreError, match="changed while it was read"):
        dest.store(instance, method)
    assert source.exists()
    assert files(dest.path) == []


def test_a_symbolic_link_is_absolute_and_ends_at_the_file(
    tmp_path: Path, dest: LocalDir, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(source)
    monkeypatch.chdir(tmp_path)
    store(dest, Path("link"), SYMLINK)
    assert (dest.path / NAME).readlink() == source.resolve()


def test_a_symbolic_link_that_is_there_counts_as_what_it_leads_to(tmp_path: Path, dest: LocalDir, source: Path) -> None:
    (dest.path / "Vamp001").mkdir(parents=True)
    link = dest.path / NAME
    link.symlink_to(write_file(tmp_path / "other"))
    assert store(dest, source, SYMLINK) == (link, Outcome.PRESENT, "")
    write_file(tmp_path / "other", pixels=b"others")
    stored = store(dest, source, SYMLINK)
    assert (stored.outcome, stored.path.readlink()) == (Outcome.CONFLICT, source)
    assert link.readlink() == tmp_path / "other"
    (tmp_path / "other").unlink()
    with pytest.raises(StoreError, match="is a symbolic link"):
        store(dest, source, SYMLINK)


def test_other_ways_go_through_no_symbolic_link(tmp_path: Path, dest: LocalDir, source: Path) -> None:
    (dest.path / "Vamp001").mkdir(parents=True)
    (dest.path / NAME).symlink_to(write_file(tmp_path / "other"))
    for method in (COPY, LINK, MOVE):
        with pytest.raises(StoreError, match="is a symbolic link"):
            store(dest, source, method)
    assert source.exists()


@pytest.mark.parametrize("method", [TransferMethod.PROXY, *ALL])
@pytest.mark.parametrize("conflict", [Conflict.SKIP, Conflict.FAIL])
def test_what_must_not_be_stored_stays_where_it_is(
    conflict: Conflict, method: TransferMethod, tmp_path: Path, source: Path
) -> None:
    dest = LocalDir(tmp_path / "out", out_fmt=FLAT, conflict=conflict)
    there = write_file(dest.path / NAME, pixels=b"others")
    before = there.read_bytes()
    if conflict is Conflict.FAIL:
        with pytest.raises(ConflictError, match="other bytes under this UID"):
            store(dest, source, method)
    else:
        assert store(dest, source, method).outcome is Outcome.FAILED
    assert source.exists()
    assert there.read_bytes() == before
    assert files(dest.path) == ["Vamp001/", NAME]


@pytest.mark.parametrize("method", [TransferMethod.PROXY, *ALL])
def test_several_at_once_are_stored_as_one_by_one(method: TransferMethod, tmp_path: Path, dest: LocalDir) -> None:
    paths = [sample.path for sample in data.write_studies(tmp_path / "in")]
    dest.path.mkdir()
    (dest.path / "Vamp003").symlink_to(tmp_path)
    instances = [Instance.from_file(path) for path in [*paths, paths[0]]]
    items = [(dest.parts_of(instance), instance) for instance in instances]
    before = [data_set_of(path) for path in paths]
    done = list(dest.store_each(items, method))
    assert len(done) == len(items)
    for (parts, instance), result, content in zip(items, done, before, strict=False):
        assert instance.path is not None
        if parts[0] == "Vamp003":
            assert isinstance(result, UnsafePathError)
            assert instance.path.exists()
        else:
            assert result == (parts[-1], Outcome.SENT, "")
            assert data_set_of(dest.path.joinpath(*parts)) == content
            assert instance.path.exists() == (method is not MOVE)
    last = done[-1]
    if method is MOVE:
        assert isinstance(last, StoreError)  # it has gone
    else:
        assert isinstance(last, Named)
        assert last.outcome is Outcome.PRESENT


@pytest.mark.parametrize("method", ALL)
def test_onto_itself_nothing_happens(method: TransferMethod, tmp_path: Path) -> None:
    """Not even where the file is reached by another path: what is there must never go."""
    dest = LocalDir(tmp_path / "out", out_fmt=FLAT)
    path = write_file(dest.path / NAME)
    (tmp_path / "alias").symlink_to(dest.path)
    before = path.read_bytes()
    for way in (path, tmp_path / "alias" / NAME):
        assert store(dest, way, method).outcome is Outcome.PRESENT
        assert not path.is_symlink()
        assert path.read_bytes() == before


def test_what_is_moved_may_have_other_names(tmp_path: Path, dest: LocalDir, source: Path) -> None:
    os.link(source, tmp_path / "second name")
    assert store(dest, source, MOVE).outcome is Outcome.SENT
    assert not source.exists()
    # The second name is the same file as the one that is there: only the name goes.
    assert store(dest, tmp_path / "second name", MOVE).outcome is Outcome.PRESENT
    assert files(tmp_path) == ["in/", "out/", "out/Vamp001/", f"out/{NAME}"]


def test_of_a_moved_symbolic_link_only_the_link_goes(tmp_path: Path, dest: LocalDir, source: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    assert store(dest, tmp_path / "link", MOVE).outcome is Outcome.SENT
    assert not (tmp_path / "link").is_symlink()
    assert source.exists()
    assert (dest.path / NAME).stat().st_nlink == 1


def test_a_source_that_cannot_be_removed_is_told(source: Path, dest: LocalDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    stored = store(dest, source, MOVE)
    assert (stored.outcome, stored.reason) == (
        Outcome.WARNED,
        "it is there, but the source could not be removed: permission denied",
    )
    assert data_set_of(dest.path / NAME) == encode()


def test_a_source_goes_only_after_its_copy_is_on_the_disk(
    source: Path, dest: LocalDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, unlink = os.fsync, Path.unlink

    def no_links(*args: Any, **kwargs: Any) -> None:
        if kwargs.get("src_dir_fd") is None and "self/fd" in str(args[0]) and not publishing:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(*args, **kwargs)

    publishing: list[int] = []
    link, publish = os.link, TempFile.publish

    def note_publish(self: TempFile, *args: Any, **kwargs: Any) -> None:
        publishing.append(1)
        publish(self, *args, **kwargs)
        events.append("published")

    monkeypatch.setattr(os, "link", no_links)

    def note_fsync(fd: int) -> None:
        events.append("fsync")
        fsync(fd)

    def note_unlink(path: Path) -> None:
        events.append("unlink")
        unlink(path)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(TempFile, "publish", note_publish)
    monkeypatch.setattr(Path, "unlink", note_unlink)
    store(dest, source, MOVE)
    last = events.index("published")
    assert "fsync" in events[:last]
    assert events.index("unlink") == len(events) - 1
    assert not source.exists()


# -- between file systems


@pytest.mark.parametrize("method", [COPY, MOVE, SYMLINK])
def test_to_another_file_system(method: TransferMethod, other_device: Path, source: Path) -> None:
    dest = LocalDir(other_device, out_fmt=FLAT)
    whole = source.read_bytes()
    assert store(dest, source, method).outcome is Outcome.SENT
    assert (other_device / NAME).read_bytes() == whole
    assert source.exists() == (method is not MOVE)


def test_no_link_to_another_file_system(other_device: Path, source: Path) -> None:
    dest = LocalDir(other_device / "a" / "b", out_fmt=FLAT)
    why = dest.why_not(LINK, LocalDir(source.parent))
    assert why == f"{source.parent} and {dest.path} are on different file systems: no file can be in both"
    assert files(other_device) == []
    with pytest.raises(StoreError, match="on another file system"):
        store(dest, source, LINK)
    assert files(other_device) == ["a/", "a/b/"]


def test_mounts_within_are_other_file_systems(small_disk: Path, tmp_path: Path) -> None:
    source, dest = LocalDir(tmp_path), LocalDir(tmp_path.parent / "elsewhere")
    assert dest.why_not(LINK, source) == (
        f"{small_disk} in {tmp_path} is another file system: what is there cannot be linked"
    )
    assert dest.why_not(COPY, source) == dest.why_not(SYMLINK, source) == ""


def test_two_mounts_of_one_file_system_have_no_links(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    done = subprocess.run(
        ["mount", "--bind", tmp_path / "a", tmp_path / "b"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        why = LocalDir(tmp_path / "b").why_not(LINK, LocalDir(tmp_path / "a"))
    finally:
        subprocess.run(["umount", tmp_path / "b"], check=True)
    assert "different file systems" in why


def test_what_is_possible_is_known_before(tmp_path: Path) -> None:
    source, dest = LocalDir(tmp_path / "in"), LocalDir(tmp_path / "out")
    source.path.mkdir()
    for method in ALL:
        assert dest.why_not(method, source) == ""
        assert "is no directory" in dest.why_not(method, MemoryStore())
    assert "by remote_copy" in dest.why_not(TransferMethod.REMOTE_COPY, source)
    assert dest.why_not(TransferMethod.PROXY, MemoryStore()) == ""


def test_nothing_can_be_moved_from_where_nothing_can_be_removed(read_only_disk: Path, tmp_path: Path) -> None:
    source = LocalDir(read_only_disk / "there")
    dest = LocalDir(tmp_path / "out")
    assert dest.why_not(MOVE, source) == f"files cannot be moved out of {source.path}: it cannot be written to"
    assert dest.why_not(COPY, source) == ""


# -- how bytes are copied


@pytest.mark.parametrize("lost", ["none", "clone", "range", "part"])
def test_each_way_to_copy(lost: str, tmp_path: Path, dest: LocalDir, monkeypatch: pytest.MonkeyPatch) -> None:
    big = bytes(range(256)) * (41 << 10)
    path = write_file(tmp_path / "in" / "big", pixels=big)

    def refuse(*_: Any) -> int:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    some = os.copy_file_range
    if lost != "none":
        monkeypatch.setattr(fcntl, "ioctl", refuse)
    if lost == "range":
        monkeypatch.setattr(os, "copy_file_range", refuse)
    elif lost == "part":

        def part(fd: int, to: int, n: int, offset: int, to_offset: int) -> int:
            return refuse() if offset else some(fd, to, 1000, 0, 0)

        monkeypatch.setattr(os, "copy_file_range", part)
    stored = store(dest, path, COPY)
    assert stored.path.read_bytes() == path.read_bytes()
    assert stored.path.stat().st_ino != path.stat().st_ino


def test_a_full_disk_is_no_fault_of_the_source(small_disk: Path, tmp_path: Path) -> None:
    path = write_file(tmp_path / "in" / "big", pixels=bytes(1 << 20))
    with pytest.raises(StoreError, match="disk full"):
        store(LocalDir(small_disk, out_fmt=FLAT), path, MOVE)
    assert path.exists()
    assert files(small_disk) == []


# -- as a whole


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("fetched_for", [True, False])
async def test_a_directory_into_another(method: TransferMethod, fetched_for: bool, tmp_path: Path) -> None:
    samples = data.write_studies(tmp_path / "in")
    source, dest = LocalDir(tmp_path / "in"), LocalDir(tmp_path / "out")
    whole = {sample.sop_instance_uid: sample.path.read_bytes() for sample in samples}
    for outcome in (Outcome.SENT, Outcome.PRESENT):
        report = TransferReport()
        async with dest.send(report, method=method) as queue:
            told = method if fetched_for else TransferMethod.PROXY
            await source.fetch(await source.query(), queue.place, report, method=told)
        report.finish()
        assert report.counts[outcome] == len(samples)
        assert report.ok
        there = {path.stem: path for path in dest.path.rglob("*.dcm")}
        assert {uid: path.read_bytes() for uid, path in there.items()} == whole
        if method is MOVE:
            assert not [*source.path.iterdir()]
            break
    assert await asyncio.to_thread(dest.why_not, method, source) == ""
    source.close()


# -- a kill in the middle of moving

_MOVER = """
import asyncio, sys
from dcm.report import TransferReport
from dcm.store import TransferMethod
from dcm.store.local_dir import LocalDir

async def move():
    source, dest = LocalDir(sys.argv[1], index=False), LocalDir(sys.argv[2])
    report = TransferReport()
    async with dest.send(report, method=TransferMethod.MOVE) as queue:
        print("begun", flush=True)
        await source.fetch(await source.query(), queue.place, report, method=TransferMethod.MOVE)
    report.finish()
    print(report.exit_code, flush=True)

asyncio.run(move())
"""


@pytest.mark.parametrize("where", ["same", "other"])
def test_a_kill_while_moving_loses_nothing(where: str, tmp_path: Path, other_device: Path) -> None:
    """Each instance is whole at the source, or at the destination, or at both; and then a rerun ends it."""
    samples = data.write_tiny(tmp_path / "in", 300)
    wanted = {sample.sop_instance_uid: sample.data_set_bytes for sample in samples}
    dest = other_device / "out" if where == "other" else tmp_path / "out"
    command = [sys.executable, "-c", _MOVER, str(tmp_path / "in"), str(dest)]
    for moment in (0.0, 0.01, 0.03):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as mover:
            assert mover.stdout is not None
            assert mover.stdout.readline() == "begun\n"
            time.sleep(moment)
            mover.send_signal(signal.SIGKILL)
        left = {path for root in (tmp_path / "in", dest) if root.exists() for path in root.rglob("*.dcm")}
        assert {data.data_set_of(path.read_bytes()) for path in left} == set(wanted.values())
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "begun\n0\n"
    assert not [*(tmp_path / "in").iterdir()]
    there = {path.stem: data.data_set_of(path.read_bytes()) for path in dest.rglob("*.dcm")}
    assert there == wanted
    assert not [*dest.rglob(".dcm-*")]
