"""Element by element, over all test files of pydicom, what DCMTK's dcmdump and dcm2json say is what we say."""

from __future__ import annotations

import base64
import json
import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dcm.dump import Element, Selection, dump_json, encode_json, source_of, walk
from dcm.dump._values import bytes_text, keyword_of_element, length_text, numbers, value_text, vm_of
from dcm.dump._walk import ELEMENT, FRAGMENT, FRAGMENTS, SEQUENCE, UNDEFINED
from dcm.errors import InvalidDicomError
from dcm.peek._values import TEXT_CACHES
from tests.data import pydicom_charset_files, pydicom_files
from tests.dump.dcmtk import Line, dcmdump

pytestmark = pytest.mark.skipif(
    shutil.which("dcmdump") is None and not os.environ.get("DCM_REQUIRE_PEERS"), reason="DCMTK is not installed"
)

FILES = (*pydicom_files(), *pydicom_charset_files())

# What dcmdump gives up on, and shows nothing of: what we show, and say, is in test_dump.py.
BROKEN = {"MR_truncated.dcm", "rtplan_truncated.dcm"}
# The same, but the file is sound: dcmdump does not see that its data set has explicit VR, and not implicit as declared.
MISREAD = {"SC_rgb_jpeg.dcm"}
# The last item claims more bytes than the file has; dcmdump does not mind.
TOO_LONG = {"DICOMDIR-nooffset"}
# Not DICOM; dcmdump finds an element or two in some of them.
FOREIGN_SUFFIXES = (".txt", ".icc", ".json", ".gz", ".dump")
FOREIGN = {"README", "no_meta.dcm"}


def read(path: Path) -> tuple[list[Element], str]:
    """All elements, and the error at their end."""
    elements: list[Element] = []
    fd = os.open(path, os.O_RDONLY)
    try:
        elements.extend(walk(source_of(fd)))
    except InvalidDicomError as exc:
        return elements, str(exc)
    finally:
        os.close(fd)
    return elements, ""


def is_foreign(path: Path) -> bool:
    return path.name in FOREIGN or path.suffix in FOREIGN_SUFFIXES


@pytest.mark.parametrize("path", [path for path in FILES if not is_foreign(path)], ids=lambda path: path.name)
def test_dcmdump(path: Path) -> None:
    elements, error = read(path)
    code, lines = dcmdump(path)
    if path.name in BROKEN | MISREAD:
        assert code == 1
        assert not lines
        assert elements
        assert bool(error) == (path.name in BROKEN)
        return
    assert code == 0
    assert bool(error) == (path.name in TOO_LONG)
    assert [(element.depth, element.tag) for element in elements] == [(line.depth, line.tag) for line in lines]
    for element, line in zip(elements, lines, strict=True):
        compare(element, line)


def compare(element: Element, line: Line) -> None:
    """Of one element: VR, length, number of values, the value."""
    about = f"{element} {line}"
    vr = element.vr
    if line.vr == "up":  # DCMTK's own VR for offsets in a DICOMDIR
        assert vr == "UL", about
    elif line.vr == "??":  # implicit VR, and no dictionary has it
        assert vr == "UN", about
    elif element.kind == FRAGMENTS:  # encapsulated pixel data is OB, whatever the file says
        assert line.vr == "OB", about
        assert vr in ("OB", "OW"), about
    elif element.kind == SEQUENCE and vr == "UN":  # PS3.5 section 6.2.2: it is a sequence, and was written as UN
        assert line.vr == "SQ", about
    else:
        assert vr == line.vr, about
    if element.length % 2 and element.length != UNDEFINED:  # an odd length is against the standard: DCMTK evens it
        assert line.length == str(element.length + 1), about
    else:
        assert length_text(element) == line.length, about
    if element.kind == ELEMENT:
        compare_values(element, line, about)
    elif element.kind == FRAGMENT and element.length and "not loaded" not in line.value:
        assert bytes_text(element) == line.value, about
    if element.tag & 0x10000 == 0 and element.kind == ELEMENT and line.keyword not in ("Unknown Tag & Data", "RETIRED"):
        # DCMTK has a dictionary of its own, with other words for what is retired.
        keyword = keyword_of_element(element)
        assert keyword in (line.keyword, line.keyword.removeprefix("RETIRED_"), "GroupLength", "Unknown"), about


