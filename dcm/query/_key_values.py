"""Whether a value typed by a person can match anything, by the VR of its attribute (PS3.4 section C.2.2.2, PS3.5 6.2).

An archive does not say that a query made no sense: it answers with nothing, or with everything. So what cannot match is
refused here, and the message says how it is written.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable

from dcm.errors import QueryError
from dcm.text import safe_text

__all__ = ["check_value"]

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_TIME = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9]|60)?)?(\.[0-9]{1,6})?")
_DATE_TIME = re.compile(r"[0-9]{4}([0-9]{2}){0,5}(\.[0-9]{1,6})?([+-][0-9]{4})?")
_DATE_WITH_MARKS = re.compile(r"([0-9]{4})[-./]([0-9]{2})[-./]([0-9]{2})")
_TIME_WITH_MARKS = re.compile(r"([0-9]{2}):([0-9]{2})(:([0-9]{2}))?")
_CODE = re.compile(r"[A-Z0-9 _*?]{0,16}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_INT_RANGES = {
    "US": (0, 0xFFFF),
    "SS": (-0x8000, 0x7FFF),
    "UL": (0, 0xFFFFFFFF),
    "SL": (-0x80000000, 0x7FFFFFFF),
    "UV": (0, 0xFFFFFFFFFFFFFFFF),
    "SV": (-0x8000000000000000, 0x7FFFFFFFFFFFFFFF),
    "IS": (-0x80000000, 0x7FFFFFFF),
}
_NO_KEYS = frozenset({"SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN", "AT", "NONE"})


def check_value(key: str, vr: str, text: str) -> str | list[str] | list[int] | list[float]:
    r"""Check the value of a matching key.

    Parameters
    ----------
    key : str
        What the user calls the attribute.
    vr : str
        Its VR.
    text : str
        The value: a single one, ``*`` and ``?`` as wildcards in text, a range of dates or times with a hyphen, a list
        of UIDs or numbers with ``\`` between them.

    Returns
    -------
    str or list
        What a data set takes. ``''`` matches everything, as ``*`` does.

    Raises
    ------
    QueryError
        It can match nothing.
    """
    kind = vr[:2] if vr == "US or SS" else vr
    if kind in _NO_KEYS or " or " in kind:
        raise QueryError(f"{key} cannot be queried: it holds no text, date or number")
    if _CONTROL.search(text):
        raise QueryError(f"{key}={safe_text(text)}: there are control characters in it")
    if text.strip("*") == "":
        return ""
    check = _CHECKS.get(kind)
    return check(key, text, kind) if check else text


def _bad(key: str, text: str, what: str, instead: str = "") -> QueryError:
    return QueryError(f"{key}={safe_text(text)}: {what}", hint=f"did you mean {key}={instead}?" if instead else "")


def _check_dates(key: str, text: str, vr: str) -> str:
    """A date or a range (PS3.4 section C.2.2.2.5): 20201031, 20201001-20201031, 20201001-, -20201031."""
    marked = _DATE_WITH_MARKS.sub(r"\1\2\3", text)
    if marked != text and _is_range(marked, _is_date):
        raise _bad(key, text, "a date is YYYYMMDD", marked)
    if not _is_range(text, _is_date):
        raise _bad(key, text, "a date is YYYYMMDD, a range YYYYMMDD-YYYYMMDD, open at one end YYYYMMDD- or -YYYYMMDD")
    first, _, last = text.partition("-")
    if last and first > last:
        raise _bad(key, text, "the range ends before it begins", f"{last}-{first}")
    return text


def _check_times(key: str, text: str, vr: str) -> str:
    marked = _TIME_WITH_MARKS.sub(r"\1\2\4", text)
    if marked != text and _is_range(marked, _is_time):
        raise _bad(key, text, "a time is HHMMSS", marked)
    if not _is_range(text, _is_time):
        raise _bad(key, text, "a time is HHMMSS, HHMM or HH, a range HHMMSS-HHMMSS, open at one end HHMMSS- or -HHMMSS")
    return text


def _check_date_times(key: str, text: str, vr: str) -> str:
    if not _DATE_TIME.fullmatch(text) and not _is_range(text, lambda part: bool(_DATE_TIME.fullmatch(part))):
        raise _bad(key, text, "a date with time is YYYYMMDDHHMMSS, a range has a hyphen between two of them")
    return text


def _is_range(text: str, is_one: Callable[[str], bool]) -> bool:
    first, hyphen, last = text.partition("-")
    return bool(first or last) and all(is_one(part) for part in (first, last) if part) and (bool(first) or bool(hyphen))


def _is_date(text: str) -> bool:
    if not re.fullmatch("[0-9]{8}", text):
        return False
    try:
        datetime.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True


def _is_time(text: str) -> bool:
    match = _TIME.fullmatch(text)
    return match is not None and (match[4] is None or match[3] is not None)


def _check_uids(key: str, text: str, vr: str) -> list[str]:
    uids = [uid.strip() for uid in text.split("\\")]
    for uid in uids:
        if len(uid) > 64 or not _UID.fullmatch(uid):
            raise _bad(key, text, "a UID is at most 64 digits and dots, without wildcards; a list has \\ between them")
    return uids


def _check_ints(key: str, text: str, vr: str) -> list[int]:
    low, high = _INT_RANGES[vr]
    try:
        numbers = [int(part) for part in text.split("\\")]
    except ValueError:
        raise _bad(key, text, "it must be a whole number, without wildcards") from None
    if not all(low <= number <= high for number in numbers):
        raise _bad(key, text, f"it must be from {low} to {high}")
    return numbers


def _check_int_texts(key: str, text: str, vr: str) -> list[str]:
    return [str(number) for number in _check_ints(key, text, vr)]


def _check_floats(key: str, text: str, vr: str) -> list[float]:
    try:
        return [float(part) for part in text.split("\\")]
    except ValueError:
        raise _bad(key, text, "it must be a number, without wildcards") from None


def _check_float_texts(key: str, text: str, vr: str) -> list[str]:
    _check_floats(key, text, vr)
    parts = [part.strip() for part in text.split("\\")]
    if any(len(part) > 16 or not re.fullmatch(r"[-+0-9.eE]+", part) for part in parts):
        raise _bad(key, text, "it must be a number of at most 16 characters")
    return parts


def _check_codes(key: str, text: str, vr: str) -> list[str]:
    codes = text.split("\\")
    if not all(_CODE.fullmatch(code) for code in codes):
        upper = text.upper()
        fits = all(_CODE.fullmatch(code) for code in upper.split("\\"))
        what = "a code is up to 16 upper case letters, digits, spaces and _"
        raise _bad(key, text, what, upper if fits else "")
    return codes


def _check_age(key: str, text: str, vr: str) -> str:
    if not re.fullmatch("[0-9]{3}[DWMY]", text):
        raise _bad(key, text, "an age is three digits and D, W, M or Y, 045Y say")
    return text


def _check_text_list(key: str, text: str, vr: str) -> list[str]:
    return text.split("\\")


_CHECKS: dict[str, Callable[[str, str, str], str | list[str] | list[int] | list[float]]] = {
    "DA": _check_dates,
    "TM": _check_times,
    "DT": _check_date_times,
    "UI": _check_uids,
    "IS": _check_int_texts,
    "DS": _check_float_texts,
    "FL": _check_floats,
    "FD": _check_floats,
    "CS": _check_codes,
    "AS": _check_age,
    **dict.fromkeys(("US", "SS", "UL", "SL", "UV", "SV"), _check_ints),
    **dict.fromkeys(("AE", "LO", "SH", "PN", "UC"), _check_text_list),
}
