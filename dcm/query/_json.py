"""Query results as JSON documents, there and back, and records in the DICOM JSON model (PS3.18 annex F).

A document is ``{"format": "dcm.query_result", "version": 1, "level": ..., "prov": {...}, "data_sets": [...]}``, with
one line for each data set. They are encoded and decoded one by one: neither side builds a tree of the whole document.
"""

from __future__ import annotations

import base64
import functools
import itertools
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from dcm.attrs import BYTES_VRS, FLOAT_VRS, INT_VRS, MAX_DEPTH, Attributes, Value
from dcm.errors import DcmError, InvalidDicomError
from dcm.levels import QueryLevel
from dcm.node import DcmNode
from dcm.query._prov import QueryProv
from dcm.text import safe_text

__all__ = ["FORMAT", "VERSION", "dump_document", "dump_records", "load_document"]

FORMAT: Final = "dcm.query_result"
VERSION: Final = 1

_TEXT_VRS: Final = ("AE", "AS", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
_PN_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_KEY = re.compile(r"[0-9A-Fa-f]{8}")
_INTEGER = re.compile(r"-?[1-9][0-9]{0,14}|0")
# What JSON has no number for (PS3.18 section F.2.3).
_ODD_FLOATS: Final = {"NaN": math.nan, "inf": math.inf, "-inf": -math.inf}
_MEMO: Final = 1 << 16  # elements to remember, at most
_EXACT: Final = 1 << 53  # beyond, a reader that takes numbers for doubles would change them


class _Node(msgspec.Struct, forbid_unknown_fields=True):
    host: str
    ae_title: str
    port: int


class _Prov(msgspec.Struct, forbid_unknown_fields=True):
    source: _Node | str | None = None
    queried_elems: list[str] | None = None
    removed_existing_on: _Node | str | None = None


class _Document(msgspec.Struct):
    format: str
    version: int
    level: str
    prov: _Prov
    data_sets: list[msgspec.Raw]


class _Header(msgspec.Struct):
    format: str
    version: int


class _Element(msgspec.Struct):
    vr: str
    Value: list[Any] | None = None
    InlineBinary: str | None = None
    BulkDataURI: str | None = None


_encoder = msgspec.json.Encoder()
_element_decoder = msgspec.json.Decoder(_Element)
_data_set_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def dump_document(level: QueryLevel, prov: QueryProv, records: Iterable[Attributes]) -> str:
    """Write a query result as a document."""
    elems = None if prov.queried_elems is None else sorted(prov.queried_elems)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "level": level.name,
        "prov": _Prov(_dump_place(prov.source), elems, _dump_place(prov.removed_existing_on)),
    }
    lines = (f",\n{row}" if number else row for number, row in enumerate(dump_records(records)))
    return "".join(itertools.chain([_encode(head)[:-1], ',"data_sets":[\n'], lines, ["\n]}\n"]))


def dump_records(records: Iterable[Attributes]) -> Iterator[str]:
    """Write each record as a DICOM JSON object, on one line."""
    seen: dict[tuple[int, str, str], str] = {}  # most elements repeat from record to record
    for record in records:
        members = []
        for tag, vr, value in record.elements():
            if type(value) is not str:
                members.append(_dump_member(tag, vr, value))
                continue
            member = seen.get((tag, vr, value))
            if member is None:
                if len(seen) >= _MEMO:
                    seen.clear()
                member = seen[tag, vr, value] = _dump_member(tag, vr, value)
            members.append(member)
        yield f"{{{','.join(members)}}}"


def _dump_member(tag: int, vr: str, value: Value) -> str:
    return f'"{tag:08X}":{_encode(_dump_element(vr, value))}'


