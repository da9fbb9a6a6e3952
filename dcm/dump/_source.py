"""Where the bytes of a dump come from: a file, a pipe, deflated data. They are only ever read forwards."""

from __future__ import annotations

import os
import stat
from typing import Protocol

from dcm.errors import InvalidDicomError
from dcm.part10 import DEFLATED_SYNTAXES, FileMeta, read_meta
from dcm.peek._file import guess_syntax
from dcm.peek._inflate import Inflater, UnreadableError
from dcm.peek._scan import UNKNOWN_SIZE

__all__ = [
    "BytesSource",
    "FileSource",
    "InflatedSource",
    "Layout",
    "NotDicomError",
    "Source",
    "StreamSource",
    "layout_of",
    "source_of",
]

FIRST_READ = 16 << 10  # the header of a typical image, its file meta information included, has 4 to 7 KiB
_MAX_META = 4 << 20
_CHUNK = 1 << 20
_INFLATE_LIMIT = 16 << 30  # memory does not grow with it, and who waits for it can see what comes


class NotDicomError(InvalidDicomError):
    """Nothing in a file looks like DICOM."""


class Source(Protocol):
    """Bytes that can be read forwards.

    Attributes
    ----------
    size : int
        How many there are, `UNKNOWN_SIZE` where only reading will tell.
    problem : str
        Why they ended before their end, if they did.
    """

    size: int
    problem: str

    def fetch(self, pos: int, n: int) -> bytes:
        """Give at least `n` bytes from `pos` on, fewer only at the end; not from before an earlier `pos`."""


class FileSource:
    """A regular file."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self.problem = ""

    def fetch(self, pos: int, n: int) -> bytes:
        """Read at a position."""
        data = os.pread(self.fd, n, pos)
        while data and len(data) < n and pos + len(data) < self.size:
            more = os.pread(self.fd, n - len(data), pos + len(data))
            if not more:
                break
            data += more
        return data


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.problem = ""

    def fetch(self, pos: int, n: int) -> bytes:
        """Cut out a piece."""
        return self.data[pos : pos + n]


class StreamSource:
    """A pipe, or whatever else can only be read from its beginning to its end."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.size = UNKNOWN_SIZE
        self.problem = ""
        self._base = 0
        self._data = b""

    def fetch(self, pos: int, n: int) -> bytes:
        """Read on, and forget what lies before `pos`."""
        pieces, end = [self._data], self._base + len(self._data)
        while end < pos + n:
            more = os.read(self.fd, _CHUNK)
            if not more:
                break
            if end <= pos:
                pieces, self._base = [], end
            pieces.append(more)
            end += len(more)
        skipped = min(max(0, pos - self._base), end - self._base)
        self._data = b"".join(pieces)[skipped:]
        self._base += skipped
        return self._data if self._base == pos else b""


class InflatedSource:
    """What comes out of deflated data (PS3.5 section A.5), as far as it can be inflated."""

    def __init__(self, deflated: Source, start: int) -> None:
        self.size = UNKNOWN_SIZE
        self.problem = ""
        self._inflater = Inflater(deflated.fetch, start, limit=_INFLATE_LIMIT)

    def fetch(self, pos: int, n: int) -> bytes:
        """Inflate on; where that fails, give what came until then."""
        pieces = []
        while n > _CHUNK:  # all at once, each step would copy all that came before it
            pieces.append(self._fetch(pos, _CHUNK)[:_CHUNK])
            if len(pieces[-1]) < _CHUNK:
                return b"".join(pieces)
            pos, n = pos + _CHUNK, n - _CHUNK
        pieces.append(self._fetch(pos, n))
        return b"".join(pieces)

    def _fetch(self, pos: int, n: int) -> bytes:
        try:
            return self._inflater.fetch(pos, n)
        except UnreadableError as exc:
            self.problem = exc.problem
        data, low, high = b"", 0, n  # `low` bytes can be had, `high` cannot
        while high - low > 1:
            middle = (low + high) // 2
            try:
                data = self._inflater.fetch(pos, middle)
                low = middle
            except UnreadableError:
                high = middle
        return data


def source_of(fd: int) -> FileSource | StreamSource:
    """A source for what was opened.

    Raises
    ------
    InvalidDicomError
        It is a directory.
    """
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        raise InvalidDicomError("a directory, not a file")
    if stat.S_ISREG(status.st_mode) and os.lseek(fd, 0, os.SEEK_CUR) == 0:
        return FileSource(fd, status.st_size)
    return StreamSource(fd)


class Layout:
    """What a file consists of.

    Attributes
    ----------
    window : bytes
        Its first bytes.
    meta_start, meta_end : int
        Where the file meta information is; twice 0 where there is none.
    transfer_syntax_uid : str
        That of the data set, guessed where the file does not say it.
    deflated : bool
        Whether the data set is.
    """

    __slots__ = ("deflated", "meta_end", "meta_start", "transfer_syntax_uid", "window")

    def __init__(self, window: bytes, meta: FileMeta | None, transfer_syntax_uid: str) -> None:
        self.window = window
        self.meta_start = 132 if meta is not None and window[128:132] == b"DICM" else 0
        self.meta_end = 0 if meta is None else meta.data_offset
        self.transfer_syntax_uid = transfer_syntax_uid
        self.deflated = transfer_syntax_uid in DEFLATED_SYNTAXES


def layout_of(source: Source) -> Layout:
    """Look at the beginning of a file.

    Raises
    ------
    NotDicomError
        If nothing in it looks like DICOM.
    """
    window = source.fetch(0, FIRST_READ)
    if not window:
        raise NotDicomError("the file is empty")
    meta = read_meta(window, need_prefix=False)
    while meta is not None and meta.truncated and FIRST_READ <= len(window) < min(source.size, _MAX_META):
        before = len(window)
        window = source.fetch(0, min(max(meta.data_offset, 4 * len(window)), _MAX_META))
        meta = read_meta(window, need_prefix=False)
        if len(window) <= before:
            break
    start = 0 if meta is None else meta.data_offset
    syntax = "" if meta is None else meta.transfer_syntax_uid
    if not syntax:
        try:
            syntax = guess_syntax(window[start : start + 8], source.size - start, has_meta=meta is not None)
        except InvalidDicomError as exc:
            raise NotDicomError(exc.message) from exc
    return Layout(window, meta, syntax)
