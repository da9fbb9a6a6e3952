"""Sorting files as people do who have pydicom at hand: one after the other, into the tree that dcm sort makes."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from pydicom import dcmread

TAGS = ["PatientID", "StudyInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "SOPInstanceUID"]


def main() -> None:
    """``python -m benchmarks._pydicom_sort link|copy [--specific-tags] SOURCE DEST``."""
    method, *_, source, dest = sys.argv[1:]
    tags = TAGS if "--specific-tags" in sys.argv else None
    for path in Path(source).rglob("*"):
        ds = dcmread(path, stop_before_pixels=True, specific_tags=tags)
        series = f"{int(ds.SeriesNumber):03d}-{ds.SeriesDescription}"
        directory = Path(dest) / ds.PatientID / ds.StudyInstanceUID / ds.Modality / series
        directory.mkdir(parents=True, exist_ok=True)
        target = directory / f"{ds.SOPInstanceUID}.dcm"
        if method == "link":
            os.link(path, target)
        else:
            shutil.copyfile(path, target)


if __name__ == "__main__":
    main()
