"""A small archive whose hierarchy follows from the numbers of its instances, and records of it at every level."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from hypothesis import strategies as st

from dcm.attrs import Attributes, Value
from dcm.query import QueryLevel, QueryResult
from dcm.query._counts import COUNT_TAGS

PATIENT, STUDY, SERIES, IMAGE = QueryLevel

TAGS = {
    "Modality": (0x00080060, "CS"),
    "StudyDate": (0x00080020, "DA"),
    "StudyTime": (0x00080030, "TM"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "SeriesDescription": (0x0008103E, "LO"),
    "PatientName": (0x00100010, "PN"),
    "PatientID": (0x00100020, "LO"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
    "SeriesNumber": (0x00200011, "IS"),
    "InstanceNumber": (0x00200013, "IS"),
    "NumberOfPatientRelatedStudies": (0x00201200, "IS"),
    "NumberOfPatientRelatedInstances": (0x00201204, "IS"),
    "NumberOfStudyRelatedSeries": (0x00201206, "IS"),
    "NumberOfStudyRelatedInstances": (0x00201208, "IS"),
    "NumberOfSeriesRelatedInstances": (0x00201209, "IS"),
    "Rows": (0x00280010, "US"),
}

N_INSTANCES = 24  # 12 series, 6 studies, 3 patients
instance_sets = st.frozensets(st.integers(0, N_INSTANCES - 1))
levels = st.sampled_from(QueryLevel)


def record(**attributes: Value) -> Attributes:
    """A record by keyword."""
    return Attributes.from_items([(*TAGS[keyword], value) for keyword, value in attributes.items()])


def uids_of(number: int) -> tuple[str, ...]:
    """The path of an instance by its number."""
    return f"P{number // 8}", f"1.1.{number // 4}", f"1.2.{number // 2}", f"1.3.{number}"


def image(number: int) -> Attributes:
    """The record of an instance by its number."""
    patient, study, series, instance = uids_of(number)
    return record(
        PatientID=patient,
        PatientName=f"Name^{patient}",
        StudyInstanceUID=study,
        StudyDate=f"202001{number // 4 + 1:02d}",
        StudyTime="120000",
        SeriesInstanceUID=series,
        SeriesNumber=str(number // 2 % 2 + 1),
        SeriesDescription="Teeth",
        Modality="CT",
        SOPInstanceUID=instance,
        InstanceNumber=str(number % 2 + 1),
        Rows=512,
    )


def images(numbers: Iterable[int]) -> QueryResult:
    """A result at IMAGE level."""
    return QueryResult(IMAGE, map(image, numbers))


def result(numbers: Iterable[int], level: QueryLevel) -> QueryResult:
    """A result with these instances at any level, with all counts."""
    return images(numbers).reduced(level)


def uncounted(numbers: Iterable[int], level: QueryLevel) -> QueryResult:
    """The same from a peer that reports no counts."""
    return QueryResult(level, (rec.without(set(COUNT_TAGS.values())) for rec in result(numbers, level).records()))


def nodes(numbers: Collection[int], level: QueryLevel) -> set[str]:
    """The unique keys at a level of some instances."""
    return {uids_of(number)[level] for number in numbers}


def study(uid: str, n_instances: int | None = None, n_series: int | None = None, patient: str = "P") -> Attributes:
    """A record at STUDY level."""
    rec = record(PatientID=patient, StudyInstanceUID=uid, StudyDate="20200101")
    items: list[tuple[int, str, Value]] = []
    if n_series is not None:
        items.append((*TAGS["NumberOfStudyRelatedSeries"], str(n_series)))
    if n_instances is not None:
        items.append((*TAGS["NumberOfStudyRelatedInstances"], str(n_instances)))
    return rec.replace(items)


def studies(*records: Attributes) -> QueryResult:
    """A result at STUDY level."""
    return QueryResult(STUDY, records)


def in_study(uid: str, n_instances: int, first: int = 0) -> QueryResult:
    """A result at IMAGE level with so many instances of one study, ten in each series."""
    return QueryResult(
        IMAGE,
        [
            record(
                PatientID="P",
                StudyInstanceUID=uid,
                SeriesInstanceUID=f"{uid}.{i // 10}",
                SOPInstanceUID=f"{uid}.{i // 10}.{i}",
            )
            for i in range(first, first + n_instances)
        ],
    )
