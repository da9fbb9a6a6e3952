"""``dcm sync``, with real peers: what a user types, what lies on the disk afterwards, and the exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from dcm.node import DcmNode
from tests import data
from tests.cli.runner import DCM, run_dcm, run_on_terminal
from tests.peers import DcmtkQrscp, DcmtkStorescp, Fault, FaultProxy, OrthancPeer
from tests.peers.fixtures import LOCAL_AE, Archive
from tests.peers.process import HOST, PeerProcess

NIGHT = "StudyDate=20201031"
BIG_SERIES = tuple(data.SeriesSpec("Big", series=i, n_instances=8, rows=256, columns=256) for i in (1, 2, 3))


@pytest.fixture(scope="module")
def big_samples(tmp_path_factory: pytest.TempPathFactory) -> list[data.Sample]:
    """3 MB in three series."""
    return data.write_studies(tmp_path_factory.mktemp("big"), BIG_SERIES)


@pytest.fixture(scope="module")
def big_archive(tmp_path_factory: pytest.TempPathFactory, big_samples: list[data.Sample]) -> Iterator[DcmtkQrscp]:
    """An archive with enough in it to be interrupted."""
    with DcmtkQrscp(tmp_path_factory.mktemp("bigqrscp")) as archive:
        archive.fill(sample.path for sample in big_samples)
        yield archive


def node(peer: PeerProcess | FaultProxy) -> str:
    return f"{HOST}:{peer.ae_title}:{peer.port}"


def configure(path: Path, **remotes: PeerProcess | DcmNode | str) -> None:
    """Write a configuration file with nodes; a text is further settings of the node before it."""
    lines = ["[local_nodes.default]", f'ae_title = "{LOCAL_AE}"', f'host = "{HOST}"']
    for name, peer in remotes.items():
        if isinstance(peer, str):
            lines.append(peer)
            continue
        lines += [f"[remote_nodes.{name}]", f'host = "{HOST}"', f'ae_title = "{peer.ae_title}"', f"port = {peer.port}"]
    path.write_text("\n".join(lines) + "\n")


def files_in(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def data_sets_in(directory: Path) -> dict[str, Dataset]:
    """SOP instance UID (of the file's name) to data set, of files by the default template.

    dcmqrscp and Orthanc may send in another transfer syntax than they hold: compared are the elements.
    """
    return {path.name.removesuffix(".dcm"): Dataset(dcmread(path)) for path in files_in(directory)}


def expected(samples: Iterable[data.Sample], *patients: str) -> dict[str, Dataset]:
    chosen = [sample for sample in samples if not patients or sample.patient_id in patients]
    return {sample.sop_instance_uid: Dataset(dcmread(sample.path)) for sample in chosen}


def holds(directory: Path, samples: Iterable[data.Sample]) -> dict[str, bool]:
    """For each file by the default template whether its data set is the sample's, byte for byte."""
    sent = {sample.sop_instance_uid: sample.data_set_bytes for sample in samples}
    visible = [path for path in files_in(directory) if not path.name.startswith(".")]
    return {path.stem: data.data_set_of(path.read_bytes()) == sent.get(path.stem) for path in visible}


def identities(directory: Path) -> dict[Path, tuple[int, int]]:
    """What changes when a file is written again."""
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files_in(directory)}


def read_report(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text())
    assert report["adds_up"]
    assert sum(report["counts"].values()) == sum(
        len(uids) for states in report["destinations"].values() for uids in states.values()
    )
    return report


# -- what is there in the end ------------------------------------------------------------------------------------------


def test_query_and_sync(archive: Archive, samples: list[data.Sample], tmp_path: Path) -> None:
    done = run_dcm("sync", "-s", node(archive), "-q", NIGHT, "-q", "PatientID=Vamp001", tmp_path / "home")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("12 instances in 4 series, ")
    assert done.stderr.endswith(": 12 sent\n")
    wanted = expected(samples, "Vamp001")
    assert data_sets_in(tmp_path / "home") == wanted
    for path in files_in(tmp_path / "home"):
        parts = path.relative_to(tmp_path / "home").parts
        assert (parts[0], len(parts)) == ("Vamp001", 5)
        assert parts[3] in ("001-Upper teeth", "002-Lower teeth", "003-Protocol", "001-Coffin, folded%2Fflat")


