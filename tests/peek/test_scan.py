"""The length scan over data in memory: what it finds, and whether it can tell that something is missing."""

from __future__ import annotations

import random
import struct
import tracemalloc
import warnings
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dcm.attrs import MAX_DEPTH, Attributes
from dcm.errors import InvalidDicomError
from dcm.peek import QUERY_TAGS, Header, peek, read_attributes
from dcm.peek import _inflate as inflate_module
from tests.peek.encoding import (
    CT,
    DEFLATED,
    ENCODINGS,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG,
    Element,
    Encoding,
    boundaries,
    deflate,
    encode,
    encode_element,
    encode_for,
    read_with_pydicom,
    whole_data_sets,
)

SOP_INSTANCE_UID, PATIENT_ID, ROWS, PIXEL_DATA = 0x00080018, 0x00100020, 0x00280010, 0x7FE00010
REFERENCED_IMAGES = 0x00081140

SR = b"1.2.840.10008.5.1.4.1.1.88.11"
SMALL = [
    Element(0x00080016, "UI", SR),
    Element(SOP_INSTANCE_UID, "UI", b"1.2.3.4"),
    Element(PATIENT_ID, "LO", b"Vamp001"),
]
IMAGE = [
    Element(0x00080016, "UI", CT.encode()),
    Element(SOP_INSTANCE_UID, "UI", b"1.2.3.4"),
    Element(REFERENCED_IMAGES, "SQ", [[Element(SOP_INSTANCE_UID, "UI", b"9.9")]], undefined=True, undefined_items=True),
    Element(PATIENT_ID, "LO", b"Vamp001"),
    Element(ROWS, "US", (512,)),
    Element(PIXEL_DATA, "OW", bytes(100)),
]
every_syntax = pytest.mark.parametrize("syntax", sorted(ENCODINGS))


@given(whole_data_sets())
def test_agrees_with_pydicom_on_any_data_set(made: tuple[list[Element], str]) -> None:
    elements, syntax = made
    data = encode_for(elements, syntax)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = Attributes.from_dataset(read_with_pydicom(data, syntax))
    header = peek(data, syntax)
    assert header.complete is not False
    assert header.sop_instance_uid == "1.2.3.4"
    assert header.attributes == expected.only(QUERY_TAGS)
    assert {tag: header.text(tag) for tag in QUERY_TAGS} == {tag: expected.text(tag) for tag in QUERY_TAGS}
    record = read_attributes(data, syntax)
    assert record == expected
    assert [record.vr(tag) for tag in record] == [expected.vr(tag) for tag in expected]


@given(whole_data_sets(), st.data())
def test_a_cut_is_seen_wherever_it_is(made: tuple[list[Element], str], data: st.DataObject) -> None:
    elements, syntax = made
    encoded = encode_for(elements, syntax)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    header = peek(encoded[:cut], syntax)
    whole = set() if syntax == DEFLATED else set(boundaries(elements, ENCODINGS[syntax]))
    if cut in whole:
        assert header.complete is not False
    elif syntax != DEFLATED or cut < len(encoded) - 1:  # the last byte of deflated data may be padding
        assert header.complete is False
        assert header.problem


@every_syntax
def test_identity_and_attributes(syntax: str) -> None:
    header = peek(encode_for(IMAGE, syntax), syntax)
    assert (header.complete, header.problem) == (True, "")
    assert header.sop_class_uid == CT
    assert header.sop_instance_uid == "1.2.3.4"
    assert header.transfer_syntax_uid == syntax
    assert header.data_offset == 0
    assert header.text(PATIENT_ID) == "Vamp001"
    assert header.text(ROWS) == "512"
    assert header.text(0x00100010) == ""
    assert dict(header.attributes) == {0x00080016: CT, 0x00080018: "1.2.3.4", PATIENT_ID: "Vamp001", ROWS: 512}
    assert header.attributes.vr(ROWS) == "US"
    if syntax == DEFLATED:
        assert header.pixel_offset is None
    else:
        assert header.pixel_offset == len(encode_for(IMAGE, syntax)) - 100


@every_syntax
@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_buffer_will_do(syntax: str, kind: type[bytearray] | type[memoryview]) -> None:
    elements = [*IMAGE[:-1], Element(PIXEL_DATA, "OW", bytes(100_000)), Element(0xFFFCFFFC, "OB", b"12")]
    data = encode_for(elements, syntax)
    assert describe(peek(kind(data), syntax)) == describe(peek(data, syntax))
    assert peek(kind(data), syntax).complete
    assert peek(kind(data[:-2]), syntax).complete is False


