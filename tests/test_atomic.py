"""A file appears under its name complete, or not at all, whatever happens and whatever the file system lacks."""

from __future__ import annotations

import errno
import gc
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcm import _atomic
from dcm._atomic import Buffer, TempFile, publish_small


@pytest.fixture(params=["unnamed", "hidden", "hidden, no links"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the file system can do: everything, no O_TMPFILE (NFS), no hard links either (FAT)."""
    if request.param == "unnamed" and not (_atomic._O_TMPFILE and _atomic._fd_links_work()):
        pytest.skip("no O_TMPFILE on this system")
    if request.param != "unnamed":
        monkeypatch.setattr(_atomic, "_O_TMPFILE", 0)
    if request.param == "hidden, no links":
        monkeypatch.setattr(os, "link", _raises(errno.EPERM))
    return str(request.param)


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def _raises(number: int) -> Callable[..., NoReturn]:
    def fail(*args: object, **kwargs: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


def _open_files(root: Path) -> list[str]:
    links = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return [str(link.readlink()) for link in links if link.is_symlink() and str(root) in str(link.readlink())]


def test_publish_gives_the_bytes_a_name(kind: str, tmp_path: Path, dir_fd: int) -> None:
    temp = TempFile.create(dir_fd)
    temp.write(b"DICM", bytearray(b"-"), memoryview(b"data"))
    temp.write(b"!")
    assert temp.size == 10
    assert temp.st_dev == tmp_path.stat().st_dev
    assert not temp.published
    assert [p for p in tmp_path.iterdir() if not p.name.startswith(".dcm-")] == []
    temp.publish(dir_fd, "a.dcm")
    assert temp.published
    assert [p.name for p in tmp_path.iterdir()] == ["a.dcm"]
    assert temp.pread(100, 4) == b"-data!"
    temp.discard()
    assert (tmp_path / "a.dcm").read_bytes() == b"DICM-data!"


def test_create_takes_a_path_and_publishes_below(kind: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    fd = os.open(tmp_path / "sub", os.O_RDONLY)
    temp = TempFile.create(tmp_path)
    temp.write(b"x")
    temp.publish(fd, "b", sync=True)
    temp.discard()
    os.close(fd)
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["sub", "sub/b"]


def test_mode_follows_the_umask(kind: str, tmp_path: Path, dir_fd: int) -> None:
    before = os.umask(0o027)
    try:
        temp = TempFile.create(dir_fd)
    finally:
        os.umask(before)
    temp.publish(dir_fd, "m")
    temp.discard()
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o640


def test_a_taken_name_is_refused_and_another_works(kind: str, tmp_path: Path, dir_fd: int) -> None:
    (tmp_path / "a").write_bytes(b"old")
    temp = TempFile.create(dir_fd)
    temp.write(b"new")
    with pytest.raises(FileExistsError):
        temp.publish(dir_fd, "a")
    assert (tmp_path / "a").read_bytes() == b"old"
    temp.publish(dir_fd, "b")
    temp.discard()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "b").read_bytes() == b"new"


def test_a_link_at_the_name_is_not_followed(kind: str, tmp_path: Path, dir_fd: int) -> None:
    (tmp_path / "a").symlink_to("elsewhere")
    temp = TempFile.create(dir_fd)
    with pytest.raises(FileExistsError):
        temp.publish(dir_fd, "a")
    temp.publish(dir_fd, "a", replace=True)
    temp.discard()
    assert not (tmp_path / "a").is_symlink()
    assert not (tmp_path / "elsewhere").exists()


def test_replace_takes_a_taken_or_a_free_name(kind: str, tmp_path: Path, dir_fd: int) -> None:
    (tmp_path / "a").write_bytes(b"old")
    for name in ("a", "b"):
        temp = TempFile.create(dir_fd)
        temp.write(b"new")
        temp.publish(dir_fd, name, replace=True, sync=True)
        temp.discard()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"new", "b": b"new"}


def test_a_failed_replace_leaves_the_old_file(kind: str, tmp_path: Path, dir_fd: int) -> None:
    (tmp_path / "a").mkdir()
    temp = TempFile.create(dir_fd)
    with pytest.raises(IsADirectoryError):
        temp.publish(dir_fd, "a", replace=True)
    temp.publish(dir_fd, "b")
    temp.discard()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_one_file_gets_one_name(kind: str, tmp_path: Path, dir_fd: int) -> None:
    temp = TempFile.create(dir_fd)
    temp.publish(dir_fd, "a")
    with pytest.raises(ValueError, match="already published"):
        temp.publish(dir_fd, "b")
    temp.discard()
    assert (tmp_path / "a").stat().st_nlink == 1


@pytest.mark.parametrize("forgotten", [False, True])
def test_discard_and_garbage_collection_leave_nothing(kind: str, tmp_path: Path, dir_fd: int, forgotten: bool) -> None:
    fds = _open_files(tmp_path)
    temp = TempFile.create(dir_fd)
    temp.write(b"x" * 1000)
    if forgotten:
        del temp
        gc.collect()
    else:
        temp.discard()
        temp.discard()
        assert temp.fd == -1
    assert list(tmp_path.iterdir()) == []
    assert _open_files(tmp_path) == fds


def test_publish_leaks_no_descriptor(kind: str, tmp_path: Path, dir_fd: int) -> None:
    fds = _open_files(tmp_path)
    for replace in (False, True):
        temp = TempFile.create(dir_fd)
        temp.publish(dir_fd, f"x{replace}", replace=replace)
        temp.discard()
    with pytest.raises(FileNotFoundError):
        TempFile.create(tmp_path / "nowhere")
    assert _open_files(tmp_path) == fds


@pytest.mark.skipif(not _atomic._O_TMPFILE, reason="no O_TMPFILE on this system")
@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL])
def test_a_file_system_without_unnamed_files(
    number: int, tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = os.open

    def picky_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & _atomic._O_TMPFILE == _atomic._O_TMPFILE:
            raise OSError(number, os.strerror(number))
        return real_open(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", picky_open)
    temp = TempFile.create(dir_fd)
    assert [p.name[:5] for p in tmp_path.iterdir()] == [".dcm-"]
    temp.publish(dir_fd, "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    temp.discard()


@pytest.mark.parametrize("where", ["path", "fd"])
def test_other_errors_of_create_are_not_hidden(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", _raises(errno.EROFS))
    with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
        TempFile.create(tmp_path if where == "path" else 0)


def test_no_proc_means_a_hidden_file(tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_atomic, "_fd_links_work", lambda: False)
    temp = TempFile.create(dir_fd)
    assert len(list(tmp_path.iterdir())) == 1
    temp.discard()
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None)
@given(chunks=st.lists(st.binary(max_size=20), max_size=12), steps=st.lists(st.integers(1, 9), min_size=1))
def test_short_writes_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], steps: list[int]
) -> None:
    real_writev = os.writev
    pending = list(steps)

    def short_writev(fd: int, buffers: list[Buffer]) -> int:
        n = pending.pop() if pending else 1 << 20
        return real_writev(fd, [b"".join(bytes(b) for b in buffers)[:n]])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "writev", short_writev)
        temp = TempFile.create(tmp_path_factory.getbasetemp())
        temp.write(*chunks)
    whole = b"".join(chunks)
    assert temp.size == len(whole)
    assert temp.pread(len(whole) + 1, 0) == whole
    temp.discard()


def test_a_small_file_appears_whole_or_not_at_all(kind: str, tmp_path: Path, dir_fd: int) -> None:
    """Where there are files without a name; elsewhere it says that it has done nothing."""
    done = publish_small(dir_fd, "a", b"data")
    assert done is (kind == "unnamed")
    assert os.listdir(tmp_path) == (["a"] if done else [])
    if done:
        assert (tmp_path / "a").read_bytes() == b"data"
        (tmp_path / "link").symlink_to("nowhere")
        for name in ("a", "link"):
            with pytest.raises(FileExistsError):
                publish_small(dir_fd, name, b"other")
        assert (tmp_path / "a").read_bytes() == b"data"
    assert not [path for path in _open_files(tmp_path) if path != str(tmp_path)]


def test_a_small_file_that_is_not_written_to_its_end_gets_no_name(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    assert not publish_small(dir_fd, "a", b"data")
    monkeypatch.setattr(os, "write", _raises(errno.ENOSPC))
    if _atomic._O_TMPFILE:
        with pytest.raises(OSError, match="No space"):
            publish_small(dir_fd, "a", b"data")
    assert os.listdir(tmp_path) == []
    assert not [path for path in _open_files(tmp_path) if path != str(tmp_path)]


def test_more_buffers_than_one_call_takes(tmp_path: Path) -> None:
    temp = TempFile.create(tmp_path)
    temp.write(*[bytes([i & 255]) for i in range(5000)], memoryview(b"12345678").cast("Q"))
    assert temp.size == 5008
    assert temp.pread(5008, 0) == bytes(i & 255 for i in range(5000)) + b"12345678"
    temp.discard()


def test_a_write_that_makes_no_progress_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temp = TempFile.create(tmp_path)
    monkeypatch.setattr(os, "writev", lambda fd, buffers: 0)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        temp.write(b"x")
    temp.discard()


def test_pread_puts_short_reads_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temp = TempFile.create(tmp_path)
    temp.write(b"0123456789")
    real_pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, n, offset: real_pread(fd, min(n, 3), offset))
    assert temp.pread(8, 1) == b"12345678"
    assert temp.pread(20, 7) == b"789"
    assert temp.pread(5, 10) == b""
    temp.discard()


def test_of_many_threads_one_gets_the_name(kind: str, tmp_path: Path, dir_fd: int) -> None:
    barrier = threading.Barrier(6)
    won: list[bytes] = []

    def publish(data: bytes) -> None:
        temp = TempFile.create(dir_fd)
        temp.write(data)
        barrier.wait()
        try:
            temp.publish(dir_fd, "same")
        except FileExistsError:
            pass
        else:
            won.append(data)
        finally:
            temp.discard()

    threads = [threading.Thread(target=publish, args=(bytes([65 + i]) * 1000,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["same"]
    assert (tmp_path / "same").read_bytes() == won[0]


_WRITER = """
import os, sys
from dcm import _atomic
if sys.argv[2] == "hidden":
    _atomic._O_TMPFILE = 0
fd = os.open(sys.argv[1], os.O_RDONLY)
temp = _atomic.TempFile.create(fd)
temp.write(b"half")
print("half", flush=True)
sys.stdin.readline()
temp.discard()
for i in range(1_000_000):
    temp = _atomic.TempFile.create(fd)
    temp.write(b"x" * 5000)
    temp.write(b"y" * 5000)
    temp.publish(fd, f"{i}", replace=bool(i & 1))
    temp.discard()
    if i == 100:
        print("many", flush=True)
"""


@pytest.mark.parametrize("stage", ["half", "many"])
@pytest.mark.parametrize("variant", ["unnamed", "hidden"])
def test_kill_leaves_whole_files_only(stage: str, variant: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path), variant]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        if stage == "many":
            writer.stdin.write("\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "many\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    names = [p for p in tmp_path.iterdir() if not p.name.startswith(".dcm-")]
    assert bool(names) == (stage == "many")
    for path in names:
        assert path.read_bytes() == b"x" * 5000 + b"y" * 5000
    if stage == "half" and variant == "unnamed" and _atomic._O_TMPFILE:
        assert list(tmp_path.iterdir()) == []
