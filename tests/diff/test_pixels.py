"""Pixel data that is decoded before it is compared."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dcm.diff import FileState, PixelChange, diff_files
from tests.cli.runner import run_dcm
from tests.data import SeriesSpec, data_set, pydicom_files
from tests.diff.test_files import lines, write

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about what is in its files
FILES = {path.stem: path for path in pydicom_files()}


def decodes(uid: Any) -> bool:
    return bool(get_decoder(uid).is_available)


@pytest.mark.parametrize(
    ("plain", "other"),
    [
        ("MR_small", "MR_small_RLE"),
        ("MR_small", "MR_small_bigendian"),
        ("MR_small", "MR_small_expb"),
        ("MR_small", "MR_small_implicit"),
        ("MR_small", "MR_small_padded"),
        ("MR_small_RLE", "MR_small_bigendian"),
        pytest.param(
            *("MR_small", "MR_small_jp2klossless"),
            marks=pytest.mark.skipif(not decodes(JPEG2000Lossless), reason="the image extra is not installed"),
        ),
        pytest.param(
            *("MR_small", "MR_small_jpeg_ls_lossless"),
            marks=pytest.mark.skipif(not decodes(JPEGLSLossless), reason="the image extra is not installed"),
        ),
        ("rtdose_1frame", "rtdose_expb_1frame"),
        ("rtdose", "rtdose_expb"),
        ("liver_1frame", "liver_expb_1frame"),
        ("SC_rgb_small_odd", "SC_rgb_small_odd_big_endian"),
    ],
)
def test_pairs_that_are_one_instance(plain: str, other: str) -> None:
    assert lines(FILES[plain], FILES[other], pixels=True) == []
    assert lines(FILES[plain], FILES[other]) != []


@pytest.mark.parametrize(("plain", "other"), [("rtdose", "rtdose_rle"), ("rtdose_1frame", "rtdose_rle_1frame")])
def test_a_pair_with_another_name(plain: str, other: str) -> None:
    """Whoever compressed them wrote another instance into the file meta information, and there only."""
    (diff,) = diff_files(FILES[plain], FILES[other], pixels=True).differences
    assert diff.path == "MediaStorageSOPInstanceUID"


@pytest.mark.skipif(shutil.which("dcmcrle") is None, reason="DCMTK is not installed")
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("size", [(4, 6, 3), (3, 3, 1)])
def test_colours_by_pixel_and_by_plane(planar: int, bits: int, size: tuple[int, int, int], tmp_path: Path) -> None:
    rows, columns, frames = size
    ds = colour(rows, columns, frames, bits, planar)
    plain = write(tmp_path / "plain", ds)
    other = write(tmp_path / "other", colour(rows, columns, frames, bits, 1 - planar))
    rle = tmp_path / "rle"
    subprocess.run(["dcmcrle", plain, rle], check=True, capture_output=True, timeout=10)
    assert dcmread(rle).file_meta.TransferSyntaxUID == RLELossless
    assert lines(plain, other, pixels=True) == []
    assert lines(plain, rle, pixels=True) == []
    assert [line[:11] for line in lines(plain, other, file_meta=False)] == ["~ PlanarCon", "~ PixelData"]
    ds.PixelData = b"\xff" + ds.PixelData[1:]
    write(tmp_path / "other", ds)
    assert [line[:11] for line in lines(rle, tmp_path / "other", pixels=True)] == ["~ PixelData"]
    assert lines(rle, tmp_path / "other", pixels=True, ignore=["PixelData"]) == []
    assert lines(rle, tmp_path / "other", pixels=True, only=["PatientID"]) == []


@pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="DCMTK is not installed")
@pytest.mark.skipif(not decodes(JPEGLosslessSV1), reason="the image extra is not installed")
def test_lossless_jpeg(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain", data_set(SeriesSpec(rows=40, columns=30)))
    compressed = tmp_path / "compressed"
    subprocess.run(["dcmcjpeg", "+e1", plain, compressed], check=True, capture_output=True, timeout=10)
    assert lines(plain, compressed, pixels=True, ignore=["DerivationDescription"]) == []


def colour(rows: int, columns: int, frames: int, bits: int, planar: int) -> Dataset:
    """A picture in which no two samples are the same; the same one for both planar configurations."""
    ds = data_set()
    ds.Rows, ds.Columns, ds.NumberOfFrames, ds.SamplesPerPixel = rows, columns, frames, 3
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PhotometricInterpretation, ds.PlanarConfiguration = "RGB", planar
    n_pixels, width = rows * columns, bits // 8
    pixels = b""
    for frame in range(frames):
        samples = [
            [bytes([pixel, 50 * sample + frame])[-width:] if width == 2 else bytes([pixel + 80 * sample])
             for sample in range(3)]
            for pixel in range(n_pixels)
        ]  # fmt: skip
        if planar:
            pixels += b"".join(samples[pixel][sample] for sample in range(3) for pixel in range(n_pixels))
        else:
            pixels += b"".join(b"".join(pixel) for pixel in samples)
    ds.PixelData = pixels + bytes(len(pixels) % 2)
    ds["PixelData"].VR = "OB" if bits == 8 else "OW"
    return ds


def test_how_pixels_differ(tmp_path: Path) -> None:
    """Which frames, how many samples, and by how much: whatever both are encoded in."""
    left = FILES["rtdose"]
    ds = dcmread(left)
    pixels = bytearray(ds.PixelData)
    for sample, delta in ((305, 5), (306, -12), (1499, 1)):  # in the fourth and the last one of 15 frames
        old = int.from_bytes(pixels[4 * sample : 4 * sample + 4], "little")
        pixels[4 * sample : 4 * sample + 4] = (old + delta).to_bytes(4, "little")
    ds.PixelData = bytes(pixels)
    right = tmp_path / "right"
    ds.save_as(right)
    text = "3 of 1500 samples in 2 of 15 frames differ, by 12 at most (frame 4 first)"
    for plain in (left, FILES["rtdose_expb"], FILES["rtdose_rle"]):
        (diff,) = diff_files(plain, right, pixels=True, file_meta=False).differences
        assert diff.pixels == PixelChange(1500, 3, 15, 2, 4, 12)
        assert str(diff).endswith(f"; {text}")
    (diff,) = diff_files(left, right, file_meta=False).differences
    assert diff.pixels is None
    done = run_dcm("diff", "--pixels", left, right)
    assert done.stdout.splitlines()[-1] == f" PixelData: {text}"
    done = run_dcm("diff", "--pixels", left, right, "--out-format", "side-by-side", env={"COLUMNS": "300"})
    assert text in done.stdout
    done = run_dcm("diff", "--pixels", left, right, "--out-format", "ndjson")
    assert json.loads(done.stdout)["differences"][0]["pixels"] == diff_json(n_samples=1500, largest=12)
    ds.Rows, ds.Columns = 5, 20  # no pairs of samples
    ds.save_as(right)
    assert [diff.pixels for diff in diff_files(left, right, pixels=True).differences] == [None] * 3


def diff_json(n_samples: int, largest: int) -> dict[str, int]:
    frames = {"n_frames": 15, "frames_differ": 2, "first_frame": 4}
    return {"n_samples": n_samples, "samples_differ": 3, **frames, "largest": largest}


@pytest.mark.parametrize(("bits", "signed", "largest"), [(8, 0, 255), (8, 1, 1), (16, 0, 65535), (16, 1, 1)])
def test_how_samples_differ_with_and_without_a_sign(bits: int, signed: int, largest: int, tmp_path: Path) -> None:
    paths = []
    for planar in (0, 1):
        ds = colour(2, 2, 1, bits, planar)
        ds.Rows, ds.Columns = 700, 600  # more than a piece
        pixels = bytearray(700 * 600 * 3 * bits // 8)
        if planar:
            pixels[-bits // 8 :] = b"\xff" * (bits // 8)
        ds.PixelData, ds.PixelRepresentation = bytes(pixels), signed
        paths.append(write(tmp_path / str(planar), ds))
    (diff,) = diff_files(*paths, pixels=True).differences
    assert diff.pixels == PixelChange(1_260_000, 1, 1, 1, 1, largest)
    assert str(diff.pixels) == f"1 of 1260000 samples differ, by {largest} at most"


def test_big_endian_words_of_eight_bits(tmp_path: Path) -> None:
    ds = colour(2, 2, 1, 8, 0)
    plain = write(tmp_path / "a", ds, ExplicitVRLittleEndian)
    swapped = colour(2, 2, 1, 8, 0)
    words = bytearray(swapped.PixelData)
    words[::2], words[1::2] = words[1::2], words[::2]
    swapped.PixelData = bytes(words)
    swapped["PixelData"].VR = "OW"
    assert lines(plain, write(tmp_path / "b", swapped, ExplicitVRBigEndian), pixels=True) == []


def test_nothing_installed_that_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder: Any = get_decoder(JPEGBaseline8Bit)
    monkeypatch.setattr(decoder, "_available", {})
    found = diff_files(FILES["SC_rgb_jpeg_dcmtk"], FILES["SC_rgb_small_odd"], pixels=True)
    assert "JPEG Baseline" in found.problem
    assert found.hint == "pip install 'dcm[image]'"
    assert diff_files(FILES["SC_rgb_jpeg_dcmtk"], FILES["SC_rgb_jpeg_dcmtk"], pixels=True).state is FileState.SAME


def test_what_cannot_be_decoded(tmp_path: Path) -> None:
    """It is said why, and all else is compared."""
    damaged = tmp_path / "damaged"
    ds = dcmread(FILES["MR_small_RLE"])
    ds.PatientID = "Other"
    ds.save_as(damaged)
    content = damaged.read_bytes()
    start = content.index(b"\xe0\x7f\x10\x00")
    damaged.write_bytes(content[: start + 32] + bytes([99]) * 64 + content[start + 96 :])
    found = diff_files(FILES["MR_small"], damaged, pixels=True)
    assert [diff.path for diff in found.differences] == ["PatientID"]
    assert found.state is FileState.TROUBLE
    problem = f"{damaged}: pydicom cannot decode the pixel data: Unable to decode as exceptions were raised by all "
    assert found.problem.startswith(problem)
    assert "invalid number of segments" in found.problem
    assert diff_files(FILES["MR_small"], damaged, pixels=True, ignore=["PixelData"]).state is FileState.DIFFERENT
    del ds.Rows
    ds.save_as(damaged)
    found = diff_files(FILES["MR_small"], damaged, pixels=True)
    assert [diff.path for diff in found.differences] == ["PatientID", "Rows"]
    assert found.problem == f"{damaged}: pixel data without (0028,0010) cannot be decoded"
    damaged.write_bytes(damaged.read_bytes()[:-50])  # cut short, too
    problem = diff_files(FILES["MR_small"], damaged, pixels=True).problem
    assert problem.startswith(f"{damaged}: pixel data without (0028,0010) cannot be decoded; {damaged}: ")


def test_dcm_itself_needs_no_numpy(tmp_path: Path) -> None:
    import sys

    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from dcm.diff import diff_files\n"
        f"found = diff_files({str(FILES['MR_small'])!r}, {str(FILES['MR_small_RLE'])!r}, pixels=True)\n"
        "print(found.state.value)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "same\n"
    assert importlib.util.find_spec("numpy")
