"""What people call an attribute."""

from __future__ import annotations

import pytest
from pydicom.datadict import dictionary_VR, keyword_dict

from dcm.errors import UsageError
from dcm.keywords import USUAL, keyword_of, nearest_keyword, parse_tag, resolve_keyword


def test_the_usual_keywords_are_those_of_the_dictionary() -> None:
    assert {key: (keyword_dict[key], dictionary_VR(keyword_dict[key])) for key in USUAL} == USUAL


@pytest.mark.parametrize("key", ["PatientID", "(0010,0020)", "(0010, 0020)", "0010,0020", "00100020", "0x00100020"])
def test_one_attribute_in_all_spellings(key: str) -> None:
    assert resolve_keyword(key) == (0x00100020, "LO")


def test_what_is_not_in_the_dictionary_has_no_vr() -> None:
    assert resolve_keyword("(0019,10AB)") == (0x001910AB, "")
    assert resolve_keyword("0008ffff") == (0x0008FFFF, "")


def test_every_keyword_is_found_and_found_again() -> None:
    for key, tag in keyword_dict.items():
        if key:
            assert resolve_keyword(key)[0] == tag
            assert keyword_of(tag) in (key, f"({tag >> 16:04x},{tag & 0xFFFF:04x})")


@pytest.mark.parametrize(("key", "meant"), [("PatientNam", "PatientName"), ("patientid", "PatientID")])
def test_a_typo_gets_the_nearest_keyword(key: str, meant: str) -> None:
    assert nearest_keyword(key) == meant
    with pytest.raises(UsageError) as caught:
        resolve_keyword(key)
    assert caught.value.hint == f"did you mean {meant}?"


@pytest.mark.parametrize("key", ["", "xyzzyqwx", "(0010,0020", "0010,002"])
def test_what_is_near_nothing(key: str) -> None:
    assert parse_tag(key) is None
    with pytest.raises(UsageError, match="there is no attribute") as caught:
        resolve_keyword(key)
    assert caught.value.hint.endswith("or their tags, 0010,0020")
