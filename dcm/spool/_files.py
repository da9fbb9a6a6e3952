"""The files of a spool: small instances are in the log, a large one has its name when all of it is synced."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from dcm._atomic import Buffer, TempFile
from dcm._unchanged import FileMark, unreadable
from dcm.errors import InvalidDicomError, SpoolError, SpoolFullError
from dcm.instance import Instance
from dcm.part10 import read_meta
from dcm.spool._journal import failure
from dcm.spool._log import Log
from dcm.spool._pool import segment_size
from dcm.spool._segment_reader import read_all
from dcm.spool._shards import DIRECTORY, Name, Placed, Shards
from dcm.spool._words import DamagedInstanceError
from dcm.text import safe_text

__all__ = ["Files", "digest_of"]

_CHUNK = 1 << 20
_MIB = 1 << 20
_META_LIMIT = 1 << 16


class Files:
    """Where the instances of a spool are: small ones in the log, large ones in files of their own below ``data``.

    Parameters
    ----------
    root : Path
        The directory of the spool.
    min_free : int or None
        How many bytes of the file system are left to others: 64 MiB by default, or 5 % of it if that is less.
    step : callable
        Told the name of each step before it is done.
    size : int, optional
        Bytes of a segment of the log, 0 for none: everything is in a file of its own then. By default as is fit for the
        file system.

    Attributes
    ----------
    log : Log
        The segments.
    stuck : dict
        Files that could not be removed, by number.

    Raises
    ------
    SpoolError
        It cannot be used.
    """

    def __init__(self, root: Path, min_free: int | None, step: Callable[[str], None], size: int | None = None) -> None:
        self.root = root / "data"
        self._step = step
        self.stuck: dict[int, Name] = {}
        try:
            self.root.mkdir(mode=0o700, exist_ok=True)
            self._fd = os.open(self.root, DIRECTORY)
            found = os.fstatvfs(self._fd)
            total = found.f_blocks * found.f_frsize
            self.min_free = min(64 << 20, total // 20) if min_free is None else min_free
            self._dev = os.fstat(self._fd).st_dev
            self.log = Log(root / "log", segment_size(total) if size is None else size, self._check_room, step)
        except OSError as exc:
            raise failure(exc, self.root) from exc
        self.shards = Shards(self._fd)

    def close(self) -> None:
        """Let go of the directories."""
        self.log.close()
        self.shards.close()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def check_room(self, size: int) -> None:
        """See whether there is room for that many bytes more.

        Raises
        ------
        SpoolFullError
            There is not, and what the log has in store is not enough.
        """
        try:
            self._check_room(size)
        except SpoolFullError:
            if not self.log.drop_spare():
                raise
            self._check_room(size)

    def _check_room(self, size: int) -> None:
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

    def image(self, instance: Instance) -> list[Buffer]:
        """All bytes of the file that an instance would be, the data set behind the first of them.

        Raises
        ------
        StoreError, OSError
            It cannot be read.
        """
        return [instance.meta_bytes(), *instance.chunks(_CHUNK)]

    def append(self, images: Sequence[Sequence[Buffer]], received_ns: int) -> list[Name]:
        """Write instances to the log; when this returns all of them are on stable storage.

        Raises
        ------
        SpoolError
            They cannot be written; nothing is left of them.
        """
        records = [(self.shards.number(), received_ns, len(meta), sum(map(len, data))) for meta, *data in images]
        try:
            return self.log.append(records, images)
        except OSError as exc:
            raise failure(exc, self.root.parent) from exc

    def write(self, instance: Instance, received_ns: int, number: int | None = None) -> Placed:
        """Write an instance to a file of its own; all of it is on stable storage, but for its name.

        Parameters
        ----------
        instance : Instance
        received_ns : int
            When it arrived.
        number : int, optional
            Its number, where it has one.

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
                offset = temp.size - instance.size
                if number is None:
                    placed = self.shards.name(offset, instance.size, received_ns)
                else:
                    placed = self.shards.place(Name(number, received_ns, offset, instance.size))
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
            meta = instance.meta_bytes()
            temp.write(meta, next(chunks, b""))
            for chunk in chunks:
                temp.write(chunk)
            if temp.size != len(meta) + instance.size:
                raise SpoolError(f"{safe_text(instance.sop_instance_uid)} is cut short")
        except BaseException:
            temp.discard()
            raise
        return temp, True

    # -- reading --------------------------------------------------------------------------------------------------

    def path(self, name: Name) -> str:
        """The file that an instance is in."""
        return self.log.path(name) if name.segment else f"{self.root}/{name.shard}/{name}"

    def open(self, name: Name, sop_class: str, uid: str, syntax: str, source_ae: str) -> Instance:
        """The instance in a file. What is in a segment is read, to see whether it is what was written.

        Raises
        ------
        FileNotFoundError
            The file is gone.
        DamagedInstanceError
            What is in a segment is not what was written.
        SpoolError
            It is not what was written.
        """
        if name.segment:
            self._check_size(name, self.log.size_of(name))
            if not self.log.is_sound(name):
                raise DamagedInstanceError(
                    f"{self.path(name)} is damaged: {safe_text(uid, 80)} is not what was written"
                )
            read = partial(self._read_log, name)
            return Instance.from_reader(sop_class, uid, syntax, name.size, read, source_ae)
        mark = FileMark.of(os.stat(f"{name.shard}/{name}", dir_fd=self._fd, follow_symlinks=False))
        self._check_size(name, mark.size)
        return Instance.from_known(
            self.path(name), sop_class, uid, syntax, offset=name.offset, mark=mark, source_ae=source_ae
        )

    def _check_size(self, name: Name, size: int) -> None:
        if size != name.offset + name.size:
            raise SpoolError(f"{self.path(name)} has {size} bytes instead of {name.offset + name.size}")

    def _read_log(self, name: Name, offset: int, n: int) -> bytes:
        """Bytes of a data set in the log, for an `Instance`."""
        try:
            return self.log.read(name, name.offset + offset, n)
        except OSError as exc:
            raise unreadable(self.path(name), exc) from exc

    def reopen(self, name: Name) -> Instance:
        """The instance in a file of which only the name is known.

        Raises
        ------
        InvalidDicomError
            It is not what was written.
        OSError
            It cannot be read.
        """
        try:
            head = self._read(name, 0, min(name.offset, _META_LIMIT))
        except OSError as exc:
            raise OSError(exc.errno, exc.strerror, self.path(name)) from exc
        meta = read_meta(head)
        if meta is None or not meta.sop_instance_uid:
            raise InvalidDicomError(f"{self.path(name)} does not begin with what was written")
        try:
            return self.open(name, meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, meta.source_ae)
        except SpoolError as exc:
            raise InvalidDicomError(exc.message) from exc

    def same_data(self, name: Name, instance: Instance) -> bool | None:
        """Whether a file holds the data set of an instance, byte for byte; None where the file is gone or damaged."""
        position = name.offset
        try:
            for chunk in instance.chunks(_CHUNK):
                # Comparing bytes is a memcmp(); comparing memoryviews looks at each item.
                there = self._read(name, position, len(chunk))
                if len(there) < len(chunk):
                    return None
                if there != bytes(chunk):
                    return False
                position += len(chunk)
        except OSError:
            return None
        return True

    def digest(self, name: Name, syntax: str) -> bytes | None:
        """What is kept of a file when it goes; None where it cannot be read as a whole."""
        digest = _begin_digest(syntax)
        left, position = name.size, name.offset
        try:
            while left:
                data = self._read(name, position, min(left, _CHUNK))
                if not data:
                    return None
                digest.update(data)
                left -= len(data)
                position += len(data)
        except OSError:
            return None
        return digest.digest()

    def _read(self, name: Name, offset: int, n: int) -> bytes:
        if name.segment:
            return self.log.read(name, offset, n)
        fd = os.open(f"{name.shard}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            return read_all(fd, n, offset)
        finally:
            os.close(fd)

    # -- removing -------------------------------------------------------------------------------------------------

    def remove_all(self, names: Sequence[Name]) -> None:
        """Remove files of their own that nobody needs any more; what cannot be removed now is tried again later."""
        for name in names:
            if not name.segment:
                self.remove(name)

    def take_back(self, name: Name) -> None:
        """Remove what was written and has no entry."""
        if name.segment:
            self.log.give_up([name])
        else:
            self.remove(name)

    def remove(self, name: Name) -> bool:
        """Remove a file of its own that nobody needs any more; False where that is not possible now."""
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

    def held(self, numbers: Iterable[int]) -> set[int]:
        """Those of some numbers of which something may be there still, though nobody needs it."""
        return {number for number in numbers if number in self.stuck} | self.log.uses.held(numbers)

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


def digest_of(instance: Instance) -> bytes:
    """What would be kept of an instance when its file goes."""
    digest = _begin_digest(instance.transfer_syntax_uid)
    for chunk in instance.chunks(_CHUNK):
        digest.update(chunk)
    return digest.digest()


def _begin_digest(syntax: str) -> hashlib.blake2b:
    return hashlib.blake2b(syntax.encode(), digest_size=32)
