"""What a retrieval asked for and what of it came, by UID: pure bookkeeping."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dcm.errors import InvalidDicomError

if TYPE_CHECKING:
    from dcm.instance import Instance
    from dcm.net._units import Unit

__all__ = ["Ledger", "Verdict"]

_STUDY_UID, _SERIES_UID = 0x0020000D, 0x0020000E


class Verdict(NamedTuple):
    """What an instance is that came: `kind` is empty where it is just what was asked for."""

    kind: str
    message: str
    series_uid: str


class Ledger:
    """Keeps account of the units that are being fetched."""

    def __init__(self) -> None:
        self._units: dict[str, Unit] = {}
        self._scopes: list[Unit] = []
        self._seen: set[str] = set()
        self._taken: dict[int, int] = {}

    def open(self, unit: Unit) -> None:
        """Begin to expect what is in a unit."""
        if unit.open_ended:
            self._scopes.append(unit)
            self._taken[id(unit)] = 0
        for uid in unit.expected:
            self._units[uid] = unit

    def close(self, unit: Unit) -> None:
        """Expect nothing of a unit any more."""
        if unit.open_ended:
            self._scopes.remove(unit)
            del self._taken[id(unit)]
        for uid in unit.expected:
            self._units.pop(uid, None)

    def missing(self, unit: Unit) -> list[str]:
        """What of a unit has not come."""
        return [uid for uid in unit.expected if uid not in self._seen]

    def taken(self, unit: Unit) -> int:
        """How many instances came for a unit whose instances are not known."""
        return self._taken[id(unit)]

    def judge(self, instance: Instance) -> Verdict:
        """Say what an instance is, and count it as come where it was expected."""
        uid = instance.sop_instance_uid
        if uid in self._seen:
            return Verdict("duplicate", "came again", "")
        unit = self._units.get(uid)
        try:
            header = instance.header
        except InvalidDicomError as error:
            return self._odd(uid, unit, f"cannot be read: {error.message}")
        study, series = header.text(_STUDY_UID), header.text(_SERIES_UID)
        if unit is None:
            unit = self._scope_of(study, series)
            if unit is None:
                return Verdict("unexpected", "was not asked for", series)
            self._taken[id(unit)] += 1
        if header.sop_instance_uid != uid:
            return self._odd(uid, unit, "the data set has another SOP instance UID than the message")
        if study != unit.study_uid or (unit.series_uid and series != unit.series_uid):
            return self._odd(uid, unit, "the data set is of another study or series than the peer's index says")
        if header.complete is False:
            return self._odd(uid, unit, f"the data set is cut short or damaged: {header.problem}")
        self._seen.add(uid)
        return Verdict("", "", series)

    def _odd(self, uid: str, unit: Unit | None, message: str) -> Verdict:
        # It did come: asking for it again would bring the same.
        self._seen.add(uid)
        return Verdict("inconsistent", message, unit.series_uid if unit is not None else "")

    def _scope_of(self, study: str, series: str) -> Unit | None:
        for unit in self._scopes:
            if unit.study_uid == study and unit.series_uid in ("", series):
                return unit
        return None
