"""Sorting files into a tree: see `sort`.

::

    from dcm.sort import SortReport, sort

    report = SortReport()
    await sort(["mess", "/mnt/cdrom", "scans.zip"], "sorted", report=report)
    print(report.summary())

Every file that is looked at ends in exactly one state, which the report names. Which instance a file is, is told by its
content, never by its name; where it goes, a template makes of its attributes (`dcm.template`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcm._lazy import lazy

if TYPE_CHECKING:
    from dcm.sort._formats import FORMATS as FORMATS
    from dcm.sort._formats import example_of as example_of
    from dcm.sort._formats import template_of as template_of
    from dcm.sort._report import SortedFile as SortedFile
    from dcm.sort._report import SortReport as SortReport
    from dcm.sort._report import SortState as SortState
    from dcm.sort._sort import sort as sort
    from dcm.store.local_dir import Conflict as Conflict
else:
    # When they are first used: a process that looks at files needs none of them, and starts in half the time.
    _EXPORTS = {
        "FORMATS": "dcm.sort._formats",
        "Conflict": "dcm.store.local_dir",
        "SortReport": "dcm.sort._report",
        "SortState": "dcm.sort._report",
        "SortedFile": "dcm.sort._report",
        "example_of": "dcm.sort._formats",
        "sort": "dcm.sort._sort",
        "template_of": "dcm.sort._formats",
    }
    __getattr__, __dir__ = lazy(__name__, _EXPORTS)


__all__ = ["FORMATS", "Conflict", "SortReport", "SortState", "SortedFile", "example_of", "sort", "template_of"]
