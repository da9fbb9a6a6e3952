"""What the tests of a `LocalEntity` share: results that name samples, data sets as they lie on disk."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable
from pathlib import Path

from dcm.attrs import Attributes
from dcm.levels import QueryLevel
from dcm.query import QueryResult
from tests.data import Sample, data_set_of

_PLACE = {
    QueryLevel.PATIENT: ((0x00100020, "LO", "patient_id"),),
    QueryLevel.STUDY: ((0x0020000D, "UI", "study_uid"),),
    QueryLevel.SERIES: ((0x0020000E, "UI", "series_uid"),),
    QueryLevel.IMAGE: ((0x00080018, "UI", "sop_instance_uid"), (0x00080016, "UI", "sop_class_uid")),
}


def result_of(samples: Iterable[Sample], level: QueryLevel = QueryLevel.IMAGE) -> QueryResult:
    """What a query at a level would give for some samples."""
    tags = [place for above in QueryLevel if above <= level for place in _PLACE[above]]
    records = [Attributes.from_items((tag, vr, getattr(s, name)) for tag, vr, name in tags) for s in samples]
    return QueryResult(level, records)


def data_sets(paths: Iterable[Path]) -> set[bytes]:
    """The encoded data sets of some files."""
    return {data_set_of(path.read_bytes()) for path in paths}


def bytes_of(samples: Iterable[Sample]) -> set[bytes]:
    """The encoded data sets that should arrive."""
    return {sample.data_set_bytes for sample in samples}


def open_things() -> set[str]:
    """Our threads, connections and files that are open now."""
    found = {f"thread {thread.name}" for thread in threading.enumerate() if thread.name.startswith("dcm-")}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = str(Path(f"/proc/self/fd/{name}").readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            with socket.socket(fileno=os.dup(int(name))) as sock:
                if sock.family is not socket.AF_UNIX:
                    found.add(f"{target} {sock.getsockname()}")
        elif not target.startswith(("pipe:", "anon_inode:", "/dev/", "/proc/")):
            found.add(f"{name} {target}")
    return found
