"""One SOP instance: encoded bytes with an identity.

Data travels encoded. An `Instance` holds the bytes of a data set as they came, in memory, in a file that has no name
yet or in a file on disk, and knows which instance they are and how they are encoded. It is looked at
(`Instance.header`) only where somebody wants to know, and decoded (`Instance.dataset`) only where somebody asks
for it: what is passed on is exactly what was received.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from dcm._atomic import TempFile
from dcm._codec import decode, encode, transfer_syntax_of
from dcm._unchanged import FileMark, opened, reader, unreadable
from dcm.errors import InvalidDicomError
from dcm.part10 import pack_meta
from dcm.peek import Header, peek, peek_file

if TYPE_CHECKING:
    from types import TracebackType

    from pydicom import Dataset
    from pydicom.dataset import FileDataset

__all__ = ["Instance"]

Buffer: TypeAlias = bytes | bytearray | memoryview

_CHUNK_SIZE = 1 << 20
_HEAD_SIZE = 8192  # most headers are shorter


class Instance:
    """One SOP instance: the bytes of a data set, and its identity.

    Make one with `from_buffer`, `from_temp`, `from_file`, `from_reader` or `from_dataset`. Several threads may read it.
    Whoever has it last closes it, or uses it as a context manager: closing discards a temporary file.

    Attributes
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid : str
        Who it is and how it is encoded, as the sender or the file says.
    size : int
        Bytes of the encoded data set, without file meta information.
    source_ae : str
        Title of the AE that it came from, '' where it did not come from one.
    mark : FileMark or None
        What that file looked like then, where the file as a whole is this instance.
    fd : int
        That file, where it was kept open; else -1. Closed with the instance.
    whole_file : bytes
        What was in it then, where somebody has kept that; of use as long as the file still looks like that.
    temp : TempFile or None
        The file without a name that it arrived in: preamble, file meta information and data set. Owned by the
        instance.
    """

    __slots__ = (
        *("mark", "size", "sop_class_uid", "sop_instance_uid", "source_ae", "temp", "transfer_syntax_uid"),
        *("fd", "whole_file"),
        *("__weakref__", "_data", "_head", "_header", "_offset", "_path", "_reader"),
    )

    def __init__(self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae: str) -> None:
        self.sop_class_uid = sop_class_uid
        self.sop_instance_uid = sop_instance_uid
        self.transfer_syntax_uid = transfer_syntax_uid
        self.source_ae = source_ae
        self.size = 0
        self._path: str | os.PathLike[str] | None = None
        self.mark: FileMark | None = None
        self.temp: TempFile | None = None
        self.fd = -1
        self.whole_file = b""
        self._data: Buffer | None = None
        self._head = b""
        self._offset = 0
        self._header: Header | None = None
        self._reader: Callable[[int, int], bytes] | None = None

    @classmethod
    def from_buffer(
        cls,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        data: Buffer,
        source_ae: str = "",
        *,
        path: Path | None = None,
        mark: FileMark | None = None,
    ) -> Instance:
        """An instance whose data set is in memory.

        Parameters
        ----------
        sop_class_uid, sop_instance_uid, transfer_syntax_uid, source_ae : str
            Who it is, how it is encoded, and where it came from.
        data : bytes, bytearray or memoryview
            The encoded data set. It is kept, not copied: nobody may change it any more.
        path : Path, optional
            The file that it was read from, for reports.
        mark : FileMark, optional
            Of that file, where it can be copied or linked in place of the data.
        """
        self = cls(sop_class_uid, sop_instance_uid, transfer_syntax_uid, source_ae)
        self._data = data
        self.size = data.nbytes if isinstance(data, memoryview) else len(data)
        self._path = path
        self.mark = mark
        return self

    @classmethod
    def from_temp(
        cls,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        temp: TempFile,
        offset: int,
        head: bytes,
        source_ae: str = "",
    ) -> Instance:
        """An instance that was written to disk while it arrived.

        Parameters
        ----------
        sop_class_uid, sop_instance_uid, transfer_syntax_uid, source_ae : str
            Who it is, how it is encoded, and where it came from.
        temp : TempFile
            Holds all of it, preamble and file meta information first. The instance owns it from now on.
        offset : int
            Where in it the data set begins.
        head : bytes
            The first bytes of the data set: enough to look at it without the disk.
        """
        self = cls(sop_class_uid, sop_instance_uid, transfer_syntax_uid, source_ae)
        self.temp = temp
        self.size = temp.size - offset
        self._offset = offset
        self._head = bytes(head)
        return self

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Instance:
        """An instance in a file. Its header is read now, its data when it is asked for; it stays open in no case.

        Parameters
        ----------
        path : path
            A DICOM file; it may lack preamble and file meta information.

        Raises
        ------
        InvalidDicomError
            If it is not a DICOM file, or does not say which instance of which class it is. One that is cut short is
            an instance too: see the header.
        StoreError
            If it cannot be read.
        """
        try:
            status = Path(path).stat()  # before looking at it: if it changes now, that will be noticed later
        except OSError as exc:
            raise unreadable(os.fspath(path), exc) from exc
        header = peek_file(path)
        if not (header.sop_instance_uid and header.sop_class_uid):
            raise InvalidDicomError(f"{os.fspath(path)}: does not say which SOP instance it is")
        return cls.from_header(path, header, FileMark.of(status))

    @classmethod
    def from_header(
        cls, path: str | os.PathLike[str], header: Header, mark: FileMark, whole_file: bytes = b""
    ) -> Instance:
        """An instance in a file that has been looked at.

        Parameters
        ----------
        path : path
            The file.
        header : Header
            What was found in it, of both UIDs at least.
        mark : FileMark
            What the file looked like before that.
        whole_file : bytes, optional
            All of the file, where it was small enough to be read on that occasion.
        """
        uids = (header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid)
        self = cls.from_known(path, *uids, offset=header.data_offset, mark=mark)
        self._header = header
        self.whole_file = whole_file
        return self

    @classmethod
    def from_known(
        cls,
        path: str | os.PathLike[str],
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        *,
        offset: int,
        mark: FileMark,
        source_ae: str = "",
    ) -> Instance:
        """An instance in a file of which all this is known already: nothing is read before somebody asks.

        Parameters
        ----------
        path : path
            The file.
        sop_class_uid, sop_instance_uid, transfer_syntax_uid, source_ae : str
            Who it is, how it is encoded, and where it came from.
        offset : int
            Where the data set begins in the file.
        mark : FileMark
            What the file looks like.
        """
        self = cls(sop_class_uid, sop_instance_uid, transfer_syntax_uid, source_ae)
        self._path = path
        self.size = mark.size - offset
        self._offset = offset
        self.mark = mark
        return self

    @classmethod
    def from_reader(
        cls,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        size: int,
        read: Callable[[int, int], bytes],
        source_ae: str = "",
    ) -> Instance:
        """An instance that somebody else keeps, in a file that has others, too.

        Parameters
        ----------
        sop_class_uid, sop_instance_uid, transfer_syntax_uid, source_ae : str
            Who it is, how it is encoded, and where it came from.
        size : int
            Bytes of the encoded data set.
        read : callable
            Reads so many bytes of it from there on, or raises a `StoreError`. Any thread may call it.
        """
        self = cls(sop_class_uid, sop_instance_uid, transfer_syntax_uid, source_ae)
        self.size = size
        self._reader = read
        return self

    @classmethod
    def from_dataset(cls, ds: Dataset) -> Instance:
        """An instance that is made of a pydicom Dataset, which is encoded once, now.

        Parameters
        ----------
        ds : Dataset
            With its SOP Class and SOP Instance UID. The transfer syntax is that of its ``file_meta``, or else the one
            that it was read in, as far as that can be known.

        Raises
        ------
        InvalidDicomError
            If it has no identifiers, its transfer syntax cannot be decided, or pydicom cannot encode it.
        """
        sop_class, sop_instance = str(ds.get("SOPClassUID") or ""), str(ds.get("SOPInstanceUID") or "")
        if not (sop_class and sop_instance):
            raise InvalidDicomError("a data set without SOP Class UID or SOP Instance UID is no instance")
        syntax = transfer_syntax_of(ds)
        return cls.from_buffer(sop_class, sop_instance, syntax, encode(ds, syntax))

    @property
    def path(self) -> Path | None:
        """The file that it was read from; None where it was not read from one."""
        if self._path is not None and not isinstance(self._path, Path):
            self._path = Path(self._path)  # only now: it takes as long as to open the file
        return self._path

    @path.setter
    def path(self, path: Path | None) -> None:
        self._path = path

    @property
    def path_text(self) -> str:
        """The same as text, '' for none."""
        return "" if self._path is None else os.fspath(self._path)

    @property
    def in_memory(self) -> bool:
        """Whether its data can be read without the disk."""
        return self._data is not None

    @property
    def header(self) -> Header:
        """Its identity, query attributes and completeness, read when first asked for."""
        if self._header is None:
            if self._data is not None:
                self._header = peek(self._data, self.transfer_syntax_uid)
            else:
                head = self._head or self._read_bytes(0, _HEAD_SIZE)
                self._header = peek(head, self.transfer_syntax_uid, total=self.size, read=self._read_bytes)
        return self._header

    @property
    def dataset(self) -> FileDataset:
        """A pydicom Dataset of it with its ``file_meta``, decoded anew each time.

        Raises
        ------
        InvalidDicomError
            If pydicom cannot decode it, sequences are nested deeper than 64, or it inflates to more than 1 GiB. Data
            that is cut short is decoded as far as it goes: see `header`.
        """
        return decode(
            *(self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid),
            self.read(0, self.size),
            self.source_ae,
        )

    def meta_bytes(self) -> bytes:
        """What to write before the data set to make it a DICOM file: preamble, prefix and group 0002, of our own."""
        return pack_meta(self.sop_class_uid, self.sop_instance_uid, self.transfer_syntax_uid, self.source_ae)

    def read(self, offset: int, n: int) -> bytes | memoryview:
        """Read a part of the encoded data set; blocks on the disk unless it is in memory.

        Parameters
        ----------
        offset, n : int
            From where on in the data set, and how many bytes.

        Returns
        -------
        bytes or memoryview
            Fewer at the end of the data set.

        Raises
        ------
        StoreError
            If the file cannot be read, or is not the same any more.
        """
        if self._data is not None:
            return memoryview(self._data).cast("B")[offset : offset + n]
        return self._read_bytes(offset, n)

    def chunks(self, size: int = _CHUNK_SIZE) -> Iterator[bytes | memoryview]:
        """Yield the encoded data set in pieces of `size` bytes; blocks on the disk unless it is in memory.

        Raises
        ------
        StoreError
            If the file cannot be read, or is not the same any more.
        """
        if self._path is None or self._data is not None:
            for offset in range(0, self.size, size):
                yield self.read(offset, size)
            return
        assert self.mark is not None
        with opened(self._path, self.mark) as fd:
            read = reader(self._path, fd)
            for offset in range(0, self.size, size):
                yield read(self._offset + offset, min(size, self.size - offset))

    def _read_bytes(self, offset: int, n: int) -> bytes:
        n = max(0, min(n, self.size - offset))
        if self._reader is not None:
            return self._reader(offset, n)
        if self.temp is not None:
            try:
                return self.temp.pread(n, self._offset + offset)
            except OSError as exc:
                raise unreadable("a temporary file", exc) from exc
        assert self._path is not None
        assert self.mark is not None
        with opened(self._path, self.mark) as fd:
            return reader(self._path, fd)(self._offset + offset, n)

    def close(self) -> None:
        """Discard the temporary file, if it is in one and that was not published. May be called again."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
        if self.temp is not None:
            self.temp.discard()

    def __enter__(self) -> Instance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        elsewhere = "a temporary file" if self.temp is not None else "the hands of somebody else"
        where = "memory" if self._data is not None else str(self.path or elsewhere)
        return f"<Instance {self.sop_instance_uid}, {self.size} bytes in {where}>"
