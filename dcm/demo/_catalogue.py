"""What the demo's archive holds and what it answers: the query/retrieve information models (PS3.4 annex C)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dcm.demo._match import element_matches, values_of
from dcm.levels import QueryLevel

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

__all__ = ["Catalogue", "Holding", "IdentifierError"]

_PATIENT_KEYWORDS = (
    "PatientName PatientID IssuerOfPatientID PatientBirthDate PatientBirthTime PatientSex OtherPatientIDs "
    "EthnicGroup PatientComments"
)
_STUDY_KEYWORDS = (
    "StudyInstanceUID StudyID StudyDate StudyTime AccessionNumber StudyDescription ReferringPhysicianName PatientAge "
    "PatientSize PatientWeight AdmittingDiagnosesDescription NameOfPhysiciansReadingStudy"
)
_SERIES_KEYWORDS = (
    "SeriesInstanceUID SeriesNumber SeriesDescription SeriesDate SeriesTime Modality ProtocolName BodyPartExamined "
    "Laterality Manufacturer ManufacturerModelName StationName InstitutionName OperatorsName PerformingPhysicianName "
    "PerformedProcedureStepStartDate PerformedProcedureStepStartTime PerformedProcedureStepDescription"
)
# Whatever is not listed here is an attribute of an instance.
_LEVELS = {
    keyword: level
    for level, keywords in enumerate((_PATIENT_KEYWORDS, _STUDY_KEYWORDS, _SERIES_KEYWORDS))
    for keyword in keywords.split()
}
# Attributes that are counted, not held: the level that they belong to, and the level that is counted (PS3.4 C.3.4).
_COUNTS = {
    "NumberOfPatientRelatedStudies": (QueryLevel.PATIENT, QueryLevel.STUDY),
    "NumberOfPatientRelatedSeries": (QueryLevel.PATIENT, QueryLevel.SERIES),
    "NumberOfPatientRelatedInstances": (QueryLevel.PATIENT, QueryLevel.IMAGE),
    "NumberOfStudyRelatedSeries": (QueryLevel.STUDY, QueryLevel.SERIES),
    "NumberOfStudyRelatedInstances": (QueryLevel.STUDY, QueryLevel.IMAGE),
    "NumberOfSeriesRelatedInstances": (QueryLevel.SERIES, QueryLevel.IMAGE),
}
# Attributes that collect what a study's series and instances have: Modality and SOP Class UID.
_COLLECTED = {"ModalitiesInStudy": 0x00080060, "SOPClassesInStudy": 0x00080016}
_ABOUT_THE_ANSWER = frozenset({"QueryRetrieveLevel", "SpecificCharacterSet", "RetrieveAETitle", "InstanceAvailability"})


class IdentifierError(Exception):
    """An identifier that the information model does not allow (status 0xA900, PS3.4 sections C.4.1.1.4, C.4.2.1.5)."""


@dataclass(frozen=True, eq=False)
class Holding:
    """One instance that the archive holds: its file, and its data set without the pixel data."""

    path: Path
    header: Dataset

    def uid(self, level: QueryLevel) -> str:
        """Its unique key at a level."""
        return str(self.header.get(level.uid_keyword, ""))

    def identity(self, level: QueryLevel) -> tuple[str, ...]:
        """Its unique keys from the patient down to a level."""
        return tuple(self.uid(above) for above in QueryLevel if above <= level)


class Catalogue:
    """Instances by their identity. Threads may search it while another adds."""

    def __init__(self) -> None:
        self._holdings: dict[str, Holding] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._holdings)

    def add(self, path: Path) -> Holding:
        """Take a file into the catalogue; an instance with the same UID is replaced.

        Raises
        ------
        pydicom.errors.InvalidDicomError
            It is no DICOM file.
        """
        from pydicom import dcmread

        holding = Holding(path, dcmread(path, stop_before_pixels=True))
        with self._lock:
            self._holdings[holding.uid(QueryLevel.IMAGE)] = holding
        return holding

    def count(self, level: QueryLevel) -> int:
        """How many patients, studies, series or instances there are."""
        return len({holding.identity(level) for holding in self._all()})

    def find(self, identifier: Dataset, root: QueryLevel) -> Iterator[Dataset]:
        """Answer a hierarchical C-FIND (PS3.4 section C.4.1.3.1).

        Parameters
        ----------
        identifier : Dataset
            What is asked for.
        root : QueryLevel
            The highest level of the information model: PATIENT or STUDY.

        Yields
        ------
        Dataset
            One for each patient, study, series or instance that matches, sorted by its identity.

        Raises
        ------
        IdentifierError
            A level or a unique key is missing.
        """
        level = _level(identifier, root)
        _check_unique_keys(identifier, [parent for parent in QueryLevel if root <= parent < level])
        holdings = self._all()
        entities: dict[tuple[str, ...], list[Holding]] = {}
        for holding in holdings:
            entities.setdefault(holding.identity(level), []).append(holding)
        for _, members in sorted(entities.items()):
            answer = _answer(identifier, level, members[0], holdings)
            if answer is None:
                continue
            for key in QueryLevel:
                if root <= key <= level:
                    setattr(answer, key.uid_keyword, members[0].uid(key))
            yield answer

    def select(self, identifier: Dataset, root: QueryLevel) -> list[Holding]:
        """The instances that a C-MOVE or C-GET asks for (PS3.4 section C.4.2.2.1).

        Raises
        ------
        IdentifierError
            A level or a unique key is missing.
        """
        level = _level(identifier, root)
        keys = [key for key in QueryLevel if root <= key <= level]
        _check_unique_keys(identifier, keys[:-1])
        _check_unique_keys(identifier, keys[-1:], several=True)
        wanted = {key: set(values_of(identifier[key.uid_tag])) for key in keys}
        return [holding for holding in self._all() if all(holding.uid(key) in wanted[key] for key in keys)]

    def _all(self) -> list[Holding]:
        with self._lock:
            return list(self._holdings.values())


def _level(identifier: Dataset, root: QueryLevel) -> QueryLevel:
    name = str(identifier.get("QueryRetrieveLevel", ""))
    if name not in QueryLevel.__members__ or QueryLevel[name] < root:
        raise IdentifierError(f"no such level: {name!r}")
    return QueryLevel[name]


def _check_unique_keys(identifier: Dataset, levels: Iterable[QueryLevel], *, several: bool = False) -> None:
    """Each of the levels needs its unique key, without wildcards, and with one value or, where allowed, several."""
    for level in levels:
        values = [value for value in values_of(identifier.get(level.uid_tag)) if value]
        if not values or (len(values) > 1 and not several) or any(set("*?") & set(value) for value in values):
            raise IdentifierError(f"no unambiguous {level.uid_keyword}")


def _answer(identifier: Dataset, level: QueryLevel, holding: Holding, holdings: Sequence[Holding]) -> Dataset | None:
    """What is answered for the entity that an instance stands for; None where it does not match.

    A key of a finer level than the one asked for neither matches nor is answered, as if it were not supported.
    """
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    answer = Dataset()
    answer.SpecificCharacterSet = "ISO_IR 192"
    answer.QueryRetrieveLevel = level.name
    answer.InstanceAvailability = "ONLINE"
    for key in identifier:
        if key.keyword in _ABOUT_THE_ANSWER or _level_of(key) > level:
            continue
        held = _held(key, holding, holdings)
        if not element_matches(key, held):
            return None
        answer[key.tag] = DataElement(key.tag, key.VR, None) if held is None or held.VR == "SQ" else held
    return answer


def _level_of(key: DataElement) -> QueryLevel:
    if key.keyword in _COUNTS:
        return _COUNTS[key.keyword][0]
    if key.keyword in _COLLECTED:
        return QueryLevel.STUDY
    return QueryLevel(_LEVELS.get(key.keyword, QueryLevel.IMAGE))


def _held(key: DataElement, holding: Holding, holdings: Sequence[Holding]) -> DataElement | None:
    """What the archive holds, counts or collects for a key."""
    from pydicom.dataelem import DataElement

    if key.keyword in _COUNTS:
        return DataElement(key.tag, key.VR, _count(*_COUNTS[key.keyword], holding, holdings))
    if key.keyword in _COLLECTED:
        return DataElement(key.tag, key.VR, _collected(_COLLECTED[key.keyword], holding, holdings))
    return holding.header.get(key.tag)


def _count(owner: QueryLevel, counted: QueryLevel, holding: Holding, holdings: Sequence[Holding]) -> int:
    own = holding.identity(owner)
    return len({other.identity(counted) for other in holdings if other.identity(owner) == own})


def _collected(tag: int, holding: Holding, holdings: Sequence[Holding]) -> list[str]:
    own = holding.identity(QueryLevel.STUDY)
    values = (values_of(other.header.get(tag)) for other in holdings if other.identity(QueryLevel.STUDY) == own)
    return sorted({value for several in values for value in several})
