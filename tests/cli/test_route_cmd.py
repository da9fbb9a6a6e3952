"""``dcm route``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import data
from tests.cli.runner import run_dcm

TEXT = """
[remote_nodes.research]
host = "research.example.org"
ae_title = "RESEARCH"
port = 104
[local_dirs]
archive = "archive"
[selectors]
night = "StudyDescription == 'Night scan'"
[static_routes.anonymous]
dests = ["research"]
filt = { reject = "Modality == MR", edit = { PatientID = "ANON1" } }
[dynamic_routes.rules]
exclude = ["PatientID == Vamp002"]
[dynamic_routes.rules.routing_map]
night = ["anonymous", "archive"]
"Modality == US" = "archive"
[dynamic_routes.series_rules]
route_level = "series"
default_dests = ["archive"]
routing_map = { "InstanceNumber == 1" = "research" }
"""


@pytest.fixture
def configured(isolated_config: Path) -> Path:
    isolated_config.write_text(TEXT)
    return isolated_config


@pytest.fixture
def ct(samples: list[data.Sample]) -> Path:
    return samples[0].path


def test_which_rules_match_and_where_it_goes(configured: Path, ct: Path, samples: list[data.Sample]) -> None:
    done = run_dcm("route", "explain", "rules", ct)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        str(ct),
        f"  rules, decided for each study ({samples[0].study_uid})",
        '    exclude: PatientID == "Vamp002": does not match [PatientID = Vamp001]',
        '    rule 1: StudyDescription == "Night scan": matches [StudyDescription = Night scan]',
        '    rule 2: Modality == "US": not asked (it would not match either) [Modality = CT]',
        "    -> research.example.org:RESEARCH:104 by proxy, through "
        'reject where Modality == "MR" then the edits of anonymous',
        f"    -> {configured.parent / 'archive'} by copy or proxy",
    ]
    assert not (configured.parent / "archive").exists()


def test_what_a_filter_keeps_from_going_is_said(configured: Path, samples: list[data.Sample]) -> None:
    magnetic, *_ = [sample for sample in samples if "-1-3-" in sample.path.name]
    done = run_dcm("route", "explain", "rules", magnetic.path)
    assert done.returncode == 0
    assert "the edits of anonymous: rejected, it does not go there" in done.stdout
    done = run_dcm("route", "explain", "anonymous", magnetic.path)
    assert "anonymous: a static route, which takes everything" in done.stdout


def test_what_goes_nowhere(configured: Path, samples: list[data.Sample]) -> None:
    by_patient = {sample.patient_id: sample.path for sample in samples}
    done = run_dcm("route", "explain", "rules", by_patient["Vamp002"])
    assert done.returncode == 0
    assert "matches: it goes nowhere [PatientID = Vamp002]" in done.stdout
    assert "It goes nowhere, on purpose." in done.stdout
    done = run_dcm("route", "explain", "rules", by_patient["Vamp003"])
    assert done.returncode == 1
    assert "Where it goes cannot be said: rules: no rule matches" in done.stdout


def test_as_json(configured: Path, ct: Path, samples: list[data.Sample], tmp_path: Path) -> None:
    done = run_dcm("route", "explain", "--out-format", "json", "rules", ct, tmp_path / "none")
    assert done.returncode == 1
    first, second = json.loads(done.stdout)
    assert (first["file"], first["sop_instance_uid"]) == (str(ct), samples[0].sop_instance_uid)
    assert (first["error"], first["problem"]) == ("", "")
    (route,) = first["routes"]
    assert (route["route"], route["level"], route["node"]) == ("rules", "STUDY", samples[0].study_uid)
    assert [(rule["matches"], rule["used"], rule["excludes"]) for rule in route["rules"]] == [
        (False, True, True),
        (True, True, False),
        (False, False, False),
    ]
    assert [(way["dest"], way["methods"], way["rejected"]) for way in route["ways"]] == [
        ("research.example.org:RESEARCH:104", ["proxy"], False),
        (str(configured.parent / "archive"), ["local_copy", "proxy"], False),
    ]
    assert second.keys() == {"file", "error"}
    assert "No such file" in second["error"]


def test_several_files_and_what_cannot_be_read(configured: Path, ct: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no image")
    (tmp_path / "empty").write_bytes(b"")
    done = run_dcm("route", "explain", "rules", "text", "none", ".", "empty", ct, cwd=tmp_path)
    assert done.returncode == 1
    assert str(ct) in done.stdout
    lines = done.stderr.splitlines()
    assert [line.split()[0] for line in lines] == ["Error:"] * 4
    for name, line in zip(("text", "none", ".", "empty"), lines, strict=True):
        assert f"{name}: " in line
    assert "-r explains what is in it" in lines[2]


def test_directories(configured: Path, samples: list[data.Sample]) -> None:
    done = run_dcm("route", "explain", "anonymous", "-r", samples[0].path.parent)
    assert (done.returncode, done.stderr) == (0, "")
    shown = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert shown == sorted(str(sample.path) for sample in samples)


def test_files_that_do_not_agree_where_their_series_goes(configured: Path, samples: list[data.Sample]) -> None:
    series = [sample for sample in samples if sample.series_uid == samples[0].series_uid]
    done = run_dcm("route", "explain", "series_rules", *(sample.path for sample in series))
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Warning: the files of series {series[0].series_uid} do not agree where they go")
    assert run_dcm("route", "explain", "series_rules", series[0].path).stderr == ""


def test_a_file_that_is_cut_short(configured: Path, ct: Path, tmp_path: Path) -> None:
    (tmp_path / "short.dcm").write_bytes(ct.read_bytes()[:-100])
    done = run_dcm("route", "explain", "rules", "short.dcm", cwd=tmp_path)
    assert "It is not complete: " in done.stdout
    assert ": fails, " in done.stdout


def test_what_a_file_says_does_nothing_to_a_terminal(configured: Path, tmp_path: Path) -> None:
    spec = data.SeriesSpec(study_description="Night\x1b[31m scan", n_instances=1)
    (sample,) = data.write_series(tmp_path, spec)
    name = tmp_path / "x\x1b[2J\n.dcm"
    sample.path.rename(name)
    for args in ([], ["--out-format", "json"]):
        done = run_dcm("route", "explain", *args, "rules", name)
        assert "\x1b" not in done.stdout + done.stderr


def test_routes_that_are_none(configured: Path, ct: Path) -> None:
    for name, message in (
        ("ruels", "did you mean 'rules'?"),
        ("research", "'research' is of [remote_nodes]; a route is needed here"),
        ("./dir", "no route called './dir'"),
    ):
        done = run_dcm("route", "explain", name, ct)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
    configured.write_text('[static_routes]\nr = { dests = "./x", filt = { edit = { PatientIDD = "1" } } }\n')
    done = run_dcm("route", "explain", "r", ct)
    assert done.returncode == 2
    assert "[static_routes.r]" in done.stderr


def test_the_group_says_what_there_is() -> None:
    done = run_dcm("route", "--help")
    assert done.returncode == 0
    assert "explain" in done.stdout
    assert run_dcm("route", "explian").returncode == 2
