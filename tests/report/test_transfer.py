"""What a transfer reports: one state for each instance and destination, sums that add up, exit codes, lines."""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.errors import NetworkError, PartialError, StoreError
from dcm.report import Outcome, Problem, QueryReport, TransferReport

S, P, X, W = Outcome.SENT, Outcome.PRESENT, Outcome.FILTERED, Outcome.WARNED
F, C, M = Outcome.FAILED, Outcome.CONFLICT, Outcome.MISSING


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Recorder:
    """A progress that notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def expected(self, n_instances: int, n_bytes: int | None = None) -> None:
        self.calls.append(("expected", n_instances, n_bytes))

    def advanced(self, n_instances: int, n_bytes: int) -> None:
        self.calls.append(("advanced", n_instances, n_bytes))

    def phase(self, text: str) -> None:
        self.calls.append(("phase", text))

    def finished(self) -> None:
        self.calls.append(("finished",))

    def total(self, index: int) -> int:
        return sum(int(str(call[index])) for call in self.calls if call[0] == "advanced")


def uid_of(number: int) -> str:
    return f"1.2.826.0.1.3680043.8.498.{number}"


def test_summary_of_a_good_transfer() -> None:
    clock = Clock()
    report = TransferReport(clock=clock)
    for series in range(4):
        report.expect([uid_of(series * 125 + i) for i in range(125)], series_uid=f"1.{series}")
    for i in range(500):
        report.record(uid_of(i), P if i < 2 else S, n_bytes=0 if i < 2 else 502_208)
    clock.now += 2.1
    report.finish()
    clock.now += 60
    assert report.summary() == "500 instances in 4 series, 250.1 MB in 2.1 s (119.1 MB/s): 498 sent, 2 already there"
    assert report.adds_up()
    assert report.exit_code == 0
    assert report.ok
    report.raise_failures()


def test_nothing_to_do_is_good() -> None:
    report = TransferReport()
    report.finish()
    assert report.summary() == "0 instances"
    assert (report.exit_code, report.adds_up()) == (0, True)


@pytest.mark.parametrize(("first", "second"), list(itertools.product(Outcome, Outcome)))
def test_of_two_states_the_one_that_says_more_stands(first: Outcome, second: Outcome) -> None:
    order = [M, X, F, P, S, W, C]
    report = TransferReport()
    report.record("1.2", first)
    expected = max(first, second, key=order.index)
    assert report.record("1.2", second) is expected
    assert report.state("1.2") is expected
    assert sum(report.counts.values()) == 1
    assert report.adds_up()
    # a failure after a success is not silently dropped
    assert report.anomalies.count() == (1 if second is F and first in (S, W, C) else 0)


OUTCOMES = st.sampled_from(list(Outcome))


@given(
    expected=st.sets(st.tuples(st.integers(0, 9), st.sampled_from("ab"))),
    events=st.lists(st.tuples(st.integers(0, 12), st.sampled_from("ab"), OUTCOMES)),
    seed=st.randoms(use_true_random=False),
)
def test_it_adds_up_whatever_happens_in_whatever_order(
    expected: set[tuple[int, str]], events: list[tuple[int, str, Outcome]], seed: random.Random
) -> None:
    def run(events: list[tuple[int, str, Outcome]]) -> TransferReport:
        report = TransferReport()
        for number, dest in expected:
            report.expect([uid_of(number)], dest=dest)
        for number, dest, outcome in events:
            report.record(uid_of(number), outcome, dest=dest)
        pending = expected - {(number, dest) for number, dest, _ in events}
        assert report.n_pending == len(pending)
        assert report.adds_up() == (not pending)
        if pending:
            assert report.exit_code in (3, 4)
        report.finish()
        return report

    one = run(events)
    assert one.adds_up()
    pairs = expected | {(number, dest) for number, dest, _ in events}
    assert sum(one.counts.values()) == len(pairs)
    assert one.n_instances == len({number for number, _ in pairs})
    for dest in one.dests:
        assert sum(len(one.uids(outcome, dest)) for outcome in Outcome) == sum(d == dest for _, d in pairs)
    shuffled = list(events)
    seed.shuffle(shuffled)
    two = run(shuffled)
    assert two.counts == one.counts
    assert all(two.state(uid_of(n), dest) is one.state(uid_of(n), dest) for n, dest in pairs)
    assert two.exit_code == one.exit_code


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([S, P, X, W], 0),
        ([S, F], 3),
        ([S, M], 3),
        ([S, C], 3),
        ([C], 3),
        ([M], 3),
        ([F, F], 3),
        ([X, F], 3),
    ],
)
def test_exit_code_of_states(outcomes: list[Outcome], code: int) -> None:
    report = TransferReport()
    for number, outcome in enumerate(outcomes):
        report.record(uid_of(number), outcome)
    report.finish()
    assert report.exit_code == code


def test_exit_code_4_where_the_peer_refused_everything() -> None:
    report = TransferReport()
    report.record("1.1", F, reason="out of resources", status=0xA700)
    report.record("1.2", F, reason="connection refused", refused=True)
    report.finish()
    assert report.exit_code == 4
    with pytest.raises(NetworkError, match="out of resources"):
        report.raise_failures()
    report.record("1.3", F, reason="disk full")
    assert report.exit_code == 3, "the disk is not the peer's fault"


def test_exit_code_with_errors_that_are_of_no_instance() -> None:
    report = TransferReport()
    report.error("1.2.3", "move destination unknown", 0xA801)
    assert report.exit_code == 4
    report.record("1.1", P)
    assert report.exit_code == 3
    with pytest.raises(PartialError, match="move destination unknown"):
        report.raise_failures()
    own = TransferReport()
    own.error("/data", "read-only file system", refused=False)
    assert own.exit_code == 3


def test_unknown_completeness_is_5_unless_it_is_worse() -> None:
    report = TransferReport()
    report.record("1.1", S)
    report.doubt("series 1.9: the peer gives no count")
    report.doubt("series 1.9: the peer gives no count")
    assert report.completeness_unknown
    assert report.exit_code == 5
    assert report.summary().splitlines()[1:] == ["completeness unknown: series 1.9: the peer gives no count"]
    report.raise_failures()
    report.record("1.2", F)
    assert report.exit_code == 3


def test_interrupted() -> None:
    report = TransferReport()
    report.expect(["1.1", "1.2"])
    report.record("1.1", S)
    report.interrupted = True
    report.finish()
    assert report.exit_code == 130
    assert report.counts[M] == 1
    assert report.summary().splitlines() == [
        "2 instances: 1 sent, 1 missing",
        "interrupted; what is there is whole, run it again to get the rest",
    ]


def test_failures_are_grouped_by_reason() -> None:
    report = TransferReport()
    for i in range(1000):
        report.record(uid_of(i), F, reason="disk full", path=f"/data/{i}.dcm")
    report.record("1.9", F, reason="out of resources", status=0xA700)
    report.record("1.8", W, reason="coercion of data elements", status=0xB000)
    report.anomaly("duplicate", "1.7", "came twice")
    lines = report.summary().splitlines()
    assert lines == [
        "1002 instances: 1 sent with a warning, 1001 failed",
        f"1000 failed: disk full ({uid_of(0)}, {uid_of(1)}, {uid_of(2)} and 997 more)",
        "1 failed: out of resources, status 0xA700 (1.9)",
        "1 sent with a warning: coercion of data elements, status 0xB000 (1.8)",
        "1 left out as duplicates: came twice (1.7)",
    ]
    assert Problem("failed", uid_of(7), "disk full", path="/data/7.dcm") in report.problems


def test_a_thousand_reasons_are_not_a_thousand_lines() -> None:
    report = TransferReport()
    for i in range(1000):
        report.record(uid_of(i), F, reason=f"reason {i}")
    lines = report.warnings
    assert len(lines) == 21
    # 200 causes are told apart, the rest is one cause more
    assert sum(int(line.split()[0]) for line in lines) == 1000


def test_text_of_a_peer_is_made_harmless() -> None:
    report = TransferReport()
    report.record("1.2\x1b[2J", F, reason="no\nroom\u202e")
    report.doubt("series \x1b]0;x\x07")
    report.error("1.3\r", "bad\x9b")
    text = report.summary()
    assert not set(text) & set("\x1b\x07\r\x9b\u202e")
    assert len(text.splitlines()) == 4


def test_a_retry_that_succeeds_leaves_no_trace() -> None:
    report = TransferReport()
    report.expect(["1.1"])
    report.record("1.1", F, reason="connection lost", path="/data/x")
    report.record("1.1", S, n_bytes=10)
    report.finish()
    assert report.problems == []
    assert report.summary().startswith("1 instance, 10 bytes in ")
    assert report.summary().endswith(": 1 sent")


def test_several_destinations() -> None:
    report = TransferReport()
    for dest in ("A", "B"):
        report.expect(["1.1", "1.2"], "1", dest)
    for dest, uid in itertools.product("AB", ("1.1", "1.2")):
        report.record(uid, S, dest=dest)
    report.finish()
    assert report.summary() == "2 instances in 1 series to 2 destinations: 4 sent"
    assert report.n_instances == 2
    assert report.dests == ["A", "B"]


def test_progress_hears_of_each_byte_and_instance_once() -> None:
    progress = Recorder()
    report = TransferReport(progress)
    report.announce(3, 5000)
    report.expect(["1.1", "1.2"])
    report.arriving(1000)
    report.record("1.2", S, n_bytes=200)
    report.arriving(900)
    report.record("1.1", F)
    report.record("1.1", S, n_bytes=2000)
    report.record("1.1", S, n_bytes=2000)
    report.expect(["1.3", "1.4"])
    report.record("1.3", P)
    report.finish()
    assert progress.calls[0] == ("expected", 3, 5000)
    assert [call for call in progress.calls if call[0] == "expected"] == [
        ("expected", 3, 5000),
        ("expected", 4, 5000),
    ]
    assert progress.total(1) == 4
    assert progress.total(2) == report.n_bytes == 2200
    assert progress.calls[-1] == ("finished",)


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    report = TransferReport()
    report.expect(["1.1", "1.2"], "1.0")
    report.record("1.1", S, n_bytes=7)
    report.record("1.3", C, reason="other bytes", path=tmp_path / "1.3.dcm")
    report.anomaly("unexpected", "1.4", "not asked for")
    report.finish()
    target = tmp_path / "report.json"
    target.write_text("old")
    report.write_json(target)
    data = json.loads(target.read_text())
    assert data["counts"] == {
        "sent": 1, "warned": 0, "present": 0, "filtered": 0, "failed": 0, "conflict": 1, "missing": 1
    }  # fmt: skip
    assert data["destinations"] == {"": {"sent": ["1.1"], "conflict": ["1.3"], "missing": ["1.2"]}}
    report.only_dest = "archive"
    assert report.to_json()["destinations"] == {"archive": data["destinations"][""]}
    assert data["exit_code"] == 3
    assert data["adds_up"] is True
    assert {"kind": "conflict", "subject": "1.3", "message": "other bytes", "path": str(tmp_path / "1.3.dcm")} in data[
        "problems"
    ]
    assert data["anomalies"] == [{"kind": "unexpected", "subject": "1.4", "message": "not asked for"}]
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_what_is_no_file_stays_what_it_is(tmp_path: Path) -> None:
    """``--report /dev/null`` of root must not make a file of it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        TransferReport().write_json(pipe)
        assert json.loads(os.read(reader, 1 << 16))["adds_up"] is True
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert not pipe.is_file()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "there" / "report.json")
    for _ in range(2):
        TransferReport().write_json(link)
        assert link.is_symlink()
        assert json.loads((tmp_path / "there" / "report.json").read_text())["adds_up"] is True


