"""Text from a peer, before it meets a terminal, a log or a CSV cell.

What a peer sends may hold escape sequences that repaint a terminal, line breaks that forge a log line, bidirectional
overrides that show a name backwards, and formulas that a spreadsheet runs. :func:`safe_text` and :func:`csv_cell` make
all of that visible and harmless, and leave the letters of every script as they are.
"""

from __future__ import annotations

import os
import re

__all__ = ["UNSAFE_CHARS", "csv_cell", "plural", "safe_text"]

#: The body of a regular expression's character class: what must never reach a terminal, or be part of a file name.
#: Listed here rather than asked of ``unicodedata``, so that every version of Python makes the same text of a value.
UNSAFE_CHARS = (
    "\\x00-\\x1f\\x7f-\\x9f"  # C0, DEL, C1: escape sequences and line breaks
    "\\xad\\u200b\\u2060-\\u2064\\ufeff"  # invisible; ZWNJ and ZWJ stay, Persian and Indic names need them
    "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u206f"  # marks and overrides of the writing direction
    "\\u2028\\u2029"  # line and paragraph separator
    "\\u180e\\ufff0-\\ufffc\\ufffe\\uffff"  # invisible, and noncharacters; U+FFFD, for undecodable bytes, stays
    "\\ud800-\\udfff"  # surrogates, which no encoding can print
    "\\U000e0000-\\U000e007f"  # tags: invisible copies of ASCII
)

_UNSAFE = re.compile(f"[{UNSAFE_CHARS}]")

# What spreadsheets take for the start of a formula, the full-width forms included; white space before it does not help.
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)

_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_INVARIANT = ("series", "species")


def safe_text(value: object, limit: int | None = None) -> str:
    r"""Make one line of plain, printable text of anything that came from a peer.

    Control characters, ESC, line separators, bidirectional overrides, invisible characters and lone surrogates become
    visible escapes such as ``\x1b`` or ``\u202e``. Everything else stays, backslashes too, since they separate values
    (PS3.5 section 6.4): the result is for people to read, not for programs to parse back.

    Parameters
    ----------
    value : object
        A str, bytes (taken as UTF-8), a path, None (which gives ``''``) or anything that ``str()`` takes.
    limit : int, optional
        The length of the result in characters, at most. What is cut off is shown as ``…``.

    Returns
    -------
    str
        One line without a character that acts on a terminal. It may hold markup (``[bold]``): print it with markup off.
    """
    text = _to_str(value)
    if limit is None:
        return _UNSAFE.sub(_escape, text) if _UNSAFE.search(text) else text
    # An escape is longer than what it stands for: more than `limit` characters of `text` can never be needed.
    pieces = [_UNSAFE.sub(_escape, char) for char in text[: max(limit, 0) + 1]]
    if sum(map(len, pieces)) <= limit and len(text) <= limit:
        return "".join(pieces)
    room = limit - 1
    kept = []
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + "…" if limit > 0 else ""


def csv_cell(value: object) -> str:
    """Make text of a value that a spreadsheet shows and does not run.

    Parameters
    ----------
    value : object
        What :func:`safe_text` takes.

    Returns
    -------
    str
        One line; a ``'`` in front where it would else begin a formula (``= + - @``). Plain numbers, ``-1.5`` say, stay
        numbers. Quoting of commas and quotation marks is left to the :mod:`csv` module.
    """
    text = safe_text(value)
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def plural(count: int, noun: str) -> str:
    """Give a count with its noun: ``1 instance``, ``2 instances``, ``3 studies``, ``4 series``.

    Parameters
    ----------
    count : int
        How many.
    noun : str
        The English noun for one of them.
    """
    if count == 1 or noun.endswith(_INVARIANT):
        return f"{count} {noun}"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{count} {noun[:-1]}ies"
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{count} {noun}es"
    return f"{count} {noun}s"


def _to_str(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    return str(value)


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    code = ord(char)
    if code < 0x100:
        return _ESCAPES.get(char) or f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
