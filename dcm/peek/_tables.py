"""The tags that are looked for, and what is known of VRs, without importing pydicom."""

from __future__ import annotations

import functools

from dcm._dictionary import entry_of

__all__ = [
    "CHARSET",
    "IMAGE_CLASSES",
    "LONG_VRS",
    "PIXEL_DATA_TAGS",
    "PIXEL_DATA_URL",
    "QUERY_TAGS",
    "ROWS",
    "SHORT_VRS",
    "SOP_CLASS_UID",
    "SOP_INSTANCE_UID",
    "dictionary_vr",
]

CHARSET = 0x00080005
SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
ROWS = 0x00280010
PIXEL_DATA_URL = 0x00287FE0
PIXEL_DATA_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double float, and all other pixel data

# PS3.5 section 7.1.2, table 7.1-1: these have a length of 32 bits in explicit VR, all others one of 16.
LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_TEXT = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI"}
SHORT_VRS = frozenset(_TEXT | {"AT", "FD", "FL", "SL", "SS", "UL", "US"})

_VRS: dict[int, str] = {
    0x00080005: "CS",  # Specific Character Set
    0x00080008: "CS",  # Image Type
    0x00080012: "DA",  # Instance Creation Date
    0x00080013: "TM",  # Instance Creation Time
    0x00080016: "UI",  # SOP Class UID
    0x00080018: "UI",  # SOP Instance UID
    0x00080020: "DA",  # Study Date
    0x00080021: "DA",  # Series Date
    0x00080022: "DA",  # Acquisition Date
    0x00080023: "DA",  # Content Date
    0x0008002A: "DT",  # Acquisition DateTime
    0x00080030: "TM",  # Study Time
    0x00080031: "TM",  # Series Time
    0x00080032: "TM",  # Acquisition Time
    0x00080033: "TM",  # Content Time
    0x00080050: "SH",  # Accession Number
    0x00080060: "CS",  # Modality
    0x00080070: "LO",  # Manufacturer
    0x00080080: "LO",  # Institution Name
    0x00080090: "PN",  # Referring Physician's Name
    0x00080201: "SH",  # Timezone Offset From UTC
    0x00081010: "SH",  # Station Name
    0x00081030: "LO",  # Study Description
    0x0008103E: "LO",  # Series Description
    0x00081050: "PN",  # Performing Physician's Name
    0x00081090: "LO",  # Manufacturer's Model Name
    0x00100010: "PN",  # Patient's Name
    0x00100020: "LO",  # Patient ID
    0x00100021: "LO",  # Issuer of Patient ID
    0x00100030: "DA",  # Patient's Birth Date
    0x00100032: "TM",  # Patient's Birth Time
    0x00100040: "CS",  # Patient's Sex
    0x00101010: "AS",  # Patient's Age
    0x00180015: "CS",  # Body Part Examined
    0x00181000: "LO",  # Device Serial Number
    0x00181030: "LO",  # Protocol Name
    0x0020000D: "UI",  # Study Instance UID
    0x0020000E: "UI",  # Series Instance UID
    0x00200010: "SH",  # Study ID
    0x00200011: "IS",  # Series Number
    0x00200012: "IS",  # Acquisition Number
    0x00200013: "IS",  # Instance Number
    0x00200052: "UI",  # Frame of Reference UID
    0x00200060: "CS",  # Laterality
    0x00280008: "IS",  # Number of Frames
    0x00280010: "US",  # Rows
    0x00280011: "US",  # Columns
    0x00321060: "LO",  # Requested Procedure Description
    0x00400244: "DA",  # Performed Procedure Step Start Date
    0x00400245: "TM",  # Performed Procedure Step Start Time
    0x00400253: "SH",  # Performed Procedure Step ID
    0x00400254: "LO",  # Performed Procedure Step Description
}

QUERY_TAGS: frozenset[int] = frozenset(_VRS)
"""What `dcm.peek.peek` reads unless told otherwise: who an instance is, the usual keys of queries at each level
(PS3.4 section C.6), and what the default output path is made of."""

# Storage classes whose instances have pixel data always, by what follows 1.2.840.10008.5.1.4.1.1 (PS3.4 table B.5-1).
_IMAGES = (
    "1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3 3.1 4 4.1 4.3 4.4 5 6 6.1 6.2 6.3 7 7.1 7.2 7.3 7.4 12.1 12.1.1 12.2"
    " 12.2.1 12.3 13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 14.1 14.2 20 30 77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.3 77.1.4"
    " 77.1.4.1 77.1.5.1 77.1.5.2 77.1.5.4 77.1.5.5 77.1.5.6 77.1.5.7 77.1.6 77.1.7 77.1.8 77.1.9 128 128.1 130 481.1"
    " 481.23 481.24 501.1 501.2.1 501.2.2 601.1 601.2"
)
IMAGE_CLASSES = frozenset([f"1.2.840.10008.5.1.4.1.1.{suffix}" for suffix in _IMAGES.split()])


@functools.lru_cache(maxsize=8192)
def dictionary_vr(tag: int) -> str:
    """The VR that the standard gives a tag (PS3.6), '' for private and unknown ones.

    May be one that the context settles, such as "US or SS".
    """
    vr = _VRS.get(tag)
    if vr is not None:
        return vr
    if tag & 0x10000:
        return ""
    if tag & 0xFFFF == 0:
        return "UL"  # group length, for any group
    entry = entry_of(tag)
    return entry.vr if entry else ""
