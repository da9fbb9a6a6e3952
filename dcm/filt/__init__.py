"""Filters: what becomes of data sets on their way, and which of them go at all.

::

    filt = MultiFilter([
        make_reject_filter(parse_selector("BurnedInAnnotation == YES")),
        make_edit_filter({"PatientID": "ANON1", "PatientName": "", "OtherPatientIDs": None}),
    ])
    edited = filt(ds)               # a Dataset, or None; ds stays as it is
    filt.on_record(record)          # what it makes of a query result, where that tells

A :class:`Filter` says what it reads and writes, so that a sync can find at the destination what a source has under
another name.
"""

from __future__ import annotations

from dcm.filt._edit import make_edit_filter
from dcm.filt._filter import Filter, MultiFilter
from dcm.filt._parse import parse_selector
from dcm.filt._paths import same_element
from dcm.filt._selectors import MultiSelector, Selector, SingleSelector, make_reject_filter

__all__ = [
    "Filter",
    "MultiFilter",
    "MultiSelector",
    "Selector",
    "SingleSelector",
    "make_edit_filter",
    "make_reject_filter",
    "parse_selector",
    "same_element",
]
