"""Attribute matching by PS3.4 section C.2.2.2, compiled."""

from __future__ import annotations

import datetime as dt
import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.attrs import Attributes, Value
from dcm.query.match import Matcher, is_universal, matches, value_matcher

TAG = 0x00101010


def accepts(vr: str, key: Value, held: Value) -> bool:
    """Whether a record with one attribute matches a query with one key."""
    query = Attributes.from_items([(TAG, vr, key)])
    record = Attributes.from_items([(TAG, vr, held)])
    assert Matcher(query)(record) is matches(record, query)
    return matches(record, query)


@pytest.mark.parametrize(
    ("vr", "key", "held", "expected"),
    [
        # Universal matching
        ("LO", "", "Vamp001", True),
        ("LO", None, None, True),
        ("LO", "*", "", True),
        ("LO", "**", None, True),
        ("UI", "*", "1.2", True),
        ("US", 0, 0, True),
        ("US", 0, 1, False),
        ("US", 0, None, False),
        # Single value
        ("LO", "Vamp001", "Vamp001", True),
        ("LO", "Vamp001", "vamp001", False),
        ("LO", "Vamp00", "Vamp001", False),
        ("LO", "Vamp001", None, False),
        ("IS", "7", "007", True),
        ("IS", "7", "8", False),
        ("IS", "7", "seven", False),
        ("IS", "seven", "seven", True),
        ("DS", "0.5", "5.0e-1", True),
        ("FD", 0.5, 0.5, True),
        ("AT", 0x00100020, 0x00100020, True),
        ("OB", b"\1", b"\1", True),
        ("OB", b"\1", b"\2", False),
        # Wildcards, in the VRs that have them
        ("LO", "Vamp*", "Vamp001", True),
        ("LO", "Vamp00?", "Vamp001", True),
        ("LO", "Vamp0?", "Vamp001", False),
        ("LO", "[a-z]*", "b", False),
        ("LO", "[a-z]*", "[a-z] scan", True),
        ("LO", "a.c*", "abc", False),
        ("LT", "one*three", "one\ntwo\nthree", True),
        ("UI", "1.2.*", "1.2.3", False),
        ("AS", "01?Y", "018Y", False),
        # Names: whatever the case, and each group by itself
        ("PN", "dracula^count", "Dracula^Count", True),
        ("PN", "*CULA*", "Dracula^Count", True),
        ("PN", "Dracula^Count^^^", "Dracula^Count", True),
        ("PN", "Dracula^Count", "Dracula^Count^^^", True),
        ("PN", "山田*", "Yamada^Tarou=山田^太郎", True),
        ("PN", "Yamada^*", "Yamada^Tarou=山田^太郎", True),
        ("PN", "yamada^tarou=山田^太郎", "Yamada^Tarou=山田^太郎", True),
        ("PN", "Tarou*", "Yamada^Tarou=山田^太郎", False),
        ("PN", "STRASSE", "straße", True),
        # Lists, and what has several values
        ("UI", ("1.2.3", "1.2.4"), "1.2.4", True),
        ("UI", ("1.2.3", "1.2.4"), "1.2.5", False),
        ("UI", "1.2.3\\1.2.4", "1.2.4", True),
        ("CS", "CT", ("CT", "SR"), True),
        ("CS", "MR", ("CT", "SR"), False),
        ("CS", ("MR", "S?"), ("CT", "SR"), True),
        ("CS", ("MR", ""), "CT", False),
        # Dates and times
        ("DA", "20201031", "20201031", True),
        ("DA", "20201031", "2020.10.31", True),
        ("DA", "20201030-20201101", "20201031", True),
        ("DA", "20201031-20201031", "20201031", True),
        ("DA", "20201101-", "20201031", False),
        ("DA", "20201031-", "20201031", True),
        ("DA", "-20201030", "20201031", False),
        ("DA", "-20201031", "20201031", True),
        ("DA", "20201031", None, False),
        ("DA", "20201031", "yesterday", False),
        ("DA", "-20201031", "yesterday", False),
        ("DA", "yesterday", "yesterday", True),
        ("TM", "16-17", "174315.866000", True),
        ("TM", "16-17", "180000", False),
        ("TM", "1643", "164315.866000", True),
        ("TM", "164315.9-", "164315.866000", False),
        ("TM", "-16:43:16", "164315.866000", True),
        ("TM", "09", "090000", True),
        ("TM", "120000", "120000.000", True),
        ("DT", "2020", "20201031164315", True),
        ("DT", "20201031-20201101", "20201101235959.5", True),
        ("DT", "202011-", "20201031164315", False),
        ("DT", "20201031120000+0200", "20201031100000+0000", True),
        ("DT", "20201031120000+0200", "20201031120000+0000", False),
        ("DT", "20201031090000-0500-20201031100000-0500", "20201031143000+0000", True),
        ("DT", "20201031090000-0500-20201031100000-0500", "20201031093000+0000", False),
        ("DT", "2019-2021", "20201031", True),
    ],
)
def test_one_key(vr: str, key: Value, held: Value, expected: bool) -> None:
    assert accepts(vr, key, held) is expected


