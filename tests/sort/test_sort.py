"""Sorting files: every file ends in one state, every instance at one place, whatever the mess looks like."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_files

from dcm.errors import PartialError, UsageError
from dcm.report import NullProgress
from dcm.sort import FORMATS, Conflict, SortReport, SortState, example_of, sort, template_of
from dcm.sort._look import ThreadSorter
from dcm.sort._run import _runs
from dcm.sort._worker import ProcessSorter
from dcm.store import TransferMethod
from dcm.store.local_dir import LocalDir
from tests import data
from tests.sort.messes import MESS, TREE, contents, counts, mess, of_state, states, tarred, zipped
from tests.store.instances import write_file

METHODS = ("copy", "move", "link", "symlink")


async def run(sources: Any, dest: Path, template: str = TREE, **options: Any) -> SortReport:
    """Sort, and see that the states add up."""
    report = SortReport()
    known = {name: options.pop(name) for name in ("file_ext", "jobs") if name in options}
    await sort(sources, LocalDir(dest, out_fmt=template), report=report, **known, **options)
    assert report.adds_up()
    return report


# -- what becomes of files


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("method", METHODS)
async def test_every_file_ends_in_one_state(method: str, jobs: int, tmp_path: Path) -> None:
    source, dest = mess(tmp_path / "mess"), tmp_path / "sorted"
    before = contents(source)
    report = await run(source, dest, method=method, jobs=jobs)
    assert states(report) == MESS
    assert report.exit_code == 3
    placed = contents(dest)
    assert len(placed) == 4
    assert placed["Vamp001/1.2.1.dcm"] == before["a"]
    assert placed["%2E.%2F..%2FVamp%2F002/1.2.2.dcm"] == before["deep/er/b.IMA"]
    assert placed["Vamp001/1.2.3.dcm"] == before["c.dcm"]
    (conflict,) = [path for path in placed if "~" in path]
    assert placed[conflict] == before["a with other bytes"]
    assert next(file for file in report.found if file.state is SortState.CONFLICT).dest == conflict
    left = {"short", "notes.txt", "empty"}
    assert set(contents(source)) == (left if method == "move" else set(before))
    for path in dest.rglob("*.dcm"):
        assert path.is_symlink() == (method == "symlink")
        assert path.stat().st_nlink == (2 if method == "link" else 1)
    # Once more: nothing is stored twice.
    again = await run(source, dest, method=method, jobs=jobs)
    assert contents(dest) == placed
    assert again.counts[SortState.SORTED] == 0


@pytest.mark.parametrize("jobs", [1, 3])
async def test_of_several_files_that_want_one_name_the_first_gets_it(jobs: int, tmp_path: Path) -> None:
    """However many there are, and however they are spread over processes; and a dry run says so beforehand."""
    source = tmp_path / "mess"
    for number in range(400):
        write_file(source / f"{number % 7}" / f"{number:04d}", f"1.2.{number % 50}", pixels=b"%06d" % (number % 100))
    thought = await run(source, tmp_path / "sorted", dry_run=True, jobs=jobs)
    assert not (tmp_path / "sorted").exists()
    done = await run(source, tmp_path / "sorted", jobs=jobs)
    assert sorted(done.found) == sorted(thought.found)
    assert counts(done) == {"sorted": 50, "duplicate": 150, "conflict": 200}
    assert len(contents(tmp_path / "sorted")) == 100


@pytest.mark.parametrize("template", ["{SOPInstanceUID}", "{PatientID}", "{PatientID}/{Modality}", TREE])
@pytest.mark.parametrize("conflict", [Conflict.RENAME, Conflict.REPLACE, Conflict.SKIP])
async def test_a_dry_run_says_what_comes_out(template: str, conflict: Conflict, tmp_path: Path) -> None:
    """Whatever the tree is; also without any directories, and where several instances want one name."""
    source = mess(tmp_path / "mess")
    for _ in range(2):
        thought = await run(source, tmp_path / "sorted", dry_run=True, template=template, conflict=conflict)
        done = await run(source, tmp_path / "sorted", template=template, conflict=conflict)
        assert sorted(done.found) == sorted(thought.found)


async def test_all_files_of_pydicom(tmp_path: Path) -> None:
    paths = [path for path in sorted(map(Path, get_testdata_files())) if path.suffix != ".zip"]
    report = await run(paths, tmp_path / "sorted", jobs=1, template="{PatientID|'none'}/{SOPInstanceUID}")
    assert report.adds_up()
    found = {file.path: file for file in report.found}
    here = contents(tmp_path / "sorted")
    used: dict[str, str] = {}
    for path in paths:
        file = found.get(str(path))
        if file is None:  # a DICOMDIR, which stands for what it names
            continue
        if file.state in (SortState.SORTED, SortState.CONFLICT):
            assert here[file.dest] == path.read_bytes() or file.dest in used
            used[file.dest] = file.path
        elif file.state is SortState.DUPLICATE:
            there = tmp_path / "sorted" / file.dest
            assert data.data_set_of(there.read_bytes()) == data.data_set_of(path.read_bytes())
        else:
            assert file.reason
    assert set(used) == set(here)
    assert len(here) > 80


@pytest.mark.parametrize("conflict", ["skip", "fail", "replace", Conflict.RENAME])
@pytest.mark.parametrize("dry_run", [False, True])
async def test_conflicts(conflict: Any, dry_run: bool, tmp_path: Path) -> None:
    source, dest = tmp_path / "mess", tmp_path / "sorted"
    there = write_file(dest / "Vamp001" / "1.2.1.dcm", "1.2.1", pixels=b"others")
    before = there.read_bytes()
    mine = write_file(source / "a", "1.2.1").read_bytes()
    report = await run(source, dest, conflict=conflict, dry_run=dry_run, method="move")
    replaced = conflict == "replace"
    assert counts(report) == {"sorted" if replaced else "conflict": 1}
    assert report.exit_code == (0 if replaced else 3)
    assert there.read_bytes() == (mine if replaced and not dry_run else before)
    assert (source / "a").exists() == (dry_run or conflict in ("skip", "fail"))
    assert len(contents(dest)) == (2 if conflict is Conflict.RENAME and not dry_run else 1)


async def test_fail_ends_the_run(tmp_path: Path) -> None:
    for number in range(300):
        write_file(tmp_path / "mess" / f"{number:04d}", "1.2.3", pixels=b"%06d" % number)
    report = await run(tmp_path / "mess", tmp_path / "sorted", conflict="fail", method="move", jobs=1)
    assert report.exit_code == 3
    assert report.counts[SortState.SORTED] == 1
    assert of_state(report, SortState.NOT_REACHED) == ["the run ended before its turn"] * 254
    assert "254 not reached: the run ended before its turn" in report.summary()
    assert report.warnings[-1].startswith("ended at the first conflict")
    assert report.to_json()["ended_early"] is True
    assert len(contents(tmp_path / "mess")) == 299


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("method", ["copy", "move"])
async def test_nothing_is_placed_after_the_conflict_that_ends_the_run(
    method: str, jobs: int, dry_run: bool, tmp_path: Path
) -> None:
    """However many processes there are; all that comes before it is."""
    write_file(tmp_path / "sorted" / "Vamp001" / "9.9.dcm", "9.9", pixels=b"before")
    for number in range(1000):  # in other directories than those before them
        write_file(tmp_path / "mess" / f"{number:04d}", f"1.2.{number}", patient_id=f"P{number % 7}")
    write_file(tmp_path / "mess" / "0700 conflict", "9.9")
    write_file(tmp_path / "later" / "a", "1.3.1")
    options: dict[str, Any] = {"conflict": "fail", "method": method, "jobs": jobs, "dry_run": dry_run}
    sources = [tmp_path / "mess", tmp_path / "later"]
    report = await run(sources, tmp_path / "sorted", **options)
    assert report.exit_code == 3
    done = {Path(file.path).name for file in report.found if file.state is SortState.SORTED}
    assert done == {f"{number:04d}" for number in range(701)}
    assert len(contents(tmp_path / "sorted")) == (1 if dry_run else 702)
    assert len(of_state(report, SortState.CONFLICT)) == 1


@pytest.mark.parametrize("dry_run", [True, False])
async def test_nothing_is_read_after_the_portion_whose_conflict_ends_the_run(dry_run: bool, tmp_path: Path) -> None:
    """Neither the next portions nor the archives after them."""
    write_file(tmp_path / "sorted" / "Vamp001" / "9.9.dcm", "9.9", pixels=b"before")
    first = write_file(tmp_path / "first", "9.9")
    data.write_tiny(tmp_path / "mess", 600)
    archive = zipped(tmp_path / "a.zip", {str(n): (tmp_path / "first").read_bytes() for n in range(100)})
    report = await run([first, tmp_path / "mess", archive], tmp_path / "sorted", conflict="fail", dry_run=dry_run)
    assert counts(report) == {"conflict": 1, "not reached": 255}
    report = await run([archive, tmp_path / "mess"], tmp_path / "sorted", conflict="fail", dry_run=dry_run)
    assert counts(report) == {"conflict": 1}
    assert len(contents(tmp_path / "sorted")) == 1


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("method", METHODS)
async def test_nothing_is_replaced_that_came_in_the_same_run(method: str, jobs: int, tmp_path: Path) -> None:
    """With a move, it would be nowhere any more; with the others, each further run would exchange the two."""
    for number in range(3):
        write_file(tmp_path / "mess" / f"c{number}", "1.2.1", pixels=b"%06d" % number)
    before = contents(tmp_path / "mess")
    there = write_file(tmp_path / "sorted" / "Vamp001" / "1.2.1.dcm", "1.2.1", pixels=b"before")
    options: dict[str, Any] = {"method": method, "conflict": "replace", "jobs": jobs}
    thought = await run(tmp_path / "mess", tmp_path / "sorted", dry_run=True, **options)
    done = await run(tmp_path / "mess", tmp_path / "sorted", **options)
    assert sorted(done.found) == sorted(thought.found)
    assert states(done) == {"c0": "sorted", "c1": "conflict", "c2": "conflict"}
    assert done.exit_code == 3
    assert of_state(done, SortState.CONFLICT) == ["other bytes under this UID came before it, it was not stored"] * 2
    assert there.read_bytes() == before["c0"]
    assert set(contents(tmp_path / "mess")) == ({"c1", "c2"} if method == "move" else set(before))
    if method != "move":  # what is there already counts as come in this run, too
        await run(tmp_path / "mess", tmp_path / "sorted", **options)
        assert there.read_bytes() == before["c0"]


def test_another_process_replaces_nothing_where_it_is_told_so(tmp_path: Path) -> None:
    """As the later ones of one run are placed."""
    path = write_file(tmp_path / "mess" / "a", "1.2.1")
    there = write_file(tmp_path / "sorted" / "Vamp001" / "1.2.1.dcm", "1.2.1", pixels=b"before")
    before = there.read_bytes()
    dest = LocalDir(tmp_path / "sorted", out_fmt=TREE, conflict=Conflict.REPLACE)
    sorter = ProcessSorter(dest, TransferMethod.MOVE)
    sorter.ready()
    try:
        for keeps, state in ((True, "conflict"), (False, "sorted")):
            sorter.look([os.fsencode(path)])
            assert [each.state for each in sorter.place([0], keeps)] == [state]
            assert (there.read_bytes() == before) == path.exists() == keeps
    finally:
        sorter.close()


@pytest.mark.parametrize("conflict", ["replace", "rename"])
async def test_names_that_some_file_systems_do_not_tell_apart(
    conflict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where something may be replaced, such a file is placed as one that has the name of another."""
    write_file(tmp_path / "mess" / "a", "1.2.1", patient_id="Vamp")
    write_file(tmp_path / "mess" / "b", "1.2.1", patient_id="VAMP")
    place, kept = ThreadSorter.place, []

    def seen(self: ThreadSorter, chosen: Any, keeps: bool = False) -> Any:
        kept.append(keeps)
        return place(self, chosen, keeps)

    monkeypatch.setattr(ThreadSorter, "place", seen)
    await run(tmp_path / "mess", tmp_path / "sorted", conflict=conflict, method="move", jobs=1)
    assert kept == ([False, True] if conflict == "replace" else [False])


