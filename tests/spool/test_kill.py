"""A forwarder that is killed at any moment: nothing that it has acknowledged is lost, and nothing is there in part."""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dcm.spool import Spool
from tests import data
from tests.data import Sample
from tests.peers import DcmtkStorescp
from tests.spool.running import ForwardProcess, Sender, contents, holds, until

STEPS = ("write", "fsync", "link", "dirsync", "journal", "answer", "settle", "unlink")
OF_LARGE = ("link", "dirsync")
_LARGE = 200_000
SELDOM = ("settle", "unlink", "link", "dirsync")
N_SENDERS = 4
QUICK, SLOW = 20, 200

# Runs dcm with a spool that kills the process just before a step is done for the n-th time.
KILLED_AT = """
import functools, itertools, os, signal, sys
import dcm.spool
from dcm.cli import main

name, n = sys.argv[1], int(sys.argv[2])
counter = itertools.count(1)

def step(done):
    if done == name and next(counter) == n:
        os.kill(os.getpid(), signal.SIGKILL)

dcm.spool.Spool = functools.partial(dcm.spool.Spool, step=step)
sys.exit(main(sys.argv[3:]))
"""


@dataclass
class Load:
    """What four senders have to send, and what they were told."""

    samples: dict[Path, Sample]
    log_dir: Path
    acknowledged: set[Path] = field(default_factory=set)
    n_rounds: int = 0

    def begin(self, port: int, n_each: int, chance: random.Random, *, large: bool = False) -> list[Sender]:
        """Have four senders send at once: what was not acknowledged yet, some of the rest again, and all large ones"""
        self.n_rounds += 1
        fresh = [path for path in self.samples if path not in self.acknowledged]
        old = sorted(self.acknowledged)
        senders = []
        for number in range(N_SENDERS):
            paths = chance.sample(fresh, min(n_each, len(fresh))) + chance.sample(old, min(3, len(old)))
            if large:
                paths += [path for path in self.samples if path.stat().st_size > _LARGE and path not in paths]
            chance.shuffle(paths)
            log = self.log_dir / f"sender-{self.n_rounds}-{number}.log"
            senders.append(Sender(port, paths, log, calling=f"SENDER{number}"))
        return senders

    def finish(self, senders: list[Sender]) -> None:
        """Wait for their ends, and take note of what they were told."""
        for sender in senders:
            sender.finish()
            self.acknowledged |= sender.acknowledged


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Sample]:
    """Hundreds of small instances, and some that stream to the disk while they arrive."""
    root = tmp_path_factory.mktemp("load")
    found = [*data.write_tiny(root / "tiny", 1200, n_series=8), *data.write_ct(root / "ct", 20, patient_id="Vamp003")]
    found += [
        data.write_multi_frame(root / f"large{i}.dcm", (2 + i) << 20, rows=256 + i, columns=256) for i in range(3)
    ]
    return {sample.path: sample for sample in found}


@pytest.fixture
def load(samples: dict[Path, Sample], tmp_path: Path) -> Load:
    (tmp_path / "senders").mkdir()
    return Load(samples, tmp_path / "senders")


def drain(work: Path, *dests: str | Path) -> None:
    """Start it once more, and let it deliver what is left."""
    with ForwardProcess(work, "--inactive-timeout", "0.2", *dests) as last:
        assert last.ended() == 0, last.said
    assert [path for path in (work / "spool" / "data").rglob("*") if path.is_file()] == []
    with Spool(work / "spool", exclusive=False) as spool:
        assert spool.counts().entries == 0


def assert_nothing_lost(load: Load, *dests: Path) -> None:
    """Each destination has all that was acknowledged, and nothing else than what was sent, to the last byte."""
    sent = contents(load.samples.values())
    acknowledged = {load.samples[path].sop_instance_uid for path in load.acknowledged}
    for dest in dests:
        held = holds(dest)
        assert acknowledged - held.keys() == set(), "acknowledged and lost"
        assert {uid for uid in held if held[uid] != sent[uid]} == set(), "not as it was sent"


@pytest.mark.parametrize(
    "n_kills", [pytest.param(QUICK, marks=pytest.mark.timeout(120)), pytest.param(SLOW, marks=pytest.mark.slow)]
)
def test_at_random_moments(load: Load, tmp_path: Path, n_kills: int) -> None:
    """Under load from four senders; each start has to deal with what the kill before has left."""
    chance = random.Random(20201031 + n_kills)
    dests = tmp_path / "one", tmp_path / "two"
    for number in range(n_kills):
        if number % 5 == 4:
            # While it starts, and puts right what the last one has left.
            with ForwardProcess(tmp_path / "work", *dests, wait=False) as forwarder:
                time.sleep(chance.uniform(0.2, 0.7))
                forwarder.crash()
            continue
        with ForwardProcess(tmp_path / "work", *dests) as forwarder:
            senders = load.begin(forwarder.port, 40, chance)
            _until_first(senders)
            time.sleep(chance.uniform(0, 0.25))
            forwarder.crash()
            load.finish(senders)
        for dest in dests:
            holds(dest)
    assert len(load.acknowledged) > 10 * n_kills or len(load.acknowledged) == len(load.samples)
    drain(tmp_path / "work", *dests)
    assert_nothing_lost(load, *dests)


def _until_first(senders: list[Sender]) -> None:
    until(lambda: any(sender.answers for sender in senders), "nothing was acknowledged")


# What is delivered together is settled together, and removed together, and few are large: that is not done so often.
@pytest.mark.parametrize(
    ("step", "n"),
    [
        *((step, 1) for step in STEPS),
        *(pytest.param(step, 2 if step in SELDOM else 7, marks=pytest.mark.slow) for step in STEPS),
    ],
)
def test_at_each_step_of_a_commit(load: Load, tmp_path: Path, step: str, n: int) -> None:
    """The process dies just before it does something for the first time, or when others are under way."""
    chance = random.Random(f"{step} {n}")
    dest = tmp_path / "dest"
    program = (sys.executable, "-c", KILLED_AT)
    with ForwardProcess(tmp_path / "work", dest, program=program, before=(step, str(n))) as forwarder:
        senders = load.begin(forwarder.port, 10 * n, chance, large=step in OF_LARGE)
        load.finish(senders)
        assert forwarder.ended() == -9
    drain(tmp_path / "work", dest)
    assert_nothing_lost(load, dest)


def test_what_a_node_gets_twice_was_under_way(load: Load, tmp_path: Path) -> None:
    """A node cannot be asked what it has: what it has taken, and we have not recorded, is sent once more; only that."""
    chance = random.Random(7)
    with DcmtkStorescp(tmp_path / "storescp") as receiver:
        node = f"127.0.0.1:{receiver.ae_title}:{receiver.port}"
        for _ in range(2):
            with ForwardProcess(tmp_path / "work", node) as forwarder:
                senders = load.begin(forwarder.port, 50, chance)
                until(lambda: len(receiver.received()) > 20, "nothing gets through")
                forwarder.crash()
                load.finish(senders)
        drain(tmp_path / "work", node)
        n_stored = receiver.log_tail(1 << 22).count("Received Store Request")
        assert_nothing_lost(load, receiver.directory)
        # Of each of the two: 64 that may be under way, and 32 that wait to be recorded.
        assert n_stored - len(receiver.received()) <= 2 * (64 + 32)
