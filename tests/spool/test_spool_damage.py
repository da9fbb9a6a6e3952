"""A journal that is damaged, anywhere: the spool opens, nothing that was queued is missing, and it is said."""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from dcm.errors import SpoolError
from dcm.spool import Spool
from tests.spool.conftest import SEGMENT
from tests.spool.support import DELIVERED, LOST, QUEUED, Route, admit, files, held, recount, settle, take, uids

WAYS = ("pacs", "archive")
N = 30


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A spool with thirty instances: ten of them delivered, ten to one of two destinations."""
    path = tmp_path / "spool"
    with Spool(path) as spool:
        for i in range(N):
            admit(spool, f"1.2.{i:02}", *WAYS, pixels=b"%d" % i * 40)
        settle(spool, take(spool, "pacs", 20))
        settle(spool, take(spool, "archive", 10))
    assert sorted(file.name for file in path.iterdir() if file.name != "log") == ["data", "journal.sqlite", "lock"]
    return path


EXPECTED = {f"1.2.{i:02}" for i in range(10, N)}


def left(spool: Spool) -> set[str]:
    """What is still to be delivered somewhere."""
    return {delivery.sop_instance_uid for delivery in spool.ls()}


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("this is not a database, and it never was one" * 100)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE somebody (elses)")
        db.execute("PRAGMA application_id = 7")
    db.close()


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("segment_size", [0, SEGMENT], indirect=True)
@pytest.mark.parametrize("damage", [nothing, text, half, other, gone])
def test_a_journal_that_is_none(path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture) -> None:
    damage(path / "journal.sqlite")
    route = Route(*WAYS)
    with Spool(path) as spool:
        found = spool.recover(route)
        assert found.readmitted == N - 10
        assert found.n_lost == 0
        assert left(spool) == EXPECTED
        # Which of two destinations had it is not known any more: both get it.
        assert spool.counts().total(QUEUED) == 2 * (N - 10)
        recount(path)
        admit(spool, "1.3", *WAYS)
        while out := take(spool, "pacs"):
            settle(spool, out)
        while out := take(spool, "archive"):
            settle(spool, out)
    assert held(path) == []
    if damage not in (nothing, gone):
        assert "damaged" in caplog.text
        assert Path(found.rebuilt).exists()


@pytest.mark.parametrize("segment_size", [0, SEGMENT], indirect=True)
def test_random_bytes(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Twenty times: what a flipped byte hits may be found or not, but no instance is missing without a word."""
    caplog.set_level(logging.CRITICAL)
    rng = random.Random(20261122)
    sound = shutil.copytree(path, path.parent / "sound")
    rebuilt = 0
    for _ in range(25):
        shutil.rmtree(path)
        shutil.copytree(sound, path)
        size = (path / "journal.sqlite").stat().st_size
        for _ in range(rng.choice([1, 1, 20])):
            overwrite(path / "journal.sqlite", rng.randrange(size), rng.randbytes(rng.choice([1, 4, 64, 700])))
        with Spool(path) as spool:
            found = spool.recover(Route(*WAYS))
            rebuilt += bool(found.rebuilt)
            assert len(held(path)) == N - 10 or found.n_lost
            assert sorted({delivery.entry_id for delivery in spool.ls()}) == held(path)
            out = take(spool, "pacs") + take(spool, "archive")
            for delivery in out:
                spool.instance(delivery).close()
            settle(spool, out)
    assert rebuilt > 3


def test_a_visitor_repairs_nothing(path: Path) -> None:
    text(path / "journal.sqlite")
    with pytest.raises(SpoolError, match="damaged") as caught:
        Spool(path, exclusive=False).open()
    assert "forwarder" in caught.value.hint
    assert (path / "journal.sqlite").read_text().startswith("this is not")


def test_a_later_version_is_left_alone(path: Path) -> None:
    db = sqlite3.connect(path / "journal.sqlite")
    db.execute("PRAGMA user_version = 3")
    db.close()
    before = (path / "journal.sqlite").read_bytes()
    with pytest.raises(SpoolError, match="later version"):
        Spool(path).open()
    assert (path / "journal.sqlite").read_bytes() == before


@pytest.mark.own_files
def test_files_that_are_gone_are_lost_and_named(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, *others = files(path)
    first.unlink()
    shutil.rmtree(others[-1].parent) if len({file.parent for file in others}) > 1 else others[-1].unlink()
    with Spool(path) as spool:
        found = spool.recover(Route(*WAYS))
        assert set(found.lost) == {"1.2.10", "1.2.29"}
        assert found.n_lost == 2
        for uid in found.lost:
            assert uid in caplog.text
        assert "archive" in caplog.text
        counts = spool.counts()
        assert counts.ways["archive"][LOST] == 2
        assert counts.ways["pacs"][LOST] == 1  # it had the other one
        assert counts.adds_up
        recount(path)
        lost = list(spool.ls(states=[LOST]))
        assert sorted(uids(lost)) == ["1.2.10", "1.2.29", "1.2.29"]
        # Who sends it again heals it.
        assert spool.recover(Route(*WAYS)).n_lost == 0
        entry = admit(spool, "1.2.10", *WAYS, pixels=b"10" * 40)
        assert [each.way for each in spool.deliveries_of(entry)] == ["pacs", "archive"]
        assert spool.counts().ways["pacs"][DELIVERED] == 20


@pytest.mark.own_files
def test_a_file_that_was_lost_and_is_here_again_is_delivered(path: Path) -> None:
    first = files(path)[0]
    data = first.read_bytes()
    first.unlink()
    with Spool(path) as spool:
        assert spool.recover(Route(*WAYS)).lost == ("1.2.10",)
    first.parent.mkdir(exist_ok=True)
    first.write_bytes(data)
    with Spool(path) as spool:
        assert spool.recover(Route(*WAYS)).readmitted == 1
        assert "1.2.10" in left(spool)
        for way in WAYS:
            settle(spool, take(spool, way))
        assert files(path) == []
        recount(path)


@pytest.mark.own_files
def test_a_file_that_was_cut_is_not_delivered(path: Path) -> None:
    victim = files(path)[0]
    victim.write_bytes(victim.read_bytes()[:-10])
    with Spool(path) as spool:
        spool.recover(Route(*WAYS))
        delivery = take(spool, "archive", 1)[0]
        with pytest.raises(SpoolError, match="bytes instead of"):
            spool.instance(delivery)


@pytest.mark.own_files
def test_a_file_in_no_entry_that_cannot_be_read_keeps_nobody_out(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = "7777-1-340-20.dcm"
    (path / "data" / "000007").mkdir()
    (path / "data" / "000007" / name).mkdir()  # as good as a bad sector, also for those who may read all
    with Spool(path) as spool:
        found = spool.recover(Route(*WAYS))
        assert (found.readmitted, found.unreadable) == (0, 1)
        assert left(spool) == EXPECTED
    assert name in caplog.text


@pytest.mark.own_files
def test_a_cut_file_in_no_entry_is_left_and_named(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    victim, junk = files(path)[:2]
    victim.write_bytes(victim.read_bytes()[:-10])
    junk.write_bytes(bytes(junk.stat().st_size))
    gone(path / "journal.sqlite")
    with Spool(path) as spool:
        found = spool.recover(Route(*WAYS))
        assert (found.readmitted, found.unreadable) == (N - 12, 2)
    assert victim.name in caplog.text
    assert victim.exists()
    assert junk.exists()
