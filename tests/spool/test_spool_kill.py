"""A process that works with the spool is killed at each step: what was acknowledged is there, and nothing is half."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dcm.peek import peek_file
from dcm.spool import Delivery, DeliveryState, Settled, Spool, WayCounts
from tests.spool.kill_child import SEGMENT, WAYS, pixels_of, route
from tests.spool.support import files, held, recount

STEPS = {
    "files": ("write", "fsync", "link", "dirsync", "journal", "answer", "settle", "unlink"),
    "log": ("write", "fsync", "journal", "answer", "settle", "unlink"),
}
BATCH = 5  # a courier of the child has as many under way


def run_child(path: Path, log: Path, step: str, count: int, how: str) -> int:
    child = subprocess.run(
        [sys.executable, "-m", "tests.spool.kill_child", str(path), str(log), step, str(count), how],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=25,
    )
    assert child.returncode in (0, -signal.SIGKILL), child.stderr.decode()
    return child.returncode


def drain(spool: Spool, got: Counter[tuple[str, str]]) -> None:
    """Deliver what is left."""
    for way in WAYS:
        while taken := spool.take(way, 50, 1e12):
            for delivery in taken:
                check(spool, delivery)
                got[way, delivery.sop_instance_uid] += 1
            spool.settle(Settled(delivery.id, DeliveryState.DELIVERED) for delivery in taken)


def check(spool: Spool, delivery: Delivery) -> None:
    """Whole, and the one that it is said to be."""
    with spool.instance(delivery) as instance:
        assert pixels_of(delivery.sop_instance_uid) in bytes(instance.read(0, instance.size))
        assert instance.header.complete


@pytest.mark.parametrize(("how", "step"), [(how, step) for how, steps in STEPS.items() for step in steps])
@pytest.mark.parametrize("counts", [(1,), (7, 12)], ids=["at once", "later, twice"])
def test_killed_at_a_step(tmp_path: Path, how: str, step: str, counts: tuple[int, ...]) -> None:
    path, log = tmp_path / "spool", tmp_path / "log"
    killed = 0
    for count in counts:
        killed += run_child(path, log, step, count, how) != 0
        for file in files(path):  # whatever has a name is whole
            header = peek_file(file)
            assert header.complete
            assert pixels_of(header.sop_instance_uid) in file.read_bytes()
    assert killed
    lines = [line.split() for line in log.read_text().splitlines()]
    sent = {words[1] for words in lines if words[0] == "sent"}
    acknowledged = {words[1] for words in lines if words[0] == "acknowledged"}
    got = Counter((words[1], words[2]) for words in lines if words[0] == "delivered")
    with Spool(path, min_free=0, segment_size=0 if how == "files" else SEGMENT) as spool:
        found = spool.recover(route)
        assert (found.n_lost, found.unreadable, found.rebuilt) == (0, 0, "")
        recount(path)
        drain(spool, got)
        counts_now = spool.counts()
        assert counts_now.adds_up
        assert counts_now.entries == 0
        recount(path)
    assert held(path) == []
    for way in WAYS:
        delivered = {uid for key, uid in got if key == way}
        assert acknowledged <= delivered
        assert delivered <= sent
        again = sum(n - 1 for (key, _), n in got.items() if key == way)
        assert again <= BATCH * killed  # what was under way when it was killed
        # Delivered to the last one, and counted once each, however often it was tried.
        of_way = counts_now.ways.get(way, WayCounts(0, {}))
        assert of_way[DeliveryState.DELIVERED] == of_way.received == len(delivered)