async def test_names_with_a_mark_are_not_replaced_either(tmp_path: Path) -> None:
    """Whoever knows the mark of a file can give another one the name that it gets."""
    write_file(tmp_path / "sorted" / "Vamp.dcm", "1.2.9", patient_id="Vamp")
    first = write_file(tmp_path / "1" / "a", "1.2.1", patient_id="Vamp")
    options: dict[str, Any] = {"template": "{PatientID}", "conflict": "replace"}
    (told,) = (await run(first, tmp_path / "sorted", dry_run=True, **options)).found
    other = write_file(tmp_path / "2" / "b", "1.2.1", patient_id=told.dest.removesuffix(".dcm"))
    archive = zipped(tmp_path / "a.zip", contents(tmp_path / "1"))
    thought = await run([archive, other], tmp_path / "sorted", dry_run=True, **options)
    done = await run([archive, other], tmp_path / "sorted", **options)
    assert states(done) == states(thought) == {"a": "sorted", "b": "conflict"}
    assert (tmp_path / "sorted" / told.dest).read_bytes() == first.read_bytes()


async def test_nothing_is_replaced_that_is_to_be_sorted_itself(tmp_path: Path) -> None:
    for name in ("another.dcm", "Vamp001/1.2.1.dcm"):
        write_file(tmp_path / name, "1.2.1", pixels=name.encode()[:6])
    before = contents(tmp_path)
    sources = [tmp_path, [tmp_path / name for name in before]]
    for source in sources:
        thought = await run(source, tmp_path, method="move", conflict="replace", dry_run=True)
        done = await run(source, tmp_path, method="move", conflict="replace")
        assert counts(done) == counts(thought) == {"sorted": 1, "conflict": 1}
        assert contents(tmp_path) == before


