"""Elements as lines of text that look like those of dcmdump."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dcm._dictionary import uid_keyword
from dcm.dump._values import PIECE, cut_text, keyword_of_element, length_text, value_pieces, value_text, vm_of
from dcm.dump._walk import ELEMENT, FRAGMENT, FRAGMENTS, ITEM, SEQUENCE, UNDEFINED, Element
from dcm.peek._values import TEXT_CACHES
from dcm.text import safe_text

__all__ = ["plain_limit", "plain_lines", "plain_pieces"]

_MAX_SHOWN = 80  # characters of a value
_WIDTH = 40  # what a value takes before the comment, indentation included
_MAX_TEXT = 16 << 20  # of a text: to count its values, all of it is read, but not anything
_MAX_MEMO = 20_000
_SHORT = 80  # bytes of a value that may repeat in the next file

# For each way to decode and to show: lines by what they show. Files choose what is in it, so it is emptied when full.
_memos: dict[tuple[object, ...], dict[object, str]] = {}

_NUMBERS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT"})
_TAG, _VR, _COMMENT, _OFF = "\x1b[36m", "\x1b[33m", "\x1b[2m", "\x1b[0m"


def plain_limit(tag: int, vr: str, length: int) -> int:
    """How many bytes of a long value are read to show it shortened."""
    return min(length, _MAX_TEXT) if vr in TEXT_CACHES else 8 * _MAX_SHOWN


def plain_lines(elements: Iterable[Element], *, full: bool = False, colors: bool = False) -> Iterator[str]:
    """A line for each element, each item and each fragment.

    Parameters
    ----------
    elements : iterable of Element
        As `walk` gives them.
    full : bool, optional
        Whole values, and UIDs as numbers; else what is long is cut, and well-known UIDs are shown by name.
    colors : bool, optional
        With escape sequences for a terminal; there are never others.

    Yields
    ------
    str
        Without an end of line.
    """
    for element in elements:
        kind, tag, vr, length, depth, _, _, value, level, _ = element
        # What repeats in a study, or in all items of a sequence, is made once.
        if kind == ELEMENT and length <= _SHORT:
            memo = level.memo
            if memo is None:
                memo = level.memo = _memos.setdefault((level.encodings, level.order.little, full, colors), {})
            creator = level.creator_of(tag) if tag & 0x10000 else ""  # it has the names of a block
            key = (tag, vr, depth, length, value, creator)
            line = memo.get(key)
            if line is None:
                if len(memo) >= _MAX_MEMO:
                    memo.clear()
                line = memo[key] = _line(element, full, colors)
            yield line
        else:
            yield _line(element, full, colors)


def plain_pieces(elements: Iterable[Element], *, colors: bool = False) -> Iterator[str]:
    """What `plain_lines` gives of whole values, with ends of lines, and a very long line in pieces."""
    for element in elements:
        if len(element.value) > PIECE and element.vr not in TEXT_CACHES:
            before, after = _around(element, colors)
            yield before
            yield from value_pieces(element)
            yield f" {after}\n"
        else:
            for line in plain_lines((element,), full=True, colors=colors):
                yield f"{line}\n"


def _line(element: Element, full: bool, colors: bool) -> str:
    before, after = _around(element, colors)
    return f"{before}{_shown(element, full):<{max(1, _WIDTH - 2 * element.depth)}}{after}"


def _around(element: Element, colors: bool) -> tuple[str, str]:
    """What stands before a value and behind it."""
    tag = element.tag
    head, vr = f"({tag >> 16:04x},{tag & 0xFFFF:04x})", safe_text(element.vr)
    comment = f"# {length_text(element):>4},{vm_of(element):>2} {safe_text(keyword_of_element(element))}"
    indent = "  " * element.depth
    if colors:
        return f"{indent}{_TAG}{head}{_OFF} {_VR}{vr}{_OFF} ", f"{_COMMENT}{comment}{_OFF}"
    return f"{indent}{head} {vr} ", comment


def _shown(element: Element, full: bool) -> str:
    kind = element.kind
    length = "undefined" if element.length == UNDEFINED else "explicit"
    if kind == SEQUENCE:
        return f"(Sequence with {length} length) "
    if kind == ITEM:
        return f"(Item {element.number} with {length} length) "
    if kind == FRAGMENTS:
        return "(Encapsulated pixel data) "
    if not element.length:
        return "(no value available) "
    if element.vr in TEXT_CACHES:
        text = value_text(element)
        if element.vr == "UI" and not full:
            keyword = uid_keyword(text)
            if keyword:
                return f"={keyword} "
        return f"[{safe_text(text, None if full else _MAX_SHOWN)}] "
    if full:
        return f"{value_text(element)} "
    if kind == FRAGMENT or element.vr not in _NUMBERS:
        return f"{cut_text(element)} "
    text = value_text(element._replace(value=element.value[: 8 * _MAX_SHOWN]))
    if len(text) <= _MAX_SHOWN and element.length <= 8 * _MAX_SHOWN:
        return f"{text} "
    return f"{text[:_MAX_SHOWN].rpartition(chr(92))[0]}\\... "
