"""Rules send what fulfils them to their destinations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcm.attrs import Attributes
from dcm.errors import RouteError, UndecidedError, UsageError
from dcm.filt import MultiSelector, parse_selector
from dcm.route import SelectorDestMap
from tests.data import data_set
from tests.route.objects import sinks

A, B, C = sinks("ABC")
MODALITY, DESCRIPTION = 0x00080060, 0x00081030


def record(modality: str | None = None, description: str | None = None) -> Attributes:
    return Attributes.from_items([(MODALITY, "CS", modality), (DESCRIPTION, "LO", description)])


def test_the_first_rule_that_matches_decides() -> None:
    rules = SelectorDestMap([("Modality == CT", [A]), ("StudyDescription ~= Night", [B, C])])
    assert rules(record("CT", "Night")) == (A,)
    assert rules(record("MR", "Night scan")) == (B, C)
    assert rules(data_set()) == (A,)
    assert rules.required_elems == {MODALITY, DESCRIPTION}
    assert rules.all_dests == (A, B, C)


def test_all_rules_that_match_decide_each_destination_once() -> None:
    rules = SelectorDestMap(
        [("Modality == CT", [B, A]), ("StudyDescription ~= Night", [A, C])], [C], stop_on_first=False
    )
    assert rules(record("CT", "Night")) == (B, A, C)
    assert rules(record("MR", "Day")) == (C,)


def test_what_no_rule_matches_is_an_error_unless_there_is_a_default() -> None:
    rules = [(parse_selector("Modality == CT"), [A])]
    with pytest.raises(RouteError, match="no rule matches"):
        SelectorDestMap(rules)(record("MR"))
    assert SelectorDestMap(rules, [B])(record("MR")) == (B,)
    assert SelectorDestMap(rules, ())(record("MR")) == ()
    assert SelectorDestMap(dict(rules), ())(record("CT")) == (A,)


def test_what_is_excluded_goes_nowhere() -> None:
    rules = SelectorDestMap([("Modality == CT", [A])], exclude=["StudyDescription == Test"])
    assert rules(record("CT", "Test")) == ()
    assert rules(record("MR", "Test")) == ()
    assert rules(record("CT", "Night")) == (A,)


def test_a_query_record_decides_as_far_as_it_tells() -> None:
    rules = SelectorDestMap([("Modality == CT", [A]), ("StudyDescription == X", [B])], exclude=["PatientID == TEST"])
    patient = Attributes.from_items([(0x00100020, "LO", "TEST")])
    assert rules.on_record(patient) == ()
    with pytest.raises(UndecidedError, match="Modality, StudyDescription"):
        rules.on_record(Attributes.from_items([(0x00100020, "LO", "P")]))
    with pytest.raises(UndecidedError, match="PatientID"):
        rules.on_record(record("CT"))


def test_a_value_that_cannot_be_compared_decides_nothing() -> None:
    rules = SelectorDestMap([("StudyDescription ~= a.*b.*c", [A])], [B])
    long = record(description="a" * 100_000)
    with pytest.raises(UndecidedError):
        rules.on_record(long)
    with pytest.raises(RouteError, match="too long to search"):
        rules(long)
    private = SelectorDestMap([("(0019,1010) > 5", [A])])
    odd = Attributes.from_items([(0x00191010, "DA", "20200101")])
    assert private(Attributes.from_items([(0x00191010, "IS", "6")])) == (A,)
    with pytest.raises(RouteError):
        private(odd)


def test_rules_without_anything_in_them() -> None:
    with pytest.raises(UsageError, match="nothing anywhere"):
        SelectorDestMap([])
    assert SelectorDestMap([], [A])(record()) == (A,)
    with pytest.raises(UsageError):
        SelectorDestMap([("Modalty == CT", [A])])


def test_each_rule_is_explained() -> None:
    rules = SelectorDestMap(
        [("Modality == CT", [A]), ("StudyDescription == Night", [B])], [C], exclude=["StudyDescription == Test"]
    )
    outcomes = rules.explain(record("CT", "Night"))
    assert [(one.rule, one.matches, one.used, one.excludes) for one in outcomes] == [
        ('StudyDescription == "Test"', False, True, True),
        ('Modality == "CT"', True, True, False),
        ('StudyDescription == "Night"', True, False, False),
        ("", False, False, False),
    ]
    assert outcomes[1].values == {"Modality": "CT"}
    default = rules.explain(record("MR"))[-1]
    assert (default.matches, default.dests) == (True, (C,))
    assert not any(one.used for one in rules.explain(record("CT", "Test"))[1:])


MODALITIES = st.sampled_from(["CT", "MR", ""])
DESCRIPTIONS = st.sampled_from(["Night", "Day", ""])
SELECTORS = st.sampled_from(
    [
        parse_selector("Modality == CT"),
        parse_selector("Modality != MR"),
        parse_selector("not StudyDescription == Night"),
        parse_selector("StudyDescription == ''"),
        MultiSelector([parse_selector("Modality == CT")], none_of=[parse_selector("StudyDescription == Day")]),
    ]
)
DESTS = st.lists(st.sampled_from([A, B, C]), max_size=2)


@given(
    st.lists(st.tuples(SELECTORS, DESTS), max_size=4),
    st.none() | DESTS,
    st.lists(SELECTORS, max_size=1),
    st.booleans(),
    MODALITIES,
    DESCRIPTIONS,
    st.booleans(),
    st.booleans(),
)
def test_what_is_decided_by_a_part_is_decided_by_the_whole(
    pairs: list[tuple[parse_selector, list[object]]],  # type: ignore[valid-type]
    default: list[object] | None,
    exclude: list[object],
    first: bool,
    modality: str,
    description: str,
    hide_modality: bool,
    hide_description: bool,
) -> None:
    try:
        rules = SelectorDestMap(pairs, default, exclude, first)  # type: ignore[arg-type]
    except UsageError:
        return
    whole = record(modality or None, description or None)
    part = record(None if hide_modality else modality or None, None if hide_description else description or None)
    try:
        decided: object = rules.on_record(part)
    except UndecidedError:
        return
    except RouteError as error:
        decided = error.message
    try:
        expected: object = rules(whole)
    except RouteError as error:
        expected = error.message
    assert decided == expected