async def test_another_instance_never_goes_for_one_that_wants_its_name(tmp_path: Path) -> None:
    for number in range(5):
        write_file(tmp_path / "mess" / str(number), f"1.2.{number}")
    before = set(contents(tmp_path / "mess").values())
    options = {"template": "{PatientID}", "conflict": "replace", "method": "move"}
    assert counts(await run(tmp_path / "mess", tmp_path / "sorted", **options)) == {"sorted": 5}
    assert set(contents(tmp_path / "sorted").values()) == before


async def test_what_cannot_be_written_fails_by_itself(tmp_path: Path) -> None:
    write_file(tmp_path / "mess" / "a", "1.2.1", patient_id="A")
    write_file(tmp_path / "mess" / "b", "1.2.2", patient_id="B")
    (tmp_path / "sorted").mkdir()
    (tmp_path / "sorted" / "A").symlink_to(tmp_path)
    report = await run(tmp_path / "mess", tmp_path / "sorted", method="move")
    assert states(report) == {"a": "failed", "b": "sorted"}
    assert of_state(report, SortState.FAILED) == ["a symbolic link is in the way"]
    assert (tmp_path / "mess" / "a").exists()


# -- where sources and destination meet


async def test_what_is_in_a_destination_within_a_source_is_no_source(tmp_path: Path) -> None:
    source = mess(tmp_path / "mess")
    first = await run(source, source / "sorted")
    assert states(first) == MESS
    second = await run(source, source / "sorted")
    assert set(states(second)) == set(MESS)


