"""Dumping one file: from its bytes to lines or to an object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dcm.dump._format import LineFormat
from dcm.dump._json import JsonBuilder, json_limit
from dcm.dump._plain import plain_limit, plain_lines, plain_pieces
from dcm.dump._select import Selection
from dcm.dump._source import NotDicomError, Source, layout_of
from dcm.dump._walk import ELEMENT, Element, Limit, walk
from dcm.errors import InvalidDicomError
from dcm.part10 import EXPLICIT_VR_BIG_ENDIAN

__all__ = ["dump_formatted", "dump_json", "dump_plain", "dump_whole"]

_EVERYTHING = Selection()


def _only(selection: Selection, limit: Limit | None) -> Limit:
    """Read no long value of what is not shown."""

    def limited(tag: int, vr: str, length: int) -> int:
        if selection.excludes(tag):
            return 0
        return length if limit is None else limit(tag, vr, length)

    return limited


def dump_plain(
    source: Source, selection: Selection = _EVERYTHING, *, full: bool = False, colors: bool = False
) -> Iterator[str]:
    """Dump a file as text.

    Parameters
    ----------
    source : Source
        The file.
    selection : Selection, optional
        What of it; by default all.
    full : bool, optional
        Whole values; else what is long is cut, and not even read.
    colors : bool, optional
        With colors for a terminal.

    Yields
    ------
    str
        Lines, without an end of line, safe for a terminal.

    Raises
    ------
    InvalidDicomError
        After the last line that could be made, where the file breaks.
    """
    limit = _only(selection, None if full else plain_limit)
    return plain_lines(selection.filter(walk(source, limit)), full=full, colors=colors)


def dump_whole(source: Source, selection: Selection = _EVERYTHING, *, colors: bool = False) -> Iterator[str]:
    """Dump a file as text, with whole values.

    Parameters
    ----------
    source, selection, colors
        As for `dump_plain`.

    Yields
    ------
    str
        Lines with their ends; one of more than a MiB piece by piece.

    Raises
    ------
    InvalidDicomError
        After the last line that could be made, where the file breaks.
    """
    return plain_pieces(selection.filter(walk(source, _only(selection, None))), colors=colors)


def dump_formatted(
    source: Source, line_format: LineFormat, selection: Selection = _EVERYTHING, *, file: str = ""
) -> Iterator[str]:
    """Dump a file as lines of a form that the user gives.

    Parameters
    ----------
    source : Source
        The file.
    line_format : LineFormat
        The form.
    selection : Selection, optional
        The elements that have lines.
    file : str, optional
        Its name, for ``{file}``.

    Yields
    ------
    str
        Lines, without an end of line, safe for a terminal.

    Raises
    ------
    InvalidDicomError
        After the last line that could be made, where the file breaks.
    """
    ds: dict[int, str] = {}
    tags = line_format.tags

    def noted(elements: Iterator[Element]) -> Iterator[Element]:
        for element in elements:
            if element.depth == 0 and element.tag in tags and element.kind == ELEMENT:
                ds[element.tag] = line_format.value(element)
            yield element

    elements = noted(walk(source, _only(selection, line_format.limit)))
    broken: InvalidDicomError | None = None
    # An attribute of the data set may come after the element whose line it is in.
    waiting: list[Element] = []
    try:
        for element in selection.filter(elements, context=False):
            if not line_format.per_element or not line_format.lines_wanted(element):
                continue
            if tags:
                waiting.append(element)
            else:
                yield line_format.line(element, ds, file)
    except NotDicomError:
        raise
    except InvalidDicomError as exc:
        broken = exc
    if not line_format.per_element:
        yield line_format.line(None, ds, file)
    for element in waiting:
        yield line_format.line(element, ds, file)
    if broken is not None:
        raise broken


def dump_json(
    source: Source, selection: Selection = _EVERYTHING, *, uri: str = "", full: bool = False
) -> tuple[dict[str, Any], InvalidDicomError | None]:
    """Dump a file as an object of the DICOM JSON Model (PS3.18 annex F).

    Parameters
    ----------
    source : Source
        The file.
    selection : Selection, optional
        What of it. The file meta information is in it only if the selection names it.
    uri : str, optional
        That of the file: long binary values are referred to in it.
    full : bool, optional
        Have all values in the object.

    Returns
    -------
    document : dict
        For `encode_json`.
    broken : InvalidDicomError or None
        Where the file breaks: what came before is in the object.

    Raises
    ------
    NotDicomError
        If nothing in it looks like DICOM.
    """
    layout = layout_of(source)
    if full or layout.deflated or layout.transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN:
        uri = ""  # JSON has little endian values, and an offset has to be one of the file
    builder = JsonBuilder(uri, size=source.size, meta=selection.is_limited)
    broken = None
    try:
        for element in selection.filter(walk(source, _only(selection, json_limit if uri else None))):
            builder.add(element)
    except InvalidDicomError as exc:
        broken = exc
    return builder.finish(), broken
