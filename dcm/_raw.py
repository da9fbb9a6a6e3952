"""Looking at the elements of a pydicom Dataset, and copying them, without a change to what is not touched.

pydicom decodes an element in place when it is read, and encodes it anew from then on: spaces become NUL, or the other
way round. What has not been read is written as it came.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dcm.attrs import MAX_DEPTH, SPECIFIC_CHARACTER_SET, Attributes
from dcm.errors import InvalidDicomError

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataelem import DataElement

__all__ = ["decoded", "own_copy", "record_of"]


def decoded(ds: Dataset, tag: int) -> DataElement:
    """An element that is there, decoded; in the data set it stays as it came."""
    before = ds.get_item(tag)
    element = ds[tag]
    if before is not element:
        ds[tag] = before
    return element


def own_copy(ds: Dataset, tags: Iterable[int] | None = None) -> Dataset:
    """A copy whose elements can be read, replaced and changed without an effect on the original.

    Parameters
    ----------
    ds : Dataset
    tags : iterable of int, optional
        Only these, as far as they are there.

    Raises
    ------
    InvalidDicomError
        Sequences are nested deeper than `MAX_DEPTH`.
    """
    return _own_copy(ds, tags, 0)


def _own_copy(ds: Dataset, tags: Iterable[int] | None, depth: int) -> Dataset:
    if depth > MAX_DEPTH:
        raise InvalidDicomError(f"sequences are nested deeper than {MAX_DEPTH}")
    result = copy.copy(ds)
    elements = {}
    for tag in list(ds.keys()) if tags is None else [tag for tag in tags if tag in ds]:
        element = ds.get_item(tag, keep_deferred=True)
        # A raw element is an immutable tuple. A buffered value (a file, pixel data as a rule) cannot be copied.
        shared = element.is_raw or element.is_buffered
        elements[element.tag] = element if shared else _copied(element, depth)
    # The one place that reaches into pydicom: its own shallow copy shares the elements with the original.
    vars(result).update(_dict=elements, _private_blocks={})
    if "file_meta" in vars(ds):
        result.file_meta = copy.deepcopy(ds.file_meta)
    return result


def _copied(element: DataElement, depth: int) -> DataElement:
    if element.VR != "SQ":
        return copy.deepcopy(element)
    # The same by hand: a deep copy of a deep sequence takes more of the stack than there is.
    from pydicom.sequence import Sequence

    result = copy.copy(element)
    items = Sequence([_own_copy(item, None, depth + 1) for item in element.value or ()])
    if hasattr(element.value, "is_undefined_length"):
        items.is_undefined_length = element.value.is_undefined_length
    result.value = items
    return result


def record_of(ds: Dataset, tags: Iterable[int]) -> Attributes:
    """Some elements of a data set as a record; the data set itself stays as it is."""
    wanted = set(tags)
    # What private elements are is decided by their creators.
    blocks = {tag >> 16 << 16 | (tag >> 8 & 0xFF) for tag in wanted if tag >> 16 & 1}
    part = own_copy(ds, {SPECIFIC_CHARACTER_SET, *blocks, *wanted})
    return Attributes.from_dataset(part, wanted)
