"""The files of a spool: each one holds an instance, and has its name only when all of it is on stable storage."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dcm._atomic import TempFile
from dcm._unchanged import FileMark
from dcm.errors import InvalidDicomError, SpoolError, SpoolFullError
from dcm.instance import Instance
from dcm.part10 import read_meta
from dcm.spool._journal import failure
from dcm.spool._shards import DIRECTORY, Name, Placed, Shards
from dcm.text import safe_text

__all__ = ["Files", "digest_of", "sync_directory"]

_CHUNK = 1 << 20
_MIB = 1 << 20
_META_LIMIT = 1 << 16


class Files:
    """The directory that the files of a spool are in.

    Parameters
    ----------
    root : Path
        The directory ``data`` of the spool, which is made where it is not there.
    min_free : int or None
        How many bytes of the file system are left to others: 64 MiB by default, or 5 % of it if that is less.
    step : callable
        Told the name of each step before it is done.

    Raises
    ------
    SpoolError
        It cannot be used.
    """

    def __init__(self, root: Path, min_free: int | None, step: Callable[[str], None]) -> None:
        self.root = root
        self._step = step
        self.stuck: dict[int, Name] = {}
        try:
            root.mkdir(mode=0o700, exist_ok=True)
            self._fd = os.open(root, DIRECTORY)
            total = os.fstatvfs(self._fd)
        except OSError as exc:
            raise failure(exc, root) from exc
        self.min_free = min(64 << 20, total.f_blocks * total.f_frsize // 20) if min_free is None else min_free
        self._dev = os.fstat(self._fd).st_dev
        self.shards = Shards(self._fd)

    def close(self) -> None:
        """Let go of the directories."""
        self.shards.close()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def check_room(self, size: int) -> None:
        """See whether there is room for that many bytes more.

        Raises
        ------
        SpoolFullError
            There is not.
        """
        try:
            found = os.fstatvfs(self._fd)
        except OSError as exc:
            raise failure(exc, self.root) from exc
        free = found.f_bavail * found.f_frsize
        if free - size < self.min_free:
            raise SpoolFullError(
                f"the spool {safe_text(self.root.parent)} is full: {max(free, 0) / _MIB:.1f} MiB left,"
                f" of which {self.min_free / _MIB:.1f} MiB are kept free",
                hint="make room, and it goes on",
            )

    def new_temp(self) -> TempFile:
        """A file that has no name yet, for an instance that is written while it arrives.

        Raises
        ------
        SpoolError
            None can be made.
        """
        try:
            temp = TempFile.create(self._fd)
            os.fchmod(temp.fd, 0o600)
        except OSError as exc:
            raise failure(exc, self.root) from exc
        return temp

    # -- writing --------------------------------------------------------------------------------------------------

    def write(self, instance: Instance, received_ns: int) -> Placed:
        """Write an instance to a file with a number of its own; all of it is on stable storage, but for its name.

        Raises
        ------
        SpoolError
            It cannot be written; nothing is left of it.
        """
        try:
            temp, owned = self._filled(instance)
            try:
                self._step("fsync")
                # Before it has a name: whatever is found under a name after a power cut is complete.
                os.fsync(temp.fd)
                placed = self.shards.name(temp.size - instance.size, instance.size, received_ns)
                try:
                    self._step("link")
                    temp.publish(placed.shard.fd, str(placed.name))
                except BaseException:
                    self.shards.release(placed)
                    raise
                return placed
            finally:
                if owned:
                    temp.discard()
        except OSError as exc:
            raise failure(exc, self.root) from exc

    def sync(self, placed: list[Placed]) -> None:
        """Put the names of some files on stable storage.

        Raises
        ------
        SpoolError
            That failed.
        """
        try:
            for shard in {each.shard for each in placed}:
                os.fsync(shard.fd)
        except OSError as exc:
            raise failure(exc, self.root) from exc

    def _filled(self, instance: Instance) -> tuple[TempFile, bool]:
        """A file with all of an instance, and whether it is ours to discard."""
        temp = instance.temp
        if temp is not None and temp.st_dev == self._dev and temp.claim():
            os.fchmod(temp.fd, 0o600)
            return temp, False
        temp = self.new_temp()
        try:
            self._step("write")
            chunks = instance.chunks(_CHUNK)
            temp.write(instance.meta_bytes(), next(chunks, b""))
            for chunk in chunks:
                temp.write(chunk)
        except BaseException:
            temp.discard()
            raise
        return temp, True

    # -- reading --------------------------------------------------------------------------------------------------

    def path(self, name: Name) -> str:
        """Where a file is."""
        return f"{self.root}/{name.shard}/{name}"

    def open(self, name: Name, sop_class: str, uid: str, syntax: str, source_ae: str) -> Instance:
        """The instance in a file; nothing is read of it.

        Raises
        ------
        FileNotFoundError
            The file is gone.
        SpoolError
            It is not what was written.
        """
        path = self.path(name)
        mark = FileMark.of(os.stat(f"{name.shard}/{name}", dir_fd=self._fd, follow_symlinks=False))
        if mark.size != name.offset + name.size:
            raise SpoolError(f"{path} has {mark.size} bytes instead of {name.offset + name.size}")
        return Instance.from_known(path, sop_class, uid, syntax, offset=name.offset, mark=mark, source_ae=source_ae)

    def reopen(self, name: Name) -> Instance:
        """The instance in a file of which only the name is known.

        Raises
        ------
        InvalidDicomError
            It is not what was written.
        OSError
            It cannot be read.
        """
        path = self.path(name)
        with open(path, "rb") as file:
            head = file.read(min(name.offset, _META_LIMIT))
        meta = read_meta(head)
        if meta is None or not meta.sop_instance_uid:
            raise InvalidDicomError(f"{path} does not begin with what was written")
        try:
            return self.open(name, meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, meta.source_ae)
        except SpoolError as exc:
            raise InvalidDicomError(exc.message) from exc

    def same_data(self, name: Name, instance: Instance) -> bool | None:
        """Whether a file holds the data set of an instance, byte for byte; None where the file is gone or damaged."""
        try:
            fd = os.open(self.path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            position = name.offset
            for chunk in instance.chunks(_CHUNK):
                # Comparing bytes is a memcmp(); comparing memoryviews looks at each item.
                there = os.pread(fd, len(chunk), position)
                if len(there) < len(chunk):
                    return None
                if there != bytes(chunk):
                    return False
                position += len(chunk)
        except OSError:
            return None
        finally:
            os.close(fd)
        return True

    def digest(self, name: Name, syntax: str) -> bytes | None:
        """What is kept of a file when it goes; None where it cannot be read as a whole."""
        try:
            fd = os.open(self.path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            digest = hashlib.sha256(syntax.encode())
            left, position = name.size, name.offset
            while left:
                data = os.pread(fd, min(left, _CHUNK), position)
                if not data:
                    return None
                digest.update(data)
                left -= len(data)
                position += len(data)
        except OSError:
            return None
        finally:
            os.close(fd)
        return digest.digest()

    # -- removing -------------------------------------------------------------------------------------------------

    def remove(self, name: Name) -> bool:
        """Remove a file that nobody needs any more; what cannot be removed now is tried again later."""
        try:
            os.unlink(f"{name.shard}/{name}", dir_fd=self._fd)
        except FileNotFoundError:
            pass
        except OSError:
            self.stuck[name.number] = name
            return False
        self.stuck.pop(name.number, None)
        return True

    def remove_stuck(self) -> None:
        """Try again what could not be removed."""
        for name in list(self.stuck.values()):
            if not self.remove(name):
                break

    # -- looking through all of them ------------------------------------------------------------------------------

    def names(self, shard: str) -> Iterator[Name]:
        """The files in one of them, in any order."""
        try:
            found = os.listdir(self.root / shard)
        except (FileNotFoundError, NotADirectoryError):
            return
        for text in found:
            name = Name.parse(text)
            if name is not None and name.shard == shard:
                yield name

    def remove_leftovers(self) -> int:
        """Remove what never got a name: nobody was ever told that it is here. Gives how many there were."""
        n = 0
        for name in os.listdir(self._fd):
            if name.startswith(".dcm-") and name.endswith(".part"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self._fd)
                    n += 1
        return n


def sync_directory(path: Path) -> None:
    """Put the names in a directory on stable storage.

    Raises
    ------
    OSError
        That failed.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def digest_of(instance: Instance) -> bytes:
    """What would be kept of an instance when its file goes."""
    digest = hashlib.sha256(instance.transfer_syntax_uid.encode())
    for chunk in instance.chunks(_CHUNK):
        digest.update(chunk)
    return digest.digest()
