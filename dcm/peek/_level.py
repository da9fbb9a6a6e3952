"""A data set that is being read into a record: its elements so far, their VRs, and the record at the end."""

from __future__ import annotations

from dcm.attrs import PIXEL_REPRESENTATION, Attributes, Shape, Value
from dcm.peek._order import UNDEFINED, Order, swapped
from dcm.peek._tables import LONG_VRS, SHORT_VRS, dictionary_vr

__all__ = ["Level", "finish", "resolve_vr"]

_KNOWN_VRS = SHORT_VRS | LONG_VRS
_MAX_LAYOUTS = 4096


class Level:
    """A data set that is being read: the top level, or an item of a sequence."""

    __slots__ = ("delimited", "encodings", "end", "implicit", "order", "tags", "values", "vrs", "wanted")

    def __init__(
        self,
        end: int,
        delimited: bool,
        implicit: bool,
        order: Order,
        encodings: tuple[str, ...],
        wanted: frozenset[int] | None,
    ) -> None:
        self.end = end  # where it must end, or where what is around it ends
        self.delimited = delimited  # ends with a delimiter
        self.implicit = implicit
        self.order = order
        self.encodings = encodings
        self.wanted = wanted  # tags as they are unpacked; None for all
        self.tags: list[int] = []  # as they are unpacked
        self.vrs: list[str] = []
        self.values: list[Value] = []

    def add(self, tag: int, vr: str, value: Value) -> None:
        self.tags.append(tag)
        self.vrs.append(vr)
        self.values.append(value)

    def find(self, tag: int) -> Value:
        """The value of a tag (not as unpacked) if it has come by already."""
        tag = swapped(tag) if self.order.little else tag
        return self.values[self.tags.index(tag)] if tag in self.tags else None


def resolve_vr(level: Level, tag: int, vr: str, length: int) -> str:
    """The VR to decode with, by the rules of pydicom: dictionary, private creator, context."""
    if vr in _KNOWN_VRS and vr != "UN":
        return vr
    if length == UNDEFINED and vr == "UN":
        return "SQ"  # PS3.5 section 6.2.2, note 2
    found = dictionary_vr(tag) if vr != "UN" or length < 0xFFFF else "UN"
    if not found and tag & 0x10000:
        found = _private_vr(level, tag)
    if found == "US or SS":
        return "SS" if level.find(PIXEL_REPRESENTATION) == 1 else "US"
    if len(found) > 2:
        return "OB" if length == UNDEFINED else "OW"  # encapsulated pixel data, PS3.5 section A.4
    if found:
        return found
    return "SQ" if length == UNDEFINED else "UN"


def _private_vr(level: Level, tag: int) -> str:
    element = tag & 0xFFFF
    if 0x10 <= element < 0x100:
        return "LO"  # a private creator
    creator = level.find((tag & 0xFFFF0000) | element >> 8) if element >= 0x1000 else None
    if not isinstance(creator, str):
        return ""
    from pydicom.datadict import private_dictionary_VR

    try:
        return str(private_dictionary_VR(tag, creator))
    except KeyError:
        return ""


# How the tags of a data set came, to the shape of its record and, where they did not come in order, the positions to
# take values from. All answers to one query have one layout, so this is looked up and not worked out.
_layouts: dict[tuple[bool, tuple[int, ...], tuple[str, ...]], tuple[Shape, list[int] | None]] = {}


def finish(level: Level) -> Attributes:
    key = (level.order.little, tuple(level.tags), tuple(level.vrs))
    layout = _layouts.get(key)
    if layout is None:
        if len(_layouts) >= _MAX_LAYOUTS:
            _layouts.clear()
        layout = _layouts[key] = _layout(*key)
    shape, positions = layout
    values = level.values
    if positions is not None:
        values = [values[i] for i in positions]
    return Attributes.from_shape(shape, tuple(values))


def _layout(little: bool, tags: tuple[int, ...], vrs: tuple[str, ...]) -> tuple[Shape, list[int] | None]:
    natural = [swapped(tag) for tag in tags] if little else list(tags)
    last = {tag: position for position, tag in enumerate(natural) if tag & 0xFFFF}  # without group lengths
    ordered = sorted(last)
    positions = [last[tag] for tag in ordered]
    shape = Shape.of(tuple(ordered), tuple([vrs[i] for i in positions]))
    return shape, None if positions == list(range(len(tags))) else positions
