"""Instances: in memory, in a temporary file, in a file, from a Dataset; the bytes stay what they are."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit

from dcm._atomic import TempFile
from dcm.errors import InvalidDicomError, StoreError
from dcm.instance import Instance
from dcm.part10 import pack_meta
from dcm.peek import peek_file
from tests.data import SeriesSpec, data_set, data_set_of, pydicom_part10_files, write_ct, write_series
from tests.peek.encoding import DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, Encoding, deflate, encode
from tests.peek.test_scan import IMAGE, SMALL, bomb, nested

PATIENT_ID = 0x00100020
CT = "1.2.840.10008.5.1.4.1.1.2"
DATA = encode(IMAGE, Encoding())


def in_memory(data: bytes = DATA, syntax: str = EXPLICIT_LE) -> Instance:
    return Instance.from_buffer(CT, "1.2.3.4", syntax, data, "STORESCU")


def in_temp(directory: Path, data: bytes = DATA, syntax: str = EXPLICIT_LE) -> Instance:
    temp = TempFile.create(directory)
    meta = pack_meta(CT, "1.2.3.4", syntax, "STORESCU")
    temp.write(meta, data)
    return Instance.from_temp(CT, "1.2.3.4", syntax, temp, len(meta), data[:20], "STORESCU")


def in_file(directory: Path, data: bytes = DATA, syntax: str = EXPLICIT_LE) -> Instance:
    path = directory / "in.dcm"
    path.write_bytes(pack_meta(CT, "1.2.3.4", syntax, "OTHER") + data)
    return Instance.from_file(path)


@pytest.fixture(params=["memory", "temp", "file"])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Instance:
    if request.param == "memory":
        return in_memory()
    return in_temp(tmp_path) if request.param == "temp" else in_file(tmp_path)


def test_who_it_is(instance: Instance) -> None:
    assert (instance.sop_class_uid, instance.sop_instance_uid) == (CT, "1.2.3.4")
    assert instance.transfer_syntax_uid == EXPLICIT_LE
    assert instance.size == len(DATA)
    assert instance.header.complete
    assert instance.header.text(PATIENT_ID) == "Vamp001"
    assert instance.header is instance.header
    assert "1.2.3.4" in repr(instance)


def test_its_bytes_are_the_ones_it_was_given(instance: Instance) -> None:
    assert b"".join(instance.chunks()) == DATA
    assert [len(chunk) for chunk in instance.chunks(100)][:-1] == [100] * (len(DATA) // 100)
    assert b"".join(instance.chunks(7)) == DATA
    assert instance.read(0, len(DATA)) == DATA
    assert instance.read(10, 20) == DATA[10:30]
    assert instance.read(len(DATA) - 3, 20) == DATA[-3:]
    assert instance.read(len(DATA), 5) == b""


def test_it_becomes_a_file(instance: Instance) -> None:
    file = instance.meta_bytes() + b"".join(instance.chunks())
    assert file[:132] == bytes(128) + b"DICM"
    ds = dcmread(io.BytesIO(file))
    assert ds.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert ds.file_meta.get("SourceApplicationEntityTitle", "") == instance.source_ae
    assert data_set_of(file) == DATA


def test_it_becomes_a_dataset(instance: Instance) -> None:
    ds = instance.dataset
    assert ds.PatientID == "Vamp001"
    assert ds.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert ds.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert ds.PixelData == bytes(100)
    ds.PatientID = "changed"
    assert instance.dataset.PatientID == "Vamp001"
    assert instance.read(0, len(DATA)) == DATA


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_buffer_will_do(kind: type[bytearray] | type[memoryview]) -> None:
    instance = Instance.from_buffer(CT, "1.2.3.4", EXPLICIT_LE, kind(DATA))
    assert instance.size == len(DATA)
    assert instance.header.complete
    assert b"".join(instance.chunks(50)) == DATA
    assert instance.dataset.PatientID == "Vamp001"
    assert instance.in_memory


def test_a_buffer_is_not_copied() -> None:
    data = bytearray(DATA)
    view = memoryview(Instance.from_buffer(CT, "1.2.3.4", EXPLICIT_LE, data).read(0, 10))
    assert view.obj is data


@pytest.mark.parametrize("path", list(pydicom_part10_files()), ids=lambda path: f"{path.parent.name}/{path.name}")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_files_of_pydicom(path: Path) -> None:
    if not peek_file(path).sop_instance_uid:
        assert "SOPInstanceUID" not in dcmread(path)
        with pytest.raises(InvalidDicomError, match="does not say which SOP instance it is"):
            Instance.from_file(path)
        return
    instance = Instance.from_file(path)
    data = path.read_bytes()
    assert b"".join(instance.chunks(5000)) == data[instance.header.data_offset :]
    if "meta_missing" not in path.name:
        assert b"".join(instance.chunks()) == data_set_of(data)
    assert instance.path == path
    assert not instance.in_memory
    ds, expected = instance.dataset, dcmread(path)
    assert ds == expected
    assert ds.file_meta.TransferSyntaxUID == instance.transfer_syntax_uid


# -- temporary files


def test_closing_discards_the_temporary_file(tmp_path: Path) -> None:
    with in_temp(tmp_path) as instance:
        assert instance.temp is not None
        assert instance.temp.fd >= 0
    assert instance.temp.fd == -1
    instance.close()
    in_memory().close()


def test_the_header_of_what_lies_in_a_temporary_file_is_read_beyond_the_head(tmp_path: Path) -> None:
    private = b"\x09\x00\x01\x10UN\0\0\x00\x00\x02\x00" + bytes(0x20000)
    data = encode(IMAGE[:2], Encoding()) + private + encode(IMAGE[3:], Encoding())
    instance = in_temp(tmp_path, data)
    assert (instance.header.complete, instance.header.text(PATIENT_ID)) == (True, "Vamp001")
    assert in_temp(tmp_path, data[:-1]).header.complete is False


def test_a_deflated_one_in_a_temporary_file(tmp_path: Path) -> None:
    instance = in_temp(tmp_path, deflate(DATA), DEFLATED)
    assert (instance.header.complete, instance.header.text(PATIENT_ID)) == (True, "Vamp001")
    assert instance.dataset.PatientID == "Vamp001"


# -- files


def test_a_file_without_identity_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.dcm"
    path.write_bytes(pack_meta("", "", EXPLICIT_LE) + encode(SMALL[2:], Encoding()))
    with pytest.raises(InvalidDicomError, match=r"in\.dcm: does not say which SOP instance it is"):
        Instance.from_file(path)
    path.write_bytes(b"hello")
    with pytest.raises(InvalidDicomError, match=r"in\.dcm: not a DICOM file"):
        Instance.from_file(path)
    with pytest.raises(StoreError, match=r"cannot read .*missing: No such file"):
        Instance.from_file(tmp_path / "missing")


def test_a_file_without_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "bare"
    path.write_bytes(DATA)
    instance = Instance.from_file(path)
    assert instance.transfer_syntax_uid == EXPLICIT_LE
    assert b"".join(instance.chunks()) == DATA


def test_a_file_that_is_cut_short_is_an_instance_that_says_so(tmp_path: Path) -> None:
    instance = in_file(tmp_path, DATA[:-10])
    assert instance.header.complete is False


@pytest.mark.parametrize("change", ["append", "replace", "remove", "cut"])
def test_a_file_that_changed_is_not_passed_on(tmp_path: Path, change: str) -> None:
    instance = in_file(tmp_path)
    assert instance.path is not None
    if change == "append":
        with open(instance.path, "ab") as file:
            file.write(b"more")
    elif change == "cut":
        os.truncate(instance.path, instance.path.stat().st_size - 5)
    else:
        data = instance.path.read_bytes()
        instance.path.unlink()
        if change == "replace":
            instance.path.write_bytes(data)
            os.utime(instance.path, ns=(1, 1))
    for read in (lambda: instance.read(0, 10), lambda: list(instance.chunks()), lambda: instance.dataset):
        with pytest.raises(StoreError, match=r"has changed since|No such file"):
            read()


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    instance = in_file(tmp_path)
    chunks = instance.chunks(10)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert instance.read(0, 5) == DATA[:5]
    assert instance.dataset.PatientID == "Vamp001"
    assert len(os.listdir("/proc/self/fd")) == before


# -- decoding


def test_deep_nesting_is_refused_before_pydicom_sees_it() -> None:
    for undefined in (True, False):
        data = encode(SMALL, Encoding()) + nested(500, Encoding(), undefined=undefined)
        with pytest.raises(InvalidDicomError, match="deeper than 64"):
            _ = in_memory(data).dataset


def test_a_bomb_is_refused_before_pydicom_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcm._codec._INFLATE_LIMIT", 1 << 20)
    with pytest.raises(InvalidDicomError, match="inflates to more than 1 MiB"):
        _ = in_memory(bomb(4 << 20), DEFLATED).dataset


def test_a_deflated_dataset_says_that_it_was() -> None:
    ds = in_memory(deflate(DATA), DEFLATED).dataset
    assert ds.file_meta.TransferSyntaxUID == DEFLATED
    assert ds.PatientID == "Vamp001"
    again = Instance.from_dataset(ds)
    assert again.transfer_syntax_uid == DEFLATED
    assert zlib.decompress(again.read(0, again.size), -15) == DATA


def test_what_pydicom_cannot_decode_is_our_error() -> None:
    odd = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0"
    with pytest.raises(InvalidDicomError, match=r"cannot decode 1\.2\.3\.4"):
        _ = in_memory(encode(SMALL, Encoding()) + odd).dataset


# -- from a Dataset


@pytest.mark.parametrize("implicit", [True, False])
def test_a_dataset_that_was_read(implicit: bool, tmp_path: Path) -> None:
    sample = write_series(tmp_path, SeriesSpec(implicit=implicit))[0]
    instance = Instance.from_dataset(dcmread(sample.path))
    assert instance.sop_instance_uid == sample.sop_instance_uid
    assert instance.transfer_syntax_uid == (IMPLICIT_LE if implicit else EXPLICIT_LE)
    assert b"".join(instance.chunks()) == sample.data_set_bytes


def test_the_transfer_syntax_of_the_file_meta_information_counts() -> None:
    ds = data_set()
    ds.file_meta.TransferSyntaxUID = UID(EXPLICIT_BE)
    instance = Instance.from_dataset(ds)
    assert instance.transfer_syntax_uid == EXPLICIT_BE
    assert instance.header.complete
    assert instance.dataset.PatientID == ds.PatientID


@pytest.mark.parametrize(("implicit", "syntax"), [(True, IMPLICIT_LE), (False, EXPLICIT_LE)])
def test_without_it_the_encoding_that_it_was_read_in(implicit: bool, syntax: str) -> None:
    ds = data_set(SeriesSpec(implicit=implicit))
    del ds.file_meta
    assert Instance.from_dataset(ds).transfer_syntax_uid == syntax
    assert not hasattr(ds, "file_meta")


def made_by_hand() -> Dataset:
    ds = Dataset()
    ds.SOPClassUID = CT
    ds.SOPInstanceUID = "1.2.3"
    ds.PatientName = "Dracula^Count"
    return ds


def test_a_dataset_made_by_hand_must_say_how() -> None:
    ds = made_by_hand()
    with pytest.raises(InvalidDicomError, match=r"set ds\.file_meta\.TransferSyntaxUID"):
        Instance.from_dataset(ds)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(IMPLICIT_LE)
    instance = Instance.from_dataset(ds)
    assert instance.dataset == ds
    assert list(ds.file_meta) == [ds.file_meta["TransferSyntaxUID"]]


def test_a_dataset_without_identity_is_no_instance() -> None:
    ds = made_by_hand()
    ds.SOPInstanceUID = ""
    with pytest.raises(InvalidDicomError, match="SOP Instance UID"):
        Instance.from_dataset(ds)


def test_compressed_pixel_data() -> None:
    ds = data_set()
    ds.PixelData = encapsulate([b"\xff\xd8 no real JPEG \xff\xd9"])
    ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OB"
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    instance = Instance.from_dataset(ds)
    assert instance.transfer_syntax_uid == JPEGBaseline8Bit
    assert instance.header.complete
    del ds.file_meta
    with pytest.raises(InvalidDicomError, match="does not say how"):
        Instance.from_dataset(ds)


def test_pixel_data_that_is_not_what_the_transfer_syntax_says() -> None:
    ds = data_set()
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    with pytest.raises(InvalidDicomError, match="cannot encode"):
        Instance.from_dataset(ds)


def test_a_large_instance_is_read_in_pieces(tmp_path: Path) -> None:
    sample = write_ct(tmp_path, 1)[0]
    instance = Instance.from_file(sample.path)
    sizes = [len(chunk) for chunk in instance.chunks(1 << 16)]
    assert max(sizes) == 1 << 16
    assert sum(sizes) == instance.size
