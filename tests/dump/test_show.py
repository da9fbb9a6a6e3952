"""What is shown of the elements, how, and that nothing of it acts on a terminal."""

from __future__ import annotations

import contextlib
import json
import re
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcm.dump import (
    BytesSource,
    LineFormat,
    Selection,
    dump_formatted,
    dump_json,
    dump_plain,
    dump_whole,
    encode_json,
)
from dcm.dump._values import PIECE
from dcm.dump._walk import UNDEFINED
from dcm.errors import InvalidDicomError, TemplateError, UsageError
from dcm.text import safe_text
from tests.data import pydicom_files
from tests.dump.test_walk import BIG, SEQUENCE_END, element, item, part10

HOSTILE = b"\x1b[2J\x1b]0;x\x07\r\nE\xcc\x9b "


def lines(data_set: bytes, *, syntax: str = "1.2.840.10008.1.2.1", full: bool = False, **selection: Any) -> list[str]:
    source = BytesSource(part10(data_set, syntax))
    return [
        line for line in dump_plain(source, Selection.parse(**selection), full=full) if not line.startswith("(0002")
    ]


def formatted(form: str, data_set: bytes, **selection: Any) -> list[str]:
    source = BytesSource(part10(data_set))
    return list(dump_formatted(source, LineFormat(form), Selection.parse(**selection), file="a\x1bb.dcm"))


def as_json(data_set: bytes, uri: str = "", **selection: Any) -> Any:
    document, broken = dump_json(BytesSource(part10(data_set)), Selection.parse(**selection), uri=uri)
    assert broken is None
    return json.loads(encode_json(document, indent=2))


ID = element(0x00100020, "LO", b"Vamp001 ")
NAME = element(0x00100010, "PN", b"Dracula^Count")
UIDS = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0")
PRIVATE = element(0x00090010, "LO", b"GEMS_IDEN_01") + element(0x00091001, "LO", b"GE_GENESIS_FF ")
REFERENCE = element(0x00081155, "UI", b"1.2.3\0")
SEQUENCE = element(0x00081140, "SQ", item(REFERENCE + PRIVATE))
ALL = UIDS + SEQUENCE + PRIVATE + NAME + ID
PIXELS = element(0x7FE00010, "OW", bytes(range(256)) * 32)


@pytest.mark.parametrize(
    ("encoded", "shown"),
    [
        (ID, "(0010,0020) LO [Vamp001]                               #    8, 1 PatientID"),
        (UIDS, "(0008,0016) UI =CTImageStorage                         #   26, 1 SOPClassUID"),
        (
            element(0x00100010, "PN", b""),
            "(0010,0010) PN (no value available)                    #    0, 0 PatientName",
        ),
        (element(0x00280010, "US", b"\0\2"), "(0028,0010) US 512                                     #    2, 1 Rows"),
        (
            element(0x00080008, "CS", b"A\\B\\C "),
            "(0008,0008) CS [A\\B\\C]                                 #    6, 3 ImageType",
        ),
        (
            element(0x00189087, "FD", b"\0\0\0\0\0\0\xf8?"),
            "(0018,9087) FD 1.5                                     #    8, 1 DiffusionBValue",
        ),
        (
            element(0x00280009, "AT", b"\x18\0\x63\x10"),
            "(0028,0009) AT (0018,1063)                             #    4, 1 FrameIncrementPointer",
        ),
        (
            element(0x00091001, "ZZ", b"\1\2"),
            "(0009,1001) UN 01\\02                                   #    2, 1 Private",
        ),
    ],
)
def test_lines(encoded: bytes, shown: str) -> None:
    assert lines(encoded) == [shown]


def test_long_values_are_cut_unless_wanted() -> None:
    (line,) = lines(PIXELS)
    assert line.startswith("(7fe0,0010) OW 0100\\0302\\")
    assert "\\... " in line
    assert "8192, 1 PixelData" in line
    assert len(line) < 150
    (whole,) = lines(PIXELS, full=True)
    assert whole.count("\\") == 4095
    (text,) = lines(element(0x00104000, "LT", b"x" * 500))
    assert "xxx…]" in text
    (numbers,) = lines(element(0x00281101, "US", b"\1\1" * 400))
    assert "257\\... " in numbers
    assert ",400 " in numbers
    assert lines(UIDS, full=True)[0].startswith("(0008,0016) UI [1.2.840.10008.5.1.4.1.1.2] ")


