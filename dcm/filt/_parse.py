"""Selectors as they are written in a configuration file: ``StudyDescription == ProjectA``."""

from __future__ import annotations

import re
from typing import Final

from dcm.errors import UsageError
from dcm.filt._selectors import OPERATORS, SingleSelector
from dcm.text import safe_text

__all__ = ["parse_selector"]

_SELECTOR: Final = re.compile(
    r"\s*(?P<inverted>not\s+)?(?P<attr>\S.*?)\s*(?P<op>==|!=|<=|>=|~=|<|>|(?<=\s)in(?=[\s\[(]))\s*(?P<rvalue>.*?)\s*",
    re.DOTALL,
)
# An operator in a value that is not quoted: "Modality == CT and BodyPartExamined == HEAD" would select nothing.
_ANOTHER: Final = re.compile(r"\s(?:==|!=|<=|>=|~=|<|>|&&|\|\|)\s")
_ITEM: Final = re.compile(r'\s*(?:"(?P<double>(?:\\.|[^"\\])*)"|\'(?P<single>[^\']*)\'|(?P<bare>[^,"\']*?))\s*(?:,|\Z)')


def parse_selector(text: str) -> SingleSelector:
    r"""Read a condition.

    Parameters
    ----------
    text : str
        ``ELEMENT OPERATOR VALUE``, with ``not`` before it to invert it: ``StudyDescription == ProjectA``,
        ``StudyDate >= 20200101``, ``PatientName[0] ~= ^Drac``, ``Modality in [CT, MR]``,
        ``SeriesDescription == "a value with, or without, quotes "``. In double quotes a backslash is written ``\\``,
        and a quote ``\"``; in single quotes all is what it is. A pattern needs no quotes, unless
        there is an operator with blanks around it in it.

    Returns
    -------
    SingleSelector

    Raises
    ------
    UsageError
        It is no condition, or looks like several.
    """
    match = _SELECTOR.fullmatch(text)
    if match is None:
        raise UsageError(
            f"'{safe_text(text, 200)}' is no condition",
            hint=f"write ELEMENT OPERATOR VALUE, StudyDescription == ProjectA say; operators: {' '.join(OPERATORS)}",
        )
    inverted, attr, op, rvalue = match.groups()
    if rvalue[:1] not in ("'", '"') and _ANOTHER.search(rvalue):
        raise UsageError(
            f"'{safe_text(text, 200)}' looks like several conditions: one is ELEMENT OPERATOR VALUE",
            hint="several are a table with all_of, any_of or none_of; a value with an operator in it needs quotes",
        )
    value: str | list[str]
    if op == "in":
        value = _list(rvalue, text)
    else:
        value = _value(rvalue, text)
    return SingleSelector(attr, op, value, invert=inverted is not None)


def _value(text: str, whole: str) -> str:
    if text[:1] not in ("'", '"'):
        return text
    match = _ITEM.fullmatch(text)
    if match is None:
        raise UsageError(f"'{safe_text(whole, 200)}': a quotation mark is missing, or one too many")
    return _content(match)


def _list(text: str, whole: str) -> list[str]:
    inner = text[1:-1] if text[:1] + text[-1:] in ("[]", "()") else text
    values, position = [], 0
    while position < len(inner):
        match = _ITEM.match(inner, position)
        if match is None:
            raise UsageError(f"'{safe_text(whole, 200)}': nothing to make of '{safe_text(inner[position:], 100)}'")
        values.append(_content(match))
        position = match.end()
    if not any(values):
        raise UsageError(f"'{safe_text(whole, 200)}': an empty list", hint="write in [A, B]")
    return values


def _content(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return re.sub(r"\\(.)", r"\1", match["double"], flags=re.DOTALL)
    return match["single"] if match["single"] is not None else match["bare"]
