"""Which elements are compared: ``PatientID``, ``0010,0020``, ``RequestAttributesSequence[0].StudyInstanceUID``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from dcm.errors import UsageError
from dcm.keywords import resolve_keyword
from dcm.text import safe_text

__all__ = ["Place", "Selection", "Step"]

_STEP = re.compile(r"(?P<key>[^\[\]]+)(\[(?P<number>[0-9]{1,9})\])?")


class Step(NamedTuple):
    """An element, or one item of it."""

    tag: int
    item: int | None = None


Place: TypeAlias = tuple[Step, ...]
"""From the top level down."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to leave out, and what to look at only. Make one with `of`."""

    ignored: frozenset[int]
    ignored_places: tuple[Place, ...]
    wanted: frozenset[int]
    wanted_places: tuple[Place, ...]
    everything: bool

    @classmethod
    def of(cls, ignore: Iterable[str | int] = (), only: Iterable[str | int] | None = None) -> Selection:
        """Understand what the user calls elements.

        Parameters
        ----------
        ignore : iterable of keywords, tags and paths
            A keyword or tag means the element at any depth, a path (``Seq.Keyword``) that of each item of a sequence at
            any depth. Where the first sequence has a number (``Seq[0].Keyword``, ``Seq[0]``), the path counts from the
            top level down.
        only : the same, or None for everything

        Raises
        ------
        UsageError
            There is no such keyword, or something has items in a path that is no sequence.
        """
        ignored, wanted = [_place(key) for key in ignore], [_place(key) for key in only or ()]
        return cls(*_divided(ignored), *_divided(wanted), everything=only is None)

    def leaves_out(self, place: Place) -> bool:
        """Whether a place is ignored."""
        return _matches(place, self.ignored, self.ignored_places)

    def names(self, place: Place) -> bool:
        """Whether a place is one of the only ones, with all that is in it."""
        return self.everything or _matches(place, self.wanted, self.wanted_places)


def _place(key: str | int) -> Place:
    if isinstance(key, int):
        return (Step(key),)
    steps = []
    parts = key.split(".")
    for depth, part in enumerate(parts, 1):
        match = _STEP.fullmatch(part.strip())
        if match is None:
            raise UsageError(
                f"'{safe_text(key, 100)}' is no element", hint="write PatientID, 0010,0020 or Sequence[0].PatientID"
            )
        number = match["number"]
        tag, vr = resolve_keyword(match["key"])
        if (number is not None or depth < len(parts)) and vr not in ("SQ", ""):
            raise UsageError(f"{safe_text(match['key'], 100)} is no sequence", hint="only sequences have items")
        steps.append(Step(tag, None if number is None else int(number)))
    return tuple(steps)


def _divided(places: list[Place]) -> tuple[frozenset[int], tuple[Place, ...]]:
    anywhere = frozenset([place[0].tag for place in places if len(place) == 1 and place[0].item is None])
    return anywhere, tuple([place for place in places if len(place) > 1 or place[0].item is not None])


def _matches(place: Place, tags: frozenset[int], places: tuple[Place, ...]) -> bool:
    last = place[-1]
    if last.item is None and last.tag in tags:
        return True
    return any(last.item == pattern[-1].item and _ends_with(place, pattern) for pattern in places)


def _ends_with(place: Place, pattern: Place) -> bool:
    # What diff shows has a number in each step. Sequences can be in themselves (PS3.3 section C.17.3, ContentSequence):
    # a path that was copied from there must not mean what is deeper, too.
    above = len(place) - len(pattern)
    if above < 0 or (above and pattern[0].item is not None):
        return False
    return all(map(_is_step, pattern, place[above:]))


def _is_step(pattern: Step, step: Step) -> bool:
    return pattern.tag == step.tag and pattern.item in (None, step.item)