@pytest.mark.parametrize("tag", [0x7FE00010, 0x00281101, 0x00189087, 0x00280009, 0x00280120])
@pytest.mark.parametrize("colors", [False, True])
def test_whole_values_in_pieces(tag: int, colors: bool) -> None:
    value = bytes(range(256)) * 8193 + b"\1"  # somewhat more than two pieces, and half of a number
    implicit = struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value
    fragments = item(b"\xff") + item(b"\xab" * (PIECE + 1)) + SEQUENCE_END
    explicit = element(0x7FE00010, "OB", fragments, UNDEFINED) + element(0x7FE10010, "OB", value)
    for encoded, syntax in ((implicit, "1.2.840.10008.1.2"), (explicit, "1.2.840.10008.1.2.1")):
        source = BytesSource(part10(encoded, syntax))
        pieces = list(dump_whole(source, colors=colors))
        assert "".join(pieces) == "".join([f"{line}\n" for line in dump_plain(source, full=True, colors=colors)])
        assert max(map(len, pieces)) < 6 * PIECE


def test_whole_values_take_little_more_memory_than_they_have_bytes() -> None:
    n_bytes = 32 << 20
    source = BytesSource(part10(element(0x7FE00010, "OW", bytes(n_bytes))))
    tracemalloc.start()
    n_characters = sum(map(len, dump_whole(source)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_characters > n_bytes // 2 * 5
    assert peak < n_bytes + (24 << 20)


def test_long_binary_values_in_lines_of_the_user() -> None:
    """They are cut, and not even read, unless they are wanted; all else is whole."""
    (cut,) = formatted("{elem.value}", PIXELS, include=["PixelData"])
    assert cut.startswith("0100\\0302\\0504")
    assert cut.endswith("\\1f1e\\...")
    assert formatted("{ds.PixelData}", PIXELS) == [cut]
    short = element(0x7FE00010, "OW", bytes(range(32)))
    assert formatted("{ds.PixelData}", short) == [cut.removesuffix("\\...")]
    numbers, text = element(0x00281101, "US", b"\1\1" * 4000), element(0x00104000, "LT", b"x" * 500)
    assert formatted("{elem.value}", numbers + text, groups=["0028", "0010"]) == ["\\".join(["257"] * 4000), "x" * 500]
    form = LineFormat("{elem.value}{ds.PixelData}", full=True)
    (whole,) = dump_formatted(BytesSource(part10(PIXELS)), form, Selection.parse(include=["PixelData"]))
    assert whole.startswith(cut.removesuffix("..."))
    assert whole.count("\\") == 2 * 4095
    source = Counting(part10(element(0x7FE00010, "OW", bytes(9 << 20))))
    list(dump_formatted(source, LineFormat("{elem.value}{ds.PixelData}")))
    assert source.n_read < 1 << 20


class Counting(BytesSource):
    """How many bytes are asked for."""

    n_read = 0

    def fetch(self, pos: int, n: int) -> bytes:
        self.n_read += n
        return super().fetch(pos, n)


def test_private_elements_and_fragments() -> None:
    assert [line.split(maxsplit=1)[1].split("#")[1].split(maxsplit=2)[2] for line in lines(PRIVATE)] == [
        "PrivateCreator",
        "[Full fidelity]",
    ]
    pixels = element(0x7FE00010, "OB", item(b"") + item(b"\xff\xd8") + SEQUENCE_END, UNDEFINED)
    assert [line.split("#")[0].strip() for line in lines(pixels)] == [
        "(7fe0,0010) OB (Encapsulated pixel data)",
        "(fffe,e000) pi (no value available)",
        "(fffe,e000) pi ff\\d8",
    ]


def test_the_same_bytes_of_another_creator_are_another_element() -> None:
    for _ in range(2):  # lines that repeat are made once
        assert lines(PRIVATE)[1].endswith(" [Full fidelity]")
        assert lines(PRIVATE.replace(b"GEMS_IDEN_01", b"NOBODY KNOWS"))[1].endswith(" Private")


def test_nothing_from_a_file_acts_on_a_terminal() -> None:
    data_set = b"".join(
        [
            element(0x00080005, "CS", b"ISO_IR 192"),
            element(0x00090010, "LO", HOSTILE),
            element(0x00100010, "PN", HOSTILE + "\u202e\u2028".encode()),
            element(0x00104000, "LT", HOSTILE * 9),
        ]
    )
    shown = [*lines(data_set), *lines(data_set, full=True)]
    shown += formatted("{file}{elem.value}{ds.PatientName}{elem.name}{elem.keyword}", data_set)
    shown += encode_json(as_json(data_set)).decode().split("\n")
    assert len(shown) > 10
    for line in shown:
        assert re.search(r"[\x00-\x1f\x7f-\x9f\u202e\u2028]", line) is None


def test_colors_change_nothing_else() -> None:
    source = BytesSource(part10(ALL))
    colored = "\n".join(dump_plain(source, colors=True))
    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[[0-9]*m", "", colored) == "\n".join(dump_plain(source))


def keywords(**selection: Any) -> list[str]:
    return [line.split("#")[1].split(maxsplit=2)[2] for line in lines(ALL, **selection)]


IN_SEQUENCE = ["ReferencedImageSequence", "Item"]


def test_selections() -> None:
    assert keywords(include=["PatientID"]) == ["PatientID"]
    assert keywords(include=["(0010,0020)", "00100010"]) == ["PatientName", "PatientID"]
    assert keywords(groups=["10"], exclude=["PatientName"]) == ["PatientID"]
    assert keywords(include=["ReferencedSOPInstanceUID"]) == [*IN_SEQUENCE, "ReferencedSOPInstanceUID"]
    assert keywords(kw_regex="UID$") == ["SOPClassUID", *IN_SEQUENCE, "ReferencedSOPInstanceUID"]
    assert keywords(exclude=["ReferencedImageSequence"], private=False) == ["SOPClassUID", "PatientName", "PatientID"]
    assert keywords(include=["ReferencedImageSequence"], private=False) == [*IN_SEQUENCE, "ReferencedSOPInstanceUID"]
    assert keywords(groups=["0009"])[:2] == IN_SEQUENCE
    assert len(keywords()) == 10


@pytest.mark.parametrize(
    ("selection", "hint"),
    [
        ({"include": ["PatientNam"]}, "did you mean PatientName?"),
        ({"exclude": ["PatientNam"]}, "did you mean PatientName?"),
        ({"groups": ["patient"]}, "a group is up to four hexadecimal digits, 0010 say"),
        ({"kw_regex": "("}, ""),
    ],
)
def test_what_cannot_be_selected(selection: dict[str, Any], hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        Selection.parse(**selection)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("{elem.value}", ["Dracula^Count", "Vamp001"]),
        (
            "{elem.tag} {elem.vr} {elem.vm} {elem.length} {elem.depth}",
            ["(0010,0010) PN 1 13 0", "(0010,0020) LO 1 8 0"],
        ),
        ("{elem.keyword:<14}|{elem.name:>15}|", ["PatientName   | Patient's Name|", "PatientID     |     Patient ID|"]),
        ("{ds.PatientID}\\t{elem.value:.3}{{}}", ["Vamp001\tDra{}", "Vamp001\tVam{}"]),
        ("{ds.PatientID[1]|ds.StudyID|'none'}", ["none"]),
        ("{ds.(0010,0020)} {file}", ["Vamp001 a\\x1bb.dcm"]),
        ("{ds.Rows|'7':03d}", ["007"]),
    ],
)
def test_forms(form: str, expected: list[str]) -> None:
    assert formatted(form, NAME + ID, groups=["0010"]) == expected


def test_a_form_has_lines_for_sequences_but_not_for_their_items() -> None:
    assert formatted("{elem.depth} {elem.keyword}", SEQUENCE, include=["ReferencedImageSequence"], private=False) == [
        "0 ReferencedImageSequence",
        "2 ReferencedSOPInstanceUID",
    ]
    assert formatted("{elem.value}", SEQUENCE, include=["ReferencedSOPInstanceUID"]) == ["1.2.3"]


@pytest.mark.parametrize(
    "form",
    [
        *("", "{elem.__class__}", "{elem.value.__class__}", "{elem}", "{ds}", "{ds.PatientNam}", "{x}", "{", "}", "{}"),
        *(
            "{elem.value!r}",
            "{elem.value:x}",
            "{elem.value[0][1]}",
            "{file.name}",
            "{'a}",
            "{0}",
            "{elem.value:{file}}",
        ),
    ],
)
def test_forms_that_are_none(form: str) -> None:
    with pytest.raises(TemplateError):
        LineFormat(form)


def test_json() -> None:
    data_set = b"".join(
        [
            element(0x00080005, "CS", b"ISO_IR 100"),
            SEQUENCE,
            element(0x00081250, "SQ", b""),
            element(0x00100010, "PN", b"M\xfcller^J=x="),
            element(0x00181063, "DS", b"+01.50\\\\abc\\1e3\\1e400\\-1e400\\1e-400\\0e-400"),
            element(0x00280009, "AT", b"\x18\0\x63\x10"),
            element(0x00280010, "US", b"\0\2"),
            element(0x00189087, "FD", b"\0\0\0\0\0\0\xf8\x7f"),
            element(0x00420011, "OB", b"\1\2"),
        ]
    )
    assert as_json(data_set, private=False) == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00081140": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2.3"]}}]},
        "00081250": {"vr": "SQ"},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^J", "Ideographic": "x"}]},
        "00181063": {"vr": "DS", "Value": [1.5, None, "abc", 1000.0, "1e400", "-1e400", "1e-400", 0]},
        "00280009": {"vr": "AT", "Value": ["00181063"]},
        "00280010": {"vr": "US", "Value": [512]},
        "00189087": {"vr": "FD", "Value": ["NaN"]},
        "00420011": {"vr": "OB", "InlineBinary": "AQI="},
    }


