"""Comparing the value of an element with one that a person gave: by the VR (PS3.5 section 6.2).

A value becomes something that Python can order: a date, a number, an age in days, text. What is no date in an element
of dates cannot be compared: nothing is true of it, but that it is not equal.
"""

from __future__ import annotations

import datetime
import re
import struct
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias

from dcm.attrs import FLOAT_VRS, INT_VRS, SINGLE_TEXT_VRS, Value
from dcm.errors import InvalidDicomError, UsageError
from dcm.text import safe_text

__all__ = ["Key", "check_pattern", "keys_of", "texts_of", "wanted_key"]

Key: TypeAlias = "str | Decimal | datetime.date | datetime.datetime | tuple[int, int, int, int]"

_DAYS: Final = {"D": Decimal(1), "W": Decimal(7), "M": Decimal("30.4375"), "Y": Decimal("365.25")}
_AGE: Final = re.compile(r"([0-9]{1,3})([DWMY])")
_DATE: Final = re.compile(r"([0-9]{4})([-./]?)([0-9]{2})\2([0-9]{2})")
_TIME: Final = re.compile(r"([0-9]{2}):?(?:([0-9]{2}):?(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?")
_DATE_TIME: Final = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?)?)?)?"
    r"(?:([+-])([0-9]{2})([0-9]{2}))?"
)


def _date(text: str) -> datetime.date | None:
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return datetime.date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None


