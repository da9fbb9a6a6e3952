"""What may be matched against each kind of attribute."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.errors import QueryError
from dcm.query._key_values import check_value
from dcm.text import safe_text


@pytest.mark.parametrize(
    ("vr", "text", "value"),
    [
        ("DA", "20201031", "20201031"),
        ("DA", "20201001-20201031", "20201001-20201031"),
        ("DA", "20201001-", "20201001-"),
        ("DA", "-20201031", "-20201031"),
        ("DA", "20200229", "20200229"),
        ("DA", "", ""),
        ("DA", "*", ""),
        ("TM", "10", "10"),
        ("TM", "1030", "1030"),
        ("TM", "103059.123456", "103059.123456"),
        ("TM", "10-12", "10-12"),
        ("TM", "235960", "235960"),
        ("DT", "20201031", "20201031"),
        ("DT", "20201031103000.5+0100", "20201031103000.5+0100"),
        ("DT", "20201031103000-20201101", "20201031103000-20201101"),
        ("DT", "20201031-", "20201031-"),
        ("UI", "1.2.840.10008", ["1.2.840.10008"]),
        ("UI", "1.2\\1.3", ["1.2", "1.3"]),
        ("UI", "1.02.3", ["1.02.3"]),
        ("IS", "5", ["5"]),
        ("IS", "+5\\-1", ["5", "-1"]),
        ("DS", "1.5\\-2e3", ["1.5", "-2e3"]),
        ("US", "512", [512]),
        ("SS", "-1", [-1]),
        ("FD", "0.25", [0.25]),
        ("US or SS", "7", [7]),
        ("CS", "CT", ["CT"]),
        ("CS", "C?\\M*", ["C?", "M*"]),
        ("AS", "045Y", "045Y"),
        ("PN", "Dracula*", ["Dracula*"]),
        ("LO", "A?", ["A?"]),
        ("UT", "a\\b", "a\\b"),
    ],
)
def test_good_values(vr: str, text: str, value: object) -> None:
    assert check_value("Key", vr, text) == value


@pytest.mark.parametrize(
    ("vr", "text", "why"),
    [
        ("DA", "2020", "YYYYMMDD"),
        ("DA", "20200230", "YYYYMMDD"),
        ("DA", "202010*", "YYYYMMDD"),
        ("DA", "-", "YYYYMMDD"),
        ("DA", "20201001-20201031-20201101", "YYYYMMDD"),
        ("DA", "yesterday", "YYYYMMDD"),
        ("DA", "20201031-20201001", "ends before it begins"),
        ("TM", "25", "HHMMSS"),
        ("TM", "103", "HHMMSS"),
        ("TM", "10.5", "HHMMSS"),
        ("DT", "noon", "YYYYMMDDHHMMSS"),
        ("UI", "1.2.*", "without wildcards"),
        ("UI", "1.2.", "at most 64 digits and dots"),
        ("UI", "1" * 65, "at most 64"),
        ("IS", "five", "whole number"),
        ("IS", "5*", "whole number"),
        ("IS", "99999999999", "from -2147483648 to"),
        ("DS", "x", "a number"),
        ("DS", "1.23456789012345678", "at most 16"),
        ("DS", "nan", "at most 16"),
        ("US", "65536", "from 0 to 65535"),
        ("US", "-1", "from 0 to 65535"),
        ("CS", "ÄÖ", "upper case"),
        ("CS", "ABCDEFGHIJKLMNOPQ", "up to 16"),
        ("AS", "45", "045Y"),
        ("SQ", "x", "cannot be queried"),
        ("OB or OW", "x", "cannot be queried"),
        ("AT", "x", "cannot be queried"),
        ("LO", "a\x1b[31m", "control characters"),
        ("LO", "a\nb", "control characters"),
    ],
)
def test_what_can_match_nothing_is_refused(vr: str, text: str, why: str) -> None:
    with pytest.raises(QueryError, match=why) as caught:
        check_value("Key", vr, text)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("vr", "text", "meant"),
    [
        ("DA", "2020-10-31", "20201031"),
        ("DA", "2020.10.31", "20201031"),
        ("DA", "2020-10-01-2020-10-31", "20201001-20201031"),
        ("DA", "20201031-20201001", "20201001-20201031"),
        ("TM", "10:30", "1030"),
        ("TM", "10:30:59-11:00:00", "103059-110000"),
        ("CS", "ct", "CT"),
        ("CS", "ct\\Mr", "CT\\MR"),
    ],
)
def test_what_was_meant_is_said(vr: str, text: str, meant: str) -> None:
    with pytest.raises(QueryError) as caught:
        check_value("Key", vr, text)
    assert caught.value.hint == f"did you mean Key={meant}?"


@given(st.sampled_from(["DA", "TM", "DT", "UI", "IS", "DS", "FD", "US", "CS", "AS", "PN", "LO"]), st.text(max_size=20))
def test_any_text_is_a_value_or_a_query_error(vr: str, text: str) -> None:
    try:
        check_value("Key", vr, text)
    except QueryError as exc:
        message = exc.message
    else:
        message = ""
    assert safe_text(message) == message


@given(st.dates(), st.dates())
def test_every_date_and_every_range_in_order_is_taken(first: datetime.date, last: datetime.date) -> None:
    one, two = sorted(f"{day:%Y%m%d}".rjust(8, "0") for day in (first, last))
    for text in (one, f"{one}-{two}", f"{one}-", f"-{two}"):
        assert check_value("Key", "DA", text) == text
