"""A window that moves forward over deflated data (PS3.5 section A.5), bounded in memory and in time."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from dcm.errors import InvalidDicomError

__all__ = ["INFLATE_LIMIT", "Inflater", "UnreadableError", "inflate"]

INFLATE_LIMIT = 32 << 20
"""How many bytes are inflated at most to look at one data set. What deflate can blow up by a factor of a thousand is
not worth more than a fraction of a second."""

_INPUT_SIZE = 64 << 10
_OUTPUT_SIZE = 256 << 10


class UnreadableError(Exception):
    """The bytes asked for cannot be had.

    Attributes
    ----------
    problem : str
        Why.
    complete : bool or None
        What that says about the data: False where it is cut off or broken, None where it was not looked at.
    """

    def __init__(self, problem: str, *, complete: bool | None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.complete = complete


class Inflater:
    """Inflates as far as it is asked for, and keeps what was asked for last.

    Parameters
    ----------
    read : callable
        ``read(position, n)`` gives up to `n` deflated bytes, none at the end.
    start : int
        Position of the first one.
    whole : bool, optional
        False where `read` cannot give all there is.
    limit : int, optional
        How many bytes may come out altogether.

    Attributes
    ----------
    ended : bool
        The end of the deflated data has been seen.
    trailing : bool
        Something follows it that is not the one padding byte that may.
    """

    __slots__ = ("_at", "_base", "_data", "_limit", "_read", "_stream", "_whole", "ended", "trailing")

    def __init__(
        self, read: Callable[[int, int], bytes], start: int, *, whole: bool = True, limit: int = INFLATE_LIMIT
    ) -> None:
        self._read = read
        self._at = start
        self._whole = whole
        self._limit = limit
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._base = 0
        self._data = b""
        self.ended = False
        self.trailing = False

    def fetch(self, pos: int, n: int) -> bytes:
        """Give `n` inflated bytes from `pos` on, fewer at the end of the data.

        Parameters
        ----------
        pos : int
            Not before a position that was asked for earlier.
        n : int
            At least how many; there may be more.

        Returns
        -------
        bytes

        Raises
        ------
        UnreadableError
            Where `pos` is behind the end, the data is broken or cut off, or the limit is reached.
        """
        while self._base + len(self._data) < pos + n and not self.ended:
            self._more(pos)
        if pos < self._base:
            raise UnreadableError("inflated data was already passed", complete=None)
        if pos > self._base + len(self._data):
            raise UnreadableError("the last value ends after the end of the deflated data", complete=False)
        return self._data[pos - self._base :]

    def _more(self, pos: int) -> None:
        stream = self._stream
        deflated = stream.unconsumed_tail
        if not deflated:
            deflated = self._read(self._at, _INPUT_SIZE)
            self._at += len(deflated)
        try:
            inflated = stream.decompress(deflated, _OUTPUT_SIZE)
        except zlib.error as exc:
            raise UnreadableError("the deflated data is broken", complete=False) from exc
        if not deflated and not inflated and not stream.eof:
            if self._whole:
                raise UnreadableError("the deflated data is cut off", complete=False)
            raise UnreadableError("only the head of the deflated data was looked at", complete=None)
        end = self._base + len(self._data) + len(inflated)
        if end > self._limit:
            raise UnreadableError(f"inflates to more than {self._limit >> 20} MiB, not read further", complete=None)
        data = self._data + inflated
        keep = max(0, min(pos - self._base, len(data)))
        self._data = data[keep:]
        self._base += keep
        if stream.eof:
            self.ended = True
            rest = stream.unused_data or self._read(self._at, 2)
            self.trailing = rest not in (b"", b"\0")


def inflate(data: bytes, limit: int = INFLATE_LIMIT) -> bytes:
    """Inflate a whole data set.

    Parameters
    ----------
    data : bytes
        The deflated data set.
    limit : int, optional
        How many bytes may come out.

    Returns
    -------
    bytes

    Raises
    ------
    InvalidDicomError
        If more would come out, or the data is broken or cut off.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(data, limit)
    except zlib.error as exc:
        raise InvalidDicomError("the deflated data is broken") from exc
    if not stream.eof:
        if len(inflated) >= limit:
            raise InvalidDicomError(f"the data set inflates to more than {limit >> 20} MiB")
        raise InvalidDicomError("the deflated data is cut off")
    return inflated
