"""Query results as JSON, there and back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from dcm.attrs import Attributes, Value
from dcm.errors import DcmError, InconsistentDataError, InvalidDicomError
from dcm.node import DcmNode
from dcm.query import QueryLevel, QueryProv, QueryResult
from dcm.text import safe_text
from tests.query.samples import STUDY, image, images, instance_sets, levels, result, studies, study

# What Attributes hold: no padding, no control characters, nothing that is not text.
chars = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=" \\=\0")
texts = st.text(chars, max_size=6)


def one_or_more(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values.filter(lambda value: value != "") | st.lists(values, min_size=2, max_size=3).map(tuple)


names = st.lists(texts, max_size=4).map("=".join).map(lambda name: name.rstrip("="))
numbers = st.integers().map(str) | st.floats().map(str) | st.sampled_from(["1.50", "+1", "-0", "007", "1e3", "12a", ""])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    **{vr: one_or_more(texts) for vr in ("AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UC", "UI")},
    **{vr: st.none() | texts.filter(bool) | st.just("a\\b") for vr in ("LT", "ST", "UT", "UR")},
    **{vr: one_or_more(numbers) for vr in ("IS", "DS")},
    **{vr: one_or_more(st.integers(0, 2**16 - 1)) for vr in ("US", "UL")},
    **{vr: one_or_more(st.integers(-(2**15), 2**15 - 1)) for vr in ("SS", "SL")},
    "UV": one_or_more(st.integers(0, 2**64 - 1)),
    "SV": one_or_more(st.integers(-(2**63), 2**63 - 1)),
    "AT": one_or_more(st.integers(0, 2**32 - 1)),
    **{vr: one_or_more(st.floats(allow_nan=False)) for vr in ("FL", "FD")},
    **{vr: st.none() | st.binary(max_size=8) for vr in ("OB", "OW", "OF", "OD", "OL", "OV", "UN")},
    "PN": one_or_more(names),
}
elements = st.sampled_from(sorted(VALUES)).flatmap(
    lambda vr: st.tuples(st.integers(0x00210000, 0xFFFFFFFF), st.just(vr), VALUES[vr])
)
records = st.recursive(
    st.lists(elements, max_size=4).map(Attributes.from_items),
    lambda children: st.lists(
        elements
        | st.tuples(st.integers(0x00210000, 0xFFFFFFFF), st.just("SQ"), st.lists(children, max_size=2).map(tuple)),
        max_size=3,
    ).map(Attributes.from_items),
    max_leaves=4,
)
places = st.none() | st.sampled_from(["mypacs", "dir/ä:fmt", DcmNode("::1", "A B", 104), DcmNode("host")])
provs = st.builds(QueryProv, places, st.none() | st.frozensets(st.sampled_from(["StudyDate", "Modality"])), places)


def exact(rec: Attributes) -> list[tuple[int, str, str]]:
    """All that a record holds, as text that tells 0.0 from -0.0 and one VR from another."""
    return [
        (tag, vr, repr([exact(item) for item in value] if vr == "SQ" and isinstance(value, tuple) else value))  # type: ignore[arg-type]
        for tag, vr, value in rec.elements()
    ]


@given(st.lists(records, max_size=4), provs)
def test_nothing_is_lost(recs: list[Attributes], prov: QueryProv) -> None:
    qr = QueryResult(STUDY, [rec.replace(study(f"1.{i}", i).elements()) for i, rec in enumerate(recs)], prov)
    back = QueryResult.from_json(qr.to_json())
    assert back == qr
    assert back.level == qr.level
    assert back.prov == prov
    assert list(map(exact, back.records())) == list(map(exact, qr.records()))
    assert QueryResult.from_json(qr.to_json().encode()).to_json() == qr.to_json()
    json.loads(qr.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@given(instance_sets, levels)
def test_every_level(numbers: frozenset[int], level: QueryLevel) -> None:
    qr = result(numbers, level)
    back = QueryResult.from_json(qr.to_json())
    assert back == qr
    assert list(back.uids()) == list(qr.uids())
    assert list(back.records()) == list(qr.records())


def test_the_document() -> None:
    qr = studies(study("1.2", 3).replace([(0x00100010, "PN", "Yamada^Tarou=山田^太郎")]))
    qr.prov = QueryProv(DcmNode("mypacs.org", "MYPACS", 104), ["StudyDate", "PatientID"], "path/to/dir")
    assert json.loads(qr.to_json()) == {
        "format": "dcm.query_result",
        "version": 1,
        "level": "STUDY",
        "prov": {
            "source": {"host": "mypacs.org", "ae_title": "MYPACS", "port": 104},
            "queried_elems": ["PatientID", "StudyDate"],
            "removed_existing_on": "path/to/dir",
        },
        "data_sets": [
            {
                "00080020": {"vr": "DA", "Value": ["20200101"]},
                "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]},
                "00100020": {"vr": "LO", "Value": ["P"]},
                "0020000D": {"vr": "UI", "Value": ["1.2"]},
                "00201208": {"vr": "IS", "Value": [3]},
            }
        ],
    }


@pytest.mark.parametrize(
    ("vr", "value", "encoded"),
    [
        ("LO", None, {}),
        ("LO", ("a", "", "b"), {"Value": ["a", None, "b"]}),
        ("IS", "007", {"Value": ["007"]}),
        ("DS", "1.50", {"Value": ["1.50"]}),
        ("AT", 0x0010000D, {"Value": ["0010000D"]}),
        ("UV", 2**64 - 1, {"Value": [str(2**64 - 1)]}),
        ("FD", (1.5, math.inf, -math.inf), {"Value": [1.5, "inf", "-inf"]}),
        ("OB", b"\x01\x02", {"InlineBinary": "AQI="}),
        (
            "SQ",
            (Attributes.from_items([(0x00080050, "SH", "X")]),),
            {"Value": [{"00080050": {"vr": "SH", "Value": ["X"]}}]},
        ),
        (
            "PN",
            ("A^B", "=山", "A==C"),
            {"Value": [{"Alphabetic": "A^B"}, {"Ideographic": "山"}, {"Alphabetic": "A", "Phonetic": "C"}]},
        ),
    ],
)
def test_the_dicom_json_model(vr: str, value: Value, encoded: dict[str, Any]) -> None:
    qr = studies(study("1").replace([(0x00211001, vr, value)]))
    (line,) = qr.json_lines()
    assert json.loads(line)["00211001"] == {"vr": vr, **encoded}
    assert QueryResult.from_json(qr.to_json()).to_json() == qr.to_json()


def test_nan_comes_back() -> None:
    qr = studies(study("1").replace([(0x00211001, "FD", math.nan)]))
    (rec,) = QueryResult.from_json(qr.to_json()).records()
    value = rec[0x00211001]
    assert isinstance(value, float)
    assert math.isnan(value)


def test_pydicom_reads_the_lines() -> None:
    ds = Dataset()
    ds.PatientID, ds.PatientName, ds.StudyInstanceUID, ds.NumberOfStudyRelatedInstances = "P", "Ä^B=山", "1.2", 7
    ds.ModalitiesInStudy = ["CT", "MR"]
    (line,) = QueryResult(STUDY, [ds]).json_lines()
    assert "\n" not in line
    back = Dataset.from_json(line)
    assert (back.PatientID, back.StudyInstanceUID, back.NumberOfStudyRelatedInstances) == ("P", "1.2", 7)
    assert back.PatientName == ds.PatientName
    assert list(back.ModalitiesInStudy) == ["CT", "MR"]


def test_what_others_write_is_read() -> None:
    document = json.loads(studies(study("1")).to_json())
    data_set = document["data_sets"][0]
    data_set.update(
        {
            "00211001": {"vr": "DS", "Value": [1.5, 2, "3.0"]},
            "00211000": {"vr": "IS", "Value": ["12"]},  # not in the order of the tags
            "0021100a": {"vr": "LO", "Value": []},
            "00211003": {"vr": "SQ", "Value": [{}, None]},
            "00211004": {"vr": "PN", "Value": ["A^B", None]},
            "00211005": {"vr": "FD", "Value": [1]},
            "00211006": {"vr": "LO", "Value": [None]},
            "00211007": {"vr": "OB"},
        }
    )
    document["extra"] = "of a later minor version"
    (rec,) = QueryResult.from_json(json.dumps(document, indent=2)).records()
    assert list(rec) == sorted(rec)
    assert rec[0x00211001] == ("1.5", "2", "3.0")
    assert rec[0x00211000] == "12"
    assert rec[0x0021100A] is rec[0x00211006] is rec[0x00211007] is None
    assert rec[0x00211003] == (Attributes(), Attributes())
    assert rec[0x00211004] == ("A^B", "")
    assert repr(rec[0x00211005]) == "1.0"


def test_a_lone_surrogate_does_not_stop_the_rest() -> None:
    qr = studies(study("1").replace([(0x00081030, "LO", "a\udc80"), (0x00211001, "PN", ("x", "\ud800^b"))]), study("2"))
    back = QueryResult.from_json(qr.to_json())
    assert back == qr
    assert back["1"].StudyDescription == "a?"


# --- garbage

GOOD = studies(study("1.2", 3)).to_json()


def with_element(key: str, element: object) -> str:
    document = json.loads(GOOD)
    document["data_sets"][0][key] = element
    return json.dumps(document)


def nested(depth: int) -> str:
    inner: dict[str, Any] = {}
    for _ in range(depth):
        inner = {"00081110": {"vr": "SQ", "Value": [inner]}}
    return with_element("00081110", {"vr": "SQ", "Value": [inner]})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "there is nothing in it"),
        (b" \n", "there is nothing in it"),
        ("[]", "Expected `object`"),
        ("{}", "missing required field `format`"),
        ("null", "Expected `object`"),
        ("2 patients | 3 studies", "Expected `object`"),
        ("patients", "JSON is malformed"),
        (b"\xff\xfe", "JSON is malformed"),
        ('"\ud800"', "surrogates not allowed"),
        (b'{"format": "\xff", "version": 1}', "invalid start byte|Invalid UTF-8"),
        ("[" * 100_000, "Expected `object`"),
        (GOOD[:-20], "truncated"),
        (GOOD.replace("dcm.query_result", "x\\u001b"), r"its format is 'x\\x1b'"),
        (
            GOOD.replace('"version":1', '"version":2'),
            "a query result of version 2, this dcm reads version 1; update dcm",
        ),
        (GOOD.replace('"version":1', '"version":"1"'), "Expected `int`"),
        (GOOD.replace("STUDY", "study"), "a query result without a level: 'study'"),
        (GOOD.replace('"source":null', '"source":{"host":"","ae_title":"A","port":1}'), "not a query result: "),
        (GOOD.replace('"source":null', '"source":7'), "source"),
        (GOOD.replace('"queried_elems":null', '"queried_elems":[7]'), "queried_elems"),
        (GOOD.replace('"data_sets":[', '"data_sets":[7,'), "data set 1 of a query result"),
        (GOOD.replace('"data_sets":[', '"data_sets":[{},'), "STUDY level has no StudyInstanceUID"),
        (GOOD.replace("0020000D", "0020000E"), "no StudyInstanceUID"),
        (with_element("Patient", {"vr": "LO"}), "'Patient' is no tag"),
        (with_element("0x100010", {"vr": "LO"}), "'0x100010' is no tag"),
        (with_element("00211001", "text"), "data set 1 of a query result"),
        (with_element("00211001", {"Value": ["x"]}), "missing required field `vr`"),
        (with_element("00211001", {"vr": "XX", "Value": ["x"]}), r"\(0021,1001\): there is no VR 'XX'"),
        (with_element("00211001", {"vr": "LO", "Value": [7]}), "not a text: 7"),
        (with_element("00211001", {"vr": "LO", "Value": "x"}), "Expected `array"),
        (with_element("00211001", {"vr": "LO", "InlineBinary": "AA=="}), "a LO is no InlineBinary"),
        (with_element("00211001", {"vr": "OB", "InlineBinary": "A"}), r"\(0021,1001\)"),
        (with_element("00211001", {"vr": "OB", "Value": [1]}), "a OB is InlineBinary, not Value"),
        (with_element("00211001", {"vr": "OB", "BulkDataURI": "x"}), "elsewhere"),
        (with_element("00211001", {"vr": "US", "Value": [1.5]}), "not an integer: 1.5"),
        (with_element("00211001", {"vr": "US", "Value": [True]}), "not an integer: True"),
        (with_element("00211001", {"vr": "US", "Value": ["x"]}), r"\(0021,1001\)"),
        (with_element("00211001", {"vr": "FD", "Value": ["1"]}), "not a number: '1'"),
        (with_element("00211001", {"vr": "AT", "Value": [1]}), "not a tag: 1"),
        (with_element("00211001", {"vr": "PN", "Value": [{"Alphabetic": 7}]}), "not a text: 7"),
        (with_element("00211001", {"vr": "SQ", "Value": [7]}), r"\(0021,1001\)"),
        (with_element("00211001", {"vr": "SQ", "Value": [{"x": {"vr": "LO"}}]}), "'x' is no tag"),
        (nested(80), "deep"),
        (GOOD.replace('"STUDY"', "[" * 100_000), "recursion"),
        (GOOD.replace('"data_sets":[', '"data_sets":[' + '{"00081110":[' * 50_000), "recursion"),
    ],
)
def test_garbage_is_refused_in_one_line(document: str | bytes, message: str) -> None:
    with pytest.raises(InvalidDicomError, match=message) as caught:
        QueryResult.from_json(document)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


def test_sequences_as_deep_as_dcm_reads_them() -> None:
    assert len(QueryResult.from_json(nested(63))) == 1


def test_a_document_that_contradicts_itself() -> None:
    document = json.loads(images([0, 1]).to_json())
    document["data_sets"][1]["00100020"]["Value"] = ["Other"]
    with pytest.raises(InconsistentDataError, match=r"study 1\.1\.0 is in two patients"):
        QueryResult.from_json(json.dumps(document))


@given(
    st.binary()
    | st.text()
    | st.integers(0, len(GOOD)).flatmap(lambda i: st.text().map(lambda t: GOOD[:i] + t + GOOD[i + 1 :]))
)
def test_anything_else_raises_ours(document: str | bytes) -> None:
    caught = None
    try:
        QueryResult.from_json(document)
    except DcmError as exc:
        caught = exc
    assert caught is None or safe_text(caught) == str(caught)


def test_repeated_texts_are_held_once() -> None:
    qr = QueryResult.from_json(images(range(8)).to_json())
    assert len({id(rec[0x00100010]) for rec in qr.records()}) == 1
    assert list(qr.records()) == list(map(image, range(8)))
