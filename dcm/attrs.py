"""Records of DICOM attributes: immutable, hashable and small enough to keep a million of them.

A pydicom ``Dataset`` with twelve elements takes some ten kilobytes. A record of the same elements takes a few hundred
bytes: two records with the same tags and VRs share one *shape* that maps tags to positions, and each keeps only
the tuple of its values. Query results, headers and index rows are such records; where a caller wants a ``Dataset``,
:meth:`Attributes.to_dataset` makes one.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Union, cast

from dcm.errors import InvalidDicomError

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

__all__ = ["MAX_DEPTH", "Attributes", "Shape", "Value"]

Value: TypeAlias = Union[str, int, float, bytes, tuple["Value", ...], "Attributes", None]
"""What an attribute can be: None where it is empty, a tuple where it has several values, a tuple of
:class:`Attributes` for a sequence."""

MAX_DEPTH = 64
"""How deep sequences may be nested in what we read; the same limit everywhere in dcm."""

SPECIFIC_CHARACTER_SET = 0x00080005
PIXEL_REPRESENTATION = 0x00280103

INT_VRS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "AT"})
FLOAT_VRS = frozenset({"FL", "FD"})
BYTES_VRS = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})
# PS3.5 table 6.2-1: these are one text, a backslash in them is a backslash.
SINGLE_TEXT_VRS = frozenset({"ST", "LT", "UT", "UR"})

# What str.strip() takes for white space in the repertoires that these are made of, and NUL.
_BLANK = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\0"


def strip_padding(vr: str, text: str) -> str:
    """One value of a text VR without its padding (PS3.5 section 6.2).

    Parameters
    ----------
    vr : str
        The VR; AE, IS, DS and UI are stripped on both sides, a PN may also end with the delimiters of empty groups.
    text : str
        The decoded value, without the delimiter of multiple values.

    Returns
    -------
    str
        The text, '' where there was only padding.
    """
    if vr in ("AE", "IS", "DS", "UI"):
        return text.strip(_BLANK)
    return text.rstrip("\0 =") if vr == "PN" else text.rstrip("\0 ")


class Shape:
    """The tags of a record in ascending order, their VRs, and where each of them is. Get one by :meth:`of`.

    Attributes
    ----------
    tags : tuple of int
    vrs : tuple of str
    index : dict of int to int
        Tag to position.
    """

    __slots__ = ("index", "tags", "vrs")

    def __init__(self, tags: tuple[int, ...], vrs: tuple[str, ...]) -> None:
        self.tags = tags
        self.vrs = vrs
        self.index = {tag: position for position, tag in enumerate(tags)}

    @classmethod
    def of(cls, tags: tuple[int, ...], vrs: tuple[str, ...]) -> Shape:
        """The one shape of these tags, strictly ascending, and VRs."""
        shape = _shapes.get((tags, vrs))
        if shape is None:
            if len(_shapes) >= _MAX_SHAPES:
                _shapes.clear()
            shape = _shapes.setdefault((tags, vrs), cls(tags, vrs))
        return shape


# Peers choose the tags that they answer with, so the number of shapes that are remembered has a bound. A record keeps
# its own shape alive: forgetting one here costs sharing, not data.
_MAX_SHAPES = 4096
_shapes: dict[tuple[tuple[int, ...], tuple[str, ...]], Shape] = {}


class Attributes(Mapping[int, Value]):
    """An immutable record of DICOM attributes: tag to value, tags ascending.

    Text (also IS, DS, UI, PN, DA, TM, DT) is ``str`` without padding, US, SS, UL, SL, UV, SV and AT are ``int``, FL
    and FD are ``float``, the rest is ``bytes``. Several values are a tuple, a sequence is a tuple of `Attributes`, an
    empty element is None. Make one with :meth:`from_items` or :meth:`from_dataset`.

    Two records are equal where their tags and values are; a VR is a matter of encoding.
    """

    __slots__ = ("_shape", "_values")

    _shape: Shape
    _values: tuple[Value, ...]

    def __init__(self) -> None:
        self._shape = _EMPTY_SHAPE
        self._values = ()

    @classmethod
    def from_items(cls, items: Iterable[tuple[int, str, Value]]) -> Attributes:
        """Make a record from elements.

        Parameters
        ----------
        items : iterable of (tag, VR, value)
            In any order; of two with the same tag the last counts. Empty text and empty tuples become None, lists
            become tuples, a tuple of one value that value (not so for a sequence).

        Returns
        -------
        record : Attributes
        """
        elements = {tag: (vr, _normal(vr, value)) for tag, vr, value in items}
        tags = tuple(sorted(elements))
        pairs = [elements[tag] for tag in tags]
        return cls.from_columns(tags, tuple([vr for vr, _ in pairs]), tuple([value for _, value in pairs]))

    @classmethod
    def from_columns(cls, tags: tuple[int, ...], vrs: tuple[str, ...], values: tuple[Value, ...]) -> Attributes:
        """Make a record from columns that are already in order: the fast way in, nothing is checked.

        Parameters
        ----------
        tags, vrs, values : tuple
            Of equal length; the tags strictly ascending, the values in the forms that this class documents.

        Returns
        -------
        record : Attributes
        """
        return cls.from_shape(Shape.of(tags, vrs), values)

    @classmethod
    def from_shape(cls, shape: Shape, values: tuple[Value, ...]) -> Attributes:
        """The same for a shape that is known already."""
        self = object.__new__(cls)
        self._shape = shape
        self._values = values
        return self

    @classmethod
    def from_dataset(cls, ds: Dataset, tags: Container[int] | None = None) -> Attributes:
        """Take the attributes of a pydicom Dataset.

        Parameters
        ----------
        ds : Dataset
            Group lengths are left out. An element that pydicom cannot convert is kept as bytes, with the VR UN.
        tags : container of int, optional
            Only these, of the top level.

        Returns
        -------
        record : Attributes

        Raises
        ------
        InvalidDicomError
            Where a value does not fit its VR, or sequences are nested deeper than `MAX_DEPTH`.
        """
        return _from_dataset(ds, tags, 0)

    def to_dataset(self) -> Dataset:
        """Make a pydicom Dataset of it.

        Returns
        -------
        Dataset
            Values that are not valid for their VR are in it as they are. Where a text is not ASCII, the Specific
            Character Set is ISO_IR 192 (UTF-8), whatever it was in the data that this record was read from.
        """
        unicode = not _is_ascii(self)
        ds = _to_dataset(self, drop_charset=unicode)
        if unicode:
            ds.SpecificCharacterSet = "ISO_IR 192"
        return ds

    def vr(self, tag: int) -> str:
        """The VR of an attribute that is present; KeyError otherwise."""
        return self._shape.vrs[self._shape.index[tag]]

    def text(self, tag: int) -> str:
        r"""The value as text: '' if absent or empty, several values joined with ``\``; '' for bytes and sequences."""
        position = self._shape.index.get(tag)
        if position is None:
            return ""
        value = self._values[position]
        return value if isinstance(value, str) else value_text(value)

    def elements(self) -> Iterator[tuple[int, str, Value]]:
        """Yield (tag, VR, value) in the order of the tags: what :meth:`from_items` takes."""
        return zip(self._shape.tags, self._shape.vrs, self._values, strict=True)

    def replace(self, items: Iterable[tuple[int, str, Value]]) -> Attributes:
        """A record with these elements (tag, VR, value) added or put in place of those with the same tag."""
        return Attributes.from_items([*self.elements(), *items])

    def without(self, tags: Container[int]) -> Attributes:
        """A record without these tags."""
        return self._keep([i for i, tag in enumerate(self._shape.tags) if tag not in tags])

    def only(self, tags: Container[int]) -> Attributes:
        """A record of these tags, as far as they are present."""
        return self._keep([i for i, tag in enumerate(self._shape.tags) if tag in tags])

    def _keep(self, positions: list[int]) -> Attributes:
        shape, values = self._shape, self._values
        if len(positions) == len(values):
            return self
        return Attributes.from_columns(
            tuple([shape.tags[i] for i in positions]),
            tuple([shape.vrs[i] for i in positions]),
            tuple([values[i] for i in positions]),
        )

    def __getitem__(self, tag: int) -> Value:
        return self._values[self._shape.index[tag]]

    def __iter__(self) -> Iterator[int]:
        return iter(self._shape.tags)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, tag: object) -> bool:
        return tag in self._shape.index

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Attributes):
            return self._values == other._values and self._shape.tags == other._shape.tags
        return super().__eq__(other)

    def __hash__(self) -> int:
        return hash((self._shape.tags, self._values))

    def __reduce__(self) -> tuple[Any, ...]:
        return Attributes.from_columns, (self._shape.tags, self._shape.vrs, self._values)

    def __repr__(self) -> str:
        inside = ", ".join(
            [f"({tag >> 16:04x},{tag & 0xFFFF:04x}) {vr} {value!r}" for tag, vr, value in self.elements()]
        )
        return f"<Attributes {inside}>"


_EMPTY_SHAPE = Shape.of((), ())

# What pydicom raises for bytes that it cannot convert: a bad VR, a bad length, text in an IS, an item without end.
_CONVERSION_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
)


def value_text(value: Value) -> str:
    r"""A value as text: '' if empty, several values joined with ``\``, '' for bytes and sequences.

    Parameters
    ----------
    value : Value
        As an `Attributes` holds it.

    Returns
    -------
    str
    """
    if isinstance(value, tuple):
        return "\\".join([value_text(item) for item in value]) if not isinstance(value[0], Attributes) else ""
    if value is None or isinstance(value, (bytes, Attributes)):
        return ""
    return str(value)


def _normal(vr: str, value: Value) -> Value:
    if isinstance(value, (tuple, list)):
        if len(value) == 1 and vr != "SQ":
            return _normal(vr, value[0])
        return tuple(value) or None
    return None if value == "" else value


def _is_ascii(value: Value) -> bool:
    if isinstance(value, str):
        return value.isascii()
    if isinstance(value, Attributes):
        value = value._values
    return all(map(_is_ascii, value)) if isinstance(value, tuple) else True


def _to_dataset(record: Attributes, *, drop_charset: bool) -> Dataset:
    from pydicom import Dataset, config
    from pydicom.dataelem import DataElement

    ds = Dataset()
    for tag, vr, value in record.elements():
        if drop_charset and tag == SPECIFIC_CHARACTER_SET:
            continue
        content: Any = list(value) if isinstance(value, tuple) else value
        if vr == "SQ":
            items = cast("tuple[Attributes, ...]", value or ())
            content = [_to_dataset(item, drop_charset=drop_charset) for item in items]
        try:
            element = DataElement(tag, vr, content, validation_mode=config.IGNORE)
        except (ValueError, TypeError, OverflowError, ArithmeticError):
            # An IS of "12a" is what the peer said: pydicom too keeps such a value as text when it reads one.
            element = DataElement(tag, vr, content, already_converted=True, validation_mode=config.IGNORE)
        ds[tag] = element
    return ds


def _from_dataset(ds: Dataset, tags: Container[int] | None, depth: int) -> Attributes:
    if depth > MAX_DEPTH:
        raise InvalidDicomError(f"sequences are nested deeper than {MAX_DEPTH}")
    present = sorted(ds.keys())
    wanted = [int(tag) for tag in present if tag & 0xFFFF and (tags is None or tag in tags)]
    return Attributes.from_items([_from_element(ds, tag, depth) for tag in wanted])


def _from_element(ds: Dataset, tag: int, depth: int) -> tuple[int, str, Value]:
    from pydicom.errors import BytesLengthException

    try:
        element = ds[tag]
    except RecursionError as exc:
        raise InvalidDicomError(f"sequences are nested deeper than {MAX_DEPTH}") from exc
    except (BytesLengthException, *_CONVERSION_ERRORS):
        raw: Any = ds.get_item(tag)
        return tag, "UN", bytes(raw.value or b"") or None
    vr = _plain_vr(ds, element)
    if vr == "SQ":
        return tag, vr, tuple([_from_dataset(item, None, depth + 1) for item in element.value or ()])
    value = element.value
    many = not isinstance(value, (str, bytes)) and hasattr(value, "append")
    try:
        return tag, vr, tuple([_plain(vr, v, ds) for v in value]) if many else _plain(vr, value, ds)
    except (TypeError, ValueError, OverflowError) as exc:
        raise InvalidDicomError(f"({tag >> 16:04x},{tag & 0xFFFF:04x}): a value does not fit the VR {vr}") from exc


def _plain_vr(ds: Dataset, element: DataElement) -> str:
    """The VR to keep: that of the element, or for one that the dictionary leaves open the one that its value has."""
    vr = str(element.VR)
    if len(vr) == 2:
        return vr
    if vr == "US or SS" or not isinstance(element.value, (bytes, type(None))):
        return "SS" if ds.get("PixelRepresentation") == 1 else "US"
    return "OW"


def _plain(vr: str, value: Any, ds: Dataset) -> Value:
    """One value of a pydicom element as this module keeps it."""
    if value is None or value == "":
        return "" if value == "" else None
    if vr in INT_VRS:
        if isinstance(value, bytes):  # "US or SS", which pydicom leaves as it was encoded
            order: Literal["little", "big"] = "big" if ds.original_encoding[1] is False else "little"
            pairs = [value[i : i + 2] for i in range(0, len(value), 2)]
            return _normal(vr, tuple([int.from_bytes(pair, order, signed=vr == "SS") for pair in pairs]))
        return int(value)
    if vr in FLOAT_VRS:
        return float(value)
    if vr in BYTES_VRS:
        return bytes(value)
    return strip_padding(vr, str(value))
