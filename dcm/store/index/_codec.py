"""What a row of the index holds, packed: the attributes that instances have in common, and those of each.

A series' worth of attributes is packed once, as a *header*; an instance is packed as the bare values of its own
attributes, whose tags are in its header. Both have a checksum, and that of an instance covers its header too: a flipped
bit on the disk is noticed, and the index built anew.
"""

from __future__ import annotations

import hashlib
import operator
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from dcm.attrs import Attributes, Shape, Value
from dcm.store.index._database import DamagedError

__all__ = ["Header", "PackedHeader", "pack_header", "pack_instance"]

_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_AVAILABLE_TRANSFER_SYNTAX_UID = 0x00083002
_PATIENT_ID = 0x00100020
_STUDY_UID = 0x0020000D
_SERIES_UID = 0x0020000E

_Packed: TypeAlias = tuple[str, str, tuple[int, ...], tuple[str, ...], list[Any], tuple[int, ...], tuple[str, ...]]

_encoder = msgspec.msgpack.Encoder()
_header_decoder = msgspec.msgpack.Decoder(_Packed)
_values_decoder = msgspec.msgpack.Decoder(list[Any])


@dataclass(frozen=True, slots=True)
class PackedHeader:
    """A header as the database holds it.

    Parameters
    ----------
    digest : bytes
        Names it: two headers with the same content are one.
    patient_id, study_uid, series_uid, sop_class_uid, transfer_syntax_uid : str
        What is searched for.
    data : bytes
        All of it.
    """

    digest: bytes
    patient_id: str
    study_uid: str
    series_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    data: bytes


def pack_header(
    record: Attributes,
    sop_class_uid: str,
    transfer_syntax_uid: str,
    tags: Sequence[int],
    vrs: Sequence[str],
) -> PackedHeader:
    """Pack what instances have in common.

    Parameters
    ----------
    record : Attributes
        The attributes of patient, study and series.
    sop_class_uid, transfer_syntax_uid : str
    tags, vrs : sequence
        Of the values that each instance has for itself, in their order.
    """
    shape = record._shape
    packed = (sop_class_uid, transfer_syntax_uid, shape.tags, shape.vrs, record._values, tags, vrs)
    data = _encode(packed)
    return PackedHeader(
        digest=hashlib.blake2b(data, digest_size=16).digest(),
        patient_id=_storable(record.text(_PATIENT_ID)),
        study_uid=_storable(record.text(_STUDY_UID)),
        series_uid=_storable(record.text(_SERIES_UID)),
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        data=data,
    )


def pack_instance(values: Sequence[Value], sop_instance_uid: str, digest: bytes) -> bytes:
    """Pack the values that an instance has for itself."""
    data = _encode(values)
    return _checksum(data, sop_instance_uid, digest) + data


def _checksum(data: bytes, sop_instance_uid: str, digest: bytes) -> bytes:
    return zlib.crc32(data, zlib.crc32(sop_instance_uid.encode(), zlib.crc32(digest))).to_bytes(4, "little")


def _encode(value: object) -> bytes:
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(_clean(value))


def _clean(value: object) -> object:
    if isinstance(value, str):
        return _storable(value)
    return [_clean(item) for item in value] if isinstance(value, (tuple, list)) else value


def _storable(text: str) -> str:
    """The text, without halves of surrogate pairs, which no encoding has."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _restored(values: list[Any]) -> list[Value]:
    """Values as they were: several values are a list in a packed form, and a tuple in a record."""
    return [tuple(value) if type(value) is list else value for value in values]


class Header:
    """What instances have in common, unpacked.

    Parameters
    ----------
    digest, data : bytes
        From the database.
    patient_id, study_uid : str
        Where the series belongs, whatever its files say.

    Attributes
    ----------
    record : Attributes
        The attributes of patient, study and series.

    Raises
    ------
    DamagedError
        They do not fit together.
    """

    __slots__ = ("_digest", "_extra", "_merge", "_shape", "record", "sop_class_uid", "transfer_syntax_uid")

    def __init__(self, digest: bytes, data: bytes, patient_id: str, study_uid: str) -> None:
        if type(data) is not bytes or hashlib.blake2b(data, digest_size=16).digest() != digest:
            raise DamagedError("a header does not have its checksum")
        sop_class, syntax, tags, vrs, values, own_tags, own_vrs = _header_decoder.decode(data)
        record = Attributes.from_columns(tags, vrs, tuple(_restored(values)))
        settled: list[tuple[int, str, Value]] = []
        if record.text(_PATIENT_ID) != patient_id:
            settled.append((_PATIENT_ID, "LO", patient_id))
        if record.text(_STUDY_UID) != study_uid:
            settled.append((_STUDY_UID, "UI", study_uid))
        self.record = record.replace(settled) if settled else record
        self.sop_class_uid = sop_class
        self.transfer_syntax_uid = syntax
        self._digest = digest
        self._shape, self._merge = _merged(self.record._shape, own_tags, own_vrs)
        self._extra = (sop_class or None, syntax or None)

    @property
    def instance_shape(self) -> Shape:
        """The shape of the records that `instance` gives."""
        return self._shape

    def instance(self, sop_instance_uid: str, data: bytes) -> Attributes:
        """The record of an instance, with the attributes of patient, study and series.

        Raises
        ------
        DamagedError
            It does not belong here, or is damaged.
        """
        packed = data[4:] if type(data) is bytes and type(sop_instance_uid) is str else None
        if packed is None or _checksum(packed, sop_instance_uid, self._digest) != data[:4]:
            raise DamagedError("an instance does not have its checksum")
        values = _restored(_values_decoder.decode(packed))
        return Attributes.from_shape(
            self._shape, self._merge((*self.record._values, *values, *self._extra, sop_instance_uid))
        )


def _merged(
    common: Shape, own_tags: tuple[int, ...], own_vrs: tuple[str, ...]
) -> tuple[Shape, Callable[[Any], tuple[Value, ...]]]:
    """The shape of an instance's whole record, and what puts values into its order."""
    extra = (_SOP_CLASS_UID, _AVAILABLE_TRANSFER_SYNTAX_UID, _SOP_INSTANCE_UID)
    tags = (*common.tags, *own_tags, *extra)
    vrs = (*common.vrs, *own_vrs, "UI", "UI", "UI")
    places = {tag: place for place, tag in enumerate(tags)}
    ordered = sorted(places)
    shape = Shape.of(tuple(ordered), tuple([vrs[places[tag]] for tag in ordered]))
    merge: Callable[[Any], tuple[Value, ...]] = operator.itemgetter(*[places[tag] for tag in ordered])
    return shape, merge
