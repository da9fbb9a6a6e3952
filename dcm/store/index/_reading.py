"""Reading one file for the index: what of it is kept, or why it is left out."""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import NamedTuple

from dcm.attrs import Value
from dcm.errors import InvalidDicomError, StoreError
from dcm.levels import QueryLevel
from dcm.peek import QUERY_TAGS, Header, peek_file
from dcm.query._elements import UID_TAGS, up_to
from dcm.store.index._codec import PackedHeader, pack_header, pack_instance
from dcm.store.index._stamp import LeftOut, Stamp, stamp_of

__all__ = ["FileReader", "Finding", "LeftOut", "Stamp", "stamp_of"]

_CHARSET = 0x00080005
_IDENTITY = frozenset({0x00080016, 0x00080018})
# Image type, dates of instance, acquisition and content, frames, rows, columns: an image's, but seldom only its own.
_OFTEN_SHARED = frozenset({0x00080008, 0x00080012, 0x00080022, 0x00080023, 0x00280008, 0x00280010, 0x00280011})
COMMON_TAGS = frozenset([tag for tag in QUERY_TAGS if tag in up_to(QueryLevel.SERIES)]) | _OFTEN_SHARED
"""What the instances of a series have in common, or nearly all of them."""
OWN_TAGS = QUERY_TAGS - COMMON_TAGS - _IDENTITY
"""What each instance has for itself, besides its UIDs."""
_OWN_IN_ORDER = sorted(OWN_TAGS)

_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"  # Media Storage Directory: a DICOMDIR
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
# Time stamps are coarse (2 s on FAT), and what is written right after a reading may not change them. So a file that was
# written a moment before it was read is read once more; "before" by the clock of a server that may be ahead of ours.
_RACY_NS = 3 * 10**9
_AHEAD_NS = 3600 * 10**9
_MAX_KNOWN = 4096
_NO_STAMP = Stamp(0, 0, 0)


class Finding(NamedTuple):
    """What a file turned out to be: an instance with a header, a UID and packed values, or nothing that can be used."""

    stamp: Stamp
    trusted: bool
    header: PackedHeader | None = None
    sop_instance_uid: str = ""
    data: bytes = b""
    left_out: LeftOut | None = None


class FileReader:
    """Reads files. One thread may use it.

    It remembers the headers that it has packed: the second instance of a series costs a third of what the first did.
    """

    def __init__(self) -> None:
        self._known: dict[object, PackedHeader | LeftOut] = {}

    def read(self, path: str | bytes) -> Finding | None:
        """Read a file.

        Returns
        -------
        Finding or None
            None where there is no such file (any more).
        """
        try:
            fd = os.open(path, _OPEN_FLAGS)
        except OSError as exc:
            return _failed(exc)
        try:
            return self._read(fd)
        except OSError as exc:
            return _failed(exc)
        finally:
            os.close(fd)

    def _read(self, fd: int) -> Finding | None:
        now = time.time_ns()
        status = os.fstat(fd)
        stamp = stamp_of(status)
        trusted = not now - _RACY_NS < stamp.mtime_ns < now + _AHEAD_NS
        if not stat.S_ISREG(status.st_mode):
            return Finding(stamp, False, left_out=LeftOut("foreign", "not a regular file"))
        try:
            header = peek_file(fd)
        except InvalidDicomError:
            return Finding(stamp, trusted, left_out=LeftOut("foreign", "not a DICOM file" if stamp.size else "empty"))
        except StoreError as exc:
            cause = exc.__cause__
            return _failed(cause if isinstance(cause, OSError) else OSError(errno.EIO, str(exc)), stamp)
        return self.judge(header, stamp, trusted)

    def judge(self, header: Header, stamp: Stamp, trusted: bool) -> Finding:
        """Decide what to keep of a file whose header has been read."""
        uid = header.sop_instance_uid
        if header.sop_class_uid == _DIRECTORY_CLASS:
            return Finding(stamp, trusted, left_out=LeftOut("foreign", "a DICOMDIR"))
        if header.complete is False:
            return Finding(stamp, trusted, left_out=LeftOut("truncated", "the data ends too early"))
        if not uid or "\\" in uid or not header.sop_class_uid:
            missing = "SOPClassUID" if uid and "\\" not in uid else "SOPInstanceUID"
            return Finding(stamp, trusted, left_out=LeftOut("unreadable", f"no {missing}"))
        packed, values = self._packed(header)
        if isinstance(packed, LeftOut):
            return Finding(stamp, trusted, left_out=packed)
        return Finding(stamp, trusted, packed, uid, pack_instance(values, uid, packed.digest))

    def _packed(self, header: Header) -> tuple[PackedHeader | LeftOut, list[Value]]:
        """The packed header, and the values of the instance itself."""
        found = dict(header.encoded)
        tags: list[int] = []
        vrs: list[str] = []
        values: list[Value] = []
        for tag in _OWN_IN_ORDER:
            if tag not in found:
                continue
            del found[tag]
            try:
                vr, value = header.element(tag)
            except InvalidDicomError:
                continue
            tags.append(tag)
            vrs.append(vr)
            values.append(value)
        for tag in _IDENTITY:
            found.pop(tag, None)
        # By its bytes: what is encoded alike is decoded once.
        key = (header.sop_class_uid, header.transfer_syntax_uid, *tags, *vrs, *found.items())
        packed = self._known.get(key)
        if packed is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            packed = self._known[key] = _pack(header, tags, vrs)
        return packed, values


def _pack(header: Header, tags: list[int], vrs: list[str]) -> PackedHeader | LeftOut:
    record = header.attributes.only(COMMON_TAGS).without({_CHARSET})
    for level in (QueryLevel.STUDY, QueryLevel.SERIES):
        uid = record.text(UID_TAGS[level])
        if not uid or "\\" in uid:
            return LeftOut("unreadable", f"{'several values of' if uid else 'no'} {level.uid_keyword}")
    return pack_header(record, header.sop_class_uid, header.transfer_syntax_uid, tags, vrs)


def _failed(exc: OSError, stamp: Stamp = _NO_STAMP) -> Finding | None:
    """A file that cannot be opened or read. It is never trusted: its mode may change, and its time stamp does not."""
    if exc.errno in (errno.ENOENT, errno.ESTALE, errno.ENOTDIR):
        return None
    return Finding(stamp, False, left_out=LeftOut("unreadable", os.strerror(exc.errno or errno.EIO)))
