"""What people call an attribute: its keyword, or its tag in one of the usual spellings (PS3.6)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dcm.errors import UsageError
from dcm.text import safe_text

__all__ = ["USUAL", "keyword_of_tag", "parse_tag", "resolve_keyword"]

_TAG = re.compile(r"\(\s*([0-9a-f]{4})\s*,\s*([0-9a-f]{4})\s*\)|([0-9a-f]{4}),?([0-9a-f]{4})", re.IGNORECASE)

#: The attributes of the default output path and of most queries, so that they need no dictionary: importing pydicom's
#: takes longer than all the rest.
USUAL = {
    "AccessionNumber": (0x00080050, "SH"),
    "InstanceNumber": (0x00200013, "IS"),
    "Modality": (0x00080060, "CS"),
    "PatientBirthDate": (0x00100030, "DA"),
    "PatientID": (0x00100020, "LO"),
    "PatientName": (0x00100010, "PN"),
    "ProtocolName": (0x00181030, "LO"),
    "SOPClassUID": (0x00080016, "UI"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "SeriesDate": (0x00080021, "DA"),
    "SeriesDescription": (0x0008103E, "LO"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
    "SeriesNumber": (0x00200011, "IS"),
    "StudyDate": (0x00080020, "DA"),
    "StudyDescription": (0x00081030, "LO"),
    "StudyID": (0x00200010, "SH"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "StudyTime": (0x00080030, "TM"),
}


def parse_tag(text: str) -> int | None:
    """The number of a tag that is written ``(gggg,eeee)``, ``gggg,eeee`` or ``ggggeeee``; None for anything else."""
    match = _TAG.fullmatch(text)
    return int("".join(filter(None, match.groups())), 16) if match else None


def resolve_keyword(key: str) -> tuple[int, str]:
    """The tag and the VR of what the user calls an attribute.

    Parameters
    ----------
    key : str
        A keyword of PS3.6, ``(gggg,eeee)``, ``gggg,eeee`` or ``ggggeeee``.

    Returns
    -------
    tag : int
    vr : str
        As the dictionary has it ("US or SS" too); '' for a tag that is private, or not in the dictionary.

    Raises
    ------
    UsageError
        There is no such keyword; the hint is the nearest one.
    """
    if key in USUAL:
        return USUAL[key]
    from pydicom.datadict import dictionary_VR, keyword_dict

    tag = parse_tag(key)
    if tag is None and key:  # some retired attributes have an empty keyword
        tag = keyword_dict.get(key)
    if tag is None:
        raise UsageError(f"there is no attribute '{safe_text(key, 100)}'", hint=_nearest(key, keyword_dict))
    try:
        return tag, str(dictionary_VR(tag))
    except KeyError:
        return tag, ""


def keyword_of_tag(tag: int) -> str:
    """The keyword of a tag, or ``(gggg,eeee)`` where it has none: private, or not in the dictionary."""
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(tag) or f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


def _nearest(key: str, keywords: Iterable[str]) -> str:
    """Which keyword was probably meant; nobody types a wrong first letter as often as a wrong case."""
    import difflib

    folded = {keyword.casefold(): keyword for keyword in keywords if keyword}
    match = difflib.get_close_matches(key.casefold(), folded, n=1)
    return f"did you mean {folded[match[0]]}?" if match else "attributes are called by their keywords, PatientID say"
