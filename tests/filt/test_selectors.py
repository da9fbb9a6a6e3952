"""Conditions on data sets, compared by the VR."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, config
from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag

from dcm.attrs import Attributes
from dcm.errors import InvalidDicomError, UndecidedError, UsageError
from dcm.filt import MultiSelector, SingleSelector, make_reject_filter, parse_selector
from dcm.text import safe_text
from tests.data import data_set


def with_values(**values: Any) -> Dataset:
    ds = data_set()
    for keyword, value in values.items():
        tag = Tag(keyword)
        ds[tag] = DataElement(tag, dictionary_VR(tag)[:2], value, validation_mode=config.IGNORE)
    return ds


@pytest.mark.parametrize(
    ("keyword", "value", "op", "rvalue", "selected"),
    [
        ("StudyDescription", "ProjectA", "==", "ProjectA", True),
        ("StudyDescription", "ProjectA ", "==", "ProjectA", True),
        ("StudyDescription", "ProjectAB", "==", "ProjectA", False),
        ("StudyDescription", "ProjectA", "!=", "ProjectA", False),
        ("StudyDescription", "b", ">", "a", True),
        # dates are dates
        ("StudyDate", "20201031", ">=", "2020-10-31", True),
        ("StudyDate", "20201031", ">", "20201031", False),
        ("StudyDate", "20201031", "<", "20210101", True),
        ("StudyDate", "20201399", "<", "20210101", False),
        ("StudyDate", "2020.10.31", "==", "20201031", True),
        ("StudyDate", "20201399", "!=", "20210101", True),
        ("StudyTime", "10", "==", "10:00:00", True),
        ("StudyTime", "101500.5", ">", "1015", True),
        ("StudyTime", "235960", ">", "235959", True),
        ("AcquisitionDateTime", "20201031120000+0200", "==", "20201031100000+0000", True),
        ("AcquisitionDateTime", "2020", "<", "20200101000001", True),
        # numbers are numbers
        ("SeriesNumber", "10", ">", 9, True),
        ("SeriesNumber", "007", "==", "7", True),
        ("SliceThickness", "1.50", "==", "1.5", True),
        ("SliceThickness", "1.5e0", "<=", 1.5, True),
        ("Rows", 512, "in", [256, "512"], True),
        ("RecommendedDisplayFrameRateInFloat", 0.1, "==", "0.1", True),
        ("RealWorldValueSlope", 0.1, "==", "0.1", True),
        ("FrameIncrementPointer", 0x00181063, "==", "FrameTime", True),
        ("FrameIncrementPointer", 0x00181063, "==", "(0018,1063)", True),
        # ages are ages
        ("PatientAge", "018M", "<", "2Y", True),
        ("PatientAge", "100W", ">", "2Y", False),
        # names have components and representations
        ("PatientName", "Dracula^Count", "==", "Dracula^Count", True),
        ("PatientName", "Yamada^Tarou=山田^太郎", "==", "山田^太郎", True),
        ("PatientName", "Yamada^Tarou=山田^太郎", "==", "Yamada^Tarou=山田^太郎", True),
        ("PatientName[0]", "Dracula^Count", "==", "Dracula", True),
        ("PatientName[1]", "Yamada^Tarou=山田^太郎", "==", "太郎", True),
        ("PatientName[4]", "Dracula^Count", "==", "", True),
        # of several values one is enough
        ("ImageType", ["ORIGINAL", "PRIMARY"], "==", "PRIMARY", True),
        ("ImageType", ["ORIGINAL", "PRIMARY"], "!=", "PRIMARY", False),
        ("ImageType", ["ORIGINAL", "PRIMARY"], "!=", "DERIVED", True),
        ("ImageType[0]", ["ORIGINAL", "PRIMARY"], "==", "PRIMARY", False),
        ("ImageType[-1]", ["ORIGINAL", "PRIMARY"], "==", "PRIMARY", True),
        ("ImageType[7]", ["ORIGINAL", "PRIMARY"], "==", "PRIMARY", False),
        ("Modality", "CT", "in", ["MR", "CT"], True),
        ("Modality", "CT", "in", ["MR"], False),
        ("PatientComments", "a\\b", "==", "a\\b", True),
        # patterns are searched for
        ("StudyDescription", "Head ProjectA", "~=", "Project[A-C]$", True),
        ("StudyDescription", "Head", "~=", "^ead", False),
        ("SeriesNumber", "17", "~=", "^1", True),
    ],
)
def test_compared_by_the_vr(keyword: str, value: Any, op: str, rvalue: Any, selected: bool) -> None:
    ds = with_values(**{keyword.partition("[")[0]: value})
    assert SingleSelector(keyword, op, rvalue)(ds) is selected
    assert SingleSelector(keyword, op, rvalue, invert=True)(ds) is not selected


@pytest.mark.parametrize(("op", "selected"), [("==", False), ("!=", True), ("<", False), (">=", False), ("~=", False)])
def test_what_is_missing_is_equal_to_nothing(op: str, selected: bool) -> None:
    for ds in (Dataset(), with_values(SliceThickness=None)):
        assert SingleSelector("SliceThickness", op, "1")(ds) is selected
        for invert in (False, True):
            assert not SingleSelector("SliceThickness", op, "1", invert, reject_missing=True)(ds)
        assert SingleSelector("SliceThickness", "==", "")(ds)
        assert not SingleSelector("SliceThickness", "!=", "")(ds)


def test_in_sequences_one_item_is_enough() -> None:
    ds = data_set()
    ds.RequestAttributesSequence = [Dataset(), Dataset()]
    ds.RequestAttributesSequence[1].ScheduledProcedureStepID = "7"
    assert SingleSelector("RequestAttributesSequence.ScheduledProcedureStepID", "==", "7")(ds)
    assert SingleSelector("RequestAttributesSequence[1].ScheduledProcedureStepID", "==", "7")(ds)
    assert not SingleSelector("RequestAttributesSequence[0].ScheduledProcedureStepID", "==", "7")(ds)
    assert not SingleSelector("RequestAttributesSequence[5].ScheduledProcedureStepID", "==", "7")(ds)


def test_private_elements_by_the_vr_that_they_have() -> None:
    ds = data_set()
    block = ds.private_block(0x0009, "ACME", create=True)
    block.add_new(1, "DS", "1.50")
    block.add_new(2, "LO", "text")
    assert SingleSelector("(0009,1001)", "==", "1.5")(ds)
    assert SingleSelector("(0009,1001)", "<", "10")(ds)
    assert SingleSelector("(0009,1002)", "==", "text")(ds)


def test_it_leaves_the_data_set_alone() -> None:
    ds = data_set()
    before = list(ds.elements())
    assert parse_selector("PatientName[0] == Dracula")(ds)
    assert all(now is then for now, then in zip(ds.elements(), before, strict=True))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("PatientNam", "==", "x"), "did you mean PatientName"),
        (("PatientName", "=", "x"), "there is no operator '='; there are == != <"),
        (("StudyDate", ">", "31.10.2020"), "StudyDate is compared with '31.10.2020': a date is YYYYMMDD"),
        (("SeriesNumber", "<", "x"), "it must be a number"),
        (("PatientAge", "<", "old"), "an age is"),
        (("PatientID", "<", ""), "only == and != compare with an empty value"),
        (("Modality", "in", "CT"), "it is no list"),
        (("PixelData", "==", "x"), "cannot be compared: its VR is OB or OW"),
        (("ProcedureCodeSequence", "==", "x"), "cannot be compared: its VR is SQ"),
        (("StudyDescription", "~=", "("), "is no regular expression"),
        (("StudyDescription", "~=", "(a+)+$"), "repeats what repeats or offers a choice"),
        (("StudyDescription", "~=", "(?x)(a+) +$"), "blanks that mean nothing"),
        (("StudyDescription", "~=", "(?ix:(a+) +)$"), "blanks that mean nothing"),
        (("StudyDescription", "~=", "(a|ab)*"), "repeats what repeats or offers a choice"),
        (("StudyDescription", "~=", "((a)*)*"), "repeats what repeats"),
        (("StudyDescription", "~=", "(a?){30}"), "repeats what repeats or offers a choice"),
        (("StudyDescription", "~=", ".*.*.*.*.*"), "5 repetitions and 0 choices: 4 and 8 are the most"),
        (("StudyDescription", "~=", "a?" * 25 + "a" * 25), "0 repetitions and 25 choices"),
        (("StudyDescription", "~=", "(a|a)" * 20), "0 repetitions and 20 choices"),
        (("StudyDescription", "~=", "a" * 501), "too long"),
        # what no data set could ever fulfil
        (("TransferSyntaxUID", "==", "1.2"), "is of the file meta information, and in no data set"),
        (("CommandField", "==", "1"), "is of the command"),
        (("Modality", "==", ["CT", "MR"]), "it is not one value; one of several is: in"),
        (("Modality", "~=", ["CT", "MR"]), "it is not one value"),
        (("Modality", "in", {"CT": 1}), "it is no list"),
        (("Modality", "in", [["CT"], "MR"]), "it is not one value"),
        (("Modality", "==", True), "neither text nor a number"),
        (("ImageType", "==", r"ORIGINAL\PRIMARY"), r"compared one by one; ImageType\[1\] is the second"),
    ],
)
def test_what_makes_no_sense_is_said_at_once(args: tuple[str, str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SingleSelector(*args)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^\(a+\)+$",
        "[(a+]+b",
        "a{2,3}",
        "a+?b*?",
        "(CT|MR) x?",
        "CT|MR|US",
        "(?:ab)+",
        r"\d+-\d+",
        "(a|b)c+",
        "[]a+]+",
        "x{2}",
    ],
)
def test_harmless_patterns_are_allowed(pattern: str) -> None:
    SingleSelector("StudyDescription", "~=", pattern)


@pytest.mark.parametrize(("pattern", "length"), [("a*b$", 4096), ("a*a*b$", 384), ("a*a*a*b", 128), ("a*a*a*a*b", 64)])
def test_a_value_is_searched_in_a_moment_or_not_at_all(pattern: str, length: int) -> None:
    selector = SingleSelector("PatientComments", "~=", pattern)
    assert not selector(with_values(PatientComments="a" * length))
    with pytest.raises(InvalidDicomError, match="too long to search it for"):
        selector(with_values(PatientComments="a" * (length + 1)))
    assert selector.decide(Attributes.from_items([(0x00104000, "LT", "a" * (length + 1))])) is None


def test_several_together() -> None:
    ct, mr, night = (parse_selector(f"{text}") for text in ("Modality == CT", "Modality == MR", "StudyDate > 20200101"))
    ds = data_set()
    assert MultiSelector(all_of=[ct, night])(ds)
    assert not MultiSelector(all_of=[ct, mr])(ds)
    assert MultiSelector(any_of=[mr, ct])(ds)
    assert not MultiSelector(none_of=[mr, ct])(ds)
    assert MultiSelector([night], [ct, mr], [mr])(ds)
    assert MultiSelector(none_of=[MultiSelector(all_of=[ct, mr])])(ds)
    assert MultiSelector([night], [ct, mr]).elems == {0x00080020, 0x00080060}
    with pytest.raises(UsageError, match="without a condition"):
        MultiSelector()


def test_selectors_are_values() -> None:
    assert parse_selector("Modality == CT") == SingleSelector("Modality", "==", "CT")
    assert len({parse_selector("Modality == CT"), SingleSelector("Modality", "==", "CT")}) == 1
    assert MultiSelector([parse_selector("Modality == CT")]) == MultiSelector([parse_selector("Modality == CT")])
    assert MultiSelector([parse_selector("Modality == CT")]) != MultiSelector([], [parse_selector("Modality == CT")])


LEAVES = st.sampled_from(["Modality == CT", "SeriesNumber < 5", "not Modality == CT", 'StudyID == ""'])
SELECTORS = st.recursive(
    LEAVES.map(parse_selector),
    lambda inner: st.builds(MultiSelector, st.lists(inner, min_size=1, max_size=2), st.lists(inner, max_size=2)),
    max_leaves=6,
)
RECORDS = st.fixed_dictionaries(
    {}, optional={0x00080060: st.sampled_from(["CT", "MR"]), 0x00200011: st.sampled_from(["1", "9"])}
)


@given(SELECTORS, RECORDS, st.sampled_from(["CT", "MR"]), st.sampled_from(["1", "9"]), st.sampled_from(["", "s"]))
def test_what_is_decided_by_a_record_is_true_of_the_data(
    selector: MultiSelector, known: dict[int, str], modality: str, number: str, study_id: str
) -> None:
    vrs = {0x00080060: "CS", 0x00200011: "IS"}
    record = Attributes.from_items([(tag, vrs[tag], value) for tag, value in known.items()])
    ds = Dataset()
    ds.Modality, ds.SeriesNumber = known.get(0x00080060, modality), known.get(0x00200011, number)
    ds.StudyID = study_id
    decided = selector.decide(record)
    assert decided in (None, selector(ds))


@pytest.mark.parametrize(
    "values",
    [
        [("RequestedProcedureID", "R1"), ("ScheduledProcedureStepID", None)],
        [("RequestedProcedureID", "R1")],
        [],
        None,
    ],
)
@pytest.mark.parametrize("op", ["==", "!="])
def test_what_an_item_of_an_answer_leaves_out_decides_nothing(
    op: str, values: list[tuple[str, str | None]] | None
) -> None:
    """An archive that answers with a sequence knows some of what is in its items."""
    selector = SingleSelector("RequestAttributesSequence.ScheduledProcedureStepID", op, "S1")
    whole = Attributes.from_items([(0x00400009, "SH", "S1")])
    known = [] if values is None else [Attributes.from_items([(Tag(k), "SH", v) for k, v in values])]
    for items in (known, [*known, whole], [whole, *known]):
        record = Attributes.from_items([(0x00400275, "SQ", tuple(items))])
        assert selector.decide(record) is (None if items != [whole] else op == "==")


def test_several_empty_values_decide_nothing() -> None:
    record = Attributes.from_items([(0x00081030, "LO", ("", ""))])
    assert SingleSelector("StudyDescription", "==", "X").decide(record) is None


def test_rejecting_by_what_no_instance_has() -> None:
    with pytest.raises(UsageError, match="ModalitiesInStudy is in the answers of archives only"):
        make_reject_filter(parse_selector("ModalitiesInStudy == MR"))


def test_rejecting() -> None:
    filt = make_reject_filter(parse_selector("Modality in [CT, MR]"))
    ds = data_set()
    assert filt(ds) is None
    assert filt(with_values(Modality="US")) is not None
    assert filt.read_elems == {0x00080060}
    assert filt.write_elems == set()
    ct, us = (Attributes.from_items([(0x00080060, "CS", value)]) for value in ("CT", "US"))
    assert filt.on_record(ct) is None
    assert filt.on_record(us) is us
    for record in (Attributes(), Attributes.from_items([(0x00080060, "CS", None)])):
        with pytest.raises(UndecidedError, match="depends on Modality, which the query result does not have"):
            filt.on_record(record)


@pytest.mark.parametrize(
    ("text", "attr", "op", "rvalue", "invert"),
    [
        ("StudyDescription == ProjectA", "StudyDescription", "==", "ProjectA", False),
        ("StudyDescription==Project A", "StudyDescription", "==", "Project A", False),
        ('  StudyDescription  ==  " a, \\"b\\" \\\\ "  ', "StudyDescription", "==", ' a, "b" \\ ', False),
        ("StudyDescription == 'a\\b'", "StudyDescription", "==", "a\\b", False),
        ("not Modality == CT", "Modality", "==", "CT", True),
        ("Modality in [CT, MR]", "Modality", "in", ["CT", "MR"], False),
        ("Modality in (CT,)", "Modality", "in", ["CT"], False),
        ("StudyDescription in [\"a, b\", 'c', d e]", "StudyDescription", "in", ["a, b", "c", "d e"], False),
        ("(0008,1030) ~= ^Pro.*[=<>]$", "(0008,1030)", "~=", "^Pro.*[=<>]$", False),
        ("StudyDate >= 20200101", "StudyDate", ">=", "20200101", False),
        ("StudyDate<20200101", "StudyDate", "<", "20200101", False),
        ('AccessionNumber == ""', "AccessionNumber", "==", "", False),
        ("PatientName[0] != Dracula", "PatientName[0]", "!=", "Dracula", False),
        ("StudyDescription == 'a == b'", "StudyDescription", "==", "a == b", False),
        ("StudyDescription == a=b>c", "StudyDescription", "==", "a=b>c", False),
    ],
)
def test_as_text(text: str, attr: str, op: str, rvalue: Any, invert: bool) -> None:
    selector = parse_selector(text)
    assert (selector.attr, selector.op, selector.rvalue, selector.invert) == (attr, op, rvalue, invert)
    assert parse_selector(str(selector)) == selector


@pytest.mark.parametrize(
    "text",
    [
        *("", "StudyDescription", "== x", "Modality in", "Modality in []", 'StudyID == "a', "StudyID in [a' b]"),
        # which would be compared with all of the rest as one text, and select nothing
        *("Modality == CT and BodyPartExamined == HEAD", "Modality == CT || Modality == MR", "Rows > 10 && Rows < 20"),
        "Modality ~= CT and not BodyPartExamined == HEAD",
    ],
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(UsageError):
        parse_selector(text)


@given(st.text())
def test_any_text_is_a_condition_or_a_usage_error(text: str) -> None:
    try:
        parse_selector(text)
    except UsageError as exc:
        message = str(exc)
        assert message == safe_text(message)


@given(st.text(max_size=30).filter(lambda text: text.strip(" ") == text))
def test_quotes_keep_every_text(text: str) -> None:
    selector = SingleSelector("StudyDescription", "==", text)
    assert parse_selector(str(selector)).rvalue == text
