"""The account of a retrieval: what was asked for, what the peer said of it, and what is told in the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcm.errors import InvalidDicomError
from dcm.net._ledger import Ledger
from dcm.net._registry import class_name, status_text, wants_class
from dcm.net._units import Unit
from dcm.peek import read_attributes
from dcm.report import Outcome
from dcm.text import safe_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dcm.instance import Instance
    from dcm.net._ledger import Verdict
    from dcm.net._operations import SubOperations
    from dcm.node import RemoteNode
    from dcm.report import TransferReport

__all__ = ["Account"]

_FAILED_UIDS = 0x00080058


class Account:
    """Keeps the ledger of a retrieval, and writes its report.

    Parameters
    ----------
    remote : RemoteNode
    report : TransferReport
    dests : sequence of str
        The destinations in the report that each instance is for.
    """

    def __init__(self, remote: RemoteNode, report: TransferReport, dests: Sequence[str]) -> None:
        self.ledger = Ledger()
        self._remote = remote
        self._report = report
        self._dests = dests
        self._reasons: dict[str, tuple[str, int | None]] = {}

    def expect(self, unit: Unit) -> list[Unit]:
        """Say that a unit is asked for.

        Returns
        -------
        list of Unit
            What is to be asked for: less than the unit where the settings of the peer leave a SOP class out.
        """
        for dest in self._dests:
            self._report.expect(unit.expected, unit.series_uid, dest)
        if unit.open_ended:
            self._report.doubt(f"{self._remote} does not say which instances it has")
            return [unit]
        wanted = [
            uid for uid, sop_class in unit.expected.items() if not sop_class or wants_class(self._remote, sop_class)
        ]
        if len(wanted) == len(unit.expected):
            return [unit]
        for uid in unit.expected.keys() - set(wanted):
            reason = f"the settings of {self._remote} leave out {class_name(unit.expected[uid])}"
            self._record(uid, Outcome.FILTERED, reason)
        return list(unit.finer(wanted))

    def note(self, part: Unit, final: SubOperations, operation: str) -> None:
        """Keep what a final response says of failures, in case instances are missing in the end."""
        if final.status == 0:
            return
        said = f" ({safe_text(final.comment, 64)})" if final.comment else ""
        reason = f"{status_text(operation, final.status)}{said}"
        for uid in _failed_uids(final) or part.expected:
            if uid in part.expected:
                self._reasons[uid] = reason, final.status
        if part.open_ended:
            self._report.error(part.series_uid or part.study_uid, reason, final.status)

    def blame(self, uids: Iterable[str], reason: str) -> None:
        """Keep why some instances will not come."""
        for uid in uids:
            self._reasons[uid] = reason, None

    def judge(self, instance: Instance) -> Verdict:
        """Say what an instance is that came, and tell of it where it is not what was asked for."""
        verdict = self.ledger.judge(instance)
        if verdict.kind:
            self._report.anomaly(verdict.kind, instance.sop_instance_uid, verdict.message)
        return verdict

    def leave_out(self, uid: str, reason: str) -> None:
        """Say that an instance came, and cannot be used."""
        self._record(uid, Outcome.FAILED, reason)

    def settle(self, unit: Unit) -> None:
        """Report what of a unit did not come, and forget the rest."""
        missing = self.ledger.missing(unit)
        for uid in missing:
            reason, status = self._reasons.get(uid, ("", None))
            if reason:
                self._record(uid, Outcome.FAILED, reason, status, refused=True)
            else:
                self._record(uid, Outcome.MISSING, "never arrived, though asked for twice")
        for uid in unit.expected:
            self._reasons.pop(uid, None)
        if unit.open_ended and not self.ledger.taken(unit):
            self._report.error(unit.series_uid or unit.study_uid, "nothing came")

    def _record(
        self, uid: str, outcome: Outcome, reason: str, status: int | None = None, *, refused: bool = False
    ) -> None:
        for dest in self._dests:
            self._report.record(uid, outcome, dest=dest, reason=reason, status=status, refused=refused)


def _failed_uids(final: SubOperations) -> list[str]:
    """The Failed SOP Instance UID List (0008,0058), as far as the peer gives one that can be read."""
    if not final.identifier:
        return []
    try:
        text = read_attributes(final.identifier, final.transfer_syntax).text(_FAILED_UIDS)
    except InvalidDicomError:
        # It only adds a reason: which instances did not come is known without it.
        return []
    return text.split("\\") if text else []
