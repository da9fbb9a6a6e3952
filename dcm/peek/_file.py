"""Looking at a file."""

from __future__ import annotations

import os
import stat

from dcm.errors import InvalidDicomError, StoreError
from dcm.part10 import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    FileMeta,
    read_meta,
)
from dcm.peek._header import NO_META, Header, head_like, head_of, scan_of
from dcm.peek._layout import layout_for, note_layout
from dcm.peek._order import LITTLE, UNDEFINED
from dcm.peek._scan import Scan
from dcm.peek._tables import LONG_VRS, QUERY_TAGS, SHORT_VRS, SOP_INSTANCE_UID

__all__ = ["guess_syntax", "peek_file", "peek_open_file"]

_FIRST_READ = 8 << 10  # the header of a typical image, its file meta information included, has 4 to 7 KiB
_MAX_META = 4 << 20
# A named pipe that nobody writes to must not stop us.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


def peek_file(file: str | os.PathLike[str] | int, tags: frozenset[int] = QUERY_TAGS) -> Header:
    """Look at a DICOM file: who it is, its query attributes, and whether it is all there.

    One read of 8 KiB does for most; no value that is not wanted is read.

    Parameters
    ----------
    file : path or int
        A path, or a file descriptor that can be read at any position; its own position is left alone.
    tags : frozenset of int, optional
        The attributes to read, of the top level.

    Returns
    -------
    Header

    Raises
    ------
    InvalidDicomError
        If it is not a DICOM file. One without preamble and file meta information (PS3.10 section 7.1) is one if its
        first element looks right, and it reads well to the end or as far as to its SOP Instance UID.
    StoreError
        If it cannot be read.
    """
    try:
        if isinstance(file, int):
            return peek_open_file(file, os.fstat(file), tags)[0]
        fd = os.open(file, _OPEN_FLAGS)
        try:
            return peek_open_file(fd, os.fstat(fd), tags)[0]
        finally:
            os.close(fd)
    except OSError as exc:
        raise StoreError(f"cannot read {_name(file)}: {exc.strerror or exc}") from exc
    except InvalidDicomError as exc:
        raise InvalidDicomError(f"{_name(file)}: {exc.message}") from exc


def _name(file: str | os.PathLike[str] | int) -> str:
    return f"file descriptor {file}" if isinstance(file, int) else os.fsdecode(file)


def peek_open_file(fd: int, status: os.stat_result, tags: frozenset[int]) -> tuple[Header, bytes]:
    """Look at an open file.

    Parameters
    ----------
    fd : int
        The file.
    status : os.stat_result
        What fstat() has just said of it.
    tags : frozenset of int
        The attributes to read.

    Returns
    -------
    header : Header
    window : bytes
        The first bytes of the file; all of a small one.

    Raises
    ------
    InvalidDicomError
        As `peek_file`; the message does not name the file.
    OSError
        It cannot be read.
    """
    if not stat.S_ISREG(status.st_mode):
        raise InvalidDicomError("not a regular file")
    size = status.st_size
    window = os.pread(fd, _FIRST_READ, 0)
    layout = layout_for(size, tags)
    if layout is not None:
        found = layout.found_in(window)
        if found is not None:
            return head_like(layout.header, found), window
    return _scanned(fd, size, window, tags), window


def _scanned(fd: int, size: int, window: bytes, tags: frozenset[int]) -> Header:
    """The header of a file that is not known to be like another one."""
    meta = read_meta(window, need_prefix=False)
    while meta is not None and meta.truncated and len(window) < min(size, _MAX_META):
        window = os.pread(fd, min(max(meta.data_offset, 4 * len(window)), _MAX_META), 0)
        meta = read_meta(window, need_prefix=False)
    if meta is not None and meta.truncated:
        return _without_data(meta, tags)

    start = 0 if meta is None else meta.data_offset
    syntax = "" if meta is None else meta.transfer_syntax_uid
    declared = bool(syntax)
    if not declared:
        syntax = guess_syntax(window[start : start + 8], size - start, has_meta=meta is not None)

    def read(pos: int, n: int) -> bytes:
        return os.pread(fd, n, pos)

    scan = scan_of(window, start, size, read, syntax, tags)
    if meta is None:
        if not scan.complete and SOP_INSTANCE_UID not in scan.found:
            raise InvalidDicomError("not a DICOM file: no prefix, and no data set that could be read")
        scan.problems.insert(0, "no preamble and no file meta information")
    elif not declared:
        scan.problems.insert(0, "no transfer syntax in the file meta information")
    header = head_of(scan, syntax, meta or NO_META)
    if declared and meta is not None and scan.complete:
        note_layout(header, scan.found, window, size, meta)
    return header


def _without_data(meta: FileMeta, tags: frozenset[int]) -> Header:
    """The header of a file of which not even the file meta information is all there."""
    scan = Scan(b"", 0, 0, 0, None, LITTLE, False, tags)
    scan.complete = False
    scan.problems.append("ends within the file meta information")
    return head_of(scan, meta.transfer_syntax_uid, meta)


def guess_syntax(head: bytes, size: int, *, has_meta: bool) -> str:
    """The transfer syntax of a data set that begins with these bytes, as pydicom would guess it."""
    little, big = int.from_bytes(head[:2], "little"), int.from_bytes(head[:2], "big")
    if len(head) == 8:
        if head[4:6].decode("latin-1") in SHORT_VRS | LONG_VRS:
            # Read in the wrong order, group 0008 is 0800; a data set begins with one of the first groups.
            return EXPLICIT_VR_BIG_ENDIAN if little >= 0x0400 > big else EXPLICIT_VR_LITTLE_ENDIAN
        length = int.from_bytes(head[4:], "little")
        if has_meta or (0 < little < 0x0400 and (length == UNDEFINED or length <= size - 8)):
            return IMPLICIT_VR_LITTLE_ENDIAN
    if has_meta:
        return EXPLICIT_VR_LITTLE_ENDIAN  # it hardly matters: there is no data set
    raise InvalidDicomError("not a DICOM file: no prefix, and nothing that looks like a data set")
