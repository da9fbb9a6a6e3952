"""The keys of a query: which level each belongs to, whether it says anything, and what is asked for at each level.

PS3.4 section C.6 lists the keys of each level; section C.2.2.2 says how values are matched.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcm.attrs import Attributes, Value
from dcm.errors import QueryError
from dcm.levels import QueryLevel
from dcm.node import QueryModel
from dcm.query._elements import keyword_of, up_to
from dcm.text import safe_text

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "QUERY_RETRIEVE_LEVEL",
    "RETURN_KEYS",
    "SPECIFIC_CHARACTER_SET",
    "QueryKeys",
    "has_value",
    "level_in",
    "level_of",
    "parse_date",
    "uid_matches",
    "unique_key",
]

SPECIFIC_CHARACTER_SET = 0x00080005
QUERY_RETRIEVE_LEVEL = 0x00080052

RETURN_KEYS: dict[QueryLevel, tuple[tuple[int, str], ...]] = {
    QueryLevel.PATIENT: (
        (0x00100010, "PN"),  # PatientName
        (0x00100020, "LO"),  # PatientID
        (0x00100030, "DA"),  # PatientBirthDate
        (0x00100040, "CS"),  # PatientSex
        (0x00201200, "IS"),  # NumberOfPatientRelatedStudies
        (0x00201202, "IS"),  # NumberOfPatientRelatedSeries
        (0x00201204, "IS"),  # NumberOfPatientRelatedInstances
    ),
    QueryLevel.STUDY: (
        (0x00080020, "DA"),  # StudyDate
        (0x00080030, "TM"),  # StudyTime
        (0x00080050, "SH"),  # AccessionNumber
        (0x00080061, "CS"),  # ModalitiesInStudy
        (0x00081030, "LO"),  # StudyDescription
        (0x0020000D, "UI"),  # StudyInstanceUID
        (0x00200010, "SH"),  # StudyID
        (0x00201206, "IS"),  # NumberOfStudyRelatedSeries
        (0x00201208, "IS"),  # NumberOfStudyRelatedInstances
    ),
    QueryLevel.SERIES: (
        (0x00080021, "DA"),  # SeriesDate
        (0x00080031, "TM"),  # SeriesTime
        (0x00080060, "CS"),  # Modality
        (0x0008103E, "LO"),  # SeriesDescription
        (0x00180015, "CS"),  # BodyPartExamined
        (0x00181030, "LO"),  # ProtocolName
        (0x0020000E, "UI"),  # SeriesInstanceUID
        (0x00200011, "IS"),  # SeriesNumber
        (0x00201209, "IS"),  # NumberOfSeriesRelatedInstances
    ),
    QueryLevel.IMAGE: (
        (0x00080016, "UI"),  # SOPClassUID
        (0x00080018, "UI"),  # SOPInstanceUID
        (0x00083002, "UI"),  # AvailableTransferSyntaxUID
        (0x00200013, "IS"),  # InstanceNumber
    ),
}
"""What is asked for at each level, with and without being told to: tag and VR."""

# Where an object is kept, and how a record of it is to be read: of no level, or of any.
_NO_LEVEL = frozenset({SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL, 0x00080054, 0x00080056, 0x00080201, 0x00880130})
_NO_LEVEL_GROUPS = frozenset({0x0000, 0x0002})

_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})|(\d{4})\.(\d{2})\.(\d{2})", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3])(:?[0-5]\d(:?([0-5]\d|60)(\.\d{1,6})?)?)?", re.ASCII)


def level_in(tag: int, model: QueryModel) -> QueryLevel | None:
    """The level at which a model takes a key: the Study Root has the patient's keys at the STUDY level."""
    level = level_of(tag)
    return QueryLevel.STUDY if level is QueryLevel.PATIENT and model is QueryModel.STUDY_ROOT else level


@functools.lru_cache(maxsize=4096)
def level_of(tag: int) -> QueryLevel | None:
    """The level that a key belongs to; None for one that is of no level, and for private ones."""
    if tag in _NO_LEVEL or tag >> 16 & 1:
        return None
    return next(level for level in QueryLevel if level is QueryLevel.IMAGE or tag in up_to(level))


def unique_key(level: QueryLevel, value: Value) -> tuple[int, str, Value]:
    """The unique key of a level as an element."""
    return level.uid_tag, "LO" if level is QueryLevel.PATIENT else "UI", value


def has_value(value: Value) -> bool:
    """Whether a key is there to be matched; an empty one only asks for the attribute to be returned."""
    if isinstance(value, Attributes):
        return any(map(has_value, value.values()))
    if isinstance(value, tuple):
        return any(map(has_value, value))
    return value is not None and value != ""


def uid_matches(asked: Value, uid: str) -> bool:
    """Whether a unique key matches what was asked for: nothing, one value, a list, or a PatientID with wildcards."""
    if not has_value(asked):
        return True
    values = [str(one) for one in (asked if isinstance(asked, tuple) else (asked,))]
    return any(value == uid or fnmatch.fnmatchcase(uid, value.replace("[", "[[]")) for value in values)


def parse_date(text: str) -> dt.date | None:
    """A DA value (PS3.5 section 6.2), in the form of the ACR-NEMA standard too; None where it is none."""
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return dt.date(*[int(part) for part in match.groups() if part])
    except ValueError:
        return None


