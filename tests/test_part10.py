"""The frame of a DICOM file: what pydicom reads back from ours, and what we read from others'."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import FileMetaDataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info

from dcm import part10
from dcm.errors import InvalidDicomError
from dcm.part10 import pack_meta, read_meta
from tests.data import pydicom_charset_files, pydicom_files

CT = "1.2.840.10008.5.1.4.1.1.2"
LE = part10.EXPLICIT_VR_LITTLE_ENDIAN


def _read_back(head: bytes) -> FileMetaDataset:
    return dcmread(io.BytesIO(head)).file_meta


def test_pydicom_reads_what_we_pack() -> None:
    head = pack_meta(CT, "1.2.3", LE, "STORESCU")
    meta = _read_back(head)
    assert head[:128] == bytes(128)
    assert meta.FileMetaInformationGroupLength == len(head) - 132 - 12
    assert meta.FileMetaInformationVersion == b"\x00\x01"
    assert meta.MediaStorageSOPClassUID == CT
    assert meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert meta.TransferSyntaxUID == LE
    assert meta.ImplementationClassUID == part10.IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == part10.IMPLEMENTATION_VERSION_NAME
    assert meta.SourceApplicationEntityTitle == "STORESCU"


def test_no_source_no_element() -> None:
    assert "SourceApplicationEntityTitle" not in _read_back(pack_meta(CT, "1.2.3", LE))


def test_the_implementation_identifies_itself_within_the_limits() -> None:
    from pydicom.uid import UID

    assert UID(part10.IMPLEMENTATION_CLASS_UID).is_valid
    assert part10.IMPLEMENTATION_CLASS_UID.startswith("2.25.")
    assert 0 < len(part10.IMPLEMENTATION_VERSION_NAME) <= 16


@pytest.mark.filterwarnings("ignore:.*VR UI.*:UserWarning")
@pytest.mark.parametrize("uid", ["1.2.003", "not a uid", "1.2.3" * 20, ""])
def test_uids_pass_through_as_they_are(uid: str) -> None:
    head = pack_meta(CT, uid, LE)
    meta = read_meta(head)
    assert meta is not None
    assert meta.sop_instance_uid == uid
    assert str(_read_back(head).MediaStorageSOPInstanceUID or "") == uid


def test_a_uid_that_fits_nowhere_is_refused() -> None:
    with pytest.raises(InvalidDicomError, match="does not fit"):
        pack_meta(CT, "1" * 65536, LE)


text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=64)


@given(text, text, text, st.binary(max_size=20))
def test_what_is_packed_is_read(sop_class: str, instance: str, source: str, data: bytes) -> None:
    head = pack_meta(sop_class, instance, LE, source)
    meta = read_meta(head + b"\x08\x00" + data)
    assert meta == part10.FileMeta(sop_class, instance, LE, source, len(head), truncated=False)


def test_without_prefix_there_is_no_meta() -> None:
    assert read_meta(b"") is None
    assert read_meta(bytes(200)) is None
    bare = pack_meta(CT, "1.2.3", LE)[132:]
    assert read_meta(bare) is None
    meta = read_meta(bare, need_prefix=False)
    assert meta is not None
    assert (meta.sop_class_uid, meta.data_offset) == (CT, len(bare))


def _meta(**elements: object) -> bytes:
    meta = FileMetaDataset()
    for keyword, value in elements.items():
        setattr(meta, keyword, value)
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta, enforce_standard=False)
    return bytes(128) + b"DICM" + buffer.getvalue()


def test_group_length_absent_or_fields_missing() -> None:
    head = _meta(TransferSyntaxUID=LE)
    data = b"\x08\x00\x16\x00UI\x00\x00"
    assert b"UL" not in head
    assert read_meta(head + data) == part10.FileMeta("", "", LE, "", len(head), truncated=False)
    assert read_meta(bytes(128) + b"DICM" + data) == part10.FileMeta("", "", "", "", 132, truncated=False)


@pytest.mark.parametrize("lie", [0, 4, 1000, 0xFFFFFFFF])
def test_a_lying_group_length_is_not_believed(lie: int) -> None:
    head = bytearray(pack_meta(CT, "1.2.3", LE))
    struct.pack_into("<L", head, 140, lie)
    meta = read_meta(bytes(head) + b"\x08\x00\x16\x00UI\x00\x00")
    assert meta is not None
    assert meta.data_offset == len(head)


def test_deflated_data_may_look_like_another_element_of_the_group() -> None:
    head = pack_meta(CT, "1.2.3", "1.2.840.10008.1.2.1.99")
    meta = read_meta(head + b"\x02\x00\x02\x01UI\x04\x001234")
    assert meta is not None
    assert meta.data_offset == len(head)


def test_every_cut_is_noticed() -> None:
    head = pack_meta(CT, "1.2.3", LE, "SOURCE")
    for end in range(132, len(head)):
        meta = read_meta(head[:end])
        assert meta is not None
        assert meta.truncated
        assert meta.data_offset > end


def test_a_long_private_element_is_jumped_over() -> None:
    head = _meta(TransferSyntaxUID=LE, PrivateInformationCreatorUID="1.2", PrivateInformation=bytes(100_000))
    short = read_meta(head[:4096])
    assert short is not None
    assert short.truncated
    assert short.data_offset >= len(head)
    whole = read_meta(head)
    assert whole is not None
    assert (whole.data_offset, whole.truncated) == (len(head), False)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_exception(data: bytes) -> None:
    meta = read_meta(bytes(128) + b"DICM" + data)
    assert meta is not None
    assert meta.data_offset >= 132
    read_meta(data, need_prefix=False)


def test_agrees_with_pydicom_on_its_own_files() -> None:
    read = 0
    for path in (*pydicom_files(), *pydicom_charset_files()):
        meta = read_meta(path.read_bytes())
        if meta is None:
            continue
        expected = read_file_meta_info(path)
        assert meta.sop_class_uid == str(expected.get("MediaStorageSOPClassUID", "")), path
        assert meta.sop_instance_uid == str(expected.get("MediaStorageSOPInstanceUID", "")), path
        assert meta.transfer_syntax_uid == str(expected.get("TransferSyntaxUID", "")), path
        assert meta.source_ae == str(expected.get("SourceApplicationEntityTitle", "")), path
        read += 1
    assert read > 100
