"""Pictures: decoded, windowed, and right side out."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite

from dcm.dump._picture import parse_window, picture
from dcm.errors import DataError, DcmError, InvalidDicomError, StoreError, UsageError
from tests import data

CODECS = (
    *("SC_rgb_jpeg_dcmtk.dcm", "JPEG2000.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
    *(
        "SC_rgb_jpeg_gdcm.dcm",
        "JPGExtended.dcm",
        "SC_rgb_rle.dcm",
        "MR_small_RLE.dcm",
        "image_dfl.dcm",
        "rtdose_rle.dcm",
    ),
)


def file(name: str) -> Path:
    return next(path for path in data.pydicom_files() if path.name == name)


def gray(tmp_path: Path, values: list[int], **attributes: Any) -> Path:
    """A CT image of one row."""
    ds = data.data_set(data.SeriesSpec(rows=1, columns=len(values)))
    ds.PixelData = b"".join(value.to_bytes(2, "little") for value in values)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    path = tmp_path / "gray.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def pixels(image: Image.Image) -> list[int]:
    return list(image.tobytes())


def test_a_window_is_in_the_units_of_the_image(tmp_path: Path) -> None:
    # The sample's intercept is -1024; PS3.3 section C.11.2.1.2.1: black at c - 0.5 - (w - 1) / 2 and below.
    path = gray(tmp_path, [0, 924, 974, 1024, 1074, 1124, 4000])
    shown = pixels(picture(path, window=(0, 201)))
    assert shown[:2] == [0, 1]
    assert shown[3] == pytest.approx(128, abs=1)
    assert shown[-2:] == [255, 255]
    assert sorted(shown) == shown


def test_without_a_window_it_is_that_of_the_file_or_all_there_is(tmp_path: Path) -> None:
    assert pixels(picture(gray(tmp_path, [0, 500, 1000]))) == [0, 128, 255]
    assert pixels(picture(gray(tmp_path, [7, 7, 7]))) == [0, 0, 0]
    windowed = gray(tmp_path, [0, 1024, 4000], WindowCenter=[0, 9], WindowWidth=[2, 9])
    assert pixels(picture(windowed))[::2] == [0, 255]


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    path = gray(tmp_path, [0, 500, 1000], PhotometricInterpretation="MONOCHROME1")
    assert pixels(picture(path)) == [255, 127, 0]


@pytest.mark.parametrize("name", CODECS)
def test_codecs(name: str) -> None:
    shown = picture(file(name))
    assert shown.mode in ("L", "RGB")
    lowest, highest = shown.convert("L").getextrema()
    assert isinstance(lowest, int)
    assert isinstance(highest, int)
    assert lowest < highest


def test_frames_and_colors() -> None:
    first, second = (picture(file("SC_rgb_rle_2frame.dcm"), frame=frame) for frame in (1, 2))
    assert first.mode == "RGB"
    assert first.tobytes() != second.tobytes()
    assert picture(file("examples_palette.dcm")).mode == "RGB"
    with pytest.raises(UsageError, match="frames 1 to 2"):
        picture(file("SC_rgb_rle_2frame.dcm"), frame=3)
    with pytest.raises(UsageError, match="in color"):
        picture(file("SC_rgb_rle_2frame.dcm"), window=(40, 400))


def test_what_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        picture(tmp_path / "missing")
    with pytest.raises(InvalidDicomError):
        picture(__file__)
    with pytest.raises(DataError, match="no pixel data"):
        picture(file("rtplan.dcm"))
    with pytest.raises(DataError, match="too large"):
        picture(gray(tmp_path, [1], Rows=65535, Columns=65535))
    with pytest.raises(DataError, match="cannot be decoded"):
        picture(gray(tmp_path, [1], Rows=100))


def test_files_without_file_meta_information(tmp_path: Path) -> None:
    """What can be dumped has a picture, too."""
    path = gray(tmp_path, [0, 500, 1000])
    ds = dcmread(path)
    for implicit in (False, True):
        bare = tmp_path / "bare.dcm"
        dcmwrite(bare, Dataset(ds), implicit_vr=implicit, little_endian=True)
        assert bare.read_bytes()[128:132] != b"DICM"
        assert pixels(picture(bare)) == [0, 128, 255]
        assert pixels(picture("stdin", data=bare.read_bytes())) == [0, 128, 255]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    ds = dcmread(gray(tmp_path, [0, 500, 1000]))
    del ds.Rows
    ds.save_as(tmp_path / "no-rows.dcm")
    with pytest.raises(DataError, match="how its pixel data is encoded: there is no Rows"):
        picture(tmp_path / "no-rows.dcm")
    with pytest.raises(DataError, match=r"how its pixel data is encoded: NumberOfFrames is no number: '1A'$"):
        picture(file("badVR.dcm"))


MISFITS = ((b"\x02\0\x10\0", b"UM"), (b"\x28\0\x10\0", b"TI"), (b"\x28\0\x02\0", b"FD"), (b"\x28\0\x03\x01", b"DD"))


@pytest.mark.parametrize(("tag", "vr"), MISFITS)
def test_a_vr_that_does_not_fit_is_an_error_of_the_file(tag: bytes, vr: bytes, tmp_path: Path) -> None:
    content = gray(tmp_path, [0, 500, 1000]).read_bytes()
    at = content.index(tag)
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(content[: at + 4] + vr + content[at + 6 :])
    with contextlib.suppress(DcmError):
        picture(bad)


def test_no_file_ends_in_anything_but_a_picture_or_an_error() -> None:
    n_pictures = 0
    for path in data.pydicom_part10_files():
        with contextlib.suppress(DcmError):
            n_pictures += min(picture(path).size) > 0
    assert n_pictures > 90


@pytest.mark.parametrize("text", ["", "40", "40,", "40,0", "40,-1", "a,b", "nan,1", "1,inf", "1,2,3"])
def test_windows_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_window(text)


def test_a_window() -> None:
    assert parse_window("-40.5, 400") == (-40.5, 400)