def test_json_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    target = tmp_path / "none" / "report.json"
    with pytest.raises(StoreError, match=r"none/report\.json: No such file"):
        TransferReport().write_json(target)


def test_an_instance_costs_little_more_than_its_uid() -> None:
    import tracemalloc

    uids = [f"1.2.826.0.1.3680043.8.498.{i:030d}" for i in range(20_000)]
    tracemalloc.start()
    report = TransferReport()
    report.expect(uids, "1")
    for uid in uids:
        report.record(uid, S, n_bytes=1000, series_uid="1")
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    per_uid = sys.getsizeof(uids[0])
    assert used / len(uids) + per_uid < 300


def test_a_dry_run_misses_nothing() -> None:
    report = TransferReport()
    report.dry_run = True
    report.expect(["1.1", "1.2"], "1")
    assert (report.exit_code, report.summary()) == (0, "2 instances in 1 series: 2 to be fetched")
    assert report.to_json()["dry_run"] is True
    report.error("", "another source refused the connection")
    assert report.exit_code == 3
    report.doubt("a query was cut off")
    assert report.exit_code == 3


# -- known by number only, planned only, and files that are left out ---------------------------------------------------


def test_instances_that_are_known_by_number_only() -> None:
    report = TransferReport()
    report.record("1", Outcome.SENT, dest="a")
    report.count(Outcome.PRESENT, 5, "a")
    report.count(Outcome.PRESENT, 2, "a")
    report.count(Outcome.FILTERED, 3, "b")
    report.count(Outcome.PRESENT, 0, "b")
    report.finish()
    assert (report.counts[Outcome.PRESENT], report.counts[Outcome.FILTERED], report.n_numbered) == (7, 3, 10)
    assert report.n_in_state(Outcome.PRESENT, "a") == 7
    assert report.n_instances == 8, "one for two destinations counts once"
    assert (report.exit_code, report.adds_up()) == (0, True)
    assert "7 already there" in report.summary()
    told = report.to_json()
    assert (told["by_number_only"], told["instances"]) == (10, 8)