def test_large_values_in_json_are_referred_to() -> None:
    entry = as_json(PIXELS, uri="file:///a.dcm")["7FE00010"]
    start = len(part10(b"")) + 12
    assert entry == {"vr": "OW", "BulkDataURI": f"file:///a.dcm?offset={start}&length=8192"}
    assert "InlineBinary" in as_json(PIXELS)["7FE00010"]
    pixels = element(0x7FE00010, "OB", item(b"") + SEQUENCE_END, UNDEFINED)
    assert as_json(pixels, uri="file:///a.dcm")["7FE00010"]["BulkDataURI"].endswith("&length=-1")


def test_json_refers_to_what_is_there_of_a_file_that_breaks_off() -> None:
    whole = part10(PIXELS)
    start = len(whole) - 8192
    for there, reference in ((5000, f"file:///a.dcm?offset={start}&length=5000"), (0, None)):
        document, broken = dump_json(BytesSource(whole[: start + there]), uri="file:///a.dcm")
        assert "missing" in str(broken)
        assert document["7FE00010"].get("BulkDataURI") == reference


def test_file_meta_information_is_in_json_only_if_it_is_named() -> None:
    assert as_json(ID).keys() == {"00100020"}
    assert as_json(ID, include=["TransferSyntaxUID"]).keys() == {"00020010"}


