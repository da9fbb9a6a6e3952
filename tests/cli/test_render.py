"""Query results on stdout."""

from __future__ import annotations

import csv
import io
import json

import pytest

from dcm.attrs import Attributes
from dcm.cli._render import print_result
from dcm.query import QueryLevel, QueryResult
from dcm.text import safe_text


def study(uid: str, patient: str = "Vamp001", **more: tuple[int, str, object]) -> Attributes:
    items: list[tuple[int, str, object]] = [
        (0x00080005, "CS", "ISO_IR 100"),
        (0x00080020, "DA", "20201031"),
        (0x00080052, "CS", "STUDY"),
        (0x00100020, "LO", patient),
        (0x0020000D, "UI", uid),
    ]
    return Attributes.from_items([*items, *more.values()])  # type: ignore[list-item]


RESULT = QueryResult(
    QueryLevel.STUDY,
    [
        study(
            "1.2.1",
            name=(0x00100010, "PN", "Müller^Jürgen"),
            modalities=(0x00080061, "CS", ("CT", "MR")),
            n_instances=(0x00201208, "IS", "12"),
            weight=(0x00101030, "DS", "70.5"),
            sequence=(0x00081110, "SQ", (Attributes.from_items([(0x00081150, "UI", "1.9")]),)),
        ),
        study("1.2.2", name=(0x00100010, "PN", '=HYPERLINK("x")'), description=(0x00081030, "LO", "a\x1b[31m\nb")),
        study("1.2.3", "Vamp002", private=(0x00091001, "LO", "p"), empty=(0x00081030, "LO", None)),
    ],
)


def test_json_is_what_is_read_back(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    print_result(RESULT, "json")
    printed = capsysbinary.readouterr().out
    assert printed.endswith(b"}\n")
    assert not printed.endswith(b"\n\n")
    assert QueryResult.from_json(printed) == RESULT
    assert "Müller^Jürgen".encode() in printed


def test_each_json_line_is_a_data_set_by_keywords(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    print_result(RESULT, "ndjson")
    lines = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert lines[0] == {
        "StudyDate": "20201031",
        "ModalitiesInStudy": ["CT", "MR"],
        "ReferencedStudySequence": [{"ReferencedSOPClassUID": "1.9"}],
        "PatientName": "Müller^Jürgen",
        "PatientID": "Vamp001",
        "PatientWeight": 70.5,
        "StudyInstanceUID": "1.2.1",
        "NumberOfStudyRelatedInstances": 12,
    }
    assert lines[1]["StudyDescription"] == "a\x1b[31m\nb"
    assert lines[2]["00091001"] == "p"
    assert lines[2]["StudyDescription"] is None
    assert len(lines) == 3


def test_json_on_a_terminal_is_harmless_and_says_the_same(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    name = "a\x1bb\x9bc\u202ed\u2028e\U000e0041f"
    result = QueryResult(QueryLevel.STUDY, [study("1.2.1", name=(0x00100010, "PN", name))])
    for out_format in ("json", "ndjson"):
        print_result(result, out_format)
        printed = capsysbinary.readouterr().out.decode()
        assert all(safe_text(line) == line for line in printed.splitlines())
        document = json.loads(printed)
        found = document["data_sets"][0]["00100010"]["Value"][0]["Alphabetic"] if out_format == "json" else None
        assert (found or document["PatientName"]) == name


def test_csv_has_a_column_for_each_keyword_and_cells_that_are_harmless(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    print_result(RESULT, "csv")
    rows = list(csv.DictReader(io.StringIO(capsysbinary.readouterr().out.decode())))
    assert list(rows[0])[:4] == ["PatientID", "PatientName", "StudyInstanceUID", "StudyDate"]
    assert rows[0]["ModalitiesInStudy"] == "CT\\MR"
    assert rows[0]["PatientName"] == "Müller^Jürgen"
    assert rows[1]["PatientName"] == '\'=HYPERLINK("x")'
    assert rows[1]["StudyDescription"] == "a\\x1b[31m\\nb"
    assert rows[2]["PatientName"] == ""
    assert "SpecificCharacterSet" not in rows[0]
    assert "QueryRetrieveLevel" not in rows[0]
    assert len(rows) == 3


def test_the_tree_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(RESULT, "tree")
    printed = capsys.readouterr().out
    assert printed == RESULT.to_tree() + "\n"
    assert "\x1b" not in printed


@pytest.mark.parametrize(("out_format", "expected"), [("ndjson", b""), ("csv", b"\n")])
def test_nothing_found_is_nothing_printed(
    out_format: str, expected: bytes, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    print_result(QueryResult(QueryLevel.STUDY), out_format)
    assert capsysbinary.readouterr().out == expected
