"""Data sets as pydicom has them: made of encoded bytes, and encoded."""

from __future__ import annotations

import copy
import io
from typing import TYPE_CHECKING

from dcm.errors import InvalidDicomError
from dcm.part10 import (
    DEFLATED_SYNTAXES,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    pack_meta,
    read_meta,
)
from dcm.peek import check_depth, inflate

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataset import FileDataset

__all__ = ["decode", "encode", "transfer_syntax_of"]

# More than any sensible object, less than what deflate can make of a few MiB.
_INFLATE_LIMIT = 1 << 30


def decode(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, data: bytes | memoryview, source_ae: str = ""
) -> FileDataset:
    """Decode a data set, and give it file meta information.

    Raises
    ------
    InvalidDicomError
        If pydicom cannot decode it, sequences are nested deeper than 64, or it inflates to more than 1 GiB.
    """
    from pydicom import dcmread
    from pydicom.uid import UID

    deflated = transfer_syntax_uid in DEFLATED_SYNTAXES
    syntax = EXPLICIT_VR_LITTLE_ENDIAN if deflated else transfer_syntax_uid
    meta = pack_meta(sop_class_uid, sop_instance_uid, syntax, source_ae)
    # pydicom would inflate without a limit.
    file = meta + inflate(bytes(data), _INFLATE_LIMIT) if deflated else b"".join((meta, data))
    check_depth(file, syntax, len(meta))
    try:
        ds = dcmread(io.BytesIO(file))
    except Exception as exc:
        raise InvalidDicomError(f"pydicom cannot decode {sop_instance_uid}: {exc}") from exc
    ds.buffer = None  # what it was read from is not needed any more, and may be large
    if deflated:
        ds.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    return ds


def transfer_syntax_of(ds: Dataset) -> str:
    """The transfer syntax that a data set says it should be encoded in, or was decoded from; errors as `encode`."""
    meta = getattr(ds, "file_meta", None)
    declared = str(meta.get("TransferSyntaxUID") or "") if meta is not None else ""
    if declared:
        return declared
    implicit, little = ds.original_encoding
    if implicit is None or little is None:
        raise InvalidDicomError(
            "the data set does not say in which transfer syntax it should be encoded",
            hint="set ds.file_meta.TransferSyntaxUID",
        )
    if "PixelData" in ds and ds["PixelData"].is_undefined_length:
        raise InvalidDicomError(
            "the pixel data is compressed, and the data set does not say how", hint="set ds.file_meta.TransferSyntaxUID"
        )
    if implicit:
        return IMPLICIT_VR_LITTLE_ENDIAN
    return EXPLICIT_VR_LITTLE_ENDIAN if little else EXPLICIT_VR_BIG_ENDIAN


def encode(ds: Dataset, transfer_syntax_uid: str) -> bytes:
    """Encode a data set, without file meta information.

    Raises
    ------
    InvalidDicomError
        If pydicom cannot encode it so.
    """
    from pydicom import dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    # pydicom checks more when it writes a whole file (is compressed pixel data encapsulated, …) than for a data set.
    whole = copy.copy(ds)
    whole.file_meta = FileMetaDataset()
    whole.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    buffer = io.BytesIO()
    try:
        dcmwrite(buffer, whole, enforce_file_format=True)
    except Exception as exc:
        raise InvalidDicomError(f"pydicom cannot encode {ds.SOPInstanceUID}: {exc}") from exc
    file = buffer.getvalue()
    written = read_meta(file)
    assert written is not None
    return file[written.data_offset :]
