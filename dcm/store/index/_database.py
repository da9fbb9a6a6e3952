"""The database of an index: its schema, its connections, and what its errors mean."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator

from dcm.errors import StoreError, UnusableIndexError
from dcm.store.index._places import VERSION, Place

__all__ = ["DamagedError", "Database", "ReplacedError"]

APPLICATION_ID = 0x64636D31  # "dcm1"
_BUSY_SECONDS = 60.0  # a transaction of ours takes less than one

_SCHEMA = f"""
-- Directories below the root, as the system names them. The root is ''.
CREATE TABLE directory (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE
);
-- What the instances of a series have in common, each combination once.
CREATE TABLE header (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    -- Where the series belongs, and, if files contradict one another, where this one says that it does.
    patient_id TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    said_patient_id TEXT NOT NULL,
    said_study_uid TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX header_patient ON header (patient_id);
CREATE INDEX header_study ON header (study_uid);
CREATE INDEX header_said_study ON header (said_study_uid);
CREATE INDEX header_series ON header (series_uid);
CREATE INDEX header_odd ON header (id) WHERE said_study_uid <> study_uid OR said_patient_id NOT IN (patient_id, '');
CREATE TABLE file (
    directory INTEGER NOT NULL,
    name BLOB NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    -- 0 where the file may have changed since without any of these three.
    trusted INTEGER NOT NULL,
    -- Of an instance: its header, its UID, how many files of it come before this one, its own attributes.
    header INTEGER,
    sop_uid TEXT,
    copy INTEGER NOT NULL DEFAULT 0,
    data BLOB,
    -- Of a file that is left out: why.
    kind TEXT,
    reason TEXT,
    PRIMARY KEY (directory, name)
) WITHOUT ROWID;
CREATE INDEX file_header ON file (header, copy) WHERE header IS NOT NULL;
CREATE INDEX file_instance ON file (sop_uid) WHERE sop_uid IS NOT NULL;
CREATE INDEX file_copy ON file (copy) WHERE copy > 0;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""


class DamagedError(Exception):
    """The database is damaged. Never leaves this package: the index is built anew."""


class ReplacedError(DamagedError):
    """Another process has put a new database in the place of this one: what was known of it no longer counts."""


class Database:
    """Connections to one database, for any number of threads.

    Parameters
    ----------
    place : Place or None
        Where it is; None for one in memory, which ends with this object.
    """

    def __init__(self, place: Place | None) -> None:
        self._place = place
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._number = 0
        self._free: list[sqlite3.Connection] = []
        # Whoever forgets to close an index leaves no connection open.
        weakref.finalize(self, _close_all, self._free, self._pid)

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Borrow a connection, to look at one state of the database for as long as the block runs.

        Raises
        ------
        DamagedError
            The database is damaged.
        StoreError
            It cannot be opened or read.
        """
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                _roll_back(connection)

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Borrow a connection for one transaction, which is rolled back if the block raises.

        Raises
        ------
        DamagedError
            The database is damaged.
        StoreError
            It cannot be opened or written to.
        """
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                _roll_back(connection)

    def replace(self) -> None:
        """Put an empty database in the place of this one, unless somebody else has.

        Raises
        ------
        StoreError
            That is not possible.
        """
        with self._lock:
            self._close_free()
            if self._place is None:
                return
            try:
                self._place.replace(self._number or self._place.number())
            except OSError as exc:
                raise self._error(exc) from exc

    def close(self) -> None:
        """Close all connections that nobody uses; what is in memory is gone. The next use opens them again."""
        with self._lock:
            self._close_free()

    def _close_free(self) -> None:
        _close_all(self._free, self._pid)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # A database in memory has one connection, which one thread at a time may use.
        with self._lock if self._place is None else contextlib.nullcontext():
            try:
                connection, number = self._take()
                try:
                    yield connection
                finally:
                    self._give_back(connection, number)
            except sqlite3.Error as exc:
                raise self._meaning(exc) from exc
            except UnicodeDecodeError as exc:  # in a message of SQLite, which quotes what it found
                raise DamagedError(str(exc)) from exc

    def _take(self) -> tuple[sqlite3.Connection, int]:
        with self._lock:
            if self._pid != os.getpid():
                # Connections do not survive a fork, and are not ours to close: they stay as they are.
                _of_parents.extend(self._free)
                self._free.clear()
                self._pid = os.getpid()
            if self._place is not None:
                number = self._place.number()
                if number != self._number:
                    self._close_free()
                    self._number = number
            if self._free:
                return self._free.pop(), self._number
            return self._open(), self._number

    def _give_back(self, connection: sqlite3.Connection, number: int) -> None:
        with self._lock:
            if number == self._number and self._pid == os.getpid():
                self._free.append(connection)
            else:
                connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._place is None:
            name = ":memory:"
        else:
            try:
                name = os.fspath(self._place.create(self._number))
            except OSError as exc:
                raise self._error(exc) from exc
        connection = sqlite3.connect(name, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _meaning(self, exc: sqlite3.Error) -> Exception:
        """What an error of SQLite means: that the database is damaged, unless it says something else."""
        text = str(exc)
        if isinstance(exc, sqlite3.OperationalError):
            if "locked" in text or "busy" in text:
                return StoreError(
                    f"the index {self.name} is in use by another process", hint="try again when it has finished"
                )
            if any(words in text for words in ("unable to open", "readonly", "full")):
                return self._error(exc)
        return DamagedError(text)

    def _error(self, exc: OSError | sqlite3.Error) -> StoreError:
        cause = (exc.strerror or str(exc)) if isinstance(exc, OSError) else str(exc)
        return UnusableIndexError(f"cannot use the index {self.name}: {cause}", hint="--no-index does without")

    @property
    def number(self) -> int:
        """Which database it is: another number, another database."""
        return self._number

    @property
    def name(self) -> str:
        """Where it is, for messages."""
        return "in memory" if self._place is None else os.fsdecode(self._place.directory)


_of_parents: list[sqlite3.Connection] = []


def _close_all(connections: list[sqlite3.Connection], pid: int) -> None:
    """Close the connections of a process; those that a child has from its parent are not its own to close."""
    while connections and pid == os.getpid():
        connections.pop().close()


def _prepare(connection: sqlite3.Connection) -> None:
    """Set a new connection up, and make the tables if there are none."""
    # Where the file system cannot share memory there is no WAL: all works then, but readers wait for a writer.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")  # no crash of ours can lose what is committed
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA cache_size = -32000")
    connection.execute("PRAGMA trusted_schema = OFF")
    if _version(connection) == (0, 0):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _version(connection) == (0, 0):
                for statement in _SCHEMA.split(";"):
                    if statement.strip():
                        connection.execute(statement)
            connection.execute("COMMIT")
        finally:
            _roll_back(connection)
    if _version(connection) != (APPLICATION_ID, VERSION):
        raise sqlite3.DatabaseError("a database of something else")


def _version(connection: sqlite3.Connection) -> tuple[int, int]:
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return application, version


def _roll_back(connection: sqlite3.Connection) -> None:
    """End the transaction that is open, if there is one."""
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