def test_absent_attributes_match_universal_keys_only() -> None:
    record = Attributes.from_items([])
    assert matches(record, Attributes.from_items([(TAG, "DA", "")]))
    assert not matches(record, Attributes.from_items([(TAG, "DA", "20201031")]))


def test_all_keys_must_match() -> None:
    query = Attributes.from_items([(0x00080060, "CS", "CT"), (0x00100020, "LO", "Vamp*")])
    matcher = Matcher(query)
    records = [
        Attributes.from_items([(0x00080060, "CS", modality), (0x00100020, "LO", patient)])
        for modality in ("CT", "MR")
        for patient in ("Vamp001", "Were001")
    ]
    assert [matcher(record) for record in records] == [True, False, False, False]
    assert [matcher.only(frozenset({0x00080060}))(record) for record in records] == [True, True, False, False]
    assert matcher.tags == {0x00080060, 0x00100020}


def test_what_is_about_the_query_is_no_key() -> None:
    query = Attributes.from_items(
        [(0x00080005, "CS", "ISO_IR 192"), (0x00080052, "CS", "STUDY"), (0x00080201, "SH", "+1")]
    )
    assert not Matcher(query).tags
    assert matches(Attributes.from_items([]), query)


def test_sequences_match_by_an_item() -> None:
    def item(**codes: str) -> Attributes:
        return Attributes.from_items([(int(tag[1:], 16), "SH", code) for tag, code in codes.items()])

    tag = 0x00081032
    held = Attributes.from_items(
        [(tag, "SQ", (item(t00080100="A", t00080102="X"), item(t00080100="B", t00080102="Y")))]
    )

    def found(*items: Attributes) -> bool:
        return matches(held, Attributes.from_items([(tag, "SQ", items)]))

    assert found(item(t00080100="A"))
    assert found(item(t00080100="B", t00080102="*"))
    assert not found(item(t00080100="A", t00080102="Y"))
    assert found(item(t00080100=""))
    assert found()
    assert not matches(Attributes.from_items([]), Attributes.from_items([(tag, "SQ", (item(t00080100="A"),))]))


def test_universal_keys() -> None:
    assert is_universal("SQ", (Attributes.from_items([(TAG, "LO", "*")]),))
    assert not is_universal("SQ", (Attributes.from_items([(TAG, "LO", "a*")]),))
    assert value_matcher("LO", "***") is None
    assert is_universal("CS", ("", "*"))


def test_a_pattern_of_stars_takes_no_time() -> None:
    # Backtracking would take years.
    assert not accepts("LO", "*a" * 30 + "*b", "a" * 5000)


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\\"), max_size=12)
patterns = st.text(st.sampled_from("ab*?[].^$"), min_size=1, max_size=8)


@given(patterns, st.text(st.sampled_from("ab[].^$"), min_size=1, max_size=8))
def test_wildcards_as_fnmatch_has_them(pattern: str, text: str) -> None:
    expected = not pattern.strip("*") or fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))
    assert accepts("LO", pattern, text) is expected


@given(texts)
def test_every_text_matches_itself_and_a_star(text: str) -> None:
    if text.strip() and not set("*?") & set(text):
        assert accepts("LO", text, text)
        assert accepts("LO", f"{text}*", f"{text}more")


@given(texts.filter(lambda text: bool(text.strip("^= ")) and not set("*?=") & set(text)))
def test_names_match_whatever_the_case(name: str) -> None:
    name = name.strip("^ ")
    if name:
        assert accepts("PN", name.upper(), name.upper().lower().upper())
        assert accepts("PN", name, name + "^^")


dates = st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1))


@given(dates, dates, dates)
def test_ranges_of_dates(first: dt.date, last: dt.date, held: dt.date) -> None:
    begin, end, day = [f"{date:%Y%m%d}" for date in (first, last, held)]
    assert accepts("DA", f"{begin}-{end}", day) is (first <= held <= last)
    assert accepts("DA", f"{begin}-", day) is (first <= held)
    assert accepts("DA", f"-{end}", day) is (held <= last)
    assert accepts("DT", f"{begin}-{end}", f"{day}120000") is (first <= held <= last)


@given(st.datetimes(dt.datetime(1901, 1, 1), dt.datetime(2100, 1, 1)), st.integers(-12 * 4, 14 * 4))
def test_offsets_from_utc(moment: dt.datetime, quarters: int) -> None:
    local = moment + dt.timedelta(minutes=15 * quarters)
    sign, minutes = "-" if quarters < 0 else "+", abs(quarters) * 15
    text = f"{local:%Y%m%d%H%M%S}{sign}{minutes // 60:02d}{minutes % 60:02d}"
    assert accepts("DT", text, f"{moment:%Y%m%d%H%M%S}+0000")


@given(st.sampled_from(["DA", "TM", "DT", "LO", "PN", "UI", "IS", "DS"]), texts, texts)
def test_nothing_raises(vr: str, key: str, held: str) -> None:
    accepts(vr, key, held)
