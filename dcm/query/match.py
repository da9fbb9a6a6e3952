"""Attribute matching as an archive does it (PS3.4 section C.2.2.2), compiled once for each query.

=================== ============================== =================================================================
Key                 VR                             Matches
=================== ============================== =================================================================
empty, or ``*``     any                            everything, what is absent or empty too (universal matching)
a value             any other                      the same value; numbers as numbers, so that ``7`` is ``007``
a list of values    any                            what has one of them (list of UID matching, for every VR)
``*`` and ``?``     AE CS LO LT PN SH ST UC UR UT  any characters, and one character
a value             PN                             whatever the case; the whole name, or one of its groups
``a-b a- -b``       DA TM DT                       a range, its ends included
a date or time      DA TM DT                       every moment that it can mean: ``16`` is all of the hour
an item             SQ                             a sequence with an item that matches all keys of this one
=================== ============================== =================================================================

What has several values matches where one of them does. What is absent or empty matches a universal key only.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from dcm.attrs import FLOAT_VRS, INT_VRS, Attributes, Shape, Value
from dcm.query._moments import moment_matcher

__all__ = ["Matcher", "is_about_query", "is_universal", "matches", "value_matcher"]

Predicate: TypeAlias = Callable[[Value], bool]

# The VRs that take wildcards (PS3.4 section C.2.2.2.4).
WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
# How the query is to be read, and what is answered with it: nothing to be matched.
_ENVELOPE = frozenset({0x00080005, 0x00080052, 0x00080054, 0x00080056, 0x00080201, 0x00880130})
_ENVELOPE_GROUPS = frozenset({0x0000, 0x0002})
_MAX_KNOWN = 4096  # how many judgements are remembered for one key
_MAX_SHAPES = 256


def matches(record: Attributes, query: Attributes) -> bool:
    """Whether a record matches a query.

    Parameters
    ----------
    record : Attributes
        What is held.
    query : Attributes
        The keys, at whatever level.

    Returns
    -------
    bool

    Notes
    -----
    For many records make a `Matcher` once.
    """
    return Matcher(query)(record)


class Matcher:
    """A query, compiled.

    Parameters
    ----------
    query : Attributes
        The keys. Universal ones, and those that say how a query is to be read (character set, level, group lengths),
        match everything.

    Attributes
    ----------
    tags : frozenset of int
        The keys that can fail to match.
    """

    __slots__ = ("_keys", "_places", "tags")

    def __init__(self, query: Attributes) -> None:
        self._keys: list[tuple[int, _Key]] = []
        for tag, vr, value in query.elements():
            if is_about_query(tag):
                continue
            predicate = value_matcher(vr, value)
            if predicate is not None:
                self._keys.append((tag, _Key(predicate)))
        self.tags = frozenset([tag for tag, _ in self._keys])
        self._places: dict[Shape, list[tuple[int, _Key]] | None] = {}

    def __call__(self, record: Attributes) -> bool:
        """Whether a record matches."""
        # A friend of `Attributes`: records of one shape have an attribute in one place, which is looked up once.
        shape = record._shape
        try:
            places = self._places[shape]
        except KeyError:
            places = self._places_in(shape)
        if places is None:
            return False
        values = record._values
        return all(key.accepts(values[place]) for place, key in places)

    def _places_in(self, shape: Shape) -> list[tuple[int, _Key]] | None:
        """Where the keys are in records of a shape; None where one is absent, so that none of them can match."""
        if len(self._places) >= _MAX_SHAPES:
            self._places.clear()
        known = all(tag in shape.index for tag, _ in self._keys)
        places = self._places[shape] = [(shape.index[tag], key) for tag, key in self._keys] if known else None
        return places

    def only(self, tags: frozenset[int]) -> Matcher:
        """The keys with these tags alone."""
        part = Matcher.__new__(Matcher)
        part._keys = [(tag, key) for tag, key in self._keys if tag in tags]
        part.tags = self.tags & tags
        part._places = {}
        return part


class _Key:
    """One key, and how it has judged the values so far: those of patients, studies and series come again and again."""

    __slots__ = ("_judge", "_known")

    def __init__(self, judge: Predicate) -> None:
        self._judge = judge
        self._known: dict[Value, bool] = {}

    def accepts(self, value: Value) -> bool:
        known = self._known
        verdict = known.get(value)
        if verdict is None:
            if len(known) >= _MAX_KNOWN:
                known.clear()
            verdict = known[value] = self._judge(value)
        return verdict


def is_about_query(tag: int) -> bool:
    """Whether an attribute of a query says how it is to be read or answered, and is no key."""
    return tag in _ENVELOPE or tag >> 16 in _ENVELOPE_GROUPS


def is_universal(vr: str, value: Value) -> bool:
    """Whether a key matches everything: it is empty, nothing but stars, or an item of such keys."""
    if value is None or value == "":
        return True
    if isinstance(value, str):
        return vr not in INT_VRS | FLOAT_VRS and not value.strip("* ")
    if isinstance(value, Attributes):
        return all(is_universal(inner, held) for _, inner, held in value.elements())
    return isinstance(value, tuple) and all(is_universal(vr, item) for item in value)


def value_matcher(vr: str, value: Value) -> Predicate | None:
    """Compile one key.

    Parameters
    ----------
    vr : str
        The VR of the key.
    value : Value
        As an `Attributes` holds it.

    Returns
    -------
    callable or None
        Says whether what is held, None where it is absent, matches; None for a universal key.
    """
    if is_universal(vr, value):
        return None
    if vr == "SQ":
        return _sequence_matcher(value)
    wanted = [item for item in (value if isinstance(value, tuple) else (value,)) if not is_universal(vr, item)]
    if vr == "UI":
        wanted = [uid for item in wanted for uid in str(item).split("\\") if uid]
    one_of = _VALUE_MATCHERS.get(vr, _equal)(vr, wanted)

    def judge(held: Value) -> bool:
        if isinstance(held, tuple):
            return any(one_of(item) for item in held if item is not None and item != "")
        return held is not None and held != "" and one_of(held)

    return judge


def _sequence_matcher(value: Value) -> Predicate:
    """Sequence matching (section C.2.2.2.6): an item that matches all keys of the one item of the key."""
    items = [
        Matcher(item) for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, Attributes)
    ]

    def judge(held: Value) -> bool:
        if not isinstance(held, tuple):
            return False
        return any(match(item) for match in items for item in held if isinstance(item, Attributes))

    return judge


def _equal(vr: str, wanted: list[Value]) -> Predicate:
    exact = set(wanted)
    texts = {str(item) for item in wanted if not isinstance(item, (bytes, Attributes))}
    return lambda held: held in exact or (not isinstance(held, (bytes, Attributes)) and str(held) in texts)


def _number(value: Value) -> float | None:
    try:
        return float(value) if isinstance(value, (str, int, float)) else None
    except (ValueError, OverflowError):
        return None


def _numbers(vr: str, wanted: list[Value]) -> Predicate:
    """Numbers, be they written as text; what is no number matches as text."""
    numbers = {number for number in map(_number, wanted) if number is not None}
    equal = _equal(vr, wanted)
    return lambda held: _number(held) in numbers or equal(held)


def _pattern(wanted: list[Value]) -> Callable[[str], object]:
    """One expression for all values: ``*`` and ``?`` are special, nothing else is (section C.2.2.2.4)."""
    # Python's translation of wildcards does not backtrack: a key of stars costs no more time than another.
    parts = [fnmatch.translate(str(item).replace("[", "[[]")) for item in wanted]
    return re.compile("|".join(parts)).match if len(parts) == 1 else _any_of([re.compile(part).match for part in parts])


def _any_of(functions: list[Callable[[str], object]]) -> Callable[[str], bool]:
    return lambda text: any(function(text) for function in functions)


def _texts(vr: str, wanted: list[Value]) -> Predicate:
    if not any(set("*?") & set(str(item)) for item in wanted):
        return _equal(vr, wanted)
    match = _pattern(wanted)
    return lambda held: match(str(held)) is not None if len(wanted) == 1 else bool(match(str(held)))


def _names(vr: str, wanted: list[Value]) -> Predicate:
    """Names of persons, whatever the case: the whole of one, or one of its groups (PS3.5 section 6.2.1)."""
    match = _any_of([_pattern([str(item).casefold().rstrip("^=")]) for item in wanted])

    def judge(held: Value) -> bool:
        name = str(held).casefold()
        return any(match(part.rstrip("^")) for part in {name.rstrip("="), *name.split("=")})

    return judge


_VALUE_MATCHERS: Final[dict[str, Callable[[str, list[Value]], Predicate]]] = {
    **dict.fromkeys(WILDCARD_VRS, _texts),
    **dict.fromkeys(("DS", "IS", *INT_VRS, *FLOAT_VRS), _numbers),
    **dict.fromkeys(("DA", "DT", "TM"), moment_matcher),
    "PN": _names,
}
