"""The frame of a DICOM file: preamble, prefix and file meta information (PS3.10 section 7.1).

The meta group of a file that we write is eight elements in explicit VR little endian, packed here directly:
building and encoding a pydicom ``FileMetaDataset`` takes a hundred times as long, for each instance that arrives.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, TypeAlias

from dcm._version import __version__
from dcm.errors import InvalidDicomError

__all__ = [
    "DEFLATED_SYNTAXES",
    "EXPLICIT_VR_BIG_ENDIAN",
    "EXPLICIT_VR_LITTLE_ENDIAN",
    "IMPLEMENTATION_CLASS_UID",
    "IMPLEMENTATION_VERSION_NAME",
    "IMPLICIT_VR_LITTLE_ENDIAN",
    "FileMeta",
    "pack_meta",
    "read_meta",
]

Buffer: TypeAlias = bytes | bytearray | memoryview

IMPLEMENTATION_CLASS_UID = "2.25.115417493698202396536195893713704166093"
"""(0002,0012) of the files that we write, and of our associations."""
IMPLEMENTATION_VERSION_NAME = f"DCM_{__version__}"[:16]
"""(0002,0013), at most 16 characters."""

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED_SYNTAXES = frozenset(
    {
        "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
        "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
        "1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
    }
)
"""Transfer syntaxes whose whole data set is deflated (PS3.5 section A.5)."""

# A value with an explicit VR of two length bytes can hold no more, and no less than an even number of bytes.
_MAX_SHORT_VALUE = 0xFFFE

_PREFIX_END = 132
_GROUP_LENGTH = struct.Struct("<HH2sHL")
_ELEMENT = struct.Struct("<HH2sH")
_LENGTH = struct.Struct("<L")
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT_VRS = frozenset({b"AE", b"SH", b"UI", b"UL"})  # all that group 0002 has of the others
_VERSION_ELEMENT = struct.pack("<HH2sHL2s", 0x0002, 0x0001, b"OB", 0, 2, b"\x00\x01")


class FileMeta(NamedTuple):
    """What matters of the file meta information of a file.

    Attributes
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid, source_ae : str
        Elements (0002,0002), (0002,0003), (0002,0010), (0002,0016); '' where absent.
    data_offset : int
        Where the data set begins, in bytes from the beginning of the file.
    truncated : bool
        True where the bytes end inside the meta information; `data_offset` is then how many bytes one must see at
        least to go on.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source_ae: str
    data_offset: int
    truncated: bool


def _element(tag: int, vr: bytes, text: str, pad: bytes) -> bytes:
    value = text.encode("latin-1", "replace")
    if len(value) % 2:
        value += pad
    if len(value) > _MAX_SHORT_VALUE:
        raise InvalidDicomError(
            f"a value of {len(value)} bytes does not fit (0002,{tag:04x}) of the file meta information"
        )
    return _ELEMENT.pack(0x0002, tag, vr, len(value)) + value


_IMPLEMENTATION = _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0") + _element(
    0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" "
)


def pack_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae: str = "") -> bytes:
    """Make what stands before the data set in a DICOM file (PS3.10 section 7.1).

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid : str
        Written as they are, valid or not: a peer's identifiers are passed on.
    source_ae : str, optional
        Title of the AE that the instance came from; the element is left out where it is ''.

    Returns
    -------
    bytes
        A preamble of 128 zero bytes, ``DICM``, and group 0002 with its length.

    Raises
    ------
    InvalidDicomError
        If a UID is longer than an element of the meta information can be.
    """
    body = b"".join(
        (
            _VERSION_ELEMENT,
            _element(0x0002, b"UI", sop_class_uid, b"\0"),
            _element(0x0003, b"UI", sop_instance_uid, b"\0"),
            _element(0x0010, b"UI", transfer_syntax_uid, b"\0"),
            _IMPLEMENTATION,
            _element(0x0016, b"AE", source_ae, b" ") if source_ae else b"",
        )
    )
    return b"".join((bytes(128), b"DICM", _GROUP_LENGTH.pack(0x0002, 0x0000, b"UL", 4, len(body)), body))


def read_meta(buf: Buffer, *, need_prefix: bool = True) -> FileMeta | None:
    """Read the file meta information at the beginning of a file.

    Tolerant: the group length may be absent or wrong, elements may be missing, the VR may be implicit.

    Parameters
    ----------
    buf : bytes, bytearray or memoryview
        The first bytes of the file, or all of it.
    need_prefix : bool, optional
        False accepts a meta group at the very beginning too, without preamble and prefix.

    Returns
    -------
    FileMeta or None
        None where there is no DICOM prefix (and, if that is accepted, no meta group instead).
    """
    if bytes(buf[128:_PREFIX_END]) == b"DICM":
        return _read_group(buf, _PREFIX_END)
    if not need_prefix and bytes(buf[:4]) in (b"\x02\x00\x00\x00", b"\x02\x00\x01\x00", b"\x02\x00\x02\x00"):
        return _read_group(buf, 0)
    return None


def _read_group(buf: Buffer, pos: int) -> FileMeta:
    """Walk the elements of group 0002 from `pos` on."""
    found = {0x0002: "", 0x0003: "", 0x0010: "", 0x0016: ""}
    size = len(buf)
    group_end = -1
    unpack = _ELEMENT.unpack_from
    while pos + 8 <= size:
        group, element, vr, length = unpack(buf, pos)
        if group != 0x0002 or (pos == group_end and found[0x0010] in DEFLATED_SYNTAXES):
            break  # deflated data begins with any bytes, those of another element of group 0002 among them
        start = pos + 8
        if vr in _SHORT_VRS:
            pass
        elif vr in _LONG_VRS:
            start = pos + 12
            if start > size:
                return _meta(found, start, truncated=True)
            (length,) = _LENGTH.unpack_from(buf, pos + 8)
        elif not b"AA" <= vr <= b"ZZ":  # implicit VR, as some old writers have it
            (length,) = _LENGTH.unpack_from(buf, pos + 4)
        pos = start + length
        if element in found and pos <= size:
            found[element] = str(buf[start:pos], "latin-1").rstrip("\0 ")
        elif element == 0x0000 and length == 4 and pos <= size:
            group_end = pos + _LENGTH.unpack_from(buf, start)[0]
    truncated = pos > size or (pos + 8 > size and (pos < group_end or not found[0x0010]))
    return _meta(found, max(pos, pos + 8 if truncated else pos), truncated=truncated)


def _meta(found: dict[int, str], offset: int, *, truncated: bool) -> FileMeta:
    return FileMeta(found[0x0002], found[0x0003], found[0x0010], found[0x0016], offset, truncated)