def describe(header: Header) -> tuple[object, ...]:
    return header.attributes, header.complete, header.problem, header.pixel_offset


@every_syntax
def test_other_tags_may_be_asked_for(syntax: str) -> None:
    header = peek(encode_for(IMAGE, syntax), syntax, frozenset({REFERENCED_IMAGES, PATIENT_ID}))
    assert dict(header.attributes) == {
        PATIENT_ID: "Vamp001",
        REFERENCED_IMAGES: (Attributes.from_items([(SOP_INSTANCE_UID, "UI", "9.9")]),),
    }
    assert header.attributes.vr(REFERENCED_IMAGES) == "SQ"
    assert header.text(REFERENCED_IMAGES) == ""


def test_the_pixel_data_itself_may_be_asked_for() -> None:
    fragments = Element(PIXEL_DATA, "OB", fragments=[b"", b"abcd"])
    header = peek(encode_for([*SMALL, fragments], JPEG), JPEG, frozenset({PIXEL_DATA}))
    assert header.attributes.vr(PIXEL_DATA) == "OB"
    assert b"abcd" in bytes(header.attributes[PIXEL_DATA] or b"")  # type: ignore[arg-type]


def test_of_two_elements_with_one_tag_the_last_counts_as_in_pydicom() -> None:
    data = encode([*SMALL, Element(PATIENT_ID, "LO", b"other")], Encoding())
    assert peek(data, EXPLICIT_LE).text(PATIENT_ID) == read_with_pydicom(data, EXPLICIT_LE).PatientID == "other"
    assert read_attributes(data, EXPLICIT_LE).text(PATIENT_ID) == "other"


# -- completeness


def test_cut_exactly_between_elements() -> None:
    data = encode(IMAGE, Encoding())
    ends = list(boundaries(IMAGE, Encoding()))
    for end in ends[:-1]:
        header = peek(data[:end], EXPLICIT_LE)
        assert header.complete is None
        assert "an image without pixel data" in header.problem
    assert peek(data, EXPLICIT_LE).complete
    # What is no image can end anywhere: nothing is there to tell that more was to come.
    assert peek(encode(SMALL[:2], Encoding()), EXPLICIT_LE).complete


def test_an_image_whose_pixels_are_elsewhere_is_complete() -> None:
    url = Element(0x00287FE0, "UR", b"http://example.org/pixels")
    assert peek(encode([*IMAGE[:-1], url], Encoding()), EXPLICIT_LE).complete


def test_rows_make_an_image_whatever_the_class() -> None:
    header = peek(encode([*SMALL, Element(ROWS, "US", (1,))], Encoding()), EXPLICIT_LE)
    assert (header.complete, header.problem) == (None, "an image without pixel data")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the data set is empty"),
        (b"\x08", "ends within an element, 1 bytes after its beginning"),
        (b"\x08\x00\x18\x00UI", "ends within an element, 6 bytes"),
        (b"\x08\x00\x18\x00UI\x08\x001.2.3", "ends within an element, 13 bytes"),
        (b"\x08\x00\x19\x00UI\x08\x001.2.3", "ends within (0008,0019), 3 bytes are missing"),
        (encode(SMALL, Encoding()) + b"\0", "ends within an element, 1 bytes"),
        (encode(IMAGE[:3], Encoding())[:-4], "ends within"),
        (encode(IMAGE[:3], Encoding())[:-8], "ends within a sequence"),
    ],
)
def test_what_is_missing_is_said(data: bytes, problem: str) -> None:
    header = peek(data, EXPLICIT_LE)
    assert header.complete is False
    assert problem in header.problem


