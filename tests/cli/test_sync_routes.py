"""``dcm sync`` to routes and repositories of the configuration file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from dcm.peek import peek_file
from tests import data
from tests.cli.runner import run_dcm
from tests.peers import HOST, DcmtkQrscp, free_port

PATIENT_ID = 0x00100020


@pytest.fixture
def home(isolated_config: Path, tmp_path: Path) -> Path:
    """Where the configuration file is, and the directories that it names."""
    isolated_config.write_text("""
        [local_dirs]
        archive = "archive"
        [static_routes.anonymous]
        dests = ["./anonymous"]
        filt = { reject = "Modality == MR", edit = { PatientID = "ANON1" } }
        [dynamic_routes.rules]
        default_dests = ["archive"]
        exclude = ["PatientID == Vamp003"]
        routing_map = { "StudyDescription == 'Night scan'" = ["anonymous", "archive"] }
        """)
    return isolated_config.parent


def found(directory: Path) -> dict[str, int]:
    """How many files there are of each patient."""
    patients = [peek_file(path).text(PATIENT_ID) for path in directory.rglob("*.dcm")]
    return {patient: patients.count(patient) for patient in sorted(set(patients))}


def patients_of(samples: Iterable[data.Sample], *which: str) -> dict[str, int]:
    listed = [sample.patient_id for sample in samples]
    return {patient: listed.count(patient) for patient in which}


def test_a_static_route(home: Path, samples: list[data.Sample]) -> None:
    source = samples[0].path.parent
    done = run_dcm("sync", "-s", source, "-q", "PatientID=Vamp001", "anonymous")
    assert done.returncode == 0, done.stderr
    ours = [sample for sample in samples if sample.patient_id == "Vamp001" and "-1-3-" not in sample.path.name]
    assert found(home / "anonymous") == {"ANON1": len(ours)}
    assert "filtered" in done.stderr


def test_a_dynamic_route_and_a_second_sync_that_sends_nothing(home: Path, samples: list[data.Sample]) -> None:
    source = samples[0].path.parent
    for outcome in ("25 sent", "25 already there"):
        done = run_dcm("sync", "-s", source, "rules")
        assert done.returncode == 0, done.stderr
        assert outcome in done.stderr
        assert found(home / "archive") == patients_of(samples, "Vamp001", "Vamp002")
        n_ct = sum(s.patient_id == "Vamp001" and "-1-3-" not in s.path.name for s in samples)
        assert found(home / "anonymous") == {"ANON1": n_ct}


def test_edits_of_the_command_line_come_last(home: Path, samples: list[data.Sample]) -> None:
    source = samples[0].path.parent
    done = run_dcm("sync", "-s", source, "-e", "PatientID=LAST", "--dir-format", "{SOPInstanceUID}", "rules")
    assert done.returncode == 0, done.stderr
    assert found(home / "archive").keys() == found(home / "anonymous").keys() == {"LAST"}
    assert {path.parent for path in (home / "archive").iterdir()} == {home / "archive"}


def test_a_dry_run_says_where_it_would_go(home: Path, samples: list[data.Sample]) -> None:
    done = run_dcm("sync", "-n", "-s", samples[0].path.parent, "rules")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [str(home / "anonymous"), str(home / "archive")]
    assert not (home / "archive").exists() or not found(home / "archive")
    n_excluded = sum(sample.patient_id == "Vamp003" for sample in samples)
    assert f"{n_excluded} instances would go nowhere" in done.stderr


def test_a_dry_run_counts_for_a_single_destination_of_rules_and_for_one_that_is_named_twice(
    home: Path, samples: list[data.Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = samples[0].path.parent
    with open(home / "dcm_conf.toml", "a") as file:
        file.write('[dynamic_routes.one]\nrouting_map = { "PatientID == Vamp002" = ["archive"] }\ndefault_dests = []\n')
    n_one = patients_of(samples, "Vamp002")["Vamp002"]
    done = run_dcm("sync", "-n", "-s", source, "one")
    assert done.stdout.startswith(f"{home / 'archive'}: {n_one} instances of 1 series"), done.stdout
    assert f"({len(samples) - n_one} filtered out)" in done.stdout
    monkeypatch.chdir(home)
    done = run_dcm("sync", "-n", "-s", source, "one", "./archive")
    (line,) = done.stdout.splitlines()
    assert f": {len(samples)} instances of " in line, line
    assert run_dcm("sync", "-s", source, "one", "./archive").returncode == 0
    assert found(home / "archive") == patients_of(samples, "Vamp001", "Vamp002", "Vamp003")


def test_a_repository_is_a_source(dcmtk_archive: DcmtkQrscp, home: Path, samples: list[data.Sample]) -> None:
    config = home / "dcm_conf.toml"
    config.write_text(
        f'[local_nodes.default]\nhost = "{HOST}"\nae_title = "LOCALAE"\nport = {free_port()}\n'
        f'[remote_nodes.pacs]\nhost = "{HOST}"\nae_title = "{dcmtk_archive.ae_title}"\nport = {dcmtk_archive.port}\n'
        '[remote_repos.chocula]\nremote = "pacs"\nbase_query = { PatientID = "Vamp002" }\n'
    )
    done = run_dcm("query", "chocula", "--out-format", "ndjson")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Vamp002") == len(done.stdout.splitlines()) == 1
    done = run_dcm("sync", "-s", "chocula", home / "out")
    assert done.returncode == 0, done.stderr
    assert found(home / "out") == patients_of(samples, "Vamp002")
    assert run_dcm("echo", "chocula").stdout == "Success\n"
