"""Query results as text."""

from __future__ import annotations

import pytest

from dcm.attrs import Attributes
from dcm.query import DataNode, QueryLevel, QueryResult
from tests.query.samples import IMAGE, PATIENT, SERIES, STUDY, images, record, result, studies, study, uncounted


def visit(patient: str, name: str, uid: str, time: str, n_series: int, n_instances: int) -> Attributes:
    return record(
        PatientID=patient,
        PatientName=name,
        StudyInstanceUID=uid,
        StudyDate="20201031",
        StudyTime=time,
        NumberOfStudyRelatedSeries=str(n_series),
        NumberOfStudyRelatedInstances=str(n_instances),
    )


def test_the_tree_of_the_contract() -> None:
    qr = studies(
        visit("Vamp002", "Chocula^Count", "1.3", "102407.269000", 21, 8200),
        visit("Vamp001", "Dracula^Count", "1.2", "203205.137000", 14, 774),
        visit("Vamp001", "Dracula^Count", "1.1", "164315.866000", 21, 8200),
    )
    assert qr.to_tree() == (
        "2 patients | 3 studies | 56 series | 17174 instances\n"
        "├── ID: Vamp001 | Name: Dracula^Count | 2 studies | 35 series | 8974 instances\n"
        "│   ├── Date: 20201031 | Time: 164315.866000 | 21 series | 8200 instances\n"
        "│   └── Date: 20201031 | Time: 203205.137000 | 14 series | 774 instances\n"
        "└── ID: Vamp002 | Name: Chocula^Count | 1 studies | 21 series | 8200 instances\n"
        "    └── Date: 20201031 | Time: 102407.269000 | 21 series | 8200 instances"
    )


def test_all_levels() -> None:
    assert images([0, 1, 2]).to_tree() == (
        "1 patients | 1 studies | 2 series | 3 instances\n"
        "└── ID: P0 | Name: Name^P0 | 1 studies | 2 series | 3 instances\n"
        "    └── Date: 20200101 | Time: 120000 | 2 series | 3 instances\n"
        "        ├── 001 | Teeth | CT | 2 instances\n"
        "        │   ├── 00001 | 1.3.0\n"
        "        │   └── 00002 | 1.3.1\n"
        "        └── 002 | Teeth | CT | 1 instances\n"
        "            └── 00001 | 1.3.2"
    )


def test_down_to_a_level() -> None:
    assert images([0, 8]).to_tree(PATIENT, sep=", ") == (
        "2 patients, 2 studies, 2 series, 2 instances\n"
        "├── ID: P0, Name: Name^P0, 1 studies, 1 series, 1 instances\n"
        "└── ID: P1, Name: Name^P1, 1 studies, 1 series, 1 instances"
    )


def test_what_is_unknown_is_na() -> None:
    qr = QueryResult(STUDY, [study("1", n_instances=5), study("2")])
    assert qr.to_tree() == (
        "1 patients | 2 studies | NA series | NA instances\n"
        "└── ID: P | Name: NA | 2 studies | NA series | NA instances\n"
        "    ├── Date: 20200101 | Time: NA | NA series | 5 instances\n"
        "    └── Date: 20200101 | Time: NA | NA series | NA instances"
    )
    assert uncounted([0], PATIENT).to_line(missing="?") == "1 patients | ? studies | ? series | ? instances"
    assert QueryResult(STUDY).to_tree() == "0 patients | 0 studies | 0 series | 0 instances"


def test_columns_line_up_within_a_level() -> None:
    qr = studies(
        visit("1", "A", "1.1", "10", 100, 5),
        visit("22", "B^Long", "1.2", "101010", 2, 7000),
        visit("3", "山田^太郎", "1.3", "10", 2, 70),
        visit("4", "e\u0301", "1.4", "10", 2, 70),
    )
    assert qr.to_tree().splitlines()[1:] == [
        "├── ID: 1  | Name: A         | 1 studies | 100 series | 5 instances",
        "│   └── Date: 20201031 | Time: 10     | 100 series | 5 instances",
        "├── ID: 22 | Name: B^Long    | 1 studies | 2 series   | 7000 instances",
        "│   └── Date: 20201031 | Time: 101010 | 2 series   | 7000 instances",
        "├── ID: 3  | Name: 山田^太郎 | 1 studies | 2 series   | 70 instances",
        "│   └── Date: 20201031 | Time: 10     | 2 series   | 70 instances",
        "└── ID: 4  | Name: e\u0301         | 1 studies | 2 series   | 70 instances",
        "    └── Date: 20201031 | Time: 10     | 2 series   | 70 instances",
    ]


def test_sorted_by_date_and_number_not_by_text() -> None:
    recs = [
        record(PatientID="P", StudyInstanceUID="1", SeriesInstanceUID=f"1.{i}", SeriesNumber=number)
        for i, number in enumerate(["10", "", "9", "x", "9", "-1"])
    ]
    lines = QueryResult(SERIES, recs).to_tree().splitlines()[3:]
    assert [line.split("── ")[1].split(" |")[0] for line in lines] == ["-01", "009", "009", "010", "NA ", "x  "]


@pytest.mark.parametrize("evil", ["\x1b[2J", "a\nb", "\u202egnp", "[/foo][link=x]", "x" * 500, "{SeriesNumber}"])
def test_a_hostile_value_stays_on_its_line(evil: str) -> None:
    qr = studies(visit("P", evil, "1", evil, 1, 1))
    tree = qr.to_tree()
    assert len(tree.splitlines()) == 3
    assert all(line.isprintable() and len(line) < 200 for line in tree.splitlines())
    if evil.startswith(("[", "{")):
        assert evil in tree


def test_lines() -> None:
    qr = images([0, 1])
    assert qr.to_line(DataNode(SERIES, "1.2.0")) == "001 | Teeth | CT | 2 instances"
    assert qr.to_line(DataNode(QueryLevel.IMAGE, "1.3.1"), sep="/") == "00002/1.3.1"
    assert result([], IMAGE).to_line() == "0 patients | 0 studies | 0 series | 0 instances"
    with pytest.raises(KeyError):
        qr.to_line(DataNode(SERIES, "1.2.7"))
