"""The files that a DICOMDIR names (PS3.10 section 8.6, PS3.3 annex F).

What it says is taken for a stranger's word: a reference is a list of names, each looked for in a directory listing,
so that none leads out of the directory of the DICOMDIR, through a symbolic link, or into a device.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from dcm.attrs import Attributes
from dcm.errors import DataError
from dcm.instance import Instance
from dcm.peek import read_attributes

__all__ = ["referenced_files"]

_RECORDS = 0x00041220  # Directory Record Sequence
_FILE_ID = 0x00041500  # Referenced File ID
_MAX_SIZE = 256 << 20
_VERSION_RE = re.compile(r"\.?(;[0-9]+)?\Z")  # what ISO 9660 appends, and some systems show


def referenced_files(path: str) -> Iterator[tuple[str, str]]:
    """Find the files that a DICOMDIR names.

    Parameters
    ----------
    path : str
        The DICOMDIR.

    Yields
    ------
    path, reason : str
        A file, and '', or why it cannot be used. A file that is named twice comes once.

    Raises
    ------
    DataError, StoreError
        It cannot be read.
    """
    with Instance.from_file(path) as directory:
        if directory.size > _MAX_SIZE:
            raise DataError(f"{path} has {directory.size} bytes: no DICOMDIR is so large")
        data = bytes(directory.read(0, directory.size))
        records = read_attributes(data, directory.transfer_syntax_uid, tags=frozenset({_RECORDS})).get(_RECORDS)
    root = os.path.dirname(path) or "."  # noqa: PTH120 - a path that need not be normal
    listings: dict[str, dict[str, os.DirEntry[str]]] = {}
    seen: set[str] = set()
    for record in records if isinstance(records, tuple) else ():
        if not isinstance(record, Attributes):
            continue
        names = record.text(_FILE_ID).split("\\")
        if names == [""] or (name := "/".join(names)) in seen:
            continue
        seen.add(name)
        yield _resolve(root, names, listings)


def _resolve(root: str, names: list[str], listings: dict[str, dict[str, os.DirEntry[str]]]) -> tuple[str, str]:
    """The file of a reference, by names in any case: systems show those of ISO 9660 as they like."""
    told = os.path.join(root, *[name.replace("/", "%2F") for name in names])  # noqa: PTH118
    place = root
    for depth, name in enumerate(names):
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            return told, "the DICOMDIR names a file outside of its directory"
        try:
            listing = listings.get(place)
            if listing is None:
                listing = listings[place] = _listing(place)
        except OSError as exc:
            return told, exc.strerror or str(exc)
        entry = listing.get(name) or listing.get(_key(name))
        if entry is None:
            return told, "the DICOMDIR names it, and it is not there"
        if entry.is_symlink():
            return told, "the DICOMDIR names it, and a symbolic link is in the way"
        if depth < len(names) - 1 and not entry.is_dir(follow_symlinks=False):
            return told, "the DICOMDIR names it, and it is not there"
        place = entry.path
    return place, ""


def _listing(path: str) -> dict[str, os.DirEntry[str]]:
    with os.scandir(path) as entries:
        found = sorted(entries, key=lambda entry: entry.name, reverse=True)
    # The name as it is comes before another one that only looks like it.
    return {_key(entry.name): entry for entry in found} | {entry.name: entry for entry in found}


def _key(name: str) -> str:
    return _VERSION_RE.sub("", name).casefold()
