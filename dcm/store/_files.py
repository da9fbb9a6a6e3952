"""Files as a directory's index names them: in portions, and read as long as they are still what the index says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dcm._unchanged import FileMark
from dcm.errors import DataError, StoreError
from dcm.instance import Instance
from dcm.part10 import read_meta
from dcm.store._tree import reason_of, store_error

if TYPE_CHECKING:
    from dcm.store.index import IndexedFile

__all__ = ["Read", "batches", "by_instance", "chunks", "read_copies"]

# Files up to this size are read in one go, when they are handed out; larger ones when somebody wants their data.
_WHOLE = 1 << 20
# One job for a thread: crossing over to it costs as much as reading a small file.
_BATCH = 16
_BATCH_BYTES = 8 << 20

# A named pipe that has the name now must not stop us.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_VANISHED = "the file has vanished"
_CHANGED = "the file has changed since it was indexed"
_CHANGING = "the file changed while it was read"
_CHUNK = 1 << 20


class Read(NamedTuple):
    """What has come of reading one instance, of which there may be several files.

    Attributes
    ----------
    uid : str
        Which it is.
    instances : tuple of Instance
        The one to be taken, none where no file can be read, then those with other bytes under its UID.
    reason, path : str
        Why a file could not be read, and which.
    """

    uid: str
    instances: tuple[Instance, ...]
    reason: str = ""
    path: str = ""


def read_copies(root: str, files: Sequence[IndexedFile], *, data: bool = True) -> Read:
    """Read an instance.

    Parameters
    ----------
    root : str
        The directory that the paths start at.
    files : sequence of IndexedFile
        All files that hold it, in the order in which they are preferred. Those with the same data set count once.
    data : bool
        Whether the data will be wanted, so that a small file is best read whole.
    """
    found: list[Instance] = []
    reason = where = ""
    for file in files:
        path = f"{root}/{file.path}"
        try:
            instance = _read(path, file, data=data)
            if not any(_same(instance, other) for other in found):
                found.append(instance)
        except (StoreError, DataError) as error:
            reason = reason_of(error) if isinstance(error, StoreError) else error.message
            where = path
    return Read(files[0].sop_instance_uid, tuple(found), reason, where)


def _read(path: str, file: IndexedFile, *, data: bool) -> Instance:
    uids = file.sop_class_uid, file.sop_instance_uid, file.transfer_syntax_uid
    try:
        if not data or file.size > _WHOLE:
            if not _is_as_indexed(Path(path).stat(), file):
                raise StoreError(_CHANGED)
            instance = Instance.from_file(path)
            if instance.sop_instance_uid != file.sop_instance_uid:
                raise StoreError(_CHANGED)
            return instance
        content, mark = _content(path, file)
    except FileNotFoundError:
        raise StoreError(_VANISHED) from None
    except OSError as exc:
        raise store_error(exc, path, "read") from exc
    meta = read_meta(content, need_prefix=False)
    view = memoryview(content)
    return Instance.from_buffer(*uids, view if meta is None else view[meta.data_offset :], path=Path(path), mark=mark)


def _content(path: str, file: IndexedFile) -> tuple[bytes, FileMark]:
    """All of a file, in one read."""
    fd = os.open(path, _FLAGS)
    try:
        if not _is_as_indexed(os.fstat(fd), file):
            raise StoreError(_CHANGED)
        content = os.read(fd, file.size)
        status = os.fstat(fd)
        if len(content) < file.size or not _is_as_indexed(status, file):
            raise StoreError(_CHANGING)
        return content, FileMark.of(status)
    finally:
        os.close(fd)


def _is_as_indexed(status: os.stat_result, file: IndexedFile) -> bool:
    # SQLite keeps integers of 64 bits with a sign, inodes have none.
    same_inode = (status.st_ino - file.inode) % (1 << 64) == 0
    return same_inode and (status.st_size, status.st_mtime_ns) == (file.size, file.mtime_ns)


def _same(one: Instance, other: Instance) -> bool:
    """Whether two files hold the same data set."""
    if one.size != other.size or one.transfer_syntax_uid != other.transfer_syntax_uid:
        return False
    chunks = zip(one.chunks(_CHUNK), other.chunks(_CHUNK), strict=True)
    return all(bytes(a) == bytes(b) for a, b in chunks)


def by_instance(files: Iterable[IndexedFile]) -> list[list[IndexedFile]]:
    """The files of each instance together, in the order of their paths."""
    found: dict[str, list[IndexedFile]] = {}
    for file in files:
        found.setdefault(file.sop_instance_uid, []).append(file)
    for copies in found.values():
        if len(copies) > 1:
            copies.sort(key=lambda file: file.path)
    return [*found.values()]


def chunks(wanted: Iterable[list[IndexedFile]], size: int) -> Iterator[list[IndexedFile]]:
    """Divide files into chunks of so many; the copies of one instance stay together."""
    chunk: list[IndexedFile] = []
    for copies in wanted:
        if chunk and len(chunk) + len(copies) > size:
            yield chunk
            chunk = []
        chunk.extend(copies)
    if chunk:
        yield chunk


def batches(wanted: Iterable[list[IndexedFile]], *, data: bool) -> Iterator[list[list[IndexedFile]]]:
    """Divide instances into what one job reads."""
    batch: list[list[IndexedFile]] = []
    n_bytes = 0
    for copies in wanted:
        cost = sum(file.size for file in copies if data and file.size <= _WHOLE)
        if batch and (len(batch) >= _BATCH or n_bytes + cost > _BATCH_BYTES):
            yield batch
            batch, n_bytes = [], 0
        batch.append(copies)
        n_bytes += cost
    if batch:
        yield batch
