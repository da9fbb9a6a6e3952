"""``dcm query``, with real peers."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from dcm.query import QueryLevel, QueryResult
from tests import data
from tests.cli.runner import DCM, run_dcm, run_on_terminal
from tests.peers.dcmtk import DcmtkQrscp
from tests.peers.fixtures import Archive
from tests.peers.process import HOST
from tests.peers.proxy import Fault, FaultProxy

NIGHT = ("StudyDate=20201031",)


def node(archive: Archive) -> str:
    return f"{HOST}:{archive.ae_title}:{archive.port}"


def query(archive: Archive, *args: str | Path, stdin: bytes | None = None) -> QueryResult:
    done = run_dcm("query", node(archive), *args, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    return QueryResult.from_json(done.stdout)


def studies_of(samples: Sequence[data.Sample], *patients: str) -> set[str]:
    return {sample.study_uid for sample in samples if sample.patient_id in patients}


def test_into_a_pipe_comes_json_that_can_be_read_back(archive: Archive, samples: list[data.Sample]) -> None:
    result = query(archive, *NIGHT)
    assert result.level is QueryLevel.STUDY
    assert set(result.uids()) == studies_of(samples, "Vamp001", "Vamp002")
    assert "Dracula^Count" in {str(data_set.PatientName) for data_set in result}


@pytest.mark.parametrize(
    ("keys", "patients"),
    [
        (["PatientID=Vamp002"], ["Vamp002"]),
        (["(0010,0020)=Vamp00?", *NIGHT], ["Vamp001", "Vamp002"]),
        (["PatientName=Dracula*"], ["Vamp001"]),
        (["StudyDate=20201101-"], ["Vamp003"]),
        (["--since", "2020-11-02", "--before", "2020-11-03"], ["Vamp003"]),
        (["--before", "2 Nov 2020"], ["Vamp001", "Vamp002"]),
        (["PatientID=Vamp001\\Vamp003", "-y"], []),
    ],
)
def test_keys_and_dates_choose(
    dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], keys: list[str], patients: list[str]
) -> None:
    assert set(query(dcmtk_archive, "--level", "study", *keys).uids()) == studies_of(samples, *patients)


@pytest.mark.parametrize(
    ("level", "attribute"), [("series", "series_uid"), ("image", "sop_instance_uid"), ("instance", "sop_instance_uid")]
)
def test_the_level(archive: Archive, samples: list[data.Sample], level: str, attribute: str) -> None:
    result = query(archive, "PatientID=Vamp001", "--level", level)
    assert set(result.uids()) == {getattr(sample, attribute) for sample in samples if sample.patient_id == "Vamp001"}


def test_on_a_terminal_comes_a_tree(dcmtk_archive: DcmtkQrscp) -> None:
    code, shown = run_on_terminal("query", node(dcmtk_archive), "PatientID=Vamp001", "StudyDate=")
    assert code == 0
    lines = shown.splitlines()
    assert lines[0].startswith("1 patients | 2 studies")
    assert lines[1].startswith("└── ID: Vamp001 | Name: Dracula^Count | 2 studies")
    assert "\x1b" not in shown


def test_csv_and_json_lines(archive: Archive) -> None:
    done = run_dcm("query", node(archive), "StudyDate=20201102", "--out-format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["PatientID"], row["PatientName"], row["StudyDate"]) for row in rows] == [
        ("Vamp003", "Müller^Jürgen", "20201102")
    ]
    done = run_dcm("query", node(archive), "StudyDate=20201102", "--out-format", "ndjson")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["PatientName"] for line in lines] == ["Müller^Jürgen"]


def test_what_is_piped_in_is_refined(dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], tmp_path: Path) -> None:
    found = run_dcm("query", node(dcmtk_archive), "PatientID=Vamp001").stdout
    mr_series = {sample.series_uid for sample in samples if sample.sop_class_uid.endswith(".4")}
    expected = mr_series & {sample.series_uid for sample in samples if sample.patient_id == "Vamp001"}
    assert set(query(dcmtk_archive, "Modality=MR", stdin=found.encode()).uids()) == expected
    path = tmp_path / "found.json"
    path.write_text(found)
    assert set(query(dcmtk_archive, "Modality=MR", "--query-res", path).uids()) == expected
    assert query(dcmtk_archive, "--query-res", path) == QueryResult.from_json(found)


def test_each_row_of_a_table_is_asked(dcmtk_archive: DcmtkQrscp, samples: list[data.Sample], tmp_path: Path) -> None:
    table = tmp_path / "cohort.csv"
    table.write_text("PatientID,StudyDate\nVamp001,20201031\nVamp003,\nnobody,\n")
    assert set(query(dcmtk_archive, "--batch-csv", table).uids()) == studies_of(samples, "Vamp001", "Vamp003")
    result = query(dcmtk_archive, "--batch-csv", table, "Modality=MR")
    assert result.level is QueryLevel.SERIES
    assert {data_set.Modality for data_set in result} == {"MR"}


def test_a_query_for_everything_is_refused_where_nobody_can_be_asked(dcmtk_archive: DcmtkQrscp) -> None:
    for keys in ([], ["PatientID="], ["PatientName=*"]):
        done = run_dcm("query", node(dcmtk_archive), *keys)
        assert (done.returncode, done.stdout) == (2, "")
        assert "for everything that it has" in done.stderr
        assert "-y" in done.stderr


def test_a_query_for_everything_is_asked_about(dcmtk_archive: DcmtkQrscp, samples: list[data.Sample]) -> None:
    code, shown = run_on_terminal("query", node(dcmtk_archive), answer="n\n")
    assert code == 1
    assert "asks" in shown
    assert "for everything that it has. Go on? [y/N]" in shown
    assert "patients" not in shown
    code, shown = run_on_terminal("query", node(dcmtk_archive), answer="y\n")
    assert code == 0
    assert "3 patients | 4 studies" in shown
    assert set(query(dcmtk_archive, "-y").uids()) == {sample.study_uid for sample in samples}


@pytest.mark.parametrize(
    ("args", "message", "hint"),
    [
        (["PatientNam=x"], "there is no attribute 'PatientNam'", "did you mean PatientName?"),
        (["StudyDate=2020-10-31"], "a date is YYYYMMDD", "did you mean StudyDate=20201031?"),
        (["StudyDate=20201031", "--since", "yesterday"], "a StudyDate, and --since", "keep one"),
        (["--since", "yesteryear"], "'yesteryear' is no date", ""),
        (["--batch-csv", "none.csv"], "cannot read none.csv", ""),
        (["--query-res", "none.json"], "cannot read none.json", ""),
        (["--local", "nobody", "PatientID=1"], "no local node called 'nobody'", ""),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_sent(
    args: list[str], message: str, hint: str, free_port: int
) -> None:
    done = run_dcm("query", f"{HOST}:NOBODY:{free_port}", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert hint in done.stderr
    assert done.stderr.startswith("Error: ")


def test_nothing_can_be_done(dcmtk_archive: DcmtkQrscp, free_port: int) -> None:
    done = run_dcm("query", f"{HOST}:NOBODY:{free_port}", "PatientID=1")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("Error: ")
    assert f"{HOST}:NOBODY:{free_port}" in done.stderr
    assert "Traceback" not in done.stderr
    with FaultProxy(dcmtk_archive.port, to_client=Fault(cut_at=400)) as proxy:
        done = run_dcm("query", f"{HOST}:{dcmtk_archive.ae_title}:{proxy.port}", "PatientID=Vamp001")
    assert (done.returncode, done.stdout) == (4, "")
    assert str(proxy.port) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_while_a_peer_is_silent(dcmtk_archive: DcmtkQrscp) -> None:
    with FaultProxy(dcmtk_archive.port, to_client=Fault(stall_at=300)) as proxy:
        process = subprocess.Popen(
            [*DCM, "query", f"{HOST}:{dcmtk_archive.ae_title}:{proxy.port}", "PatientID=Vamp001"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert proxy.stalled.wait(20)
        process.send_signal(signal.SIGINT)
        printed, shown = process.communicate(timeout=20)
    assert process.returncode == 130
    assert printed == b""
    assert b"Traceback" not in shown


def test_nothing_found_is_a_result(dcmtk_archive: DcmtkQrscp) -> None:
    assert len(query(dcmtk_archive, "PatientID=nobody")) == 0


# -- a directory answers queries, too


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the sample studies, some of them deeper, and a file that is not DICOM."""
    data.write_studies(tmp_path / "archive" / "deep", data.SAMPLE_STUDIES[:4])
    data.write_studies(tmp_path / "archive", data.SAMPLE_STUDIES[4:])
    (tmp_path / "archive" / "notes.txt").write_text("not DICOM")
    return tmp_path / "archive"


