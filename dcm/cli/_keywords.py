"""``Keyword=value`` on the command line and in the columns of a table, as a query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dcm import keywords
from dcm.errors import QueryError, UsageError
from dcm.query._key_values import check_value
from dcm.text import safe_text

if TYPE_CHECKING:
    from pydicom import Dataset

    from dcm.attrs import Attributes, Value

__all__ = ["add_key", "is_unlimited", "parse_query", "parse_usual", "resolve_keyword"]

_SPECIFIC_CHARACTER_SET = 0x00080005
_QUERY_RETRIEVE_LEVEL = 0x00080052


def resolve_keyword(key: str) -> tuple[int, str]:
    """The tag and the VR of what the user calls an attribute, and can be queried.

    Parameters
    ----------
    key : str
        A keyword of PS3.6, ``(gggg,eeee)``, ``gggg,eeee`` or ``ggggeeee``.

    Raises
    ------
    QueryError
        There is no such attribute; the hint is the nearest keyword.
    """
    try:
        tag, vr = keywords.resolve_keyword(key)
    except UsageError as exc:
        raise QueryError(exc.message, hint=exc.hint) from None
    if tag >> 16 & 1:
        raise QueryError(f"{key} is a private attribute: its VR is not known")
    if not vr:
        raise QueryError(f"there is no attribute {key} in the dictionary (PS3.6)")
    return tag, vr


def parse_query(assignments: Iterable[str]) -> Dataset:
    """The query that a list of ``Keyword=value`` stands for.

    Parameters
    ----------
    assignments : iterable of str
        ``Keyword=`` asks for an attribute, whatever its value.

    Raises
    ------
    QueryError
        Something in it is no attribute or no value, or is there twice.
    """
    from pydicom import Dataset

    query = Dataset()
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise QueryError(f"'{safe_text(assignment)}' has no value", hint=f"write {safe_text(key)}=VALUE")
        add_key(query, key.strip(), value)
    return query


def parse_usual(assignments: Sequence[str]) -> Attributes | None:
    """Like `parse_query`, without pydicom and its dictionary, whose import takes longer than a small query.

    Returns
    -------
    Attributes or None
        None where something in it is not usual, or wrong: `parse_query` knows what, and says so.
    """
    from dcm.attrs import Attributes
    from dcm.keywords import USUAL

    items: dict[int, tuple[int, str, Value]] = {}
    for assignment in assignments:
        key, _, text = assignment.partition("=")
        tag, vr = USUAL.get(key.strip(), (0, ""))
        if not (tag and text.strip("*") and text.isascii()) or tag in items:
            return None
        value = check_value(key, vr, text)
        values: tuple[Value, ...] = (value,) if isinstance(value, str) else tuple(value)
        items[tag] = tag, vr, values if len(values) > 1 else values[0]
    return Attributes.from_items(items.values())


def add_key(query: Dataset, key: str, text: str) -> None:
    """Put a key into a query.

    Raises
    ------
    QueryError
        It is no attribute or no value for it, or the query has it already.
    """
    from pydicom import config
    from pydicom.dataelem import DataElement

    tag, vr = resolve_keyword(key)
    if tag == _QUERY_RETRIEVE_LEVEL:
        raise QueryError(f"{key} is not queried for", hint="say --level")
    if tag >> 16 < 0x0008:
        raise QueryError(f"{key} is no attribute of a data set")
    if tag in query and tag != _SPECIFIC_CHARACTER_SET:
        raise QueryError(f"{key} is given twice", hint=r"a list of UIDs is written with \ between them")
    value = check_value(key, vr, text)
    plain_vr = "US" if vr == "US or SS" else vr
    query[tag] = DataElement(tag, plain_vr, value, validation_mode=config.IGNORE)
    if not text.isascii() and _SPECIFIC_CHARACTER_SET not in query:
        query.SpecificCharacterSet = "ISO_IR 192"


def is_unlimited(query: Dataset) -> bool:
    """Whether a query asks for everything: it has no key with a value that leaves anything out."""
    beside = (_SPECIFIC_CHARACTER_SET, _QUERY_RETRIEVE_LEVEL)
    return not any(
        element.tag not in beside and not element.is_empty and str(element.value).strip("*") for element in query
    )