def _time(text: str) -> tuple[int, int, int, int] | None:
    """What is left out is zero: 10 is 10:00:00. A leap second is a second 60."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    hour, minute, second = (int(part or 0) for part in match.groups()[:3])
    if hour > 23 or minute > 59 or second > 60:
        return None
    return hour, minute, second, int((match[4] or "0").ljust(6, "0"))


def _date_time(text: str) -> datetime.datetime | None:
    """What is left out is the beginning; without an offset from UTC it is taken for UTC."""
    match = _DATE_TIME.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second = (
        int(part or default) for part, default in zip(match.groups()[:6], (0, 1, 1, 0, 0, 0), strict=True)
    )
    try:
        offset = datetime.timedelta(hours=int(match[9] or 0), minutes=int(match[10] or 0))
        zone = datetime.timezone(-offset if match[8] == "-" else offset)
        micro = int((match[7] or "0").ljust(6, "0"))
        moment = datetime.datetime(year, month, day, hour, minute, min(second, 59), micro, zone)
        return moment.astimezone(datetime.timezone.utc)
    except (ValueError, OverflowError):
        return None


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _single_precision(text: str) -> Decimal | None:
    """As a 32 bit float holds it, so that 0.1 is what a file says that was given 0.1."""
    number = _number(text)
    try:
        return None if number is None else Decimal(struct.unpack("<f", struct.pack("<f", float(number)))[0])
    except OverflowError:
        return None


def _double_precision(text: str) -> Decimal | None:
    number = _number(text)
    return None if number is None else Decimal(float(number))


def _age(text: str) -> Decimal | None:
    match = _AGE.fullmatch(text.strip())
    return int(match[1]) * _DAYS[match[2]] if match else None


def _tag(text: str) -> Decimal | None:
    from dcm.keywords import resolve_keyword

    try:
        return Decimal(resolve_keyword(text)[0])
    except UsageError:
        return _number(text)


def _text(text: str) -> str:
    return text.strip(" ")


_KEYS: Final[dict[str, Callable[[str], Key | None]]] = {
    **dict.fromkeys((*INT_VRS, "IS", "DS"), _number),
    "FL": _single_precision,
    "FD": _double_precision,
    "AS": _age,
    "AT": _tag,
    "DA": _date,
    "TM": _time,
    "DT": _date_time,
}
_MEANT: Final = {
    "DA": "a date is YYYYMMDD",
    "TM": "a time is HHMMSS",
    "DT": "a date with time is YYYYMMDDHHMMSS",
    "AS": "an age is 045Y, 6M, 10W or 3D",
    "AT": "it must be a keyword or a tag",
}


def wanted_key(name: str, vr: str, wanted: object) -> Key:
    """What a value that a person gave is compared as.

    Raises
    ------
    UsageError
        It is none for that VR.
    """
    text = str(wanted)
    key = _KEYS.get(vr, _text)(text)
    if key is None:
        meant = _MEANT.get(vr, "it must be a number")
        raise UsageError(f"{safe_text(name, 200)} is compared with {safe_text(repr(text), 100)}: {meant}")
    return key


def texts_of(vr: str, value: Value, position: int | None) -> list[str]:
    """The values of an element as text; of a name also each of its groups, or one component of each."""
    if vr == "PN":
        names = [str(one) for one in _listed(value)]
        if position is None:
            return [text for name in names for text in dict.fromkeys((name, *name.split("=")))]
        parts = [group.split("^") for name in names for group in name.split("=")]
        return [part[position] for part in parts if -len(part) <= position < len(part)]
    if vr in SINGLE_TEXT_VRS:
        return [str(one) for one in _listed(value)]
    texts = [repr(one) if vr in FLOAT_VRS else str(one) for one in _listed(value)]
    if position is None:
        return texts
    return [texts[position]] if -len(texts) <= position < len(texts) else []


def keys_of(vr: str, texts: list[str]) -> list[Key]:
    """What the values of an element are compared as; those that are none are left out."""
    make = _KEYS.get(vr, _text)
    return [key for text in texts if (key := make(text)) is not None]


def _listed(value: Value) -> list[Any]:
    if value is None or value == "":
        return []
    return [one for one in value if one is not None] if isinstance(value, tuple) else [value]


_REPEAT: Final = re.compile(r"[*+]|\{[0-9]*,[0-9]*\}|\{[0-9]+\}")
_TOKEN: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?[^)]*?[:=!>])?|.", re.DOTALL)
_VERBOSE: Final = re.compile(r"\(\?[aiLmsu]*x[aiLmsux]*(?:-[ims]+)?:")
_MAX_PATTERN = 500
_MAX_CHOICES = 8
# How long a value may be for a pattern with so many repetitions: a search that begins anywhere tries about
# n ** (k + 1) / (k + 1)! ways at worst, here some ten million. The VRs of one line have 64 characters.
_MAX_SEARCHED: Final = (1 << 20, 4096, 384, 128, 64)


def check_pattern(text: str) -> Callable[[str], bool]:
    """A search for a regular expression that takes no more than a moment, whatever is searched.

    The pattern comes from a person, the values from anywhere: a value must not be able to keep us busy for hours. So
    what is repeated may not itself repeat or offer a choice, there are few repetitions and choices, and the more there
    are, the shorter are the values that can be searched.

    Returns
    -------
    callable
        Says whether the pattern is found in a text; `InvalidDicomError` if that is too long for it.

    Raises
    ------
    UsageError
        It is no regular expression, or one of those.
    """
    shown = safe_text(text, 100)
    if len(text) > _MAX_PATTERN:
        raise UsageError(f"the pattern '{shown}' is too long: {_MAX_PATTERN} characters are the most")
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as exc:
        raise UsageError(f"'{shown}' is no regular expression: {exc}") from None
    if pattern.flags & re.VERBOSE or _VERBOSE.search(text):
        raise UsageError(f"the pattern '{shown}' has blanks that mean nothing (x): write it without them")
    limit = _MAX_SEARCHED[_count_repeats(text, shown)]

    def search(value: str) -> bool:
        if len(value) > limit:
            raise InvalidDicomError(f"a value of {len(value)} characters is too long to search it for '{shown}'")
        return pattern.search(value) is not None

    return search


def _count_repeats(text: str, shown: str) -> int:
    """How many repetitions there are in a pattern that compiles."""
    risky = [False]  # for each group that is open: whether it repeats or offers a choice
    closed = repeated = False  # whether the token before was the end of such a group, a repetition
    n_repeats = n_choices = position = 0
    while position < len(text):
        repeat = _REPEAT.match(text, position)
        if repeat:
            if closed:
                raise UsageError(
                    f"the pattern '{shown}' repeats what repeats or offers a choice: that can take for ever",
                    hint="(a+)+ is a+, and (a|b)* is [ab]*",
                )
            n_repeats += 1
            risky[-1], repeated, closed, position = True, True, False, repeat.end()
            continue
        match = _TOKEN.match(text, position)
        assert match is not None
        piece, position = match.group(), match.end()
        if piece.startswith("("):
            risky.append(False)
        elif piece == "|" or (piece == "?" and not repeated):
            n_choices += len(risky) > 1 or piece == "?"
            risky[-1] = True
        closed = piece == ")" and risky.pop()
        risky[-1] |= closed
        repeated = False
    if n_repeats >= len(_MAX_SEARCHED) or n_choices > _MAX_CHOICES:
        raise UsageError(
            f"the pattern '{shown}' has {n_repeats} repetitions and {n_choices} choices: "
            f"{len(_MAX_SEARCHED) - 1} and {_MAX_CHOICES} are the most"
        )
    return n_repeats
