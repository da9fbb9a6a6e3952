"""Attribute matching as an archive does it (PS3.4 section C.2.2.2): pure functions over data elements."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement

__all__ = ["element_matches", "values_of"]

# The value representations that take wildcards (PS3.4 section C.2.2.2.4).
_WILDCARD_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
# What completes a date or a time of less precision: the first and the last moment that it can mean.
_FIRST_MOMENT = {"DA": "00000101", "TM": "000000.000000"}
_LAST_MOMENT = {"DA": "99991231", "TM": "235959.999999"}


def values_of(element: DataElement | None) -> list[str]:
    """The values of an element as texts; none where it is absent or empty."""
    if element is None or element.is_empty or element.VR == "SQ":
        return []
    values = element.value if element.VM > 1 else [element.value]
    return [str(value).strip() for value in values]


def element_matches(key: DataElement, element: DataElement | None) -> bool:
    """Whether what an archive holds matches a key of a request.

    Parameters
    ----------
    key : DataElement
        The key. An empty one, and a sequence, match everything (universal matching, section C.2.2.2.3).
    element : DataElement or None
        The attribute that the archive holds; None where it has none.

    Returns
    -------
    bool
        Several values in the key match as a list of UIDs does (section C.2.2.2.2): one of them must.
    """
    wanted = [value for value in values_of(key) if value]
    if not wanted or wanted == ["*"]:
        return True
    held = values_of(element)
    matches = _matcher(key.VR)
    return any(matches(pattern, value) for pattern in wanted for value in held)


def _matcher(vr: str) -> Callable[[str, str], bool]:
    if vr in _LAST_MOMENT:
        return lambda pattern, value: _in_range(vr, pattern, value)
    if vr == "PN":
        return _name_matches
    if vr in _WILDCARD_VRS:
        return _wildcard_matches
    if vr in ("DS", "IS"):
        return _number_matches
    return lambda pattern, value: pattern == value


def _wildcard_matches(pattern: str, value: str) -> bool:
    """``*`` stands for any characters, ``?`` for one, and nothing else is special (section C.2.2.2.4)."""
    return fnmatch.fnmatchcase(value, pattern.replace("[", "[[]"))


def _name_matches(pattern: str, value: str) -> bool:
    """A person's name, whatever the case: the whole of it, or one of its groups (PS3.5 section 6.2.1)."""
    pattern = pattern.casefold().rstrip("^=")
    names = [name.rstrip("^") for name in (value.casefold(), *value.casefold().split("="))]
    return any(_wildcard_matches(pattern, name) for name in names)


def _number_matches(pattern: str, value: str) -> bool:
    """Numbers that are written as text: ``7`` is ``007``."""
    try:
        return float(pattern) == float(value)
    except ValueError:
        return pattern == value


def _in_range(vr: str, pattern: str, value: str) -> bool:
    """A date or a time, or a range of them that may be open on either side (section C.2.2.2.5)."""
    moment = _earliest(vr, value)
    first, dash, last = pattern.partition("-")
    if not dash:
        last = first
    return (not first or _earliest(vr, first) <= moment) and (not last or moment <= _latest(vr, last))


def _earliest(vr: str, text: str) -> str:
    """The first moment that a date or time of any precision means, so written that texts compare as moments do."""
    digits = _without_punctuation(text)
    return digits + _FIRST_MOMENT[vr][len(digits) :]


def _latest(vr: str, text: str) -> str:
    digits = _without_punctuation(text)
    return digits + _LAST_MOMENT[vr][len(digits) :]


def _without_punctuation(text: str) -> str:
    """As PS3.5 writes it, where an older edition had ``1997.04.24`` or ``09:30:00.5``."""
    text = text.replace(":", "")
    return text.replace(".", "") if re.fullmatch(r"\d{4}\.\d\d\.\d\d", text) else text
