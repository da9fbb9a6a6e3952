"""Known edits, made by DCMTK, are found exactly; and what DCMTK only encodes in another way is no difference."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread

from dcm.diff import DataDiff, DiffKind, diff_files
from tests.data import SeriesSpec, pydicom_files, pydicom_part10_files, write_series

pytestmark = [
    pytest.mark.skipif(shutil.which("dcmodify") is None, reason="DCMTK is not installed"),
    pytest.mark.filterwarnings("ignore"),  # pydicom's, about what is in its files
]

FILES = {path.name: path for path in pydicom_files()}


def modified(path: Path, *arguments: str, to: Path) -> Path:
    """A copy of a file with edits by dcmodify."""
    shutil.copyfile(path, to)
    subprocess.run(["dcmodify", "-nb", *arguments, str(to)], check=True, capture_output=True, timeout=10)
    return to


def found(left: Path, right: Path) -> list[DataDiff]:
    return list(diff_files(left, right, file_meta=False).differences)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm"])
def test_each_kind_of_edit_alone(name: str, tmp_path: Path) -> None:
    path = FILES[name]
    patient_id = str(dcmread(path).PatientID)
    edits = {
        "-m PatientID=ANON1": DataDiff("PatientID", DiffKind.CHANGED, patient_id, "ANON1", 0x00100020),
        "-i MedicalAlerts=new": DataDiff("MedicalAlerts", DiffKind.ADDED, None, "new", 0x00102000),
        "-e PatientID": DataDiff("PatientID", DiffKind.MISSING, patient_id, None, 0x00100020),
        "-i MedicalAlerts=": DataDiff("MedicalAlerts", DiffKind.ADDED, None, None, 0x00102000),
        "-m ImageType=A\\B": DataDiff(
            *("ImageType", DiffKind.CHANGED, tuple(dcmread(path).ImageType), ("A", "B"), 0x00080008)
        ),
        "-m Rows=7": DataDiff("Rows", DiffKind.CHANGED, dcmread(path).Rows, 7, 0x00280010),
    }
    for edit, expected in edits.items():
        assert found(path, modified(path, *edit.split(" "), to=tmp_path / "edited.dcm")) == [expected], edit


def test_many_edits_at_once(tmp_path: Path) -> None:
    path = FILES["rtplan.dcm"]
    nested = "BeamSequence[0].ControlPointSequence[1]"
    ds = dcmread(path)
    edited = modified(
        path,
        *("-m", "BeamSequence[0].BeamName=Other", "-e", f"{nested}.CumulativeMetersetWeight"),
        *("-i", f"{nested}.GantryAngle=1.50", "-i", "ReferencedStudySequence[0].ReferencedSOPInstanceUID=1.2.3"),
        to=tmp_path / "edited.dcm",
    )
    assert [str(diff) for diff in found(path, edited)] == [
        "+ ReferencedStudySequence: <1 item: {ReferencedSOPInstanceUID: '1.2.3'}>",
        f"~ BeamSequence[0].BeamName: '{ds.BeamSequence[0].BeamName}' -> 'Other'",
        f"+ {nested}.GantryAngle: '1.5'",
        f"- {nested}.CumulativeMetersetWeight: '1'",
    ]
    assert [diff.kind.value for diff in found(edited, path)] == ["missing", "changed", "missing", "added"]


def test_private_elements(tmp_path: Path) -> None:
    path = FILES["CT_small.dcm"]
    (diff,) = found(path, modified(path, "-m", "(0009,1001)=other", to=tmp_path / "edited.dcm"))
    assert diff == DataDiff("(0009,1001)", DiffKind.CHANGED, "GE_GENESIS_FF", "other", 0x00091001, "GEMS_IDEN_01")
    (diff,) = found(path, modified(path, "-e", "(0009,1001)", to=tmp_path / "edited.dcm"))
    assert (diff.kind, diff.creator) == (DiffKind.MISSING, "GEMS_IDEN_01")
    new = modified(path, "-i", "(0077,0010)=ACME", to=tmp_path / "edited.dcm")
    (diff,) = found(path, new)
    assert str(diff) == "+ (0077,0010) (ACME): 'ACME'"


def test_pixel_data(tmp_path: Path) -> None:
    (sample,) = write_series(tmp_path, SeriesSpec(n_instances=1))
    pixels = tmp_path / "pixels.raw"
    pixels.write_bytes(bytes(dcmread(sample.path).PixelData[:-1]) + b"\x7f")
    edited = modified(sample.path, "-mf", f"PixelData={pixels}", to=tmp_path / "edited.dcm")
    (diff,) = found(sample.path, edited)
    assert re.fullmatch(r"~ PixelData: <2048 bytes, sha256 \w{16}> -> <2048 bytes, sha256 \w{16}>", str(diff))


@pytest.mark.parametrize("syntax", ["+ti", "+te", "+tb", "+td"])
def test_another_transfer_syntax_is_that_and_nothing_else(syntax: str, tmp_path: Path) -> None:
    """pydicom's files that DCMTK converts: all of them to two syntaxes, some to the others."""
    n_converted = 0
    for path in itertools.islice(pydicom_part10_files(), 0, None, 1 if syntax in ("+ti", "+te") else 3):
        if path.stat().st_size > 100_000 or (syntax == "+tb" and path.name in WRITTEN_AS_UNKNOWN):
            continue
        converted = tmp_path / "converted.dcm"
        done = subprocess.run(["dcmconv", syntax, path, converted], capture_output=True, check=False, timeout=10)
        if not done.returncode:  # others are compressed, or broken
            assert found(path, converted) == [], path.name
            assert diff_files(path, converted, only=["PixelData"], pixels=True).differences == (), path.name
            n_converted += "TransferSyntaxUID" in {diff.path for diff in diff_files(path, converted).differences}
    assert n_converted > 4


# They have private elements of type UN. DCMTK leaves their bytes in little endian order in a file that is big endian.
WRITTEN_AS_UNKNOWN = ("chrJapMulti.dcm", "chrJapMultiExplicitIR6.dcm", "chrKoreanMulti.dcm")
