"""A sync that is killed or interrupted at any moment: what is there is whole, and the next one brings the rest only."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet

from dcm.levels import QueryLevel
from dcm.store.local_dir import LocalDir
from tests import data
from tests.cli.runner import DCM
from tests.peers import Fault, FaultProxy, OrthancPeer
from tests.sync import places
from tests.sync.places import Held, files_in, node

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals")

GOLDEN_RATIO = 0.6180339887498949


def moments(quick: int, slow: int) -> list[ParameterSet]:
    """Moments of a run, as parts of its time: random ones, spread over it however many of them are tried.

    The later ones are denser, as at first it only starts and looks.
    """
    start = random.Random(20201031).random()
    spread = [round(((start + number * GOLDEN_RATIO) % 1) ** 0.5, 3) for number in range(slow)]
    return [
        pytest.param(moment, marks=[pytest.mark.slow] if number >= quick else [])
        for number, moment in enumerate(spread)
    ]


def start_sync(*args: str | Path) -> subprocess.Popen[bytes]:
    command = [*DCM, "sync", *map(str, args)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def kill_after(seconds: float, *args: str | Path) -> None:
    """Begin a sync and kill it, unless it has come to its end."""
    process = start_sync(*args)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)
    process.kill()
    process.communicate(timeout=10)
    assert process.returncode in (0, -signal.SIGKILL)


def sync_whole(report: Path, *args: str | Path) -> dict[str, Any]:
    """Run a sync to its end: all is well, and nothing but the summary is said."""
    process = start_sync("--report", report, *args)
    printed, said = process.communicate(timeout=25)
    assert (process.returncode, printed) == (0, b""), said
    assert len(said.splitlines()) == 1
    return read_report(report)


def read_report(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    assert report["adds_up"]
    return report


def visible(directory: Path) -> dict[str, Held]:
    """SOP instance UID to data set, of all files with a name that one sees; each has the name of its instance.

    A file system without unnamed files may keep a hidden one.
    """
    kept = [path for path in files_in(directory) if not path.name.startswith(".")]
    held = places.Place("dir", str(directory), lambda: [path.read_bytes() for path in kept]).holds()
    assert set(held) == {path.stem for path in kept}
    return held


def assert_sound_indexes() -> None:
    """All indexes that there are can be read, and nothing is left of those that could not."""
    indexes = [path for path in files_in(Path(os.environ["XDG_CACHE_HOME"])) if path.suffix == ".sqlite"]
    assert indexes
    for path in indexes:
        with contextlib.closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert len({path.parent for path in indexes}) == len(indexes)


# -- killed ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> places.Place:
    """Hundreds of small instances and some large ones."""
    root = tmp_path_factory.mktemp("many")
    data.write_tiny(root / "tiny", 500, n_series=4)
    data.write_ct(root / "large", 6, patient_id="Vamp002")
    return places.directory(root)


@pytest.fixture(scope="module")
def many_held(many: places.Place) -> dict[str, Held]:
    return many.holds()


@pytest.fixture(scope="module")
def directory_seconds(many: places.Place, tmp_path_factory: pytest.TempPathFactory) -> float:
    """What a whole run into a directory takes."""
    began = time.monotonic()
    sync_whole(tmp_path_factory.mktemp("timed") / "report.json", "-s", many.name, tmp_path_factory.mktemp("home"))
    return time.monotonic() - began


@pytest.mark.parametrize("moment", moments(4, 50))
async def test_killed_while_it_writes_files(
    moment: float, many: places.Place, many_held: dict[str, Held], directory_seconds: float, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    kill_after(moment * directory_seconds, "-s", many.name, home)
    kept = visible(home) if home.exists() else {}
    assert kept.items() <= many_held.items()
    report = sync_whole(tmp_path / "report.json", "-s", many.name, home)
    assert visible(home) == many_held
    assert (report["counts"]["present"], report["counts"]["sent"]) == (len(kept), len(many_held) - len(kept))
    assert set(report["destinations"][str(home)].get("present", ())) == set(kept)
    assert_sound_indexes()
    found = await LocalDir(home).query(QueryLevel.IMAGE)
    assert set(found.uids()) == set(many_held)


@pytest.mark.parametrize("moment", moments(3, 50))
def test_killed_while_it_moves_files(
    moment: float, many: places.Place, many_held: dict[str, Held], directory_seconds: float, tmp_path: Path
) -> None:
    source, home = tmp_path / "source", tmp_path / "home"
    for path in files_in(Path(many.name)):
        link = source / path.relative_to(many.name)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.hardlink_to(path)
    command = ("-s", source, "-m", "move", home)
    kill_after(moment * directory_seconds, *command)
    kept = visible(home) if home.exists() else {}
    left = places.directory(source).holds()
    assert {**kept, **left} == many_held, "nothing is lost"
    report = sync_whole(tmp_path / "report.json", *command)
    assert visible(home) == many_held
    assert files_in(source) == []
    assert report["instances"] == len(left)


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> places.Place:
    """Instances of 3 KiB and of 512 KiB."""
    root = tmp_path_factory.mktemp("some")
    data.write_tiny(root / "tiny", 80, n_series=4)
    data.write_ct(root / "large", 4, patient_id="Vamp002")
    return places.directory(root)


@pytest.fixture(scope="module")
def some_held(some: places.Place) -> dict[str, Held]:
    return some.holds()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancPeer]:
    with OrthancPeer(tmp_path_factory.mktemp("orthanc")) as peer:
        yield peer


@pytest.fixture(scope="module")
def node_seconds(some: places.Place, orthanc: OrthancPeer, tmp_path_factory: pytest.TempPathFactory) -> float:
    """What a whole run into a node takes."""
    began = time.monotonic()
    sync_whole(tmp_path_factory.mktemp("timed") / "report.json", "-s", some.name, node(orthanc))
    return time.monotonic() - began


@pytest.mark.parametrize("moment", moments(4, 50))
def test_killed_while_it_sends(
    moment: float,
    some: places.Place,
    some_held: dict[str, Held],
    orthanc: OrthancPeer,
    node_seconds: float,
    tmp_path: Path,
) -> None:
    orthanc.clear()
    kill_after(moment * node_seconds, "-s", some.name, node(orthanc))
    kept = places.archive(orthanc).holds()
    assert kept.items() <= some_held.items()
    report = sync_whole(tmp_path / "report.json", "-s", some.name, node(orthanc))
    assert places.archive(orthanc).holds() == some_held
    # Orthanc may have been about to store the last one when we looked.
    assert set(report["destinations"][node(orthanc)].get("present", ())) >= set(kept)
    assert report["counts"]["present"] + report["counts"]["sent"] == len(some_held)
    assert_sound_indexes()


# -- interrupted -------------------------------------------------------------------------------------------------------


def interrupt(process: subprocess.Popen[bytes]) -> str:
    """Press Ctrl-C; gives what is said in the end."""
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=15)
    assert (process.returncode, printed) == (130, b""), said
    assert b"Traceback" not in said
    return said.decode()


def test_ctrl_c_while_it_writes_files(tmp_path: Path) -> None:
    # So many that it is not at its end when we have seen that it has begun.
    data.write_tiny(tmp_path / "source", 3000, n_series=4)
    source, home = places.directory(tmp_path / "source").holds(), tmp_path / "home"
    report_path = tmp_path / "report.json"
    process = start_sync("--report", report_path, "-s", tmp_path / "source", home)
    while not home.exists() or not any(home.rglob("*.dcm")):
        assert process.poll() is None
        time.sleep(0.001)
    said = interrupt(process)
    assert said.endswith("interrupted; what is there is whole, run it again to get the rest\n")
    kept = visible(home)
    assert 0 < len(kept) < len(source)
    assert kept.items() <= source.items()
    report = read_report(report_path)
    assert (report["interrupted"], report["exit_code"]) == (True, 130)
    assert set(report["destinations"][str(home)]["sent"]) == set(kept)
    report = sync_whole(report_path, "-s", tmp_path / "source", home)
    assert visible(home) == source
    assert (report["counts"]["present"], report["counts"]["sent"]) == (len(kept), len(source) - len(kept))
    assert_sound_indexes()


def test_ctrl_c_while_it_sends(
    some: places.Place, some_held: dict[str, Held], orthanc: OrthancPeer, tmp_path: Path
) -> None:
    orthanc.clear()
    report_path = tmp_path / "report.json"
    with FaultProxy(orthanc.port, to_peer=Fault(stall_at=400_000), ae_title=orthanc.ae_title) as proxy:
        process = start_sync("--report", report_path, "-s", some.name, f"127.0.0.1:{proxy.ae_title}:{proxy.port}")
        assert proxy.stalled.wait(20)
        interrupt(process)
    kept = places.archive(orthanc).holds()
    assert 0 < len(kept) < len(some_held)
    assert kept.items() <= some_held.items()
    report = read_report(report_path)
    assert (report["interrupted"], report["exit_code"]) == (True, 130)
    assert set(report["destinations"][f"127.0.0.1:{proxy.ae_title}:{proxy.port}"]["sent"]) <= set(kept)
    report = sync_whole(report_path, "-s", some.name, node(orthanc))
    assert places.archive(orthanc).holds() == some_held
    assert set(report["destinations"][node(orthanc)]["present"]) == set(kept)