def test_the_head_of_a_large_instance() -> None:
    data = encode([*IMAGE[:-1], Element(PIXEL_DATA, "OW", bytes(10_000))], Encoding())
    offset = len(data) - 10_000
    header = peek(data[: offset + 10], EXPLICIT_LE, total=len(data))
    assert (header.complete, header.pixel_offset, header.text(PATIENT_ID)) == (True, offset, "Vamp001")
    assert peek(data[: offset + 10], EXPLICIT_LE, total=len(data) - 1).complete is False
    # More elements may follow, which nobody has seen:
    longer = peek(data[: offset + 10], EXPLICIT_LE, total=len(data) + 1)
    assert (longer.complete, longer.problem) == (None, f"only the first {offset + 10} bytes were looked at")
    short = peek(data[:100], EXPLICIT_LE, total=len(data))
    assert short.complete is None
    assert short.sop_instance_uid == "1.2.3.4"
    assert peek(data, EXPLICIT_LE, total=len(data) - 20_000).complete is False


@every_syntax
def test_the_head_of_an_instance_and_a_way_to_the_rest(syntax: str) -> None:
    pixels = (
        Element(PIXEL_DATA, "OB", fragments=[bytes(9000), bytes(7000)] * 20)
        if syntax == JPEG
        else Element(PIXEL_DATA, "OW", bytes(300_000))
    )
    # More than one window of small elements, and a wanted value across the end of what is there.
    many = [Element(0x00080018, "UI", b"1.2.3.4")]
    many += [Element(0x00091000 + i, "LO", b"private") for i in range(600)]
    many += [Element(PATIENT_ID, "LO", b"Vamp001"), Element(0x0020000D, "UI", b"1.2.3"), pixels]
    data = encode_for([*many, Element(0xFFFCFFFC, "OB", bytes(20))], syntax)
    positions = []

    def read(pos: int, n: int) -> bytes:
        positions.append((pos, n))
        return data[pos : pos + n]

    for length in (0, 7, 100, 2000):
        header = peek(data[:length], syntax, total=len(data), read=read)
        assert header.complete
        assert (header.text(PATIENT_ID), header.text(0x0020000D)) == ("Vamp001", "1.2.3")
    assert max(n for _, n in positions) <= 64 << 10
    cut = data[: len(data) // 2]
    assert peek(cut[:100], syntax, total=len(cut), read=read).complete is False


@pytest.mark.parametrize("kind", [bytes, bytearray])
@every_syntax
def test_a_value_across_the_end_of_the_head(syntax: str, kind: type[bytes] | type[bytearray]) -> None:
    data = encode_for(IMAGE, syntax)
    for length in range(len(data)):
        header = peek(kind(data[:length]), syntax, total=len(data), read=lambda pos, n: data[pos : pos + n])
        assert describe(header) == describe(peek(data, syntax))


def test_next_to_nothing() -> None:
    empty = encode([Element(0x00080050, "SH", b"")], Encoding())
    assert len(empty) == 8
    for data, syntax in ((empty, EXPLICIT_LE), (empty, IMPLICIT_LE), (deflate(empty), DEFLATED)):
        header = peek(data, syntax)
        assert header.complete
        assert "no SOP Instance UID" in header.problem
        assert dict(header.attributes) == {0x00080050: None}


def test_a_sequence_that_cannot_be_read_is_left_out() -> None:
    broken = b"\x08\x00\x10\x11SQ\0\0\x08\0\0\0" + b"\xfe\xff\x00\xe0\x09\0\0\0"
    data = encode(SMALL[:2], Encoding()) + broken + encode(IMAGE[2:4], Encoding())
    header = peek(data, EXPLICIT_LE, frozenset({0x00081110, REFERENCED_IMAGES, PATIENT_ID}))
    assert header.complete
    assert list(header.attributes) == [REFERENCED_IMAGES, PATIENT_ID]
    assert header.text(0x00081110) == ""


def test_deflated_data_of_which_only_the_head_is_there() -> None:
    noise = random.Random(1).randbytes(20_000)
    data = encode_for([*SMALL, Element(0x00204000, "LT", noise)], DEFLATED)
    header = peek(data[: len(data) // 2], DEFLATED, total=len(data))
    assert (header.complete, header.problem) == (None, "only the head of the deflated data was looked at")
    assert header.text(PATIENT_ID) == "Vamp001"
    assert peek(data[: len(data) // 2], DEFLATED).complete is False


def test_deflated_data_with_something_after_it() -> None:
    data = deflate(encode(SMALL, Encoding()))
    assert peek(data + b"\0" * (len(data) % 2), DEFLATED).problem == ""
    header = peek(data + b"a gzip trailer, say", DEFLATED)
    assert (header.complete, header.problem) == (True, "more data follows the deflated data")


def test_broken_deflated_data() -> None:
    data = bytearray(deflate(encode([*SMALL, Element(0x00204000, "LT", bytes(range(32, 127)) * 100)], Encoding())))
    data[len(data) // 2] ^= 0xFF
    assert peek(bytes(data), DEFLATED).complete is False
    assert peek(b"\xff\xff\xff", DEFLATED).complete is False
    assert peek(b"", DEFLATED).complete is False
    with pytest.raises(InvalidDicomError, match="deflated data"):
        read_attributes(b"\xff\xff\xff", DEFLATED)


# -- hostile data


def bomb(size: int) -> bytes:
    head = encode(SMALL, Encoding()) + b"\x20\x00\x00\x40OB\0\0" + struct.pack("<L", size)
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    parts = [compressor.compress(head)]
    block = bytes(1 << 20)
    parts += [compressor.compress(block) for _ in range(size >> 20)]
    return b"".join([*parts, compressor.flush()])


def test_a_deflate_bomb_is_not_inflated_to_its_end() -> None:
    data = bomb(48 << 20)
    assert len(data) < 100_000
    tracemalloc.start()
    try:
        header = peek(data, DEFLATED)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert (header.complete, header.problem) == (None, "inflates to more than 32 MiB, not read further")
    assert header.text(PATIENT_ID) == "Vamp001"
    with pytest.raises(InvalidDicomError, match="inflates to more than 32 MiB"):
        read_attributes(data, DEFLATED)


def test_what_inflates_to_less_is_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bomb(4 << 20)
    assert peek(data, DEFLATED).complete
    assert inflate_module.INFLATE_LIMIT == 32 << 20


def nested(depth: int, encoding: Encoding, *, undefined: bool) -> bytes:
    """Sequences in sequences, made without recursion."""
    data = encode([Element(PATIENT_ID, "LO", b"deep")], encoding)
    for _ in range(depth):
        if undefined:
            begin = encode_element(Element(0x0040A730, "SQ", [[]], undefined=True, undefined_items=True), encoding)
            data = begin[:-16] + data + begin[-16:]
        else:
            item = struct.pack(encoding.order + "HHL", 0xFFFE, 0xE000, len(data)) + data
            head = encode_element(Element(0x0040A730, "SQ", [], undefined=True), encoding)[:-12]
            data = head + struct.pack(encoding.order + "L", len(item)) + item
    return data


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize("undefined", [True, False])
def test_nesting(syntax: str, undefined: bool) -> None:
    start = encode(SMALL, ENCODINGS[syntax])
    just_right = start + nested(MAX_DEPTH, ENCODINGS[syntax], undefined=undefined)
    assert peek(just_right, syntax).complete
    value = read_attributes(just_right, syntax)
    for _ in range(MAX_DEPTH):
        value = value[0x0040A730][0]  # type: ignore[index,assignment]
    assert value.text(PATIENT_ID) == "deep"
    with pytest.raises(InvalidDicomError, match="deeper than 64"):
        read_attributes(start + nested(MAX_DEPTH + 1, ENCODINGS[syntax], undefined=undefined), syntax)
    with pytest.raises(InvalidDicomError, match="deeper than 3"):
        read_attributes(just_right, syntax, max_depth=3)


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
def test_a_few_kilobytes_that_make_pydicom_give_up(syntax: str) -> None:
    data = encode(SMALL, ENCODINGS[syntax]) + nested(2000, ENCODINGS[syntax], undefined=True)
    with pytest.raises(RecursionError):
        read_with_pydicom(data, syntax)
    header = peek(data, syntax)
    assert (header.complete, header.problem) == (None, "sequences are nested deeper than 64")
    assert header.text(PATIENT_ID) == "Vamp001"
    # The reader of records goes in from the outside: the length of what is inside does not matter to it.
    with pytest.raises(InvalidDicomError, match="deeper than 64"):
        read_attributes(data, syntax)


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE])
def test_a_value_that_claims_four_gigabytes(syntax: str) -> None:
    lie = struct.pack("<L", 0xFFFFFFFE)
    header_of_pn = b"\x10\x00\x10\x00" + (b"" if syntax == IMPLICIT_LE else b"UN\0\0")
    data = encode(SMALL[:2], ENCODINGS[syntax]) + header_of_pn + lie + b"Dracula^Count"
    header = peek(data, syntax)
    assert header.complete is False
    assert "(0010,0010)" in header.problem
    assert header.text(0x00100010) == ""
    assert read_with_pydicom(data, syntax)[0x00100010].value  # pydicom takes what there is, and says nothing
    with pytest.raises(InvalidDicomError, match=r"\(0010,0010\)|longer"):
        read_attributes(data, syntax)


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE])
def test_a_huge_value_of_a_small_attribute_is_not_read(syntax: str) -> None:
    huge = Element(0x00100010, "UN" if syntax == EXPLICIT_LE else "PN", b"x" * 300_000)
    data = encode([*SMALL[:2], huge, SMALL[2]], ENCODINGS[syntax])
    header = peek(data, syntax)
    assert header.complete
    assert header.problem == "(0010,0010) has 300000 bytes, not read"
    assert (header.text(0x00100010), header.text(PATIENT_ID)) == ("", "Vamp001")

    def read(pos: int, n: int) -> bytes:
        assert n <= 64 << 10
        return data[pos : pos + n]

    assert peek(data[:100], syntax, total=len(data), read=read).complete


def test_a_huge_sequence_is_not_read() -> None:
    items = [[Element(0x00204000, "LT", b"x" * 60_000)] for _ in range(5)]
    data = encode([*SMALL[:2], Element(REFERENCED_IMAGES, "SQ", items, undefined=True), SMALL[2]], Encoding())
    header = peek(data, EXPLICIT_LE, QUERY_TAGS | {REFERENCED_IMAGES})
    assert header.complete
    assert header.problem == "(0008,1140) has 300088 bytes, not read"
    assert header.text(PATIENT_ID) == "Vamp001"


@pytest.mark.parametrize("vr", [b"ZZ", b"\0\0", b"??", b"zz"])
def test_a_vr_that_does_not_exist(vr: bytes) -> None:
    length = struct.pack("<H", 4) if vr == b"ZZ" else b""
    head = vr + length if vr == b"ZZ" else struct.pack("<L", 4)
    bad = b"\x10\x00\x10\x00" + head + b"A^B "
    data = encode(SMALL[:2], Encoding()) + bad + encode(SMALL[2:], Encoding())
    header = peek(data, EXPLICIT_LE)
    assert header.complete
    assert header.text(PATIENT_ID) == "Vamp001"
    assert header.text(0x00100010) == "A^B"
    assert ("unknown VR 'ZZ'" in header.problem) == (vr == b"ZZ")
    assert read_attributes(data, EXPLICIT_LE).text(0x00100010) == "A^B"


def test_the_problem_never_has_characters_of_the_sender() -> None:
    data = encode(SMALL[:2], Encoding()) + b"\x10\x00\x10\x00A\x9b\x04\x00A^B "
    header = peek(data, EXPLICIT_LE)
    assert header.problem.isascii()
    assert header.problem.isprintable()


def test_zeros_in_the_place_of_data() -> None:
    data = encode(SMALL, Encoding())
    header = peek(data + bytes(512), EXPLICIT_LE)
    assert (header.complete, header.problem) == (None, "(0000,0000) where an element should be")
    header = peek(encode(SMALL, Encoding(implicit=True)) + bytes(512), IMPLICIT_LE)
    assert (header.complete, header.problem) == (None, "(0000,0000) where an element should be")


def test_declared_one_way_and_encoded_the_other() -> None:
    explicit, implicit = encode(IMAGE, Encoding()), encode(IMAGE, Encoding(implicit=True))
    header = peek(explicit, IMPLICIT_LE)
    assert (header.complete, header.problem) == (True, "declared as implicit VR, encoded in explicit VR")
    assert header.attributes == peek(explicit, EXPLICIT_LE).attributes
    header = peek(implicit, EXPLICIT_LE)
    assert (header.complete, header.problem) == (True, "declared as explicit VR, encoded in implicit VR")
    assert header.attributes == peek(explicit, EXPLICIT_LE).attributes
    assert read_attributes(implicit, EXPLICIT_LE) == read_attributes(explicit, IMPLICIT_LE)


def test_unknown_in_big_endian_is_little_endian_inside() -> None:
    inner = encode([Element(REFERENCED_IMAGES, "SQ", IMAGE[2].value, True, True)], Encoding(implicit=True))
    unknown = b"\x00\x08\x11\x40UN\0\0\xff\xff\xff\xff" + inner[8:]
    data = encode(SMALL[:2], Encoding(little=False)) + unknown + encode(SMALL[2:], Encoding(little=False))
    header = peek(data, EXPLICIT_BE, QUERY_TAGS | {REFERENCED_IMAGES})
    assert header.complete
    assert header.text(PATIENT_ID) == "Vamp001"
    expected = (Attributes.from_items([(SOP_INSTANCE_UID, "UI", "9.9")]),)
    assert header.attributes[REFERENCED_IMAGES] == expected
    assert read_attributes(data, EXPLICIT_BE)[REFERENCED_IMAGES] == expected


def test_where_the_scan_is_lost_pydicom_may_find_the_way() -> None:
    # A value of undefined length that has no items in it: pydicom searches for the delimiter.
    odd = b"\x09\x00\x01\x10OB\0\0\xff\xff\xff\xff" + b"no items in here" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    data = encode(SMALL[:2], Encoding()) + odd + encode(IMAGE[3:], Encoding())
    header = peek(data, EXPLICIT_LE)
    assert header.complete is None
    assert header.problem == "(6f6e,6920) where an item should be"
    assert (header.text(PATIENT_ID), header.text(ROWS)) == ("Vamp001", "512")
    assert read_with_pydicom(data, EXPLICIT_LE).PatientID == "Vamp001"
    with pytest.raises(InvalidDicomError):
        read_attributes(data, EXPLICIT_LE)


def test_where_pydicom_finds_the_way_it_reads_no_large_values() -> None:
    odd = b"\x09\x00\x01\x10OB\0\0\xff\xff\xff\xff" + b"no items in here" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    large = Element(PATIENT_ID, "UN", bytes(300_000))
    header = peek(encode(SMALL[:2], Encoding()) + odd + encode([large, *IMAGE[4:]], Encoding()), EXPLICIT_LE)
    assert (header.text(PATIENT_ID), header.text(ROWS)) == ("", "512")


def test_delimiters_too_many() -> None:
    sequence = Element(REFERENCED_IMAGES, "SQ", IMAGE[2].value)
    data = encode([*SMALL[:2], sequence], Encoding()) + b"\xfe\xff\xdd\xe0\0\0\0\0" + encode(SMALL[2:], Encoding())
    assert (peek(data, EXPLICIT_LE).complete, peek(data, EXPLICIT_LE).text(PATIENT_ID)) == (True, "Vamp001")
    assert read_attributes(data, EXPLICIT_LE).text(PATIENT_ID) == "Vamp001"
    data = encode(SMALL[:2], Encoding()) + b"\xfe\xff\x0d\xe0\0\0\0\0" + encode(SMALL[2:], Encoding())
    assert peek(data, EXPLICIT_LE).complete is None


syntaxes = st.sampled_from([*sorted(ENCODINGS), "", "1.2.3"])


@given(st.binary(max_size=300), syntaxes)
@example(b"\x08\x00\x05\x00CS\x04\x00\\\\\\\\\x10\x00\x10\x00PN\x02\x00\xff\xfe", EXPLICIT_LE)
@example(b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 9, IMPLICIT_LE)
def test_any_bytes_make_a_header_or_our_error(data: bytes, syntax: str) -> None:
    everything_about(data, syntax)


@given(whole_data_sets(), st.data())
def test_data_that_was_tampered_with_makes_a_header_or_our_error(
    made: tuple[list[Element], str], choices: st.DataObject
) -> None:
    elements, syntax = made
    data = bytearray(encode_for(elements, syntax))
    for _ in range(choices.draw(st.integers(1, 4))):
        at = choices.draw(st.integers(0, len(data) - 1))
        data[at : at + choices.draw(st.integers(0, 3))] = choices.draw(st.binary(max_size=4))
        if not data:
            return
    everything_about(bytes(data), syntax)


def everything_about(data: bytes, syntax: str) -> None:
    header = peek(data, syntax, QUERY_TAGS | {REFERENCED_IMAGES, 0x00400275})
    assert header.problem.isprintable()
    assert isinstance(header.attributes, Attributes)
    for tag in QUERY_TAGS:
        assert isinstance(header.text(tag), str)
    if header.complete is False:
        assert header.problem
    try:
        record = read_attributes(data, syntax)
    except InvalidDicomError:
        return
    assert list(record) == sorted(set(record))
    hash(record)
