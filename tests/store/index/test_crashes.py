"""Processes that are killed, that write and read at the same time, and databases that are damaged."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dcm.errors import StoreError
from dcm.levels import QueryLevel
from dcm.store.index import Index, _database
from dcm.store.index._database import DamagedError
from tests import data
from tests.store.index.support import age, result_of, uids

ROOT = Path(__file__).parents[3]

# Commits after every few files, so that there are many moments at which to be killed; says when it begins.
SCAN = """
import sys
from pathlib import Path
from dcm.store.index import Index, _scan
_scan._BATCH_SECONDS, _scan._STEP, _scan._WINDOW = 0.0, 4, 40
index = Index(Path(sys.argv[1]))
print("ready", flush=True)
for _ in range(int(sys.argv[2])):
    result = index.refresh()
    print(result.n_files, flush=True)
"""
READ = """
import sys
from pathlib import Path
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from dcm.store.index import Index
index = Index(Path(sys.argv[1]))
last = 0
while last < int(sys.argv[2]):
    records = index.records(QueryLevel.IMAGE)
    found = QueryResult(QueryLevel.IMAGE, records)
    assert len(found) == len(records) >= last, (len(found), len(records), last)
    last = len(found)
print(last)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    data.write_tiny(path, 400, n_series=4)
    age(path)
    return path


def truth(root: Path) -> list[list[str]]:
    index = Index.in_memory(root)
    index.refresh()
    return [uids(index.records(level), level) for level in QueryLevel]


def said(index: Index) -> list[list[str]]:
    return [uids(index.records(level), level) for level in QueryLevel]


def database_of(root: Path) -> Path:
    path = Index(root).path
    assert path is not None
    return path


def test_killed_at_any_moment(root: Path) -> None:
    rng = random.Random(20201031)
    expected = truth(root)
    for _ in range(12):
        process = start(SCAN, root, 1)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.0, 0.08))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
        with Index(root) as index:
            # What is there is right, whatever is missing.
            records = index.records(QueryLevel.IMAGE)
            assert set(uids(records)) <= set(expected[QueryLevel.IMAGE])
            assert result_of(index, QueryLevel.SERIES).equivalent(result_of(index))
            connection = sqlite3.connect(database_of(root))
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            connection.close()
        if len(records) == 400:
            data.write_tiny(root, 400, n_series=4)  # all of them are to be read again
            age(root, rng.uniform(100, 10_000))
    with Index(root) as index:
        assert not index.refresh().rebuilt
        assert said(index) == expected


def test_readers_and_writers_in_several_processes(root: Path) -> None:
    processes = [start(READ, root, 400) for _ in range(2)] + [start(SCAN, root, 3) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=25)
        assert process.returncode == 0, errors
        assert all(line.startswith("waiting for another process") for line in errors.splitlines()), errors
    with Index(root) as index:
        assert index.refresh().n_unchanged == 400
        assert said(index) == truth(root)


def test_a_second_writer_waits_for_the_first(root: Path) -> None:
    with Index(root) as index:
        scanning = index._only_writer(None, None)
        scanning.__enter__()
        process = start(SCAN, root, 1)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert process.stderr is not None
        assert process.stderr.readline().startswith("waiting for another process")
        assert process.poll() is None
        assert not result_of(index)
        scanning.__exit__(None, None, None)
        assert process.communicate(timeout=20) == ("400\n", "")


def test_a_process_that_holds_a_transaction_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcm.store.index._database._BUSY_SECONDS", 0.05)
    with Index(root) as index:
        index.records(QueryLevel.PATIENT)
        other = sqlite3.connect(database_of(root), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="in use by another process"):
            index.refresh()
        other.close()
        assert index.refresh().n_files == 400


