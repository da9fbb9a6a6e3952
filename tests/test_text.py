"""Nothing that a peer sends acts on a terminal, a log or a spreadsheet."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.text import csv_cell, plural, safe_text

any_text = st.text(st.characters(), max_size=40)  # surrogates included
nasty_text = st.text(
    st.sampled_from("aé山=+-@ \t\r\n\x00\x1b\x7f\x9b\xad\u200d\u2028\u202e\u2066\ufeff\ud800"), max_size=20
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Vamp001", "Vamp001"),
        ("Dracula^Count=吸血鬼^伯爵", "Dracula^Count=吸血鬼^伯爵"),
        ("山田　太郎", "山田　太郎"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("ORIGINAL\\PRIMARY", "ORIGINAL\\PRIMARY"),
        ("[red]x[/red]", "[red]x[/red]"),
        ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        ("a\r\nINFO all is well\t", "a\\r\\nINFO all is well\\t"),
        ("a\u2028b\u2029c\x85d", "a\\u2028b\\u2029c\\x85d"),
        ("\x9b31m", "\\x9b31m"),
        ("fdp.\u202egnp", "fdp.\\u202egnp"),
        ("pass\u200bword\ufeff\xad", "pass\\u200bword\\ufeff\\xad"),
        ("M\ufffdller", "M\ufffdller"),
        ("\ud800x\udcff", "\\ud800x\\udcff"),
        ("\U000e0041", "\\U000e0041"),
        (b"STORESCP \x1b\xff", "STORESCP \\x1b\\xff"),
        (memoryview(b"AE"), "AE"),
        (None, ""),
        (42, "42"),
        (Path("/data/\x1bx"), "/data/\\x1bx"),
        (ValueError("bad\nvalue"), "bad\\nvalue"),
    ],
)
def test_safe_text_shows_what_would_act(value: object, shown: str) -> None:
    assert safe_text(value) == shown


@given(any_text | nasty_text)
def test_safe_text_is_one_printable_line(value: str) -> None:
    shown = safe_text(value)
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(char) for char in shown} & {
        "LRO",
        "RLO",
        "LRE",
        "RLE",
        "PDF",
        "LRI",
        "RLI",
        "FSI",
    }
    assert safe_text(shown) == shown


@given(any_text | nasty_text, st.integers(-2, 30))
def test_safe_text_keeps_to_its_limit(value: str, limit: int) -> None:
    whole, cut = safe_text(value), safe_text(value, limit)
    assert len(cut) <= max(limit, 0)
    if len(whole) <= limit:
        assert cut == whole
    elif limit > 0:
        assert cut.endswith("…")
        assert whole.startswith(cut[:-1])


def test_a_cut_does_not_split_an_escape() -> None:
    assert safe_text("abc\x1bdef", 6) == "abc…"
    assert safe_text("a" * 1_000_000, 5) == "aaaa…"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1+2", "'+1+2"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1+1", "'  =1+1"),
        ("＝1+1", "'＝1+1"),
        ("\t=1", "\\t=1"),
        ("-", "'-"),
        ("-1.5", "-1.5"),
        ("+3", "+3"),
        ("-1e-3", "-1e-3"),
        (-7, "-7"),
        ("20201031", "20201031"),
        ("a=b", "a=b"),
        (None, ""),
    ],
)
def test_csv_cell_begins_no_formula(value: object, cell: str) -> None:
    assert csv_cell(value) == cell


@given(any_text | nasty_text)
def test_csv_cell_survives_a_csv_file(value: str) -> None:
    stream = io.StringIO()
    csv.writer(stream).writerow([csv_cell(value), "next"])
    rows = list(csv.reader(io.StringIO(stream.getvalue())))
    assert rows == [[csv_cell(value), "next"]]


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (1, "instance", "1 instance"),
        (0, "instance", "0 instances"),
        (2, "study", "2 studies"),
        (1, "study", "1 study"),
        (3, "series", "3 series"),
        (2, "query", "2 queries"),
        (2, "class", "2 classes"),
        (2, "day", "2 days"),
        (17174, "file", "17174 files"),
    ],
)
def test_plural(count: int, noun: str, text: str) -> None:
    assert plural(count, noun) == text
