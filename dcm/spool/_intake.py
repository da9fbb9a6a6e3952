"""How an instance gets into the spool, step by step, so that a crash after any of them loses nothing."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from typing import NamedTuple

from dcm._atomic import Buffer
from dcm.errors import DcmError, InvalidDicomError, SpoolError, SpoolFullError
from dcm.instance import Instance
from dcm.route import UnroutedError
from dcm.spool._admission import Candidate, candidate_of, compare, find_known, record, rerouted
from dcm.spool._files import Files
from dcm.spool._group import GroupCommit
from dcm.spool._journal import Journal
from dcm.spool._records import Tally, Ways
from dcm.spool._shards import Name
from dcm.spool._words import NO_WAY, Admitted, Delivery, OnConflict, Origin
from dcm.text import safe_text

__all__ = ["Arrived", "Intake", "Route", "routed"]

_log = logging.getLogger(__name__)

# Preamble and file meta information, with UIDs and titles of any length that a sender can give them.
_MOST_META = 4096

Route = Callable[[Instance], Sequence[str]]
"""Gives the keys of the ways that an instance goes; raises a `DcmError` where that is not known."""


class Arrived(NamedTuple):
    """An instance that has come, and is to be admitted.

    Attributes
    ----------
    instance : Instance
    origin : Origin
        Where it came from.
    route : callable
        Says where it goes.
    """

    instance: Instance
    origin: Origin
    route: Route


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
        self._bringing = threading.Lock()
        self._group: GroupCommit[Sequence[Candidate]] = GroupCommit(self._commit)

    def admit_all(self, arrived: Sequence[Arrived]) -> list[Admitted | BaseException]:
        """Take instances in; see `Spool.admit_all`."""
        outcomes: dict[int, BaseException | Candidate] = {}
        for i, (instance, origin, route) in enumerate(arrived):
            try:
                keys, trouble = routed(instance, route)
                candidate = candidate_of(instance, origin, keys, trouble, self._on_conflict)
                self._write_large(candidate)
                outcomes[i] = candidate
            except Exception as exc:  # noqa: BLE001, PERF203 - it belongs to this one, and the others are taken in
                outcomes[i] = exc
        candidates = [candidate for candidate in outcomes.values() if isinstance(candidate, Candidate)]
        try:
            if candidates:
                self._group.submit(candidates)
        finally:
            for candidate in candidates:
                if candidate.placed is not None:
                    self._files.shards.release(candidate.placed)
        return [self._outcome(outcomes[i]) for i in range(len(arrived))]

    def _outcome(self, outcome: BaseException | Candidate) -> Admitted | BaseException:
        if isinstance(outcome, BaseException):
            return outcome
        if outcome.result is None:
            assert outcome.error is not None
            return outcome.error
        self._step("answer")
        if outcome.trouble and outcome.result.n_deliveries:
            _unrouted(outcome.uid, outcome.trouble)
        return outcome.result

    def pause(self) -> AbstractContextManager[object]:
        """Keep everybody from writing and recording: what is in the log is in the journal then, or was given up."""
        return self._bringing

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
        candidate = candidate_of(instance, origin, *routed(instance, route), self._on_conflict)
        candidate.file = candidate.adopted = name
        self._group.submit([candidate])
        if candidate.error is not None:
            raise candidate.error
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

    # -- comparing, writing, recording ----------------------------------------------------------------------------

    def _write_large(self, candidate: Candidate) -> None:
        """Write what gets a file of its own, before its turn has come: others need not wait for that."""
        instance = candidate.instance
        if candidate.ways and not self._goes_into_log(instance):
            self._files.check_room(0 if instance.temp is not None else instance.size)
            self._look_up([candidate])
            if candidate.error is not None:
                raise candidate.error
            if not candidate.known.same:
                self._write(candidate)

    def _goes_into_log(self, instance: Instance) -> bool:
        return instance.temp is None and self._files.log.takes(instance.size + _MOST_META)

    def _write(self, candidate: Candidate) -> None:
        candidate.placed = self._files.write(candidate.instance, time.time_ns())
        candidate.file = candidate.placed.name

    def _commit(self, submitted: Sequence[Sequence[Candidate]]) -> None:
        """Bring in all that wait; by one thread at a time."""
        waiting = list(chain.from_iterable(submitted))
        while waiting:
            # Of two with one UID the second is compared with the first, which must be there then.
            batch: dict[str, Candidate] = {}
            for candidate in waiting:
                batch.setdefault(candidate.uid, candidate)
            with self._bringing:
                self._bring(list(batch.values()))
            waiting = [candidate for candidate in waiting if candidate.result is None and candidate.error is None]

    def _bring(self, batch: Sequence[Candidate]) -> None:
        """Compare, write and record some with different UIDs.

        One that what it was compared with has gone from meanwhile has neither a result nor an error then.
        """
        try:
            self._look_up(batch)
            self._write_all([candidate for candidate in batch if candidate.error is None and _needs_file(candidate)])
            sound = [candidate for candidate in batch if candidate.error is None]
            if sound:
                self._record(sound)
        except BaseException as error:
            for candidate in batch:
                candidate.result = None
                candidate.error = candidate.error or _copied(error)
            if not isinstance(error, SpoolError):
                raise
        finally:
            for candidate in batch:
                if candidate.error is not None:
                    self._take_back(candidate)
        for candidate in batch:
            candidate.needs_file = True
            if candidate.result is not None:
                self._keep_only_used(candidate)

    def _look_up(self, batch: Iterable[Candidate]) -> None:
        """Compare each with what there is of its UID now."""
        chosen = [candidate for candidate in batch if candidate.ways]
        with self._journal.read() as db:
            there = [find_known(db, candidate.hash, candidate.uid) for candidate in chosen]
        for candidate, found in zip(chosen, there, strict=True):
            if found != candidate.there:  # else it was compared already
                with _told(candidate):
                    candidate.known = compare(candidate.instance, self._files, found)
                    candidate.there = found

    def _write_all(self, chosen: Sequence[Candidate]) -> None:
        """Write what needs a file: to the log, or, where there is no room for a segment, to files of their own."""
        images: dict[Candidate, Sequence[Buffer]] = {}
        for candidate in chosen:
            if self._goes_into_log(candidate.instance):
                with _told(candidate):
                    images[candidate] = self._files.image(candidate.instance)
        try:
            if images:
                names = self._files.append(list(images.values()), time.time_ns())
                for candidate, name in zip(images, names, strict=True):
                    candidate.file = name
        except SpoolFullError:
            pass
        except SpoolError as error:
            for candidate in images:
                candidate.error = _copied(error)
        for candidate in chosen:
            if candidate.file is None and candidate.error is None:
                with _told(candidate):
                    self._files.check_room(candidate.size)
                    self._write(candidate)

    def _record(self, batch: Sequence[Candidate]) -> None:
        """Put the names of files on stable storage, then the entries."""
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
            raise

    def _keep_only_used(self, candidate: Candidate) -> None:
        """Remove the file of an instance that needed none in the end."""
        if candidate.file is not None and not candidate.used:
            self._files.remove(candidate.file)
        elif candidate.adopted is not None and candidate.adopted.segment:
            self._files.log.adopted(candidate.adopted)

    def _take_back(self, candidate: Candidate) -> None:
        """Remove the file of an instance that could not be recorded, unless the journal has it all the same."""
        if candidate.file is None or candidate.adopted is not None:
            return
        try:
            with self._journal.read() as db:
                recorded = db.execute("SELECT 1 FROM entry WHERE id = ?", (candidate.file.number,)).fetchone()
        except SpoolError:
            return  # it may be needed: the next one who opens the spool will see
        if not recorded:
            self._files.remove(candidate.file)


@contextmanager
def _told(candidate: Candidate) -> Iterator[None]:
    """What goes wrong with an instance is told its sender; the others are taken in."""
    try:
        yield
    except (DcmError, OSError) as error:
        candidate.error = error


def _needs_file(candidate: Candidate) -> bool:
    missing = candidate.needs_file or not candidate.known.same
    return bool(candidate.ways) and candidate.file is None and missing


def _copied(error: BaseException) -> BaseException:
    """An exception of one's own: each of several is raised somewhere else."""
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__ or error
    return copied


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
