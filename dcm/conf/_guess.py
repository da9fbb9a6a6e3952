"""Telling nodes from directories by the look of a text."""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Callable

__all__ = ["Guess", "guess"]

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class Guess(enum.Enum):
    """What a text that is no name of the configuration file looks like."""

    NODE = "an inline node, whatever else is there"
    DIR = "a directory"
    HOST = "a host without AE title and port"
    WORD = "a word, which says nothing"


def guess(text: str, exists: Callable[[str], bool]) -> Guess:
    """Tell what a text looks like.

    Parameters
    ----------
    text : str
        The text.
    exists : callable
        Whether a path is there: what is there is a directory, unless the text looks like a node.
    """
    head = text.split(":")[0]
    separators = "/" + os.sep + (os.altsep or "")
    if "{" in text or head in (".", "..") or head.startswith("~") or any(char in head for char in separators):
        return Guess.DIR
    if os.name == "nt" and _DRIVE.match(text):
        return Guess.DIR
    if ":" in text:
        return Guess.NODE
    if exists(text):
        return Guess.DIR
    if "@" in text:
        return Guess.NODE
    return Guess.HOST if "." in text or text == "localhost" else Guess.WORD
