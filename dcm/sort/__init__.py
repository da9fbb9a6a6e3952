"""Sorting files into a tree: see `sort`.

::

    from dcm.sort import sort

    report = await sort(["mess", "/mnt/cdrom", "scans.zip"], "sorted")
    print(report.summary())

Every file that is looked at ends in exactly one state, which the report names. Which instance a file is, is told by its
content, never by its name; where it goes, a template makes of its attributes (`dcm.template`).
"""

from __future__ import annotations

from dcm.sort._formats import FORMATS, example_of, template_of
from dcm.sort._report import SortedFile, SortReport, SortState
from dcm.sort._sort import sort
from dcm.store.local_dir import Conflict

__all__ = ["FORMATS", "Conflict", "SortReport", "SortState", "SortedFile", "example_of", "sort", "template_of"]
