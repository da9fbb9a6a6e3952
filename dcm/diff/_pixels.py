"""Pixel data as it is once it is decoded, in a form that does not depend on how it was encoded (PS3.5 section 8).

pydicom decodes, frame by frame, by whatever it finds installed. A colour is by pixel, not by plane.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from itertools import zip_longest
from operator import sub
from typing import Any, NamedTuple

from dcm.attrs import Attributes
from dcm.diff._differences import BytesDigest, PixelChange
from dcm.diff._reading import DicomFile, Stretch
from dcm.errors import InvalidDicomError, UsageError
from dcm.text import safe_text

__all__ = ["ABOUT_ENCODING", "ABOUT_ENCODING_META", "compared_pixels"]

#: Planar Configuration, Extended Offset Table, its lengths, Encapsulated Pixel Data Value Total Length
ABOUT_ENCODING = frozenset({0x00280006, 0x7FE00001, 0x7FE00002, 0x7FE00003})
#: The same of the file meta information: the transfer syntax, the implementation and the AEs that wrote and sent it
ABOUT_ENCODING_META = frozenset({0x00020010, 0x00020012, 0x00020013, 0x00020016, 0x00020017, 0x00020018})
_MAX_REASON = 300  # characters
_PIECE = 1 << 18  # bytes that are compared at once: whole samples
_CODES = {8: "Bb", 16: "Hh", 32: "Ii"}  # unsigned and signed
_SUBSAMPLED = ("YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420")


class _Layout(NamedTuple):
    """The Image Pixel module (PS3.3 section C.7.6.3), as far as it says where a sample is."""

    rows: int
    columns: int
    n_frames: int
    samples: int
    bits: int
    planar: int
    photometric: str
    signed: bool

    @classmethod
    def of(cls, record: Attributes) -> _Layout:
        frames = record.text(0x00280008)
        return cls(
            _number(record, 0x00280010),
            _number(record, 0x00280011),
            int(frames) if frames.isdecimal() and int(frames) else 1,
            _number(record, 0x00280002, 1),
            _number(record, 0x00280100),
            _number(record, 0x00280006, 0),
            record.text(0x00280004),
            _number(record, 0x00280103, 0) == 1,
        )

    @property
    def frame_bytes(self) -> int:
        return self.rows * self.columns * self.samples * self.bits // 8

    @property
    def total_bytes(self) -> int | None:
        """How long all of it is without padding; None where pixels share samples."""
        if self.photometric in _SUBSAMPLED:
            return None
        return (self.n_frames * self.rows * self.columns * self.samples * self.bits + 7) // 8


def compared_pixels(
    files: tuple[DicomFile, DicomFile], records: tuple[Attributes, Attributes], where: tuple[Stretch, Stretch]
) -> tuple[BytesDigest, BytesDigest, PixelChange | None]:
    """The digests of all frames of two files, and how they differ.

    Parameters
    ----------
    files : tuple of DicomFile
    records : tuple of Attributes
        Their data sets.
    where : tuple of Stretch
        The values of their pixel data.

    Returns
    -------
    left, right : BytesDigest
    change : PixelChange or None
        None where there are no pairs of samples.

    Raises
    ------
    UsageError
        No package that decodes one of them is installed.
    InvalidDicomError
        One of them cannot be decoded.
    """
    left, right = (_Decoded(*side) for side in zip(files, records, where, strict=True))
    tally = _Tally(left.layout)
    alike = left.layout._replace(planar=0) == right.layout._replace(planar=0)
    for a, b in zip_longest(left.pieces(), right.pieces()):
        if alike and a and b:
            tally.add(a, b)
    change = tally.change() if alike and left.length == right.length == left.layout.total_bytes else None
    return left.digest(), right.digest(), change


class _Decoded:
    """The pixels of one file."""

    def __init__(self, file: DicomFile, record: Attributes, where: Stretch) -> None:
        try:
            self.layout = layout = _Layout.of(record)
        except InvalidDicomError as exc:
            raise InvalidDicomError(f"{file.path}: {exc.message}") from exc
        self.length = 0
        self._frames = _decoded(file, record, where, layout) if where.encapsulated else _native(file, where, layout)
        self._sha256 = hashlib.sha256()

    def pieces(self) -> Iterator[bytes]:
        """Pieces of one size, but for the last one of each frame."""
        size = self.layout.frame_bytes or _PIECE
        rest, left = b"", size
        for frame in self._frames:
            self._sha256.update(frame)
            self.length += len(frame)
            data, start = rest + frame, 0
            while len(data) - start >= (n := min(left, _PIECE)):
                yield data[start : start + n]
                start += n
                left = left - n or size
            rest = data[start:]
        if rest:
            yield rest

    def digest(self) -> BytesDigest:
        """Of all that was read."""
        return BytesDigest(self.length, self._sha256.hexdigest())


class _Tally:
    """Counts the samples that differ."""

    def __init__(self, layout: _Layout) -> None:
        self._layout = layout
        self._code = _CODES.get(layout.bits, "  ")[layout.signed].strip()
        self._offset = self._samples = self._largest = self._n_frames = self._first = self._last = 0

    def add(self, left: bytes, right: bytes) -> None:
        """Count in the next piece."""
        frame = self._offset // (self._layout.frame_bytes or 1) + 1
        self._offset += len(left)
        n_samples, rest = divmod(len(left) * 8, self._layout.bits or 1)
        if not self._code or left == right or len(left) != len(right) or rest:
            return
        form = f"<{n_samples}{self._code}"
        differences = list(map(sub, struct.unpack(form, left), struct.unpack(form, right)))
        self._samples += len(differences) - differences.count(0)
        self._largest = max(self._largest, max(differences), -min(differences))
        self._n_frames += frame != self._last
        self._first, self._last = self._first or frame, frame

    def change(self) -> PixelChange | None:
        """What was found; None where there is nothing to count."""
        layout = self._layout
        if not self._samples:
            return None
        n_samples = layout.n_frames * layout.rows * layout.columns * layout.samples
        return PixelChange(n_samples, self._samples, layout.n_frames, self._n_frames, self._first, self._largest)


def _native(file: DicomFile, where: Stretch, layout: _Layout) -> Iterator[bytes]:
    # OB is a stream of bytes. OW has samples of 8 bits two to a word; larger ones are taken for words of their size,
    # as pydicom does.
    word = 1 if where.vr == "OB" else max(2, layout.bits // 8)
    left = layout.total_bytes
    if layout.planar == 1 and layout.samples > 1 and left is not None and layout.bits % 8 == 0:
        size = layout.frame_bytes
        for number in range(layout.n_frames):
            part = where._replace(offset=where.offset + number * size, length=size)
            frame = b"".join(file.pieces(_within(part, where), word))
            if not frame:  # fewer than promised
                return
            yield _by_pixel(frame, layout)
        return
    for piece in file.pieces(where, word):
        yield piece if left is None else piece[:left]
        if left is not None:
            left = max(0, left - len(piece))


def _within(part: Stretch, whole: Stretch) -> Stretch:
    end = whole.offset + whole.length
    return part._replace(length=max(0, min(part.length, end - part.offset)))


def _decoded(file: DicomFile, record: Attributes, where: Stretch, layout: _Layout) -> Iterator[bytes]:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    syntax = UID(file.header.transfer_syntax_uid)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as exc:
        raise InvalidDicomError(f"{file.path}: nobody can decode pixel data in {syntax.name}") from exc
    if not decoder.is_available:
        raise UsageError(
            f"{file.path}: to decode pixel data in {syntax.name}, more packages are needed",
            hint="pip install 'dcm[image]'",
        )
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": layout.n_frames,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.bits,
        "bits_stored": _number(record, 0x00280101, layout.bits),
        "photometric_interpretation": layout.photometric,
        "pixel_representation": _number(record, 0x00280103, 0),
        "planar_configuration": layout.planar,
        "pixel_keyword": "PixelData",
    }
    offsets, lengths = record.get(0x7FE00001), record.get(0x7FE00002)
    if isinstance(offsets, bytes) and isinstance(lengths, bytes):
        options["extended_offsets"] = offsets, lengths
    file.file.seek(where.offset)
    try:
        for frame, properties in decoder.iter_buffer(file.file, **options):
            found = layout._replace(
                bits=int(properties["bits_allocated"]), planar=int(properties.get("planar_configuration", 0))
            )
            yield _by_pixel(bytes(frame)[: found.frame_bytes], found)
    except Exception as exc:
        why = safe_text(" ".join(str(exc).split()), _MAX_REASON)  # on lines of their own, what each package says
        raise InvalidDicomError(f"{file.path}: pydicom cannot decode the pixel data: {why}") from exc


def _by_pixel(frame: bytes, layout: _Layout) -> bytes:
    """A frame with its samples next to each other."""
    if layout.planar != 1 or layout.samples == 1 or len(frame) != layout.frame_bytes:
        return frame
    width = layout.bits // 8
    plane = len(frame) // layout.samples
    turned = bytearray(len(frame))
    for sample in range(layout.samples):
        for byte in range(width):
            start, end = sample * plane + byte, (sample + 1) * plane
            turned[sample * width + byte :: layout.samples * width] = frame[start:end:width]
    return bytes(turned)


def _number(record: Attributes, tag: int, default: int | None = None) -> int:
    value = record.get(tag, default)
    if isinstance(value, int):
        return value
    if default is not None:
        return default
    raise InvalidDicomError(f"pixel data without ({tag >> 16:04x},{tag & 0xFFFF:04x}) cannot be decoded")