@pytest.mark.parametrize("jobs", [1, 2])
async def test_in_place(jobs: int, tmp_path: Path) -> None:
    source = mess(tmp_path / "mess")
    (source / "Vamp001").mkdir()
    (source / "c.dcm").rename(source / "Vamp001" / "1.2.3.dcm")  # at its place already
    report = await run(source, source, method="move", jobs=jobs)
    expected = {("1.2.3.dcm" if name == "c.dcm" else name): state for name, state in MESS.items()}
    assert states(report) == expected
    left = {path.name for path in source.rglob("*") if path.is_file()}
    assert len(left & {"1.2.1.dcm", "1.2.2.dcm", "1.2.3.dcm", "short", "notes.txt", "empty"}) == 6
    assert len(left) == 7
    again = await run(source, source, method="move", jobs=jobs)
    assert again.counts[SortState.SORTED] == 3
    for method in ("copy", "link", "symlink"):
        with pytest.raises(UsageError, match="source and destination"):
            await run(source, source, method=method)


async def test_sources_that_overlap_are_sorted_once(tmp_path: Path) -> None:
    source = mess(tmp_path / "mess")
    report = await run([source / "deep", source, source / "a", source], tmp_path / "sorted", method="move")
    assert states(report) == MESS


async def test_no_recursion_and_extensions(tmp_path: Path) -> None:
    source = mess(tmp_path / "mess")
    assert "b.IMA" not in states(await run(source, tmp_path / "1", recurse=False))
    assert states(await run(source, tmp_path / "2", file_ext="ima")) == {"b.IMA": "sorted"}


async def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    source = mess(tmp_path / "mess")
    archive = zipped(tmp_path / "a.zip", contents(source))
    for options, message in (
        ({"sources": []}, "no source"),
        ({"sources": tmp_path / "none"}, "there is no"),
        ({"method": "teleport"}, "teleport"),
        ({"conflict": "fight"}, "fight"),
        ({"jobs": 0}, "jobs"),
        ({"sources": [source, archive], "method": "link"}, "can only be copied"),
    ):
        with pytest.raises(UsageError, match=message):
            await sort(**{"sources": source, "dest": tmp_path / "sorted", **options})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not a directory"):
        await sort(source, source / "a")
    assert not (tmp_path / "sorted").exists()
    with pytest.raises(PartialError):
        await sort(source, tmp_path / "sorted")


# -- names


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\\\0"), max_size=20)


