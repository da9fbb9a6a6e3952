"""Where the index of a directory is kept.

Every index has a directory of its own, below the user's cache directory, readable by nobody else: it holds the names
of patients. Its database has a number in its name that is never used twice. A database that is damaged is replaced by
one with the next number, so that whoever still has the old one open works on with a file that nobody else sees, and
never mixes its journal with that of the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import threading
import time
from pathlib import Path

from dcm.errors import StoreError
from dcm.store.index._lock import ScanLock

__all__ = ["Place", "default_directory", "remove_all"]

VERSION = 1
"""The version of the schema. Databases of different versions can lie side by side; older ones are removed."""

_NAME = re.compile(r"v(\d{1,4})-(\d{1,12})\.sqlite")


def default_directory(root: Path, *, recurse: bool, file_ext: str) -> Path:
    """Where the index of a directory is kept unless somebody says otherwise.

    Parameters
    ----------
    root : Path
        The directory, as its real path.
    recurse : bool
        Whether its subdirectories belong to it.
    file_ext : str
        The extension of its files.
    """
    scope = ("" if recurse else "-flat") + (f"-{file_ext.lower()}" if file_ext else "")
    return _indexes() / f"{_key(root)}{scope}"


def remove_all(root: Path) -> list[Path]:
    """Remove every index of a directory from the user's cache directory; gives where they were.

    Raises
    ------
    StoreError
        One cannot be removed, or somebody is writing to it.
    """
    removed = []
    for directory in sorted(_indexes().glob(f"{_key(Path(os.path.realpath(root)))}*")):
        lock = ScanLock(threading.Lock(), Place(directory).lock)
        try:
            if not lock.acquire(blocking=False):
                raise StoreError(f"the index {directory} is in use by another process")
            shutil.rmtree(directory)
        except OSError as exc:
            raise StoreError(f"cannot remove the index {directory}: {exc.strerror or exc}") from exc
        finally:
            lock.release()
        removed.append(directory)
    return removed


def _indexes() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("dcm", appauthor=False)) / "index"


def _key(root: Path) -> str:
    return hashlib.sha256(os.fsencode(root)).hexdigest()[:32]


class Place:
    """The directory of one index.

    Parameters
    ----------
    directory : Path
        It is made when it is needed.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def lock(self) -> Path:
        """The file whose lock the one has who writes."""
        return self.directory / "lock"

    def number(self) -> int:
        """The number of the current database; of the next one where there is none."""
        # By the clock, so that one that was removed while somebody had it open is not followed by one of its name.
        return max(self._numbers(VERSION), default=int(time.time()))

    def database(self, number: int) -> Path:
        """The database with a number."""
        return self.directory / f"v{VERSION}-{number}.sqlite"

    def create(self, number: int) -> Path:
        """Make an empty database file, which nobody else can read, unless it is there.

        Raises
        ------
        OSError
            It cannot be made.
        """
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.database(number)
        with contextlib.suppress(FileExistsError):
            # SQLite gives the mode of the database to the files that it makes beside it.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
            for version in range(1, VERSION):
                for old in self._numbers(version):
                    self._unlink(f"v{version}-{old}.sqlite")
        return path

    def replace(self, number: int) -> None:
        """Put an empty database in the place of a damaged one.

        Raises
        ------
        OSError
            It cannot be made.
        """
        if self.number() == number:
            self.create(max(number + 1, int(time.time())))
        self._unlink(self.database(number).name)

    def _numbers(self, version: int) -> list[int]:
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        matches = map(_NAME.fullmatch, names)
        return [int(match[2]) for match in matches if match is not None and int(match[1]) == version]

    def _unlink(self, name: str) -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                (self.directory / (name + suffix)).unlink()
