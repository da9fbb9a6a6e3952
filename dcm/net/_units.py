"""What to ask a peer for, in which portions: pure decisions of a retrieval.

A unit is a series, or some instances of one: small enough to be asked for again cheaply, and to be fetched beside
others on another association; every archive knows both requests (PS3.4 section C.4.3).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dcm.attrs import Attributes
from dcm.levels import QueryLevel
from dcm.node import QueryModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Unit", "identifier_for", "units_of"]

_PATIENT_ID, _STUDY_UID, _SERIES_UID, _SOP_UID = 0x00100020, 0x0020000D, 0x0020000E, 0x00080018
_SOP_CLASS, _LEVEL, _MODALITY = 0x00080016, 0x00080052, 0x00080060
# A list of UIDs must stay well below the 64 KiB that some archives give an identifier.
_MOST_UIDS = 200
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass
class Unit:
    """One request for instances of one series, or of a study or series whose instances nobody named.

    Attributes
    ----------
    level : QueryLevel
        STUDY, SERIES or IMAGE: of the request.
    patient_id, study_uid, series_uid : str
        Where it is; `series_uid` is empty at STUDY level.
    expected : dict of str to str
        SOP instance UID to SOP class UID (empty where the peer does not say) of what must come. Empty where the
        instances are not known: then anything from there is taken, and completeness stays unknown.
    modality : str
        That of the series, where it is known; it tells what the SOP classes may be where the peer does not.
    again : bool
        Whether it was asked for before, in vain.
    """

    level: QueryLevel
    patient_id: str
    study_uid: str
    series_uid: str = ""
    expected: dict[str, str] = field(default_factory=dict)
    modality: str = ""
    again: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """The SOP classes in it."""
        return tuple(dict.fromkeys(self.expected.values()))

    @property
    def open_ended(self) -> bool:
        """Whether its instances are not known."""
        return not self.expected

    def finer(self, uids: Iterable[str]) -> Iterator[Unit]:
        """Units that ask for some of its instances by UID."""
        chosen = [(uid, self.expected[uid]) for uid in uids]
        for i in range(0, len(chosen), _MOST_UIDS):
            part = dict(chosen[i : i + _MOST_UIDS])
            yield replace(self, level=QueryLevel.IMAGE, expected=part, again=True)


def units_of(records: Iterable[Attributes], *, whole_series: bool) -> list[Unit]:
    """Divide instances into units.

    Parameters
    ----------
    records : iterable of Attributes
        At IMAGE level.
    whole_series : bool
        Whether they are all the instances of their series, so that each series can be asked for by its own UID.
    """
    modalities: dict[tuple[str, str, str], str] = {}
    series: defaultdict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    for record in records:
        place = record.text(_PATIENT_ID), record.text(_STUDY_UID), record.text(_SERIES_UID)
        sop_class = record.text(_SOP_CLASS)
        modalities[place] = record.text(_MODALITY)
        series[place][record.text(_SOP_UID)] = sop_class if _UID.fullmatch(sop_class) else ""
    units: list[Unit] = []
    for place, expected in series.items():
        unit = Unit(QueryLevel.SERIES, *place, expected, modalities[place])
        if whole_series:
            units.append(unit)
        else:
            units.extend(replace(part, again=False) for part in unit.finer(expected))
    return units


def identifier_for(unit: Unit, model: QueryModel) -> Attributes:
    """The identifier of a C-GET or C-MOVE request for a unit (PS3.4 section C.4.2.1.4)."""
    items: list[tuple[int, str, str | tuple[str, ...]]] = [
        (_LEVEL, "CS", unit.level.name),
        (_STUDY_UID, "UI", unit.study_uid),
    ]
    if model is QueryModel.PATIENT_ROOT:
        items.append((_PATIENT_ID, "LO", unit.patient_id))
    if unit.level >= QueryLevel.SERIES:
        items.append((_SERIES_UID, "UI", unit.series_uid))
    if unit.level is QueryLevel.IMAGE:
        items.append((_SOP_UID, "UI", tuple(unit.expected)))
    return Attributes.from_items(items)
