"""``--edit`` and ``--edit-json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from dcm.cli._edits import load_edits, load_edits_json, merge_edits, parse_edits
from dcm.cli._options import edit_json_option, edit_option
from dcm.errors import UsageError
from dcm.filt import make_edit_filter
from tests.data import data_set


def test_assignments() -> None:
    given = ["PatientID=ANON1", "PatientComments=", "OtherPatientIDs-", "(0008,1030) = a=b", "Seq[0].Elem=1"]
    assert parse_edits(given) == {
        "PatientID": "ANON1",
        "PatientComments": "",
        "OtherPatientIDs": None,
        "(0008,1030)": " a=b",
        "Seq[0].Elem": "1",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["PatientID"], "--edit 'PatientID' has no value; write PatientID=VALUE, or PatientID- to delete it"),
        (["=x"], "names no element"),
        (["-"], "names no element"),
        (["PatientID=1", "PatientID-"], "PatientID is given twice"),
        (["a\x1b[2J"], r"'a\\x1b\[2J' has no value"),
    ],
)
def test_what_is_no_edit(given: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_edits(given)
    assert caught.value.exit_code == 2


def test_a_file_of_edits(tmp_path: Path) -> None:
    edits: dict[str, Any] = {"PatientID": "ANON1", "OtherPatientIDs": None, "SeriesNumber": 7, "ImageType": ["A", "B"]}
    edits |= {"RequestAttributesSequence": {"StudyInstanceUID": "1.2"}, "ProcedureCodeSequence": [{"CodeValue": "x"}]}
    path = tmp_path / "edits.json"
    path.write_text(json.dumps(edits), "utf-8-sig")
    assert load_edits_json(path) == edits
    make_edit_filter(load_edits([], path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "is no JSON object; write {"),
        (b'{"PatientID": "1", "PatientID": "2"}', "'PatientID' is there twice"),
        (b'{"SliceThickness": NaN}', "NaN is no number of JSON"),
        (b"{", "is no JSON: "),
        (b"\xff\xfe", "is no JSON: "),
        (b"[" * 100_000, "is no JSON: "),
        (b" " * (16 << 20) + b"{}", "too large"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_file_that_is_no_edits(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "edits.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        load_edits_json(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none\.json: No such file or directory"):
        load_edits_json(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        ({}, {}, {}),
        ({"PatientID": "1"}, {}, {"PatientID": "1"}),
        ({"PatientID": "1", "StudyID": "2"}, {"(0010,0020)": "3"}, {"StudyID": "2", "(0010,0020)": "3"}),
        (
            {
                "RequestAttributesSequence[*].StudyInstanceUID": "1",
                "RequestAttributesSequence[0].StudyInstanceUID": "2",
            },
            {"(0040,0275)[0].0020000D": "3"},
            {"RequestAttributesSequence[*].StudyInstanceUID": "1", "(0040,0275)[0].0020000D": "3"},
        ),
    ],
)
def test_the_command_line_counts_more(first: dict[str, Any], second: dict[str, Any], merged: dict[str, Any]) -> None:
    assert merge_edits(first, second) == merged


def test_no_options_are_no_edits() -> None:
    assert load_edits([]) == {}


def test_a_typo_is_a_usage_error_with_the_nearest_keyword() -> None:
    with pytest.raises(UsageError, match="there is no attribute 'PatientNam'; did you mean PatientName"):
        make_edit_filter(load_edits(["PatientNam=x"]))


def test_the_options(tmp_path: Path) -> None:
    (tmp_path / "edits.json").write_text('{"PatientID": "FILE", "StudyDescription": null}')

    @click.command
    @edit_option
    @edit_json_option
    def command(edit: tuple[str, ...], edit_json: Path | None) -> None:
        filt = make_edit_filter(load_edits(edit, edit_json))
        edited = filt(data_set())
        assert edited is not None
        click.echo(f"{edited.PatientID} {edited.PatientSex} {'StudyDescription' in edited}")

    args = ["-e", "PatientID=LINE", "--edit", "PatientSex=", "--edit-json", str(tmp_path / "edits.json")]
    assert CliRunner().invoke(command, args, catch_exceptions=False).output == "LINE  False\n"