@settings(max_examples=40)
@given(
    patients=st.lists(
        VALUES | st.sampled_from(["..", ".", "/", "", "a/b", "a%2Fb", "CON", "~"]), min_size=25, max_size=25
    )
)
def test_names_are_injective_and_stay_in_the_root(
    patients: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("names")
    for number, patient in enumerate(patients):
        write_file(root / "mess" / f"{number}", f"1.2.{number % 5}", patient_id=patient, pixels=b"%06d" % number)
    (root / "sorted").mkdir()
    report = SortReport()
    asyncio.run(sort(root / "mess", LocalDir(root / "sorted", out_fmt=TREE), report=report, jobs=1, method="link"))
    assert report.adds_up()
    assert counts(report).keys() <= {"sorted", "conflict"}
    places = {file.dest for file in report.found}
    assert len(places) == len(patients)
    assert set(contents(root / "sorted")) == places
    assert {path.name for path in root.iterdir()} == {"mess", "sorted"}
    by_place = {file.dest: Path(file.path) for file in report.found}
    assert all((root / "sorted" / place).samefile(path) for place, path in by_place.items())


def test_formats_have_examples_and_keep_instances_apart() -> None:
    for name, text in FORMATS.items():
        template = template_of(name)
        assert str(template) == text
        assert 0x00080018 in template.tags
        assert "unknown" not in example_of(template)
    with pytest.raises(UsageError, match="no such name"):
        template_of("uids")


# -- what goes wrong


async def test_processes_that_end_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = data.write_tiny(tmp_path / "mess", 600)
    place, own_place = ProcessSorter.place, ThreadSorter.place
    killed = threading.Event()

    def killing(self: ProcessSorter, chosen: Any, keeps: bool = False) -> Any:
        if not killed.is_set():
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            killed.set()
        return place(self, chosen, keeps)

    def waiting(self: ThreadSorter, chosen: Any, keeps: bool = False) -> Any:
        assert killed.wait(10)  # else this process has done all of it before the other one has started
        return own_place(self, chosen, keeps)

    monkeypatch.setattr(ProcessSorter, "place", killing)
    monkeypatch.setattr(ThreadSorter, "place", waiting)
    report = await run(tmp_path / "mess", tmp_path / "sorted", method="move", jobs=2)
    assert report.exit_code == 3
    assert report.counts[SortState.SORTED] + report.counts[SortState.FAILED] == 600
    assert {*of_state(report, SortState.FAILED)} == {
        "a process that sorted files has ended (signal 9): sort again to see what is done"
    }
    assert (await run(tmp_path / "mess", tmp_path / "sorted", method="move")).exit_code == 0
    assert len(contents(tmp_path / "sorted")) == len(samples)


def start(*args: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "dcm", "sort", *map(str, args)], stderr=subprocess.PIPE)


def all_names(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if path.is_file()}


def wait_for_files(root: Path, n: int) -> None:
    deadline = time.monotonic() + 20
    while len(list(root.rglob("*.dcm"))) < n:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT])
def test_a_move_that_is_stopped_loses_nothing(way: signal.Signals, tmp_path: Path) -> None:
    samples = data.write_tiny(tmp_path / "mess", 2000)
    before = {sample.sop_instance_uid: sample.path.read_bytes() for sample in samples}
    report = tmp_path / "report.json"
    process = start("--method", "move", "-j", "2", "--report", report, tmp_path / "mess", tmp_path / "sorted")
    wait_for_files(tmp_path / "sorted", 300)
    process.send_signal(way)
    _, said = process.communicate(timeout=20)
    if way is signal.SIGINT:
        assert process.returncode == 130, said
        told = json.loads(report.read_text())
        assert told["adds_up"]
        assert told["interrupted"]
        assert told["counts"]["sorted"] == len(list((tmp_path / "sorted").rglob("*.dcm")))
    else:
        # Its processes finish what they have been given. The file that it was at itself may have both names.
        deadline = time.monotonic() + 10
        names, before_that = all_names(tmp_path), set[Path]()
        while names != before_that or not 2000 <= len(names) <= 2001:
            assert time.monotonic() < deadline
            time.sleep(0.2)
            names, before_that = all_names(tmp_path), names
    after = [*contents(tmp_path / "sorted").items()]
    assert {Path(name).stem: content for name, content in after}.items() <= before.items()
    rest = contents(tmp_path / "mess").values()
    assert {*(content for _, content in after), *rest} == {*before.values()}
    done = start("--method", "move", tmp_path / "mess", tmp_path / "sorted")
    done.communicate(timeout=25)
    assert done.returncode == 0
    assert {Path(name).stem: c for name, c in contents(tmp_path / "sorted").items()} == before


