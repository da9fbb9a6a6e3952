"""The machine loses its power: the end of the journal that was not synced is gone, and the spool still has it all."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dcm.instance import Instance
from dcm.spool import Spool, _segment
from dcm.spool._journal import Journal
from tests.spool.support import HERE, files, in_log, recount, settle, take, uids
from tests.store.instances import make

WAYS = ("pacs", "archive")


@dataclass
class Moment:
    """What was promised at some moment, and how much of the journal was on stable storage then."""

    acknowledged: dict[str, set[str]]
    delivered: dict[str, set[str]]
    log: dict[str, bytes]
    synced: int
    written: int


def ways_of(instance: Instance) -> list[str]:
    """Every third goes to one destination only, at first."""
    return [WAYS[0]] if int(instance.sop_instance_uid.split(".")[-1]) % 3 == 0 else list(WAYS)


@pytest.fixture
def moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Moment]:
    """A spool at work, photographed after each thing that it did: the files of each moment are beside it."""
    path = tmp_path / "spool"
    rng = random.Random(20261122)
    acknowledged: dict[str, set[str]] = {}
    delivered: dict[str, set[str]] = {way: set() for way in WAYS}
    found = []
    synced = [0]
    real_write = Journal.write

    @contextlib.contextmanager
    def write(journal: Journal, *, durable: bool) -> Iterator[sqlite3.Connection]:
        with real_write(journal, durable=durable) as db:
            yield db
        if durable:
            synced.append((path / "journal.sqlite-wal").stat().st_size)

    # What was in each segment when it was synced for the last time.
    log: dict[str, bytes] = {}
    real_sync = _segment._sync

    def sync(fd: int) -> None:
        real_sync(fd)
        log[Path(f"/proc/self/fd/{fd}").readlink().name] = os.pread(fd, 1 << 20, 0)

    monkeypatch.setattr(_segment, "_sync", sync)
    monkeypatch.setattr(Journal, "write", write)
    with Spool(path) as spool:
        for i in range(40):
            what = rng.choice(["new", "new", "again", "again", "settle"])
            if what == "settle":
                way = rng.choice(WAYS)
                out = take(spool, way, rng.randrange(1, 5))
                settle(spool, out)
                delivered[way] |= set(uids(out))
            elif what == "again" and acknowledged:
                uid = rng.choice(sorted(acknowledged))
                spool.admit(make(uid), HERE, lambda instance: WAYS)  # some of them have a way more now
                acknowledged[uid] = set(WAYS)
            else:
                instance = make(f"1.{i}")
                spool.admit(instance, HERE, ways_of)
                acknowledged[f"1.{i}"] = set(ways_of(instance))
            written = (path / "journal.sqlite-wal").stat().st_size
            shutil.copytree(path, tmp_path / f"moment-{i}", ignore=shutil.ignore_patterns("*.spare"))
            found.append(
                Moment(
                    {uid: set(ways) for uid, ways in acknowledged.items()},
                    {way: set(gone) for way, gone in delivered.items()},
                    dict(log),
                    *(synced[-1], written),
                )
            )
    monkeypatch.undo()
    return found


def lose_pages(path: Path, synced: dict[str, bytes], rng: random.Random) -> None:
    """Of what was written to the log and not synced, some pages got to the disk, and some did not."""
    for file in path.glob("log/*.seg"):
        written, before = file.read_bytes(), synced.get(file.name, b"")
        pages = range(0, len(written), 4096)
        chosen = [rng.choice([written, before])[at : at + 4096] for at in pages]
        file.write_bytes(b"".join(page or written[at : at + 4096] for page, at in zip(chosen, pages, strict=True)))


def need_all(path: Path) -> None:
    """As if nobody had said of anything in the log that it is needed no more."""
    places = in_log(path).values()
    for file in path.glob("log/*.seg"):
        with open(file, "r+b") as log:
            for segment, position in places:
                if segment == int(file.stem, 16):
                    log.seek(position - 8)
                    log.write(bytes(8))


@pytest.mark.parametrize("segment_size", [0, 16 << 10], indirect=True)
def test_whatever_of_the_journal_is_left(tmp_path: Path, moments: list[Moment]) -> None:
    rng = random.Random(7)
    for i, moment in enumerate(moments):
        path = tmp_path / "after"
        shutil.copytree(tmp_path / f"moment-{i}", path)
        wal = path / "journal.sqlite-wal"
        (path / "journal.sqlite-shm").unlink()
        with open(wal, "r+b") as file:
            file.truncate(rng.randint(min(moment.synced, moment.written), moment.written))
        if rng.random() < 0.5 and i > 2:  # nor were the directories written whose files were removed
            earlier = tmp_path / f"moment-{i - 2}"
            for name in files(earlier):
                again = path / name.relative_to(earlier)
                again.parent.mkdir(exist_ok=True)
                if not again.exists():
                    shutil.copy(name, again)
        lose_pages(path, moment.log, rng)
        if rng.random() < 0.5:  # nor was it that something in the log is needed no more
            need_all(path)
        with Spool(path) as spool:
            recovered = spool.recover(lambda instance: WAYS)
            assert (recovered.n_lost, recovered.rebuilt, recovered.unreadable) == (0, "", 0)
            recount(path)
            for way in WAYS:
                left = set(uids(list(spool.ls(ways=[way]))))
                promised = {uid for uid, ways in moment.acknowledged.items() if way in ways}
                assert promised - moment.delivered[way] <= left
        shutil.rmtree(path)
