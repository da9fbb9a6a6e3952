"""Output paths: a small grammar over DICOM keywords, with names that are safe whatever the values are.

A template is a relative path with ``/`` between its components. What stands between braces is a field::

    {PatientID}                         the value of an attribute; d.PatientID is understood too
    {(0010,0020)}  {00100020}           the same, by tag
    {SeriesDescription|ProtocolName}    the first that is not empty
    {SeriesDescription|'no name'}       ... or else a text; without one, an empty field is "unknown"
    {PatientName[0]}                    a component of a person name (family, given, ...)
    {ImageType[2]}                      a value of an attribute with several, the last one is [-1]
    {SeriesNumber:03d}                  a number with leading zeros; what is no number stays as it is
    {StudyDate:.4}                      the first characters
    {{  }}                              braces

A value becomes a part of one name, whatever is in it: characters that no file name may have, or should have, are
written as ``%XX``, the bytes of their UTF-8 form, like in a URL. So two different values never make the same name, and
:func:`urllib.parse.unquote` gives a value back. Letters of all scripts stay as they are. A name is never empty, ``.``
or ``..``, is no device of Windows (``NUL``), does not end with a dot or a space, and has 200 bytes at most: what is
longer ends with ``%~`` and a hash of the whole. A format loses what it is told to lose, ``.4`` all but four characters.

Names differ as sequences of characters. A file system that takes ``a`` and ``A``, or a composed and a decomposed
``é``, for the same letter (macOS, Windows) takes such names for the same directory; where it comes to files, a store
compares before it writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from dcm.errors import TemplateError, UsageError
from dcm.keywords import resolve_keyword
from dcm.text import UNSAFE_CHARS, safe_text

__all__ = ["DEFAULT_TEMPLATE", "PathTemplate"]

DEFAULT_TEMPLATE = (
    "{PatientID}/{StudyInstanceUID}/{Modality}/" "{SeriesNumber:03d}-{SeriesDescription|ProtocolName}/{SOPInstanceUID}"
)

_UNKNOWN = "unknown"  # a missing value
_MAX_BYTES = 200  # of a component
_MAX_LEAF_BYTES = 160  # of the last one, so that an extension and a mark of a collision fit into 200
_HASH_DIGITS = 32
_MAX_TAIL = 16  # of an extension in the template, which a cut spares

# Besides what text may not hold: what Windows and macOS refuse or interpret, what a shell expands even in double
# quotes, the escape itself, and blanks that look like a space. U+3000 stays: it separates parts of Japanese names.
_FORBIDDEN = UNSAFE_CHARS + '"%*/:<>?\\\\|$`\xa0\u1680\u2000-\u200a\u202f\u205f'
_FORBIDDEN_RE = re.compile(f"[{_FORBIDDEN}]")
_ESCAPED_RE = re.compile(rf"[{_FORBIDDEN}]|\A[ .]|[ .]\Z")
_UID_RE = re.compile(r"[0-9](?:[0-9.]{0,62}[0-9])?")  # no name of a file has anything against it
# What most values are: nothing has to be done to it, and that is seen in a tenth of the time.
_PLAIN_RE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_HALF_ESCAPE_RE = re.compile(r"%[0-9A-F]?\Z")

# The names of directories that are kept: so many, made of so many characters at most.
_MAX_KNOWN = 4096
_MAX_KEY = 1024

_PORTS = [f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"]
_DEVICES = frozenset({"CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$", *_PORTS})

_TOKEN_RE = re.compile(r"\{\{|\}\}|\{(?P<field>[^{}]*)\}|(?P<text>[^{}]+)|(?P<stray>[{}])")
_ATTRIBUTE_RE = re.compile(r"(?P<key>[^\[\]]*?)(?:\[\s*(?P<index>-?[0-9]{1,4})\s*\])?")
_FORMAT_RE = re.compile(r"(?P<integer>(?:0[1-9][0-9]?)?)d|\.(?P<length>[1-9][0-9]{0,2})")
_INTEGER_RE = re.compile(r"[+-]?[0-9]{1,18}")

_NO_TEXT_VRS = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_ONE_VALUE_VRS = frozenset({"LT", "ST", "UT", "UR"})  # a backslash belongs to the text (PS3.5 section 6.2)

TextOf: TypeAlias = Callable[[int], str]


class _Choice(NamedTuple):
    """One attribute of a field."""

    tag: int
    position: int | None
    vr: str

    def value(self, text_of: TextOf) -> str:
        text = text_of(self.tag)
        if self.position is None or not text:
            return text
        if self.vr == "PN":
            # Alphabetic, ideographic and phonetic representation (PS3.5 section 6.2.1): the first one that is there.
            parts = next((group for group in text.split("=") if group), "").split("^")
        else:
            parts = [text] if self.vr in _ONE_VALUE_VRS else text.split("\\")
        return parts[self.position] if -len(parts) <= self.position < len(parts) else ""


class _Field(NamedTuple):
    """What stands between two braces."""

    choices: tuple[_Choice, ...]
    default: str | None  # None: `unknown`, which no value can look like
    integer: str | None
    length: int | None

    def text(self, text_of: TextOf) -> str:
        for choice in self.choices:
            value = choice.value(text_of)
            if value:
                break
        else:
            return _UNKNOWN if self.default is None else self.default
        if self.integer is not None and _INTEGER_RE.fullmatch(value):
            value = format(int(value), f"{self.integer}d")
        if self.length is not None:
            value = value[: self.length]
        if value == _UNKNOWN and self.default is None:
            return _percent(value[0]) + value[1:]
        if _PLAIN_RE.fullmatch(value):
            return value
        return _ESCAPED_RE.sub(_percent_match, value) if _ESCAPED_RE.search(value) else value


_Component: TypeAlias = "tuple[str | _Field, ...]"
_Key: TypeAlias = "tuple[int | str, ...]"  # the number of a directory in the path, and the values that make it


class PathTemplate:
    """An output path with fields for DICOM attributes; the module describes the grammar.

    Parameters
    ----------
    text : str
        The template.

    Attributes
    ----------
    text : str
        The template, as given.
    tags : frozenset of int
        The attributes that it reads.
    directory_tags : tuple of int
        Those of them that make the directories, in a fixed order.

    Raises
    ------
    TemplateError
        Where it cannot be used: an unknown keyword (the nearest one is suggested), a path that is absolute or leads up,
        a character that no file name should have.

    Examples
    --------
    >>> values = {0x00100020: "A/B", 0x00200011: "7"}
    >>> PathTemplate("{PatientID}/{SeriesNumber:03d}-{Modality}").render(lambda tag: values.get(tag, ""))
    ('A%2FB', '007-unknown')
    """

    __slots__ = ("_bare", "_components", "_directories", "_known", "_tail", "directory_tags", "tags", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._components = tuple(_parse(text))
        self.tags = frozenset(tag for component in self._components for tag in _tags_of(component))
        self._directories = [(number, _tags_of(component)) for number, component in enumerate(self._components[:-1])]
        self.directory_tags = tuple(dict.fromkeys(tag for _, tags in self._directories for tag in tags))
        self._known: dict[_Key, str] = {}
        self._bare = _bare_tag(self._components[-1])
        _, dot, extension = self.literal_end.rpartition(".")
        self._tail = dot + extension if len(extension.encode("utf-8")) < _MAX_TAIL else ""

    @property
    def literal_end(self) -> str:
        """The text after the last field, ``.dcm`` for example; ``''`` where the template ends with a field."""
        last = self._components[-1][-1]
        return last if isinstance(last, str) else ""

    def render(self, text_of: Callable[[int], str]) -> tuple[str, ...]:
        r"""Make the path of one instance.

        Parameters
        ----------
        text_of : callable
            Gives the text of an attribute by its tag: ``''`` where it is absent or empty, several values with ``\\``
            between them.

        Returns
        -------
        tuple of str
            The components, each a safe name: directories of at most 200 bytes in UTF-8, and a file of at most 160,
            so that an extension fits. Where one is too long, an extension in the template stays.
        """
        return (*self.render_directories(text_of), self.render_file(text_of))

    def render_directories(self, text_of: Callable[[int], str]) -> list[str]:
        """All components but the last: what the instances of a series most often have in common."""
        # What the same values have made is kept.
        names = []
        for number, tags in self._directories:
            key: _Key = (number, *[text_of(tag) for tag in tags])
            names.append(self._known.get(key) or self._directory(key, text_of))
        return names

    def render_file(self, text_of: Callable[[int], str]) -> str:
        """The last component."""
        if self._bare and _UID_RE.fullmatch(value := text_of(self._bare)):
            return value  # as most names of files are
        return _safe_name(_joined(self._components[-1], text_of), _MAX_LEAF_BYTES, self._tail)

    def _directory(self, key: _Key, text_of: TextOf) -> str:
        number, *values = key
        assert isinstance(number, int)
        name = _safe_name(_joined(self._components[number], text_of), _MAX_BYTES)
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        if sum(map(len, map(str, values))) <= _MAX_KEY:
            self._known[key] = name
        return name

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"PathTemplate({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, PathTemplate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)


# -- names


def _tags_of(component: _Component) -> tuple[int, ...]:
    return tuple(choice.tag for part in component if isinstance(part, _Field) for choice in part.choices)


def _bare_tag(component: _Component) -> int:
    """The attribute whose value as it is makes a component; 0 where more has to be done."""
    if len(component) != 1 or isinstance(component[0], str):
        return 0
    (field,) = component
    assert isinstance(field, _Field)
    as_it_is = field.integer is None and field.length is None and field.choices[0].position is None
    return field.choices[0].tag if as_it_is else 0


def _joined(component: _Component, text_of: TextOf) -> str:
    return "".join([part if isinstance(part, str) else part.text(text_of) for part in component])


def _percent(char: str) -> str:
    return "".join([f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass")])


def _percent_match(match: re.Match[str]) -> str:
    return _percent(match.group())


def _safe_name(name: str, limit: int, tail: str = "") -> str:
    """Make a component safe as a whole, after its values were made safe one by one."""
    if name[-1] in ". ":
        name = name[:-1] + _percent(name[-1])
    # A leading "-" reads like an option, a leading "~" like a home directory; a device stays one with an extension, and
    # begins with a letter.
    if name[0] in "-~ " or (not "0" <= name[0] <= "9" and name.partition(".")[0].rstrip(" ").upper() in _DEVICES):
        name = _percent(name[0]) + name[1:]
    if len(name) * 4 <= limit or len(name.encode("utf-8")) <= limit:
        return name
    # "%~" cannot come from a value, so that no value can be made to look like another one cut short.
    import hashlib  # with OpenSSL behind it, which takes longer to load than all of this

    digest = hashlib.sha256(name.encode("utf-8")).hexdigest()[:_HASH_DIGITS]
    room = limit - 2 - _HASH_DIGITS - len(tail.encode("utf-8"))
    head = name.encode("utf-8")[:room].decode("utf-8", "ignore")
    return f"{_HALF_ESCAPE_RE.sub('', head)}%~{digest}{tail}"


# -- the grammar


def _parse(text: str) -> Iterator[_Component]:
    component: list[str | _Field] = []
    for part in _tokens(text):
        if part == "/":
            yield _checked(text, component)
            component = []
        elif isinstance(part, str) and component and isinstance(component[-1], str):
            component[-1] += part
        else:
            component.append(part)
    yield _checked(text, component)


def _tokens(text: str) -> Iterator[str | _Field]:
    """The fields, the texts between them, and "/" where a component ends."""
    for token in _TOKEN_RE.finditer(text):
        if token["stray"]:
            raise _error(text, f"a {token['stray']!r} without its other half", "write {{ or }} for a brace in a name")
        if token["field"] is not None:
            yield _field(text, token["field"])
        elif token["text"] is None:
            yield token.group()[0]
        else:
            yield from filter(None, re.split("(/)", token["text"]))


def _checked(text: str, component: list[str | _Field]) -> _Component:
    if not component:
        raise _error(text, "an empty name", "it is a path below the destination, like {PatientID}/{SOPInstanceUID}")
    for part in component:
        found = _FORBIDDEN_RE.search(part) if isinstance(part, str) else None
        if found:
            raise _error(text, f"{safe_text(found.group())!r} should not be in a file name")
    if all(isinstance(part, _Field) and part.default == "" for part in component):
        raise _error(text, "a name that may be empty", "give one of its fields another default than ''")
    # With something harmless for each field: what is wrong now is wrong in the texts.
    sample = "".join([part if isinstance(part, str) else "x" for part in component])
    if len(sample.encode("utf-8")) > _MAX_LEAF_BYTES:
        raise _error(text, "a name that is too long")
    if _safe_name(sample, _MAX_BYTES) != sample:
        raise _error(text, f"{sample!r} is no good name", "it begins or ends badly, or is a device on Windows")
    return tuple(component)


def _field(text: str, body: str) -> _Field:
    names, colon, spec = body.partition(":")
    choices, default = [], None
    for choice in map(str.strip, names.split("|")):
        if default is not None:
            raise _error(text, f"a choice after {default!r} would never be used")
        if choice[:1] in ("'", '"'):
            default = _literal(text, choice)
        else:
            choices.append(_choice(text, choice))
    if not choices:
        raise _error(text, f"no keyword in '{{{body}}}'")
    if not colon:
        return _Field(tuple(choices), default, None, None)
    match = _FORMAT_RE.fullmatch(spec.strip())
    if match is None:
        raise _error(text, f"no such format: {spec!r}", "there are :d, :03d and :.8")
    return _Field(tuple(choices), default, match["integer"], int(match["length"]) if match["length"] else None)


def _literal(text: str, quoted: str) -> str:
    value = quoted[1:-1]
    if len(quoted) < 2 or quoted[-1] != quoted[0] or quoted[0] in value or _FORBIDDEN_RE.search(value):
        raise _error(text, f"{quoted} cannot be a part of a file name")
    return value


def _choice(text: str, choice: str) -> _Choice:
    match = _ATTRIBUTE_RE.fullmatch(choice)
    if match is None:
        raise _error(text, f"nothing to make of {choice!r}", "an index is a number: {ImageType[2]}")
    tag, vr = _attribute(text, match["key"].strip().removeprefix("d."))
    return _Choice(tag, int(match["index"]) if match["index"] else None, vr)


def _attribute(text: str, key: str) -> tuple[int, str]:
    """The tag and the VR (``''`` if unknown) of a keyword or a tag."""
    try:
        tag, vr = resolve_keyword(key)
    except UsageError as exc:
        raise _error(text, f"unknown keyword {key!r}", exc.hint) from None
    if tag >> 16 in (0x0000, 0x0002):
        raise _error(text, f"{key} is not in the data set", "take an attribute of a group from 0008 on")
    if vr in _NO_TEXT_VRS or "OW" in vr:
        raise _error(text, f"{key} holds no text")
    return tag, vr


def _error(text: str, why: str, hint: str = "") -> TemplateError:
    return TemplateError(f"output path {safe_text(text, 200)!r}: {safe_text(why, 200)}", hint=hint)