def test_by_move(
    dcmtk_archive: DcmtkQrscp, local_port: int, samples: list[data.Sample], isolated_config: Path, tmp_path: Path
) -> None:
    configure(isolated_config, mypacs=dcmtk_archive, settings='retrieve_methods = ["MOVE"]')
    local = f"{HOST}:{LOCAL_AE}:{local_port}"
    done = run_dcm("sync", "--local", local, "-s", "mypacs", "-q", "PatientID=Vamp001", tmp_path)
    assert (done.returncode, done.stderr[-9:]) == (0, ": 12 sent\n"[-9:])
    assert data_sets_in(tmp_path) == expected(samples, "Vamp001")


def test_an_archive_that_does_not_know_us_says_so(
    dcmtk_archive: DcmtkQrscp, isolated_config: Path, tmp_path: Path, free_port: int
) -> None:
    configure(isolated_config, mypacs=dcmtk_archive, settings='retrieve_methods = ["MOVE"]')
    local = f"{HOST}:STRANGER:{free_port}"
    done = run_dcm("sync", "--local", local, "-s", "mypacs", "-q", "PatientID=Vamp001", tmp_path)
    assert done.returncode == 4
    assert "STRANGER" in done.stderr
    assert "register STRANGER with this machine's address and port" in done.stderr
    assert "GET" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_shell_pipeline(
    dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], isolated_config: Path, tmp_path: Path
) -> None:
    configure(isolated_config, mypacs=dcmtk_archive)
    dcm = shlex.join(DCM)
    for keys, patients in ((f"{NIGHT} PatientID=Vamp001", ["Vamp001"]), ("PatientID=Vamp002", ["Vamp002"])):
        command = f"{dcm} query mypacs {keys} | {dcm} sync {tmp_path / patients[0]}"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=25, check=False)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.endswith(" sent\n")
        assert data_sets_in(tmp_path / patients[0]) == expected(samples, *patients)
    command = f"{dcm} query mypacs PatientNam=x | {dcm} sync {tmp_path / 'nothing'}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=25, check=False)
    assert done.returncode == 2
    assert not (tmp_path / "nothing").exists()
    assert "did you mean PatientName?" in done.stderr
    assert "what is piped in is empty" in done.stderr


def test_a_query_result_in_a_file(dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    found.write_text(run_dcm("query", node(dcmtk_archive), NIGHT).stdout)
    done = run_dcm("sync", "--query-res", found, "-q", "Modality=MR", tmp_path / "home")
    assert (done.returncode, done.stderr[-8:]) == (0, " 2 sent\n")
    mr = [sample for sample in samples if sample.sop_class_uid.endswith(".4") and sample.patient_id == "Vamp001"]
    assert data_sets_in(tmp_path / "home") == expected(mr)


def test_dates(dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], tmp_path: Path) -> None:
    done = run_dcm("sync", "-s", node(dcmtk_archive), "--since", "1 Nov 2020", "--before", "2020-11-03", tmp_path)
    assert done.returncode == 0
    assert data_sets_in(tmp_path) == expected(samples, "Vamp003")


def test_several_sources_and_destinations(
    dcmtk_archive: DcmtkQrscp,
    big_archive: DcmtkQrscp,
    dcmtk_receiver: DcmtkStorescp,
    samples: list[data.Sample],
    big_samples: list[data.Sample],
    tmp_path: Path,
) -> None:
    sources = ("-s", node(dcmtk_archive), "-s", node(big_archive))
    one, flat = tmp_path / "one", tmp_path / "flat"
    dests = (one, f"{flat}:{{PatientID}}_{{SOPInstanceUID}}", node(dcmtk_receiver))
    report_path = tmp_path / "report.json"
    done = run_dcm("sync", *sources, "-q", NIGHT, "--report", report_path, *dests)
    assert done.returncode == 0, done.stderr
    wanted = expected([*samples, *big_samples], "Vamp001", "Vamp002", "Big")
    assert data_sets_in(one) == wanted
    assert {path.name for path in files_in(flat)} == {
        f"{sample.patient_id}_{sample.sop_instance_uid}.dcm"
        for sample in (*samples, *big_samples)
        if sample.sop_instance_uid in wanted
    }
    assert {str(ds.SOPInstanceUID): Dataset(ds) for ds in map(dcmread, dcmtk_receiver.received())} == wanted
    assert f"{len(wanted)} instances in 8 series to 3 destinations, " in done.stderr
    report = read_report(report_path)
    assert (report["instances"], report["series"], report["exit_code"]) == (len(wanted), 8, 0)
    assert report["counts"]["sent"] == 3 * len(wanted)
    assert set(report["destinations"]) == {str(one), str(flat), node(dcmtk_receiver)}
    for states in report["destinations"].values():
        assert set(states["sent"]) == set(wanted)


