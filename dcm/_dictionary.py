"""The dictionaries of PS3.6 that pydicom carries, without importing pydicom, which takes a hundred times as long.

They are modules of data that import nothing. Where pydicom has been imported already, its own tables are used, with
what a program has added to them.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Entry", "entry_of", "keywords", "private_entry_of", "uid_keyword"]


class Entry(NamedTuple):
    """What a dictionary says of an attribute: VR, VM, name, whether it is retired, keyword ('' for a private one)."""

    vr: str
    vm: str
    name: str
    retired: str
    keyword: str


@functools.lru_cache(maxsize=8192)
def entry_of(tag: int) -> Entry | None:
    """What PS3.6 says of an attribute, those of repeating groups (60xx) too; None for one that it does not have."""
    entry = _table("_dicom_dict").DicomDictionary.get(tag)
    if entry is None and not tag & 0x10000:
        for mask, value, repeated in _repeaters():
            if tag & mask == value:
                return Entry(*repeated)
    return None if entry is None else Entry(*entry)


@functools.lru_cache(maxsize=8192)
def private_entry_of(tag: int, creator: str) -> Entry | None:
    """What is known of a private attribute of a creator (PS3.5 section 7.8.1)."""
    entries = _table("_private_dict").private_dictionaries.get(creator)
    if entries is None:
        return None
    digits = f"{tag:08x}"
    found = entries.get(f"{digits[:4]}xx{digits[6:]}") or entries.get(digits)
    return Entry(found[0], found[1], found[2], found[3], "") if found else None


def uid_keyword(uid: str) -> str:
    """What the standard calls a UID: ``CTImageStorage``; '' for one that it does not have."""
    entry = _table("_uid_dict").UID_dictionary.get(uid)
    return entry[4] if entry else ""


@functools.lru_cache(maxsize=1)
def keywords() -> dict[str, int]:
    """All keywords, and their tags; some retired attributes have none, and those of repeating groups have no tag."""
    return {entry[4]: tag for tag, entry in _table("_dicom_dict").DicomDictionary.items() if entry[4]}


@functools.lru_cache(maxsize=1)
def _repeaters() -> list[tuple[int, int, tuple[str, str, str, str, str]]]:
    """A mask, what is left of a tag under it, and the entry."""
    repeaters = _table("_dicom_dict").RepeatersDictionary.items()
    return [
        (int("".join("0" if digit == "x" else "f" for digit in text), 16), int(text.replace("x", "0"), 16), entry)
        for text, entry in repeaters
    ]


@functools.lru_cache(maxsize=8)
def _table(name: str) -> Any:
    loaded = sys.modules.get(f"pydicom.{name}")
    if loaded is not None:
        return loaded
    package = importlib.util.find_spec("pydicom")
    for place in (package.submodule_search_locations or ()) if package else ():
        path = Path(place) / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"dcm._dictionary.{name}", path) if path.is_file() else None
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return importlib.import_module(f"pydicom.{name}")  # from a zip file, say
