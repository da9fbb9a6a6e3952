"""One frame of an image as a picture for people: windowed, in 8 bits.

This needs what ``pip install "dcm[image]"`` brings. pydicom and its plugins decode, in arrays of numpy that this module
uses and dcm never imports.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dcm.dump._source import BytesSource, layout_of, source_of
from dcm.errors import DataError, InvalidDicomError, StoreError, UsageError
from dcm.text import safe_text

if TYPE_CHECKING:
    from PIL.Image import Image
    from pydicom import Dataset

__all__ = ["parse_window", "picture"]

_MAX_FRAME = 1 << 30  # bytes of a frame: what a few tags can claim, and no screen can show
_NO_EXTRA = 'pip install "dcm[image]"'


def parse_window(text: str) -> tuple[float, float]:
    """Center and width of a window (PS3.3 section C.11.2.1.2) from ``CENTER,WIDTH``.

    Raises
    ------
    UsageError
        It is not that, or the width is not positive.
    """
    center, comma, width = text.partition(",")
    try:
        window = float(center), float(width)
    except ValueError:
        window = 0.0, 0.0
    if not comma or not 0 < window[1] < float("inf") or not abs(window[0]) < float("inf"):
        raise UsageError(f"'{safe_text(text, 40)}' is no window", hint="it is CENTER,WIDTH: 40,400 say")
    return window


def picture(
    file: str | Path, *, frame: int = 1, window: tuple[float, float] | None = None, data: bytes | None = None
) -> Image:
    """Decode a frame, and make a picture of it.

    Parameters
    ----------
    file : str or Path
        A DICOM file with pixel data.
    frame : int, optional
        The number of the frame, from 1 on.
    window : tuple of float, optional
        Center and width, after rescaling. By default the first window or VOI LUT in the file, or else all there is.
    data : bytes, optional
        What is in the file, where it has been read already; `file` is its name for messages then.

    Returns
    -------
    PIL.Image.Image
        In 8 bits, gray or RGB. MONOCHROME1 is shown inverted, as it should be.

    Raises
    ------
    UsageError
        There is no such frame, or the window is for a color image; or the extra is not installed.
    StoreError
        The file cannot be read.
    InvalidDicomError
        It is no DICOM file.
    DataError
        It has no pixel data, or such that cannot be decoded.
    """
    for module in ("numpy", "PIL"):  # pydicom says what it misses only much later
        if importlib.util.find_spec(module) is None:
            raise UsageError(f"pictures need {module}, which is not installed", hint=_NO_EXTRA)
    from PIL import Image

    name = str(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = _read(name, data)
        _check(ds, name, frame, window)
        pixels = _decoded(ds, name, frame)
        try:
            color = int(ds.get("SamplesPerPixel", 1) or 1) > 1
            if color or ds.PhotometricInterpretation == "PALETTE COLOR":
                return Image.fromarray(_rgb(ds, pixels))
            return Image.fromarray(_gray(ds, pixels, window))
        except Exception as exc:  # noqa: BLE001  pydicom decodes each element only when it is asked for
            _fail(name, f"its pixel data cannot be shown: {exc}", exc)


def _read(name: str, data: bytes | None) -> Dataset:
    """A file, also one without file meta information, as `dcm.dump.walk` would read it."""
    from pydicom import dcmread
    from pydicom.uid import UID

    try:
        if data is None:
            with open(name, "rb") as file:
                layout = layout_of(source_of(file.fileno()))
            ds = dcmread(name, defer_size=1 << 20, force=True)
        else:
            layout = layout_of(BytesSource(data))
            ds = dcmread(io.BytesIO(data), force=True)
        if "TransferSyntaxUID" not in ds.file_meta:
            ds.file_meta.TransferSyntaxUID = UID(layout.transfer_syntax_uid)
        return ds
    except OSError as exc:
        raise StoreError(f"cannot read {safe_text(name)}: {exc.strerror or exc}") from exc
    except InvalidDicomError as exc:
        raise type(exc)(f"{safe_text(name)}: {exc.message}") from exc
    except Exception as exc:
        raise InvalidDicomError(f"{safe_text(name)}: cannot be read as DICOM: {safe_text(exc, 200)}") from exc


def _check(ds: Dataset, name: str, frame: int, window: tuple[float, float] | None) -> None:
    if "PixelData" not in ds and "FloatPixelData" not in ds and "DoubleFloatPixelData" not in ds:
        raise DataError(f"{safe_text(name)}: has no pixel data")
    try:
        n_frames = max(1, _number(ds, "NumberOfFrames", 1))
        samples = _number(ds, "SamplesPerPixel", 1)
        rows, columns, bits = (_number(ds, keyword) for keyword in ("Rows", "Columns", "BitsAllocated"))
        size = rows * columns * samples * max(1, bits // 8)
        photometric = ds.get("PhotometricInterpretation")
    except Exception as exc:  # noqa: BLE001  as above
        _fail(name, f"does not say how its pixel data is encoded: {exc}", exc)
    if not 1 <= frame <= n_frames:
        raise UsageError(f"{safe_text(name)}: there is no frame {frame}", hint=f"there are frames 1 to {n_frames}")
    if size > _MAX_FRAME:
        raise DataError(f"{safe_text(name)}: a frame of {size} bytes is too large to be shown")
    if window is not None and (samples > 1 or photometric == "PALETTE COLOR"):
        raise UsageError(f"{safe_text(name)}: a window is for gray images, and this one is in color")


def _number(ds: Dataset, keyword: str, default: int | None = None) -> int:
    """The value of an element; says which one it is that cannot be read, which pydicom does not."""
    try:
        value = ds.get(keyword)
    except Exception as exc:
        raise ValueError(f"{keyword} cannot be read: {exc}") from exc
    if value is None and default is None:
        raise ValueError(f"there is no {keyword}")
    if not value and default is not None:
        return default
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError) as exc:
        raise ValueError(f"{keyword} is no number: {value!r}") from exc


def _decoded(ds: Dataset, name: str, frame: int) -> Any:
    """The frame as an array, colors as RGB."""
    from pydicom.pixels.utils import pixel_array

    try:
        return pixel_array(ds, index=frame - 1)
    except (NotImplementedError, ImportError) as exc:
        _fail(name, f"its pixel data cannot be decoded: {exc}", exc)
    except Exception as exc:  # noqa: BLE001  the plugins are many, and so are their errors
        _fail(name, f"its pixel data cannot be decoded: {type(exc).__name__}: {exc}", exc)


def _fail(name: str, why: str, cause: Exception) -> NoReturn:
    raise DataError(f"{safe_text(name)}: {safe_text(' '.join(why.split()), 300)}") from cause


def _rgb(ds: Dataset, pixels: Any) -> Any:
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        pixels = apply_color_lut(pixels, ds)
        return _to_bytes(pixels, 0, (1 << 8 * pixels.dtype.itemsize) - 1)[..., :3]
    bits = int(ds.get("BitsStored", 8) or 8)
    return pixels[..., :3] if pixels.dtype.itemsize == 1 else _to_bytes(pixels, 0, (1 << bits) - 1)[..., :3]


def _gray(ds: Dataset, pixels: Any, window: tuple[float, float] | None) -> Any:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    values = apply_modality_lut(pixels, ds)
    if window is None and "VOILUTSequence" in ds:
        values = apply_voi_lut(values, ds)
    elif window is None and ds.get("WindowCenter") is not None and ds.get("WindowWidth") is not None:
        window = _first(ds.WindowCenter), _first(ds.WindowWidth)
    low, high = (float(values.min()), float(values.max())) if window is None else _edges(*window)
    gray = _to_bytes(values, low, high)
    return 255 - gray if ds.get("PhotometricInterpretation") == "MONOCHROME1" else gray


def _first(value: Any) -> float:
    return float(value[0] if hasattr(value, "append") else value)


def _edges(center: float, width: float) -> tuple[float, float]:
    """The values that are black and white, PS3.3 section C.11.2.1.2.1."""
    if width <= 1:
        return center - 0.5, center - 0.5
    return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2


def _to_bytes(values: Any, low: float, high: float) -> Any:
    if high <= low:
        return (values > low).astype("uint8") * 255
    return ((values.astype("float64") - low) * (255.0 / (high - low)) + 0.5).clip(0, 255).astype("uint8")
