"""Looking at files: pydicom's own, cut ones, ones without a frame, and things that are no files."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from dcm.attrs import Attributes
from dcm.errors import InvalidDicomError, StoreError
from dcm.part10 import pack_meta, read_meta
from dcm.peek import QUERY_TAGS, Header, peek_file, read_attributes
from tests.data import data_set_of, pydicom_charset_files, pydicom_files, write_ct, write_multi_frame
from tests.peek.encoding import CT, DEFLATED, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, JPEG, Element, encode_for

FILES = {path.name: path for path in pydicom_files()}
ALL_FILES = (*pydicom_files(), *pydicom_charset_files())

# What lies there and is not DICOM, and one that has a byte too many at its beginning: pydicom reads nonsense from it.
NOT_DICOM = {"README.txt", "README", "rtplan.dump", "rtstruct.dump", "test1.json", "test_PN.json", "zipMR.gz"}
NOT_DICOM |= {"crayons.icc", "no_meta.dcm"}
# Cut short, or (the last one) with an item that is longer than its sequence: pydicom reads over it.
NOT_WHOLE = {"MR_truncated.dcm", "rtplan_truncated.dcm", "DICOMDIR-nooffset"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_agrees_with_pydicom_on_its_own_files(path: Path) -> None:
    if path.name in NOT_DICOM:
        with pytest.raises(InvalidDicomError, match="not a DICOM file"):
            peek_file(path)
        return
    header = peek_file(path)
    ds = dcmread(path, force=True)
    expected = Attributes.from_dataset(ds, QUERY_TAGS)
    meta = ds.file_meta
    assert header.attributes == expected
    assert {tag: header.text(tag) for tag in QUERY_TAGS} == {tag: expected.text(tag) for tag in QUERY_TAGS}
    assert header.sop_class_uid == (expected.text(0x00080016) or meta.get("MediaStorageSOPClassUID", ""))
    assert header.sop_instance_uid == (expected.text(0x00080018) or meta.get("MediaStorageSOPInstanceUID", ""))
    if "TransferSyntaxUID" in meta:
        assert header.transfer_syntax_uid == meta.TransferSyntaxUID
    assert (header.complete is False) == (path.name in NOT_WHOLE - {"DICOMDIR-nooffset"})
    if header.complete is None:
        assert "PixelData" not in ds
        assert "an image without pixel data" in header.problem

    data = path.read_bytes()[header.data_offset :]
    if path.name in NOT_WHOLE:
        with pytest.raises(InvalidDicomError):
            read_attributes(data, header.transfer_syntax_uid)
        return
    record = read_attributes(data, header.transfer_syntax_uid)
    everything = Attributes.from_dataset(ds)
    assert record == everything
    # pydicom leaves it open what the pixel data is where it was not asked.
    different = {tag for tag in record if record.vr(tag) != everything.vr(tag)}
    assert different <= {0x7FE00010}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_most_of_the_files_were_looked_at() -> None:
    names = {path.name for path in ALL_FILES}
    assert names >= NOT_DICOM | NOT_WHOLE
    assert len(ALL_FILES) - len(NOT_DICOM) > 150


# -- cut files


def cut_points(name: str) -> list[int]:
    """Every offset up to the pixel data, and some after it."""
    size = FILES[name].stat().st_size
    header = peek_file(FILES[name])
    dense = range(header.pixel_offset or min(size, 6000))
    rest = range(len(dense), size, 997)
    return [*dense, *rest, size - 1]


CUT_FILES = ("CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "image_dfl.dcm")


@pytest.mark.parametrize("name", CUT_FILES)
def test_a_file_cut_anywhere_is_never_complete(name: str, tmp_path: Path) -> None:
    # Cut between two elements it could be whole, but for the pixel data of an image that is missing then. CT_small
    # and MR_small have a padding element after the pixel data: without it, they are whole.
    path = FILES[name]
    data = path.read_bytes()
    pixel_end = 0
    header = peek_file(path)
    if header.pixel_offset is not None and name != "JPEG2000.dcm":
        (length,) = struct.unpack_from(">L" if "big" in name else "<L", data, header.pixel_offset - 4)
        pixel_end = header.pixel_offset + length
    file = tmp_path / "cut.dcm"
    file.write_bytes(data)
    unsure = 0
    for cut in reversed(cut_points(name)):
        os.truncate(file, cut)
        if cut == pixel_end:
            continue
        try:
            cut_header = peek_file(file)
        except InvalidDicomError:
            assert cut <= 132  # not even the prefix is there
            continue
        if name == "image_dfl.dcm" and cut >= len(data) - 9:
            continue  # what follows the deflated data there is not part of it
        assert not cut_header.complete, cut
        assert cut_header.problem
        unsure += cut_header.complete is None
    assert unsure <= 260  # no more than there are elements


def test_cut_in_the_file_meta_information(tmp_path: Path) -> None:
    data = FILES["CT_small.dcm"].read_bytes()
    meta = read_meta(data)
    assert meta is not None
    file = tmp_path / "cut.dcm"
    file.write_bytes(data[: meta.data_offset - 10])
    header = peek_file(file)
    assert header.complete is False
    assert header.problem == "ends within the file meta information"
    assert header.sop_instance_uid == meta.sop_instance_uid


# -- files without a frame

IMAGE = [
    Element(0x00080016, "UI", CT.encode()),
    Element(0x00080018, "UI", b"1.2.3.4"),
    Element(0x00100020, "LO", b"Vamp001"),
    Element(0x00280010, "US", (4,)),
    Element(0x7FE00010, "OW", bytes(32)),
]


def summary(header: Header) -> tuple[object, ...]:
    return header.attributes, header.complete, header.transfer_syntax_uid, header.sop_instance_uid


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
def test_without_preamble_and_file_meta_information(syntax: str, tmp_path: Path) -> None:
    data = encode_for(IMAGE, syntax)
    (tmp_path / "with").write_bytes(pack_meta(CT, "1.2.3.4", syntax) + data)
    (tmp_path / "without").write_bytes(data)
    (tmp_path / "no-preamble").write_bytes(pack_meta(CT, "1.2.3.4", syntax)[132:] + data)
    (tmp_path / "no-meta").write_bytes(bytes(128) + b"DICM" + data)
    header = peek_file(tmp_path / "with")
    assert (header.complete, header.problem) == (True, "")
    without = peek_file(tmp_path / "without")
    assert summary(without) == summary(header)
    assert (without.data_offset, without.problem) == (0, "no preamble and no file meta information")
    assert summary(peek_file(tmp_path / "no-preamble")) == summary(header)
    no_meta = peek_file(tmp_path / "no-meta")
    assert summary(no_meta) == summary(header)
    assert (no_meta.data_offset, no_meta.problem) == (132, "no transfer syntax in the file meta information")


def test_without_a_frame_and_cut_short(tmp_path: Path) -> None:
    data = encode_for(IMAGE, EXPLICIT_LE)
    file = tmp_path / "cut"
    file.write_bytes(data[:-1])
    assert peek_file(file).complete is False
    file.write_bytes(data[:40])  # before the SOP Instance UID: this could be anything
    with pytest.raises(InvalidDicomError, match="not a DICOM file"):
        peek_file(file)


def test_a_data_set_that_names_another_instance_than_the_meta_information(tmp_path: Path) -> None:
    file = tmp_path / "other.dcm"
    file.write_bytes(pack_meta(CT, "9.9", EXPLICIT_LE) + encode_for(IMAGE, EXPLICIT_LE))
    header = peek_file(file)
    assert header.sop_instance_uid == "1.2.3.4"
    assert header.problem == "the file meta information names another instance"


def test_the_meta_information_fills_gaps(tmp_path: Path) -> None:
    file = tmp_path / "gap.dcm"
    file.write_bytes(pack_meta(CT, "9.9", EXPLICIT_LE) + encode_for(IMAGE[2:], EXPLICIT_LE))
    header = peek_file(file)
    assert (header.sop_class_uid, header.sop_instance_uid) == (CT, "9.9")


def test_only_a_frame(tmp_path: Path) -> None:
    file = tmp_path / "empty.dcm"
    file.write_bytes(pack_meta(CT, "9.9", EXPLICIT_LE))
    header = peek_file(file)
    assert header.complete is False
    assert header.problem == "the data set is empty"


def test_a_long_file_meta_information(tmp_path: Path) -> None:
    head = bytearray(pack_meta(CT, "1.2.3.4", EXPLICIT_LE))
    private = struct.pack("<HH2sHL", 2, 0x0102, b"OB", 0, 50_000) + bytes(50_000)
    struct.pack_into("<L", head, 140, len(head) - 144 + len(private))
    file = tmp_path / "long.dcm"
    file.write_bytes(bytes(head) + private + encode_for(IMAGE, EXPLICIT_LE))
    header = peek_file(file)
    assert (header.complete, header.data_offset) == (True, len(head) + len(private))


# -- how it reads


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    reads: list[int] = []
    pread = os.pread

    def counting(fd: int, n: int, offset: int) -> bytes:
        data = pread(fd, n, offset)
        reads.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counting)
    return reads


def test_one_read_does_for_a_ct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = write_ct(tmp_path, 1)[0]
    reads = count_reads(monkeypatch)
    header = peek_file(sample.path)
    assert header.complete
    assert header.sop_instance_uid == sample.sop_instance_uid
    assert header.text(0x00100020) == sample.patient_id
    assert header.pixel_offset == sample.path.stat().st_size - 512 * 512 * 2
    assert reads == [8192]


def test_a_large_object_is_jumped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = write_multi_frame(tmp_path / "large.dcm", 8 << 20)
    with open(sample.path, "ab") as file:
        file.write(struct.pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, 4) + b"last")
    reads = count_reads(monkeypatch)
    assert peek_file(sample.path).complete
    assert sum(reads) < 8192 + 1024


def test_fragments_are_jumped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = Element(0x7FE00010, "OB", fragments=[b"", *[bytes(50_000)] * 50])
    file = tmp_path / "jpeg.dcm"
    file.write_bytes(pack_meta(CT, "1.2.3.4", JPEG) + encode_for([*IMAGE[:-1], pixels], JPEG))
    reads = count_reads(monkeypatch)
    assert peek_file(file).complete
    assert len(reads) <= 55
    assert sum(reads) < 32 << 10


def test_many_small_elements_are_read_in_large_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Element(0x00091000 + i, "LO", b"some private text") for i in range(20_000)]
    file = tmp_path / "many.dcm"
    file.write_bytes(pack_meta(CT, "1.2.3.4", EXPLICIT_LE) + encode_for([*IMAGE[:2], *many, *IMAGE[2:]], EXPLICIT_LE))
    reads = count_reads(monkeypatch)
    header = peek_file(file)
    assert header.complete
    assert header.text(0x00100020) == "Vamp001"
    assert len(reads) < 20


def test_endless_small_elements_are_not_read_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcm.peek._scan.SCAN_LIMIT", 1 << 20)
    file = tmp_path / "endless.dcm"
    empty = encode_for([Element(0x00091001, "LO", b"")], EXPLICIT_LE)
    file.write_bytes(pack_meta(CT, "1.2.3.4", EXPLICIT_LE) + encode_for(IMAGE[:2], EXPLICIT_LE) + empty * (2 << 17))
    reads = count_reads(monkeypatch)
    header = peek_file(file)
    assert (header.complete, header.problem) == (None, "has more than 1 MiB of elements, not read further")
    assert header.sop_instance_uid == "1.2.3.4"
    assert sum(reads) < (1 << 20) + (80 << 10)


def test_a_descriptor_keeps_its_position(tmp_path: Path) -> None:
    sample = write_ct(tmp_path, 1, size=16)[0]
    with open(sample.path, "rb") as file:
        file.seek(17)
        assert peek_file(file.fileno()).sop_instance_uid == sample.sop_instance_uid
        assert file.tell() == 17
        odd = encode_for(IMAGE[:2], EXPLICIT_LE) + b"\x09\x00\x01\x10OB\0\0\xff\xff\xff\xffno items in here"
    lost = tmp_path / "lost.dcm"
    lost.write_bytes(pack_meta(CT, "1.2.3.4", EXPLICIT_LE) + odd)
    with open(lost, "rb") as file:
        file.seek(17)
        assert peek_file(file.fileno()).complete is None
        assert file.tell() == 17


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    good = write_ct(tmp_path, 1, size=16)[0].path
    bad = tmp_path / "bad"
    bad.write_bytes(b"nothing")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        peek_file(good)
        with pytest.raises(InvalidDicomError):
            peek_file(bad)
    assert len(os.listdir("/proc/self/fd")) == before


# -- what is no file, or cannot be read


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot read .*missing\.dcm: No such file"):
        peek_file(tmp_path / "missing.dcm")
    with pytest.raises(StoreError, match="file descriptor 9999"):
        peek_file(9999)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InvalidDicomError, match="not a regular file"):
            peek_file(path)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(InvalidDicomError, match="empty: not a DICOM file"):
        peek_file(tmp_path / "empty")


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = write_multi_frame(tmp_path / "large.dcm", 8 << 20)
    with open(sample.path, "ab") as file:
        file.write(struct.pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, 4) + b"last")
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, n, offset: pread(fd, n, offset) if offset == 0 else b"")
    header = peek_file(sample.path)
    assert (header.complete, header.problem) == (False, "is shorter than it was a moment ago")


@given(st.binary(max_size=400), st.sampled_from(["", IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED, JPEG, None]))
def test_any_file_makes_a_header_or_our_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, syntax: str | None
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.dcm"
    file.write_bytes(data if syntax is None else pack_meta(CT, "1.2.3", syntax) + data)
    try:
        header = peek_file(file)
    except InvalidDicomError:
        assert syntax is None
        return
    assert isinstance(header.attributes, Attributes)


def test_random_files_are_not_dicom(tmp_path: Path) -> None:
    noise = random.Random(7)
    file = tmp_path / "noise"
    for size in range(0, 3000, 7):
        file.write_bytes(noise.randbytes(size))
        with pytest.raises(InvalidDicomError):
            peek_file(file)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_read_is_what_is_there() -> None:
    sample = FILES["CT_small.dcm"]
    header = peek_file(sample)
    data = sample.read_bytes()
    assert data[header.data_offset :] == data_set_of(data)
    with warnings.catch_warnings():
        assert header.pixel_offset is not None
        assert data[header.pixel_offset :].startswith(dcmread(sample).PixelData)


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE])
def test_looking_at_a_file_takes_no_pydicom(syntax: str, tmp_path: Path) -> None:
    file = tmp_path / "in.dcm"
    elements = [Element(0x00080005, "CS", b"ISO_IR 192"), *IMAGE[:2], Element(0x00100010, "PN", "Müller".encode())]
    file.write_bytes(pack_meta(CT, "1.2.3.4", syntax) + encode_for([*elements, *IMAGE[3:]], syntax))
    program = (
        "import sys, dcm.instance\n"
        "header = dcm.instance.Instance.from_file(sys.argv[1]).header\n"
        "assert header.text(0x00100010) == 'M\\xfcller' and header.complete and len(header.attributes) == 5\n"
        "print([name for name in ('pydicom', 'numpy', 'pynetdicom') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program, file], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
