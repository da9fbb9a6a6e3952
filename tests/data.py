"""Sample data, made on the spot: studies of any number and size, one huge object, and pydicom's own test files.

Nothing here needs the network. Where volume matters, a data set is encoded once and its UIDs and numbers are patched
for each instance, so that a thousand small instances take less than 0.1 s.
"""

from __future__ import annotations

import functools
import hashlib
import io
import random
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)

# All made-up UIDs are of one length, so that one can be patched into the place of another.
UID_ROOT = "1.2.826.0.1.3680043.8.498."
UID_LENGTH = 64


@dataclass(frozen=True)
class Sample:
    """One instance in a file, and what an archive should say about it."""

    path: Path
    patient_id: str
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str

    @property
    def data_set_bytes(self) -> bytes:
        """The encoded data set: what should arrive, byte for byte."""
        return data_set_of(self.path.read_bytes())


@dataclass(frozen=True)
class SeriesSpec:
    """A series to be made."""

    patient_id: str = "Vamp001"
    patient_name: str = "Dracula^Count"
    study: str = "1"
    study_date: str = "20201031"
    study_time: str = "164315.866000"
    study_description: str = "Night scan"
    series: int = 1
    series_description: str = "Teeth"
    modality: str = "CT"
    n_instances: int = 3
    rows: int = 32
    columns: int = 32
    charset: str = "ISO_IR 100"
    implicit: bool = False

    @property
    def sop_class_uid(self) -> str:
        """The storage class that fits the modality."""
        return str(MRImageStorage if self.modality == "MR" else CTImageStorage)

    @property
    def transfer_syntax_uid(self) -> str:
        """Explicit VR little endian, unless asked otherwise."""
        return str(ImplicitVRLittleEndian if self.implicit else ExplicitVRLittleEndian)

    @property
    def study_uid(self) -> str:
        """The same for the same patient and study."""
        return make_uid("study", self.patient_id, self.study)

    @property
    def series_uid(self) -> str:
        """The same for the same patient, study and series number."""
        return make_uid("series", self.patient_id, self.study, self.series)


# What the README's tree shows, with fewer instances.
SAMPLE_STUDIES = (
    SeriesSpec(series=1, series_description="Upper teeth"),
    SeriesSpec(series=2, series_description="Lower teeth", n_instances=4),
    SeriesSpec(series=3, series_description="", modality="MR", n_instances=2, implicit=True),
    SeriesSpec(study="2", study_time="203205.137000", series=1, series_description="Coffin, folded/flat"),
    SeriesSpec("Vamp002", "Chocula^Count", "1", "20201031", "102407.269000", "Breakfast", 1, "Bowl"),
    SeriesSpec("Vamp003", "Müller^Jürgen", "1", "20201102", "090000", "Größe", 1, "Übersicht", "MR", 2),
)


def make_uid(*parts: object) -> str:
    """A UID of always the same length that depends on nothing but its parts."""
    digest = int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest(), "big")
    n_digits = UID_LENGTH - len(UID_ROOT)
    return UID_ROOT + "1" + str(digest).rjust(n_digits, "7")[-(n_digits - 1) :]


def write_series(directory: Path, spec: SeriesSpec | None = None, *, first: int = 1) -> list[Sample]:
    """Write one series, a file per instance, and say what it is."""
    spec = spec or SeriesSpec()
    directory.mkdir(parents=True, exist_ok=True)
    template = _Template(spec)
    samples = []
    for number in range(first, first + spec.n_instances):
        uid = make_uid("instance", spec.patient_id, spec.study, spec.series, number)
        path = directory / f"{spec.patient_id}-{spec.study}-{spec.series}-{number:06d}.dcm"
        template.write(path, uid, number)
        samples.append(
            Sample(
                *(path, spec.patient_id, spec.study_uid, spec.series_uid, uid, spec.sop_class_uid),
                spec.transfer_syntax_uid,
            )
        )
    return samples