async def test_a_move_that_cannot_remove_its_source_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in each further run, though there is nothing left to store."""
    source = write_file(tmp_path / "mess" / "a", "1.2.1")
    write_file(tmp_path / "mess" / "b", "1.2.1", pixels=b"others")
    unlink = Path.unlink

    def refused(self: Path, missing_ok: bool = False) -> None:
        if self.parent == source.parent:
            raise PermissionError(errno.EACCES, "Permission denied")
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    for _ in range(2):
        report = await run(tmp_path / "mess", tmp_path / "sorted", method="move")
        assert report.exit_code == 3
        assert states(report) == {"a": "failed", "b": "conflict"}
        (told,) = [file for file in report.found if file.state is SortState.FAILED]
        assert told.dest == "Vamp001/1.2.1.dcm"
        assert told.reason == "it is there, but the source could not be removed: permission denied"
        assert len(contents(tmp_path / "sorted")) == 2
    monkeypatch.undo()
    assert (await run(tmp_path / "mess", tmp_path / "sorted", method="move")).counts[SortState.FAILED] == 0
    assert contents(tmp_path / "mess") == {}


async def test_files_that_change_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_file(tmp_path / "mess" / "a", "1.2.1")
    store_each = LocalDir.store_each

    def changing(self: LocalDir, instances: Any, method: TransferMethod, keeps: bool) -> Any:
        source.write_bytes(source.read_bytes() + b"more")
        return store_each(self, instances, method, keeps=keeps)

    monkeypatch.setattr(LocalDir, "store_each", changing)
    for method in METHODS:
        report = await run(tmp_path / "mess", tmp_path / "sorted", method=method)
        assert states(report)["a"] in ("failed", "truncated")
        write_file(source, "1.2.1")
    assert contents(tmp_path / "sorted") == {}


# -- the report


@pytest.mark.parametrize(("n_files", "method", "known"), [(600, "link", True), (1500, "link", False)])
async def test_how_many_files_there_are_is_told_when_it_is_known(
    n_files: int, method: str, known: bool, tmp_path: Path
) -> None:
    """Else a bar would be nearly full from early on."""
    data.write_tiny(tmp_path / "mess", n_files)
    seen = SeenProgress()
    await sort(tmp_path / "mess", tmp_path / "sorted", method=method, report=SortReport(seen))
    assert seen.totals == ([n_files] if known else [])
    assert seen.n_done == n_files
    seen = SeenProgress()  # in place, it is always known
    await sort(tmp_path / "sorted", tmp_path / "sorted", method="move", report=SortReport(seen))
    assert (seen.totals[:1], {*seen.totals}, seen.n_done) == ([n_files], {n_files}, n_files)


async def test_how_many_there_are_in_an_archive_is_not_known(tmp_path: Path) -> None:
    write_file(tmp_path / "mess" / "a", "1.2.1")
    archive = zipped(tmp_path / "a.zip", contents(tmp_path / "mess"))
    for sources, totals in (([tmp_path / "mess", archive], []), ([archive, tmp_path / "mess"], [2])):
        seen = SeenProgress()
        await sort(sources, tmp_path / "sorted", report=SortReport(seen))
        assert (seen.totals, seen.n_done) == (totals, 2)


class SeenProgress(NullProgress):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.totals: list[int] = []
        self.n_done = 0

    def expected(self, n_instances: int, n_bytes: int | None = None) -> None:
        """A total."""
        self.totals.append(n_instances)

    def advanced(self, n_instances: int, n_bytes: int) -> None:
        """So many more."""
        self.n_done += n_instances


async def test_the_example_of_the_documents_has_a_report_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "sorting.rst").read_text()
    code = textwrap.dedent(re.split(r"\n(?=\S)", text.partition(".. code-block:: python\n")[2])[0])
    monkeypatch.chdir(tmp_path)
    inside = contents(mess(tmp_path / "mess"))
    zipped(tmp_path / "scans.zip", inside)
    namespace: dict[str, Any] = {}
    exec(f"async def example():\n{textwrap.indent(code, '    ')}", namespace)
    await namespace["example"]()
    assert "3 sorted" in capsys.readouterr().out


async def test_the_report_says_where_each_file_went(tmp_path: Path) -> None:
    source = mess(tmp_path / "mess")
    report = await run(source, tmp_path / "sorted")
    assert report.summary().splitlines()[0].endswith("3 sorted, 2 duplicate, 1 conflict, 3 foreign, 1 truncated")
    await asyncio.to_thread(report.write_json, tmp_path / "report.json")
    told = json.loads((tmp_path / "report.json").read_text())
    assert (told["files"], told["adds_up"], told["exit_code"]) == (10, True, 3)
    assert {Path(file["path"]).name: file["state"] for file in told["each"]} == MESS
    counted = SortReport(each_file=False)
    await sort(source, LocalDir(tmp_path / "sorted", out_fmt=TREE), report=counted)
    assert counted.found == []
    assert counted.adds_up()


async def test_archives_and_files_are_told_apart(tmp_path: Path) -> None:
    inside = contents(mess(tmp_path / "mess"))
    zipped(tmp_path / "mess" / "in.zip", inside)
    assert states(await run(tmp_path / "mess", tmp_path / "sorted"))["in.zip"] == "foreign"
    tarred(tmp_path / "alone.tgz", inside)
    report = await run([tmp_path / "alone.tgz", tmp_path / "mess" / "notes.txt"], tmp_path / "other")
    assert counts(report) == {"sorted": 3, "duplicate": 2, "conflict": 1, "foreign": 3, "truncated": 1}


@pytest.mark.parametrize("dry_run", [True, False])
async def test_what_is_in_the_way_is_foreseen(dry_run: bool, tmp_path: Path) -> None:
    source, dest = tmp_path / "mess", tmp_path / "sorted"
    for number in range(1, 6):
        write_file(source / str(number), f"1.2.{number}", patient_id=f"P{number}")
    (tmp_path / "elsewhere").mkdir()
    dest.mkdir()
    (dest / "P1").symlink_to(tmp_path / "elsewhere")
    (dest / "P2").touch()
    (dest / "P3").mkdir()
    (dest / "P3" / "1.2.3.dcm").symlink_to(tmp_path / "nothing")
    (dest / "P4" / "1.2.4.dcm").mkdir(parents=True)
    report = await run(source, dest, dry_run=dry_run)
    told = {Path(file.path).name: (file.state.value, file.reason) for file in report.found}
    assert told.pop("4")[0] == "failed"
    assert told == {
        "1": ("failed", "a symbolic link is in the way"),
        "2": ("failed", "a file has the name of a directory"),
        "3": ("failed", "a symbolic link is in the way"),
        "5": ("sorted", ""),
    }
    assert not list((tmp_path / "elsewhere").iterdir())


async def test_that_links_are_there_already_is_foreseen(tmp_path: Path) -> None:
    source, dest = tmp_path / "mess", tmp_path / "sorted"
    for number in range(3):
        write_file(source / str(number), f"1.2.{number}")
    await run(source, dest, method="symlink")
    for dry_run in (True, False):
        assert counts(await run(source, dest, method="symlink", dry_run=dry_run)) == {"duplicate": 3}


def test_portions_are_placed_in_runs_of_so_many_bytes() -> None:
    mib = 1 << 20
    sizes = [20 * mib, 12 * mib, 1, 100 * mib, 5, 5]
    assert list(_runs([0, 1, 2, 3, 4, 5], sizes)) == [[0, 1], [2], [3], [4, 5]]
    assert list(_runs([5, 3], sizes)) == [[5], [3]]
    assert list(_runs([], sizes)) == []


@pytest.mark.parametrize("limit", [64, 1 << 20])
def test_no_file_is_left_open(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is to be linked is kept open from one step to the other, unless few files may be open."""
    paths = [os.fsencode(sample.path) for sample in data.write_tiny(tmp_path / "mess", 20)]
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    before = len(os.listdir("/proc/self/fd"))
    sorter = ThreadSorter(LocalDir(tmp_path / "sorted", out_fmt=TREE), TransferMethod.LINK)
    sorter.look(paths)
    opened = len(os.listdir("/proc/self/fd")) - before
    assert opened == (0 if limit == 64 else 20)
    assert [each.state for each in sorter.place([0, 3])] == ["sorted", "sorted"]
    sorter.look(paths[:5])
    sorter.close()
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the destination


