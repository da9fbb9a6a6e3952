"""How two data sets, files or directories differ, element by element, at any depth.

What counts is what an element means, not how it is encoded, see :mod:`dcm.normalize`: byte order, padding, the form of
a number and the VR that an element is written with are no differences; an element that is empty and one that is missing
are. Private elements belong together by their creator, wherever its block is (PS3.5 section 7.8.1). Items of a sequence
belong together by their number, files by their SOP Instance UID.
"""

from __future__ import annotations

from dcm.diff._data_sets import diff_data_sets
from dcm.diff._differences import BytesDigest, DataDiff, DiffKind, PixelChange, kept, shown_pair, tag_text
from dcm.diff._files import FileDiff, FileState, diff_files
from dcm.diff._trees import TreeCounts, diff_trees

__all__ = [
    "BytesDigest",
    "DataDiff",
    "DiffKind",
    "FileDiff",
    "FileState",
    "PixelChange",
    "TreeCounts",
    "diff_data_sets",
    "diff_files",
    "diff_trees",
    "kept",
    "shown_pair",
    "tag_text",
]
