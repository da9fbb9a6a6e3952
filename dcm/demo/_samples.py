"""Sample studies for the demo's archive: made on the spot, and a few of the files that pydicom is installed with.

Nothing is downloaded and nothing needs numpy. The same call makes the same files, UIDs included.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["SAMPLE_SERIES", "SampleSeries", "pydicom_files", "write_samples"]

N_PIXELS = 64

# Small ones of different patients, each in another transfer syntax.
_PYDICOM_FILES = ("CT_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "rtplan.dcm")


@dataclass(frozen=True)
class SampleSeries:
    """One series to be made."""

    patient_id: str
    patient_name: str
    study_id: str
    study_date: str
    study_time: str
    study_description: str
    number: int
    description: str
    modality: str
    n_instances: int
    implicit: bool = False


SAMPLE_SERIES = (
    SampleSeries("Vamp001", "Dracula^Count", "1", "20201031", "164315.866000", "Jaw", 1, "Upper teeth", "CT", 8),
    SampleSeries("Vamp001", "Dracula^Count", "1", "20201031", "164315.866000", "Jaw", 2, "Lower teeth", "CT", 6),
    SampleSeries("Vamp001", "Dracula^Count", "2", "20201031", "203205.137000", "Head", 1, "T1 transversal", "MR", 4),
    SampleSeries("Vamp002", "Chocula^Count", "1", "20201031", "102407.269000", "Jaw", 1, "Cavities", "CT", 5, True),
    SampleSeries("Vamp003", "Yamada^Tarou=山田^太郎", "1", "20201102", "090000", "Größe", 1, "Übersicht", "MR", 2),
)


def write_samples(directory: Path) -> list[Path]:
    """Make the sample studies.

    Parameters
    ----------
    directory : Path
        Where the files go, one for each instance; it exists.

    Returns
    -------
    list of Path
        The files that were written.
    """
    return [path for series in SAMPLE_SERIES for path in _write_series(directory, series)]


def pydicom_files() -> list[Path]:
    """The sample files of the installed pydicom, as far as there are any: distributions may leave them out."""
    import pydicom

    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    return [path for name in _PYDICOM_FILES if (path := folder / name).is_file()]


def _write_series(directory: Path, series: SampleSeries) -> Iterator[Path]:
    from pydicom.filewriter import dcmwrite

    for number in range(1, series.n_instances + 1):
        ds = _data_set(series, number)
        path = directory / f"{ds.SOPInstanceUID}.dcm"
        dcmwrite(path, ds, enforce_file_format=True)
        yield path


def _data_set(series: SampleSeries, number: int) -> Dataset:
    """One slice, with what the CT and the MR image modules require (PS3.3 sections A.3 and A.4)."""
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset

    def made_uid(*parts: object) -> str:
        return uid.generate_uid(entropy_srcs=["dcm demo", series.patient_id, *map(str, parts)])

    study_uid = made_uid(series.study_id)
    series_uid = made_uid(series.study_id, series.number)
    is_mr = series.modality == "MR"
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "OTHER" if is_mr else "AXIAL"]
    ds.SOPClassUID = uid.MRImageStorage if is_mr else uid.CTImageStorage
    ds.SOPInstanceUID = made_uid(series.study_id, series.number, number)
    ds.StudyDate = ds.SeriesDate = series.study_date
    ds.StudyTime = ds.SeriesTime = series.study_time
    ds.AccessionNumber = f"{series.study_date}{series.study_id}"
    ds.Modality = series.modality
    ds.Manufacturer = "dcm demo"
    ds.ReferringPhysicianName = "Van Helsing^Abraham"
    ds.StudyDescription = series.study_description
    ds.SeriesDescription = series.description
    ds.PatientName = series.patient_name
    ds.PatientID = series.patient_id
    ds.PatientBirthDate = "14310102"
    ds.PatientSex = "M"
    ds.StudyInstanceUID = study_uid
    ds.SeriesInstanceUID = series_uid
    ds.StudyID = series.study_id
    ds.SeriesNumber = series.number
    ds.AcquisitionNumber = 1
    ds.InstanceNumber = number
    ds.FrameOfReferenceUID = made_uid(series.study_id, "frame of reference")
    ds.PositionReferenceIndicator = ""
    ds.ImagePositionPatient = [-32, -32, 2 * number]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.SliceThickness = 2
    ds.PatientPosition = "HFS"
    ds.BodyPartExamined = "HEAD"
    _add_acquisition(ds, is_mr=is_mr)
    _add_picture(ds, number / (series.n_instances + 1))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if series.implicit else uid.ExplicitVRLittleEndian
    return ds


def _add_acquisition(ds: Dataset, *, is_mr: bool) -> None:
    if is_mr:
        ds.ScanningSequence = "SE"
        ds.SequenceVariant = "NONE"
        ds.ScanOptions = ""
        ds.MRAcquisitionType = "2D"
        ds.RepetitionTime = 500
        ds.EchoTime = 15
        ds.EchoTrainLength = 1
    else:
        ds.KVP = 120
        ds.RescaleIntercept = -1024
        ds.RescaleSlope = 1


def _add_picture(ds: Dataset, depth: float) -> None:
    """Add a picture: a slice of a ball at a `depth` of 0 to 1, brighter towards its middle."""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows = ds.Columns = N_PIXELS
    ds.PixelSpacing = [1, 1]
    ds.BitsAllocated = 16
    ds.BitsStored = 12
    ds.HighBit = 11
    ds.PixelRepresentation = 0
    middle = (N_PIXELS - 1) / 2
    squares = [(number - middle) ** 2 for number in range(N_PIXELS)]
    size = (1 - (2 * depth - 1) ** 2) * middle**2
    pixels = array("H", (max(0, int(4 * (size - x - y))) & 0xFFF for y in squares for x in squares))
    if array("H", [1]).tobytes()[0] == 0:
        pixels.byteswap()
    ds.add_new(0x7FE00010, "OW", pixels.tobytes())
