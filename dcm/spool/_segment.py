"""One segment of the log of a spool: a file of a fixed size that instances are appended to, batch after batch.

A file of its own for each instance costs a new inode, a name, and two syncs that write both. A segment has its name and
all of its blocks on the disk before the first instance comes: what a batch of them costs is the writing of their bytes.

::

    segment   header, 4096 bytes: magic, number, salt, size, checksum
              batch, batch, ...   each begins at a multiple of 4096
    batch     head: magic, salt, position, length, number of records
              for each record: number, when it arrived, where in the batch it is, bytes before the data set, bytes of
              it, checksum of these; and a checksum of the head
              records, each 8 bytes that say whether it is still needed, and a DICOM file: preamble, meta, data set

A batch counts when its records have the checksums that its head says: so it can be written in one go, and the disk be
waited for once. The salt is made anew for each use of a file: nothing that an earlier use has left in it, and nothing
that a sender has put into an instance, is taken for a batch.
"""

from __future__ import annotations

import errno
import os
import secrets
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from dcm._atomic import Buffer, left_after

__all__ = [
    "BLOCK",
    "LARGEST",
    "MOST_RECORDS",
    "Record",
    "Segment",
    "fill",
    "is_needed",
    "make_header",
    "mark_done",
]

BLOCK = 4096
LARGEST = 32 << 20
"""Bytes of a segment, at most."""
MOST_RECORDS = 64
"""In one batch."""

_SECTOR = 512
SEGMENT_MAGIC = b"dcm seg\x02"
BATCH_MAGIC = b"dcm bat\x02"
_SALT = 8
_NEEDED, DONE = bytes(8), b"is done\n"
HEADER = struct.Struct("<8sQ8sQ")
HEAD = struct.Struct("<8s8sQQI")  # then the records, and the checksum of all of that
RECORD = struct.Struct("<QQIIQI")
CHECK = struct.Struct("<I")
_IOV_MAX = 1000
FILL = 1 << 20
_NO_FALLOCATE = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})

# Size and times of a segment do not matter: they are not waited for where that can be said.
_sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class Record(NamedTuple):
    """An instance in a segment.

    Attributes
    ----------
    number : int
        Of its entry.
    received_ns : int
        When it arrived, in nanoseconds since 1970.
    offset : int
        Bytes before its data set: preamble and file meta information.
    size : int
        Bytes of the data set.
    position : int
        Where in the segment it begins.
    check : int
        The checksum of its bytes.
    """

    number: int
    received_ns: int
    offset: int
    size: int
    position: int
    check: int