def query_dir(directory: Path, *args: str | Path, stdin: bytes | None = None) -> tuple[QueryResult, str]:
    done = run_dcm("query", directory, *args, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return QueryResult.from_json(done.stdout), done.stderr


def test_a_directory_is_asked_without_asking_back(directory: Path, samples: list[data.Sample]) -> None:
    found, said = query_dir(directory)
    assert set(found.uids()) == {sample.study_uid for sample in samples}
    assert found.n_instances() == len(samples)
    assert found.prov.source == str(directory)
    assert "left alone" in said
    assert "notes.txt" in said
    found, _ = query_dir(directory, "Modality=MR")
    assert {data_set.Modality for data_set in found} == {"MR"}


def test_what_a_directory_has_can_be_piped_on(directory: Path, tmp_path: Path, samples: list[data.Sample]) -> None:
    found = run_dcm("query", "archive", "PatientID=Vamp001", cwd=tmp_path).stdout
    refined, _ = query_dir(directory, "Modality=MR", stdin=found.encode())
    assert len(refined) == 1
    done = run_dcm("sync", tmp_path / "dest", stdin=found.encode(), cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    copied = {path.stem for path in (tmp_path / "dest").rglob("*.dcm")}
    assert copied == {sample.sop_instance_uid for sample in samples if sample.patient_id == "Vamp001"}


def test_which_files_of_a_directory_count(directory: Path, isolated_config: Path) -> None:
    (directory / "odd.ima").write_bytes(next(directory.glob("Vamp002*")).read_bytes())
    assert query_dir(directory, "--no-recurse")[0].n_patients() == 2
    assert query_dir(directory, "--in-file-ext", "ima")[0].n_instances() == 1
    isolated_config.write_text(f'[local_dirs.mine]\npath = "{directory}"\nrecurse = false\n')
    assert query_dir(Path("mine"))[0].n_patients() == 2
    assert query_dir(Path("mine"), "--recurse")[0].n_patients() == 3


def test_without_an_index_nothing_is_kept(directory: Path, isolated_config: Path) -> None:
    home = isolated_config.parent
    query_dir(directory, "--no-index")
    assert not [*home.rglob("*.sqlite*"), *home.rglob("index")]
    query_dir(directory)
    assert [*home.rglob("index")]


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    done = run_dcm("query", tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path / 'nowhere'} is not there: no such directory" in done.stderr


def test_a_truncated_file_makes_the_answer_doubtful(directory: Path) -> None:
    whole = next(directory.glob("Vamp002*"))
    whole.write_bytes(whole.read_bytes()[:-100])
    done = run_dcm("query", directory)
    assert done.returncode == 5
    assert "truncated" in done.stderr
