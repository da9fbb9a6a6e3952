"""What was asked for and what came, without a network."""

from __future__ import annotations

import pytest

from dcm.instance import Instance
from dcm.levels import QueryLevel
from dcm.net._ledger import Ledger
from dcm.net._units import Unit, identifier_for, units_of
from dcm.node import QueryModel
from tests import data
from tests.net.support import result_of


def instance(sample: data.Sample, body: bytes | None = None, uid: str = "") -> Instance:
    return Instance.from_buffer(
        sample.sop_class_uid,
        uid or sample.sop_instance_uid,
        sample.transfer_syntax_uid,
        sample.data_set_bytes if body is None else body,
    )


@pytest.fixture
def series(samples: list[data.Sample]) -> list[data.Sample]:
    return [sample for sample in samples if sample.series_uid == samples[3].series_uid]


@pytest.fixture
def unit(series: list[data.Sample]) -> Unit:
    (found,) = units_of(result_of(series).records(), whole_series=True)
    return found


def test_each_that_was_asked_for_counts_once(series: list[data.Sample], unit: Unit) -> None:
    ledger = Ledger()
    ledger.open(unit)
    assert set(ledger.missing(unit)) == {sample.sop_instance_uid for sample in series}
    for sample in series:
        verdict = ledger.judge(instance(sample))
        assert (verdict.kind, verdict.series_uid) == ("", sample.series_uid)
        assert ledger.judge(instance(sample)).kind == "duplicate"
    assert ledger.missing(unit) == []


def test_what_was_not_asked_for(samples: list[data.Sample], series: list[data.Sample], unit: Unit) -> None:
    ledger = Ledger()
    assert ledger.judge(instance(series[0])).kind == "unexpected"
    ledger.open(unit)
    assert ledger.judge(instance(samples[0])).kind == "unexpected"
    ledger.close(unit)
    assert ledger.judge(instance(series[1])).kind == "unexpected"


def test_what_is_not_what_it_says(samples: list[data.Sample], series: list[data.Sample], unit: Unit) -> None:
    bodies = {
        "another SOP instance UID": series[1].data_set_bytes,
        "another study or series": samples[0].data_set_bytes.replace(
            samples[0].sop_instance_uid.encode(), series[0].sop_instance_uid.encode()
        ),
        "cut short": series[0].data_set_bytes[:-50],
        "cannot be read|another SOP": b"\x02\x03" * 300,
    }
    import re

    for message, body in bodies.items():
        ledger = Ledger()
        ledger.open(unit)
        verdict = ledger.judge(instance(series[0], body))
        assert verdict.kind == "inconsistent"
        assert re.search(message, verdict.message)
        # It came: there is no use in asking for it again.
        assert series[0].sop_instance_uid not in ledger.missing(unit)


def test_a_study_whose_instances_nobody_named(samples: list[data.Sample]) -> None:
    study = Unit(QueryLevel.STUDY, samples[0].patient_id, samples[0].study_uid)
    assert study.open_ended
    ledger = Ledger()
    ledger.open(study)
    inside = [sample for sample in samples if sample.study_uid == study.study_uid]
    for sample in samples:
        assert ledger.judge(instance(sample)).kind == ("" if sample in inside else "unexpected")
    assert ledger.taken(study) == len(inside)
    ledger.close(study)


def test_units_and_their_identifiers(samples: list[data.Sample]) -> None:
    units = units_of(result_of(samples).records(), whole_series=True)
    assert {unit.series_uid for unit in units} == {sample.series_uid for sample in samples}
    for unit in units:
        identifier = identifier_for(unit, QueryModel.PATIENT_ROOT)
        assert identifier.text(0x00080052) == "SERIES"
        assert identifier.text(0x00100020) == unit.patient_id
        assert 0x00080018 not in identifier
        assert 0x00100020 not in identifier_for(unit, QueryModel.STUDY_ROOT)
    parts = units_of(result_of(samples[:2]).records(), whole_series=False)
    assert [part.level for part in parts] == [QueryLevel.IMAGE]
    wanted = identifier_for(parts[0], QueryModel.STUDY_ROOT).text(0x00080018)
    assert wanted == "\\".join(sample.sop_instance_uid for sample in samples[:2])


def test_long_lists_are_divided() -> None:
    unit = Unit(QueryLevel.SERIES, "P", "1.2", "1.2.3", {f"1.2.3.{n}": "1.2" for n in range(950)})
    parts = list(unit.finer(unit.expected))
    assert sum(len(part.expected) for part in parts) == 950
    assert max(len(part.expected) for part in parts) <= 200
