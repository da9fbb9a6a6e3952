"""One C-FIND request: at which level, below which nodes, and the identifier that says so (PS3.4 section C.4.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dcm.attrs import Attributes, Value
from dcm.levels import QueryLevel
from dcm.net._caps import Seen
from dcm.node import QueryModel
from dcm.query._counts import COUNT_TAGS
from dcm.query._elements import keyword_of
from dcm.query._keys import QUERY_RETRIEVE_LEVEL, RETURN_KEYS, SPECIFIC_CHARACTER_SET, QueryKeys, unique_key
from dcm.text import safe_text

__all__ = ["EMPTY", "FindRequest", "Node", "Split"]

EMPTY = Attributes.from_items([])

# Attributes that an archive has to count together. That is too dear to be done again for each of the instances.
_COUNTED = frozenset({*COUNT_TAGS.values(), 0x00080061})
# Of these a report may show the value: no name, birth date or identifier of a person is among them.
_SHOWN_VRS = frozenset({"UI", "CS", "IS"})
_SHOWN = frozenset({0x00080020, 0x00080030})  # StudyDate, StudyTime


@dataclass(frozen=True)
class Node:
    """A place in the hierarchy to ask below of.

    Attributes
    ----------
    uids : mapping of QueryLevel to str
        Its unique key and those of its parents, as far as they are known.
    context : Attributes
        What is known about it and its parents.
    verified : QueryLevel or None
        The level at which the peer has just named it, so that all keys down to there match.
    relational : bool
        Whether all keys may be put into one request.
    targets : mapping of str to Attributes
        The unique keys at the level of the query that are asked for, where not all are, and what is known about the
        parents of each.
    below : tuple of Node
        What to go on with where it matches; everything below it where there are none.
    asked_below : set of str
        Which of its children have been named, and are asked for in turn.
    """

    uids: Mapping[QueryLevel, str] = field(default_factory=dict)
    context: Attributes = EMPTY
    verified: QueryLevel | None = None
    relational: bool = False
    targets: Mapping[str, Attributes] = field(default_factory=dict)
    below: tuple[Node, ...] = ()
    asked_below: set[str] = field(default_factory=set)

    def parent_of(self, level: QueryLevel) -> QueryLevel | None:
        """The finest level above `level` at which it is known."""
        return max((above for above in self.uids if above < level), default=None)


@dataclass(eq=False)
class FindRequest:
    """A C-FIND request that can be sent.

    Attributes
    ----------
    model : QueryModel
        The information model, and so the SOP class.
    level : QueryLevel
        The QueryRetrieveLevel.
    identifier : Attributes
        What to send, see `dcm.net._identifier.encode_identifier`.
    """

    model: QueryModel
    level: QueryLevel
    node: Node
    contexts: Mapping[str, Attributes] = field(default_factory=dict)  # the unique keys asked for, where it names some
    narrow: Attributes = EMPTY  # what makes it a part of another request
    part_of: Split | None = None
    identifier: Attributes = EMPTY
    seen: Seen = field(default_factory=Seen)
    expected: int | None = None  # how many answers the peer itself has said there are
    doubt: str = ""  # why its answers may not be all
    guess: bool = False  # whether the doubt is about the number of answers only
    status: int = 0
    splits: Iterator[Split] | None = None  # the ways to split it that have not been tried

    def build(self, keys: QueryKeys, search_level: QueryLevel) -> None:
        """Make the identifier.

        A hierarchical request has the unique keys of the parents and the keys of its own level, nothing else; one in
        the Study Root model counts the patient's keys to the study (PS3.4 sections C.4.1.2 and C.6.2.1).
        """
        levels: list[QueryLevel | None] = [level for level in QueryLevel if self._asks(level)]
        if self.level >= search_level:
            levels.append(None)
        items: dict[int, tuple[int, str, Value]] = {}
        for level in levels:
            if level is not None:
                known = _COUNTED if level < self.level and self.node.relational else frozenset()
                items.update({tag: (tag, vr, None) for tag, vr in RETURN_KEYS[level] if tag not in known})
        items.update({item[0]: item for item in keys.elements(levels)})
        for level, uid in self.node.uids.items():
            if level <= self.level and not self._implies(level):
                items[level.uid_tag] = unique_key(level, uid)
        if self.contexts:
            items[self.level.uid_tag] = unique_key(self.level, tuple(self.contexts))
        items.update({item[0]: item for item in self.narrow.elements()})
        items[SPECIFIC_CHARACTER_SET] = (SPECIFIC_CHARACTER_SET, "CS", keys.charset or None)
        items[QUERY_RETRIEVE_LEVEL] = (QUERY_RETRIEVE_LEVEL, "CS", self.level.name)
        self.identifier = Attributes.from_items(items.values())

    def _asks(self, level: QueryLevel) -> bool:
        """Whether the keys of a level belong into the identifier."""
        if level >= self.level or self.node.relational:
            return level <= self.level
        return level is QueryLevel.PATIENT and self.level is QueryLevel.STUDY and self.model is QueryModel.STUDY_ROOT

    def _implies(self, level: QueryLevel) -> bool:
        """Whether a key is not needed: a Study Root request that names a study says all about the patient with it."""
        names_study = QueryLevel.STUDY in self.node.uids or bool(self.contexts)
        return level is QueryLevel.PATIENT and self.model is QueryModel.STUDY_ROOT and names_study

    def context_of(self, uid: str) -> Attributes | None:
        """What is known about the parents of an answer; None where it is not one that was asked for."""
        return self.contexts.get(uid) if self.contexts else self.node.context

    def key(self, tag: int) -> str:
        """What a key of this request is to match, '' for anything."""
        return self.identifier.text(tag)

    def __str__(self) -> str:
        """The request in words; only values that are nobody's name or number."""
        words = [f"{self.level.name} query"]
        for tag, vr, value in self.identifier.elements():
            if value is None or tag in (QUERY_RETRIEVE_LEVEL, SPECIFIC_CHARACTER_SET):
                continue
            shown = safe_text(self.key(tag), 70) if vr in _SHOWN_VRS or tag in _SHOWN else "…"
            words.append(f"{keyword_of(tag)}={shown}")
        return " ".join(words)


@dataclass(eq=False)
class Split:
    """A request that is asked for again in parts.

    Attributes
    ----------
    whole : FindRequest
        The request.
    parts : list of FindRequest
        The parts that are to be asked for instead.
    covers : bool
        Whether the parts cover all that it asks for. Where they do not, they show that there is nothing more to find
        by finding all that it has found again, and nothing new.
    probes : bool
        Whether the parts ask for what must not be there.
    without : str
        What matches the whole but none of the parts: studies without a "StudyDate" or a "StudyTime".
    n_left, n_fresh, found, complete
        What has become of the parts: how many are not done, how much they found that is new, what they found at all,
        and whether each of them was answered completely.
    ignored : bool
        Whether the peer took no notice of what makes the parts narrower.
    """

    whole: FindRequest
    parts: list[FindRequest] = field(default_factory=list)
    covers: bool = True
    probes: bool = False
    without: str = ""
    n_left: int = 0
    n_fresh: int = 0
    found: set[str] = field(default_factory=set)
    complete: bool = True
    ignored: bool = False

    def add(self, tag: int, vr: str, value: str) -> None:
        """Add a part, narrowed down by one more key."""
        whole = self.whole
        narrow = whole.narrow.replace([(tag, vr, value)])
        self.parts.append(FindRequest(whole.model, whole.level, whole.node, whole.contexts, narrow, self))
        self.n_left += 1
