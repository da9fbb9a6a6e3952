"""Where an element is: ``PatientID``, ``RequestAttributesSequence[0].StudyInstanceUID``, ``(0019,1010)``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from dcm.errors import UsageError
from dcm.keywords import keyword_of, resolve_keyword
from dcm.text import safe_text

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["ElementPath", "Step", "parse_items", "parse_path", "same_element"]

_STEP = re.compile(r"(?P<key>\([^()]*\)|[^\[\].()]+)(?:\[\s*(?P<index>-?[0-9]{1,6}|\*)\s*\])?")


class Step(NamedTuple):
    """A sequence on the way to an element, and which of its items."""

    tag: int
    number: int | None  #: counted from 0, or from the end if negative; None: all of them

    def items(self, ds: Dataset) -> list[Dataset]:
        """The items of the sequence in a data set; none where there is no such sequence or item."""
        items = list(ds[self.tag].value or ()) if self.tag in ds and ds[self.tag].VR == "SQ" else []
        if self.number is None:
            return items
        return [items[self.number]] if -len(items) <= self.number < len(items) else []


class ElementPath(NamedTuple):
    """An element in a data set, or in items of its sequences.

    Attributes
    ----------
    steps : tuple of Step
        The sequences on the way, from the outside.
    tag : int
        The element.
    vr : str
        Its VR by the dictionary; '' where that is not known, for private elements say.
    """

    steps: tuple[Step, ...]
    tag: int
    vr: str

    @property
    def top(self) -> int:
        """The element of the top level that it is, or is in."""
        return self.steps[0].tag if self.steps else self.tag

    def parents(self, ds: Dataset) -> list[Dataset]:
        """The data sets, `ds` itself or items in it, that the element is in or may be put into."""
        found = [ds]
        for step in self.steps:
            found = [item for parent in found for item in step.items(parent)]
        return found

    def __str__(self) -> str:
        steps = [f"{keyword_of(s.tag)}[{'*' if s.number is None else s.number}]" for s in self.steps]
        return ".".join([*steps, keyword_of(self.tag)])


def parse_path(key: str | int | ElementPath, *, within: ElementPath | None = None) -> ElementPath:
    """Read a path.

    Parameters
    ----------
    key : str, int or ElementPath
        Keywords or tags with dots between them; each but the last is a sequence, with the number of an item behind it,
        ``[0]`` for the first and ``[-1]`` for the last, or ``[*]`` (or nothing) for all of them. An int is a tag.
    within : ElementPath, optional
        A sequence whose items it begins in.

    Returns
    -------
    ElementPath

    Raises
    ------
    UsageError
        It is no path, names an attribute that there is not, or something on the way is no sequence.
    """
    if isinstance(key, ElementPath):
        return key
    before = within.steps if within else ()
    if isinstance(key, int):
        return ElementPath(before, key, resolve_keyword(f"{key:08x}")[1])
    *ways, (key_text, index) = _split(key)
    if index is not None:
        raise UsageError(
            f"'{safe_text(key, 200)}' names an item of a sequence, not an element",
            hint=f"write {safe_text(key, 200)}.KEYWORD for an element in it",
        )
    steps = [Step(_sequence_tag(name, key), _number(index)) for name, index in ways]
    return ElementPath((*before, *steps), *resolve_keyword(key_text))


def parse_items(key: str, *, within: ElementPath | None = None) -> ElementPath:
    """Read a path to items of a sequence, ``Seq``, ``Seq[*]`` or ``Seq[0]``; it has them as its last step."""
    steps = [Step(_sequence_tag(name, key), _number(index)) for name, index in _split(key)]
    return ElementPath((*(within.steps if within else ()), *steps), steps[-1].tag, "SQ")


def same_element(one: str, other: str) -> bool:
    """Whether two paths, of elements or of items, are the same one in two spellings."""
    return _parts(one) == _parts(other)


def _parts(key: str) -> list[tuple[int, str | None]]:
    return [(resolve_keyword(name)[0], number and str(_number(number))) for name, number in _split(key)]


def _split(key: str) -> list[tuple[str, str | None]]:
    parts, position = [], 0
    while True:
        match = _STEP.match(key, position)
        if match is None or not match["key"].strip():
            raise UsageError(
                f"'{safe_text(key, 200)}' names no element",
                hint="it is a keyword, a tag (gggg,eeee), or a path like RequestAttributesSequence[0].StudyInstanceUID",
            )
        parts.append((match["key"].strip(), match["index"]))
        position = match.end()
        if position == len(key):
            return parts
        if key[position] != ".":
            raise UsageError(f"'{safe_text(key, 200)}': nothing to make of '{safe_text(key[position:], 50)}'")
        position += 1


def _number(index: str | None) -> int | None:
    return None if index in (None, "*") else int(index or 0)


def _sequence_tag(key: str, path: str) -> int:
    tag, vr = resolve_keyword(key)
    if vr not in ("SQ", ""):  # a private one may be a sequence: the data set knows
        raise UsageError(f"'{safe_text(path, 200)}': {safe_text(key, 100)} is no sequence, its VR is {vr}")
    return tag
