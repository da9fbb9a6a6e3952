"""What a data set means, without the accidents of how it is encoded.

Two files of the same instance may differ in every byte: transfer syntax and byte order, padding, character set, VRs
that are implicit, ``1.50`` or ``1.5``. Here all of that is gone, so that what is left can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Literal

from dcm._raw import own_copy
from dcm.attrs import BYTES_VRS, FLOAT_VRS, Attributes, Value
from dcm.errors import InvalidDicomError
from dcm.part10 import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from dcm.peek import read_attributes

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["little_endian_words", "normal_value", "normalize", "reread", "word_size"]

_DATA_SET_TRAILING_PADDING = 0xFFFCFFFC
# How long the words of a value are that change with the byte order (PS3.5 section 7.3).
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_LONG_VRS = frozenset({"SV", "UC", "UR", "UT", "UV"})  # besides those of bytes and sequences
_SOME_SEQUENCE = 0x00081140


def normalize(ds: Dataset, *, skip: Iterable[int] = ()) -> Attributes:
    """What a data set means.

    Text is decoded and without padding. Numbers that are text (IS and DS) are in one form: ``1.5`` for ``1.50`` and
    ``+1.5e0``; what is no number stays as it is. Binary values are little endian and of even length. There are no
    group lengths and no trailing padding.

    Parameters
    ----------
    ds : Dataset
        It stays as it is.
    skip : iterable of int, optional
        Tags to leave out, of the top level.

    Returns
    -------
    record : Attributes

    Raises
    ------
    InvalidDicomError
        Where sequences are nested deeper than 64, or a value cannot be read at all.
    """
    record = Attributes.from_dataset(own_copy(ds, set(ds.keys()) - {*skip, _DATA_SET_TRAILING_PADDING}))
    return _normal(record, ds.original_encoding[1] is False)


def normal_value(vr: str, value: Value, *, big_endian: bool = False) -> Value:
    """One element's value as `normalize` has it.

    Parameters
    ----------
    vr : str
        The VR.
    value : Value
        As an `Attributes` holds it.
    big_endian : bool, optional
        Whether binary values are in that byte order.
    """
    if isinstance(value, tuple):
        return tuple([normal_value(vr, one, big_endian=big_endian) for one in value])
    if isinstance(value, Attributes):
        return _normal(value, big_endian)
    if isinstance(value, bytes):
        return _even(little_endian_words(value, word_size(vr)) if big_endian else value)
    if isinstance(value, str) and vr in ("DS", "IS"):
        return _number_text(value)
    # NaN is not equal to itself, and so would be a difference for ever.
    return "nan" if vr in FLOAT_VRS and isinstance(value, float) and math.isnan(value) else value


def reread(value: bytes, vr: str, charset: str, *, big_endian: bool = False) -> Value:
    """What bytes of unknown VR (UN) are by a VR that is known from elsewhere; the bytes where they are not that."""
    order: Literal["big", "little"] = "big" if big_endian else "little"
    if vr in BYTES_VRS:
        return value
    if vr == "SQ":
        # PS3.5 section 6.2.2, note 2: where a sequence is written as UN, it is encoded in implicit VR, little endian.
        syntax, tag = IMPLICIT_VR_LITTLE_ENDIAN, _SOME_SEQUENCE
        encoded = tag.to_bytes(4, "big")[1::-1] + tag.to_bytes(4, "big")[:1:-1] + len(value).to_bytes(4, "little")
    else:
        # As the only element of a data set, with a tag that says nothing.
        syntax, tag = EXPLICIT_VR_BIG_ENDIAN if big_endian else EXPLICIT_VR_LITTLE_ENDIAN, 0x00091001
        encoded = (tag >> 16).to_bytes(2, order) + (tag & 0xFFFF).to_bytes(2, order) + vr.encode("ascii", "replace")
        if vr in _LONG_VRS:
            encoded += bytes(2) + len(value).to_bytes(4, order)
        elif len(value) <= 0xFFFE:
            encoded += len(value).to_bytes(2, order)
        else:
            return value
    try:
        record = read_attributes(encoded + value, syntax, charset=charset)
    except InvalidDicomError:
        return value
    return normal_value(vr, record.get(tag))


def word_size(vr: str) -> int:
    """How many bytes of a binary value are turned round in the other byte order (PS3.5 section 7.3)."""
    return _WORDS.get(vr, 1)


def little_endian_words(value: bytes, word: int) -> bytes:
    """Big endian words as little endian ones; what is left over at the end stays."""
    if word == 1:
        return value
    turned = bytearray(value)
    end = len(value) // word * word
    for position in range(word):
        turned[position:end:word] = value[word - 1 - position : end : word]
    return bytes(turned)


def _normal(record: Attributes, big_endian: bool) -> Attributes:
    items = [(tag, vr, normal_value(vr, value, big_endian=big_endian)) for tag, vr, value in record.elements()]
    return Attributes.from_items(items)


def _number_text(text: str) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    if not number.is_finite():
        return text
    if number == 0:
        return "0"
    digits = number.normalize()
    return f"{digits:f}" if -6 <= digits.adjusted() <= 15 else f"{digits:E}"


def _even(value: bytes) -> bytes:
    return value + b"\0" if len(value) % 2 else value
