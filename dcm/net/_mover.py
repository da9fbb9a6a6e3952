"""Third-party C-MOVE: one peer sends to another, and we make sure of it (PS3.4 section C.4.2)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from dcm.errors import NetworkError
from dcm.levels import QueryLevel
from dcm.net._fetch import Fetch
from dcm.net._finder import Finder
from dcm.net._incoming import Nobody
from dcm.net._lines import MoveLine
from dcm.net._registry import status_text
from dcm.net._units import identifier_for
from dcm.node import DicomOpType, QueryModel
from dcm.query import QueryResult
from dcm.report import Outcome, QueryReport

if TYPE_CHECKING:
    from dcm.net._entity import LocalEntity
    from dcm.net._units import Unit
    from dcm.node import RemoteNode
    from dcm.report import TransferReport

__all__ = ["move"]

log = logging.getLogger(__name__)

_VERIFY_AFTER = (0.0, 1.0, 3.0)


async def move(
    entity: LocalEntity,
    source: RemoteNode,
    dest: RemoteNode,
    query_res: QueryResult,
    report: TransferReport,
    *,
    name: str = "",
) -> None:
    """Have `source` send to `dest` what a query result names, series by series; see `LocalEntity.move`.

    The report calls the destination `name`.
    """
    async with Fetch(entity, source) as fetch:
        there = Finder(entity.local, dest, Nobody())
        line = MoveLine(entity.local, source, Nobody(), _nothing, destination=dest)
        try:
            async for unit in fetch.units(query_res, report):
                report.expect(unit.expected, unit.series_uid, name)
                finals = await line.ask(unit, lambda unit: list(unit.expected))
                reasons = [(status_text("C-MOVE", f.status), f.status) for f in finals if f.status]
                for reason, _ in reasons:
                    log.info("%s says of series %s: %s", source, unit.series_uid, reason)
                said: tuple[str, int | None] = ("", None)
                if reasons:
                    reason, status = reasons[0]
                    said = f"{source} could not send it to {dest}: {reason}; does it know {dest.ae_title}?", status
                await _verify(there, dest, unit, report, said, name)
        finally:
            await line.close()
            await there.close()


async def _nothing() -> None:
    """The destination listens, not we."""


async def _verify(
    there: Finder, dest: RemoteNode, unit: Unit, report: TransferReport, reason: tuple[str, int | None], name: str
) -> None:
    """Ask the destination what it has of a unit."""
    if unit.open_ended:
        report.doubt("the source does not say which instances it has")
        return
    try:
        if not dest.supports(DicomOpType.FIND):
            raise NetworkError(f"{dest} takes no queries", peer=str(dest))
        series = QueryResult(QueryLevel.SERIES, [identifier_for(unit, QueryModel.PATIENT_ROOT).without((0x00080018,))])
        found: set[str] = set()
        for seconds in _VERIFY_AFTER:
            # An archive may take its time until it lists what it has been sent.
            await asyncio.sleep(seconds)
            found = set((await there.query(QueryLevel.IMAGE, None, series, QueryReport())).uids())
            if reason[0] or found.issuperset(unit.expected):
                break
    except NetworkError as error:
        # It has, as far as its sender knows: that is all there is to know.
        if not reason[0]:
            report.doubt(f"what arrived cannot be verified: {error.message}")
        for uid in unit.expected:
            outcome = Outcome.FAILED if reason[0] else Outcome.SENT
            report.record(uid, outcome, dest=name, reason=reason[0], status=reason[1])
        return
    for uid in unit.expected:
        if uid in found:
            report.record(uid, Outcome.SENT, dest=name, series_uid=unit.series_uid)
        elif reason[0]:
            report.record(uid, Outcome.FAILED, dest=name, reason=reason[0], status=reason[1])
        else:
            report.record(uid, Outcome.MISSING, dest=name, reason=f"{dest} does not have it")
