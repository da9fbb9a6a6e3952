"""All attributes of a data set at once: the identifiers of C-FIND responses, and what they may look like."""

from __future__ import annotations

import sys

import pytest
from pydicom import Dataset

from dcm.attrs import Attributes
from dcm.errors import InvalidDicomError
from dcm.peek import _level, check_depth, read_attributes
from tests.peek.encoding import (
    DEFLATED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG,
    Element,
    Encoding,
    encode,
    encode_for,
)
from tests.peek.test_scan import nested

PATIENT_NAME, PATIENT_ID, SERIES_NUMBER, ROWS = 0x00100010, 0x00100020, 0x00200011, 0x00280010
syntaxes = pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED])


def identifier(uid: str = "1.2.3", name: bytes = b"Dracula^Count") -> list[Element]:
    return [
        Element(0x00080018, "UI", uid.encode()),
        Element(0x00080052, "CS", b"IMAGE"),
        Element(0x00080061, "CS", b"CT\\MR"),
        Element(PATIENT_NAME, "PN", name),
        Element(PATIENT_ID, "LO", b"Vamp001"),
        Element(SERIES_NUMBER, "IS", b" 7"),
        Element(ROWS, "US", (512,)),
        Element(0x00281050, "DS", b""),
    ]


@syntaxes
def test_an_identifier(syntax: str) -> None:
    record = read_attributes(encode_for(identifier(), syntax), syntax)
    assert dict(record) == {
        0x00080018: "1.2.3",
        0x00080052: "IMAGE",
        0x00080061: ("CT", "MR"),
        PATIENT_NAME: "Dracula^Count",
        PATIENT_ID: "Vamp001",
        SERIES_NUMBER: "7",
        ROWS: 512,
        0x00281050: None,
    }
    assert [record.vr(tag) for tag in record] == ["UI", "CS", "CS", "PN", "LO", "IS", "US", "DS"]


@syntaxes
def test_the_identifiers_of_one_query_share_shape_and_texts(syntax: str) -> None:
    one, two = (read_attributes(encode_for(identifier(uid), syntax), syntax) for uid in ("1.2.3", "1.2.4"))
    assert one._shape is two._shape
    assert one[PATIENT_NAME] is two[PATIENT_NAME]
    assert sys.getsizeof(one._values) < 150


@syntaxes
def test_only_some_tags(syntax: str) -> None:
    data = encode_for(
        [Element(0x00080005, "CS", b"ISO_IR 192"), *identifier(name="Müller".encode()), *sequence()], syntax
    )
    record = read_attributes(data, syntax, tags=[PATIENT_NAME, ROWS])
    assert dict(record) == {PATIENT_NAME: "Müller", ROWS: 512}
    record = read_attributes(data, syntax, tags={0x00540016})
    assert list(record) == [0x00540016]
    assert record == read_attributes(data, syntax).only({0x00540016})


def sequence() -> list[Element]:
    item = [Element(PATIENT_NAME, "PN", b"x"), Element(ROWS, "US", (3,))]
    return [Element(0x00540013, "SQ", [item], undefined=True), Element(0x00540016, "SQ", [item, item])]


def test_an_empty_identifier() -> None:
    assert read_attributes(b"", EXPLICIT_LE) == Attributes()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(kind: type[bytes] | type[bytearray] | type[memoryview]) -> None:
    data = encode(identifier(), Encoding())
    assert read_attributes(kind(data), EXPLICIT_LE) == read_attributes(data, EXPLICIT_LE)


# -- character sets


@syntaxes
def test_the_character_set_of_the_data_counts(syntax: str) -> None:
    elements = [Element(0x00080005, "CS", b"ISO_IR 192"), *identifier(name="Müller".encode())]
    assert read_attributes(encode_for(elements, syntax), syntax, charset="ISO_IR 100").text(PATIENT_NAME) == "Müller"


@syntaxes
def test_where_there_is_none_that_of_the_node_counts(syntax: str) -> None:
    data = encode_for(identifier(name="Müller".encode()), syntax)
    assert read_attributes(data, syntax, charset="ISO_IR 192").text(PATIENT_NAME) == "Müller"
    assert read_attributes(data, syntax).text(PATIENT_NAME) == "MÃ¼ller"  # as pydicom would have it
    data = encode_for([Element(0x00080005, "CS", b""), *identifier(name="Müller".encode())], syntax)
    assert read_attributes(data, syntax, charset="ISO_IR 192").text(PATIENT_NAME) == "Müller"


@syntaxes
def test_items_inherit_the_character_set_or_have_their_own(syntax: str) -> None:
    name = Element(PATIENT_NAME, "PN", "Ж".encode())
    own = [Element(0x00080005, "CS", b"ISO_IR 144"), Element(PATIENT_NAME, "PN", "Ж".encode("iso8859-5"))]
    items = Element(0x00081110, "SQ", [[name], own, [name]])
    data = encode_for([Element(0x00080005, "CS", b"ISO_IR 192"), items, name], syntax)
    record = read_attributes(data, syntax)
    assert record.text(PATIENT_NAME) == "Ж"
    value = record[0x00081110]
    assert isinstance(value, tuple)
    assert [item.text(PATIENT_NAME) for item in value if isinstance(item, Attributes)] == ["Ж"] * 3


# -- order, duplicates, group lengths


@syntaxes
def test_out_of_order_and_twice(syntax: str) -> None:
    elements = identifier()
    shuffled = [Element(PATIENT_ID, "LO", b"first"), *reversed(elements)]
    assert read_attributes(encode_for(shuffled, syntax), syntax) == read_attributes(
        encode_for(elements, syntax), syntax
    )