class Segment:
    """A segment that batches are appended to, by one thread.

    Parameters
    ----------
    fd : int
        The file, open for writing, with its header; it is the segment's now.
    number, salt, size
        What the header says.
    """

    def __init__(self, fd: int, number: int, salt: bytes, size: int) -> None:
        self.fd = fd
        self.number = number
        self.salt = salt
        self.size = size
        self.end = BLOCK

    def close(self) -> None:
        """Close the file."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def has_room(self, sizes: Sequence[int]) -> bool:
        """Whether records of these sizes can be appended as one batch."""
        return self.end + _batch_size(sizes) <= self.size

    def append(
        self,
        records: Sequence[tuple[int, int, int, int]],
        images: Sequence[Sequence[Buffer]],
        step: Callable[[str], None],
    ) -> list[Record]:
        """Put a batch on stable storage.

        Parameters
        ----------
        records : sequence of tuple
            Number, when it arrived, offset and size of each.
        images : sequence of sequence of buffers
            The bytes of each, ``offset + size`` of them.
        step : callable
            Told the name of each step before it is done: write, fsync.

        Raises
        ------
        OSError
            It is not known what of it is there. Nothing may be appended any more.
        """
        position = self.end
        n_head = head_size(len(records))
        placed: list[Record] = []
        body: list[Buffer] = []
        at = n_head
        for (number, received_ns, offset, size), image in zip(records, images, strict=True):
            at += len(_NEEDED)
            placed.append(Record(number, received_ns, offset, size, position + at, checksum(image)))
            body += [_NEEDED, *image]
            at += offset + size
        length = _rounded(at, BLOCK)
        if length > at:
            body.append(bytes(length - at))  # whole blocks: none has to be read to write a part of it
        head = self._head(position, length, placed)
        step("write")
        _write(self.fd, [head, *body], position)
        step("fsync")
        _sync(self.fd)
        self.end = position + length
        return placed

    def _head(self, position: int, length: int, records: Sequence[Record]) -> bytes:
        parts = [HEAD.pack(BATCH_MAGIC, self.salt, position, length, len(records))]
        parts += (
            RECORD.pack(r.number, r.received_ns, r.position - position, r.offset, r.size, r.check) for r in records
        )
        head = b"".join(parts)
        return (head + CHECK.pack(zlib.crc32(head))).ljust(head_size(len(records)), b"\0")


def make_header(fd: int, number: int, size: int) -> Segment:
    """Begin to use a file, anew: what was in it is not in it any more. Its header is on stable storage then.

    Raises
    ------
    OSError
        It cannot be written.
    """
    salt = secrets.token_bytes(_SALT)
    header = HEADER.pack(SEGMENT_MAGIC, number, salt, size)
    _write(fd, [(header + CHECK.pack(zlib.crc32(header))).ljust(BLOCK, b"\0")], 0)
    _sync(fd)
    return Segment(fd, number, salt, size)


def is_needed(fd: int, position: int) -> bool:
    """Whether nobody has said of the record at a position that it is done with.

    Raises
    ------
    OSError
        It cannot be read.
    """
    return os.pread(fd, len(DONE), position - len(DONE)) != DONE


def mark_done(fd: int, position: int) -> None:
    """Say that nobody needs the record at a position any more. That gets to the disk at some time.

    Raises
    ------
    OSError
        It cannot be written.
    """
    os.pwrite(fd, DONE, position - len(DONE))


def fill(fd: int, size: int, *, written: bool) -> None:
    """Give an empty file all of its blocks, on stable storage.

    Parameters
    ----------
    fd : int
        The file.
    size : int
        How many bytes.
    written : bool
        Write zeros: a block that was never written costs more each time that one is. Without that it is only reserved.

    Raises
    ------
    OSError
        There is no room, or it cannot be written.
    """
    if _reserve(fd, size) and not written:
        os.fsync(fd)
        return
    # Through the page cache: what is written over pages that are there need not wait for new ones.
    zeros = memoryview(bytes(min(size, FILL)))
    at = 0
    while at < size:
        at += os.pwrite(fd, zeros[: size - at], at)
    os.fsync(fd)


def _reserve(fd: int, size: int) -> bool:
    """Have the file system set blocks aside; whether it can."""
    if not hasattr(os, "posix_fallocate"):
        return False
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as exc:
        if exc.errno not in _NO_FALLOCATE:
            raise
        return False
    return True


def _batch_size(sizes: Sequence[int]) -> int:
    return _rounded(head_size(len(sizes)) + sum(sizes) + len(_NEEDED) * len(sizes), BLOCK)


def head_size(n_records: int) -> int:
    # Whole sectors: a disk writes each of them, or does not.
    return _rounded(HEAD.size + RECORD.size * n_records + CHECK.size, _SECTOR)


def _rounded(n: int, unit: int) -> int:
    return -(-n // unit) * unit


def checksum(image: Iterable[Buffer]) -> int:
    """The checksum of the bytes of a record."""
    check = 0
    for buffer in image:
        check = zlib.crc32(buffer, check)
    return check


def _write(fd: int, buffers: Sequence[Buffer], position: int) -> None:
    """Write all of some buffers."""
    for start in range(0, len(buffers), _IOV_MAX):
        part: Sequence[Buffer] = buffers[start : start + _IOV_MAX]
        left = sum(len(buffer) for buffer in part)
        while left:
            n = os.pwritev(fd, part, position)
            if not n:
                raise OSError(errno.EIO, "nothing was written")
            position += n
            left -= n
            if left:
                part = list(left_after(part, n))