def test_what_a_dry_run_would_move() -> None:
    report = TransferReport()
    report.dry_run = True
    report.expect(["1", "2"], "s1", "a")
    report.expect(["3"], "s2", "a")
    report.expect(["3"], "s2", "b")
    report.record("1", Outcome.PRESENT, dest="b", series_uid="s1")
    assert (report.planned("a"), report.planned("b"), report.planned("c")) == ((3, 2), (1, 1), (0, 0))
    assert report.exit_code == 0
    destinations = report.to_json()["destinations"]
    assert destinations == {"a": {"pending": ["1", "2", "3"]}, "b": {"present": ["1"], "pending": ["3"]}}


@pytest.mark.parametrize(("kind", "code"), [("foreign", 0), ("truncated", 3), ("unreadable", 3)])
def test_files_that_a_source_cannot_give(kind: str, code: int) -> None:
    report = TransferReport()
    report.record("1", Outcome.SENT)
    report.leave_out(kind, "some/file", "why")
    assert report.exit_code == code
    assert report.n_lost_files == (code == 3)
    assert any("why (some/file)" in line for line in report.warnings)
    (told,) = cast("list[dict[str, str]]", report.to_json()["files"])
    assert (told["kind"], told["path"], told["message"]) == (kind, "some/file", "why")
    alone = TransferReport()
    alone.leave_out(kind, "some/file")
    assert alone.exit_code == code, "never 4: it is not a peer that refuses"


def test_a_query_that_left_files_out() -> None:
    report = QueryReport()
    report.leave_out("foreign", "readme.txt")
    assert (report.complete, report.exit_code) == (True, 0)
    other = QueryReport()
    other.leave_out("truncated", "cut.dcm", "the data ends too early")
    report.merge(other)
    assert (report.complete, report.exit_code, report.to_json()["n_files"]) == (False, 5, 2)
    assert "1 left out: the data ends too early (cut.dcm)" in report.warnings
