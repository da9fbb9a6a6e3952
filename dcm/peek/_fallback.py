"""What pydicom makes of data sets whose structure the length scan cannot follow."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dcm.peek._scan import MAX_VALUE
from dcm.peek._tables import PIXEL_DATA_TAGS

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["read_with_pydicom"]

# Which warnings are shown is one setting for all threads: two that change it at the same time could leave it changed.
_warnings_lock = threading.Lock()


class _Reader(io.RawIOBase):
    """A part of something that can be read at any position, as a file."""

    def __init__(self, read: Callable[[int, int], bytes], start: int, size: int) -> None:
        self._read = read
        self._start = start
        self._size = size
        self._pos = start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._read(self._pos, min(len(view), max(0, self._size - self._pos)))
        view[: len(data)] = data
        self._pos += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: self._start, io.SEEK_CUR: self._pos, io.SEEK_END: self._size}[whence]
        self._pos = max(self._start, origin + offset)
        return self._pos - self._start

    def tell(self) -> int:
        return self._pos - self._start


def read_with_pydicom(
    read: Callable[[int, int], bytes], start: int, size: int, implicit: bool, little: bool, tags: frozenset[int]
) -> dict[int, tuple[str, bytes]]:
    """Read attributes of the top level, up to the pixel data.

    Parameters
    ----------
    read : callable
        ``read(position, n)`` gives up to `n` bytes.
    start, size : int
        Positions of the first byte of the data set and of its end.
    implicit, little : bool
        How it is encoded.
    tags : frozenset of int
        What to read; sequences are left out.

    Returns
    -------
    dict of int to tuple
        (VR, value) by tag, the VR "" where there is none; empty where pydicom cannot read it either.
    """
    from pydicom.filereader import read_dataset

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        return tag in PIXEL_DATA_TAGS

    file: Any = io.BufferedReader(_Reader(read, start, size))
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = read_dataset(file, implicit, little, None, at_pixels, MAX_VALUE, specific_tags=sorted(tags))
        except (RecursionError, MemoryError, Exception):  # noqa: BLE001  whatever it is, there is no more to be had
            return {}
    found = {}
    for tag in ds.keys() & tags:
        element: Any = ds.get_item(tag, keep_deferred=True)  # else it would be read, and converted
        if element.is_raw and isinstance(element.value, bytes):
            found[int(tag)] = (str(element.VR or ""), element.value)
    return found