@syntaxes
def test_group_lengths_are_left_out(syntax: str) -> None:
    elements = [Element(0x00080000, "UL", (99,)), *identifier()]
    assert read_attributes(encode_for(elements, syntax), syntax) == read_attributes(
        encode_for(identifier(), syntax), syntax
    )


def test_the_number_of_layouts_that_are_remembered_is_bounded() -> None:
    for element in range(_level._MAX_LAYOUTS + 10):
        read_attributes(encode([Element(0x00110000 + element, "LO", b"x")], Encoding()), EXPLICIT_LE)
    assert len(_level._layouts) <= _level._MAX_LAYOUTS


# -- VRs that are not there


def test_the_sign_is_settled_by_the_pixel_representation() -> None:
    for representation, vr, value in ((0, "US", 65535), (1, "SS", -1)):
        elements = [Element(0x00280103, "US", (representation,)), Element(0x00280106, "US", (65535,))]
        record = read_attributes(encode(elements, Encoding(implicit=True)), IMPLICIT_LE)
        assert (record.vr(0x00280106), record[0x00280106]) == (vr, value)


def test_private_elements_by_their_creator() -> None:
    elements = [
        Element(0x00090010, "LO", b"GEMS_IDEN_01"),
        Element(0x00091001, "LO", b"GE_GENESIS_FF"),
        Element(0x00110010, "LO", b"nobody knows"),
        Element(0x00111001, "LO", b"text or what"),
    ]
    record = read_attributes(encode(elements, Encoding(implicit=True)), IMPLICIT_LE)
    assert [record.vr(tag) for tag in record] == ["LO", "LO", "LO", "UN"]
    assert record[0x00091001] == "GE_GENESIS_FF"
    assert record[0x00111001] == b"text or what"


def test_unknown_elements_are_bytes_and_sequences_are_recognised() -> None:
    items = [[Element(PATIENT_ID, "LO", b"x")]]
    elements = [Element(0x00091001, "UN", b"ab"), Element(0x00091002, "SQ", items, undefined=True)]
    record = read_attributes(encode(elements, Encoding(implicit=True)), IMPLICIT_LE)
    assert record[0x00091001] == b"ab"
    assert record[0x00091002] == (Attributes.from_items([(PATIENT_ID, "LO", "x")]),)


def test_encapsulated_pixel_data_is_kept_as_it_is() -> None:
    pixels = Element(0x7FE00010, "OB", fragments=[b"", b"abcd"])
    record = read_attributes(encode([*identifier(), pixels], Encoding()), JPEG)
    assert (record.vr(0x7FE00010), record[0x7FE00010]) == (
        "OB",
        b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\4\0\0\0abcd",
    )


# -- what is refused


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
def test_every_cut_but_between_elements_is_refused(syntax: str) -> None:
    encoding = Encoding(implicit=syntax == IMPLICIT_LE, little=syntax != EXPLICIT_BE)
    elements = [*identifier(), *sequence(), Element(0x00540081, "US", (1,))]
    data = encode(elements, encoding)
    ends = {len(encode(elements[:n], encoding)) for n in range(len(elements) + 1)}
    for cut in range(len(data) + 1):
        if cut in ends:
            read_attributes(data[:cut], syntax)
        else:
            with pytest.raises(InvalidDicomError):
                read_attributes(data[:cut], syntax)


@pytest.mark.parametrize(
    "data",
    [
        b"\x40\x00\x75\x02SQ\0\0\x08\0\0\0" + b"\xfe\xff\x00\xe0\x09\0\0\0",  # an item longer than its sequence
        b"\x40\x00\x75\x02SQ\0\0\x0a\0\0\0" + b"\xfe\xff\x00\xe0\x02\0\0\0\0\0",  # half a header in an item
        b"\x40\x00\x75\x02SQ\0\0\x12\0\0\0" + b"\xfe\xff\x00\xe0\x0a\0\0\0" + b"\x08\0\x60\0CS\x04\0CT",  # too long
        b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff",  # no end of the item
        b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\x08\0\x60\0CS\x02\0CT",  # no item
        b"\x40\x00\x75\x02SQ\0\0\x10\0\0\0" + b"\xfe\xff\x00\xe0\x08\0\0\0" + b"\xfe\xff\x0d\xe0\0\0\0\0",
        b"\xfe\xff\x00\xe0\0\0\0\0",  # an item without a sequence
        b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff",  # a fragment without length
    ],
)
def test_what_does_not_hold_together_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidDicomError):
        read_attributes(data, EXPLICIT_LE)


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize("undefined", [True, False])
def test_the_depth_can_be_asked_for_alone(syntax: str, undefined: bool) -> None:
    encoding = Encoding(implicit=syntax == IMPLICIT_LE, little=syntax != EXPLICIT_BE)
    check_depth(encode(identifier(), encoding) + nested(64, encoding, undefined=undefined), syntax)
    with pytest.raises(InvalidDicomError, match="deeper than 64"):
        check_depth(encode(identifier(), encoding) + nested(65, encoding, undefined=undefined), syntax)
    check_depth(b"\x08\x00\x18\x00UI\xff", syntax)  # broken, but not deep


def test_a_record_becomes_a_dataset() -> None:
    ds = read_attributes(encode(identifier(), Encoding()), EXPLICIT_LE).to_dataset()
    assert isinstance(ds, Dataset)
    assert ds.SeriesNumber == 7
    assert ds.ModalitiesInStudy == ["CT", "MR"]
