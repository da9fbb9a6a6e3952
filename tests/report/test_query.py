"""What a query reports."""

from __future__ import annotations

import pytest

from dcm.errors import NetworkError, PartialError
from dcm.report import Problem, ProblemLog, QueryReport


def report_of(queries: int = 1, responses: int = 0) -> QueryReport:
    report = QueryReport()
    report.n_queries, report.n_responses = queries, responses
    return report


def test_a_query_that_went_well() -> None:
    report = report_of(3, 120)
    assert report.summary() == "120 responses to 3 queries"
    assert report.complete
    assert report.exit_code == 0
    assert report.warnings == []


def test_a_capped_query_is_possibly_incomplete() -> None:
    report = report_of(1, 100)
    report.capped.append("StudyDate=20200101: exactly 100 answers")
    assert not report.complete
    assert report.exit_code == 5
    assert report.warnings == ["possibly incomplete: StudyDate=20200101: exactly 100 answers"]
    report.raise_failures()


@pytest.mark.parametrize(("kind", "code"), [("outside", 0), ("invalid", 5), ("inconsistent", 5)])
def test_answers_that_were_left_out(kind: str, code: int) -> None:
    report = report_of(1, 3)
    report.drop(kind, "1.2", "no SeriesInstanceUID")
    report.drop(kind, "1.2", "no SeriesInstanceUID")
    assert report.invalid == 2
    assert report.exit_code == code
    assert report.warnings[0].startswith("2 ")


def test_failed_requests() -> None:
    report = report_of(2, 10)
    report.n_succeeded = 1
    report.fail("STUDY query", "unable to process", 0xC001)
    assert report.exit_code == 3
    with pytest.raises(PartialError, match="unable to process, status 0xC001"):
        report.raise_failures()
    report = report_of(2)
    report.fail("STUDY query", "unable to process", 0xC001)
    assert report.exit_code == 4
    with pytest.raises(NetworkError):
        report.raise_failures()
    report.interrupted = True
    assert report.exit_code == 130


def test_merge_adds_everything() -> None:
    one, two = report_of(1, 10), report_of(2, 20)
    one.capped.append("a")
    two.capped.extend(["a", "b"])
    two.drop("invalid", "1.2", "no UID")
    two.fail("x", "refused", 0xA700)
    two.interrupted = True
    one.merge(two)
    assert (one.n_queries, one.n_responses, one.invalid, one.n_failed) == (3, 30, 1, 1)
    assert one.capped == ["a", "b"]
    assert one.problems.count() == 2
    assert one.interrupted
    assert one.to_json()["exit_code"] == 130
    assert one.to_json()["n_problems"] == 2


def test_a_log_counts_all_and_keeps_the_first() -> None:
    log = ProblemLog(per_cause=2, causes=2)
    for i in range(5):
        log.add(Problem("invalid", str(i), "why"))
    log.add(Problem("invalid", "x", "another"))
    log.add(Problem("invalid", "y", "a third"), 3)
    log.add(Problem("outside", "z", "a fourth"))
    assert log.count() == 10
    assert log.count("invalid") == 9
    assert [p.subject for p in log] == ["0", "1", "x", "y", "z"]
    assert log[0].subject == "0"
    assert [p.subject for p in log[:2]] == ["0", "1"]
    other = ProblemLog()
    other.extend(log)
    assert other.count() == 10
    assert other.count("outside") == 1
