"""The members of zip and tar archives, one after the other, as files without a name.

A member's name is shown and nothing else: what is in it decides where it goes. An archive is taken for a stranger's:
it may unpack to so many times its size, have so many members, and hold no archives that are opened.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from dcm._atomic import TempFile
from dcm.errors import InvalidDicomError
from dcm.peek import peek_file
from dcm.sort._look import is_archive
from dcm.store._tree import store_error

__all__ = ["Member", "is_archive_file", "members"]

_CHUNK = 1 << 20
_FREE = 256 << 20  # what any archive may unpack to
_RATIO = 200  # and how many times its own size beyond that; images are packed to a half, seldom to a tenth
_MAX_MEMBERS = 1_000_000
_MAX_DIRECTORY = 256 << 20  # of a zip archive: it is read at once
_MAX_READ = 16 << 20  # in one piece, by tarfile: headers, which say themselves how long they are

# What `is_archive` knows, and no module of all Pythons that we run on can unpack.
_NOT_SUPPORTED = {b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf\x27\x1c": "7-Zip", b"Rar!\x1a\x07": "RAR"}

_BOMB = f"unpacks to more than {_RATIO} times the size of its archive"
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, KeyError, OverflowError),
)


class Member(NamedTuple):
    """A member of an archive.

    Attributes
    ----------
    name : str
        Its name; '' where it is the archive itself that cannot be read, or not to its end.
    temp : TempFile or None
        What is in it, whole. It belongs to whoever gets it.
    state, reason : str
        Where there is none: why.
    """

    name: str
    temp: TempFile | None
    state: str = ""
    reason: str = ""


class _BombError(Exception):
    """It unpacks to too much."""


class _NoTarError(Exception):
    """It is compressed, and something else than a tar archive."""


class _NotSupportedError(Exception):
    """It is packed in a way that nothing here can unpack."""


class _Budget:
    """How many bytes an archive may still unpack to."""

    def __init__(self, size: int) -> None:
        self.left = _FREE + _RATIO * size

    def take(self, n: int) -> None:
        self.left -= n
        if self.left < 0:
            raise _BombError


def is_archive_file(path: str) -> bool:
    """Whether a file is a zip archive, or a tar archive, or looks like one, damaged perhaps."""
    try:
        if is_archive(_head(path)) or zipfile.is_zipfile(path):
            return True
        with _opened_tar(path, _Budget(0)):
            return True
    except (OSError, _BombError, _NoTarError, *_DAMAGE):
        return False


def _is_zip(path: str) -> bool:
    # By the end alone, a tar archive whose last member is a zip archive would be one, too.
    head = _head(path)
    return head.startswith(b"PK") or (not is_archive(head) and zipfile.is_zipfile(path))


def _check_supported(path: str) -> None:
    head = _head(path)
    for magic, name in _NOT_SUPPORTED.items():
        if head.startswith(magic):
            raise _NotSupportedError(name)


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(512)


def members(path: str, new_temp: Callable[[], TempFile]) -> Iterator[Member]:
    """Go through an archive.

    Parameters
    ----------
    path : str
        The archive.
    new_temp : callable
        Makes an empty file.

    Yields
    ------
    Member
        All that are no directories, in their order. What is damaged, encrypted, too much or no file is named; the last
        one may be the archive itself, where not all of it could be read.
    """
    try:
        budget = _Budget(os.stat(path).st_size)  # noqa: PTH116
        _check_supported(path)
        found = _zip_members if _is_zip(path) else _tar_members
        yield from found(path, budget, new_temp)
    except _BombError:
        yield Member("", None, "unreadable", f"not read to its end: it {_BOMB}")
    except _NotSupportedError as exc:
        yield Member("", None, "unreadable", f"packed by {exc}, which is not supported: unpack it first")
    except _NoTarError:
        yield Member("", None, "unreadable", "compressed, and no tar archive: unpack it first")
    except OSError as exc:
        yield Member("", None, "unreadable", f"not read to its end: {exc.strerror or exc}")
    except _DAMAGE:
        yield Member("", None, "unreadable", "not read to its end: it is damaged")


def _unpacked(name: str, stream: IO[bytes], take: Callable[[int], None], new_temp: Callable[[], TempFile]) -> Member:
    """What is in one member, in a file."""
    temp: TempFile | None = new_temp()
    assert temp is not None
    try:
        while chunk := stream.read(_CHUNK):
            take(len(chunk))
            first = not temp.size
            if first and is_archive(chunk[:512]):
                return Member(name, None, "foreign", "an archive in an archive: not opened")
            _write(temp, chunk)
            if first and len(chunk) == _CHUNK:
                peek_file(temp.fd)  # raises where it is nothing for us, however long it may be
        member, temp = Member(name, temp), None
    except InvalidDicomError:
        return Member(name, None, "foreign", "not a DICOM file")
    finally:
        if temp is not None:
            temp.discard()
    return member


def _write(temp: TempFile, chunk: bytes) -> None:
    try:
        temp.write(chunk)
    except OSError as exc:  # not the archive's fault: it ends the run
        raise store_error(exc, "a temporary file") from exc


# -- zip ---------------------------------------------------------------------------------------------------------------


def _zip_members(path: str, budget: _Budget, new_temp: Callable[[], TempFile]) -> Iterator[Member]:
    with open(path, "rb") as file:
        if _directory_size(file) > _MAX_DIRECTORY:
            yield Member("", None, "unreadable", "not read: its directory is too large")
            return
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            if len(infos) > _MAX_MEMBERS:
                yield Member("", None, "unreadable", f"not read: it has more than {_MAX_MEMBERS:,} members")
                return
            for info in infos:
                if not info.is_dir():
                    yield _zip_member(archive, info, budget, new_temp)


def _zip_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: _Budget, new_temp: Callable[[], TempFile]
) -> Member:
    name = info.filename
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return Member(name, None, "foreign", "not a regular file")
    if info.flag_bits & 0x1:
        return Member(name, None, "unreadable", "encrypted")
    try:
        with archive.open(info) as stream:
            return _unpacked(name, stream, budget.take, new_temp)
    except NotImplementedError:
        return Member(name, None, "unreadable", "packed in a way that is not known")
    except _DAMAGE:
        return Member(name, None, "unreadable", "damaged")


def _directory_size(file: IO[bytes]) -> int:
    """How long the central directory of a zip archive is, as far as its file can tell.

    The module zipfile reads all of it. It lies between its offset and its end record; how many members there are is
    told in the record, and need not be true.
    """
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - (1 << 16) - 22)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    size = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    # 0xFFFFFFFF: the true one is in the record of ZIP64, right before.
    locator = tail.rfind(b"PK\x06\x06", 0, max(at, 0))
    if size == 0xFFFFFFFF and locator >= 0:
        size = int.from_bytes(tail[locator + 40 : locator + 48], "little")
    return min(size, end)


# -- tar ---------------------------------------------------------------------------------------------------------------


class _Forward(io.RawIOBase):
    """A stream that is unpacked while it is read, for tarfile: forward only, no more than the budget has.

    tarfile goes on by positions, and looks one byte back. It reads a header that says how long it is in one piece:
    nobody shall fill our memory by that.
    """

    def __init__(self, stream: io.BufferedIOBase, budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget
        self._at = 0  # of what tarfile wants to read next
        self._end = 0  # of what was read
        self._last = b""

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset < self._end - len(self._last):
            raise tarfile.ReadError("a tar archive that leads back to its beginning")
        self._at = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_READ:
            raise tarfile.ReadError("a header that is too long")
        while self._end < self._at:
            if not self._more(min(self._at - self._end, _CHUNK)):
                return b""
        if self._at < self._end:
            data = self._last[len(self._last) - (self._end - self._at) :][:size]
        else:
            data = self._more(size)
        self._at += len(data)
        return data

    def _more(self, n: int) -> bytes:
        parts = []
        while n and (data := self._stream.read(n)):
            self._budget.take(len(data))
            self._end += len(data)
            n -= len(data)
            parts.append(data)
        found = b"".join(parts)
        if found:
            self._last = (self._last + found)[-512:] if len(found) < 512 else found[-512:]
        return found

    def ended_well(self) -> bool:
        """Whether what was read ends with a block of zeros, as an archive does."""
        return self._last == bytes(512)


@contextlib.contextmanager
def _opened_tar(path: str, budget: _Budget) -> Iterator[tuple[tarfile.TarFile, _Forward]]:
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(open(path, "rb"))
        head = raw.read(6)
        raw.seek(0)
        stream: io.BufferedIOBase = raw
        if head.startswith(b"\x1f\x8b"):
            stream = stack.enter_context(gzip.GzipFile(fileobj=raw))
        elif head.startswith(b"BZh"):
            stream = stack.enter_context(bz2.BZ2File(raw))
        elif head.startswith(b"\xfd7zXZ\0"):
            stream = stack.enter_context(lzma.LZMAFile(raw))
        forward = _Forward(stream, budget)
        try:
            archive = stack.enter_context(tarfile.TarFile(fileobj=forward, mode="r"))
        except tarfile.ReadError as exc:
            if stream is not raw:
                raise _NoTarError from exc
            raise
        yield archive, forward


def _tar_members(path: str, budget: _Budget, new_temp: Callable[[], TempFile]) -> Iterator[Member]:
    n_members = 0
    with _opened_tar(path, budget) as (archive, forward):
        while (info := archive.next()) is not None:
            vars(archive)["members"] = []  # else it keeps all of them
            if info.isdir():
                continue
            n_members += 1
            if n_members > _MAX_MEMBERS:
                yield Member("", None, "unreadable", f"not read to its end: it has more than {_MAX_MEMBERS:,} members")
                return
            stream = archive.extractfile(info) if info.isreg() else None
            if stream is None:
                yield Member(info.name, None, "foreign", "not a regular file")
                continue
            with stream:
                member = _unpacked(info.name, stream, lambda n: None, new_temp)
            yield member
        if not forward.ended_well():
            yield Member("", None, "unreadable", "it ends without an end mark: some members may be missing")
