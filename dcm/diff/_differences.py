"""One difference between two data sets: what it is, and how it is shown in a line."""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from dcm.attrs import Attributes, Value
from dcm.keywords import keyword_of
from dcm.text import plural, safe_text

__all__ = ["BytesDigest", "DataDiff", "DiffKind", "PixelChange", "Shown", "kept", "shown_pair", "tag_text"]

_MAX_BYTES = 32  # of a binary value that is kept as it is
_MAX_SHOWN = 80
_BEFORE = 16  # characters before the first one that differs
_MAX_VALUES = 10_000  # that are made text of, to find the first one that differs


class DiffKind(enum.Enum):
    """What is different about an element."""

    MISSING = "missing"  #: only the left data set has it
    ADDED = "added"  #: only the right one has it
    CHANGED = "changed"  #: both have it, with other values


class BytesDigest(NamedTuple):
    """What is kept of a binary value that is too long to be shown, pixel data say."""

    length: int
    sha256: str

    def __str__(self) -> str:
        return f"{plural(self.length, 'byte')}, sha256 {self.sha256[:16]}"


class PixelChange(NamedTuple):
    """How pixels differ once they are decoded, sample by sample.

    Attributes
    ----------
    n_samples, n_frames : int
        How many there are, the same on both sides.
    samples_differ, frames_differ : int
        How many of them differ.
    first_frame : int
        The first one that does, from 1 on.
    largest : int
        The largest difference of two samples.
    """

    n_samples: int
    samples_differ: int
    n_frames: int
    frames_differ: int
    first_frame: int
    largest: int

    def __str__(self) -> str:
        frames, first = f" in {self.frames_differ} of {self.n_frames} frames", f" (frame {self.first_frame} first)"
        if self.n_frames == 1:
            frames = first = ""
        return f"{self.samples_differ} of {self.n_samples} samples{frames} differ, by {self.largest} at most{first}"


Shown: TypeAlias = "Value | BytesDigest"


@dataclass(frozen=True, slots=True)
class DataDiff:
    """One difference.

    Attributes
    ----------
    path : str
        Where: ``RequestAttributesSequence[0].StudyInstanceUID``, ``(0019,1010)``; ``Seq[2]`` for a whole item.
    kind : DiffKind
    left, right : Value or BytesDigest
        The values, as :mod:`dcm.normalize` makes them; None where the element is empty, or missing.
    tag : int
        The element; where it is private, as the left data set numbers it if it has it.
    creator : str
        The creator of a private element.
    pixels : PixelChange or None
        Of pixel data that was decoded, how it differs, where both sides have as many frames and samples.
    vr : str
        The VR, of the left data set if it has the element and knows it. How it is encoded is no difference: two
        differences that are the same but for this are equal.
    """

    path: str
    kind: DiffKind
    left: Shown
    right: Shown
    tag: int
    creator: str = ""
    pixels: PixelChange | None = None
    vr: str = field(default="", compare=False)

    def __str__(self) -> str:
        """One line that is safe on a terminal: ``~ PatientID: 'A' -> 'B'``, ``- …`` if missing, ``+ …`` if added."""
        left, right = shown_pair(self)
        if self.kind is DiffKind.CHANGED:
            return f"~ {self.place}: {left} -> {right}" + (f"; {self.pixels}" if self.pixels else "")
        return f"- {self.place}: {left}" if self.kind is DiffKind.MISSING else f"+ {self.place}: {right}"

    @property
    def place(self) -> str:
        """The path, and the creator of a private element, safe on a terminal."""
        return safe_text(self.path) + (f" ({safe_text(self.creator, 64)})" if self.creator else "")


def kept(value: Value) -> Shown:
    """What a difference keeps of a value."""
    if isinstance(value, bytes) and len(value) > _MAX_BYTES:
        return BytesDigest(len(value), hashlib.sha256(value).hexdigest())
    return value


def shown_pair(diff: DataDiff, limit: int = _MAX_SHOWN) -> tuple[str, str]:
    """Both values of a difference as text that is safe on a terminal; '' for one that is not there.

    Parameters
    ----------
    diff : DataDiff
    limit : int, optional
        How long each may be, about. Of what is longer, the part is shown in which the two differ.
    """
    left = "" if diff.kind is DiffKind.ADDED else _shown(diff.left, diff.vr)
    right = "" if diff.kind is DiffKind.MISSING else _shown(diff.right, diff.vr)
    if max(len(left), len(right)) <= limit:
        return left, right
    start = 0
    if diff.kind is DiffKind.CHANGED:
        same = next(
            (n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
        )
        start = max(0, same - _BEFORE) if same >= limit // 2 else 0
    return _part(left, start, limit), _part(right, start, limit)


def _part(text: str, start: int, limit: int) -> str:
    end = start + limit - 2
    return ("…" if start else "") + text[start:end] + ("…" if len(text) > end else "")


def tag_text(value: object, vr: str) -> str:
    """A value of VR AT as dump shows it, ``(0018,1063)``; '' for what is none."""
    return f"({value >> 16:04x},{value & 0xFFFF:04x})" if vr == "AT" and isinstance(value, int) else ""


def _shown(value: Shown, vr: str = "") -> str:
    if isinstance(value, BytesDigest):
        return f"<{value}>"
    if value is None or value == ():
        return "(empty)"
    if isinstance(value, tuple):
        if isinstance(value[0], Attributes):
            contents = ", ".join([_shown(item) for item in value[:_MAX_VALUES]])
            return f"<{plural(len(value), 'item')}: {contents}>"
        shown = ", ".join([_shown(each, vr) for each in value[:_MAX_VALUES]])
        return f"[{shown}{', …' if len(value) > _MAX_VALUES else ''}]"
    if isinstance(value, Attributes):
        elements = [f"{keyword_of(tag)}: {_shown(kept(inner), value.vr(tag))}" for tag, inner in value.items()]
        return "{" + ", ".join(elements) + "}"
    if isinstance(value, bytes):
        return f"<{value.hex(' ')}>"
    return f"'{safe_text(value)}'" if isinstance(value, str) else tag_text(value, vr) or safe_text(repr(value))
