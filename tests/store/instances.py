"""Small instances for the tests of stores, encoded by hand so that every byte is known."""

from __future__ import annotations

import struct
from pathlib import Path

from dcm._atomic import TempFile
from dcm.instance import Instance
from dcm.part10 import pack_meta

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"


def element(tag: int, vr: str, value: str | bytes) -> bytes:
    """One element in explicit VR little endian (PS3.5 section 7.1.2)."""
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    data += (b"\0" if vr in ("UI", "OB") else b" ") * (len(data) & 1)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in ("OB", "OW"):
        return head + struct.pack("<HL", 0, len(data)) + data
    return head + struct.pack("<H", len(data)) + data


def encode(
    uid: str = "1.2.3.4",
    *,
    patient_id: str = "Vamp001",
    study_uid: str = "1.2.3",
    modality: str = "CT",
    description: str = "T1 MPRAGE",
    serial: str = "SN-7",
    number: str = "7",
    pixels: bytes = b"pixels",
) -> bytes:
    """A data set."""
    return b"".join(
        [
            element(0x00080005, "CS", "ISO_IR 192"),
            element(0x00080016, "UI", CT),
            element(0x00080018, "UI", uid),
            element(0x00080060, "CS", modality),
            element(0x0008103E, "LO", description),
            element(0x00100020, "LO", patient_id),
            element(0x00181000, "LO", serial),
            element(0x0020000D, "UI", study_uid),
            element(0x0020000E, "UI", f"{study_uid}.9"),
            element(0x00200011, "IS", number),
            element(0x7FE00010, "OW", pixels),
        ]
    )


def make(uid: str = "1.2.3.4", *, data: bytes | None = None, pixels: bytes = b"pixels", **values: str) -> Instance:
    """An instance in memory."""
    return Instance.from_buffer(CT, uid, EXPLICIT_LE, encode(uid, pixels=pixels, **values) if data is None else data)


def make_in_temp(temp: TempFile, uid: str = "1.2.3.4", *, pixels: bytes = b"pixels", **values: str) -> Instance:
    """An instance that was streamed into a file without a name while it arrived."""
    data = encode(uid, pixels=pixels, **values)
    meta = pack_meta(CT, uid, EXPLICIT_LE)
    temp.write(meta, data)
    return Instance.from_temp(CT, uid, EXPLICIT_LE, temp, len(meta), data[:4096])


def write_file(path: Path, uid: str = "1.2.3.4", *, pixels: bytes = b"pixels", **values: str) -> Path:
    """A DICOM file as another program would write it: with another file meta header than ours."""
    data = encode(uid, pixels=pixels, **values)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pack_meta(CT, uid, EXPLICIT_LE, "OTHERAE") + data)
    return path


def data_set_of(path: Path) -> bytes:
    """The encoded data set of a file: what comes after the group 0002, by its length."""
    content = path.read_bytes()
    assert content[:132] == bytes(128) + b"DICM"
    return content[144 + int.from_bytes(content[140:144], "little") :]


def files(root: Path) -> list[str]:
    """All that is below a directory, directories with a slash at the end."""
    return sorted(f"{p.relative_to(root)}{'/' if p.is_dir() and not p.is_symlink() else ''}" for p in root.rglob("*"))