def test_names_of_files(dcmtk_archive: DcmtkQrscp, tmp_path: Path) -> None:
    source = ("-s", node(dcmtk_archive), "-q", "PatientID=Vamp003")
    template = "{d.PatientID}/{StudyDate:.4}/{InstanceNumber:03d}"
    done = run_dcm("sync", *source, "--dir-format", template, "--out-file-ext", "ima", "--no-report", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    names = [str(path.relative_to(tmp_path)) for path in files_in(tmp_path)]
    assert names == ["Vamp003/2020/001.ima", "Vamp003/2020/002.ima"]


def test_a_second_sync_changes_nothing(dcmtk_archive: DcmtkQrscp, tmp_path: Path) -> None:
    home, report_path = tmp_path / "home", tmp_path / "report.json"
    command = ("sync", "-s", node(dcmtk_archive), "-q", "PatientID=Vamp001", "--report", report_path, home)
    assert run_dcm(*command).returncode == 0
    before = identities(home)
    done = run_dcm(*command)
    assert (done.returncode, done.stderr) == (0, "12 instances in 4 series: 12 already there\n")
    assert identities(home) == before
    report = read_report(report_path)
    assert (report["counts"]["present"], report["counts"]["sent"], report["bytes"]) == (12, 0, 0)


def test_a_dry_run_moves_nothing(dcmtk_archive: DcmtkQrscp, tmp_path: Path) -> None:
    report_path = tmp_path / "report.json"
    dests = (tmp_path / "one", tmp_path / "two")
    source = ("-s", node(dcmtk_archive), "-q", "PatientID=Vamp001")
    done = run_dcm("sync", *source, "-n", "--report", report_path, *dests)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{dest}: 12 instances of 4 series from {node(dcmtk_archive)}" for dest in dests
    ]
    assert not dests[0].exists()
    report = json.loads(report_path.read_text())
    assert (report["instances"], report["exit_code"], report["dry_run"]) == (12, 0, True)


def test_nothing_matches(dcmtk_archive: DcmtkQrscp, tmp_path: Path) -> None:
    done = run_dcm("sync", "-s", node(dcmtk_archive), "-q", "PatientID=nobody", tmp_path)
    assert (done.returncode, done.stderr) == (
        0,
        f"Nothing to copy: {node(dcmtk_archive)} has nothing that matches.\n",
    )


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_other_bytes_under_the_same_uid_are_a_conflict(
    dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], tmp_path: Path
) -> None:
    home, report_path = tmp_path / "home", tmp_path / "report.json"
    command = ("sync", "-s", node(dcmtk_archive), "-q", "PatientID=Vamp003", "--report", report_path, home)
    assert run_dcm(*command).returncode == 0
    edited = files_in(home)[0]
    content = edited.read_bytes()
    edited.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    mine = identities(home)
    # Instances are compared by UID: nobody reads again what is there.
    done = run_dcm(*command)
    assert (done.returncode, done.stderr) == (0, "2 instances in 1 series: 2 already there\n")
    # Unless that is asked for.
    done = run_dcm(*command, "--force-all")
    assert done.returncode == 3
    assert "1 already there, 1 conflicting" in done.stderr
    assert edited.stem in done.stderr
    assert len(files_in(home)) == 3
    assert {path: identity for path, identity in identities(home).items() if path in mine} == mine
    assert edited.read_bytes() != content
    assert expected(samples)[edited.stem] in data_sets_in(home).values()
    report = read_report(report_path)
    assert report["destinations"][str(home)]["conflict"] == [edited.stem]
    # Once more: the other version is there, too, and nothing more is made.
    done = run_dcm(*command, "--force-all")
    assert len(files_in(home)) == 3


