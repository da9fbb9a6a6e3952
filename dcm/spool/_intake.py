"""How an instance gets into the spool, step by step, so that a crash after any of them loses nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from dcm.errors import DcmError, InvalidDicomError, SpoolError
from dcm.instance import Instance
from dcm.route import UnroutedError
from dcm.spool._admission import Arriving, Candidate, candidate_of, compare, find_known, record, rerouted
from dcm.spool._files import Files
from dcm.spool._group import GroupCommit
from dcm.spool._journal import Journal
from dcm.spool._records import Tally, Ways
from dcm.spool._shards import Name
from dcm.spool._words import NO_WAY, Admitted, Delivery, OnConflict, Origin
from dcm.text import safe_text

__all__ = ["Intake", "Route", "routed"]

_log = logging.getLogger(__name__)

Route = Callable[[Instance], Sequence[str]]
"""Gives the keys of the ways that an instance goes; raises a `DcmError` where that is not known."""


class Intake:
    """Takes instances in.

    Parameters
    ----------
    journal : Journal
        Where they are recorded.
    files : Files
        Where they are written.
    ways : Ways
        The numbers of the ways.
    step : callable
        Told the name of each step before it is done.
    on_conflict : OnConflict
        What becomes of other bytes under a UID that was here before.
    """

    def __init__(
        self, journal: Journal, files: Files, ways: Ways, step: Callable[[str], None], on_conflict: OnConflict
    ) -> None:
        self._journal = journal
        self._files = files
        self._ways = ways
        self._step = step
        self._on_conflict = on_conflict
        self._arriving = Arriving()
        self._group: GroupCommit[Candidate] = GroupCommit(self._commit)

    def admit(self, instance: Instance, origin: Origin, route: Route) -> Admitted:
        """Take an instance in; see `Spool.admit`."""
        self._files.check_room(0 if instance.temp is not None else instance.size)
        keys, trouble = routed(instance, route)
        candidate = candidate_of(instance, origin, keys, trouble, self._on_conflict)
        with self._arriving.only(instance.sop_instance_uid):
            try:
                self._bring(candidate, instance)
            except BaseException:
                self._take_back(candidate)
                raise
            if candidate.placed is not None:
                self._files.shards.release(candidate.placed)
                if not candidate.used:
                    self._files.remove(candidate.placed.name)
        self._step("answer")
        assert candidate.result is not None
        if trouble and candidate.result.n_deliveries:
            _unrouted(instance.sop_instance_uid, trouble)
        return candidate.result

    def adopt(self, name: Name, route: Route) -> bool | None:
        """Bring in a file that no entry has.

        Returns
        -------
        bool or None
            False where it was not needed, and is removed; None where it is not what was written, or cannot be read,
            and is left alone.
        """
        try:
            instance = self._files.reopen(name)
        except (InvalidDicomError, OSError) as exc:
            # A file that the disk does not give keeps nobody from all the others.
            _log.error("%s: it is in no entry, and left as it is", safe_text(exc))
            return None
        origin = Origin(calling_ae=instance.source_ae)
        with self._arriving.only(instance.sop_instance_uid):
            candidate = candidate_of(instance, origin, *routed(instance, route), self._on_conflict)
            candidate.file = name
            self._bring(candidate, instance)
        if not candidate.used:
            self._files.remove(name)
        return candidate.used

    def reroute(self, delivery: Delivery, instance_of: Callable[[Delivery], Instance], route: Route) -> bool:
        """Route anew what could not be routed; False where it still cannot be."""
        try:
            keys, trouble = routed(instance_of(delivery), route)
        except SpoolError as exc:
            keys, trouble = (NO_WAY,), exc.message
        if trouble:
            _unrouted(delivery.sop_instance_uid, trouble)
        try:
            with self._journal.write(durable=True) as db:
                return rerouted(db, delivery, keys, trouble, self._ways)
        except BaseException:
            self._ways.forget()
            raise

    def _bring(self, candidate: Candidate, instance: Instance) -> None:
        """Compare, write and record it; again where what it was compared with goes away meanwhile."""
        received_ns = time.time_ns()
        needs_file = False
        while candidate.result is None:
            if candidate.ways:
                with self._journal.read() as db:
                    entries, past = find_known(db, candidate.hash, candidate.uid)
                candidate.known = compare(instance, self._files, entries, past)
                if candidate.file is None and (needs_file or not candidate.known.same):
                    candidate.placed = self._files.write(instance, received_ns)
                    candidate.file = candidate.placed.name
            self._group.submit(candidate)
            needs_file = True

    def _commit(self, batch: list[Candidate]) -> None:
        """Put the names of files on stable storage, then their entries; by one thread for all that wait."""
        placed = [candidate.placed for candidate in batch if candidate.placed is not None]
        if placed:
            self._step("dirsync")
            self._files.sync(placed)
        self._step("journal")
        # What has a file gets an entry again, after a power cut that the journal did not survive; a way that was added
        # to an entry would be lost.
        added = any(candidate.known.same for candidate in batch)
        try:
            with self._journal.write(durable=added) as db:
                tally = Tally()
                for candidate in batch:
                    record(db, candidate, self._ways, tally)
                tally.write(db)
        except BaseException:
            self._ways.forget()
            for candidate in batch:
                candidate.result = None
            raise

    def _take_back(self, candidate: Candidate) -> None:
        """Remove the file of an instance that could not be recorded, unless the journal has it all the same."""
        placed = candidate.placed
        if placed is None:
            return
        self._files.shards.release(placed)
        try:
            with self._journal.read() as db:
                recorded = db.execute("SELECT 1 FROM entry WHERE id = ?", (placed.name.number,)).fetchone()
        except SpoolError:
            return  # it may be needed: the next one who opens the spool will see
        if not recorded:
            self._files.remove(placed.name)


def routed(instance: Instance, route: Route) -> tuple[tuple[str, ...], str]:
    """Where an instance goes, each way once, and why all of that is not known: then `NO_WAY` is among the ways."""
    try:
        return tuple(dict.fromkeys(route(instance))), ""
    except UnroutedError as exc:
        # One route without a rule for it does not keep it from where the others send it.
        return (*dict.fromkeys(way.key for way in exc.ways), NO_WAY), exc.message
    except DcmError as exc:
        return (NO_WAY,), exc.message or "it cannot be routed"


def _unrouted(uid: str, trouble: str) -> None:
    _log.warning("%s goes into quarantine, without a route: %s", safe_text(uid, 80), safe_text(trouble))
