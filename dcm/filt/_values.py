"""New values of elements: what a person types or a JSON file holds, checked by the VR (PS3.5 section 6.2)."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from dcm.errors import UsageError
from dcm.text import safe_text

__all__ = ["CHARSET_VRS", "EditValue", "Plain", "checked_values"]

EditValue: TypeAlias = "str | int | float | bytes | Sequence[str | int | float | bytes] | None"
Plain: TypeAlias = "str | int | float | bytes"

CHARSET_VRS: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""The VRs whose text is encoded by the Specific Character Set."""

_ONE_TEXT_VRS: Final = frozenset({"LT", "ST", "UR", "UT"})  # a backslash in them is one
_BYTES_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_INT_RANGES: Final = {
    "US": (0, 0xFFFF),
    "SS": (-0x8000, 0x7FFF),
    "UL": (0, 0xFFFFFFFF),
    "SL": (-0x80000000, 0x7FFFFFFF),
    "UV": (0, 0xFFFFFFFFFFFFFFFF),
    "SV": (-0x8000000000000000, 0x7FFFFFFFFFFFFFFF),
    "AT": (0, 0xFFFFFFFF),
}
_LENGTHS: Final = {"AE": 16, "CS": 16, "LO": 64, "LT": 10240, "PN": 64, "SH": 16, "ST": 1024, "UI": 64}
_UID: Final = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_CODE: Final = re.compile(r"[A-Z0-9 _]*")
_TIME: Final = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9](([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?")
_DATE_TIME: Final = re.compile(
    r"[0-9]{4}(?:(?P<month>0[1-9]|1[0-2])(?:(?P<day>0[1-9]|[12][0-9]|3[01])(?:(?:[01][0-9]|2[0-3])(?:[0-5][0-9]"
    r"(?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?)?)?)?(?:[+-](?:0[0-9]|1[0-4])[0-5][0-9])?"
)
_AGE: Final = re.compile(r"[0-9]{3}[DWMY]")
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_CONTROL_IN_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff]")  # TAB, LF, FF and CR are allowed
_MARKED_DATE: Final = re.compile(r"([0-9]{4})[-./]([0-9]{2})[-./]([0-9]{2})")


def checked_values(name: str, vr: str, value: EditValue, *, single: bool = False) -> tuple[Plain, ...]:
    r"""The values that an element gets.

    Parameters
    ----------
    name : str
        What the user calls the element, for messages.
    vr : str
        Its VR; '' where that is not known before the data is, so that there is nothing to check yet.
    value : str, number, bytes or list
        Text has ``\`` between several values, unless it is of a VR that has one value only. '' and an empty list empty
        the element.
    single : bool, optional
        Whether the element has one value at most.

    Returns
    -------
    tuple
        Text for a VR of text (IS and DS too), int, float or bytes for the others.

    Raises
    ------
    UsageError
        It is no value of that VR; the message says how one is written.
    """
    values = _listed(vr, value)
    if single and len(values) > 1:
        raise _bad(name, value, f"it has one value, not {len(values)}")
    check = _CHECKS.get(vr)
    if check is None:
        raise UsageError(f"{safe_text(name, 200)} cannot be set: no value of the VR {vr} can be given")
    try:
        # Several empty ones are values too: "A\\B" has an empty one in the middle.
        return tuple([one if one == "" and len(values) > 1 else check(vr, one) for one in values])
    except ValueError as exc:
        raise _bad(name, value, str(exc)) from None


def _listed(vr: str, value: EditValue) -> list[Plain]:
    if value is None or value == "" or value == b"":
        return []
    if isinstance(value, str):
        return [value] if vr in _ONE_TEXT_VRS or vr in _BYTES_VRS else list(value.split("\\"))
    if isinstance(value, (bool, int, float, bytes)):
        return [value]
    # What a JSON file holds may be anything.
    members: Any = value
    if isinstance(members, Sequence) and all(isinstance(one, (str, int, float, bytes)) for one in members):
        return list(members)
    raise UsageError(f"{safe_text(repr(value), 100)} is no value of an element")


def _bad(name: str, value: object, why: str) -> UsageError:
    return UsageError(f"{safe_text(name, 200)} cannot be {safe_text(repr(value), 100)}: {why}")


def _text(vr: str, value: Plain) -> str:
    if isinstance(value, (bool, bytes)):
        raise ValueError("it must be text")
    return str(value)


def _check_text(vr: str, value: Plain) -> str:
    """LO, SH, UC, AE, and the long ones."""
    text = _text(vr, value)
    if (_CONTROL_IN_TEXT if vr in _ONE_TEXT_VRS else _CONTROL).search(text):
        raise ValueError("there are control characters in it")
    if "\\" in text and vr not in _ONE_TEXT_VRS:
        raise ValueError("there is a backslash in a value")
    if len(text) > _LENGTHS.get(vr, len(text)):
        raise ValueError(f"the VR {vr} has at most {_LENGTHS[vr]} characters")
    if vr in ("AE", "UR") and not text.isascii():
        raise ValueError(f"the VR {vr} has ASCII characters only")
    return text.strip(" ") if vr == "AE" else text.rstrip(" ")


def _check_name(vr: str, value: Plain) -> str:
    text = _text(vr, value)
    if _CONTROL.search(text) or "\\" in text:
        raise ValueError("there are control characters in it")
    groups = text.split("=")
    if len(groups) > 3 or any(len(group) > 64 or group.count("^") > 4 for group in groups):
        raise ValueError("a name is Family^Given^Middle^Prefix^Suffix, up to 64 characters, in up to 3 groups with =")
    return text.rstrip(" ")


def _check_code(vr: str, value: Plain) -> str:
    text = _text(vr, value)
    if not _CODE.fullmatch(text) or len(text) > 16:
        upper = text.upper()
        hint = f": did you mean {upper}?" if _CODE.fullmatch(upper) and len(text) <= 16 else ""
        raise ValueError(f"a code is up to 16 upper case letters, digits, spaces and _{hint}")
    return text.strip(" ")


def _check_uid(vr: str, value: Plain) -> str:
    text = _text(vr, value).strip(" ")
    if len(text) > 64 or not _UID.fullmatch(text):
        raise ValueError("a UID is at most 64 digits and dots, and no part begins with a zero")
    return text


def _check_date(vr: str, value: Plain) -> str:
    text = _text(vr, value)
    marked = _MARKED_DATE.sub(r"\1\2\3", text)
    if not is_date(text):
        raise ValueError(f"a date is YYYYMMDD{f', {marked} say' if is_date(marked) else ''}")
    return text


def is_date(text: str) -> bool:
    """Whether it is a day of the calendar, YYYYMMDD."""
    if not re.fullmatch("[0-9]{8}", text):
        return False
    try:
        datetime.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True


def _check_time(vr: str, value: Plain) -> str:
    text = _text(vr, value)
    if not _TIME.fullmatch(text):
        raise ValueError("a time is HHMMSS.FFFFFF, HHMMSS, HHMM or HH")
    return text


def _check_date_time(vr: str, value: Plain) -> str:
    text = _text(vr, value)
    match = _DATE_TIME.fullmatch(text)
    if match is None or (match["day"] and not is_date(text[:8])):
        raise ValueError("a date with time is YYYYMMDDHHMMSS.FFFFFF&ZZXX, cut off anywhere between two parts")
    return text


def _check_age(vr: str, value: Plain) -> str:
    text = _text(vr, value)
    if not _AGE.fullmatch(text):
        raise ValueError("an age is three digits and D, W, M or Y, 045Y say")
    return text


def _check_decimal(vr: str, value: Plain) -> str:
    if isinstance(value, float):
        from pydicom.valuerep import format_number_as_ds

        return format_number_as_ds(value)  # ValueError: it is not finite
    text = _text(vr, value).strip(" ")
    if len(text) > 16 or not _DECIMAL.fullmatch(text):
        raise ValueError("it must be a number of at most 16 characters")
    return text


def _check_integer_text(vr: str, value: Plain) -> str:
    number = _integer(value)
    if not -0x80000000 <= number <= 0x7FFFFFFF:
        raise ValueError("it must be a whole number from -2147483648 to 2147483647")
    text = value.strip(" ") if isinstance(value, str) else str(number)
    if len(text) > 12:
        raise ValueError("the VR IS has at most 12 characters")
    return text


def _check_integer(vr: str, value: Plain) -> int:
    low, high = _INT_RANGES[vr]
    number = _integer(value)
    if not low <= number <= high:
        raise ValueError(f"it must be a whole number from {low} to {high}")
    return number


def _integer(value: Plain) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip(" ")):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("it must be a whole number")


def _check_tag(vr: str, value: Plain) -> int:
    if isinstance(value, str):
        from dcm.keywords import resolve_keyword

        try:
            return resolve_keyword(value)[0]
        except UsageError:
            raise ValueError("it must be a keyword or a tag, (gggg,eeee)") from None
    return _check_integer(vr, value)


def _check_float(vr: str, value: Plain) -> float:
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip(" ")):
        return float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise ValueError("it must be a number")


def _check_bytes(vr: str, value: Plain) -> bytes:
    if isinstance(value, bytes):
        return value
    if vr == "UN" and isinstance(value, str) and value.isascii() and not _CONTROL.search(value):
        return value.encode() + b" " * (len(value) % 2)  # a text whose VR the data does not tell
    raise ValueError(f"the VR {vr} has bytes, which only Python can give; it can be emptied or deleted")


def _check_nothing(vr: str, value: Plain) -> Plain:
    return value


_CHECKS: Final[dict[str, Callable[[str, Plain], Plain]]] = {
    **dict.fromkeys(("AE", "LO", "LT", "SH", "ST", "UC", "UR", "UT"), _check_text),
    **dict.fromkeys(_INT_RANGES, _check_integer),
    **dict.fromkeys(_BYTES_VRS, _check_bytes),
    "": _check_nothing,
    **dict.fromkeys(("FL", "FD"), _check_float),
    "AS": _check_age,
    "AT": _check_tag,
    "CS": _check_code,
    "DA": _check_date,
    "DS": _check_decimal,
    "DT": _check_date_time,
    "IS": _check_integer_text,
    "PN": _check_name,
    "TM": _check_time,
    "UI": _check_uid,
}
