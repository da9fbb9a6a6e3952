r"""A line for each element, in a form that the user gives: ``{ds.PatientID}: {elem.keyword} = {elem.value}``.

The grammar is that of output paths, see `dcm.template`, with other fields::

    {elem.value}  {elem.value[0]}    the value, or one of several; of a long binary value, what comes first
    {elem.tag}                       also: vr, vm, keyword, name, length, offset, depth
    {ds.PatientID}  {ds.(0010,0020)} an attribute of the data set that the element is in, {ds.ImageType[2]} one value
    {file}                           the file
    {elem.keyword|elem.tag}  {ds.StudyID|'none'}      the first that is not empty
    {ds.SeriesNumber:03d}  {elem.value:.20}  {elem.keyword:<30}  {elem.length:>8}
    {{  }}  \t  \n  \\               braces, tab, end of line, backslash

Nothing else can be asked for. A form without ``elem`` makes one line for each file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from dcm.dump._values import (
    BINARY_VRS,
    BYTES_SHOWN,
    cut_text,
    keyword_of_element,
    length_text,
    name_of_element,
    value_text,
    vm_of,
)
from dcm.dump._walk import ELEMENT, FRAGMENT, ITEM, Element
from dcm.errors import TemplateError, UsageError
from dcm.keywords import resolve_keyword
from dcm.text import safe_text

__all__ = ["LineFormat"]

_TOKEN = re.compile(r"\{\{|\}\}|\\[tn\\]|\{(?P<field>[^{}]*)\}|(?P<text>[^{}\\]+|\\)|(?P<stray>[{}])")
_CHOICE = re.compile(r"(?P<name>[^\[\]]+?)(?:\[\s*(?P<index>-?[0-9]{1,4})\s*\])?")
_SPEC = re.compile(
    r"(?P<integer>(?:0[1-9][0-9]?)?)d|\.(?P<length>[1-9][0-9]{0,3})|(?P<align>[<>]?)(?P<width>[1-9][0-9]{0,2})"
)
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_LITERALS = {"{{": "{", "}}": "}", "\\t": "\t", "\\n": "\n", "\\\\": "\\"}

_ELEM: Mapping[str, Callable[[Element], str]] = {
    "depth": lambda element: str(element.depth),
    "keyword": lambda element: keyword_of_element(element),
    "length": length_text,
    "name": name_of_element,
    "offset": lambda element: str(element.offset),
    "tag": lambda element: f"({element.tag >> 16:04x},{element.tag & 0xFFFF:04x})",
    "vm": lambda element: str(vm_of(element)),
    "vr": lambda element: element.vr,
}

_Read: TypeAlias = "Callable[[Element | None, Mapping[int, str], str], str]"


class _Field(NamedTuple):
    choices: tuple[_Read, ...]
    default: str
    integer: str | None
    length: int | None
    width: int
    align: str

    def text(self, element: Element | None, ds: Mapping[int, str], file: str) -> str:
        value = next(filter(None, (choice(element, ds, file) for choice in self.choices)), self.default)
        if self.integer is not None and _INTEGER.fullmatch(value):
            value = format(int(value), f"{self.integer}d")
        if self.length is not None:
            value = value[: self.length]
        value = safe_text(value)
        return value.rjust(self.width) if self.align == ">" else value.ljust(self.width)


class LineFormat:
    r"""A form of lines; the module describes the grammar.

    Parameters
    ----------
    text : str
        The form.
    full : bool, optional
        With whole values; else binary ones are cut where they are long.

    Attributes
    ----------
    full : bool
    tags : frozenset of int
        The attributes of the data set that it reads.
    per_element : bool
        Whether it makes a line for each element; else, for each file.

    Raises
    ------
    TemplateError
        It is empty, or there is no such field; the nearest one is suggested.
    """

    def __init__(self, text: str, *, full: bool = False) -> None:
        self.text = text
        self.full = full
        if not text:
            raise TemplateError("--plain-fmt: the form is empty", hint="'{elem.keyword} = {elem.value}' say")
        self.per_element = False
        tags: set[int] = set()
        self._parts = tuple(self._parse(tags))
        self.tags = frozenset(tags)

    def line(self, element: Element | None, ds: Mapping[int, str], file: str) -> str:
        """Make a line.

        Parameters
        ----------
        element : Element or None
            None where the form does not ask for one.
        ds : mapping of int to str
            Attributes of the data set as text, several values with a backslash between them.
        file : str
            The name of the file.

        Returns
        -------
        str
            Without a character from the file that acts on a terminal, and without an end of line.
        """
        return "".join([part if isinstance(part, str) else part.text(element, ds, file) for part in self._parts])

    def limit(self, tag: int, vr: str, length: int) -> int:
        """How many bytes of a long value are read."""
        return length if self.full or vr not in BINARY_VRS else BYTES_SHOWN

    def value(self, element: Element) -> str:
        """The value of an element as text."""
        if element.kind != ELEMENT:
            return ""
        return value_text(element) if self.full or element.vr not in BINARY_VRS else cut_text(element)

    def lines_wanted(self, element: Element) -> bool:
        """Whether an element has a line: items and fragments have none."""
        return element.kind not in (ITEM, FRAGMENT)

    def _parse(self, tags: set[int]) -> Iterator[str | _Field]:
        for token in _TOKEN.finditer(self.text):
            if token["stray"]:
                raise self._error(f"a {token['stray']!r} without its other half", "write {{ or }} for a brace")
            if token["field"] is not None:
                yield self._field(token["field"], tags)
            else:
                yield _LITERALS.get(token.group(), token.group())

    def _field(self, body: str, tags: set[int]) -> _Field:
        names, colon, spec = body.partition(":")
        choices: list[_Read] = []
        default = ""
        for choice in map(str.strip, names.split("|")):
            if choice[:1] in ("'", '"'):
                if len(choice) < 2 or choice[-1] != choice[0]:
                    raise self._error(f"a quotation mark without its other half: {choice}")
                default = choice[1:-1]
            else:
                choices.append(self._choice(choice, tags))
        if not colon:
            return _Field(tuple(choices), default, None, None, 0, "")
        match = _SPEC.fullmatch(spec.strip())
        if match is None:
            raise self._error(f"no such format: {spec!r}", "there are :d, :03d, :.8, :<20 and :>20")
        length = int(match["length"]) if match["length"] else None
        return _Field(tuple(choices), default, match["integer"], length, int(match["width"] or 0), match["align"] or "")

    def _choice(self, text: str, tags: set[int]) -> _Read:
        match = _CHOICE.fullmatch(text)
        if match is None:
            raise self._error(f"nothing to make of {text!r}", "fields are {elem.value}, {ds.PatientID}, {file}")
        position = int(match["index"]) if match["index"] else None
        kind, _, name = match["name"].strip().partition(".")
        if kind == "file" and not name and position is None:
            return lambda element, ds, file: file
        if kind == "elem":
            read = self.value if name == "value" else _ELEM.get(name)
            if read is None:
                names = ", elem.".join(sorted([*_ELEM, "value"]))
                raise self._error(f"there is no {match['name'].strip()}", f"there are elem.{names}")
            self.per_element = True
            return lambda element, ds, file: "" if element is None else _one(read(element), position)
        if kind == "ds" and name:
            try:
                tag = resolve_keyword(name)[0]
            except UsageError as exc:
                raise self._error(f"unknown keyword {name!r}", exc.hint) from None
            tags.add(tag)
            return lambda element, ds, file: _one(ds.get(tag, ""), position)
        raise self._error(f"nothing to make of {text!r}", "fields are {elem.value}, {ds.PatientID}, {file}")

    def _error(self, why: str, hint: str = "") -> TemplateError:
        return TemplateError(f"--plain-fmt {safe_text(self.text, 200)!r}: {safe_text(why, 200)}", hint=hint)


def _one(text: str, position: int | None) -> str:
    if position is None or not text:
        return text
    parts = text.split("\\")
    return parts[position] if -len(parts) <= position < len(parts) else ""