def test_what_the_archive_has_lost_is_partial(samples: list[data.Sample], tmp_path: Path) -> None:
    with DcmtkQrscp(tmp_path / "archive") as archive:
        archive.fill(sample.path for sample in samples)
        lost = next(path for path in sorted(archive.database.iterdir()) if path.suffix == ".dcm")
        uid = next(s.sop_instance_uid for s in samples if s.path.read_bytes() == lost.read_bytes())
        lost.unlink()
        report_path = tmp_path / "report.json"
        source = ("-s", node(archive), "-q", "PatientID=Vamp001")
        done = run_dcm("sync", *source, "--report", report_path, tmp_path / "home")
    assert done.returncode == 3
    assert uid in done.stderr
    assert "11 sent, 1 " in done.stderr
    wanted = expected(samples, "Vamp001")
    del wanted[uid]
    assert data_sets_in(tmp_path / "home") == wanted
    report = read_report(report_path)
    assert report["exit_code"] == 3
    assert [problem["subject"] for problem in report["problems"]] == [uid]


def test_a_capped_answer_is_of_unknown_completeness(samples: list[data.Sample], tmp_path: Path) -> None:
    with OrthancPeer(tmp_path / "orthanc", settings={"LimitFindInstances": 2}) as archive:
        assert archive.fill(sample.path for sample in samples) == []
        done = run_dcm("sync", "-s", node(archive), "-q", "PatientID=Vamp002", tmp_path / "home")
    assert done.returncode == 5, done.stderr
    assert "completeness unknown: " in done.stderr


def test_an_unreachable_source(dcmtk_archive: DcmtkQrscp, free_port: int, tmp_path: Path) -> None:
    dead = f"{HOST}:DEAD:{free_port}"
    report_path = tmp_path / "report.json"
    done = run_dcm("sync", "-s", dead, "-q", NIGHT, "--report", report_path, tmp_path / "home")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith(f"Error: {dead} refused the connection; ")
    assert len(done.stderr.splitlines()) == 1
    assert json.loads(report_path.read_text())["exit_code"] == 4
    done = run_dcm("--quiet", "sync", "-s", dead, "-s", node(dcmtk_archive), "-q", NIGHT, tmp_path / "home")
    assert done.returncode == 3
    assert done.stderr.startswith(f"Error: {dead} refused the connection; ")
    assert len(files_in(tmp_path / "home")) == 15


def test_an_unreachable_destination(
    dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], free_port: int, tmp_path: Path
) -> None:
    dead = f"{HOST}:DEAD:{free_port}"
    source = ("-s", node(dcmtk_archive), "-q", "PatientID=Vamp001")
    done = run_dcm("sync", *source, dead)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith(f"Error: {dead} refused the connection; ")
    assert len(done.stderr.splitlines()) == 1
    done = run_dcm("sync", *source, dead, tmp_path / "home")
    assert done.returncode == 3
    assert "12 sent, 12 failed" in done.stderr
    assert data_sets_in(tmp_path / "home") == expected(samples, "Vamp001")


def test_a_read_only_destination(
    dcmtk_archive: DcmtkQrscp, read_only_disk: Path, samples: list[data.Sample], tmp_path: Path
) -> None:
    source = ("-s", node(dcmtk_archive), "-q", "PatientID=Vamp001")
    done = run_dcm("sync", *source, read_only_disk)
    assert (done.returncode, done.stderr) == (2, f"Error: cannot write {read_only_disk}: read-only file system\n")
    # Nothing moves to the other destination, either.
    done = run_dcm("sync", *source, tmp_path / "home", read_only_disk)
    assert (done.returncode, done.stderr) == (2, f"Error: cannot write {read_only_disk}: read-only file system\n")
    assert not (tmp_path / "home").exists() or not files_in(tmp_path / "home")


