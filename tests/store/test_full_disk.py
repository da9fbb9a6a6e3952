"""A destination that cannot be written to fails what it cannot take, says so, and keeps nothing half."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dcm import _atomic
from dcm._atomic import Buffer
from dcm.errors import StoreError, UsageError
from dcm.report import Outcome
from dcm.store._tree import reason_of, store_error
from dcm.store.local_dir import LocalDir
from tests.store.instances import data_set_of, encode, files, make, make_in_temp

FLAT = "{PatientID}/{SOPInstanceUID}"


@pytest.fixture(params=["unnamed", "hidden"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With O_TMPFILE, and as on a file system without it."""
    if request.param == "hidden":
        monkeypatch.setattr(_atomic, "_O_TMPFILE", 0)
    return str(request.param)


def fails_after(n: int, number: int) -> Callable[[int, Sequence[Buffer]], int]:
    """A writev() on a disk that has room for `n` bytes."""
    real_writev = os.writev
    left = n

    def writev(fd: int, buffers: Sequence[Buffer]) -> int:
        nonlocal left
        if not left:
            raise OSError(number, os.strerror(number))
        written = real_writev(fd, [b"".join(bytes(buffer) for buffer in buffers)[:left]])
        left -= written
        return written

    return writev


def raises(number: int) -> Callable[..., NoReturn]:
    def fail(*args: object, **kwargs: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_full_disk_fails_one_instance_and_the_rest_goes_on(kind: str, small_disk: Path) -> None:
    directory = LocalDir(small_disk, out_fmt=FLAT)
    directory.check()
    with pytest.raises(StoreError, match=r"Vamp002/1\.1\.dcm: disk full") as caught:
        directory.store(make("1.1", patient_id="Vamp002", pixels=b"x" * 1_000_000))
    assert reason_of(caught.value) == "disk full"
    assert files(small_disk) == []
    stored = directory.store(make("1.2", pixels=b"x" * 1000))
    assert stored.outcome is Outcome.SENT
    assert data_set_of(stored.path) == encode("1.2", pixels=b"x" * 1000)


def test_a_read_only_disk(kind: str, read_only_disk: Path) -> None:
    directory = LocalDir(read_only_disk, out_fmt=FLAT)
    with pytest.raises(StoreError, match="read-only file system"):
        directory.check()
    for patient_id in ("Vamp001", "there"):
        with pytest.raises(StoreError, match=rf"{patient_id}/1\.2\.3\.4\.dcm: read-only file system"):
            directory.store(make(patient_id=patient_id))
    assert files(read_only_disk) == ["there/"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "disk full"),
        (errno.EDQUOT, "disk quota exceeded"),
        (errno.EIO, "Input/output error"),
        (errno.EFBIG, "too large"),
    ],
)
@pytest.mark.parametrize("room", [0, 200, 3000])
def test_a_failed_write_leaves_nothing(
    kind: str, room: int, number: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = LocalDir(tmp_path)
    monkeypatch.setattr(os, "writev", fails_after(room, number))
    with pytest.raises(StoreError, match=reason) as caught:
        directory.store(make(pixels=b"x" * 5000))
    assert reason_of(caught.value).startswith(reason)
    assert str(tmp_path) in str(caught.value)
    assert files(tmp_path) == []
    monkeypatch.undo()
    assert directory.store(make()).outcome is Outcome.SENT


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = LocalDir(tmp_path, force_overwrite=True)
    first = directory.store(make(pixels=b"first."))
    before = files(tmp_path)
    monkeypatch.setattr(os, "writev", fails_after(100, errno.ENOSPC))
    for uid in ("1.2.3.4", "1.2.3.5"):
        with pytest.raises(StoreError):
            directory.store(make(uid, pixels=b"second"))
    assert files(tmp_path) == before
    assert data_set_of(first.path) == encode(pixels=b"first.")


def test_a_failed_link_leaves_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = LocalDir(tmp_path)
    monkeypatch.setattr(os, "link", raises(errno.EIO))
    with pytest.raises(StoreError):
        directory.store(make())
    with make_in_temp(directory.new_temp()) as instance, pytest.raises(StoreError):
        directory.store(instance)
    assert files(tmp_path) == []


def test_a_directory_that_vanishes_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As when another thread made it, failed to write, and cleaned up.
    directory = LocalDir(tmp_path, out_fmt=FLAT)
    real_link = os.link
    vanish = [True]

    def link(source: str, name: str, **kwargs: Any) -> None:
        if vanish:
            vanish.clear()
            (tmp_path / "Vamp001").rmdir()
        real_link(source, name, **kwargs)

    monkeypatch.setattr(os, "link", link)
    assert directory.store(make()).outcome is Outcome.SENT
    assert files(tmp_path) == ["Vamp001/", "Vamp001/1.2.3.4.dcm"]
    monkeypatch.setattr(os, "link", raises(errno.ENOENT))
    with pytest.raises(StoreError, match="it has vanished"):
        directory.store(make("1.2.3.5"))


def test_a_file_where_a_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "Vamp001").write_bytes(b"x")
    with pytest.raises(StoreError, match="a file has the name of a directory"):
        LocalDir(tmp_path, out_fmt=FLAT).store(make())
    assert files(tmp_path) == ["Vamp001"]


@pytest.mark.parametrize("call", ["check", "store", "new_temp"])
def test_a_root_that_cannot_be_one(call: str, tmp_path: Path) -> None:
    def use(directory: LocalDir) -> object:
        return directory.store(make()) if call == "store" else getattr(directory, call)()

    (tmp_path / "file").write_bytes(b"x")
    for path in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(UsageError, match="is not a directory"):
            use(LocalDir(path))
    with pytest.raises(UsageError, match="there is no directory"):
        use(LocalDir(tmp_path / "missing", make_missing=False))
    assert files(tmp_path) == ["file"]


def test_a_missing_root_is_made_with_its_parents(tmp_path: Path) -> None:
    LocalDir(tmp_path / "a/b/c").check()
    assert files(tmp_path) == ["a/", "a/b/", "a/b/c/"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(StoreError, match="permission denied"):
            LocalDir(tmp_path).check()
    finally:
        tmp_path.chmod(0o755)


def test_an_error_without_a_number_keeps_its_words() -> None:
    error = store_error(OSError("odd\nthing"), "/data/\x1bx")
    assert str(error) == "cannot write /data/\\x1bx: odd\\nthing"
    assert reason_of(StoreError("a message of ours")) == "a message of ours"
