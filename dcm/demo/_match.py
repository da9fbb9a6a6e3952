"""What the demo's archive holds and is asked for are data elements: matching them as `dcm.query.match` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcm.query.match import value_matcher

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement

__all__ = ["element_matches", "values_of"]


def values_of(element: DataElement | None) -> list[str]:
    """The values of an element as texts; none where it is absent or empty."""
    if element is None or element.is_empty or element.VR == "SQ":
        return []
    values = element.value if element.VM > 1 else [element.value]
    return [str(value).strip() for value in values]


def element_matches(key: DataElement, element: DataElement | None) -> bool:
    """Whether what an archive holds matches a key of a request (PS3.4 section C.2.2.2).

    Parameters
    ----------
    key : DataElement
        The key. This archive does not match sequences: one matches everything, as an empty key does.
    element : DataElement or None
        The attribute that the archive holds; None where it has none.
    """
    matches = value_matcher(str(key.VR), tuple(values_of(key)) or None)
    return matches is None or matches(tuple(values_of(element)) or None)
