"""Reading a file to compare it: small values by pydicom, large binary ones as digests, never held in memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple

from dcm._unchanged import FileMark, opened, reader, unreadable
from dcm.attrs import BYTES_VRS, PIXEL_REPRESENTATION, SPECIFIC_CHARACTER_SET
from dcm.diff._data_sets import NOTHING, Side
from dcm.diff._differences import BytesDigest
from dcm.errors import DcmError, InvalidDicomError, StoreError
from dcm.normalize import little_endian_words, word_size
from dcm.part10 import (
    DEFLATED_SYNTAXES,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from dcm.peek import QUERY_TAGS, Header, inflate, peek_file, peek_open_file

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["CHUNK", "PIXEL_DATA", "DicomFile", "Stretch", "leave_out_same", "open_file"]

PIXEL_DATA = 0x7FE00010
CHUNK = 1 << 20
_UNDEFINED = 0xFFFFFFFF
_ITEM = b"\xfe\xff\x00\xe0"
# What is not read with the rest. A lookup table has 128 KiB at most, and has to be read: it may be US or OW.
_LARGE = 256 << 10
_LARGE_TEXT = 64 << 20
_INFLATE_LIMIT = 1 << 30
_PREFIX_END = 132
_CONTEXT = (SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION)
_KEPT_GROUPS = frozenset({0x0028, 0x7FE0})
_CONVERSION_ERRORS = (
    *(ArithmeticError, AttributeError, LookupError, NotImplementedError, RecursionError, TypeError, ValueError),
    struct.error,
)


class Stretch(NamedTuple):
    """Where a value is in a file, and by which VR."""

    vr: str
    offset: int
    length: int
    encapsulated: bool


class DicomFile:
    """A file that is open. Get one by `open_file`.

    Attributes
    ----------
    path : Path
    header : Header
    size : int
        Of the whole file.
    file : BinaryIO
        Where the data set is; for a deflated one, in memory.
    pixels : Stretch or None
        Where the pixel data is, once `side` was called.
    """

    def __init__(self, path: Path, header: Header, mark: FileMark, fd: int, file: BinaryIO) -> None:
        self.path = path
        self.header = header
        self.size = mark.size
        self.file = file
        self.pixels: Stretch | None = None
        self._encoded = reader(path, fd)
        self._start = header.data_offset

    @property
    def big_endian(self) -> bool:
        """The byte order of the data set."""
        return self.header.transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN

    def head(self) -> bytes:
        """Preamble and file meta information."""
        return self._encoded(0, min(self.header.data_offset, self.size))

    def chunks(self) -> Iterator[bytes]:
        """The data set as it is encoded, in pieces of equal size."""
        for offset in range(self.header.data_offset, self.size, CHUNK):
            yield self._encoded(offset, min(CHUNK, self.size - offset))

    def meta(self) -> Side:
        """The file meta information."""
        head = self.head()
        if not head:
            return NOTHING
        start = _PREFIX_END if head[_PREFIX_END - 4 : _PREFIX_END] == b"DICM" else 0
        return self._side(self._read(io.BytesIO(head[start:]), EXPLICIT_VR_LITTLE_ENDIAN, None), {})

    def data_set(self) -> Dataset:
        """The data set as it is encoded, for `side`; large values are still in the file.

        Raises
        ------
        InvalidDicomError
            It cannot be read, or it inflates to more than 1 GiB.
        """
        syntax = self.header.transfer_syntax_uid
        if syntax in DEFLATED_SYNTAXES:
            self.file = io.BytesIO(inflate(self.read(self._start, self.size), _INFLATE_LIMIT))
            self._start, syntax = 0, EXPLICIT_VR_LITTLE_ENDIAN
        self.file.seek(self._start)
        return self._read(self.file, syntax, _LARGE)

    def side(self, ds: Dataset) -> Side:
        """What a data set means that `data_set` has read.

        Raises
        ------
        InvalidDicomError
            It cannot be read, or sequences are nested too deeply.
        """
        from pydicom.errors import BytesLengthException

        digests: dict[int, BytesDigest] = {}
        for tag in list(ds.keys()):
            raw: Any = ds.get_item(tag, keep_deferred=True)
            if not raw.is_raw:
                continue
            if tag == PIXEL_DATA:
                self.pixels = self._stretch(_vr_of(ds, raw), raw)
            if raw.value is not None or raw.length <= _LARGE:
                continue
            vr = _vr_of(ds, raw)
            if vr in BYTES_VRS or vr.endswith("OW") or (vr != "SQ" and raw.length > _LARGE_TEXT):
                digests[int(tag)] = self.digest(self._stretch(vr, raw))
                del ds[tag]
            else:
                value = self.read(raw.value_tell, raw.length)
                try:
                    ds[tag] = raw._replace(value=value)  # pydicom converts some values here
                except (BytesLengthException, *_CONVERSION_ERRORS):
                    digests[int(tag)] = self.digest(self._stretch("UN", raw))
                    del ds[tag]
        return self._side(ds, digests)

    def _side(self, ds: Dataset, digests: dict[int, BytesDigest]) -> Side:
        try:
            return Side.of(ds, digests)
        except DcmError as exc:
            raise InvalidDicomError(f"{self.path}: {exc.message}") from exc
        except Exception as exc:
            raise self._invalid(exc) from exc

    def _read(self, file: BinaryIO, syntax: str, defer_size: int | None) -> Dataset:
        from pydicom.filereader import read_dataset

        try:
            return read_dataset(
                file, syntax == IMPLICIT_VR_LITTLE_ENDIAN, syntax != EXPLICIT_VR_BIG_ENDIAN, defer_size=defer_size
            )
        except Exception as exc:
            if isinstance(exc, OSError) and exc.errno:  # pydicom raises others for what is in the file
                raise unreadable(os.fspath(self.path), exc) from exc
            raise self._invalid(exc) from exc

    def _invalid(self, exc: Exception) -> InvalidDicomError:
        why = "sequences are nested too deeply" if isinstance(exc, RecursionError) else f"pydicom cannot read it: {exc}"
        return InvalidDicomError(f"{self.path}: {why}")

    def read(self, offset: int, n: int) -> bytes:
        """A part of the file that the data set is in; less of it where that ends."""
        try:
            self.file.seek(offset)
            return self.file.read(n)
        except OSError as exc:
            raise unreadable(os.fspath(self.path), exc) from exc

    def _stretch(self, vr: str, raw: Any) -> Stretch:
        if raw.length != _UNDEFINED:
            return Stretch(vr, raw.value_tell, raw.length, encapsulated=False)
        end = raw.value_tell
        while (item := self.read(end, 8))[:4] == _ITEM and len(item) == 8:  # what is encapsulated is little endian
            end += 8 + int.from_bytes(item[4:], "little")
        return Stretch(vr, raw.value_tell, end - raw.value_tell, encapsulated=True)

    def pieces(self, where: Stretch, word: int) -> Iterator[bytes]:
        """A value, little endian, piece by piece; what is not there any more is left out."""
        for offset in range(where.offset, where.offset + where.length, CHUNK):
            piece = self.read(offset, min(CHUNK, where.offset + where.length - offset))
            if not piece:
                return
            yield little_endian_words(piece, word) if self.big_endian and not where.encapsulated else piece

    def digest(self, where: Stretch) -> BytesDigest:
        """The digest of a value, as :mod:`dcm.normalize` would have it."""
        total, sha256 = 0, hashlib.sha256()
        for piece in self.pieces(where, word_size(where.vr)):
            sha256.update(piece)
            total += len(piece)
        if total % 2:
            sha256.update(b"\0")
        return BytesDigest(total + total % 2, sha256.hexdigest())


def leave_out_same(left: Dataset, right: Dataset) -> None:
    """Take out of two data sets what is encoded in the same way in both: it need not be decoded.

    What decides how others are to be read stays, and so does all that is about pixels.
    """
    if not all(_is_same(left, right, tag) for tag in _CONTEXT):
        return
    same_blocks: dict[int, bool] = {}
    for tag in list(left.keys()):
        if tag >> 16 in _KEPT_GROUPS or tag in _CONTEXT:
            continue
        if tag & 0x10000:
            block = tag & 0xFFFF0000 | tag >> 8 & 0xFF
            same = same_blocks.get(block)
            if same is None:
                same = same_blocks[block] = _is_same(left, right, block)
            if not same or tag & 0xFFFF <= 0xFF:
                continue
        if tag in right and _is_same(left, right, tag):
            del left[tag], right[tag]


def _is_same(left: Dataset, right: Dataset, tag: int) -> bool:
    """Whether an element is encoded in the same way, or is on neither side; False where nobody can tell any more."""
    raw = _raw(left, tag)
    return raw is not None and raw == _raw(right, tag)


def _raw(ds: Dataset, tag: int) -> tuple[Any, ...] | None:
    """An element as it is encoded, () where it is not there; None where it is not in memory, or not in this form."""
    raw: Any = ds.get_item(tag, keep_deferred=True) if tag in ds else None
    if raw is None:
        return ()
    if not raw.is_raw or raw.value is None:
        return None
    return raw.VR, raw.value, raw.is_implicit_VR, raw.is_little_endian


@contextlib.contextmanager
def open_file(path: str | os.PathLike[str], *, pipes: bool = False) -> Iterator[DicomFile]:
    """Open a file for as long as the block runs.

    Parameters
    ----------
    path : path
    pipes : bool, optional
        Also a named pipe: what comes through it, once somebody writes to it, is copied first.

    Raises
    ------
    InvalidDicomError
        It is no DICOM file.
    StoreError
        It cannot be read, or is not what it was before.
    """
    try:
        status = Path(path).stat()
    except OSError as exc:
        raise unreadable(os.fspath(path), exc) from exc
    if pipes and stat.S_ISFIFO(status.st_mode):
        with _copied(path) as copy:
            fd = copy.fileno()
            mark = FileMark.of(os.fstat(fd))
            with _named(path, fd) as stream:
                yield DicomFile(Path(path), _header(path, fd), mark, fd, stream)
        return
    mark = FileMark.of(status)
    header = peek_file(path)
    with opened(path, mark) as fd, _named(path, fd) as stream:
        yield DicomFile(Path(path), header, mark, fd, stream)


def _named(path: str | os.PathLike[str], fd: int) -> BinaryIO:
    """An open file under its name: pydicom puts that into its warnings."""
    return open(os.fspath(path), "rb", opener=lambda *_: os.dup(fd))


def _copied(path: str | os.PathLike[str]) -> IO[bytes]:
    """What comes through a pipe, as a file without a name: it is read here and there, and more than once."""
    with contextlib.ExitStack() as stack:
        copy = stack.enter_context(tempfile.TemporaryFile())
        try:
            with open(path, "rb") as pipe:
                while data := pipe.read(CHUNK):
                    _add(copy, data, path)
        except OSError as exc:
            raise unreadable(os.fspath(path), exc) from exc
        stack.pop_all()
    return copy


def _add(copy: IO[bytes], data: bytes, path: str | os.PathLike[str]) -> None:
    try:
        copy.write(data)
        copy.flush()
    except OSError as exc:
        where = f"a copy of {os.fspath(path)} in {tempfile.gettempdir()}"
        raise StoreError(f"cannot write {where}: {exc.strerror}", hint="TMPDIR says where it goes") from exc


def _header(path: str | os.PathLike[str], fd: int) -> Header:
    try:
        return peek_open_file(fd, os.fstat(fd), QUERY_TAGS)[0]
    except InvalidDicomError as exc:
        raise InvalidDicomError(f"{os.fspath(path)}: {exc.message}") from exc


def _vr_of(ds: Dataset, raw: Any) -> str:
    """The VR that pydicom gives to an element; UN where it knows none."""
    from pydicom.dataelem import convert_raw_data_element
    from pydicom.errors import BytesLengthException

    try:
        return str(convert_raw_data_element(raw._replace(value=b"", length=0), ds=ds).VR)
    except (BytesLengthException, *_CONVERSION_ERRORS):
        return "UN"