def test_big_endian_words_are_little_endian_in_json() -> None:
    data_set = b"\x7f\xe0\x00\x10OW\0\0\0\0\0\2\1\2"
    document, _ = dump_json(BytesSource(part10(data_set, BIG)))
    assert json.loads(encode_json(document)) == {"7FE00010": {"vr": "OW", "InlineBinary": "AgE="}}
    assert lines(data_set, syntax=BIG)[0].startswith("(7fe0,0010) OW 0102 ")


@pytest.mark.parametrize("tag", [0x00100000, 0x00020000, 0x00020010])
def test_a_sequence_where_json_leaves_elements_out(tag: int) -> None:
    """Nobody writes those, but what is broken may look like it."""
    inner = item(ID) + item(element(tag, "SQ", item(NAME)))
    assert as_json(element(tag, "SQ", inner) + NAME) == as_json(NAME)


SMALL = [path for path in pydicom_files() if path.stat().st_size < 20_000]


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(SMALL),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    full=st.booleans(),
    only=st.sampled_from([{}, {"include": ["PatientID"]}, {"groups": ["2"]}, {"exclude": ["PatientID"]}]),
)
def test_no_file_ends_in_anything_but_text_or_an_error(
    name: Path, changes: list[tuple[float, int]], full: bool, only: dict[str, Any]
) -> None:
    content = bytearray(name.read_bytes())
    for place, value in changes:
        content[int(place * place * (len(content) - 1))] = value
    selection = Selection.parse(**only)
    with contextlib.suppress(InvalidDicomError):
        assert all(safe_text(line) == line for line in dump_plain(BytesSource(bytes(content)), selection, full=full))
    with contextlib.suppress(InvalidDicomError):
        form = LineFormat("{elem.tag} {elem.name} {elem.value[0]:.9} {elem.vm} {ds.PatientID} {file}")
        assert all(safe_text(line) == line for line in dump_formatted(BytesSource(bytes(content)), form, selection))
    with contextlib.suppress(InvalidDicomError):
        for uri in ("", "file:///a.dcm"):
            json.loads(encode_json(dump_json(BytesSource(bytes(content)), selection, uri=uri, full=full)[0]))
