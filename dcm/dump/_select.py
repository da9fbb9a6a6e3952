"""Which elements are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dcm._dictionary import entry_of
from dcm.dump._walk import FRAGMENT, ITEM, SEQUENCE, Element
from dcm.errors import UsageError
from dcm.keywords import resolve_keyword
from dcm.text import safe_text

__all__ = ["Selection"]

_GROUP = re.compile(r"(?:0x)?([0-9a-f]{1,4})", re.IGNORECASE)


@dataclass(frozen=True)
class Selection:
    """Which elements are wanted; by default all.

    What is included is so at any depth, with all that is in it if it is a sequence, and with the sequences and items
    that it is in. What is excluded is so at any depth, and counts more.

    Parameters
    ----------
    include, exclude : frozenset of int
        Tags.
    groups : frozenset of int
        Groups to include.
    pattern : re.Pattern or None
        What is found in keywords to include.
    private : bool
        Whether private elements may be shown.
    """

    include: frozenset[int] = frozenset()
    exclude: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    pattern: re.Pattern[str] | None = None
    private: bool = True

    @classmethod
    def parse(
        cls,
        *,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        groups: Iterable[str] = (),
        kw_regex: str = "",
        private: bool = True,
    ) -> Selection:
        """Make one of what a user says.

        Parameters
        ----------
        include, exclude : iterable of str
            Keywords, or tags in their usual spellings.
        groups : iterable of str
            In hexadecimal digits, ``0010``.
        kw_regex : str
            A regular expression.
        private : bool

        Raises
        ------
        UsageError
            There is no such keyword (the nearest one is suggested), group or regular expression.
        """
        try:
            pattern = re.compile(kw_regex) if kw_regex else None
        except re.error as exc:
            raise UsageError(f"{safe_text(kw_regex, 100)!r} is no regular expression: {exc}") from exc
        return cls(
            frozenset([resolve_keyword(key)[0] for key in include]),
            frozenset([resolve_keyword(key)[0] for key in exclude]),
            frozenset([_group(text) for text in groups]),
            pattern,
            private,
        )

    @property
    def is_limited(self) -> bool:
        """Whether something has been included, so that all else is not."""
        return bool(self.include or self.groups or self.pattern)

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return not self.is_limited and not self.exclude and self.private

    def wants(self, tag: int) -> bool:
        """Whether an attribute is included; whether it is excluded is another question."""
        if not self.is_limited or tag in self.include or tag >> 16 in self.groups:
            return True
        if self.pattern is None:
            return False
        entry = entry_of(tag)
        return entry is not None and self.pattern.search(entry.keyword) is not None

    def excludes(self, tag: int) -> bool:
        """Whether an attribute is excluded, with all that is in it."""
        return tag in self.exclude or (not self.private and bool(tag & 0x10000))

    def filter(self, elements: Iterable[Element], *, context: bool = True) -> Iterator[Element]:
        """Give what is wanted of what comes from `walk`.

        Parameters
        ----------
        elements : iterable of Element
        context : bool, optional
            With the sequences and items around an element that is wanted, which are not wanted themselves.
        """
        if self.is_everything:
            yield from elements
            return
        verdicts: dict[int, tuple[bool, bool]] = {}
        around: list[Element] = []  # sequences and items that are open, and have not been given
        hidden = shown = -1  # how deep what is left out, or given with all that is in it, begins
        for element in elements:
            depth = element.depth
            if hidden >= 0:
                if depth > hidden:
                    continue
                hidden = -1
            if shown >= 0 and depth <= shown:
                shown = -1
            tag = element.tag
            if element.kind in (ITEM, FRAGMENT):
                wanted, excluded = False, False
            else:
                verdict = verdicts.get(tag)
                if verdict is None:
                    verdict = verdicts[tag] = self.wants(tag), self.excludes(tag)
                wanted, excluded = verdict
            if excluded:
                hidden = depth
                continue
            if shown >= 0:
                yield element
                continue
            while around and around[-1].depth >= depth:
                around.pop()
            if wanted:
                if context:
                    yield from around
                    around.clear()
                yield element
                shown = depth
            elif element.kind in (ITEM, SEQUENCE):
                around.append(element)


def _group(text: str) -> int:
    match = _GROUP.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"'{safe_text(text, 40)}' is no group", hint="a group is up to four hexadecimal digits, 0010 say"
        )
    return int(match[1], 16)
