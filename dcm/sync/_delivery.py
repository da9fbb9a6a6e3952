"""What happens to one instance that a source gives: looked at once, filtered where that is asked for, placed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from dcm.report import Outcome
from dcm.sync._targets import lost_error

if TYPE_CHECKING:
    from dcm._bridge import Bridge
    from dcm.filt import Filter
    from dcm.instance import Instance
    from dcm.report import TransferReport
    from dcm.sync._plan import Nodes
    from dcm.sync._targets import Target, Validator

__all__ = ["Delivery"]

_T = TypeVar("_T")

# Patient, study and series; the instance says its own UID.
_ABOVE = (0x00100020, 0x0020000D, 0x0020000E)


class Delivery:
    """Hands instances to those of the destinations that miss them.

    Parameters
    ----------
    targets : sequence of Target
    trusted : mapping of Target to Nodes
        What some of them need not be given although it comes: equal counts say that they have it.
    validators : sequence of callable
    bridge : Bridge
    report : TransferReport
    """

    def __init__(
        self,
        targets: Sequence[Target],
        trusted: dict[Target, Nodes],
        validators: Sequence[Validator],
        bridge: Bridge,
        report: TransferReport,
    ) -> None:
        self._targets = targets
        self._trusted = trusted
        self._validators = validators
        self._bridge = bridge
        self._report = report

    async def __call__(self, instance: Instance) -> bool:
        """Deliver an instance, record what became of it, and say whether it is safe.

        Raises
        ------
        DcmError
            No destination is left.
        """
        if all(target.error is not None for target in self._targets):
            raise lost_error(self._targets)
        waiting = [target for target in self._targets if not self._has(target, instance)]
        if not waiting:
            return True
        if self._validators and (reason := await self._bridge.run(self._validate, instance, cost=0)):
            for target in waiting:
                self._report.record(instance.sop_instance_uid, Outcome.FAILED, dest=target.name, reason=reason)
            return False
        if len(waiting) == 1 and waiting[0].filt is None:
            # The usual case, without a task of its own.
            placed = [await waiting[0].place(instance)]
        else:
            groups: dict[Filter | None, list[Target]] = {}
            for target in waiting:
                groups.setdefault(target.filt, []).append(target)
            ways = [self._place(instance, filt, targets) for filt, targets in groups.items()]
            placed = [safe for way in await _together(ways) for safe in way]
        if all(target.error is not None for target in self._targets):
            raise lost_error(self._targets)
        return all(placed)

    def _has(self, target: Target, instance: Instance) -> bool:
        """Whether a destination has an instance, as we know it by now."""
        uid = instance.sop_instance_uid
        if target.settled(uid):
            return True
        # What nobody has looked at, because it is new in the source, say, is not there: only what is known to be is.
        trusted = self._trusted.get(target)
        if trusted is None or not trusted.has([*map(instance.header.text, _ABOVE), uid]):
            return False
        self._report.record(uid, Outcome.PRESENT, dest=target.name)
        return True

    def _validate(self, instance: Instance) -> str:
        return next((reason for validator in self._validators if (reason := validator(instance))), "")

    async def _place(self, instance: Instance, filt: Filter | None, targets: Sequence[Target]) -> list[bool]:
        """Place an instance, or what a filter makes of it, at some destinations."""
        if filt is None:
            return await _together(target.place(instance) for target in targets)
        changed = await self._filtered(instance, filt, targets)
        if changed is None:
            return [
                self._report.state(instance.sop_instance_uid, target.name) is Outcome.FILTERED for target in targets
            ]
        with contextlib.ExitStack() as stack:
            if changed is not instance:
                stack.enter_context(changed)
            return await _together(target.place(changed, instance) for target in targets)

    async def _filtered(self, instance: Instance, filt: Filter, targets: Sequence[Target]) -> Instance | None:
        """What a filter makes of an instance; None where it lets it not pass or fails, which is recorded."""
        outcome, reason = Outcome.FILTERED, ""
        changed: Instance | None = None
        try:
            changed = await self._bridge.run(filt.apply, instance, cost=instance.size)
        except Exception as error:  # noqa: BLE001
            # A filter is anybody's code, and pydicom raises all kinds of things for data sets that are not as they
            # should be. This instance fails, with the reason in the report; the rest goes on.
            outcome, reason = Outcome.FAILED, str(error) or f"the filter failed: {type(error).__name__}"
        if changed is None:
            for target in targets:
                self._report.record(instance.sop_instance_uid, outcome, dest=target.name, reason=reason)
        return changed


async def _together(steps: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Take some steps at once. Where one fails the others are stopped, and have ended before that is raised."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