def test_a_full_destination(
    dcmtk_archive: DcmtkQrscp,
    big_archive: DcmtkQrscp,
    small_disk: Path,
    samples: list[data.Sample],
    big_samples: list[data.Sample],
    tmp_path: Path,
) -> None:
    sources = ("-s", node(big_archive), "-s", node(dcmtk_archive))
    done = run_dcm("sync", *sources, "-q", NIGHT, small_disk, tmp_path / "home")
    assert done.returncode == 3
    assert f"failed: {small_disk}: disk full" in done.stderr
    wanted = expected([*samples, *big_samples], "Big", "Vamp001", "Vamp002")
    assert data_sets_in(tmp_path / "home") == wanted
    # What is on the small disk is whole, and what fits is there though larger ones failed before it.
    kept = data_sets_in(small_disk)
    assert kept.items() <= wanted.items()
    assert expected(samples, "Vamp001", "Vamp002").items() <= kept.items()


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (["-s", "mypcas", "-q", NIGHT, "home"], "no node or directory called 'mypcas'", "did you mean 'mypacs'?"),
        (["-s", "mypacs", "-q", NIGHT, "mypac"], "no node, directory or route called 'mypac'", "write ./mypac"),
        (["-s", "mypacs", "-q", "PatientNam=x", "home"], "no attribute 'PatientNam'", "did you mean PatientName?"),
        (["-s", "mypacs", "-q", NIGHT, "home:{PatientNam}"], "keyword 'PatientNam'", "did you mean PatientName?"),
        (["-s", "mypacs", "--dir-format", "../{PatientID}", "home"], "output path", ""),
        (["-s", "mypacs", "-q", NIGHT, "home", "./home"], "two of the destinations are the same", ""),
        (["home"], "no source", "give -s NODE"),
        (["-s", "mypacs", "--query-res", "none.json", "home"], "cannot read none.json", ""),
        (["-s", "mypacs", "-q", NIGHT, "file"], "is not a directory", ""),
        (["-s", ".", "home"], "is source and destination at once", "would show up as new data"),
        (["-s", "./none", "home"], "none is not there: no such directory", ""),
        (["-s", "mypacs", "-q", NIGHT, "--since", "yesterday", "home"], "a StudyDate, and --since", "keep one"),
    ],
)
def test_what_makes_no_sense_moves_nothing(
    args: Sequence[str], message: str, hint: str, isolated_config: Path, tmp_path: Path, free_port: int
) -> None:
    configure(isolated_config, mypacs=DcmNode(HOST, "NOBODY", free_port))
    (tmp_path / "file").write_text("mine")
    done = run_dcm("sync", *args, cwd=tmp_path, env={"PYTHONPATH": str(Path(__file__).parents[2])})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr
    assert hint in done.stderr
    assert files_in(tmp_path) == [tmp_path / "file"]


