"""The journal of a spool: one SQLite database, its schema, its connections, and what its errors mean."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from dcm.errors import SpoolError, SpoolFullError
from dcm.store import reason_of
from dcm.text import safe_text

__all__ = ["WAY_BITS", "DamagedError", "Journal", "failure", "set_aside"]

APPLICATION_ID = 0x64636D53  # "dcmS"
VERSION = 2
WAY_BITS = 20
"""A delivery's id is that of its entry, shifted by this, and that of its way: they never come again."""

_BUSY_SECONDS = 30.0  # another process that lists or drops holds it for some milliseconds
_DAMAGE = (
    "malformed",
    "not a database",
    "encrypted",
    "corrupt",
    "no such table",
    "no such column",
    "no such index",
    "decode to UTF-8",
)
_MOST_PAGES = 1000  # of the file beside the database, before what is in it goes into that
_LEAST_PAGES = 16
_PAGE_SIZE = 4096
_ENDINGS = ("", "-wal", "-shm")

_SCHEMA = f"""
-- Destinations with what happens on the way there. `known` is 0 where the forwarder that runs has no such way.
CREATE TABLE way (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    known INTEGER NOT NULL
);
-- Instances that are in the spool: each in a segment of the log, or, where that is 0, in a file of its own, the name of
-- which is made of id, received_ns, offset and size.
CREATE TABLE entry (
    id INTEGER PRIMARY KEY,
    uid_hash INTEGER NOT NULL,
    uid TEXT NOT NULL,
    sop_class TEXT NOT NULL,
    syntax TEXT NOT NULL,
    size INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    calling TEXT NOT NULL,
    called TEXT NOT NULL,
    address TEXT NOT NULL,
    conflict INTEGER NOT NULL,
    segment INTEGER NOT NULL,
    position INTEGER NOT NULL,
    -- The checksum of the instance in the segment, 0 where it has a file of its own.
    data_check INTEGER NOT NULL,
    -- Of all columns above: an entry that was damaged must not tell a destination something wrong.
    checksum INTEGER NOT NULL,
    -- How many of its deliveries are queued or in quarantine. With the last of them the file goes.
    live INTEGER NOT NULL
);
CREATE INDEX entry_uid ON entry (uid_hash);
CREATE INDEX entry_done ON entry (live) WHERE live = 0;
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY,
    way INTEGER NOT NULL,
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    status INTEGER
);
-- In the order of arrival: the id follows the columns of an index by itself.
CREATE INDEX delivery_ready ON delivery (way) WHERE state = 0 AND not_before = 0;
CREATE INDEX delivery_waiting ON delivery (way, not_before) WHERE state = 0 AND not_before > 0;
CREATE INDEX delivery_quarantined ON delivery (way) WHERE state = 1;
-- What is through, to know it when it comes again. `digest` is NULL where that is not known.
CREATE TABLE past (
    id INTEGER PRIMARY KEY,
    uid_hash INTEGER NOT NULL,
    uid TEXT NOT NULL,
    size INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    done INTEGER NOT NULL,
    digest BLOB,
    fate INTEGER NOT NULL
);
CREATE INDEX past_uid ON past (uid_hash);
-- What became of the deliveries of an entry, each combination once: "way state way state ...".
CREATE TABLE fate (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
);
-- How many deliveries there are, and ever were, by way and state. State -1 counts each one when it is made.
CREATE TABLE tally (
    way INTEGER NOT NULL,
    state INTEGER NOT NULL,
    n INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (way, state)
) WITHOUT ROWID;
CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""


class DamagedError(Exception):
    """The journal is damaged. Never leaves this package."""


class Journal:
    """Two connections to the journal, for any number of threads: one at a time writes, one at a time reads.

    Parameters
    ----------
    path : Path
        The database.
    create : bool
        Make it where there is none.

    Raises
    ------
    DamagedError
        It is no journal, or a damaged one.
    SpoolError
        It cannot be opened.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        # In-process, a lock is fair enough, and wakes at once; SQLite would sleep and look again.
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._durable = False
        self._open_connections: list[sqlite3.Connection] = []
        try:
            if not path.exists():
                if not create:
                    raise SpoolError(f"there is no spool in {safe_text(path.parent)}")
                # The mode of the database is that of the files beside it, too.
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            with self._meaning():
                self._writer = self._connect()
                self._reader = self._connect()
        except OSError as exc:
            self.close()
            raise failure(exc, path) from exc
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def write(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """One transaction, which is rolled back if the block raises.

        Parameters
        ----------
        durable : bool
            Return only when it is on stable storage, with all that were before. Without that it survives any crash of
            ours, but perhaps not one of the machine.

        Raises
        ------
        SpoolFullError
            The disk is full; nothing was written.
        SpoolError
            Anything else.
        """
        with self._write_lock, self._told():
            db = self._writer
            if durable is not self._durable:
                db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    with contextlib.suppress(sqlite3.Error):  # what went wrong before is what has to be told
                        db.execute("ROLLBACK")

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """The connection for short queries.

        Raises
        ------
        SpoolError
            The journal cannot be read.
        """
        with self._read_lock, self._told():
            yield self._reader

    @contextlib.contextmanager
    def examine(self) -> Iterator[sqlite3.Connection]:
        """The connection for a long look at it, before it is used.

        Raises
        ------
        DamagedError
            SQLite finds that it is damaged.
        SpoolError
            The journal cannot be read.
        """
        with self._read_lock, self._meaning():
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                with contextlib.suppress(sqlite3.Error):
                    self._reader.execute("ROLLBACK")

    def shrink(self) -> None:
        """Make room, if that is possible: what is in the file beside the database goes into that."""
        with self._write_lock, contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close both connections; the last one that is closed tidies up the files."""
        with self._write_lock, self._read_lock:
            while self._open_connections:
                with contextlib.suppress(sqlite3.Error):
                    self._open_connections.pop().close()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._open_connections.append(db)
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("PRAGMA cache_size = -8000")
        # On a small disk it must not eat what is kept free for it.
        total = os.statvfs(self.path.parent)
        pages = total.f_blocks * total.f_frsize // 100 // _PAGE_SIZE
        db.execute(f"PRAGMA wal_autocheckpoint = {min(_MOST_PAGES, max(_LEAST_PAGES, pages))}")
        db.execute("PRAGMA synchronous = NORMAL")
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise SpoolError(
                f"the file system of {safe_text(self.path.parent)} cannot hold a journal: no shared memory",
                hint="put the spool on a local disk",
            )
        if _identity(db) == (0, 0):
            _make(db)
        application, version = _identity(db)
        if application == APPLICATION_ID and VERSION < version < VERSION + 1000:
            raise SpoolError(
                f"the spool {safe_text(self.path.parent)} was made by a later version of dcm",
                hint="use that version, at least until the spool is empty",
            )
        if application == APPLICATION_ID and 0 < version < VERSION:
            raise DamagedError("an earlier version of dcm made it")
        if (application, version) != (APPLICATION_ID, VERSION):
            raise DamagedError("it is the database of something else")
        return db

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            with self._meaning():
                yield
        except DamagedError as exc:
            raise SpoolError(
                f"the journal of the spool {safe_text(self.path.parent)} is damaged: {safe_text(exc)}",
                hint="start the forwarder anew: it rebuilds the journal from the files",
            ) from exc

    @contextlib.contextmanager
    def _meaning(self) -> Iterator[None]:
        """Say what an error of SQLite means: that the journal is damaged, unless it says something else."""
        try:
            yield
        except sqlite3.Error as exc:
            raise self._translated(exc) from exc
        except UnicodeDecodeError as exc:  # in a message of SQLite, or in a text that was written as UTF-8
            raise DamagedError(str(exc)) from exc

    def _no_room(self) -> bool:
        """Whether the disk is full: SQLite calls that an I/O error where it happens to a file beside the database."""
        try:
            found = os.statvfs(self.path.parent)
        except OSError:
            return False
        return found.f_bavail * found.f_frsize < 1 << 20

    def _translated(self, exc: sqlite3.Error) -> Exception:
        text = str(exc)
        where = safe_text(self.path.parent)
        if isinstance(exc, sqlite3.ProgrammingError):
            return SpoolError(f"the spool {where} is closed")
        if "full" in text or ("disk I/O error" in text and self._no_room()):
            return SpoolFullError(f"the spool {where} is full", hint="make room, and it goes on")
        if "locked" in text or "busy" in text:
            return SpoolError(f"the journal of the spool {where} is in use by another process", hint="try again")
        # A journal is only set aside where it is certain that something is wrong with it.
        if any(words in text for words in _DAMAGE):
            return DamagedError(text)
        if type(exc) is sqlite3.DatabaseError and not text:
            # Python 3.10 loses the words of one that it meets where a statement is reset.
            return DamagedError("SQLite cannot make anything of it")
        return SpoolError(f"cannot use the journal of the spool {where}: {safe_text(text)}")


def failure(exc: OSError, path: str | os.PathLike[str], doing: str = "write") -> SpoolError:
    """Make the error of an OSError in a spool; raise it from that.

    Parameters
    ----------
    exc : OSError
        What happened.
    path : path
        What was to be written or read.
    doing : str, optional
        The verb.
    """
    message = f"cannot {doing} {safe_text(path)}: {reason_of(exc)}"
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpoolFullError(message, hint="make room, and it goes on")
    return SpoolError(message)


def set_aside(path: Path, mark: str) -> Path:
    """Rename a damaged journal, with the files beside it; gives where it is now.

    Raises
    ------
    OSError
        That is not possible.
    """
    aside = path.with_name(f"{path.stem}.damaged-{mark}{path.suffix}")
    # The database last: as long as it is there, it is the one that is damaged.
    for ending in reversed(_ENDINGS):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{ending}").rename(f"{aside}{ending}")
    return aside


def _identity(db: sqlite3.Connection) -> tuple[int, int]:
    application: int = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return application, version


def _make(db: sqlite3.Connection) -> None:
    """Make the tables, unless somebody else has."""
    db.execute("BEGIN IMMEDIATE")
    try:
        if _identity(db) == (0, 0):
            for statement in _SCHEMA.split(";"):
                if statement.strip():
                    db.execute(statement)
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
