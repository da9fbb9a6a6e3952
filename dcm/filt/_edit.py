"""Filters that edit elements, and give what becomes another thing another UID."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dcm._raw import decoded
from dcm.attrs import MAX_DEPTH, PIXEL_REPRESENTATION, SPECIFIC_CHARACTER_SET, Attributes, Value
from dcm.errors import InvalidDicomError, UsageError
from dcm.filt._changes import Change, changes_of
from dcm.filt._charset import charset_of, fits, to_utf_8
from dcm.filt._filter import Filter, digest
from dcm.filt._uids import DEFAULT_UID_PREFIX, HELD, KINDS, Kind, UidMap, kind_in_item
from dcm.filt._values import CHARSET_VRS
from dcm.lazyset import AllSet, LazySet
from dcm.levels import QueryLevel
from dcm.query._elements import up_to

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["make_edit_filter"]

_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_META_SOP_CLASS_UID = 0x00020002
_META_SOP_INSTANCE_UID = 0x00020003
_REFERENCED_SOP_CLASS_UID = 0x00081150
_CONCEPT_NAME_CODES = 0x0040A043
_CODE_VALUE = 0x00080100
_ORIGINAL_ATTRIBUTES = 0x04000561  # says what was there before: it is not rewritten
_TIMEZONE_OFFSET = 0x00080201
_MAPPED = {*KINDS, 0x0040A124}

# A sequence in which these bytes are not, in whatever byte order, holds no UID that changes: it need not be decoded.
_MAPPED_TAG = re.compile(
    b"|".join(
        re.escape((tag >> 16).to_bytes(2, order) + (tag & 0xFFFF).to_bytes(2, order))
        for tag in sorted(_MAPPED)
        for order in ("little", "big")
    )
)


def make_edit_filter(
    edits: Mapping[Any, Any],
    update_uids: bool = True,
    uid_prefix: str = DEFAULT_UID_PREFIX,
    add_uid_entropy: str | Iterable[str] | None = None,
    *,
    name: str = "edit",
) -> Filter:
    r"""Make a filter that edits elements.

    Parameters
    ----------
    edits : mapping
        Element to new value. An element is a keyword, a tag as text or int, or a path into sequences:
        ``RequestAttributesSequence[0].StudyInstanceUID``, ``[-1]`` for the last item, ``[*]`` or nothing for all of
        them. A value is text (with ``\`` between several), a number, or a list of them; '' empties the element and
        None deletes it. A mapping edits what is in the items of a sequence, a list of mappings makes new items. What
        is not there is added, but no item is: one that is not there is not edited. A private element of unknown VR is
        edited where it is, and not added.
    update_uids : bool, optional
        Whether what becomes another patient, study, series or instance gets new UIDs, see Notes.
    uid_prefix : str, optional
        What they begin with.
    add_uid_entropy : str or iterable of str, optional
        New UIDs depend on it, too: without it, anyone who knows an old UID and the edits can find the new one.
    name : str, optional
        For messages.

    Returns
    -------
    Filter

    Raises
    ------
    UsageError
        Something in the edits is no element, or no value for it.

    Notes
    -----
    An edited patient has other studies, an edited study other series, an edited series other instances. So with
    `update_uids`, the edit of an attribute of one level (PS3.3 section A.1.2) gives new UIDs to all that is of this
    level or below it: Patient ID or Patient's Name to study, series and instances, Series Description to the series
    and its instances, Image Comments to the instances. All UIDs in the data set that name one of these, at any depth,
    follow the same map, frames of reference follow the study, and so does the file meta information. A UID that is
    given as an edit is taken as it is, and references to the old one in the same data set follow it.

    New UIDs are the same in every process for the same old UIDs, edits and entropy; they depend on the edits of their
    level and of those above it only. Running the filter over its own output changes nothing more.

    Text that the character set of a data set cannot hold makes it UTF-8 (ISO_IR 192), all of it. What is not edited is
    encoded as it came, but for group lengths, which are left out (PS3.5 section 7.2).

    It does not de-identify: that takes more than a few edits (PS3.15 annex E).
    """
    if not edits:
        raise UsageError("no edits")
    changes = changes_of(edits)
    entropy = [add_uid_entropy] if isinstance(add_uid_entropy, str) else list(add_uid_entropy or ())
    fingerprint = digest(
        "edit", [sorted(json.dumps(change.canonical()) for change in changes), update_uids, uid_prefix, entropy]
    )
    editor = _Editor(changes, _uid_map(changes, uid_prefix, entropy if update_uids else None), update_uids)
    return Filter(
        editor.edit,
        editor.reads,
        editor.writes,
        editor.inverts,
        on_record=editor.on_record,
        name=name,
        fingerprint=fingerprint,
    )


def _uid_map(changes: list[Change], prefix: str, entropy: list[str] | None) -> UidMap:
    if entropy is None:
        return UidMap({}, prefix)
    levels = {change: level for change in changes if (level := level_of(change.path.top)) is not None}
    given = {HELD[change.path.tag] for change in changes if not change.path.steps and change.path.tag in HELD}
    keys = {}
    for kind in Kind:
        decisive = [change.canonical() for change, level in levels.items() if level <= kind.level]
        if decisive and kind not in given:
            text = json.dumps([sorted(map(json.dumps, decisive)), entropy])
            keys[kind] = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest()
    return UidMap(keys, prefix)


def level_of(tag: int) -> QueryLevel | None:
    """The level that an attribute describes; None for the character set, which describes none."""
    if tag == SPECIFIC_CHARACTER_SET:
        return None
    if tag == _TIMEZONE_OFFSET:
        return QueryLevel.IMAGE
    return next(level for level in QueryLevel if tag in up_to(level))


class _Editor:
    """The function of an edit filter."""

    def __init__(self, changes: list[Change], uids: UidMap, update_uids: bool) -> None:
        self._changes = changes
        self._uids = uids
        # UIDs that are given: references to the old ones follow.
        self._given = {
            change.path.tag: str(change.values[0])
            for change in changes
            if update_uids and not change.path.steps and change.path.tag in KINDS and change.values
        }
        self._simple = {change.path.tag: change for change in changes if not change.path.steps}
        self._set_elements()

    def _set_elements(self) -> None:
        tops = {change.path.top for change in self._changes}
        # A private element is edited only where it is, and one in an item leaves the rest of the sequence as it is.
        partly = {change.path.top for change in self._changes if change.path.steps or not change.path.vr}
        if any(len(change.path.vr) > 2 for change in self._changes):
            partly.add(PIXEL_REPRESENTATION)
        if any(_has_text(change) for change in self._changes):
            tops.add(SPECIFIC_CHARACTER_SET)
            partly.add(SPECIFIC_CHARACTER_SET)
        mapped = {tag for tag, kind in KINDS.items() if kind in self._uids and tag not in self._simple}
        writes, reads = LazySet(tops | mapped), LazySet(partly | mapped)
        if self._follows:
            # References may be in any sequence, private ones too: those cannot be listed, but what is none can.
            anywhere: LazySet[int] = AllSet - _no_sequences()
            writes, reads = writes | anywhere, reads | anywhere | frozenset(self._given)
        self.reads, self.writes, self.inverts = reads, writes, LazySet(mapped)

    @property
    def _follows(self) -> bool:
        return bool(self._uids.keys or self._given)

    def edit(self, ds: Dataset) -> Dataset:
        """Edit a data set, which is a copy, in place."""
        if self._follows:
            own = {
                (KINDS[tag], uid): new
                for tag, new in self._given.items()
                if tag in ds
                for uid in _texts(decoded(ds, tag).value)
            }
            _References(self._uids, own).follow(ds)
        put = [pair for change in self._changes for pair in change.carry_out(ds)]
        declared = self._simple.get(SPECIFIC_CHARACTER_SET)
        if declared is not None or not all(_can_hold(ds, parent, element.VR, element.value) for parent, element in put):
            to_utf_8(ds)
        meta = ds.__dict__.get("file_meta")
        if meta is not None:
            for tag, meta_tag in ((_SOP_CLASS_UID, _META_SOP_CLASS_UID), (_SOP_INSTANCE_UID, _META_SOP_INSTANCE_UID)):
                if meta_tag in meta and tag in ds:
                    meta[meta_tag].value = decoded(ds, tag).value
        return ds

    def on_record(self, record: Attributes) -> Attributes:
        """What becomes of a query record: no element is added to it."""
        if any(vr == "SQ" for _, vr, _ in record.elements()):
            return self._on_dataset(record)
        items: list[tuple[int, str, Value]] = []
        for tag, vr, value in record.elements():
            change = self._simple.get(tag)
            kind = KINDS.get(tag)
            if change is None:
                items.append((tag, vr, self._new_uids(kind, value) if kind in self._uids and kind else value))
            elif change.values is not None and tag != SPECIFIC_CHARACTER_SET:
                items.append((tag, vr, tuple(change.values)))
        return Attributes.from_items(items)

    def _new_uids(self, kind: Kind, value: Value) -> Value:
        if isinstance(value, tuple):
            return tuple([self._new_uids(kind, one) for one in value])
        return self._uids.new(kind, value) if isinstance(value, str) else value

    def _on_dataset(self, record: Attributes) -> Attributes:
        ds = record.to_dataset()
        _References(self._uids, {}).follow(ds)
        for change in self._changes:
            change.carry_out(ds, add=False)
        return Attributes.from_dataset(ds)


class _References:
    """Gives the UIDs in a data set their new values, in whatever sequence they are."""

    def __init__(self, uids: UidMap, own: Mapping[tuple[Kind, str], str]) -> None:
        self._uids = uids
        self._own = own

    def follow(self, ds: Dataset) -> None:
        """Change a data set in place."""
        self._data_set(ds, 0, 0)

    def _data_set(self, ds: Dataset, parent: int, depth: int) -> bool:
        if depth > MAX_DEPTH:
            raise InvalidDicomError(f"sequences are nested deeper than {MAX_DEPTH}")
        changed = False
        for tag in list(ds.keys()):
            if tag in _MAPPED:
                kind = _kind_of(ds, int(tag), parent) if depth else KINDS.get(tag)
                changed |= kind is not None and self._element(ds, int(tag), kind)
            elif tag != _ORIGINAL_ATTRIBUTES and _may_refer(ds, int(tag)):
                changed |= self._sequence(ds, int(tag), depth)
        return changed

    def _sequence(self, ds: Dataset, tag: int, depth: int) -> bool:
        before = ds.get_item(tag)
        element = ds[tag]
        changed = False
        if element.VR == "SQ":
            for item in element.value or ():
                changed |= self._data_set(item, tag, depth + 1)
        if not changed:
            ds[tag] = before  # as it came
        return changed

    def _element(self, ds: Dataset, tag: int, kind: Kind) -> bool:
        from pydicom.dataelem import DataElement

        old = _texts(decoded(ds, tag).value)
        new = [self._own.get((kind, uid)) or self._uids.new(kind, uid) for uid in old]
        if new != old:
            ds[tag] = DataElement(tag, "UI", new if len(new) > 1 else new[0])
        return new != old


def _kind_of(item: Dataset, tag: int, parent: int) -> Kind | None:
    sop_class = _texts(decoded(item, _REFERENCED_SOP_CLASS_UID).value) if _REFERENCED_SOP_CLASS_UID in item else []
    concept: list[str] = []
    if tag == 0x0040A124 and _CONCEPT_NAME_CODES in item:
        for code in decoded(item, _CONCEPT_NAME_CODES).value or ():
            concept = _texts(decoded(code, _CODE_VALUE).value) if _CODE_VALUE in code else []
    return kind_in_item(tag, parent, "".join(sop_class[:1]), "".join(concept[:1]))


def _may_refer(ds: Dataset, tag: int) -> bool:
    """Whether an element is a sequence with something to change in it, as far as that can be told from outside."""
    element = ds.get_item(tag, keep_deferred=True)
    if element.VR == "SQ" and not element.is_raw:
        return True
    if not element.is_raw or element.VR not in (None, "SQ", "UN"):
        return False
    value = ds.get_item(tag).value
    return not isinstance(value, bytes) or _MAPPED_TAG.search(value) is not None


def _texts(value: Any) -> list[str]:
    """The values of an element with UIDs or codes."""
    if value is None or isinstance(value, bytes):
        return []
    return [str(value)] if isinstance(value, str) else [str(one) for one in value]


def _has_text(change: Change) -> bool:
    """Whether it may put text that is not ASCII, or asks for another character set."""
    if change.path.tag == SPECIFIC_CHARACTER_SET:
        return True
    if change.items is not None:
        return any(_has_text(inner) for item in change.items for inner in item)
    return not all(value.isascii() for value in change.values or () if isinstance(value, str))


def _can_hold(root: Dataset, parent: Dataset, vr: str, value: Any) -> bool:
    """Whether the character set that an element is encoded in has the characters of its value."""
    if vr == "SQ":
        return all(_can_hold(root, item, element.VR, element.value) for item in value for element in item)
    if vr not in CHARSET_VRS:
        return True
    terms = charset_of(root)
    if parent is not root:
        terms = charset_of(parent, terms)
    texts = [str(value or "")] if not hasattr(value, "append") else map(str, value)
    return all(fits(text, terms) for text in texts)


@functools.cache
def _no_sequences() -> frozenset[int]:
    """The standard elements that are no sequences."""
    from pydicom.datadict import dictionary_VR, keyword_dict

    return frozenset(tag for tag in keyword_dict.values() if dictionary_VR(tag) != "SQ")
