"""What an edit does to one element: made of a mapping, checked, and carried out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dcm._raw import decoded
from dcm.attrs import PIXEL_REPRESENTATION, SPECIFIC_CHARACTER_SET
from dcm.errors import InvalidDicomError, UsageError
from dcm.filt._paths import ElementPath, parse_items, parse_path
from dcm.filt._values import Plain, checked_values
from dcm.keywords import keyword_of
from dcm.text import safe_text

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataelem import DataElement

__all__ = ["Change", "changes_of"]

_SOP_CLASS_UID = 0x00080016
_NEVER_EMPTY = frozenset({_SOP_CLASS_UID, 0x00080018, 0x0020000D, 0x0020000E})
_UTF_8 = "ISO_IR 192"


class Change(NamedTuple):
    """A new value for an element, or its end.

    Attributes
    ----------
    path : ElementPath
    name : str
        What the user calls the element.
    values : tuple or None
        None deletes it. Not checked yet where the VR is not known before the data is.
    items : tuple of tuple of Change, or None
        For a sequence: its new items, and what is in them.
    """

    path: ElementPath
    name: str
    values: tuple[Plain, ...] | None
    items: tuple[tuple[Change, ...], ...] | None = None

    @property
    def deletes(self) -> bool:
        """Whether the element goes."""
        return self.values is None and self.items is None

    def canonical(self) -> Any:
        """The change as JSON, the same for the same change however it was written."""
        path = [f"{tag:08x}[{'*' if index is None else index}]" for tag, index in self.path.steps]
        what: Any = None
        if self.items is not None:
            what = [[change.canonical() for change in item] for item in self.items]
        elif self.values is not None:
            what = [value.hex() if isinstance(value, bytes) else value for value in self.values]
        return [[*path, f"{self.path.tag:08x}"], what]

    def carry_out(self, root: Dataset, *, add: bool = True) -> list[tuple[Dataset, DataElement]]:
        """Change a data set.

        Parameters
        ----------
        root : Dataset
            It is changed in place.
        add : bool, optional
            Whether to add the element where it is not. One whose VR nobody knows (a private one) is never added.

        Returns
        -------
        list of (Dataset, DataElement)
            What was put, and into what.

        Raises
        ------
        InvalidDicomError
            The value is none for the VR that the element has in this data set.
        """
        before = root.get_item(self.path.top) if self.path.steps and self.path.top in root else None
        put = []
        deleted = False
        for parent in self.path.parents(root):
            present = self.path.tag in parent
            if self.deletes:
                if present:
                    del parent[self.path.tag]
                    deleted = True
            elif present or add:
                element = self._element(parent, root, present)
                if element is not None:
                    parent[self.path.tag] = element
                    put.append((parent, element))
        if before is not None and not (put or deleted):
            root[self.path.top] = before  # looking for it has decoded it
        return put

    def _element(self, parent: Dataset, root: Dataset, present: bool) -> DataElement | None:
        """The new element; None where its VR is not known."""
        vr = self.path.vr
        if len(vr) != 2:
            vr = decoded(parent, self.path.tag).VR if present else _guessed_vr(self.path, parent, root)
        if not vr:
            return None
        if self.items is not None:
            return _make(self.path.tag, "SQ", [_item(changes, root) for changes in self.items])
        assert self.values is not None
        try:
            values = checked_values(self.name, vr, list(self.values))
        except UsageError as exc:
            raise InvalidDicomError(exc.message) from exc
        return _make(self.path.tag, vr, list(values) if len(values) > 1 else values[0] if values else None)


def changes_of(edits: Mapping[Any, Any], within: ElementPath | None = None) -> list[Change]:
    """Read edits; see `make_edit_filter` for what they look like.

    Raises
    ------
    UsageError
        Something in them is no element, no value for it, or is there twice.
    """
    changes = list(_read(edits, within))
    names: dict[tuple[object, ...], str] = {}
    for change in changes:
        other = names.setdefault((change.path.steps, change.path.tag), change.name)
        if other is not change.name:
            raise UsageError(f"'{safe_text(change.name, 200)}' is edited twice, as '{safe_text(other, 200)}' too")
    return changes


def _read(edits: Mapping[Any, Any], within: ElementPath | None) -> Iterator[Change]:
    for key, value in edits.items():
        if not isinstance(key, (str, int, ElementPath)):
            raise UsageError(f"{safe_text(repr(key), 100)} names no element")
        if isinstance(value, Mapping):
            yield from _read(value, parse_items(str(key), within=within))
        else:
            path = parse_path(key, within=within)
            _check_path(path, str(key))
            yield _change(path, str(key), value)


def _check_path(path: ElementPath, name: str) -> None:
    group = path.top >> 16
    if group < 0x0008 or group == 0xFFFE or path.tag & 0xFFFF == 0:
        raise UsageError(
            f"{safe_text(name, 200)} is not edited: it is no attribute of the data set",
            hint="file meta information and group lengths are made anew for each file" if group == 2 else "",
        )
    if path.steps and path.tag == SPECIFIC_CHARACTER_SET:
        raise UsageError("the character set of items is not edited", hint="edit that of the data set")


def _change(path: ElementPath, name: str, value: Any) -> Change:
    if value is None:
        if not path.steps and path.tag in _NEVER_EMPTY:
            raise UsageError(f"{safe_text(name, 200)} cannot be deleted: no instance is without it")
        return Change(path, name, None)
    many = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    if path.vr == "SQ" or (many and value and all(isinstance(item, Mapping) for item in value)):
        return Change(path, name, None, _new_items(path, name, value))
    # The VR of private elements and of the ambiguous ones depends on the data set: they are checked there.
    single = path.vr != "" and _has_one_value(path.tag)
    vr = "OW" if path.vr == "OB or OW" else path.vr
    values = checked_values(name, vr if len(vr) == 2 else "", value, single=single)
    if not values and not path.steps and path.tag in _NEVER_EMPTY:
        raise UsageError(f"{safe_text(name, 200)} cannot be empty: no instance is without it")
    if path.tag == SPECIFIC_CHARACTER_SET and values != (_UTF_8,):
        raise UsageError(f"{safe_text(name, 200)} cannot be {safe_text(repr(value), 100)}", hint=f"it can be {_UTF_8}")
    return Change(path, name, values)


def _new_items(path: ElementPath, name: str, value: Any) -> tuple[tuple[Change, ...], ...]:
    if value in ("", b""):
        return ()
    if path.vr not in ("SQ", "") or not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise UsageError(
            f"{safe_text(name, 200)} cannot be {safe_text(repr(value), 100)}",
            hint=(
                "a sequence is edited by items: Seq[0].KEYWORD, or a list of objects for new items"
                if path.vr == "SQ"
                else "it is no sequence"
            ),
        )
    items = []
    for item in value:
        if not isinstance(item, Mapping):
            raise UsageError(f"an item of {safe_text(name, 200)} cannot be {safe_text(repr(item), 100)}")
        changes = changes_of(item)
        for change in changes:
            if change.path.steps or change.deletes:
                raise UsageError(f"{safe_text(change.name, 200)} in a new item of {safe_text(name, 200)} has no value")
        items.append(tuple(changes))
    return tuple(items)


def _has_one_value(tag: int) -> bool:
    from pydicom.datadict import dictionary_VM

    return dictionary_VM(tag) == "1"


def _guessed_vr(path: ElementPath, parent: Dataset, root: Dataset) -> str:
    """The VR of an element that is not in the data set and has none, or several, by the dictionary."""
    if path.vr in ("US or SS", "US or SS or OW"):
        for ds in (parent, root):
            if PIXEL_REPRESENTATION in ds:
                return "SS" if decoded(ds, PIXEL_REPRESENTATION).value == 1 else "US"
        return "US"
    if path.vr:
        return "OW"
    if not path.tag >> 16 & 1:
        return ""
    if 0x10 <= path.tag & 0xFFFF <= 0xFF:
        return "LO"  # it reserves a block of private elements (PS3.5 section 7.8.1)
    from pydicom.datadict import private_dictionary_VR

    creator = path.tag >> 16 << 16 | path.tag >> 8 & 0xFF
    if creator not in parent:
        return ""
    try:
        return str(private_dictionary_VR(path.tag, str(decoded(parent, creator).value)))
    except KeyError:
        return ""


def _item(changes: tuple[Change, ...], root: Dataset) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    for change in changes:
        element = change._element(item, root, False)
        if element is None:
            raise InvalidDicomError(f"the VR of {keyword_of(change.path.tag)} is not known")
        item[change.path.tag] = element
    return item


def _make(tag: int, vr: str, value: Any) -> DataElement:
    from pydicom import config
    from pydicom.dataelem import DataElement, empty_value_for_VR

    content = empty_value_for_VR(vr) if value is None else value
    return DataElement(tag, vr, content, validation_mode=config.IGNORE)
