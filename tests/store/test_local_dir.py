"""What a directory does with instances: where they go, what has the name already, and what must never happen."""

from __future__ import annotations

import errno
import functools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dcm import _atomic
from dcm._atomic import TempFile
from dcm.errors import StoreError, TemplateError, UsageError
from dcm.instance import Instance
from dcm.report import Outcome
from dcm.store._source import LocalChunk
from dcm.store._tree import reason_of
from dcm.store.base import DataRepo, TransferMethod
from dcm.store.local_dir import LocalDir
from dcm.template import DEFAULT_TEMPLATE, PathTemplate
from tests.store.instances import data_set_of, encode, files, make, make_in_temp, write_file

DEFAULT_PATH = "Vamp001/1.2.3/CT/007-T1 MPRAGE/1.2.3.4.dcm"
FLAT = "{PatientID}/{SOPInstanceUID}"


@pytest.fixture(params=["unnamed", "hidden"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With O_TMPFILE, and as on a file system without it."""
    if request.param == "hidden":
        monkeypatch.setattr(_atomic, "_O_TMPFILE", 0)
    return str(request.param)


# -- the usual case


def test_an_instance_becomes_a_file(kind: str, tmp_path: Path) -> None:
    instance = make()
    stored = LocalDir(tmp_path).store(instance)
    assert stored == (tmp_path / DEFAULT_PATH, Outcome.SENT, "")
    assert [name for name in files(tmp_path) if not name.endswith("/")] == [DEFAULT_PATH]
    assert data_set_of(stored.path) == encode()
    ds = pydicom.dcmread(stored.path)
    assert ds.preamble == bytes(128)
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID == "1.2.3.4"


def test_a_second_time_it_is_there(tmp_path: Path) -> None:
    first = LocalDir(tmp_path).store(make())
    before = first.path.stat()
    assert LocalDir(tmp_path).store(make()) == (first.path, Outcome.PRESENT, "")
    assert (first.path.stat().st_mtime_ns, first.path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_the_file_meta_header_makes_no_difference(tmp_path: Path) -> None:
    write_file(tmp_path / "Vamp001/1.2.3.4.dcm")
    assert LocalDir(tmp_path, out_fmt=FLAT).store(make()).outcome is Outcome.PRESENT


def test_path_of_says_where_it_would_go(tmp_path: Path) -> None:
    assert LocalDir(tmp_path).path_of(make()) == tmp_path / DEFAULT_PATH
    assert files(tmp_path) == []


def test_many_chunks(tmp_path: Path) -> None:
    big = bytes(range(256)) * (3 << 12)  # 3 MiB
    directory = LocalDir(tmp_path, out_fmt=FLAT)
    stored = directory.store(make(pixels=big))
    assert data_set_of(stored.path) == encode(pixels=big)
    assert directory.store(make(pixels=big)).outcome is Outcome.PRESENT
    assert directory.store(make(pixels=big[:-1] + b"\0")).outcome is Outcome.CONFLICT


def test_attributes_that_no_query_asks_for(tmp_path: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt="{DeviceSerialNumber}/{SOPInstanceUID}")
    assert directory.store(make()).path == tmp_path / "SN-7/1.2.3.4.dcm"
    with make_in_temp(directory.new_temp(), "1.2.3.5") as instance:
        assert directory.store(instance).path == tmp_path / "SN-7/1.2.3.5.dcm"
    with Instance.from_file(write_file(tmp_path / "in.dcm", "1.2.3.6")) as instance:
        assert directory.store(instance).path == tmp_path / "SN-7/1.2.3.6.dcm"


def test_the_identity_is_the_one_that_it_was_sent_with(tmp_path: Path) -> None:
    stored = LocalDir(tmp_path, out_fmt=FLAT).store(make("1.2.9", data=encode("1.2.3.4")))
    assert stored.path.name == "1.2.9.dcm"


@pytest.mark.parametrize(
    ("file_ext", "out_fmt", "name"),
    [
        ("dcm", "{PatientID}", "Vamp001.dcm"),
        (".ima", "{PatientID}", "Vamp001.ima"),
        ("", "{PatientID}", "Vamp001"),
        ("dcm", "{PatientID}.dcm", "Vamp001.dcm"),
        ("dcm", "{PatientID}.DCM", "Vamp001.DCM"),
        ("dcm", "{PatientID}.ima", "Vamp001.ima.dcm"),
    ],
)
def test_extension(file_ext: str, out_fmt: str, name: str, tmp_path: Path) -> None:
    assert LocalDir(tmp_path, file_ext=file_ext, out_fmt=out_fmt).store(make()).path.name == name


def test_a_value_that_ends_with_the_extension(tmp_path: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt="{PatientID}")
    names = {directory.store(make(patient_id=patient_id)).path.name for patient_id in ("A", "A.dcm")}
    assert names == {"A.dcm", "A.dcm.dcm"}


# -- an instance that lies in a file already


def test_a_streamed_instance_only_gets_its_name(tmp_path: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt=FLAT)
    with make_in_temp(directory.new_temp()) as instance:
        assert instance.temp is not None
        inode = os.fstat(instance.temp.fd).st_ino
        stored = directory.store(instance)
        assert stored.outcome is Outcome.SENT
    assert stored.path.stat().st_ino == inode
    assert stored.path.stat().st_nlink == 1
    assert data_set_of(stored.path) == encode()
    assert files(tmp_path) == ["Vamp001/", "Vamp001/1.2.3.4.dcm"]


def test_a_second_destination_gets_a_copy(kind: str, tmp_path: Path) -> None:
    one, two = (LocalDir(tmp_path / name, out_fmt=FLAT) for name in "ab")
    with make_in_temp(one.new_temp()) as instance:
        paths = [directory.store(instance).path for directory in (one, two)]
    assert paths[0].stat().st_ino != paths[1].stat().st_ino
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert [files(tmp_path / name) for name in "ab"] == [["Vamp001/", "Vamp001/1.2.3.4.dcm"]] * 2


def test_a_streamed_instance_that_is_there_already(kind: str, tmp_path: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt=FLAT)
    directory.store(make())
    for pixels, outcome in ((b"pixels", Outcome.PRESENT), (b"others", Outcome.CONFLICT)):
        with make_in_temp(directory.new_temp(), pixels=pixels) as instance:
            assert directory.store(instance).outcome is outcome
    assert len([name for name in files(tmp_path) if not name.endswith("/")]) == 2


def test_a_streamed_instance_on_another_device(tmp_path: Path, other_device: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt=FLAT)
    with make_in_temp(TempFile.create(other_device)) as instance:
        stored = directory.store(instance)
    assert data_set_of(stored.path) == encode()


def test_one_device_without_links_between_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = LocalDir(tmp_path, out_fmt=FLAT)
    real_link = os.link

    with make_in_temp(directory.new_temp()) as instance:
        assert instance.temp is not None
        foreign = instance.temp.fd

        def link(source: str, *args: Any, **kwargs: Any) -> None:
            if source.endswith(f"/{foreign}"):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            real_link(source, *args, **kwargs)

        monkeypatch.setattr(os, "link", link)
        stored = directory.store(instance)
    assert stored.outcome is Outcome.SENT
    assert data_set_of(stored.path) == encode()


# -- something has the name


def test_other_bytes_under_the_same_uid_are_kept_both(kind: str, tmp_path: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt=FLAT)
    first = directory.store(make(pixels=b"first."))
    second = directory.store(make(pixels=b"second"))
    assert second.outcome is Outcome.CONFLICT
    assert "both are kept" in second.reason
    assert second.path.parent == first.path.parent
    assert second.path.name.startswith("1.2.3.4~")
    assert second.path.suffix == ".dcm"
    assert data_set_of(first.path) == encode(pixels=b"first.")
    assert data_set_of(second.path) == encode(pixels=b"second")
    # A second run finds both, tells of the conflict again, and adds nothing.
    before = files(tmp_path)
    assert directory.store(make(pixels=b"first.")) == (first.path, Outcome.PRESENT, "")
    assert directory.store(make(pixels=b"second")) == second
    assert files(tmp_path) == before


def test_a_truncated_file_is_no_reason_to_skip(tmp_path: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt=FLAT)
    whole = directory.store(make(pixels=b"x" * 5000)).path
    for cut in (1, 2000, 2000):
        whole.write_bytes(whole.read_bytes()[:-cut])
        stored = directory.store(make(pixels=b"x" * 5000))
        assert stored.outcome is Outcome.CONFLICT
        assert data_set_of(stored.path) == encode(pixels=b"x" * 5000)


def test_a_longer_file_is_not_the_same(tmp_path: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt=FLAT)
    path = directory.store(make()).path
    path.write_bytes(path.read_bytes() + b"\0\0")
    assert directory.store(make()).outcome is Outcome.CONFLICT


def test_the_same_bytes_in_another_syntax_are_not_the_same(tmp_path: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt="x")
    first = make()
    other = Instance.from_buffer(first.sop_class_uid, first.sop_instance_uid, "1.2.840.10008.1.2.4.50", encode())
    assert directory.store(first).outcome is Outcome.SENT
    assert directory.store(other).outcome is Outcome.CONFLICT


def test_another_instance_with_the_same_name(tmp_path: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt="{Modality}")
    outcomes = [directory.store(make(uid)) for uid in ("1.1", "1.2", "1.3")]
    assert [stored.outcome for stored in outcomes] == [Outcome.SENT] * 3
    assert [bool(stored.reason) for stored in outcomes] == [False, True, True]
    assert {data_set_of(tmp_path / name) for name in files(tmp_path)} == {encode(uid) for uid in ("1.1", "1.2", "1.3")}
    # In whatever order they come again, all are there.
    assert {directory.store(make(uid)).outcome for uid in ("1.3", "1.1", "1.2")} == {Outcome.PRESENT}
    assert len(files(tmp_path)) == 3


@pytest.mark.parametrize("content", [b"", b"text", bytes(200)])
def test_a_file_that_is_not_dicom_has_the_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "CT.dcm").write_bytes(content)
    stored = LocalDir(tmp_path, out_fmt="{Modality}").store(make())
    assert stored.outcome is Outcome.SENT
    assert "not DICOM" in stored.reason
    assert (tmp_path / "CT.dcm").read_bytes() == content
    assert data_set_of(stored.path) == encode()


def test_the_names_beside_it_are_taken_too(tmp_path: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt="{Modality}")
    (tmp_path / "CT.dcm").write_bytes(b"x")
    for _ in range(2):
        beside = directory.store(make()).path
        beside.write_bytes(b"x")
    with pytest.raises(StoreError, match="are taken by other files") as caught:
        directory.store(make())
    assert reason_of(caught.value) == "this name and the ones beside it are taken by other files"
    assert len(files(tmp_path)) == 3


def test_force_overwrite_replaces_the_same_instance(kind: str, tmp_path: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt=FLAT, force_overwrite=True)
    first = directory.store(make(pixels=b"first."))
    second = directory.store(make(pixels=b"second"))
    assert second[:2] == (first.path, Outcome.SENT)
    assert "replaced" in second.reason
    assert data_set_of(first.path) == encode(pixels=b"second")
    assert directory.store(make(pixels=b"second")).outcome is Outcome.PRESENT
    first.path.write_bytes(b"not DICOM")
    assert directory.store(make(pixels=b"second")).outcome is Outcome.SENT
    assert files(tmp_path) == ["Vamp001/", "Vamp001/1.2.3.4.dcm"]


def test_force_overwrite_spares_another_instance(tmp_path: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt="{Modality}", force_overwrite=True)
    for uid in ("1.1", "1.2", "1.3"):
        assert directory.store(make(uid)).outcome is Outcome.SENT
    assert len(files(tmp_path)) == 3


@pytest.mark.parametrize("force", [False, True])
def test_what_has_the_name_is_no_file(force: bool, tmp_path: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt="{Modality}", force_overwrite=force)
    (tmp_path / "CT.dcm").mkdir()
    (tmp_path / "MR.dcm").mkdir()
    os.mkfifo(tmp_path / "PT.dcm")
    for modality in ("CT", "MR", "PT"):
        with pytest.raises(StoreError, match="what has the name is no file") as caught:
            directory.store(make(modality=modality))
        assert f"{tmp_path / modality}.dcm" in caught.value.message
        assert reason_of(caught.value) == "what has the name is no file"  # paths are made of what names patients
    assert files(tmp_path) == ["CT.dcm/", "MR.dcm/", "PT.dcm"]


# -- a root that is not the one any more


def test_a_root_that_was_made_anew_is_used_from_the_next_beginning_on(tmp_path: Path) -> None:
    root = tmp_path / "root"
    directory = LocalDir(root, out_fmt="{Modality}", sync=True)
    directory.store(make(modality="CT"))
    root.rename(tmp_path / "old")
    for _ in range(2):
        with pytest.raises(StoreError, match="it has vanished"):
            directory.check()
    assert not root.exists()  # perhaps it is only not mounted
    root.mkdir()
    with pytest.raises(StoreError, match="not the directory any more"):
        directory.store(make(modality="MR"))
    directory.check()
    directory.store(make(modality="PT"))
    assert (files(root), files(tmp_path / "old")) == (["PT.dcm"], ["CT.dcm"])


def test_a_root_on_another_file_system_is_not_taken_for_the_first(tmp_path: Path) -> None:
    """What a file system was mounted on is empty, and hidden when that is back."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as elsewhere:
        if Path(elsewhere).stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("needs another file system")
        (tmp_path / "one").mkdir()
        root = tmp_path / "root"
        root.symlink_to("one")
        directory = LocalDir(root, out_fmt="{Modality}")
        directory.store(make())
        root.unlink()
        root.symlink_to(elsewhere)
        with pytest.raises(StoreError, match="start again if it is to be this one"):
            directory.check()
        assert files(Path(elsewhere)) == []


# -- never outside


@given(
    st.text(st.sampled_from("./\\~%\0\n a") | st.characters(), max_size=8),
    st.text(st.sampled_from("./\\~%\0\n a") | st.characters(), max_size=8),
)
def test_no_value_leads_out_of_the_root(
    tmp_path_factory: pytest.TempPathFactory, patient_id: str, description: str
) -> None:
    above = tmp_path_factory.mktemp("above")
    root = above / "root"
    directory = LocalDir(root, out_fmt="{PatientID}/{SeriesDescription}/x{PatientID}")
    path = directory.store(make(patient_id=patient_id, description=description)).path
    assert path.resolve().relative_to(root.resolve()).parts == path.relative_to(root).parts
    assert len(path.relative_to(root).parts) == 3
    assert [p.name for p in above.iterdir()] == ["root"]
    assert path.is_file()
    directory.close()


def test_a_linked_directory_is_not_entered(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (root / "Vamp001").symlink_to(outside)
    (root / "Vamp002").symlink_to(tmp_path / "nowhere")
    for patient_id in ("Vamp001", "Vamp002"):
        with pytest.raises(StoreError, match=f"{patient_id} is a symbolic link") as caught:
            LocalDir(root, out_fmt=FLAT).store(make(patient_id=patient_id))
        assert type(caught.value).__name__ == "UnsafePathError"
        assert reason_of(caught.value) == "a symbolic link is in the way"
    assert files(outside) == []
    assert not (tmp_path / "nowhere").exists()


def test_a_linked_directory_deeper_down(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (root / "Vamp001").mkdir(parents=True)
    (root / "Vamp001/1.2.3").symlink_to(outside)
    with pytest.raises(StoreError, match=r"Vamp001/1\.2\.3 is a symbolic link"):
        LocalDir(root).store(make())
    assert files(tmp_path) == ["outside/", "root/", "root/Vamp001/", "root/Vamp001/1.2.3"]


@pytest.mark.parametrize("force", [False, True])
def test_a_linked_file_is_not_written_through(force: bool, tmp_path: Path) -> None:
    outside, root = tmp_path / "outside.dcm", tmp_path / "root"
    root.mkdir()
    outside.write_bytes(b"precious")
    (root / "CT.dcm").symlink_to(outside)
    (root / "MR.dcm").symlink_to("nowhere")
    for modality in ("CT", "MR"):
        with pytest.raises(StoreError, match="is a symbolic link"):
            LocalDir(root, out_fmt="{Modality}", force_overwrite=force).store(make(modality=modality))
    assert outside.read_bytes() == b"precious"
    assert files(tmp_path) == ["outside.dcm", "root/", "root/CT.dcm", "root/MR.dcm"]


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    directory = LocalDir(tmp_path / "link", out_fmt=FLAT)
    directory.check()
    assert directory.store(make()).path == tmp_path / "link/Vamp001/1.2.3.4.dcm"
    assert files(tmp_path / "real") == ["Vamp001/", "Vamp001/1.2.3.4.dcm"]


# -- while it is in use


def test_a_directory_moved_away_is_made_again(tmp_path: Path) -> None:
    directory = LocalDir(tmp_path / "root", out_fmt=FLAT)
    directory.store(make("1.1"))
    (tmp_path / "root/Vamp001").rename(tmp_path / "moved")
    assert directory.store(make("1.2")).path.is_file()
    assert files(tmp_path / "moved") == ["1.1.dcm"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_root_that_is_replaced_is_not_written_to(replaced: bool, tmp_path: Path) -> None:
    directory = LocalDir(tmp_path / "root", out_fmt=FLAT)
    directory.store(make("1.1"))
    (tmp_path / "root").rename(tmp_path / "moved")
    if replaced:
        (tmp_path / "root").mkdir()
    with pytest.raises(StoreError, match="root"):
        directory.store(make("1.2"))
    assert files(tmp_path / "moved") == ["Vamp001/", "Vamp001/1.1.dcm"]
    directory.close()
    assert directory.store(make("1.2")).outcome is Outcome.SENT


def test_a_relative_root_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    directory = LocalDir("out", out_fmt=FLAT)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert directory.store(make()).path == tmp_path / "out/Vamp001/1.2.3.4.dcm"


def test_no_descriptor_is_left_open(kind: str, tmp_path: Path) -> None:
    def open_files() -> list[str]:
        links = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        return [str(link.readlink()) for link in links if link.is_symlink() and str(tmp_path) in str(link.readlink())]

    directory = LocalDir(tmp_path)
    for pixels in (b"a", b"b", b"b"):
        directory.store(make(pixels=pixels))
    (tmp_path / "x").symlink_to("y")
    with pytest.raises(StoreError):
        directory.store(make(patient_id="x"))
    assert open_files() == [str(tmp_path)]
    directory.close()
    assert open_files() == []


def test_sync_reaches_the_disk(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real_fsync = os.fsync

    def fsync(fd: int) -> None:
        real_fsync(fd)
        path = Path(f"/proc/self/fd/{fd}")
        synced.append(str(path.readlink().relative_to(tmp_path)) if path.is_dir() else "file")

    monkeypatch.setattr(os, "fsync", fsync)
    LocalDir(tmp_path, out_fmt=FLAT, sync=True).store(make())
    assert synced == [".", "file", "Vamp001"]
    synced.clear()
    LocalDir(tmp_path, out_fmt=FLAT).store(make("1.2.3.5"))
    assert synced == []


# -- many threads


def run_threads(jobs: list[Callable[[], object]]) -> None:
    barrier = threading.Barrier(len(jobs))
    errors: list[Exception] = []

    def run(job: Callable[[], object]) -> None:
        try:
            barrier.wait()
            job()
        except Exception as exc:  # noqa: BLE001 - raised again in the test's thread
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _store(directory: LocalDir, instance: Instance, outcomes: list[Outcome]) -> None:
    outcomes.append(directory.store(instance).outcome)


@pytest.mark.parametrize("no_links", [False, True])
def test_threads_with_other_bytes_for_one_name(
    kind: str, no_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if no_links:
        if kind == "unnamed":
            pytest.skip("a file system with O_TMPFILE has links")

        def link(*args: object, **kwargs: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", link)
    directory = LocalDir(tmp_path, out_fmt=FLAT)
    for round_ in range(5):
        uid = f"1.{round_}"
        outcomes: list[Outcome] = []
        instances = [make(uid, pixels=bytes([65 + i]) * 2000) for i in (0, 1, 2, 3) * 2]
        run_threads([functools.partial(_store, directory, instance, outcomes) for instance in instances])
        written = [p for p in tmp_path.rglob("*") if p.is_file() and p.name.startswith(uid)]
        assert {data_set_of(path) for path in written} == {
            bytes(instance.read(0, instance.size)) for instance in instances
        }
        assert len(written) == 4
        counts = Counter(outcomes)
        assert counts[Outcome.SENT] == 1
        assert counts[Outcome.PRESENT] <= 1
        assert counts[Outcome.CONFLICT] + counts[Outcome.PRESENT] == 7
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".")]


def test_threads_with_one_instance_for_one_name(kind: str, tmp_path: Path) -> None:
    directory = LocalDir(tmp_path)
    outcomes: list[Outcome] = []
    run_threads([functools.partial(_store, directory, make(), outcomes) for _ in range(6)])
    assert Counter(outcomes) == {Outcome.SENT: 1, Outcome.PRESENT: 5}


def test_threads_in_the_same_new_directories(tmp_path: Path) -> None:
    directory = LocalDir(tmp_path)

    def store(first: int) -> None:
        for i in range(first, first + 40):
            directory.store(make(f"1.{i}", study_uid=f"1.{i % 7}"))

    run_threads([functools.partial(store, n * 40) for n in range(6)])
    assert len(list(tmp_path.rglob("*.dcm"))) == 240


# -- what makes no sense


@pytest.mark.parametrize(
    ("text", "path", "out_fmt"),
    [
        ("out", "out", DEFAULT_TEMPLATE),
        ("out/a:b", "out/a:b", DEFAULT_TEMPLATE),
        ("out:{PatientID}", "out", "{PatientID}"),
        ("out:{SeriesNumber:03d}/{Modality}", "out", "{SeriesNumber:03d}/{Modality}"),
        ("a:b:all/{PatientID}", "a:b", "all/{PatientID}"),
        ("/:{PatientID}", "/", "{PatientID}"),
        ("~/x:{PatientID}", "HOME/x", "{PatientID}"),
        ("~", "HOME", DEFAULT_TEMPLATE),
    ],
)
def test_parse(text: str, path: str, out_fmt: str) -> None:
    directory = LocalDir.parse(text, max_chunk=7)
    assert str(directory) == path.replace("HOME", os.environ["HOME"])
    assert directory.out_fmt == PathTemplate(out_fmt)
    assert directory.max_chunk == 7


def test_parse_knows_a_directory_with_braces_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "a:{b}").mkdir()
    assert LocalDir.parse(f"{tmp_path}/a:{{b}}").path == tmp_path / "a:{b}"


@pytest.mark.parametrize("text", ["{PatientID}", ":{PatientID}", "out/{PatientID}"])
def test_parse_wants_a_path_before_a_format(text: str) -> None:
    with pytest.raises(UsageError, match="write PATH:FORMAT"):
        LocalDir.parse(text)


def test_arguments_that_make_no_sense() -> None:
    with pytest.raises(TemplateError, match="did you mean PatientID"):
        LocalDir("out", out_fmt="{PatinetID}")
    for path in ("", "a\0b"):
        with pytest.raises(UsageError, match="no path of a directory"):
            LocalDir(path)
    for file_ext in ("a/b", "a.b", "x" * 13, "\n", "*"):
        with pytest.raises(UsageError, match="no file extension"):
            LocalDir("out", file_ext=file_ext)
    with pytest.raises(UsageError, match="max_chunk"):
        LocalDir("out", max_chunk=0)


def test_it_is_a_repo() -> None:
    sink: DataRepo[LocalChunk] = LocalDir("out")
    assert sink.features.supports(TransferMethod.PROXY)
    assert not sink.features.supports(TransferMethod.REMOTE_COPY)
    assert sink.features.queryable
    assert repr(sink) == f"LocalDir('out', out_fmt={DEFAULT_TEMPLATE!r})"


# -- a kill in the middle

_WRITER = """
import sys
from dcm.store.local_dir import LocalDir
from tests.store.instances import make
directory = LocalDir(sys.argv[1], out_fmt="{PatientID}/{SOPInstanceUID}")
for i in range(1_000_000):
    directory.store(make(f"1.{i}", pixels=b"x" * 300_000, patient_id=f"P{i // 5}"))
    if i == 20:
        print("some", flush=True)
"""


def test_kill_leaves_whole_files_only(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "some\n"
        time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)
    paths = [p for p in tmp_path.rglob("*") if p.is_file() and not p.name.startswith(".dcm-")]
    assert len(paths) >= 20
    for path in paths:
        assert data_set_of(path) == encode(path.stem, pixels=b"x" * 300_000, patient_id=path.parent.name)


def test_two_patients_never_share_a_directory(tmp_path: Path) -> None:
    directory = LocalDir(tmp_path, out_fmt="{PatientID}/{SOPInstanceUID}")

    @given(st.text(st.sampled_from("aA./^ %"), max_size=4), st.text(st.sampled_from("aA./^ %"), max_size=4))
    def check(left: str, right: str) -> None:
        left, right = left.strip(" "), right.strip(" ")  # the padding of LO (PS3.5 section 6.2)
        assume(left != right)
        paths = [directory.store(make(patient_id=patient_id)).path for patient_id in (left, right)]
        assert paths[0].parent != paths[1].parent

    check()
