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
            A keyword or tag means the element at any depth; a path (``Seq.Keyword``, ``Seq[0].Keyword``, ``Seq[0]``)
            that one, from the top level down; without a number, in each item.
        only : the same, or None for everything

        Raises
        ------
        UsageError
            There is no such keyword.
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
    for part in key.split("."):
        match = _STEP.fullmatch(part.strip())
        if match is None:
            raise UsageError(
                f"'{safe_text(key, 100)}' is no element", hint="write PatientID, 0010,0020 or Sequence[0].PatientID"
            )
        number = match["number"]
        steps.append(Step(resolve_keyword(match["key"])[0], None if number is None else int(number)))
    return tuple(steps)


def _divided(places: list[Place]) -> tuple[frozenset[int], tuple[Place, ...]]:
    anywhere = frozenset([place[0].tag for place in places if len(place) == 1 and place[0].item is None])
    return anywhere, tuple([place for place in places if len(place) > 1 or place[0].item is not None])


def _matches(place: Place, tags: frozenset[int], places: tuple[Place, ...]) -> bool:
    last = place[-1]
    if last.item is None and last.tag in tags:
        return True
    return any(
        len(pattern) == len(place) and all(map(_is_step, pattern, place)) and last.item == pattern[-1].item
        for pattern in places
    )


def _is_step(pattern: Step, step: Step) -> bool:
    return pattern.tag == step.tag and pattern.item in (None, step.item)
