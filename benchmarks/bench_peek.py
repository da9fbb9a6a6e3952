"""How fast headers are read, beside pydicom: files with ``peek_file``, identifiers of C-FIND with ``read_attributes``.

    python -m benchmarks.bench_peek [--files 200] [--runs 7]

CT images of 512 KiB with about 100 elements before their pixel data, in a warm page cache. pydicom reads 15 query
attributes with ``dcmread(stop_before_pixels=True, specific_tags=...)`` and their values; ``peek_file`` reads all of
`QUERY_TAGS` and sees whether the file is complete, and the texts of the same 15 are taken. Runs are paired: a ratio is
pydicom's time divided by ours in the same round. The bar is 10, for the median of the ratios.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.filewriter import dcmwrite
from pydicom.tag import Tag
from pydicom.uid import UID

from dcm.peek import peek_file, read_attributes
from tests.data import SeriesSpec, data_set, data_set_of, make_uid

BAR = 10.0
SYNTAXES = {"explicit": UID("1.2.840.10008.1.2.1"), "implicit": UID("1.2.840.10008.1.2")}
TAGS = (
    *(0x00080016, 0x00080018, 0x00080020, 0x00080030, 0x00080050, 0x00080060, 0x00081030, 0x0008103E, 0x00100010),
    *(0x00100020, 0x00100030, 0x0020000D, 0x0020000E, 0x00200011, 0x00200013),
)
PYDICOM_TAGS = [Tag(tag) for tag in TAGS]
MORE = {"DS": "1.25", "IS": "7", "LO": "Some protocol option", "SH": "short", "CS": "CODE", "TM": "101010", "US": 3}


def ct_image() -> Dataset:
    """A CT image with as many elements as scanners write."""
    from pydicom._dicom_dict import DicomDictionary

    ds = data_set(SeriesSpec(rows=512, columns=512))
    for tag, (vr, _, _, retired, _) in sorted(DicomDictionary.items()):
        if 0x00180000 < tag < 0x00280000 and vr in MORE and tag not in ds and not retired and len(ds) < 100:
            ds.add_new(tag, vr, MORE[vr])
    for tag in (0x00081110, 0x00081140, 0x00400275):
        item = Dataset()
        item.ReferencedSOPClassUID = ds.SOPClassUID
        item.ReferencedSOPInstanceUID = make_uid(tag)
        ds.add_new(tag, "SQ", [item])
    return ds


def write_files(directory: Path, n_files: int, syntax: UID) -> list[str]:
    """Write images that differ in their UID and number only."""
    ds = ct_image()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    paths = []
    for number in range(n_files):
        ds.SOPInstanceUID = make_uid("peek", number)
        ds.InstanceNumber = number
        path = directory / f"{number}.dcm"
        dcmwrite(path, ds, enforce_file_format=True)
        paths.append(str(path))
    return paths


def pydicom_file(path: str) -> list[Any]:
    ds = dcmread(path, stop_before_pixels=True, specific_tags=PYDICOM_TAGS)
    return [ds[tag].value for tag in PYDICOM_TAGS if tag in ds]


def dcm_file(path: str) -> list[str]:
    text = peek_file(path).text
    return [text(tag) for tag in TAGS]


def identifiers(n: int, syntax: UID) -> list[bytes]:
    """Answers to a query at the IMAGE level."""
    ds = Dataset()
    whole = ct_image()
    for tag in (0x00080005, *TAGS):
        ds[tag] = whole[tag]
    ds.QueryRetrieveLevel = "IMAGE"
    ds.RetrieveAETitle = "ARCHIVE"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    encoded = []
    for number in range(n):
        ds.SOPInstanceUID = make_uid("identifier", number)
        ds.InstanceNumber = number
        buffer = io.BytesIO()
        dcmwrite(buffer, ds, enforce_file_format=True)
        encoded.append(data_set_of(buffer.getvalue()))
    return encoded


def race(
    name: str, others: Callable[[Any], object], ours: Callable[[Any], object], items: Sequence[Any], runs: int
) -> float:
    """Time both in turn; print and return the median of the ratios."""
    times: list[tuple[float, float]] = []
    for number in range(runs + 1):
        laps = []
        for func in (others, ours):
            start = time.perf_counter()
            for item in items:
                func(item)
            laps.append((time.perf_counter() - start) / len(items) * 1e6)
        if number:  # the first round warms up
            times.append((laps[0], laps[1]))
    ratios = sorted(other / our for other, our in times)
    median = statistics.median(ratios)
    other, our = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{name:<24} {other:9.1f} µs {our:9.1f} µs {ratios[0]:8.1f} {median:8.1f} {ratios[-1]:8.1f}")
    return median


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="little data and two runs: the figures mean nothing")
    options = parser.parse_args()
    n_files, runs = (20, 2) if options.quick else (options.files, options.runs)

    print(f"{'each, median':<24} {'pydicom':>12} {'dcm':>12} {'least':>8} {'median':>8} {'most':>8}  (times as fast)")
    medians = []
    for name, syntax in SYNTAXES.items():
        with tempfile.TemporaryDirectory() as directory:
            paths = write_files(Path(directory), n_files, syntax)
            medians.append(race(f"file, {name} VR", pydicom_file, dcm_file, paths, runs))
    for name, syntax in SYNTAXES.items():

        def pydicom_identifier(data: bytes, implicit: bool = name == "implicit") -> list[Any]:
            return [element.value for element in read_dataset(io.BytesIO(data), implicit, True)]

        def dcm_identifier(data: bytes, syntax: str = syntax) -> object:
            return read_attributes(data, syntax)

        race(f"identifier, {name} VR", pydicom_identifier, dcm_identifier, identifiers(n_files * 5, syntax), runs)
    if min(medians) < BAR and not options.quick:
        print(f"missed: a file at least {BAR:g} times as fast")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
