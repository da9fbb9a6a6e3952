"""What queries have told of the elements that decide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from dcm._dictionary import entry_of
from dcm.attrs import Attributes, Value
from dcm.levels import QueryLevel
from dcm.query._keys import level_of

if TYPE_CHECKING:
    from dcm.query import QueryResult

__all__ = ["Known"]

_NOTHING: Final = Attributes.from_items([])


class Known:
    """What is known of patients, studies, series and instances, as far as it decides where they go.

    An empty value is not known: archives answer with it what they do not know as well as what is empty. Nor is what
    an answer holds of a finer level than its own, a study's Modality say, which is one of several at best.

    Parameters
    ----------
    tags : iterable of int
        The elements that decide.
    """

    def __init__(self, tags: Iterable[int]) -> None:
        levels = {tag: level for tag in tags if (level := level_of(tag)) is not None}
        self._tags = {level: frozenset([tag for tag, own in levels.items() if own <= level]) for level in QueryLevel}
        self._records: dict[tuple[QueryLevel, str], Attributes] = {}
        self._asked: dict[tuple[QueryLevel, str], frozenset[int]] = {}

    def tags(self, level: QueryLevel) -> frozenset[int]:
        """The elements that an answer at a level may hold."""
        return self._tags[level]

    def take(self, answer: QueryResult, asked: frozenset[int] = frozenset()) -> None:
        """Learn from an answer, for which these elements were asked."""
        level, tags = answer.level, self._tags[answer.level]
        for uid, record in zip(answer.uids(), answer.records(), strict=True):
            if not uid:
                continue  # patients without an ID have nothing in common
            fresh = [
                (tag, vr, value)
                for tag, vr, value in record.elements()
                if tag in tags and value is not None and not _garbled(value)
            ]
            if fresh:
                self._records[level, uid] = self._records.get((level, uid), _NOTHING).replace(fresh)
            if asked:
                self._asked[level, uid] = self._asked.get((level, uid), frozenset()) | asked

    def of(self, path: Sequence[str]) -> Attributes:
        """What is known of a node, and of those that it is in."""
        record = _NOTHING
        for level, uid in zip(QueryLevel, path, strict=False):
            found = self._records.get((level, uid))
            if found is not None:
                record = record.replace(found.elements()) if record else found
        return record

    def lacks(self, path: Sequence[str], tags: frozenset[int]) -> frozenset[int]:
        """Which of some elements are worth asking for: not known of a node, and not asked for at its level before."""
        key = QueryLevel(len(path) - 1), path[-1]
        return tags - self._asked.get(key, frozenset()) - self.of(path).keys()


def _garbled(value: Value) -> bool:
    """Whether it is text that came in another character set than the answer says."""
    if isinstance(value, tuple):
        return any(map(_garbled, value))
    return isinstance(value, str) and "\ufffd" in value


def return_keys(tags: Iterable[int]) -> Attributes:
    """A query that asks for elements, whatever their value (universal matching, PS3.4 section C.2.2.2.3)."""
    return Attributes.from_items([(tag, entry.vr[:2], None) for tag in tags if (entry := entry_of(tag)) is not None])