def test_a_file_that_is_replaced_while_it_is_kept_open_is_not_linked_as_another(tmp_path: Path) -> None:
    path = write_file(tmp_path / "mess" / "a", "1.2.1")
    sorter = ThreadSorter(LocalDir(tmp_path / "sorted", out_fmt=TREE), TransferMethod.LINK)
    sorter.look([os.fsencode(path)])
    path.unlink()
    write_file(path, "1.2.2")
    (placed,) = sorter.place([0])
    assert (placed.state, placed.reason) == ("failed", "it has vanished")
    assert not list((tmp_path / "sorted").rglob("*.dcm"))
    sorter.close()


@pytest.mark.parametrize("method", [TransferMethod.LINK, TransferMethod.LOCAL_COPY])
def test_a_file_that_has_changed_since_it_was_looked_at_is_not_placed(method: TransferMethod, tmp_path: Path) -> None:
    paths = [write_file(tmp_path / "mess" / name, f"1.2.{n}") for n, name in enumerate("abc", 1)]
    sorter = ThreadSorter(LocalDir(tmp_path / "sorted", out_fmt="{SOPInstanceUID}"), method)
    sorter.look([os.fsencode(path) for path in paths])
    with open(paths[1], "ab") as file:
        file.write(b"more")
    placed = sorter.place([0, 1, 2])
    sorter.close()
    assert [each.state for each in placed] == ["sorted", "failed", "sorted"]
    assert "has changed since it was looked at" in placed[1].reason
    assert sorted(path.name for path in (tmp_path / "sorted").iterdir()) == ["1.2.1.dcm", "1.2.3.dcm"]