@dataclass(frozen=True)
class QueryKeys:
    """The keys that a user gives, sorted out.

    Attributes
    ----------
    items : Attributes
        The keys; one without a value is to be returned only.
    level : QueryLevel or None
        The QueryRetrieveLevel among them.
    charset : str
        The SpecificCharacterSet among them.
    """

    items: Attributes
    level: QueryLevel | None = None
    charset: str = ""

    @classmethod
    def of(cls, query: Dataset | Attributes | None) -> QueryKeys:
        """Sort out a query.

        Parameters
        ----------
        query : Dataset, Attributes or None
            Values match as PS3.4 section C.2.2.2 says: a single value, a list of UIDs, ``*`` and ``?`` in text, ranges
            ``a-b``, ``a-`` and ``-b`` of dates and times, sequences with one item of keys.

        Raises
        ------
        QueryError
            A date, a time or a range is none, a UID has wildcards, or the level is none.
        """
        if query is None:
            return cls(Attributes.from_items([]))
        record = query if isinstance(query, Attributes) else Attributes.from_dataset(query)
        items = Attributes.from_items(_checked(record))
        name = record.text(QUERY_RETRIEVE_LEVEL).strip().upper()
        if name and name not in QueryLevel.__members__:
            raise QueryError(f"no such QueryRetrieveLevel: {safe_text(name, 40)}", hint=_LEVEL_HINT)
        return cls(items, QueryLevel[name] if name else None, record.text(SPECIFIC_CHARACTER_SET))

    def finest(self, *, valued: bool) -> QueryLevel | None:
        """The finest level of a key, of those with a value or of all."""
        tags = [tag for tag, value in self.items.items() if not valued or has_value(value)]
        return max((level for level in map(level_of, tags) if level is not None), default=None)

    def choose_level(self, level: QueryLevel | None, earlier: QueryLevel | None) -> QueryLevel:
        """The level of the result: that asked for, else that of the keys, else that of an earlier result, else STUDY.

        An attribute that is only to be returned counts like one that has to match: it is only there at its own level.
        """
        finest = self.finest(valued=False)
        found = (one for one in (level, self.level, finest, earlier, QueryLevel.STUDY) if one is not None)
        return next(found)

    def check_returned(self, search_level: QueryLevel) -> None:
        """Raise QueryError for an attribute that is to be returned and that no answer at this level can have."""
        for tag in self.items:
            level = level_of(tag)
            if level is not None and level > search_level:
                raise QueryError(
                    f"{keyword_of(tag)} belongs to the {level.name} level: a query at the {search_level.name} level "
                    "cannot give it",
                    hint=f"ask at the {level.name} level",
                )

    def value(self, tag: int) -> Value:
        """What a key is to match; None where it is not given, or is to be returned only."""
        value = self.items.get(tag)
        return value if has_value(value) else None

    def elements(self, levels: Iterable[QueryLevel | None]) -> Iterator[tuple[int, str, Value]]:
        """Yield the keys of some levels, None meaning those of no level."""
        wanted = set(levels)
        return ((tag, vr, value) for tag, vr, value in self.items.elements() if level_of(tag) in wanted)


_LEVEL_HINT = "the levels are PATIENT, STUDY, SERIES and IMAGE"


def _checked(record: Attributes) -> Iterator[tuple[int, str, Value]]:
    for tag, vr, value in record.elements():
        if tag in (SPECIFIC_CHARACTER_SET, QUERY_RETRIEVE_LEVEL) or tag >> 16 in _NO_LEVEL_GROUPS:
            continue
        # One that matches all, written in full: some peers take it for a text that ends with a star.
        if isinstance(value, str) and value and not value.strip("*"):
            value = None
        if vr in ("DA", "TM", "UI") and has_value(value):
            _check_value(tag, vr, value)
        yield tag, vr, value


def _check_value(tag: int, vr: str, value: Value) -> None:
    name = keyword_of(tag)
    if vr == "UI":
        if set(str(value)) & set("*?"):
            raise QueryError(f"{name}: a UID is matched as a whole", hint="give it without * and ?")
        return
    if not isinstance(value, str):
        raise QueryError(f"{name}: only one value can be matched", hint="a range is written a-b")
    first, _, last = value.partition("-")
    ends = [end.strip() for end in (first, last) if end.strip()]
    pattern, form = (parse_date, "YYYYMMDD") if vr == "DA" else (_TIME.fullmatch, "HHMMSS")
    if not ends or not all(pattern(end) for end in ends):
        raise QueryError(
            f"{name}: not a {'date' if vr == 'DA' else 'time'} or a range: {safe_text(value, 40)}",
            hint=f"write {form}, {form}-{form}, {form}- or -{form}",
        )
    if len(ends) == 2 and _digits(vr, ends[0]) > _digits(vr, ends[1]):
        raise QueryError(f"{name}: the range {safe_text(value, 40)} ends before it starts")


def _digits(vr: str, text: str) -> str:
    """A date, or a time without its fraction, so that the order of texts is that of time."""
    return text.replace(".", "") if vr == "DA" else text.partition(".")[0].replace(":", "")
