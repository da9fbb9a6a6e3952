"""Text in a data set whose Specific Character Set cannot hold it (PS3.5 section 6.1, PS3.3 section C.12.1.1.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from dcm._raw import decoded
from dcm.attrs import MAX_DEPTH, SPECIFIC_CHARACTER_SET
from dcm.errors import InvalidDicomError
from dcm.filt._values import CHARSET_VRS

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["UTF_8", "charset_of", "fits", "to_utf_8"]

UTF_8: Final = "ISO_IR 192"

_DEFAULT: Final = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
_KATAKANA: Final = frozenset({"ISO_IR 13", "ISO 2022 IR 13"})


def charset_of(ds: Dataset, parent: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The defined terms of the character sets of a data set, those of its parent where it has none of its own."""
    if SPECIFIC_CHARACTER_SET not in ds:
        return parent
    value = decoded(ds, SPECIFIC_CHARACTER_SET).value
    terms: list[object] = [value] if isinstance(value, str) else list(value or ())
    return tuple([str(term or "").strip() for term in terms]) or parent


def fits(text: str, terms: Iterable[str]) -> bool:
    """Whether one of some character sets can hold a text."""
    return text.isascii() or any(_holds(term, text) for term in terms)


def _holds(term: str, text: str) -> bool:
    from pydicom.charset import python_encoding

    # What pydicom reads more in than the standard says: Latin-1 without a declaration, kanji as JIS X 0201.
    if term in _DEFAULT:
        return False
    codec = python_encoding.get(term)
    if codec is None:
        return False
    if term in _KATAKANA:
        return all(char.isascii() or "\uff61" <= char <= "\uff9f" for char in text)
    try:
        text.encode(codec)
    except UnicodeError:
        return False
    return True


def to_utf_8(ds: Dataset) -> None:
    """Encode all text in a data set, that in items of its sequences included, as UTF-8 from now on.

    What cannot be decoded by the character set that is declared becomes U+FFFD. Bytes whose VR is unknown (UN) stay.
    """
    _to_utf_8(ds, 0)
    ds.SpecificCharacterSet = UTF_8


def _to_utf_8(ds: Dataset, depth: int) -> None:
    from pydicom.charset import convert_encodings

    if depth > MAX_DEPTH:
        raise InvalidDicomError(f"sequences are nested deeper than {MAX_DEPTH}")
    for tag in list(ds.keys()):
        before = ds.get_item(tag)
        if before.VR and before.VR not in CHARSET_VRS and before.VR not in ("SQ", "UN"):
            continue  # where the VR is implicit, one has to look
        if before.is_raw and _is_plain(before.value):
            continue
        element = ds[tag]  # decodes it by the old character set; it will be encoded by the new one
        if element.VR == "SQ":
            for item in element.value or ():
                _to_utf_8(item, depth + 1)
        elif element.VR not in CHARSET_VRS:
            ds[tag] = before
    if depth and SPECIFIC_CHARACTER_SET in ds:
        ds.SpecificCharacterSet = UTF_8
    # All that depends on it is decoded: the rest can be written as it came.
    implicit, little = ds.original_encoding
    ds.set_original_encoding(implicit, little, convert_encodings(UTF_8))


def _is_plain(value: object) -> bool:
    """Whether encoded text is ASCII: the same in every character set, unless an escape sequence changes it."""
    return value is None or (isinstance(value, bytes) and value.isascii() and b"\x1b" not in value)
