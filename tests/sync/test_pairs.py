"""`dcm sync` between directories and the three archives, each with each: what arrives, and that nothing goes twice.

Nothing is emptied between the tests: each has patients of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from dcm.diff import diff_data_sets
from dcm.filt import make_edit_filter
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from dcm.report import Outcome
from dcm.route import StaticRoute
from dcm.sync import sync
from tests import data
from tests.cli.runner import DCM, run_dcm
from tests.peers import DcmtkQrscp, OrthancPeer, PynetdicomQrscp, free_port
from tests.sync import places
from tests.sync.places import EXPLICIT, Held, Place, files_in

KINDS = ("dir", "dcmtk", "orthanc", "pynetdicom")
ARCHIVES = KINDS[1:]
# What another patient's data gets anew (PS3.3 section A.1.2: all that is below the patient, and frames of reference).
REMAPPED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
PAIRS = [(source, dest) for source in KINDS for dest in KINDS]
# The one archive asks the other to send: each of them once as the source, and once as the destination.
REMOTE_PAIRS = list(zip(ARCHIVES, (*ARCHIVES[1:], ARCHIVES[0]), strict=True))


def patient(source: str, dest: str) -> list[data.SeriesSpec]:
    """What a source holds for the test with one destination: two series, in the two usual transfer syntaxes."""
    ids = f"{source}-{dest}", f"{source}^{dest}"
    return [
        data.SeriesSpec(*ids, series=1, n_instances=2),
        data.SeriesSpec(*ids, series=2, n_instances=1, modality="MR", implicit=True),
    ]


def specs_of(source: str) -> list[data.SeriesSpec]:
    """All that a source holds."""
    dests = [*KINDS, "all", *(f"{dest}-move" for name, dest in REMOTE_PAIRS if name == source)]
    # What is in all of the sources is to be fetched once.
    return [spec for dest in dests for spec in patient(source, dest)] + patient("shared", "all")


@dataclass
class World:
    """Full sources, and destinations of the same kinds."""

    samples: dict[str, list[data.Sample]]
    sources: dict[str, Place]
    dests: dict[str, Place]

    def of(self, source: str, dest: str) -> list[data.Sample]:
        """The samples that a source holds for a destination."""
        return self.of_patient(source, f"{source}-{dest}")

    def of_patient(self, source: str, patient_id: str) -> list[data.Sample]:
        """The samples of a patient that a source holds."""
        return [sample for sample in self.samples[source] if sample.patient_id == patient_id]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("world")
    samples = {kind: data.write_studies(root / "samples" / kind, specs_of(kind)) for kind in KINDS}
    paths = {kind: [sample.path for sample in found] for kind, found in samples.items()}
    ports = {kind: free_port() for kind in ARCHIVES}
    known = {f"{kind.upper()}2": port for kind, port in ports.items()}
    with contextlib.ExitStack() as stack:
        dcmtk = stack.enter_context(DcmtkQrscp(root / "dcmtk", known, ae_title="DCMTK1"))
        dcmtk.fill(paths["dcmtk"])
        orthanc = stack.enter_context(OrthancPeer(root / "orthanc", known, ae_title="ORTHANC1"))
        assert orthanc.fill(paths["orthanc"]) == []
        pynetdicom = stack.enter_context(PynetdicomQrscp(root / "pynetdicom", known, ae_title="PYNETDICOM1"))
        pynetdicom.fill([root / "samples" / "pynetdicom"])
        sources = [places.archive(peer) for peer in (dcmtk, orthanc, pynetdicom)]
        peers: list[places.Archive] = [
            DcmtkQrscp(root / "dcmtk2", ae_title="DCMTK2", port=ports["dcmtk"]),
            OrthancPeer(root / "orthanc2", ae_title="ORTHANC2", port=ports["orthanc"]),
            PynetdicomQrscp(root / "pynetdicom2", ae_title="PYNETDICOM2", port=ports["pynetdicom"]),
        ]
        for peer in peers:
            stack.enter_context(peer)
        dests = map(places.archive, peers)
        yield World(
            samples,
            {place.kind: place for place in (places.directory(root / "samples" / "dir"), *sources)},
            {place.kind: place for place in (places.directory(root / "dir2"), *dests)},
        )


def report_of(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    assert report["adds_up"]
    return report


def states(path: Path) -> dict[str, int]:
    """How many instances are in which state."""
    return {state: n for state, n in report_of(path)["counts"].items() if n}


def assert_same(held: dict[str, Held], samples: list[data.Sample], *, converted: bool = False) -> None:
    """What is held are the samples, byte for byte.

    `converted` is for dcmqrscp as a source: it sends what it has in implicit VR as explicit VR to whoever takes that.
    The elements are the same then.
    """
    assert set(held) == {sample.sop_instance_uid for sample in samples}
    for sample in samples:
        there = held[sample.sop_instance_uid]
        if converted and sample.transfer_syntax_uid != EXPLICIT:
            assert there.transfer_syntax_uid == EXPLICIT
            assert there.data_set == Dataset(dcmread(sample.path))
        else:
            assert there == (sample.transfer_syntax_uid, sample.data_set_bytes)


@pytest.mark.parametrize(("source", "dest"), PAIRS)
def test_each_with_each(world: World, source: str, dest: str, tmp_path: Path) -> None:
    report, query = tmp_path / "report.json", f"PatientID={source}-{dest}"
    names = world.sources[source].name, world.dests[dest].name
    command = ("sync", "-s", names[0], "-q", query, "--report", report, names[1])
    done = run_dcm(*command)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert states(report) == {"sent": 3}
    assert_same(world.dests[dest].holds(f"{source}-{dest}"), world.of(source, dest), converted=source == "dcmtk")
    done = run_dcm(*command)
    assert (done.returncode, done.stderr) == (0, "3 instances in 2 series: 3 already there\n")
    assert states(report) == {"present": 3}
    assert report_of(report)["bytes"] == 0


@pytest.mark.parametrize(("source", "dest"), PAIRS)
async def test_each_with_each_edited(world: World, source: str, dest: str) -> None:
    anonymous = f"{source}-{dest}-ANON"
    route = StaticRoute((world.dests[dest].store(),), make_edit_filter({"PatientID": anonymous}))
    query = Dataset()
    query.PatientID = f"{source}-{dest}"
    report = await sync(world.sources[source].store(), route, query)
    assert report.counts[Outcome.SENT] == 3
    held = world.dests[dest].holds(anonymous)
    # Series and number of an instance stay.
    edited = {(ds.SeriesNumber, ds.InstanceNumber): ds for ds in (there.data_set for there in held.values())}
    assert len(edited) == len(held) == 3
    new_uids: dict[str, set[str]] = {}
    for sample in world.of(source, dest):
        original = Dataset(dcmread(sample.path))
        new = edited[original.SeriesNumber, original.InstanceNumber]
        assert {diff.path for diff in diff_data_sets(original, new)} == {"PatientID", *REMAPPED}
        for keyword in REMAPPED:
            new_uids.setdefault(original[keyword].value, set()).add(new[keyword].value)
    # The same UID became the same one everywhere.
    assert all(len(uids) == 1 for uids in new_uids.values())
    again = await sync(world.sources[source].store(), route, query)
    assert (again.counts[Outcome.PRESENT], again.counts[Outcome.SENT], again.n_bytes) == (3, 0, 0)
    assert world.dests[dest].holds(anonymous) == held


def test_several_at_once(world: World, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    sources: list[str | Path] = [option for place in world.sources.values() for option in ("-s", place.name)]
    # A second directory, with names of its own.
    flat = tmp_path / "flat"
    dests: list[str | Path] = [*(place.name for place in world.dests.values()), f"{flat}:{{SOPInstanceUID}}"]
    command = ("sync", *sources, "-q", "PatientID=*-all", "--report", report, *dests)
    done = run_dcm(*command)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    # The patient that all sources have is fetched from the first one, and all know that they have it for the others.
    wanted = [sample for kind in KINDS for sample in world.of(kind, "all")] + world.of_patient("dir", "shared-all")
    assert len(wanted) == 15
    assert states(report) == {"sent": 15 * 5}
    assert "15 instances in 10 series to 5 destinations, " in done.stderr
    for place in (*world.dests.values(), places.directory(flat)):
        for kind in KINDS:
            assert_same(place.holds(f"{kind}-all"), world.of(kind, "all"), converted=kind == "dcmtk")
        assert_same(place.holds("shared-all"), world.of_patient("dir", "shared-all"))
    done = run_dcm(*command)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert states(report) == {"present": 15 * 5}
    assert report_of(report)["bytes"] == 0


@pytest.mark.parametrize(("source", "dest"), REMOTE_PAIRS)
def test_remote_copy(world: World, source: str, dest: str, tmp_path: Path) -> None:
    report, patient_id = tmp_path / "report.json", f"{source}-{dest}-move"
    place = world.dests[dest]
    names = world.sources[source].name, place.name
    query = f"PatientID={patient_id}"
    command = ("sync", "-m", "remote_copy", "-s", names[0], "-q", query, "--report", report, names[1])
    done = run_dcm(*command)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert states(report) == {"sent": 3}
    assert set(place.holds(patient_id)) == {sample.sop_instance_uid for sample in world.of_patient(source, patient_id)}
    done = run_dcm(*command)
    assert (done.returncode, done.stderr) == (0, "3 instances in 2 series: 3 already there\n")
    assert states(report) == {"present": 3}


async def test_compressed_data_stays_compressed(world: World, tmp_path: Path) -> None:
    # From a directory through two archives into another one. dcmqrscp, as it comes, takes uncompressed images only.
    chosen = ("JPEG2000.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_gdcm.dcm")
    (tmp_path / "home").mkdir()
    for path in (path for path in data.pydicom_files() if path.name in chosen):
        (tmp_path / "home" / path.name).write_bytes(path.read_bytes())
    first, last = places.directory(tmp_path / "home"), places.directory(tmp_path / "back")
    wanted = first.holds()
    assert len({held.transfer_syntax_uid for held in wanted.values()}) == len(chosen)
    found = await first.store().query(QueryLevel.IMAGE)
    steps = [first, world.dests["orthanc"], world.dests["pynetdicom"], last]
    for source, dest in itertools.pairwise(steps):
        report = await sync(source.store(), dest.store(), query_res=found)
        assert report.counts[Outcome.SENT] == len(chosen)
        held = dest.holds()
        for uid, there in wanted.items():
            # Orthanc gives sequences of undefined length a length, and pynetdicom drops what pads the end: an element
            # is what it was, and the compressed pixels are so byte for byte.
            assert held[uid].transfer_syntax_uid == there.transfer_syntax_uid
            assert diff_data_sets(held[uid].data_set, there.data_set) == []
            assert held[uid].data_set.PixelData == there.data_set.PixelData


# -- between directories -----------------------------------------------------------------------------------------------


NIGHTS = (
    data.SeriesSpec("Vamp001", series=1, n_instances=3),
    data.SeriesSpec("Vamp001", series=2, n_instances=2, modality="MR", implicit=True),
    data.SeriesSpec("Vamp002", study_date="20201102", n_instances=2),
)


@pytest.fixture
def night(tmp_path: Path) -> Place:
    """A directory with two studies of two days."""
    data.write_studies(tmp_path / "night", NIGHTS)
    return places.directory(tmp_path / "night")


@pytest.mark.parametrize("method", ["copy", "move", "link", "symlink"])
def test_ways_between_directories(method: str, night: Place, tmp_path: Path) -> None:
    report, home = tmp_path / "report.json", places.directory(tmp_path / "home")
    wanted = night.holds()
    inodes = {path.stat().st_ino for path in files_in(Path(night.name))}
    command = ("sync", "-s", night.name, "-m", method, "--report", report, home.name)
    done = run_dcm(*command)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert states(report) == {"sent": 7}
    assert home.holds() == wanted
    assert night.holds() == ({} if method == "move" else wanted)
    kept = files_in(Path(home.name))
    assert [path.is_symlink() for path in kept] == [method == "symlink"] * 7
    assert ({path.stat().st_ino for path in kept} == inodes) is (method != "copy")
    done = run_dcm(*command)
    assert done.returncode == 0, done.stderr
    assert states(report) == ({} if method == "move" else {"present": 7})
    assert home.holds() == wanted


def test_trust_in_counts(night: Place, tmp_path: Path) -> None:
    report, home = tmp_path / "report.json", tmp_path / "home"
    command = ("sync", "-s", night.name, "--report", report, str(home))
    assert run_dcm(*command).returncode == 0
    # As many instances as there, but not the same ones.
    series = data.SeriesSpec("Vamp002", study_date="20201102", n_instances=1)
    files_in(home / "Vamp002")[0].unlink()
    data.write_series(home, series, first=3)
    done = run_dcm(*command, "--trust-level", "study")
    assert (done.returncode, done.stderr) == (0, "7 instances: 7 already there\n")
    assert report_of(report)["by_number_only"] == 7
    assert run_dcm(*command, "--trust-level", "image", "-n").stdout == (
        f"{home}: 1 instance of 1 series from {night.name} (6 already there)\n"
    )
    assert run_dcm(*command).returncode == 0
    assert states(report) == {"sent": 1, "present": 6}
    assert places.directory(home).holds().items() > night.holds().items()


def test_since(night: Place, tmp_path: Path) -> None:
    done = run_dcm("sync", "-s", night.name, "--since", "1 Nov 2020", tmp_path / "home")
    assert (done.returncode, done.stderr[-8:]) == (0, " 2 sent\n")
    assert places.directory(tmp_path / "home").holds() == night.holds("Vamp002")
    done = run_dcm("sync", "-s", night.name, "--before", "1 Nov 2020", tmp_path / "home")
    assert places.directory(tmp_path / "home").holds() == night.holds()


def test_what_would_go_where(world: World, night: Place, tmp_path: Path) -> None:
    report, home = tmp_path / "report.json", tmp_path / "home"
    assert run_dcm("sync", "-s", night.name, "-q", "PatientID=Vamp001", home).returncode == 0
    kept = places.directory(home).holds()
    archive = world.dests["orthanc"]
    done = run_dcm("sync", "-s", night.name, "-n", "--report", report, home, tmp_path / "new", archive.name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{home}: 2 instances of 1 series from {night.name} (5 already there)",
        f"{tmp_path / 'new'}: 7 instances of 3 series from {night.name}",
        f"{archive.name}: 7 instances of 3 series from {night.name}",
    ]
    assert places.directory(home).holds() == kept
    assert not (tmp_path / "new").exists()
    assert archive.holds("Vamp001") == archive.holds("Vamp002") == {}
    assert json.loads(report.read_text())["dry_run"]


def test_a_directory_answers_queries(night: Place) -> None:
    done = run_dcm("query", night.name, "Modality=MR", "--out-format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    found = QueryResult.from_json(done.stdout)
    assert found.level is QueryLevel.SERIES
    assert [record.text(0x00080060) for record in found.records()] == ["MR"]
    assert found.n_instances() == 2
    done = run_dcm("query", night.name, "PatientID=Vamp002", "--level", "image", "--out-format", "csv")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)


def test_a_query_of_a_directory_in_a_pipe(night: Place, tmp_path: Path) -> None:
    dcm, home = shlex.join(DCM), tmp_path / "home"
    command = f"{dcm} query {shlex.quote(night.name)} Modality=MR | {dcm} sync {shlex.quote(str(home))}"
    for said in (" 2 sent\n", "2 instances in 1 series: 2 already there\n"):
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=25, check=False)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert done.stderr.endswith(said)
    wanted = {uid: held for uid, held in night.holds().items() if held.transfer_syntax_uid != EXPLICIT}
    assert len(wanted) == 2
    assert places.directory(home).holds() == wanted
