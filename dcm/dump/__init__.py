"""Showing what is in a DICOM file: as text, as JSON, as a picture.

Everything in it comes from strangers. What is text here is safe for a terminal, nothing is ever recursed into, and
what is long is not read unless it is asked for.
"""

from __future__ import annotations

from dcm.dump._dump import dump_formatted, dump_json, dump_plain, dump_whole
from dcm.dump._format import LineFormat
from dcm.dump._json import encode_json
from dcm.dump._select import Selection
from dcm.dump._source import BytesSource, FileSource, NotDicomError, Source, StreamSource, source_of
from dcm.dump._walk import Element, walk

__all__ = [
    "BytesSource",
    "Element",
    "FileSource",
    "LineFormat",
    "NotDicomError",
    "Selection",
    "Source",
    "StreamSource",
    "dump_formatted",
    "dump_json",
    "dump_plain",
    "dump_whole",
    "encode_json",
    "source_of",
    "walk",
]
