"""Two files."""

from __future__ import annotations

import io
import itertools
import os
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dcm.diff import BytesDigest, FileState, diff_data_sets, diff_files
from dcm.errors import DcmError, InvalidDicomError, StoreError, UsageError
from dcm.text import safe_text
from tests.data import SeriesSpec, data_set, pydicom_files, pydicom_part10_files, write_multi_frame, write_series

FILES = {path.name: path for path in pydicom_files()}


def write(path: Path, ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a data set in a transfer syntax."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    dcmwrite(
        *(path, ds),
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return path


def lines(left: Path, right: Path, **options: object) -> list[str]:
    return [str(diff) for diff in diff_files(left, right, **options).differences]  # type: ignore[arg-type]


def test_the_same_bytes_are_not_read_by_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sample,) = write_series(tmp_path, SeriesSpec(n_instances=1))
    monkeypatch.setattr("pydicom.filereader.read_dataset", None)
    found = diff_files(sample.path, sample.path)
    assert (found.state, found.sop_instance_uid) == (FileState.SAME, sample.sop_instance_uid)


def test_file_meta_information(tmp_path: Path) -> None:
    left, right = write(tmp_path / "a", data_set()), tmp_path / "b"
    ds = dcmread(left)
    ds.file_meta.SourceApplicationEntityTitle = "ELSE"
    ds.save_as(right)
    assert lines(left, right) == ["+ SourceApplicationEntityTitle: 'ELSE'"]
    assert lines(left, right, file_meta=False) == []
    assert lines(left, right, ignore=["SourceApplicationEntityTitle"]) == []
    assert lines(left, right, pixels=True) == []
    bare = tmp_path / "bare"
    bare.write_bytes(left.read_bytes()[132:])  # no preamble
    assert lines(left, bare) == []


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("size", [16, 600])  # in memory, and by digest
def test_how_a_file_is_encoded_is_no_difference(syntax: str, size: int, tmp_path: Path) -> None:
    spec = SeriesSpec(rows=size, columns=size)
    left = write(tmp_path / "a", data_set(spec))
    ds = data_set(spec)
    if syntax == ExplicitVRBigEndian:
        words = bytearray(ds.PixelData)
        words[::2], words[1::2] = words[1::2], words[::2]
        ds.PixelData = bytes(words)
    right = write(tmp_path / "b", ds, syntax)
    assert lines(left, right) == [f"~ TransferSyntaxUID: '{ExplicitVRLittleEndian}' -> '{syntax}'"]
    assert lines(left, right, pixels=True) == []


def test_large_values(tmp_path: Path) -> None:
    """Binary ones by digest, text and sequences as what they are."""
    left, right = data_set(), data_set()
    for ds, end in ((left, "a"), (right, "b")):
        ds.EncapsulatedDocument = bytes(300_000) + end.encode() * 2
        ds.TextValue = "x" * 300_000 + end
        item = Dataset()
        item.TextValue = "x" * 300_000
        item.PatientID = end
        ds.ContentSequence = [item]
        ds.add_new(0x00190010, "LO", "ACME")
        ds.add_new(0x00191001, "OB", bytes(300_000) + end.encode() * 2)
    paths = write(tmp_path / "a", left), write(tmp_path / "b", right)
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        write(tmp_path / "b", right, syntax)
        found = diff_files(*paths, file_meta=False)
        by_path = {diff.path: diff for diff in found.differences}
        nested = "ContentSequence[0].PatientID"
        assert set(by_path) == {"(0019,1001)", "TextValue", nested, "EncapsulatedDocument"}
        assert isinstance(by_path["EncapsulatedDocument"].left, BytesDigest)
        assert by_path["EncapsulatedDocument"].left.length == 300_002
        assert by_path["(0019,1001)"].creator == "ACME"
        text = str(by_path["TextValue"])
        assert text.endswith("xa' -> …xxxxxxxxxxxxxxxxb'")  # where they differ
        assert len(text) < 120
        # And as two data sets in memory.
        assert diff_data_sets(dcmread(paths[0]), dcmread(paths[1])) == list(found.differences)


