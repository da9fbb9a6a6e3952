"""Scanning: what is read, what is left out, and what the index says is there."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from dcm._atomic import TempFile
from dcm.errors import StoreError, UsageError
from dcm.levels import QueryLevel
from dcm.peek import peek_file
from dcm.report import QueryReport, TransferReport
from dcm.store.index import Index, remove_all
from tests import data
from tests.store.index.support import Reads, age, result_of, uids
from tests.store.instances import write_file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


def left_out(report: QueryReport) -> dict[str, tuple[str, str]]:
    return {Path(problem.path).name: (problem.kind, problem.message) for problem in report.files}


def test_only_what_has_changed_is_read(root: Path, reads: Reads) -> None:
    for number in range(5):
        write_file(root / "a" / f"{number}.dcm", f"1.2.{number}")
    age(root)
    with Index(root) as index:
        first = index.refresh()
        assert (first.n_files, first.n_new, first.n_series, first.n_patients) == (5, 5, 1, 1)
        assert reads.take() == [f"{number}.dcm" for number in range(5)]
    with Index(root) as index:
        again = index.refresh()
        assert (again.n_unchanged, again.n_new, again.n_changed) == (5, 0, 0)
        assert reads.take() == []
        write_file(root / "a" / "0.dcm", "1.2.9")  # as long as before: its time and nothing else tells
        (root / "a" / "1.dcm").unlink()
        write_file(root / "b" / "5.dcm", "1.2.5")
        third = index.refresh()
        assert (third.n_unchanged, third.n_new, third.n_changed, third.n_removed) == (3, 1, 1, 1)
        assert reads.take() == ["0.dcm", "5.dcm"]
        assert sorted(uids(index.records(QueryLevel.IMAGE))) == ["1.2.2", "1.2.3", "1.2.4", "1.2.5", "1.2.9"]
        shutil.rmtree(root / "a")
        assert index.refresh().n_removed == 4
        assert uids(index.records(QueryLevel.IMAGE)) == ["1.2.5"]
        assert [file.path for file in index.all_files()] == ["b/5.dcm"]


def test_a_file_of_the_same_size_and_time_is_another_by_its_inode(root: Path, reads: Reads) -> None:
    write_file(root / "a.dcm", "1.2.3")
    age(root)
    with Index(root) as index:
        index.refresh()
        status = (root / "a.dcm").stat()
        write_file(root / "b.tmp", "1.2.4")
        os.utime(root / "b.tmp", ns=(status.st_mtime_ns, status.st_mtime_ns))
        (root / "b.tmp").rename(root / "a.dcm")
        assert index.refresh().n_changed == 1
        assert uids(index.records(QueryLevel.IMAGE)) == ["1.2.4"]


def test_what_was_written_a_moment_ago_is_read_once_more(root: Path, reads: Reads) -> None:
    path = write_file(root / "a.dcm", "1.2.3")
    with Index(root) as index:
        index.refresh()
        status = path.stat()
        with open(path, "r+b") as file:  # into the same file, within the same tick of the clock
            file.write(write_file(root.parent / "other", "1.2.4").read_bytes())
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
        assert index.refresh().n_changed == 1
        assert uids(index.records(QueryLevel.IMAGE)) == ["1.2.4"]
        age(root)
        index.refresh()
        reads.take()
        index.refresh()
        assert reads.take() == []


def test_a_time_stamp_of_the_future_is_no_reason_to_read_again(root: Path, reads: Reads) -> None:
    write_file(root / "a.dcm")
    age(root, -(10**8))
    with Index(root) as index:
        index.refresh()
        reads.take()
        index.refresh()
        assert reads.take() == []


def test_verify_trusts_nothing(root: Path) -> None:
    path = write_file(root / "a.dcm", "1.2.3")
    write_file(root / "b.dcm", "1.2.5")
    age(root)
    with Index(root) as index:
        index.refresh()
        status = path.stat()
        with open(path, "r+b") as file:
            file.write(write_file(root.parent / "other", "1.2.4").read_bytes())
        os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
        assert index.refresh().n_changed == 0
        verified = index.verify()
        assert (verified.n_changed, verified.n_unchanged) == (1, 1)
        assert sorted(uids(index.records(QueryLevel.IMAGE))) == ["1.2.4", "1.2.5"]


def test_what_is_left_out_is_named_each_time_and_not_read_again(root: Path, reads: Reads) -> None:
    whole = write_file(root / "good.dcm").read_bytes()
    (root / "cut.dcm").write_bytes(whole[:-3])
    (root / "notes.txt").write_text("nothing of DICOM")
    (root / "empty").touch()
    shutil.copy(next(path for path in data.pydicom_files() if path.name == "DICOMDIR"), root)
    write_file(root / "no-study.dcm", study_uid="")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
    age(root)
    expected = {
        "cut.dcm": ("truncated", "the data ends too early"),
        "notes.txt": ("foreign", "not a DICOM file"),
        "empty": ("foreign", "empty"),
        "DICOMDIR": ("foreign", "a DICOMDIR"),
        "no-study.dcm": ("unreadable", "no StudyInstanceUID"),
        "pipe": ("foreign", "not a regular file"),
        "socket": ("foreign", "not a regular file"),
    }
    with Index(root) as index:
        report = QueryReport()
        for wanted in (["DICOMDIR", "cut.dcm", "empty", "good.dcm", "no-study.dcm", "notes.txt"], []):
            report = QueryReport()
            result = index.refresh(report)
            assert left_out(report) == expected
            assert result.left_out == {"truncated": 1, "foreign": 5, "unreadable": 1}
            assert result.n_files == 1
            assert reads.take() == wanted
        assert report.n_lost_files == 2
        (root / "cut.dcm").write_bytes(whole)  # somebody has finished the copy
        report = QueryReport()
        assert index.refresh(report).n_new == 1
        assert "cut.dcm" not in left_out(report)
        (root / "good.dcm").write_bytes(b"gone bad")
        assert index.refresh().n_removed == 1


def test_a_transfer_report_learns_it_too(root: Path) -> None:
    write_file(root / "cut.dcm").write_bytes(write_file(root / "a.dcm").read_bytes()[:-3])
    report = TransferReport()
    Index.in_memory(root).refresh(report)
    assert [problem.kind for problem in report.files] == ["truncated"]


def test_temporary_files_of_ours_are_nobodys_business(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcm._atomic._O_TMPFILE", 0)
    temp = TempFile.create(root)
    temp.write(b"half")
    write_file(root / ".hidden.dcm")
    report = QueryReport()
    assert Index.in_memory(root).refresh(report).n_files == 1
    assert not report.files
    temp.discard()


def test_extensions_and_subdirectories(root: Path) -> None:
    for name in ("a.dcm", "b.DCM", "c", "d.ima", "sub/e.dcm"):
        write_file(root / name, f"1.2.{len(name)}{ord(name[0])}")

    def paths(**settings: object) -> list[str]:
        with Index(root, **settings) as index:  # type: ignore[arg-type]
            index.refresh()
            return [file.path for file in index.all_files()]

    assert paths() == ["a.dcm", "b.DCM", "c", "d.ima", "sub/e.dcm"]
    assert paths(file_ext="dcm") == paths(file_ext=".dcm") == ["a.dcm", "b.DCM", "sub/e.dcm"]
    assert paths(recurse=False) == ["a.dcm", "b.DCM", "c", "d.ima"]
    assert paths(recurse=False, file_ext="ima") == ["d.ima"]


def test_names_that_are_no_text(root: Path) -> None:
    raw = os.fsencode(root) + b"/\xff\xfe"
    path = Path(os.fsdecode(raw + b"/\xe4.dcm"))
    write_file(path, "1.2.3")
    (path.parent / os.fsdecode(b"\xe5.txt")).write_text("no")
    with Index(root) as index:
        report = QueryReport()
        index.refresh(report)
        (file,) = index.all_files()
        assert os.fsencode(file.path) == b"\xff\xfe/\xe4.dcm"
        assert peek_file(root / file.path).sop_instance_uid == "1.2.3"
        assert report.summary()
        report.write_json(root.parent / "report.json")
        index.refresh()


def test_symbolic_links(root: Path, tmp_path: Path) -> None:
    outside = write_file(tmp_path / "outside" / "a.dcm", "1.2.1")
    inside = write_file(root / "sub" / "b.dcm", "1.2.2")
    (root / "to-file.dcm").symlink_to(outside)
    (root / "to-own.dcm").symlink_to(inside)
    (root / "to-nowhere.dcm").symlink_to(tmp_path / "nowhere")
    (root / "to-itself.dcm").symlink_to(root / "to-itself.dcm")
    (root / "to-directory").symlink_to(outside.parent)
    (root / "sub" / "loop").symlink_to(root)
    age(root)
    with Index(root) as index:
        report = QueryReport()
        index.refresh(report)
        assert {file.path: file.copy for file in index.all_files()} == {
            "to-file.dcm": 0,
            "to-own.dcm": 0,
            "sub/b.dcm": 1,
        }
        assert left_out(report) == {
            "to-nowhere.dcm": ("foreign", "a symbolic link that leads nowhere"),
            "to-itself.dcm": ("foreign", "a symbolic link that leads nowhere"),
            "to-directory": ("foreign", "a symbolic link to a directory outside: not followed"),
        }
        write_file(outside, "1.2.9")
        index.refresh()
        assert sorted(uids(index.records(QueryLevel.IMAGE))) == ["1.2.2", "1.2.9"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to give files away")
def test_a_link_that_somebody_else_made_is_not_followed(root: Path, tmp_path: Path) -> None:
    secret = write_file(tmp_path / "secret.dcm")
    link = root / "link.dcm"
    link.symlink_to(secret)
    os.chown(link, 12345, -1, follow_symlinks=False)
    report = QueryReport()
    Index.in_memory(root).refresh(report)
    assert left_out(report) == {"link.dcm": ("unreadable", "a symbolic link that somebody else made")}
    os.chown(secret, 12345, -1)  # who made the link may give this file away
    assert Index.in_memory(root).refresh().n_files == 1


def test_what_cannot_be_read_is_tried_each_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(root / "a.dcm")
    write_file(root / "sub" / "b.dcm", "1.2.9")
    age(root)
    real_open, real_scandir = os.open, os.scandir

    def refuse(path: bytes, *args: object, **kwargs: object) -> int:
        if os.fsencode(path).endswith(b"a.dcm"):
            raise PermissionError(13, "Permission denied")
        return real_open(path, *args, **kwargs)  # type: ignore[arg-type]

    def refuse_list(path: bytes) -> object:
        if os.fsencode(path).endswith(b"sub"):
            raise PermissionError(13, "Permission denied")
        return real_scandir(path)

    with Index(root) as index:
        index.refresh()
        age(root, 200)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            patch.setattr(os, "scandir", refuse_list)
            report = QueryReport()
            result = index.refresh(report)
        assert left_out(report) == {
            "a.dcm": ("unreadable", "Permission denied"),
            "sub": ("unreadable", "Permission denied"),
        }
        assert (result.n_files, result.n_removed) == (0, 2)
        assert index.refresh().n_new == 2  # though no time stamp says so


def test_files_that_vanish_or_change_while_they_are_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        write_file(root / f"{number}.dcm", f"1.2.{number}")
    age(root)
    index = Index.in_memory(root)
    index.refresh()
    age(root, 50)
    read = os.open

    def vanish(path: bytes, *args: object, **kwargs: object) -> int:
        if os.fsencode(path).endswith(b"1.dcm"):
            (root / "1.dcm").unlink(missing_ok=True)
        if os.fsencode(path).endswith(b"2.dcm"):
            write_file(root / "2.dcm", "1.2.77")
        return read(path, *args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("dcm.store.index._reading.os.open", vanish)
        report = QueryReport()
        result = index.refresh(report)
    assert result.n_removed == 1
    assert not report.files
    assert sorted(uids(index.records(QueryLevel.IMAGE))) == ["1.2.0", "1.2.3", "1.2.77"]


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such directory"):
        Index(tmp_path / "none").refresh()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="no such directory"):
        Index.in_memory(tmp_path / "file").refresh()


def test_a_root_that_is_replaced_meanwhile_loses_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(root / "a.dcm")
    with Index(root) as index:
        index.refresh()
        numbers = iter([(1, 1), (1, 2)])
        monkeypatch.setattr("dcm.store.index._scan._identity", lambda root: next(numbers))
        (root / "a.dcm").unlink()
        root.rename(root.parent / "away")
        root.mkdir()
        with pytest.raises(StoreError, match="replaced"):
            index.refresh()


def test_stopping_keeps_what_was_read(root: Path) -> None:
    data.write_tiny(root, 200)
    with Index(root) as index:
        calls = iter(range(100))
        result = index.refresh(stop=lambda: next(calls) > 1)
        assert result.interrupted
        assert 0 < result.n_files < 200
        assert index.refresh().n_files == 200


def test_progress(root: Path) -> None:
    class Noted:
        def __init__(self) -> None:
            self.n_expected = self.n_done = 0

        def expected(self, n_instances: int, n_bytes: int | None = None) -> None:
            self.n_expected = n_instances

        def advanced(self, n_instances: int, n_bytes: int) -> None:
            self.n_done += n_instances

        def phase(self, text: str) -> None: ...

        def finished(self) -> None: ...

    data.write_tiny(root, 150)
    noted = Noted()
    Index.in_memory(root).refresh(progress=noted)
    assert (noted.n_expected, noted.n_done) == (150, 150)


def test_the_index_is_private_and_where_it_says(root: Path) -> None:
    write_file(root / "a.dcm")
    with Index(root) as index:
        index.refresh()
        assert index.path is not None
        assert index.path.is_relative_to(os.environ["XDG_CACHE_HOME"])
        assert stat.S_IMODE(index.path.parent.stat().st_mode) == 0o700
        for path in index.path.parent.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    link = root.parent / "link"
    link.symlink_to(root)
    assert Index(link).path == index.path
    assert remove_all(link) == [index.path.parent]
    assert not index.path.exists()
    assert remove_all(root) == []


def test_an_index_somewhere_else(root: Path, tmp_path: Path) -> None:
    write_file(root / "a.dcm")
    with Index(root, path=tmp_path / "kept" / "here") as index:
        assert index.refresh().n_files == 1
        assert index.path is not None
        assert index.path.parent == tmp_path / "kept" / "here"


def test_an_index_that_cannot_be_written(root: Path, tmp_path: Path) -> None:
    write_file(root / "a.dcm")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot use the index") as caught:
        Index(root, path=tmp_path / "file" / "index").refresh()
    assert "--no-index" in caught.value.hint


def test_in_memory_leaves_nothing(root: Path) -> None:
    write_file(root / "a.dcm")
    index = Index.in_memory(root)
    assert index.refresh().n_files == 1
    assert index.path is None
    assert len(result_of(index)) == 1
    assert not (Path(os.environ["XDG_CACHE_HOME"]) / "dcm").exists()


def test_what_we_have_written_ourselves_need_not_be_read(root: Path, reads: Reads) -> None:
    written = [write_file(root / "x" / f"{number}.dcm", f"1.2.{number}") for number in range(3)]
    with Index(root) as index:
        for path in written:
            index.add(path, peek_file(path))
        index.add(root.parent / "elsewhere.dcm", peek_file(written[0]))
        index.add(root / "vanished.dcm", peek_file(written[0]))
        assert len(result_of(index)) == 3
        result = index.refresh()
        assert (result.n_unchanged, result.n_new) == (3, 0)
        assert reads.take() == []
        index.add("x/2.dcm")
        assert reads.take() == ["2.dcm"]
    with Index(root) as index:
        index.add(write_file(root / "y.dcm", "1.2.8"), peek_file(root / "y.dcm"))
    with Index(root) as index:
        assert len(result_of(index)) == 4


def test_threads_share_an_index(root: Path) -> None:
    data.write_tiny(root, 300, n_series=3)
    for index in (Index(root), Index.in_memory(root)):
        found: list[object] = []

        def work(index: Index = index, found: list[object] = found) -> None:
            try:
                index.refresh()
                found.append(len(index.records(QueryLevel.IMAGE)))
                found.append(len(list(index.all_files())))
            except BaseException as exc:  # noqa: BLE001 - shown by the assertion
                found.append(exc)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [300] * 8
        index.close()


def test_a_stopped_scan_does_not_wait_for_its_turn(root: Path) -> None:
    with Index(root) as first, Index(root) as second:
        entered, go_on = threading.Event(), threading.Event()

        def hold() -> bool:
            entered.set()
            go_on.wait(10)
            return True

        thread = threading.Thread(target=lambda: first.refresh(stop=hold))
        thread.start()
        entered.wait(10)
        start = time.monotonic()
        assert second.refresh(stop=lambda: time.monotonic() > start + 0.05).interrupted
        go_on.set()
        thread.join()
        assert not second.refresh().interrupted
