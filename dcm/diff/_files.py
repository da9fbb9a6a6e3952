"""Comparing two files."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from dcm.diff._data_sets import Side, compare
from dcm.diff._differences import BytesDigest, DataDiff, PixelChange
from dcm.diff._pixels import ABOUT_ENCODING, ABOUT_ENCODING_META, compared_pixels
from dcm.diff._reading import PIXEL_DATA, DicomFile, leave_out_same, open_file
from dcm.diff._selection import Selection, Step
from dcm.errors import DcmError, InvalidDicomError, UsageError

__all__ = ["FileDiff", "FileState", "Method", "diff_files", "same_bytes"]


class FileState(enum.Enum):
    """How two files compare."""

    SAME = "same"
    DIFFERENT = "different"
    ONLY_LEFT = "only-left"  #: there is nothing to compare it with
    ONLY_RIGHT = "only-right"
    TROUBLE = "trouble"  #: one of them could not be read, or not to its end


@dataclass(frozen=True, slots=True)
class FileDiff:
    """How two files compare.

    Attributes
    ----------
    left, right : Path or None
        None where there is no such file.
    sop_instance_uid : str
        Of the left one, if there is one.
    differences : tuple of DataDiff
    problem : str
        Why they could not be compared, or not to their end; '' where all is well.
    hint : str
        What to do about it.
    """

    left: Path | None
    right: Path | None
    sop_instance_uid: str = ""
    differences: tuple[DataDiff, ...] = ()
    problem: str = ""
    hint: str = ""

    @property
    def state(self) -> FileState:
        """In a word."""
        if self.problem:
            return FileState.TROUBLE
        if self.right is None:
            return FileState.ONLY_LEFT
        if self.left is None:
            return FileState.ONLY_RIGHT
        return FileState.DIFFERENT if self.differences else FileState.SAME


@dataclass(frozen=True, slots=True)
class Method:
    """How files are compared: which elements, with the file meta information, with pixels that are decoded."""

    selection: Selection
    file_meta: bool
    pixels: bool

    @classmethod
    def of(
        cls, *, file_meta: bool, pixels: bool, ignore: Iterable[str | int], only: Iterable[str | int] | None
    ) -> Method:
        """Understand what the user calls elements; raises UsageError."""
        return cls(Selection.of(ignore, only), file_meta, pixels)

    def files(self, left: str | os.PathLike[str], right: str | os.PathLike[str], *, pipes: bool = False) -> FileDiff:
        """Compare two files, which may be named pipes where that is said."""
        with open_file(left, pipes=pipes) as a, open_file(right, pipes=pipes) as b:
            differences, undecoded = self._differences(a, b)
            problems = [undecoded.message] if undecoded else []
            if differences or undecoded:
                problems += [f"{file.path}: {file.header.problem}" for file in (a, b) if file.header.complete is False]
            uid = a.header.sop_instance_uid or b.header.sop_instance_uid
            hint = undecoded.hint if undecoded else ""
            return FileDiff(a.path, b.path, uid, tuple(differences), "; ".join(problems), hint)

    def _differences(self, left: DicomFile, right: DicomFile) -> tuple[list[DataDiff], DcmError | None]:
        """What differs, and why pixel data is not in it that cannot be decoded."""
        found: list[DataDiff] = []
        same_meta = not self.file_meta or left.head() == right.head()
        if not same_meta:
            selection = self._without(ABOUT_ENCODING_META) if self.pixels else self.selection
            found += compare(left.meta(), right.meta(), selection)
        if left.header.transfer_syntax_uid == right.header.transfer_syntax_uid and same_bytes(left, right):
            return found, None
        data_sets = left.data_set(), right.data_set()
        leave_out_same(*data_sets)
        sides, selection = (left.side(data_sets[0]), right.side(data_sets[1])), self.selection
        undecoded: DcmError | None = None
        change: PixelChange | None = None
        if self.pixels:
            selection = self._without(ABOUT_ENCODING)
            try:
                sides, change = self._decoded((left, right), sides)
            except (InvalidDicomError, UsageError) as exc:  # the rest can still be compared
                sides, undecoded = (_with_pixels(sides[0], None), _with_pixels(sides[1], None)), exc
        for diff in compare(*sides, selection):
            found.append(replace(diff, pixels=change) if diff.path == "PixelData" else diff)
        return found, undecoded

    def _without(self, tags: frozenset[int]) -> Selection:
        return replace(self.selection, ignored=self.selection.ignored | tags)

    def _decoded(
        self, files: tuple[DicomFile, DicomFile], sides: tuple[Side, Side]
    ) -> tuple[tuple[Side, Side], PixelChange | None]:
        """Both sides with their pixel data decoded, where both have some and it is not the same anyway."""
        here = (Step(PIXEL_DATA),)
        if self.selection.leaves_out(here) or not self.selection.names(here):
            return sides, None
        where = files[0].pixels, files[1].pixels
        if where[0] is None or where[1] is None or sides[0].value(PIXEL_DATA) == sides[1].value(PIXEL_DATA):
            return sides, None
        left, right, change = compared_pixels(files, (sides[0].record, sides[1].record), (where[0], where[1]))
        return (_with_pixels(sides[0], left), _with_pixels(sides[1], right)), change


def diff_files(
    left: str | os.PathLike[str],
    right: str | os.PathLike[str],
    *,
    file_meta: bool = True,
    pixels: bool = False,
    ignore: Iterable[str | int] = (),
    only: Iterable[str | int] | None = None,
) -> FileDiff:
    """Compare two DICOM files. Pixel data and other large binary values are read piece by piece.

    Parameters
    ----------
    left, right : path
        Also named pipes: what comes through them is copied to a temporary file.
    file_meta : bool, optional
        Whether to compare the file meta information (PS3.10 section 7.1), too: also the transfer syntax.
    pixels : bool, optional
        Compare what pixel data is once it is decoded, where the encoded bytes differ. What says only how it is encoded
        and who wrote it is left out then: Planar Configuration, the Extended Offset Table, and in the file meta
        information the transfer syntax, the implementation and the AE titles. pydicom decodes, by packages that have
        to be installed for most compressed transfer syntaxes.
    ignore, only : iterable of keywords, tags or paths, optional
        As for `diff_data_sets`.

    Returns
    -------
    FileDiff
        With a problem where they differ and one of them is cut short, or where pixel data cannot be decoded: all else
        is compared then.

    Raises
    ------
    InvalidDicomError
        One of them is no DICOM file, or cannot be read.
    StoreError
        One of them cannot be read, or changed while it was.
    UsageError
        There is no such keyword, or something has items in a path that is no sequence.
    """
    return Method.of(file_meta=file_meta, pixels=pixels, ignore=ignore, only=only).files(left, right, pipes=True)


def same_bytes(left: DicomFile, right: DicomFile) -> bool:
    """Whether the data sets of two files are the same, byte by byte."""
    if left.size - left.header.data_offset != right.size - right.header.data_offset:
        return False
    return all(a == b for a, b in zip(left.chunks(), right.chunks(), strict=True))


def _with_pixels(side: Side, digest: BytesDigest | None) -> Side:
    """With other pixel data, or with none."""
    digests = {tag: each for tag, each in side.digests.items() if tag != PIXEL_DATA}
    if digest is not None:
        digests[PIXEL_DATA] = digest
    return replace(side, record=side.record.without({PIXEL_DATA}), digests=digests)
