"""A directory as a source: which files count, what is given away, and files that change, vanish or contradict."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from dcm.attrs import Attributes
from dcm.errors import PartialError, StoreError, UsageError
from dcm.instance import Instance
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from dcm.report import NullProgress, Outcome, QueryReport, TransferReport
from dcm.store import TransferMethod
from dcm.store.local_dir import LocalDir
from dcm.store.memory import MemoryStore
from dcm.sync import sync
from tests import data
from tests.data import Sample
from tests.net.support import result_of
from tests.store.conformance import fetch, held, uids_of
from tests.store.instances import data_set_of, encode, make, write_file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    return path


@pytest_asyncio.fixture
async def source(root: Path) -> AsyncIterator[LocalDir]:
    directory = LocalDir(root, file_ext="", max_chunk=4)
    yield directory
    await asyncio.to_thread(directory.close)


async def all_of(source: LocalDir, *, keep_errors: bool = False) -> tuple[MemoryStore, TransferReport]:
    return await fetch(source, await source.query(QueryLevel.IMAGE), keep_errors=keep_errors)


# -- which files count


@pytest.mark.parametrize(
    ("file_ext", "found"),
    [("", {"1.1", "1.2", "1.3", "1.4"}), ("dcm", {"1.1", "1.3"}), (".IMA", {"1.2"}), ("none", set())],
)
async def test_files_are_told_apart_by_content_or_by_extension(file_ext: str, found: set[str], root: Path) -> None:
    write_file(root / "a.dcm", "1.1")
    write_file(root / "b.ima", "1.2")
    write_file(root / "deep" / "er" / "C.DCM", "1.3")
    write_file(root / "no extension", "1.4")
    (root / "d.dcm").write_text("not DICOM")
    directory = LocalDir(root, file_ext=file_ext)
    report = QueryReport()
    assert set((await directory.query(QueryLevel.IMAGE, report=report)).uids()) == found
    assert report.files.count("foreign") == (file_ext in ("", "dcm"))
    assert report.exit_code == 0
    await asyncio.to_thread(directory.close)


async def test_without_recursion_only_its_own_files_count(root: Path) -> None:
    write_file(root / "a", "1.1")
    write_file(root / "deep" / "b", "1.2")
    directory = LocalDir(root, recurse=False, file_ext="")
    assert [*(await directory.query(QueryLevel.IMAGE)).uids()] == ["1.1"]
    await asyncio.to_thread(directory.close)


HOSTILE = ("a\nb", "\x1b[31mred", "x" * 255, "\udcff\udcfe", "-rf *", "%s %d {0}", "ünï cødé", "a'b\"c\\d")


async def test_names_are_nothing_but_names(root: Path, source: LocalDir) -> None:
    names = {f"1.{number}": name for number, name in enumerate(HOSTILE, 1)}
    for uid, name in names.items():
        write_file(root / "deep" / os.fsencode(name).decode("utf-8", "surrogateescape"), uid)
    deep = root
    for _ in range(20):
        deep = deep / ("y" * 100)
    deep.mkdir(parents=True)
    write_file(deep / "file", "2.1")
    dest, report = await all_of(source)
    assert set(held(dest)) == {*names, "2.1"}
    assert report.ok
    out = LocalDir(root.parent / "out")
    for method in (TransferMethod.LOCAL_COPY, TransferMethod.SYMLINK):
        report = TransferReport()
        async with out.send(report, method=method) as queue:
            await source.fetch(await source.query(), queue.place, report, method=method)
        assert report.ok


async def test_a_root_whose_name_is_no_text(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n"))
    write_file(root / "a", "1.1")
    directory = LocalDir(root, file_ext="")
    dest, report = await all_of(directory)
    assert (set(held(dest)), report.ok) == ({"1.1"}, True)
    found = QueryResult.from_json((await directory.query()).to_json())
    assert (len(found), found.prov.source) == (1, None)
    await asyncio.to_thread(directory.close)


async def test_symbolic_links(root: Path, source: LocalDir, tmp_path: Path) -> None:
    """A link to a file is as good as the file, one to a directory is not followed: no loops, no way out."""
    (root / "link").symlink_to(write_file(tmp_path / "elsewhere" / "a", "1.1"))
    (root / "dangling").symlink_to("nowhere")
    (root / "out").symlink_to(tmp_path)
    (root / "loop").symlink_to(root)
    write_file(tmp_path / "elsewhere" / "b", "1.2")
    write_file(root / "c", "1.3")
    dest, report = await all_of(source)
    assert set(held(dest)) == {"1.1", "1.3"}
    assert report.exit_code in (0, 3)  # the dangling link cannot be read


async def test_what_is_no_file_is_left_alone(root: Path, source: LocalDir) -> None:
    os.mkfifo(root / "pipe")
    write_file(root / "a", "1.1")
    dest, report = await all_of(source)
    assert (set(held(dest)), report.ok) == ({"1.1"}, True)


async def test_pydicoms_files(source: LocalDir, root: Path) -> None:
    """Each of them ends in one state, or is named as left out, and what arrives has the bytes of the file."""
    for number, path in enumerate(data.pydicom_part10_files()):
        shutil.copy(path, root / f"{number:03d}-{path.name}")
    report = QueryReport()
    found = await source.query(QueryLevel.IMAGE, report=report)
    dest, fetched = await fetch(source, found)
    assert set(held(dest)) == set(found.uids())
    assert (fetched.counts[Outcome.FAILED], fetched.adds_up()) == (0, True)
    assert len(dest) > 60
    n_files = sum(1 for _ in root.iterdir())
    assert report.files.count() + report.invalid > 0
    by_bytes = {data.data_set_of(path.read_bytes()) for path in root.iterdir()}
    assert set(held(dest).values()) <= by_bytes
    assert n_files >= len(dest)


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no directory"):
        await LocalDir(tmp_path / "nowhere").query()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="there is no directory"):
        await LocalDir(tmp_path / "file").query()


# -- what it says of itself


async def test_a_result_says_where_it_comes_from_wherever_it_is_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(root / "a", "1.1")
    monkeypatch.chdir(root.parent)
    directory = LocalDir("source", file_ext="")
    found = QueryResult.from_json((await directory.query()).to_json())
    assert found.prov.source == str(root)
    monkeypatch.chdir("/")
    dest, _ = await fetch(LocalDir(str(found.prov.source), file_ext=""), found)
    assert set(held(dest)) == {"1.1"}
    await asyncio.to_thread(directory.close)


async def test_it_is_read_once_and_again_when_asked(root: Path, source: LocalDir) -> None:
    write_file(root / "a", "1.1")
    assert len(await source.query(QueryLevel.IMAGE)) == 1
    write_file(root / "b", "1.2")
    assert len(await source.query(QueryLevel.IMAGE)) == 1
    await source.refresh()
    assert len(await source.query(QueryLevel.IMAGE)) == 2
    assert len(await LocalDir(root, file_ext="").query(QueryLevel.IMAGE)) == 2


@pytest.mark.parametrize("index", [True, False])
async def test_an_index_is_kept_or_not(index: bool, root: Path, isolated_config: Path) -> None:
    write_file(root / "a", "1.1")
    directory = LocalDir(root, file_ext="", index=index)
    assert len(await directory.query(QueryLevel.IMAGE)) == 1
    kept = [path for path in isolated_config.parent.rglob("*") if path.is_file()]
    assert bool(kept) == index
    assert [*root.iterdir()] == [root / "a"]
    await asyncio.to_thread(directory.close)


async def test_the_first_to_ask_hears_of_files_that_are_left_out(root: Path, source: LocalDir) -> None:
    path = write_file(root / "cut", "1.1", pixels=bytes(1000))
    path.write_bytes(path.read_bytes()[:-500])
    write_file(root / "a", "1.2")
    report = TransferReport()
    dest, _ = await fetch(source, QueryResult(QueryLevel.STUDY, [_study("1.2.3")]), report)
    assert set(held(dest)) == {"1.2"}
    assert (report.files.count("truncated"), report.exit_code) == (1, 3)
    again = QueryReport()
    await source.query(report=again)
    assert again.files.count() == 0


async def test_without_a_report_warnings_are_logged(
    root: Path, source: LocalDir, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_file(root / "cut", "1.1", pixels=bytes(1000))
    path.write_bytes(path.read_bytes()[:-500])
    with caplog.at_level(logging.WARNING):
        await source.query()
    assert "ends too early" in caplog.text


async def test_a_scan_can_be_cancelled(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dcm.store.index import Index

    begun = threading.Event()
    stopped: list[bool] = []

    def endless(self: Index, report: object = None, *, stop: threading.Event, **_: object) -> None:
        begun.set()
        while not stop():  # type: ignore[operator]
            threading.Event().wait(0.001)
        stopped.append(True)

    monkeypatch.setattr(Index, "refresh", endless)
    task = asyncio.ensure_future(LocalDir(root).query())
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stopped == [True]


def _study(uid: str) -> Attributes:
    return Attributes.from_items([(0x00100020, "LO", "Vamp001"), (0x0020000D, "UI", uid)])


# -- files that are not what they were


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def replace(path: Path) -> None:
    """The same size and time, another file."""
    times = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def forbid(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("method", [TransferMethod.PROXY, TransferMethod.LINK])
@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (Path.unlink, "the file has vanished"),
        (change, "the file has changed since it was indexed"),
        (replace, "the file has changed since it was indexed"),
        (shorten, "the file has changed since it was indexed"),
        (forbid, "the file has changed since it was indexed"),
    ],
)
async def test_a_file_that_is_not_what_it_was_fails_alone(
    what: object, reason: str, method: TransferMethod, big: bool, root: Path, source: LocalDir
) -> None:
    pixels = bytes((1 << 20) if big else 10)
    paths = [write_file(root / f"{number}", f"1.{number}", pixels=pixels) for number in range(1, 6)]
    found = await source.query()
    assert callable(what)
    await asyncio.to_thread(what, paths[2])
    report = TransferReport()
    dest, _ = await fetch(source, found, report, method=method, dests=("",))
    assert set(held(dest)) == {"1.1", "1.2", "1.4", "1.5"}
    (problem,) = report.problems
    assert (problem.kind, problem.subject, problem.message, problem.path) == ("failed", "1.3", reason, str(paths[2]))
    assert (report.exit_code, report.adds_up()) == (3, True)


async def test_a_file_that_changes_while_it_is_read_fails(
    root: Path, source: LocalDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(root / "a", "1.1")
    found = await source.query()
    read = os.read

    def slow(fd: int, n: int) -> bytes:
        content = read(fd, n)
        os.utime(path, ns=(1, 1))
        return content

    monkeypatch.setattr(os, "read", slow)
    dest, report = await fetch(source, found)
    assert len(dest) == 0
    assert report.problems[0].message == "the file changed while it was read"


async def test_a_large_file_that_changes_later_fails_where_it_is_stored(root: Path, source: LocalDir) -> None:
    path = write_file(root / "a", "1.1", pixels=bytes(3 << 20))
    report = TransferReport()
    dest = LocalDir(root.parent / "dest")
    async with dest.send(report) as queue:

        async def deliver(instance: Instance) -> bool:
            await asyncio.to_thread(change, path)
            return await queue.place(instance)

        await source.fetch(await source.query(), deliver, report)
    assert report.state("1.1") is Outcome.FAILED
    assert "has changed since it was looked at" in report.problems[0].message
    assert not [*dest.path.rglob("*.dcm")]


async def test_data_sets_that_cannot_be_decoded_fail_alone(root: Path, source: LocalDir) -> None:
    write_file(root / "a", "1.1")
    write_file(root / "b", "1.2")
    found = await source.query()
    report = TransferReport()
    decoded = [ds.SOPInstanceUID async for ds in source.retrieve(found, report)]
    assert (decoded, report.ok) == (["1.1", "1.2"], True)


# -- several files with one instance


async def test_of_the_same_bytes_one_is_taken_silently(root: Path, source: LocalDir) -> None:
    write_file(root / "b", "1.1")
    (root / "a").write_bytes(make("1.1").meta_bytes() + encode("1.1"))  # another file meta header
    for keep_errors in (False, True):
        dest, report = await all_of(source, keep_errors=keep_errors)
        assert held(dest) == {"1.1": encode("1.1")}
        assert (report.ok, report.anomalies.count(), report.n_instances) == (True, 0, 1)
    assert (await source.query()).n_instances() == 1


async def test_of_other_bytes_the_first_is_taken_and_both_are_named(root: Path, source: LocalDir) -> None:
    write_file(root / "b", "1.1", pixels=b"second")
    write_file(root / "a", "1.1", pixels=b"first!")
    write_file(root / "c", "1.1", pixels=b"first!")
    dest, report = await all_of(source)
    assert held(dest) == {"1.1": encode("1.1", pixels=b"first!")}
    (anomaly,) = report.anomalies
    assert (anomaly.kind, anomaly.subject) == ("duplicate", "1.1")
    assert str(root / "a") in anomaly.message
    assert str(root / "b") in anomaly.message
    assert report.exit_code == 0


async def test_with_keep_errors_all_of_them_are_given(root: Path, source: LocalDir) -> None:
    write_file(root / "b", "1.1", pixels=b"second")
    write_file(root / "a", "1.1", pixels=b"first!")
    report = TransferReport()
    out = LocalDir(root.parent / "out")
    async with out.send(report) as queue:
        await source.fetch(await source.query(), queue.place, report, keep_errors=True)
    assert report.state("1.1") is Outcome.CONFLICT
    kept = {data_set_of(path) for path in out.path.rglob("*.dcm")}
    assert kept == {encode("1.1", pixels=b"second"), encode("1.1", pixels=b"first!")}


async def test_where_one_copy_is_gone_the_other_is_taken(root: Path, source: LocalDir) -> None:
    first = write_file(root / "a", "1.1")
    write_file(root / "b", "1.1")
    found = await source.query()
    first.unlink()
    dest, report = await fetch(source, found)
    assert (set(held(dest)), report.ok) == ({"1.1"}, True)


async def test_copies_stay_together_in_chunks(root: Path) -> None:
    for number in range(10):
        write_file(root / f"{number}", f"1.{number % 5}", pixels=b"a" if number < 5 else b"b")
    directory = LocalDir(root, file_ext="", max_chunk=3)
    seen: list[str] = []
    async for chunk in directory.gen_chunks():
        assert len(chunk.files) <= 3
        seen.extend([instance.sop_instance_uid async for instance in chunk.gen_data()])
    assert sorted(seen) == [f"1.{number}" for number in range(5)]
    await asyncio.to_thread(directory.close)


async def test_a_chunk_raises_in_the_end_for_what_it_could_not_give(root: Path, source: LocalDir) -> None:
    write_file(root / "a", "1.1")
    path = write_file(root / "b", "1.2")
    chunks = [chunk async for chunk in source.gen_chunks()]
    path.unlink()
    seen: list[str] = []

    async def read() -> None:
        async for instance in chunks[0].gen_data():
            seen.append(instance.sop_instance_uid)

    with pytest.raises(PartialError, match="the file has vanished"):
        await read()
    assert seen == ["1.1"]


async def test_contradicting_files_are_told_and_not_fatal(root: Path, source: LocalDir) -> None:
    """One study of two patients."""
    write_file(root / "a", "1.1", study_uid="1.2.3", patient_id="Vamp001")
    write_file(root / "b", "1.2", study_uid="1.2.3", patient_id="Vamp002")
    report = QueryReport()
    found = await source.query(QueryLevel.IMAGE, report=report)
    assert found.n_patients() == 1
    assert report.exit_code in (0, 5)
    assert report.warnings


# -- how it is handed over


async def test_small_files_are_read_whole_and_large_ones_are_not(root: Path, source: LocalDir) -> None:
    write_file(root / "small", "1.1", pixels=bytes(1000))
    write_file(root / "large", "1.2", pixels=bytes(2 << 20))
    found: dict[str, bool] = {}
    paths = {}
    async for instance in source.instances(await source.query()):
        found[instance.sop_instance_uid] = instance.in_memory
        paths[instance.sop_instance_uid] = instance.path
    assert found == {"1.1": True, "1.2": False}
    assert paths == {"1.1": root / "small", "1.2": root / "large"}


async def test_memory_is_bounded_and_many_are_in_hand(root: Path, source: LocalDir) -> None:
    n, size = 100, 900_000
    for number in range(n):
        write_file(root / f"{number:03d}", f"1.{number}", pixels=bytes(size))
    held_bytes = most = most_bytes = now = 0

    async def deliver(instance: Instance) -> bool:
        nonlocal held_bytes, most, most_bytes, now
        now += 1
        held_bytes += instance.size
        most, most_bytes = max(most, now), max(most_bytes, held_bytes)
        await asyncio.sleep(0.001)
        now -= 1
        held_bytes -= instance.size
        return True

    await source.fetch(await source.query(), deliver, TransferReport())
    assert 8 <= most <= 32
    assert most_bytes <= 64 << 20


async def test_samples_in_any_order(samples: list[Sample], root: Path, source: LocalDir) -> None:
    for number, sample in enumerate(reversed(samples)):
        shutil.copy(sample.path, root / f"{number % 3}-{number}")
    dest, report = await fetch(source, result_of(samples[3:9]))
    assert set(held(dest)) == uids_of(samples[3:9])
    assert report.n_series == len({sample.series_uid for sample in samples[3:9]})


# -- what it writes itself


async def test_what_is_stored_is_known_without_reading_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dcm.store.index._reading import FileReader

    directory = LocalDir(root)
    assert len(await directory.query(QueryLevel.IMAGE)) == 0
    report = TransferReport()
    async with directory.send(report) as queue:
        for number in range(20):
            await queue.put(make(f"1.{number}"))

    def refuse(*_: object) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr(FileReader, "read", refuse)
    again = LocalDir(root)
    for known in (directory, again):
        await known.refresh()
        found = await known.query(QueryLevel.IMAGE)
        assert set(found.uids()) == {f"1.{number}" for number in range(20)}


async def test_an_index_that_cannot_be_written_loses_no_instance(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from dcm.store.index import Index

    directory = LocalDir(root)
    await directory.query()
    together = threading.Barrier(2)  # both files are written before either is told that the index has failed

    def refuse(*_: object) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(5)
        raise StoreError("cannot use the index: disk full")

    monkeypatch.setattr(Index, "add", refuse)
    report = TransferReport()
    with caplog.at_level(logging.WARNING):
        async with directory.send(report) as queue:
            await queue.put(make("1.1"))
            await queue.put(make("1.2"))
    assert report.counts[Outcome.SENT] == 2
    assert caplog.text.count("disk full") == 1


async def test_each_sync_looks_anew(root: Path, source: LocalDir, tmp_path: Path) -> None:
    """Whoever keeps the objects for days must not hear of what was there on the first of them."""
    (tmp_path / "dest").mkdir()
    dest = LocalDir(tmp_path / "dest", out_fmt="{SOPInstanceUID}")
    write_file(root / "a", "1.1")
    await sync(source, dest)
    (tmp_path / "dest/1.1.dcm").unlink()
    write_file(root / "b", "1.2")
    report = await sync(source, dest)
    assert set(report.uids(Outcome.SENT)) == {"1.1", "1.2"}
    assert (await sync(source, dest, dry_run=True)).planned() == (0, 0)
    (tmp_path / "dest/1.1.dcm").unlink()
    assert (await sync(source, dest, dry_run=True)).pending() == ["1.1"]


async def test_without_a_place_for_an_index_a_directory_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file, where there should be a directory")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    home = tmp_path / "home"
    samples = data.write_series(home)
    report = await sync(LocalDir(home), MemoryStore())
    assert set(report.uids(Outcome.SENT)) == {sample.sop_instance_uid for sample in samples}
    assert "going on without an index" in caplog.text


class Phases(NullProgress):
    """Remembers what it was told, and by whom."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.threads: set[int] = set()

    def phase(self, text: str) -> None:
        self.texts.append(text)
        self.threads.add(threading.get_ident())


async def test_the_first_look_through_a_directory_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take minutes, in which nothing moves: somebody looks at the terminal meanwhile."""
    monkeypatch.setattr("dcm.store._scanning._INTERVAL", 0.0)
    monkeypatch.setattr("dcm.store.index._scan._STEP", 4)
    await asyncio.to_thread(data.write_tiny, root, 12)
    told = Phases()
    report = TransferReport(told)
    await sync(LocalDir(root), MemoryStore(), report=report)
    assert [text for text in told.texts if text.startswith("reading")] == [
        f"reading {root}: {n} of 12 files" for n in (4, 8, 12)
    ]
    assert told.threads == {threading.get_ident()}
    assert report.counts[Outcome.SENT] == 12