def write_studies(directory: Path, specs: Iterable[SeriesSpec] = SAMPLE_STUDIES) -> list[Sample]:
    """Write several series into one directory."""
    return [sample for spec in specs for sample in write_series(directory, spec)]


def write_ct(directory: Path, n_instances: int = 10, *, size: int = 512, patient_id: str = "Vamp001") -> list[Sample]:
    """Write a CT series of `size` × `size` × 16 bit: 512 KiB an instance, unless told otherwise."""
    spec = SeriesSpec(patient_id=patient_id, n_instances=n_instances, rows=size, columns=size)
    return write_series(directory, spec)


def write_tiny(directory: Path, n_instances: int = 1000, *, n_series: int = 1) -> list[Sample]:
    """Write instances of 32 × 32 × 16 bit, 2.7 KiB each, by the thousand."""
    specs = [SeriesSpec(series=number + 1, n_instances=n_instances // n_series) for number in range(n_series)]
    return write_studies(directory, specs)


def write_multi_frame(path: Path, n_bytes: int, *, rows: int = 1024, columns: int = 1024) -> Sample:
    """Write one multi-frame object with about `n_bytes` of pixel data, holding no more than a frame in memory.

    With an explicit length: at most 4 GiB.
    """
    frame = _noise(0, rows * columns * 2)
    n_frames = max(1, n_bytes // len(frame))
    spec = SeriesSpec(patient_id="Vamp009", patient_name="Huge^Thing", series=9, rows=rows, columns=columns)
    uid = make_uid("multi-frame", n_frames, rows, columns)
    ds = _data_set(spec, str(MultiFrameGrayscaleWordSecondaryCaptureImageStorage), uid, 1)
    ds.NumberOfFrames = n_frames
    ds.ConversionType = "SYN"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(_encode(ds, ExplicitVRLittleEndian))
        file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, n_frames * len(frame)))
        for _ in range(n_frames):
            file.write(frame)
    sop_class = str(MultiFrameGrayscaleWordSecondaryCaptureImageStorage)
    return Sample(path, spec.patient_id, spec.study_uid, spec.series_uid, uid, sop_class, str(ExplicitVRLittleEndian))


def data_set(spec: SeriesSpec | None = None, number: int = 1) -> Dataset:
    """One instance of a series as a Dataset with its file meta information, as `write_series` would write it."""
    from pydicom import dcmread

    spec = spec or SeriesSpec()
    uid = make_uid("instance", spec.patient_id, spec.study, spec.series, number)
    return dcmread(io.BytesIO(_Template(spec).encode(uid, number)))


def data_set_of(file: bytes) -> bytes:
    """The encoded data set of a DICOM file: what follows preamble and file meta information (PS3.10 section 7)."""
    if file[128:132] != b"DICM":
        raise ValueError("not a DICOM file with a preamble")
    offset = 132
    while file[offset : offset + 2] == b"\x02\x00":
        vr = file[offset + 4 : offset + 6]
        if vr in (b"OB", b"OW", b"UN", b"SQ", b"UT", b"UC", b"UR"):
            (length,) = struct.unpack_from("<I", file, offset + 8)
            offset += 12 + length
        else:
            (length,) = struct.unpack_from("<H", file, offset + 6)
            offset += 8 + length
    return file[offset:]


@functools.cache
def pydicom_files() -> tuple[Path, ...]:
    """The files that the pydicom wheel ships for its tests, DICOM or not, sound or broken.

    The folder is listed: pydicom's own `get_testdata_files` also tries to download others.
    """
    import pydicom

    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    return tuple(sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")))


@functools.cache
def pydicom_charset_files() -> tuple[Path, ...]:
    """The files that the pydicom wheel ships for its tests of character sets."""
    import pydicom

    folder = Path(pydicom.__file__).parent / "data" / "charset_files"
    return tuple(sorted(folder.glob("*.dcm")))


def pydicom_part10_files() -> Iterator[Path]:
    """Those of pydicom's test files that begin as DICOM files do, and are not a DICOMDIR."""
    for path in (*pydicom_files(), *pydicom_charset_files()):
        head = path.read_bytes()[:1024]
        if head[128:132] == b"DICM" and b"1.2.840.10008.1.3.10" not in head:
            yield path


class _Template:
    """A series' instances: one encoding with places for what differs, and the pixel data."""

    def __init__(self, spec: SeriesSpec) -> None:
        uid = make_uid("template")
        syntax = spec.transfer_syntax_uid
        head = _encode(_data_set(spec, spec.sop_class_uid, uid, 999_999), syntax)
        n_bytes = spec.rows * spec.columns * 2
        if spec.implicit:
            head += struct.pack("<HHI", 0x7FE0, 0x0010, n_bytes)
        else:
            head += struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, n_bytes)
        self._head = head
        self._uids = _find_all(head, uid.encode())
        self._numbers = _find_all(head, b"999999")
        self._n_bytes = n_bytes

    def encode(self, uid: str, number: int) -> bytes:
        return b"".join((self._patched(uid, number), self._pixels(number)))

    def write(self, path: Path, uid: str, number: int) -> None:
        with open(path, "wb", buffering=0) as file:
            file.write(self._patched(uid, number) + self._pixels(number))

    def _patched(self, uid: str, number: int) -> bytearray:
        head = bytearray(self._head)
        for offset in self._uids:
            head[offset : offset + UID_LENGTH] = uid.encode()
        for offset in self._numbers:
            head[offset : offset + 6] = b"%6d" % number
        return head

    def _pixels(self, number: int) -> bytes:
        return _noise(number * 2, self._n_bytes)


def _data_set(spec: SeriesSpec, sop_class: str, uid: str, number: int) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = spec.charset
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = uid
    ds.StudyDate = spec.study_date
    ds.StudyTime = spec.study_time
    ds.AccessionNumber = ""
    ds.Modality = spec.modality
    ds.Manufacturer = "dcm tests"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = spec.study_description
    if spec.series_description:
        ds.SeriesDescription = spec.series_description
    ds.PatientName = spec.patient_name
    ds.PatientID = spec.patient_id
    ds.PatientBirthDate = "14310102"
    ds.PatientSex = "M"
    ds.ProtocolName = "Protocol"
    ds.StudyInstanceUID = spec.study_uid
    ds.SeriesInstanceUID = spec.series_uid
    ds.StudyID = spec.study[:16]
    ds.SeriesNumber = spec.series
    ds.InstanceNumber = number
    ds.ImagePositionPatient = [0, 0, 0]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.FrameOfReferenceUID = make_uid("frame of reference", spec.patient_id, spec.study)
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows = spec.rows
    ds.Columns = spec.columns
    ds.PixelSpacing = [0.5, 0.5]
    ds.BitsAllocated = 16
    ds.BitsStored = 12
    ds.HighBit = 11
    ds.PixelRepresentation = 0
    if spec.modality == "CT":
        ds.RescaleIntercept = -1024
        ds.RescaleSlope = 1
    return ds


def _encode(ds: Dataset, transfer_syntax_uid: str) -> bytes:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _find_all(haystack: bytes, needle: bytes) -> list[int]:
    found = []
    offset = haystack.find(needle)
    while offset >= 0:
        found.append(offset)
        offset = haystack.find(needle, offset + 1)
    return found


@functools.cache
def _noise_source() -> bytes:
    """Four MiB of 12 bit noise in 16 bit words: it does not compress to nothing, and no two slices are the same."""
    words = bytearray(random.Random(20201031).randbytes(4 << 20))
    words[1::2] = words[1::2].translate(bytes(value & 0x0F for value in range(256)))
    return bytes(words)


def _noise(start: int, n_bytes: int) -> bytes:
    source = _noise_source()
    start %= len(source)
    piece = source[start : start + n_bytes]
    while len(piece) < n_bytes:
        piece += source[: n_bytes - len(piece)]
    return piece
