"""The files that are instances, and how the index is asked for them."""

from __future__ import annotations

from dataclasses import dataclass

from dcm.store.index._writing import LISTED

__all__ = ["FILES", "IN_ORDER", "IndexedFile"]


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file that holds an instance.

    Parameters
    ----------
    path : str
        Relative to the root; `os.fsencode` gives the bytes of a name that is not text.
    sop_instance_uid, sop_class_uid, transfer_syntax_uid, series_uid : str
    size, mtime_ns, inode : int
        What it looked like when it was read.
    copy : int
        How many files of the same instance come before it: by directories, then by names.
    """

    path: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    series_uid: str
    size: int
    mtime_ns: int
    inode: int
    copy: int = 0


FILES = (
    "SELECT d.path, f.name, f.sop_uid, h.sop_class_uid, h.transfer_syntax_uid, h.series_uid, f.size, f.mtime_ns, "
    "f.inode, f.copy FROM file f JOIN header h ON h.id = f.header JOIN directory d ON d.id = f.directory WHERE "
)
IN_ORDER = f" IN {LISTED} ORDER BY h.patient_id, h.study_uid, h.series_uid, f.sop_uid, f.copy"