def test_a_file_that_changes_while_it_is_linked_is_not_left_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(tmp_path / "mess" / "a", "1.2.1")
    link = os.link

    def changing(*args: Any, **kwargs: Any) -> None:
        link(*args, **kwargs)
        os.utime(path, ns=(1, 1))

    monkeypatch.setattr(os, "link", changing)
    sorter = ThreadSorter(LocalDir(tmp_path / "sorted", out_fmt=TREE), TransferMethod.LINK)
    sorter.look([os.fsencode(path)])
    (placed,) = sorter.place([0])
    sorter.close()
    assert placed.state == "failed"
    assert not list((tmp_path / "sorted").rglob("*.dcm"))


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("method", [TransferMethod.LINK, TransferMethod.LOCAL_COPY])
def test_a_name_that_is_taken_at_the_last_moment(
    method: TransferMethod, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(tmp_path / "mess" / "a", "1.2.1")
    other = write_file(tmp_path / "other", "1.2.1" if same else "1.2.2")
    monkeypatch.setattr(os, "access", lambda *args, **kwargs: False)  # it is not there yet
    (tmp_path / "sorted").mkdir()
    (tmp_path / "sorted" / "1.2.1.dcm").hardlink_to(other)
    sorter = ThreadSorter(LocalDir(tmp_path / "sorted", out_fmt="{SOPInstanceUID}"), method)
    sorter.look([os.fsencode(path)])
    (placed,) = sorter.place([0])
    sorter.close()
    assert placed.state == ("duplicate" if same else "sorted")
    assert len(list((tmp_path / "sorted").iterdir())) == (1 if same else 2)
    assert other.samefile(tmp_path / "sorted" / "1.2.1.dcm")


def test_portions_claim_in_their_order_whoever_is_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first portion is looked at last, and has the first file with the name all the same."""
    monkeypatch.setattr("dcm.sort._sources.PORTION", 10)
    samples = data.write_tiny(tmp_path / "mess", 40)
    first = min(sample.path for sample in samples)
    for n in range(1, 4):  # in the portions behind it
        (tmp_path / "mess" / f"z{n}").write_bytes(first.read_bytes())
    look = ThreadSorter.look

    def slowly(self: ThreadSorter, paths: Any) -> Any:
        if os.fsencode(first) in paths:
            time.sleep(0.5)
        return look(self, paths)

    monkeypatch.setattr(ThreadSorter, "look", slowly)
    report = SortReport()
    asyncio.run(sort(tmp_path / "mess", LocalDir(tmp_path / "sorted", out_fmt=TREE), report=report, jobs=3))
    assert report.adds_up()
    assert report.counts[SortState.DUPLICATE] == 3
    assert {Path(path).name for path, state, *_ in report.found if state is SortState.DUPLICATE} == {"z1", "z2", "z3"}


def test_the_other_processes_import_no_more_than_they_use() -> None:
    code = "import sys, dcm.sort._child; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"asyncio", "click", "dataclasses", "hashlib", "inspect", "janus", "msgspec", "pydicom", "rich", "sqlite3"}
    assert not heavy & {*done.stdout.split()}


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second file system")
@pytest.mark.parametrize("dry_run", [True, False])
async def test_links_to_another_file_system_are_refused_at_once(dry_run: bool, tmp_path: Path) -> None:
    write_file(tmp_path / "mess" / "a", "1.2.1")
    if tmp_path.stat().st_dev == Path("/dev/shm").stat().st_dev:
        pytest.skip("no second file system")
    with pytest.raises(UsageError, match="different file systems"):
        await run(tmp_path / "mess", Path("/dev/shm/dcm-test-that-is-never-made"), method="link", dry_run=dry_run)
    assert not Path("/dev/shm/dcm-test-that-is-never-made").exists()
