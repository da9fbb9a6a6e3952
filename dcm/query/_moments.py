"""Dates and times as keys of a query: a moment of whatever precision, or a range (PS3.4 section C.2.2.2.5)."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Final

from dcm.attrs import Value

__all__ = ["moment_matcher"]

_OFFSET = r"[+-](?:0\d|1[0-4])[0-5]\d"
_FORMS: Final = {
    # As PS3.5 section 6.2 writes them, and with the marks of the ACR-NEMA standard.
    "DA": re.compile(r"(\d{4})(?:\.?(\d\d)(?:\.?(\d\d))?)?", re.ASCII),
    "TM": re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6}))?)?)?", re.ASCII),
    "DT": re.compile(rf"(\d{{4}}(?:\d\d){{0,5}})(?:\.(\d{{1,6}}))?({_OFFSET})?", re.ASCII),
}
_FIRST: Final = {"DA": "00000101", "TM": "000000000000", "DT": "00000101000000000000"}
_LAST: Final = {"DA": "99991231", "TM": "235959999999", "DT": "99991231235959999999"}
# A hyphen and four digits after a moment: an offset from UTC where it can be one, else the end of a range.
_RANGES: Final = {
    "DA": re.compile(r"\s*([\d.]*)\s*-\s*([\d.]*)\s*", re.ASCII),
    "TM": re.compile(r"\s*([\d.:]*)\s*-\s*([\d.:]*)\s*", re.ASCII),
    "DT": re.compile(rf"\s*([\d.]*(?:{_OFFSET})?)\s*-\s*([\d.]*(?:{_OFFSET})?)\s*", re.ASCII),
}

_Span = tuple[str, str]


def moment_matcher(vr: str, wanted: list[Value]) -> Callable[[Value], bool]:
    """Compile the values of a key.

    Parameters
    ----------
    vr : str
        DA, TM or DT.
    wanted : list of Value
        Moments and ranges, of which one must match. What is neither matches the same text only.

    Returns
    -------
    callable
        Says whether one value that is held matches. Its first moment must be within the range: that of a DT of 2020 is
        the beginning of 2020. A DT with an offset from UTC is converted to UTC, one without is taken as it is.
    """
    spans = [span for span in (_key_span(vr, str(item).strip()) for item in wanted) if span is not None]
    texts = {str(item).strip() for item in wanted}

    def judge(held: Value) -> bool:
        text = str(held).strip()
        span = _span(vr, text)
        if span is None:
            return text in texts
        return any(first <= span[0] <= last for first, last in spans)

    return judge


def _key_span(vr: str, text: str) -> _Span | None:
    """The first and the last moment that a key means; None where it is neither a moment nor a range."""
    moment = _span(vr, text)
    if moment is not None:
        return moment
    match = _RANGES[vr].fullmatch(text)
    if match is None or not any(match.groups()):
        return None
    first, last = (_span(vr, end) if end else ("", "~") for end in match.groups())
    return None if first is None or last is None else (first[0], last[1])


def _span(vr: str, text: str) -> _Span | None:
    """The first and the last moment that a text can mean, so written that texts compare as moments do."""
    match = _FORMS[vr].fullmatch(text)
    if match is None:
        return None
    if vr == "DA":
        digits = "".join(filter(None, match.groups()))
        return digits + _FIRST[vr][len(digits) :], digits + _LAST[vr][len(digits) :]
    if vr == "TM":
        digits = "".join(filter(None, match.groups()))
        return digits + _FIRST[vr][len(digits) :], digits + _LAST[vr][len(digits) :]
    date, fraction, offset = match.groups()
    if fraction and len(date) < 14:
        return None
    digits = date + (fraction or "")
    ends = digits + _FIRST[vr][len(digits) :], digits + _LAST[vr][len(digits) :]
    return ends if offset is None else _in_utc(ends, offset)


def _in_utc(ends: _Span, offset: str) -> _Span | None:
    sign = -1 if offset[0] == "-" else 1
    delta = sign * dt.timedelta(hours=int(offset[1:3]), minutes=int(offset[3:]))
    try:
        first, last = [dt.datetime.strptime(end, "%Y%m%d%H%M%S%f") - delta for end in ends]  # noqa: DTZ007
    except (ValueError, OverflowError):
        return None
    return first.strftime("%Y%m%d%H%M%S%f").rjust(20, "0"), last.strftime("%Y%m%d%H%M%S%f").rjust(20, "0")
