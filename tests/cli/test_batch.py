"""Tables of queries."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset

from dcm.cli._batch import read_batch
from dcm.cli._keywords import parse_query
from dcm.errors import QueryError


def read(tmp_path: Path, text: str, *base: str) -> list[dict[str, str]]:
    path = tmp_path / "cohort.csv"
    path.write_bytes(text.encode())
    return [{element.keyword: str(element.value) for element in query} for query in read_batch(path, parse_query(base))]


def test_each_row_is_a_query(tmp_path: Path) -> None:
    assert read(tmp_path, "PatientID,StudyDate\nVamp001,20201031\nVamp002,\n") == [
        {"StudyDate": "20201031", "PatientID": "Vamp001"},
        {"PatientID": "Vamp002"},
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_tables_as_spreadsheets_write_them(tmp_path: Path, delimiter: str, end: str, mark: str) -> None:
    rows = ["0010,0020" if delimiter != "," else '"0010,0020"', "StudyDate"], ["1", '"20201001-20201031"'], ["", ""]
    text = mark + end.join(delimiter.join(row) for row in rows) + end + end
    assert read(tmp_path, text) == [{"StudyDate": "20201001-20201031", "PatientID": "1"}]


def test_keys_of_the_command_line_are_in_every_query(tmp_path: Path) -> None:
    queries = read(tmp_path, "PatientID\n1\n2\n", "ModalitiesInStudy=CT")
    assert queries == [{"ModalitiesInStudy": "CT", "PatientID": "1"}, {"ModalitiesInStudy": "CT", "PatientID": "2"}]
    with pytest.raises(QueryError, match="line 2: PatientID is given twice"):
        read(tmp_path, "PatientID\n1\n", "PatientID=3")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no queries"),
        ("PatientID\n", "has no queries"),
        ("PatientID,StudyDate\n,\n", "has no queries"),
        ("PatientIDD\n1\n", "line 1: there is no attribute 'PatientIDD'"),
        ("PatientID,\n1,2\n", "line 1: there is no attribute ''"),
        ("PatientID,StudyDate\n1,20201031\n2,31.10.2020\n", "line 3: StudyDate=31.10.2020"),
        ("PatientID\n1,2\n", "line 2: there are 2 cells, and 1 columns"),
        ('PatientID\n"1"x\n', "line 2: not CSV"),
        ('PatientID\n"1', "not CSV"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(QueryError, match=why) as caught:
        read(tmp_path, text)
    assert caught.value.exit_code == 2


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="cannot read"):
        read_batch(tmp_path / "none.csv", Dataset())
    (tmp_path / "latin.csv").write_bytes(b"PatientName\nM\xfcller\n")
    with pytest.raises(QueryError, match="no text in UTF-8"):
        read_batch(tmp_path / "latin.csv", Dataset())
