"""Reading a segment of the log of a spool, which may have been damaged, or not have been finished."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator

from dcm.spool._segment import (
    BATCH_MAGIC,
    BLOCK,
    CHECK,
    FILL,
    HEAD,
    HEADER,
    MOST_RECORDS,
    RECORD,
    SEGMENT_MAGIC,
    Record,
    checksum,
    head_size,
)

__all__ = ["Batch", "DamagedSegmentError", "SegmentReader", "read_all", "read_header"]


class DamagedSegmentError(Exception):
    """A segment is not what was written. Never leaves this package."""


class Batch:
    """Some records that were appended together.

    Attributes
    ----------
    length : int
        Bytes of it.
    records : list of Record
        What is in it.
    behind_damage : bool
        What is before it was a batch, and is none any more.
    """

    def __init__(self, fd: int, length: int, records: list[Record]) -> None:
        self.length = length
        self.records = records
        self.behind_damage = False
        self._fd = fd

    def is_sound(self, record: Record) -> bool:
        """Whether a record is what was written: it is read for that."""
        try:
            data = read_all(self._fd, record.offset + record.size, record.position)
        except OSError:
            return False
        return checksum([data]) == record.check


class SegmentReader:
    """What is in a segment.

    Parameters
    ----------
    fd : int
        The file, which stays the caller's.
    number, salt, size
        What its header says.

    Attributes
    ----------
    end : int
        Where what was found ends.
    """

    def __init__(self, fd: int, number: int, salt: bytes, size: int) -> None:
        self.number = number
        self.end = BLOCK
        self._fd = fd
        self._salt = salt
        self._size = size

    def batches(self) -> Iterator[Batch]:
        """Yield the batches in it, in the order in which they were appended; sets `end`.

        The last one may be there in part: see `Batch.is_sound`. What lies between two batches, and is none, was one
        before it was damaged, or cannot be read.
        """
        self.end = position = BLOCK
        damaged = False
        while True:
            batch = self._read_batch(position)
            if batch is None:
                position = self._next_head(position + BLOCK)
                if not position:
                    return
                damaged = True
                continue
            batch.behind_damage = damaged
            yield batch
            self.end = position = position + batch.length
            damaged = False

    def _next_head(self, start: int) -> int:
        """Where the next head of a batch is; 0 for nowhere."""
        wanted = BATCH_MAGIC + self._salt
        for at in range(start, self._size, FILL):
            n = min(FILL, self._size - at)
            data = _readable(self._fd, n, at)
            if len(data) < n:  # there is a bad sector: around that, block by block
                data = b"".join(_readable(self._fd, BLOCK, at + i).ljust(BLOCK, b"\0") for i in range(0, n, BLOCK))
            for i in range(0, len(data), BLOCK):
                if data.startswith(wanted, i) and self._read_batch(at + i) is not None:
                    return at + i
        return 0

    def _read_batch(self, position: int) -> Batch | None:
        """The batch at a position; None where there is none."""
        head = _readable(self._fd, head_size(MOST_RECORDS), position)
        if len(head) < HEAD.size:
            return None
        magic, salt, own, length, count = HEAD.unpack_from(head)
        end = HEAD.size + RECORD.size * count
        if (magic, salt, own) != (BATCH_MAGIC, self._salt, position) or not 0 < count <= MOST_RECORDS:
            return None
        if len(head) < end + CHECK.size or CHECK.unpack_from(head, end)[0] != zlib.crc32(head[:end]):
            return None
        records = [
            Record(number, received_ns, offset, size, position + at, check)
            for number, received_ns, at, offset, size, check in RECORD.iter_unpack(head[HEAD.size : end])
        ]
        return Batch(self._fd, length, records)


def read_header(fd: int) -> SegmentReader | None:
    """The segment in a file; None where it was never used as one. The file stays the caller's as long as he likes.

    Raises
    ------
    DamagedSegmentError
        It begins with something else.
    OSError
        It cannot be read.
    """
    data = os.pread(fd, HEADER.size + CHECK.size, 0)
    if not any(data):
        return None
    if len(data) == HEADER.size + CHECK.size:
        magic, number, salt, size = HEADER.unpack_from(data)
        if magic == SEGMENT_MAGIC and CHECK.unpack_from(data, HEADER.size)[0] == zlib.crc32(data[: HEADER.size]):
            return SegmentReader(fd, number, salt, size)
    raise DamagedSegmentError("its header is not what was written")


def _readable(fd: int, n: int, position: int) -> bytes:
    """What can be read of so many bytes, nothing where the disk gives nothing."""
    try:
        return os.pread(fd, n, position)
    except OSError:
        return b""


def read_all(fd: int, n: int, position: int) -> bytes:
    """Read so many bytes: where a sector is bad, the system gives those before it, without a word.

    Raises
    ------
    OSError
        There are not so many, or they cannot be read.
    """
    data = os.pread(fd, n, position)
    if len(data) == n:
        return data
    parts = [data]
    left = n - len(data)
    while left:
        data = os.pread(fd, left, position + n - left)
        if not data:
            raise OSError(errno.EIO, "it is cut short")
        parts.append(data)
        left -= len(data)
    return b"".join(parts)
