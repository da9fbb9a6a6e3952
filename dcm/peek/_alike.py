"""What the files of a series have in common, remembered: in most of them no more than a few values differ.

A `dcm.peek._layout.Layout` looks at all headers of elements of a file, dozens of pieces. Where the values between them
are those of the file before it, too, headers and values together are a few long pieces, which are compared at once;
what was found in that file holds for this one, but for the few values.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

__all__ = ["Alike", "gaps_between", "merged", "struct_of"]


class Alike:
    """The file that was seen last, and what may differ in the next one.

    Parameters
    ----------
    window : bytes
        The beginning of that file.
    found : dict of int to tuple
        What was found in it.
    pieces : list of (start, length)
        All that has to be the same.
    own : list of (tag, VR, slice)
        The values that are somewhere else, and so may differ.
    """

    __slots__ = ("_expected", "_found", "_own", "_pieces", "window")

    def __init__(
        self,
        window: bytes,
        found: dict[int, tuple[str, bytes]],
        pieces: list[tuple[int, int]],
        own: list[tuple[int, str, slice]],
    ) -> None:
        self.window = window
        self._found = found
        self._pieces = struct_of(pieces)
        self._expected = self._pieces.unpack_from(window)
        self._own = own

    def found_in(self, window: bytes) -> dict[int, tuple[str, bytes]] | None:
        """What a scan of another file finds; None where it differs in anything else.

        Raises
        ------
        struct.error
            It is shorter.
        """
        if self._pieces.unpack_from(window) != self._expected:
            return None
        found = self._found.copy()
        for tag, vr, piece in self._own:
            found[tag] = (vr, window[piece])
        return found


def gaps_between(pieces: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What is between pieces (start, length) that are in their order and do not touch."""
    ends = [start + length for start, length in pieces[:-1]]
    return [(end, start - end) for end, (start, _) in zip(ends, pieces[1:], strict=True)]


def merged(pieces: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pieces (start, length) in their order, those that touch or overlap as one."""
    result: list[tuple[int, int]] = []
    for start, length in sorted(pieces):
        if result and start <= sum(result[-1]):
            first, _ = result[-1]
            result[-1] = (first, max(sum(result[-1]), start + length) - first)
        else:
            result.append((start, length))
    return result


def struct_of(pieces: Iterable[tuple[int, int]]) -> struct.Struct:
    """What takes pieces (start, length), in their order, out of a buffer."""
    form, at = ["<"], 0
    for start, length in pieces:
        form.append(f"{start - at}x{length}s")
        at = start + length
    return struct.Struct("".join(form))
