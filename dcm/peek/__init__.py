"""Looking at DICOM without decoding it: who an instance is, its query attributes, and whether all of it is there.

`peek` and `peek_file` walk over the headers of an encoded data set and jump over its values. They take a tenth
to a fiftieth of the time that pydicom needs for the same, and tell what pydicom does not: whether the data is complete.
`read_attributes` reads all of a small data set, such as the identifier of a C-FIND response.

All of them take data from strangers: they never recurse, never read more than they must, and what cannot be right
leads to a note in the header or to an `InvalidDicomError`.
"""

from __future__ import annotations

from dcm.peek._file import peek_file, peek_open_file
from dcm.peek._header import Header, peek
from dcm.peek._inflate import inflate
from dcm.peek._record import check_depth, read_attributes
from dcm.peek._tables import QUERY_TAGS

__all__ = ["QUERY_TAGS", "Header", "check_depth", "inflate", "peek", "peek_file", "peek_open_file", "read_attributes"]
