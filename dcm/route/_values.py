"""Reading from an instance what decides where it goes."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from dcm.attrs import Attributes
from dcm.errors import RouteError
from dcm.keywords import keyword_of
from dcm.levels import QueryLevel
from dcm.peek import QUERY_TAGS, Header, peek

if TYPE_CHECKING:
    from dcm.instance import Instance

__all__ = ["node_key", "read_record"]

_HEAD = 64 << 10
_NO_PIXEL_DATA = "an image without pixel data"  # what a header calls a problem, and was seen to its end all the same
_PATIENT, _STUDY = QueryLevel.PATIENT, QueryLevel.STUDY


def read_record(instance: Instance, tags: AbstractSet[int]) -> Attributes:
    """Read some elements of an instance; blocks on the disk unless it is in memory.

    Parameters
    ----------
    instance : Instance
    tags : set of int
        Of the top level.

    Returns
    -------
    record : Attributes
        Those that it has.

    Raises
    ------
    RouteError
        One of them cannot be read, or it cannot be known whether it is there.
    StoreError
        The file of the instance cannot be read.
    """
    header = instance.header if tags <= QUERY_TAGS else _look(instance, tags)
    missing = [tag for tag in tags if tag not in header.encoded]
    if missing and not _saw(header, max(missing)):
        names = ", ".join(map(keyword_of, sorted(missing)))
        raise RouteError(f"cannot be read as far as it decides where it goes ({names}): {header.problem}")
    record = header.attributes.only(tags)
    lost = [tag for tag in tags if tag in header.encoded and tag not in record]
    if lost:
        raise RouteError(f"{', '.join(map(keyword_of, sorted(lost)))}, which decides where it goes, cannot be read")
    return record


def _look(instance: Instance, tags: AbstractSet[int]) -> Header:
    # What private elements are is decided by their creators.
    blocks = {tag >> 16 << 16 | (tag >> 8 & 0xFF) for tag in tags if tag >> 16 & 1}
    head = instance.read(0, instance.size if instance.in_memory else _HEAD)
    return peek(
        head,
        instance.transfer_syntax_uid,
        frozenset(QUERY_TAGS | tags | blocks),
        total=instance.size,
        read=lambda pos, n: bytes(instance.read(pos, n)),
    )


def _saw(header: Header, tag: int) -> bool:
    """Whether all of the data set up to an element was seen: elements come in the order of their tags."""
    to_the_end = header.complete is True or header.pixel_offset is not None or _NO_PIXEL_DATA in header.problem
    return to_the_end or tag < max(header.encoded, default=0)


def node_key(instance: Instance, level: QueryLevel) -> tuple[QueryLevel, str] | None:
    """The patient, study or series of an instance; None where it does not say which that is.

    Two studies without a Patient ID are not of one patient: there the study takes its place.
    """
    uid = instance.header.text(level.uid_tag)
    if not uid and level is _PATIENT:
        level = _STUDY
        uid = instance.header.text(level.uid_tag)
    return (level, uid) if uid else None