def test_a_large_value_that_pydicom_cannot_convert(tmp_path: Path) -> None:
    """An element that is private, known to be SL, and half a number too long, is compared as bytes."""
    paths = []
    for name, end in (("a", b"\x01\x02"), ("b", b"\x03\x04")):
        path = write(tmp_path / name, data_set(), ImplicitVRLittleEndian)
        (start,) = (path.read_bytes().index(tag) for tag in [b"\x20\x00\x0d\x00"])  # (0020,000D)
        content = path.read_bytes()
        creator = b"\x19\x00\x10\x00\x1a\0\0\0ALOKA:1.2.392.200039.103.2"
        value = b"\x19\x00\x18\x10" + (300_002).to_bytes(4, "little") + bytes(300_000) + end
        path.write_bytes(content[:start] + creator + value + content[start:])
        paths.append(path)
    (diff,) = diff_files(*paths).differences
    assert (diff.path, diff.creator) == ("(0019,1018)", "ALOKA:1.2.392.200039.103.2")
    assert isinstance(diff.left, BytesDigest)
    assert diff.left.length == 300_002


def test_memory_is_bounded(tmp_path: Path) -> None:
    left, right = tmp_path / "a", tmp_path / "b"
    write_multi_frame(left, 64 << 20)
    right.write_bytes(left.read_bytes())
    with open(right, "r+b") as file:
        file.seek(-1, io.SEEK_END)
        file.write(b"\x01")
    diff_files(left, left)  # what is imported does not count
    tracemalloc.start()
    found = diff_files(left, right)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [diff.path for diff in found.differences] == ["PixelData"]
    assert peak < 16 << 20


@pytest.mark.filterwarnings("ignore")  # pydicom's, about what is in its files
def test_files_are_compared_as_data_sets_are() -> None:
    paths = [path for path in pydicom_part10_files() if path.stat().st_size < 50_000]
    for left, right in itertools.pairwise(paths):
        found = diff_files(left, right, file_meta=False)
        assert list(found.differences) == diff_data_sets(dcmread(left), dcmread(right)), (left.name, right.name)


# -- trouble -----------------------------------------------------------------------------------------------------------


def test_what_is_cut_short_is_compared_as_far_as_it_goes() -> None:
    found = diff_files(FILES["MR_small.dcm"], FILES["MR_truncated.dcm"], file_meta=False)
    assert [diff.path for diff in found.differences] == ["PixelData"]
    assert found.state is FileState.TROUBLE
    assert found.problem == f"{FILES['MR_truncated.dcm']}: ends within (7fe0,0010), 62 bytes are missing"
    assert diff_files(FILES["MR_truncated.dcm"], FILES["MR_truncated.dcm"]).state is FileState.SAME


def test_what_cannot_be_read(tmp_path: Path) -> None:
    good = FILES["CT_small.dcm"]
    with pytest.raises(StoreError, match="No such file"):
        diff_files(good, tmp_path / "none")
    text = tmp_path / "text"
    text.write_text("no DICOM at all")
    with pytest.raises(InvalidDicomError, match="text: not a DICOM file"):
        diff_files(text, good)
    with pytest.raises(InvalidDicomError, match="not a regular file"):
        diff_files(good, tmp_path)
    with pytest.raises(InvalidDicomError, match="not a regular file"):
        diff_files(good, "/dev/null")
    with pytest.raises(UsageError, match="PatientIDD"):
        diff_files(good, good, only=["PatientIDD"])
    with pytest.raises(UsageError, match="is no element"):
        diff_files(good, good, only=["BeamSequence[x].BeamName"])


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = write(tmp_path / "a", data_set()), write(tmp_path / "b", data_set(number=2))

    def changing(*args: object) -> bool:
        os.utime(left, ns=(0, 0))
        return False

    monkeypatch.setattr("dcm.diff._files.same_bytes", changing)
    with pytest.raises(StoreError, match="changed while it was read"):
        diff_files(left, right)


