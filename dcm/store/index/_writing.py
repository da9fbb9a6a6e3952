"""Writing to the index: what was found goes in, what has gone goes out, and what contradicts is settled.

What comes out does not depend on the order in which files were found. Of several files of an instance the one whose
path sorts first stands for it. A series in two studies belongs to the one whose UID sorts first, a study of two
patients to the one whose PatientID does; an empty PatientID yields to any.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby

from dcm.store.index._codec import PackedHeader
from dcm.store.index._reading import Finding

__all__ = ["LISTED", "Writer", "id_list"]

# SQLite takes a NUL in JSON for the end of the text: it is written in another way, and so is what stands for it.
LISTED = "(SELECT replace(replace(value, char(1) || 'b', char(0)), char(1) || 'a', char(1)) FROM json_each(?))"
"""What is in a list made by `id_list`."""

_PUT = (
    "INSERT OR REPLACE INTO file "
    "(directory, name, size, mtime_ns, inode, trusted, header, sop_uid, data, kind, reason) "
    "VALUES (?,?,?,?,?,?,?,?,?,?,?)"
)
_PUT_HEADER = (
    "INSERT INTO header (digest, patient_id, study_uid, series_uid, said_patient_id, said_study_uid, sop_class_uid, "
    "transfer_syntax_uid, data) VALUES (?,?,?,?,?,?,?,?,?)"
)


class Writer:
    """Writes within one transaction.

    Parameters
    ----------
    connection : sqlite3.Connection
        In a transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._directories: dict[bytes, int] = {}
        self._headers: dict[bytes, int] = {}
        self._added: set[str] = set()  # instances that have one more file
        self._left: set[str] = set()  # ... one less
        self._series: set[str] = set()  # series that have a header more or less

    def directory(self, path: bytes) -> int:
        """The number of a directory, a new one if it has none."""
        number = self._directories.get(path)
        if number is None:
            row = self._db.execute("SELECT id FROM directory WHERE path = ?", (path,)).fetchone()
            if row is None:
                number = self._db.execute("INSERT INTO directory (path) VALUES (?)", (path,)).lastrowid or 0
            else:
                number = int(row[0])
            self._directories[path] = number
        return number

    def put(self, findings: Sequence[tuple[int, bytes, Finding]], *, known: bool) -> set[tuple[int, bytes]]:
        """Take files in, or put what they are now in place of what they were.

        Parameters
        ----------
        findings : sequence of (directory, name, Finding)
        known : bool
            Whether they may be in the index already.

        Returns
        -------
        set of (directory, name)
            The instances among them that are just what they were.
        """
        rows: list[tuple[int | str | bytes | None, ...]] = []
        for directory, name, found in findings:
            stamp = (directory, name, *found.stamp, int(found.trusted))
            if found.header is not None:
                header = self._header(found.header)
                rows.append((*stamp, header, found.sop_instance_uid, found.data, None, None))
                self._added.add(found.sop_instance_uid)
            elif found.left_out is not None:
                rows.append((*stamp, None, None, None, *found.left_out))
        same = {
            (directory, name) for directory, name, found in findings if known and self._is_same(directory, name, found)
        }
        if known:
            self._forget([(directory, name) for directory, name, _ in findings])
        self._db.executemany(_PUT, rows)
        return same

    def _is_same(self, directory: int, name: bytes, found: Finding) -> bool:
        """Whether the index has a file just as it was found to be."""
        row = self._db.execute(
            "SELECT h.digest, f.sop_uid, f.data, f.size, f.mtime_ns, f.inode FROM file f "
            "JOIN header h ON h.id = f.header WHERE f.directory = ? AND f.name = ?",
            (directory, name),
        ).fetchone()
        if row is None or found.header is None:
            return False
        return tuple(row) == (found.header.digest, found.sop_instance_uid, found.data, *found.stamp)

    def remove(self, directory: int, names: Collection[bytes]) -> None:
        """Take files out."""
        self._forget([(directory, name) for name in names])
        self._db.executemany("DELETE FROM file WHERE directory = ? AND name = ?", [(directory, n) for n in names])

    def remove_directory(self, directory: int) -> int:
        """Take a directory out, with all files that are in itself; gives how many of these were instances."""
        names = self._db.execute("SELECT name FROM file WHERE directory = ? AND header IS NOT NULL", (directory,))
        instances = [name for (name,) in names]
        self._forget([(directory, name) for name in instances])
        self._db.execute("DELETE FROM file WHERE directory = ?", (directory,))
        self._db.execute("DELETE FROM directory WHERE id = ?", (directory,))
        return len(instances)

    def _forget(self, files: Iterable[tuple[int, bytes]]) -> None:
        for key in files:
            row = self._db.execute("SELECT sop_uid FROM file WHERE directory = ? AND name = ?", key).fetchone()
            if row is not None and row[0] is not None:
                self._left.add(row[0])

    def _header(self, packed: PackedHeader) -> int:
        known = self._headers.get(packed.digest)
        if known is not None:
            return known
        row = self._db.execute("SELECT id FROM header WHERE digest = ?", (packed.digest,)).fetchone()
        if row is None:
            ids = (packed.patient_id, packed.study_uid, packed.series_uid, packed.patient_id, packed.study_uid)
            values = (packed.digest, *ids, packed.sop_class_uid, packed.transfer_syntax_uid, packed.data)
            number = self._db.execute(_PUT_HEADER, values).lastrowid or 0
            self._series.add(packed.series_uid)
        else:
            number = int(row[0])
        self._headers[packed.digest] = number
        return number

    def finish(self) -> None:
        """Settle what has changed. Before the transaction ends."""
        if self._left:
            self._drop_headers()
        for uids in _portions(self._added - self._left):
            several = self._db.execute(
                f"SELECT sop_uid FROM file WHERE sop_uid IN {LISTED} GROUP BY sop_uid HAVING count(*) > 1",  # noqa: S608
                (id_list(uids),),
            )
            self._left.update([uid for (uid,) in several])
        for uids in _portions(self._left):
            self._number_copies(uids)
        if self._series:
            self._settle()

    def _drop_headers(self) -> None:
        """Remove the headers that no file has any more."""
        unused = self._db.execute(
            "SELECT id, series_uid FROM header "
            "WHERE NOT EXISTS (SELECT 1 FROM file WHERE file.header = header.id AND file.header IS NOT NULL)"
        ).fetchall()
        self._series.update([series for _, series in unused])
        self._db.executemany("DELETE FROM header WHERE id = ?", [(number,) for number, _ in unused])

    def _number_copies(self, uids: Collection[str]) -> None:
        """Number the files of each of these instances, in the order of their paths."""
        rows = self._db.execute(
            "SELECT f.sop_uid, d.path, f.name, f.directory, f.copy FROM file f JOIN directory d ON d.id = f.directory "  # noqa: S608
            f"WHERE f.sop_uid IN {LISTED} ORDER BY f.sop_uid, d.path, f.name",
            (id_list(uids),),
        ).fetchall()
        changes = [
            (number, directory, name)
            for _, files in groupby(rows, key=lambda row: row[0])
            for number, (_, _, name, directory, copy) in enumerate(files)
            if number != copy
        ]
        self._db.executemany("UPDATE file SET copy = ? WHERE directory = ? AND name = ?", changes)

    def _settle(self) -> None:
        """Decide where the series belong whose headers have changed, and all studies that they were or are in."""
        series = id_list(self._series)
        query = f"SELECT series_uid, said_study_uid, study_uid FROM header WHERE series_uid IN {LISTED}"  # noqa: S608
        studies: dict[str, str] = {}
        touched: set[str] = set()
        for uid, said, settled in self._db.execute(query, (series,)):
            studies[uid] = min(said, studies.get(uid, said))
            touched.update((said, settled))
        self._db.executemany(
            "UPDATE header SET study_uid = ? WHERE series_uid = ? AND study_uid <> ?",
            [(study, uid, study) for uid, study in studies.items()],
        )
        patients: dict[str, str] = {}
        query = (
            f"SELECT study_uid, said_patient_id FROM header WHERE study_uid IN {LISTED} "  # noqa: S608
            "ORDER BY said_patient_id = '', said_patient_id"
        )
        for study, patient in self._db.execute(query, (id_list(touched),)):
            patients.setdefault(study, patient)
        self._db.executemany(
            "UPDATE header SET patient_id = ? WHERE study_uid = ? AND patient_id <> ?",
            [(patient, study, patient) for study, patient in patients.items()],
        )


def id_list(uids: Iterable[str]) -> str:
    """UIDs as one parameter, for `LISTED`."""
    return json.dumps([_escaped(uid) for uid in uids])


def _escaped(uid: str) -> str:
    return uid.replace("\1", "\1a").replace("\0", "\1b")


def _portions(uids: Iterable[str], size: int = 5000) -> Iterator[list[str]]:
    todo = list(uids)
    for start in range(0, len(todo), size):
        yield todo[start : start + size]
