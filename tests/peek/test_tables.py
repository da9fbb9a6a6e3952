"""What is written down without pydicom is what pydicom's dictionaries say."""

from __future__ import annotations

import struct

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_VR
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from dcm.peek import QUERY_TAGS, _order, _tables
from dcm.template import DEFAULT_TEMPLATE, PathTemplate


def test_the_vrs_of_the_query_attributes() -> None:
    assert {tag: _tables.dictionary_vr(tag) for tag in QUERY_TAGS} == {tag: dictionary_VR(tag) for tag in QUERY_TAGS}


def test_the_default_output_path_is_made_of_query_attributes() -> None:
    assert PathTemplate(DEFAULT_TEMPLATE).tags <= QUERY_TAGS


def test_the_lengths_of_vrs() -> None:
    assert {str(vr) for vr in EXPLICIT_VR_LENGTH_16} == _tables.SHORT_VRS
    assert {str(vr) for vr in EXPLICIT_VR_LENGTH_32} == _tables.LONG_VRS


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        (0x00080018, "UI"),
        (0x00081140, "SQ"),
        (0x00280106, "US or SS"),
        (0x60023000, "OB or OW"),
        (0x00200000, "UL"),
        (0x00091001, ""),
        (0x0008FFFE, ""),
    ],
)
def test_the_dictionary(tag: int, vr: str) -> None:
    assert _tables.dictionary_vr(tag) == vr


def test_the_image_classes_exist_and_are_for_storage() -> None:
    for uid in _tables.IMAGE_CLASSES:
        name, kind, *_ = UID_dictionary[uid]
        assert kind == "SOP Class"
        assert "Storage" in name
        assert "Presentation State" not in name
    images = {
        uid for uid, (name, _, _, retired, _) in UID_dictionary.items() if "Image Storage" in name and not retired
    }
    assert {uid for uid in images if uid.startswith("1.2.840.10008.5.1.4.1.1.")} <= _tables.IMAGE_CLASSES


def test_the_byte_orders() -> None:
    for tag in (0x00080018, 0x7FE00010, 0xFFFEE000):
        assert _order.swapped(_order.swapped(tag)) == tag
        for order, endian in ((_order.LITTLE, "<"), (_order.BIG, ">")):
            data = struct.pack(endian + "HH2sH", tag >> 16, tag & 0xFFFF, b"CS", 6)
            unpacked, code, length = order.explicit(data, 0)
            assert (order.tag(unpacked), order.short[code], length) == (tag, "CS", 6)
            assert order.vr_bytes(code) == b"CS"