def load_document(text: str | bytes) -> tuple[QueryLevel, QueryProv, Iterator[Attributes]]:
    """Read a document.

    Parameters
    ----------
    text : str or bytes
        What `dump_document` has written; bytes are UTF-8.

    Returns
    -------
    level : QueryLevel
    prov : QueryProv
    records : iterator of Attributes
        Raises what is described below, too.

    Raises
    ------
    InvalidDicomError
        It is no such document.
    """
    try:
        raw = text.encode() if isinstance(text, str) else bytes(text)
        if not raw.strip():
            raise InvalidDicomError("not a query result: there is nothing in it")
        header = msgspec.json.decode(raw, type=_Header)
        if header.format != FORMAT:
            raise InvalidDicomError(f"not a query result: its format is '{safe_text(header.format, 40)}'")
        if header.version != VERSION:
            raise InvalidDicomError(
                f"a query result of version {header.version}, this dcm reads version {VERSION}", hint="update dcm"
            )
        document = msgspec.json.decode(raw, type=_Document)
        if document.level not in QueryLevel.__members__:
            raise InvalidDicomError(f"a query result without a level: '{safe_text(document.level, 40)}'")
        prov = document.prov
        return (
            QueryLevel[document.level],
            QueryProv(_load_place(prov.source), prov.queried_elems, _load_place(prov.removed_existing_on)),
            _load_records(document.data_sets),
        )
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        raise InvalidDicomError(f"not a query result: {safe_text(exc, 120) or 'nested too deeply'}") from exc
    except InvalidDicomError:
        raise
    except DcmError as exc:  # a node that cannot be one
        raise InvalidDicomError(f"not a query result: {exc.message}") from exc


def _load_records(rows: list[msgspec.Raw]) -> Iterator[Attributes]:
    loader = _Loader()
    number = 0
    try:
        for row in rows:
            number += 1
            yield loader.record(row)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError, TypeError) as exc:
        raise InvalidDicomError(f"data set {number} of a query result: {safe_text(exc, 120)}") from exc


def _dump_place(place: DcmNode | str | None) -> _Node | str | None:
    return _Node(place.host, place.ae_title, place.port) if isinstance(place, DcmNode) else place


def _load_place(place: _Node | str | None) -> DcmNode | str | None:
    return DcmNode(place.host, place.ae_title, place.port) if isinstance(place, _Node) else place


def _encode(value: object) -> str:
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate, which no encoding has
        return _encoder.encode(_scrub(value)).decode()


def _scrub(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _scrub(item) for key, item in value.items()}
    return [_scrub(item) for item in value] if isinstance(value, list) else value


@functools.lru_cache(maxsize=4096)
def _key(tag: int) -> str:
    return f"{tag:08X}"


def _dump(record: Attributes) -> dict[str, Any]:
    return {_key(tag): _dump_element(vr, value) for tag, vr, value in record.elements()}


def _dump_element(vr: str, value: Value) -> dict[str, Any]:
    if value is None:
        return {"vr": vr}
    if isinstance(value, bytes):
        return {"vr": vr, "InlineBinary": base64.b64encode(value).decode()}
    if isinstance(value, tuple):
        return {"vr": vr, "Value": [_dump_value(vr, item) for item in value]}
    return {"vr": vr, "Value": [_dump_value(vr, value)]}


def _dump_value(vr: str, value: Value) -> Any:
    if isinstance(value, str):
        if vr == "PN":
            groups = zip(_PN_GROUPS, value.split("=", 2), strict=False)
            return {name: text for name, text in groups if text} or None
        if vr == "IS" and _INTEGER.fullmatch(value):
            return int(value)
        return value or None
    if isinstance(value, Attributes):
        return _dump(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value).replace("nan", "NaN")
    if isinstance(value, int):
        if vr == "AT":
            return _key(value)
        return value if -_EXACT <= value <= _EXACT else str(value)
    return value