def test_nested_too_deeply(tmp_path: Path) -> None:
    (sample,) = write_series(tmp_path, SeriesSpec(n_instances=1))
    bad = tmp_path / "bad.dcm"
    item = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    bad.write_bytes(sample.path.read_bytes() + item * 3000)
    with pytest.raises(InvalidDicomError, match="nested"):
        diff_files(sample.path, bad)


def test_a_deflate_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcm.diff._reading._INFLATE_LIMIT", 1 << 20)
    left = write(tmp_path / "a", data_set(), DeflatedExplicitVRLittleEndian)
    bomb = tmp_path / "b"
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    element = b"\x08\x00\x18\x00UI\x04\x001.2\0" + b"\xe0\x7f\x10\x00OW\0\0" + (4 << 20).to_bytes(4, "little")
    head = left.read_bytes()[: len(left.read_bytes()) - len(dcm_data(left))]
    bomb.write_bytes(head + squeeze.compress(element + bytes(4 << 20)) + squeeze.flush())
    with pytest.raises(InvalidDicomError, match="more than"):
        diff_files(left, bomb)


def dcm_data(path: Path) -> bytes:
    from tests.data import data_set_of

    return data_set_of(path.read_bytes())


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(132, 6000), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_damaged_files_raise_nothing_else(tmp_path: Path, changes: list[tuple[int, int]], pixels: bool) -> None:
    path = FILES["MR_small_RLE.dcm"]
    content = bytearray(path.read_bytes())
    for offset, value in changes:
        content[offset % len(content)] = value
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(content)
    try:
        found = diff_files(path, damaged, pixels=pixels)
    except DcmError:
        return
    assert all(safe_text(diff) == str(diff) for diff in found.differences)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    names=st.tuples(*[st.sampled_from(sorted(FILES))] * 2),
    same=st.booleans(),
    change=st.tuples(st.floats(0, 1), st.integers(0, 255)),
)
def test_what_is_left_undecoded_makes_no_difference(
    names: tuple[str, str], same: bool, change: tuple[float, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What is encoded in the same way is not decoded; decoded, it would be the same as well."""
    left, right = FILES[names[0]], FILES[names[1]]
    if same:  # but for one byte
        changed = bytearray(left.read_bytes())
        changed[int(change[0] * (len(changed) - 1))] = change[1]
        right = tmp_path_factory.mktemp("changed") / "b.dcm"
        right.write_bytes(changed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dcm.diff._files.leave_out_same", lambda left, right: None)
        try:
            expected = diff_files(left, right)
        except DcmError:
            return
    assert diff_files(left, right) == expected


def test_what_is_encoded_in_the_same_way_may_still_differ(tmp_path: Path) -> None:
    """By the character set, by the sign, by the creator of a block."""
    ds = data_set()
    ds.PatientName = "Ñandú"
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SmallestImagePixelValue = 0x8000
    ds.PixelRepresentation = 0
    ds.add_new(0x00110010, "LO", "ACME")
    ds.add_new(0x00111001, "LO", "theirs")
    left = write(tmp_path / "a", ds, ImplicitVRLittleEndian)
    content = left.read_bytes()
    for before, after, path in (
        (b"ISO_IR 100", b"ISO_IR 101", "PatientName"),
        (b"\x28\0\x03\x01\x02\0\0\0\0\0", b"\x28\0\x03\x01\x02\0\0\0\1\0", "SmallestImagePixelValue"),
        (b"ACME", b"ELSE", "(0011,1001)"),
    ):
        assert content.count(before) == 1
        right = tmp_path / "b"
        right.write_bytes(content.replace(before, after))
        assert path in [diff.path for diff in diff_files(left, right).differences]