def damage(path: Path, rng: random.Random) -> str:
    """Do something bad to a database; says what."""
    content = bytearray(path.read_bytes())
    kind = rng.choice(["cut", "head", "flips", "zeros", "noise"])
    if kind == "cut":
        content = content[: rng.randrange(1, len(content))]
    elif kind == "head":
        content[:100] = rng.randbytes(100)
    elif kind == "flips":
        for _ in range(200):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "zeros":
        start = rng.randrange(len(content))
        content[start : start + 20_000] = bytes(len(content[start : start + 20_000]))
    else:
        content[:] = rng.randbytes(len(content))
    path.write_bytes(content)
    return kind


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_database(root: Path, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    rng = random.Random(seed)
    with Index(root) as index:
        index.refresh()
    path = database_of(root)
    kind = damage(path, rng)
    with Index(root) as index:
        if rng.random() < 0.5:
            index.refresh()
        records = index.records(QueryLevel.IMAGE)
        assert set(uids(records)) <= set(truth(root)[QueryLevel.IMAGE]), kind
        list(index.all_files())
        index.verify()  # reads all, whatever of the damage has not been met
        assert said(index) == truth(root), kind
    if kind in ("head", "noise"):
        assert not path.exists()


def test_bits_that_flip_in_what_is_held_are_noticed(root: Path) -> None:
    with Index(root) as index:
        index.refresh()
    for statement in (
        "UPDATE file SET data = CAST(x'00' || substr(data, 2) AS BLOB) WHERE CAST(name AS TEXT) LIKE '%7.dcm'",
        "UPDATE file SET sop_uid = replace(sop_uid, '1', '2') WHERE CAST(name AS TEXT) LIKE '%7.dcm'",
        "UPDATE header SET data = CAST(substr(data, 1, 50) || x'20' || substr(data, 52) AS BLOB)",
        "UPDATE header SET data = 'text'",
        "UPDATE file SET header = (SELECT max(id) FROM header)",
    ):
        connection = sqlite3.connect(database_of(root))
        assert connection.execute(statement).rowcount > 0
        connection.commit()
        connection.close()
        before = database_of(root)
        with Index(root) as index:
            assert uids(index.records(QueryLevel.IMAGE)) == truth(root)[QueryLevel.IMAGE], statement
        assert database_of(root) != before
        assert not before.exists()


def test_a_database_of_something_else(root: Path, tmp_path: Path) -> None:
    with Index(root) as index:
        index.refresh()
    path = database_of(root)
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE something (else_ TEXT)")
    connection.execute("PRAGMA user_version = 77")
    connection.commit()
    connection.close()
    with Index(root) as index:
        result = index.refresh()
        assert result.rebuilt
        assert result.n_new == 400


def test_an_empty_or_half_made_database(root: Path) -> None:
    with Index(root) as index:
        index.refresh()
    path = database_of(root)
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.touch()  # killed before the tables were made
    with Index(root) as index:
        assert index.refresh().n_new == 400


def test_databases_of_older_versions_are_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Index(root) as index:
        index.refresh()
    old = database_of(root)
    for module in ("_places", "_database"):
        monkeypatch.setattr(f"dcm.store.index.{module}.VERSION", 2)
    schema = "dcm.store.index._database._SCHEMA"
    monkeypatch.setattr(schema, _database._SCHEMA.replace("user_version = 1", "user_version = 2"))
    with Index(root) as index:
        assert index.refresh().n_new == 400
        assert not old.exists()


def test_one_that_is_built_anew_while_others_use_it(root: Path) -> None:
    with Index(root) as first, Index(root) as second:
        first.refresh()
        assert len(result_of(second)) == 400
        second.rebuild()
        assert len(result_of(first)) == 400
        assert first.path == second.path
        assert first.refresh().n_unchanged == 400


def test_a_scan_notices_that_the_database_was_replaced(root: Path) -> None:
    with Index(root) as first, Index(root) as second:
        first.refresh()
        age(root, 500)
        replaced: list[bool] = []

        def replace() -> bool:
            if not replaced:
                replaced.append(True)
                second._replace(DamagedError("as another process would"))
            return False

        assert first.refresh(stop=replace).n_files == 400
        assert replaced
        assert said(first) == truth(root)


def test_a_fork_uses_connections_of_its_own(root: Path) -> None:
    with Index(root) as index:
        index.refresh()
        code = (
            "import os, sys; from pathlib import Path; from dcm.levels import QueryLevel; "
            "from dcm.store.index import Index; index = Index(Path(sys.argv[1])); index.records(QueryLevel.IMAGE); "
            "pid = os.fork(); n = len(index.records(QueryLevel.IMAGE)); "
            "os._exit(n != 400) if not pid else sys.exit(os.waitpid(pid, 0)[1] or n != 400)"
        )
        done = subprocess.run([sys.executable, "-c", code, os.fspath(root)], cwd=ROOT, timeout=20, check=False)
        assert done.returncode == 0


def test_an_index_that_is_forgotten_leaves_no_connection_open(root: Path) -> None:
    index = Index(root)
    index.refresh()
    (connection,) = index._database._free
    del index
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