def test_where_the_report_cannot_be_written(dcmtk_archive: DcmtkQrscp, tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = ("sync", "-s", node(dcmtk_archive), "-q", "PatientID=Vamp003", home, "--report")
    # It is said before hours of work are done.
    done = run_dcm(*command, tmp_path / "none" / "r.json")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: cannot write the report to ")
    assert not home.exists()
    # A destination is made on the way, and may hold it.
    assert run_dcm(*command, home / "r.json").returncode == 0
    assert read_report(home / "r.json")["counts"]["sent"] == 2
    done = run_dcm(*command, tmp_path / ("r" * 300))
    assert done.returncode == 2
    assert done.stderr.startswith("Error: cannot write the report to ")


# -- interrupted -------------------------------------------------------------------------------------------------------


def start_sync(source: str, home: Path) -> subprocess.Popen[bytes]:
    command = [*DCM, "sync", "-s", source, "-q", "PatientID=Big", str(home)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_whole_files(
    number: signal.Signals, big_archive: DcmtkQrscp, big_samples: list[data.Sample], tmp_path: Path
) -> None:
    n_all = len(big_samples)
    fault = Fault(stall_at=700_000)
    with FaultProxy(big_archive.port, to_client=fault, ae_title=big_archive.ae_title) as proxy:
        process = start_sync(node(proxy), tmp_path / "home")
        assert proxy.stalled.wait(20)
        process.send_signal(number)
        printed, shown = process.communicate(timeout=10)
    said = shown.decode()
    assert (process.returncode, printed) == (130, b"")
    assert " sent, " in said
    assert said.endswith("interrupted; what is there is whole, run it again to get the rest\n")
    assert "Traceback" not in said
    assert "\x1b" not in said
    kept = holds(tmp_path / "home", big_samples)
    assert all(kept.values())
    assert f" {len(kept)} sent" in said
    done = run_dcm("sync", "-s", node(big_archive), "-q", "PatientID=Big", tmp_path / "home")
    assert done.returncode == 0
    assert f"{n_all - len(kept)} sent" in done.stderr
    assert f"{len(kept)} already there" in done.stderr
    assert list(holds(tmp_path / "home", big_samples).values()) == [True] * n_all


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals")
def test_kill_9_leaves_whole_files(big_archive: DcmtkQrscp, big_samples: list[data.Sample], tmp_path: Path) -> None:
    home = tmp_path / "home"
    for stall_at in (3_000, 140_000, 300_500, 700_000):  # each series may come on an association of its own
        fault = Fault(stall_at=stall_at)
        with FaultProxy(big_archive.port, to_client=fault, ae_title=big_archive.ae_title) as proxy:
            process = start_sync(node(proxy), home)
            assert proxy.stalled.wait(20)
            process.kill()
            process.communicate(timeout=10)
        # Nothing partial under a final name; a file system without unnamed files may keep a hidden one.
        assert all(holds(home, big_samples).values())
    assert run_dcm("sync", "-s", node(big_archive), "-q", "PatientID=Big", home).returncode == 0
    assert list(holds(home, big_samples).values()) == [True] * len(big_samples)


def test_a_source_that_hangs_up_is_asked_again(
    big_archive: DcmtkQrscp, big_samples: list[data.Sample], tmp_path: Path
) -> None:
    fault = Fault(cut_at=500_000)
    with FaultProxy(big_archive.port, to_client=fault, n_faulty=2, ae_title=big_archive.ae_title) as proxy:
        done = run_dcm("sync", "-s", node(proxy), "-q", "PatientID=Big", tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(holds(tmp_path, big_samples).values()) == [True] * len(big_samples)


# -- on a terminal -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="terminals")
def test_progress_on_a_terminal(big_archive: DcmtkQrscp, tmp_path: Path) -> None:
    # A piece every 10 ms: it takes long enough to be seen.
    fault = Fault(chunk=32_768, delay=0.01)
    with FaultProxy(big_archive.port, to_client=fault, ae_title=big_archive.ae_title) as proxy:
        source = ("-s", node(proxy), "-q", "PatientID=Big")
        code, shown = run_on_terminal("sync", *source, tmp_path / "home", columns=80)
    assert code == 0
    assert "/24 instances" in shown
    assert " MB, " in shown
    assert "B/s " in shown
    assert re.search(r"[0-9]{2}:[0-9]{2}", shown), "the time left"
    assert shown.rstrip().endswith(": 24 sent")
    assert "24 instances in 3 series, " in shown


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="terminals")
@pytest.mark.parametrize("option", ["--no-progress", "--quiet"])
def test_no_progress_on_a_terminal(option: str, dcmtk_archive: DcmtkQrscp, tmp_path: Path) -> None:
    command = ["sync", "-s", node(dcmtk_archive), "-q", "PatientID=Vamp001", str(tmp_path)]
    command.insert(0 if option == "--quiet" else 1, option)
    code, shown = run_on_terminal(*command)
    assert code == 0
    assert "\x1b" not in shown
    assert shown.endswith(": 12 sent\n") or (option, shown) == ("--quiet", "")


def test_a_report_in_a_destination_that_nothing_went_to(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    done = run_dcm("sync", "-s", tmp_path / "from", "--report", tmp_path / "new" / "report.json", tmp_path / "new")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert read_report(tmp_path / "new" / "report.json")["instances"] == 0


def test_the_report_may_go_to_stdout(tmp_path: Path) -> None:
    data.write_tiny(tmp_path / "in", 2)
    for extra in ([], ["-n"]):
        done = run_dcm("sync", "-s", str(tmp_path / "in"), *extra, "--report", "-", str(tmp_path / "out"))
        report = json.loads(done.stdout)
        assert (done.returncode, report["instances"], report["dry_run"]) == (0, 2, bool(extra)), done.stderr
    assert not Path("-").exists()