class _Loader:
    """Reads data sets, and remembers elements: most repeat, and then are held in memory once."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, bytes], tuple[int, str, Value]] = {}
        self._ordered: set[tuple[int, ...]] = set()

    def record(self, raw: msgspec.Raw) -> Attributes:
        """One data set; raises ValueError or a MsgspecError where it is none."""
        elements = [self._element(key, item) for key, item in _data_set_decoder.decode(raw).items()]
        tags, vrs, values = zip(*elements, strict=True) if elements else ((), (), ())
        if tags in self._ordered:
            return Attributes.from_columns(tags, vrs, values)
        if all(map(operator.lt, tags, tags[1:])) and len(self._ordered) < _MEMO:
            self._ordered.add(tags)
        return Attributes.from_items(elements)

    def _element(self, key: str, raw: msgspec.Raw) -> tuple[int, str, Value]:
        memo = (key, bytes(raw))
        found = self._seen.get(memo)
        if found is None:
            found = _load_element(key, _element_decoder.decode(raw), 0)
            if len(self._seen) >= _MEMO:
                self._seen.clear()
            self._seen[memo] = found
        return found


def _load_element(key: str, element: _Element, depth: int) -> tuple[int, str, Value]:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no tag")
    try:
        return int(key, 16), element.vr, _load_value(element, depth)
    except (ValueError, TypeError) as exc:
        if depth:
            raise
        raise ValueError(f"({key[:4]},{key[4:]}): {exc}") from exc


def _load_value(element: _Element, depth: int) -> Value:
    vr, values = element.vr, element.Value
    if element.BulkDataURI is not None:
        raise ValueError("the value is elsewhere (BulkDataURI)")
    if vr in BYTES_VRS:
        if values:
            raise ValueError(f"a {vr} is InlineBinary, not Value")
        return None if element.InlineBinary is None else base64.b64decode(element.InlineBinary, validate=True)
    if element.InlineBinary is not None:
        raise ValueError(f"a {vr} is no InlineBinary")
    if vr == "SQ":
        return tuple([_load_item(item, depth + 1) for item in values or ()]) or None
    load = _LOADERS.get(vr)
    if load is None:
        raise ValueError(f"there is no VR {vr!r}")
    items = [load(item) for item in values or ()]
    if len(items) == 1:
        return None if items[0] == "" else items[0]
    return tuple(items) or None


def _load_item(item: object, depth: int) -> Attributes:
    if depth > MAX_DEPTH:
        raise ValueError(f"sequences are nested deeper than {MAX_DEPTH}")
    elements = msgspec.convert(item or {}, dict[str, _Element])
    return Attributes.from_items([_load_element(key, element, depth) for key, element in elements.items()])


def _load_text(item: object) -> str:
    if item is None or isinstance(item, str):
        return item or ""
    raise ValueError(f"not a text: {item!r}")


def _load_number_text(item: object) -> str:
    return str(item) if _is_number(item) else _load_text(item)


def _load_name(item: object) -> str:
    if not isinstance(item, dict):
        return _load_text(item)
    return "=".join([_load_text(item.get(group)) for group in _PN_GROUPS]).rstrip("=")


def _load_int(item: object) -> int:
    if isinstance(item, str) or (isinstance(item, int) and _is_number(item)):
        return int(item)
    raise ValueError(f"not an integer: {item!r}")


def _load_tag(item: object) -> int:
    if isinstance(item, str) and _KEY.fullmatch(item):
        return int(item, 16)
    raise ValueError(f"not a tag: {item!r}")


def _load_float(item: object) -> float:
    if isinstance(item, (int, float)) and _is_number(item):
        return float(item)
    if isinstance(item, str) and item in _ODD_FLOATS:
        return _ODD_FLOATS[item]
    raise ValueError(f"not a number: {item!r}")


def _is_number(item: object) -> bool:
    return isinstance(item, (int, float)) and not isinstance(item, bool)


_LOADERS: Final[dict[str, Callable[[object], str | int | float]]] = {
    **dict.fromkeys(_TEXT_VRS, _load_text),
    **dict.fromkeys(("IS", "DS"), _load_number_text),
    **dict.fromkeys(INT_VRS, _load_int),
    **dict.fromkeys(FLOAT_VRS, _load_float),
    "PN": _load_name,
    "AT": _load_tag,
}