def compare_values(element: Element, line: Line, about: str) -> None:
    vr, text = element.vr, value_text(element)
    if line.value == "(no value available)":  # also where there is nothing but padding
        assert not text.strip(), about
        return
    assert vm_of(element) == line.vm, about
    if line.value.startswith("(not loaded"):
        return
    if vr in TEXT_CACHES:
        quoted = "".join([chr(byte) if 31 < byte < 127 else f"\\{byte:03o}" for byte in element.value])
        assert line.value[0] + line.value[-1] == "[]", about
        assert stripped(line.value[1:-1]) == stripped(quoted), about
    elif vr == "AT":
        assert text == line.value, about
    elif vr in ("FL", "FD", "OF", "OD"):
        assert [float(value) for value in line.value.split("\\")] == pytest.approx(numbers(element), rel=1e-6), about
    elif vr in ("US", "SS", "UL", "SL", "UV", "SV"):
        value = line.value.removeprefix("$")
        assert text == value, about
    elif vr in ("OB", "OW", "UN"):
        assert text.removesuffix("\\00") == line.value.removesuffix("\\00"), about


def stripped(text: str) -> str:
    return (
        "\\".join([part.removesuffix("\\000").strip(" ") for part in text.split("\\\\")]).replace("\\000", "").strip()
    )


# -- dcm2json


# dcm2json writes text that is not UTF-8 where a sequence has another character set than what is around it.
BAD_UTF8 = {"chrSQEncoding.dcm"}
# With glibc's iconv it cannot decode ISO 2022 IR 87; other builds can.
NO_CHARSET = {
    "J2K_pixelrep_mismatch.dcm",
    "chrH31.dcm",
    "chrH32.dcm",
    "chrJapMulti.dcm",
    "chrJapMultiExplicitIR6.dcm",
    "chrSQEncoding1.dcm",
}
PIXEL_DATA, PADDING = "7FE00010", "FFFCFFFC"


def dcm2json(path: Path, work: Path) -> dict[str, Any] | None:
    """What dcm2json makes of a file; None where it gives up. It cannot do encapsulated pixel data: that is removed."""
    done = subprocess.run(["dcm2json", "-q", str(path)], capture_output=True, check=False, timeout=25)
    if b"not supported for compressed pixel data" in done.stderr:
        copy = work / "copy.dcm"
        copy.write_bytes(path.read_bytes())
        subprocess.run(["dcmodify", "-q", "-nb", "-ea", "(7fe0,0010)", str(copy)], check=True, timeout=25)
        done = subprocess.run(["dcm2json", "-q", str(copy)], capture_output=True, check=False, timeout=25)
    if done.returncode:
        return None
    return dict(json.loads(done.stdout.decode("utf-8", "strict" if path.name not in BAD_UTF8 else "replace")))


def ours(path: Path) -> dict[str, Any]:
    fd = os.open(path, os.O_RDONLY)
    try:
        document, _ = dump_json(source_of(fd), Selection(), full=True)
    finally:
        os.close(fd)
    return dict(json.loads(encode_json(document)))


@pytest.mark.parametrize("path", [path for path in FILES if not is_foreign(path)], ids=lambda path: path.name)
def test_dcm2json(path: Path, tmp_path: Path) -> None:
    theirs = dcm2json(path, tmp_path)
    our = ours(path)
    assert our
    if theirs is None:
        assert path.name in BROKEN | MISREAD | NO_CHARSET
        return
    if path.name in BAD_UTF8:
        assert our.keys() == theirs.keys()
        return
    if PIXEL_DATA not in theirs and PIXEL_DATA in our:
        assert "InlineBinary" in our.pop(PIXEL_DATA)
        our.pop(PADDING, None)  # dcmodify removes it
    difference(our, theirs, "")


def difference(our: dict[str, Any], their: dict[str, Any], where: str) -> None:
    assert our.keys() == their.keys(), where
    for tag, entry in their.items():
        compare_entry(our[tag], entry, f"{where}/{tag}")


def compare_entry(our: dict[str, Any], their: dict[str, Any], where: str) -> None:
    assert our["vr"] == their["vr"], where
    if our["vr"] == "PN":  # dcm2json leaves out empty components at the end
        assert names(our) == names(their), where
        return
    assert our.keys() == their.keys(), where
    if "InlineBinary" in their:
        assert base64.b64decode(our["InlineBinary"]) == base64.b64decode(their["InlineBinary"]), where
        return
    our_values, their_values = our.get("Value", []), their.get("Value", [])
    assert len(our_values) == len(their_values), where
    for one, other in zip(our_values, their_values, strict=True):
        if our["vr"] == "SQ":
            difference(one, other, where)
        elif isinstance(other, float) or isinstance(one, float):
            assert math.isclose(float(one), float(other), rel_tol=1e-6, abs_tol=1e-44), where
        elif not where.endswith("/00080005"):  # dcm2json leaves it in sequences, though the text there is UTF-8
            assert one == other, where


def names(entry: dict[str, Any]) -> list[dict[str, str]]:
    stripped = [{key: part.rstrip("^") for key, part in (one or {}).items()} for one in entry.get("Value", [])]
    return [{key: part for key, part in one.items() if part} for one in stripped if any(one.values())]
