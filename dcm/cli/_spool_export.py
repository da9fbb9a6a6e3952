"""Copying instances out of a spool, as DICOM files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from dcm.errors import DcmError, SpoolError
from dcm.report import Outcome, TransferReport

if TYPE_CHECKING:
    from dcm.instance import Instance
    from dcm.spool import Delivery, Spool
    from dcm.store.local_dir import LocalDir

__all__ = ["export"]

_TOGETHER = 32  # instances, with one wait for the disk


def export(spool: Spool, deliveries: Iterable[Delivery], directory: LocalDir) -> TransferReport:
    """Copy the instances of some deliveries into a directory, each once; nothing changes in the spool.

    What is delivered to its last destination meanwhile is left out.
    """
    report = TransferReport()
    chosen = _each_once(deliveries)
    checked = False
    while batch := list(islice(chosen, _TOGETHER)):
        if not checked:
            directory.check()  # which makes it
            checked = True
        _copy(spool, batch, directory, report)
    report.finish()
    return report


def _each_once(deliveries: Iterable[Delivery]) -> Iterator[Delivery]:
    """One delivery of each instance."""
    seen: set[int] = set()
    for delivery in deliveries:
        if delivery.entry_id not in seen:
            seen.add(delivery.entry_id)
            yield delivery


def _copy(spool: Spool, batch: Iterable[Delivery], directory: LocalDir, report: TransferReport) -> None:
    opened: list[tuple[Delivery, Instance]] = []
    try:
        for delivery in batch:
            try:
                opened.append((delivery, spool.instance(delivery)))
            except SpoolError as exc:  # noqa: PERF203 - the others are copied
                _failed(spool, delivery, exc, report)
        stored = directory.store_all([instance for _, instance in opened])
        for (delivery, instance), result in zip(opened, stored, strict=True):
            if isinstance(result, DcmError):
                _failed(spool, delivery, result, report)
                continue
            n_bytes = instance.size if result.outcome.moved else 0
            report.record(
                *(delivery.sop_instance_uid, result.outcome), n_bytes=n_bytes, reason=result.reason, path=result.path
            )
    finally:
        for _, instance in opened:
            instance.close()


def _failed(spool: Spool, delivery: Delivery, error: DcmError, report: TransferReport) -> None:
    """Note that one could not be copied, unless it went to its last destination just now, and is there no more."""
    if spool.deliveries_of(delivery.entry_id):
        report.record(delivery.sop_instance_uid, Outcome.FAILED, reason=error.message, error=error)
