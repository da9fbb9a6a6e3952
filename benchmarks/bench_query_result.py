"""How many bytes a QueryResult takes for each instance, and how long it takes to build, or, subtract and write.

    python benchmarks/bench_query_result.py [--instances 200000]

The records are made as a reader of C-FIND answers makes them: every value is a new object, so that what is shared is
shared by the QueryResult. Bytes are what the process grows by (RSS) from nothing to the whole result; they hold
everything: the texts, the tuples, the indexes. Bars: 700 bytes an instance, 15 s to build 1,000,000.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from dcm.attrs import Attributes
from dcm.query import QueryLevel, QueryResult

T = TypeVar("T")

PER_SERIES, PER_STUDY, PER_PATIENT = 100, 5, 2
COLUMNS = {
    0x00080016: "UI",
    0x00080018: "UI",
    0x00080020: "DA",
    0x00080030: "TM",
    0x00080060: "CS",
    0x0008103E: "LO",
    0x00100010: "PN",
    0x00100020: "LO",
    0x00181030: "LO",
    0x0020000D: "UI",
    0x0020000E: "UI",
    0x00200011: "IS",
    0x00200013: "IS",
    0x00280010: "US",
    0x00280011: "US",
}
TAGS, VRS = tuple(COLUMNS), tuple(COLUMNS.values())
ROOT = "1.2.826.0.1.3680043.8.498."


def uid(kind: int, number: int) -> str:
    """A UID of 64 characters, the longest there are."""
    return f"{ROOT}{kind}{number:037d}"


def records(n_instances: int) -> Iterator[Attributes]:
    """What a relational query of an archive with CT studies is answered with."""
    for number in range(n_instances):
        series = number // PER_SERIES
        study = series // PER_STUDY
        patient = study // PER_PATIENT
        yield Attributes.from_columns(
            TAGS,
            VRS,
            (
                fresh("1.2.840.10008.5.1.4.1.1.2"),
                uid(4, number),
                f"2020{study % 12 + 1:02d}{study % 28 + 1:02d}",
                f"{study % 24:02d}0102.123456",
                fresh("CT"),
                f"Thorax {series % PER_STUDY} soft tissue",
                f"Name{patient:08d}^Given",
                f"PAT{patient:08d}",
                fresh("Thorax routine"),
                uid(2, study),
                uid(3, series),
                str(series % PER_STUDY + 1),
                str(number % PER_SERIES + 1),
                512,
                512,
            ),
        )


def fresh(text: str) -> str:
    """The same text as an object of its own."""
    return text.encode().decode()


def rss() -> int:
    """Resident bytes of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed(name: str, func: Callable[[], T]) -> T:
    """Run and print how long it took, and by how much the process grew."""
    gc.collect()
    before, start = rss(), time.perf_counter()
    result = func()
    seconds = time.perf_counter() - start
    print(f"{name:<36} {seconds:8.2f} s {(rss() - before) / 1e6:10.1f} MB")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=200_000)
    n_instances = parser.parse_args().instances

    QueryResult(QueryLevel.IMAGE, records(1000))  # import and warm up
    gc.collect()
    print(f"{n_instances:,} instances")
    start = time.perf_counter()
    for _ in records(n_instances):
        pass
    making = time.perf_counter() - start
    before = rss()
    start = time.perf_counter()
    result = QueryResult(QueryLevel.IMAGE, records(n_instances))
    seconds = time.perf_counter() - start
    per_instance = (rss() - before) / n_instances
    print(f"{'build':<36} {seconds:8.2f} s {(rss() - before) / 1e6:10.1f} MB")
    print(f"{'  of which making the records':<36} {making:8.2f} s")
    print(f"{'  per instance':<36} {per_instance:8.0f} bytes {seconds / n_instances * 1e6:6.1f} µs")

    half = QueryResult(QueryLevel.IMAGE, (record for i, record in enumerate(result.records()) if i % 2))
    studies = timed("reduced(STUDY)", lambda: result.reduced(QueryLevel.STUDY))
    timed("result | half", lambda: result | half)
    timed("half | result", lambda: half | result)
    timed("result - half", lambda: result - half)
    timed("result & half", lambda: result & half)
    timed("result ^ half", lambda: result ^ half)
    timed("studies - half", lambda: studies - half)
    timed("result - studies", lambda: result - studies)
    timed("result == its copy", lambda: result == result.copy())
    text = timed("to_json", result.to_json)
    print(f"{'  its length':<36} {len(text) / 1e6:8.1f} MB")
    timed("from_json", lambda: QueryResult.from_json(text))


if __name__ == "__main__":
    main()
