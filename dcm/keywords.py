"""What people call an attribute: its keyword, or its tag in one of the usual spellings (PS3.6)."""

from __future__ import annotations

import functools
import re

from dcm._dictionary import entry_of, keywords
from dcm.errors import UsageError
from dcm.text import safe_text

__all__ = ["USUAL", "USUAL_KEYWORDS", "keyword_of", "nearest_keyword", "parse_tag", "resolve_keyword"]

_TAG = re.compile(r"\(\s*([0-9a-f]{4})\s*,\s*([0-9a-f]{4})\s*\)|(?:0x)?([0-9a-f]{4}),?([0-9a-f]{4})", re.IGNORECASE)

#: The attributes of the default output path and of most queries, so that they need no dictionary.
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


# What every query asks for: naming it needs no dictionary.
USUAL_KEYWORDS = {
    0x00080005: "SpecificCharacterSet",
    0x00080016: "SOPClassUID",
    0x00080018: "SOPInstanceUID",
    0x00080020: "StudyDate",
    0x00080021: "SeriesDate",
    0x00080030: "StudyTime",
    0x00080031: "SeriesTime",
    0x00080050: "AccessionNumber",
    0x00080052: "QueryRetrieveLevel",
    0x00080060: "Modality",
    0x00080061: "ModalitiesInStudy",
    0x00081030: "StudyDescription",
    0x0008103E: "SeriesDescription",
    0x00083002: "AvailableTransferSyntaxUID",
    0x00100010: "PatientName",
    0x00100020: "PatientID",
    0x00100030: "PatientBirthDate",
    0x00100040: "PatientSex",
    0x00180015: "BodyPartExamined",
    0x00181030: "ProtocolName",
    0x0020000D: "StudyInstanceUID",
    0x0020000E: "SeriesInstanceUID",
    0x00200010: "StudyID",
    0x00200011: "SeriesNumber",
    0x00200013: "InstanceNumber",
    0x00201200: "NumberOfPatientRelatedStudies",
    0x00201202: "NumberOfPatientRelatedSeries",
    0x00201204: "NumberOfPatientRelatedInstances",
    0x00201206: "NumberOfStudyRelatedSeries",
    0x00201208: "NumberOfStudyRelatedInstances",
    0x00201209: "NumberOfSeriesRelatedInstances",
}


def parse_tag(text: str) -> int | None:
    """The number of a tag that is written ``(gggg,eeee)``, ``gggg,eeee``, ``ggggeeee`` or ``0xggggeeee``; None else."""
    match = _TAG.fullmatch(text)
    return int("".join(filter(None, match.groups())), 16) if match else None


def resolve_keyword(key: str) -> tuple[int, str]:
    """The tag and the VR of what the user calls an attribute.

    Parameters
    ----------
    key : str
        A keyword of PS3.6, ``(gggg,eeee)``, ``gggg,eeee``, ``ggggeeee`` or ``0xggggeeee``.

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
    tag = parse_tag(key)
    if tag is None:
        tag = keywords().get(key)
    if tag is None:
        near = nearest_keyword(key)
        names = "attributes are called by their keywords, PatientID say, or their tags, 0010,0020"
        hint = f"did you mean {near}?" if near else names
        raise UsageError(f"there is no attribute '{safe_text(key, 100)}'", hint=hint)
    entry = entry_of(tag)
    return tag, entry.vr if entry else ""


@functools.lru_cache(maxsize=4096)
def keyword_of(tag: int) -> str:
    """The keyword of an attribute, or ``(gggg,eeee)`` where it has none."""
    usual = USUAL_KEYWORDS.get(tag)
    if usual is not None:
        return usual
    entry = entry_of(tag)
    if entry and keywords().get(entry.keyword) == tag:  # not so for repeating groups
        return entry.keyword
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


def nearest_keyword(key: str) -> str:
    """The keyword that was probably meant, '' if none is near.

    Nobody types a wrong first letter as often as a wrong case, so the case does not count.
    """
    import difflib

    folded = {keyword.casefold(): keyword for keyword in keywords()}
    match = difflib.get_close_matches(key.casefold(), folded, n=1)
    return folded[match[0]] if match else ""
