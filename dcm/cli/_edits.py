r"""``--edit`` and ``--edit-json``: what the user wants changed on the way.

::

    -e PatientID=ANON1                                  a new value, added where there is none
    -e PatientComments=                                 no value
    -e OtherPatientIDs-                                 no such element
    -e 'ImageType=DERIVED\PRIMARY'                      several values
    -e '(0010,0020)=ANON1'                              by tag
    -e 'RequestAttributesSequence[0].StudyInstanceUID=1.2.3'    in the first item of a sequence, [*] for all of them

A JSON file holds an object with the same names: text, numbers and lists of them are values, null deletes, an object
edits what is in the items of a sequence, a list of objects makes new items.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from dcm.errors import UsageError
from dcm.text import safe_text

__all__ = ["load_edits", "load_edits_json", "merge_edits", "parse_edits"]

_MAX_JSON = 16 << 20  # bytes: more than anybody writes by hand, less than what a wrong file may have


def load_edits(edit: Iterable[str], edit_json: Path | None = None) -> dict[str, Any]:
    """The edits that the two options ask for: element to new value, None to delete it.

    Parameters
    ----------
    edit : iterable of str
        The values of ``--edit``; they count more than what the file says of the same element.
    edit_json : Path, optional
        The value of ``--edit-json``.

    Raises
    ------
    UsageError
        Something in them is no edit.
    """
    return merge_edits(load_edits_json(edit_json) if edit_json is not None else {}, parse_edits(edit))


def parse_edits(assignments: Iterable[str]) -> dict[str, str | None]:
    """What a list of ``KEYWORD=VALUE`` and ``KEYWORD-`` stands for: element to value, None to delete it.

    Raises
    ------
    UsageError
        One is neither, or an element is there twice.
    """
    edits: dict[str, str | None] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        key = key.strip()
        if not equals and key.endswith("-"):
            key = key[:-1].rstrip()
        elif not equals:
            shown = safe_text(key, 200)
            raise UsageError(f"--edit '{shown}' has no value", hint=f"write {shown}=VALUE, or {shown}- to delete it")
        if not key:
            raise UsageError(f"--edit '{safe_text(assignment, 200)}' names no element", hint="write KEYWORD=VALUE")
        if key in edits:
            raise UsageError(f"--edit {safe_text(key, 200)} is given twice")
        edits[key] = value if equals else None
    return edits


def load_edits_json(path: Path) -> dict[str, Any]:
    """Read a file of edits.

    Raises
    ------
    UsageError
        It cannot be read, or is no JSON object.
    """
    name = safe_text(path)
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_JSON + 1)
    except OSError as exc:
        raise UsageError(f"cannot read {name}: {exc.strerror or exc}") from exc
    if len(content) > _MAX_JSON:
        raise UsageError(f"{name} is too large for a file of edits")
    try:
        edits = json.loads(
            content.decode("utf-8-sig"), object_pairs_hook=_without_repeats, parse_constant=_no_such_number
        )
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"{name} is no JSON: {safe_text(exc, 200)}") from exc
    if not isinstance(edits, dict):
        raise UsageError(f"{name} is no JSON object", hint='write {"PatientID": "ANON1", "OtherPatientIDs": null}')
    return edits


def merge_edits(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """All of both; where they edit the same element, however it is written, the second counts.

    Raises
    ------
    UsageError
        Something in them is no path of an element.
    """
    if not (first and second):
        return dict(first or second)
    from dcm.filt import same_element

    kept = {key: value for key, value in first.items() if not any(same_element(key, other) for other in second)}
    return {**kept, **second}


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; JSON allows a name to be there twice, and nobody means it."""
    edits = dict(pairs)
    if len(edits) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' is there twice")
    return edits


def _no_such_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")
