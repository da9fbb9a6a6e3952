"""What is known of elements by heart agrees with pydicom's dictionary."""

from __future__ import annotations

from pydicom.datadict import keyword_for_tag

from dcm.keywords import USUAL_KEYWORDS, keyword_of
from dcm.query._keys import RETURN_KEYS


def test_the_usual_keywords_are_those_of_the_dictionary() -> None:
    assert {tag: keyword_for_tag(tag) for tag in USUAL_KEYWORDS} == USUAL_KEYWORDS


def test_all_that_every_query_asks_for_is_usual() -> None:
    asked = {tag for keys in RETURN_KEYS.values() for tag, _ in keys}
    assert asked <= USUAL_KEYWORDS.keys()


def test_a_keyword_or_a_tag() -> None:
    assert keyword_of(0x00180050) == "SliceThickness"
    assert keyword_of(0x00091001) == "(0009,1001)"
