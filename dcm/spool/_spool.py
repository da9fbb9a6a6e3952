"""The spool: instances that arrived, until every destination has them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dcm._atomic import TempFile
from dcm.errors import SpoolError, SpoolFullError
from dcm.instance import Instance
from dcm.spool import _recovery
from dcm.spool._files import Files
from dcm.spool._intake import Arrived, Intake, Route
from dcm.spool._journal import Journal, failure
from dcm.spool._lock import OwnerLock, check_place
from dcm.spool._queue import Queues
from dcm.spool._records import Ways, clean
from dcm.spool._shards import sync_directory
from dcm.spool._verify import open_journal, visit_journal
from dcm.spool._view import SpoolView
from dcm.spool._words import (
    NO_WAY,
    Admitted,
    Delivery,
    DeliveryState,
    OnConflict,
    Origin,
    Recovered,
    Settled,
    Settlement,
)
from dcm.text import safe_text

__all__ = ["Spool"]

_LEAST = 16 << 10
_LARGE = 1 << 30
_MONTH = 30 * 86400.0


def _no_step(name: str) -> None:
    """In production nothing happens between two steps."""


class Spool(SpoolView):
    """Instances on stable storage, with what has still to be delivered of them.

    It may be used by any number of threads. One process has it, others may look into it and mend it meanwhile
    (``exclusive=False``). It is a context manager: `open` opens it, `close` lets go of it.

    Parameters
    ----------
    path : path
        Its directory, which is made where it is not there.
    exclusive : bool, optional
        Have it for ourselves: `admit`, `recover`, `take` and `settle` need that. Without it the spool must be there,
        and another process may have it.
    min_free : int, optional
        How many bytes of the file system are left free: 64 MiB by default, or 5 % of it if that is less. What is
        delivered can be recorded then, and the spool empties itself.
    remember : float, optional
        For how many seconds what is through is remembered, to know it when it comes again.
    on_conflict : OnConflict, optional
        What becomes of other bytes under a UID that was here before.
    on_settled : callable, optional
        Told what was recorded, by the thread that calls `settle`, when it is on stable storage.
    step : callable, optional
        Told the name of each step before it is done: write, fsync, link, dirsync, journal, answer, settle,
        unlink. For tests that kill the process there.
    segment_size : int, optional
        Bytes of each file that many small instances share, a power of two; 0 for a file of its own for each of them. By
        default 32 MiB, or 1/256 of the file system if that is less.

    Notes
    -----
    An instance is on stable storage, and its entry and deliveries are committed, before `admit` returns. A small one is
    appended to a segment, where it counts when all of it is synced. A large one is written to a file of its own, which
    is synced and then linked to its name, and the name is synced. So whatever is there is complete. What is there and
    has no entry was not acknowledged, or the machine lost its power before the journal was written: it gets an entry
    when the spool is opened again.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        exclusive: bool = True,
        min_free: int | None = None,
        remember: float = _MONTH,
        on_conflict: OnConflict = OnConflict.FORWARD,
        on_settled: Callable[[Sequence[Settlement]], None] | None = None,
        step: Callable[[str], None] = _no_step,
        segment_size: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.on_settled = on_settled
        self._exclusive = exclusive
        self._min_free = min_free
        self._remember = remember
        self.on_conflict = on_conflict
        self._step = step
        if segment_size is not None and segment_size and (segment_size < _LEAST or segment_size & (segment_size - 1)):
            raise ValueError(f"a segment has a power of two of bytes, {_LEAST} at least")
        self._segment_size = segment_size
        self._lock: OwnerLock | None = None
        self._journal: Journal | None = None
        self._rebuilt = ""
        self._first = 0

    # -- opening and closing --------------------------------------------------------------------------------------

    def open(self) -> Spool:
        """Open it; the beginning of a ``with`` block does that, too.

        Raises
        ------
        SpoolBusyError
            Another process has it.
        UsageError
            The directory is no spool, and not empty.
        SpoolError
            It cannot be used, or, where it is only looked into, there is none.
        """
        if self._journal is not None:
            raise ValueError("the spool is open")
        try:
            if self._exclusive:
                check_place(self.path)
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._lock = OwnerLock(self.path)
            self._open(self._exclusive)
            if self._exclusive:
                # What is acknowledged must not hang on a directory that a power cut takes away.
                sync_directory(self.path)
                sync_directory(self.path.parent)
        except OSError as exc:
            self.close()
            raise failure(exc, self.path) from exc
        except BaseException:
            self.close()
            raise
        return self

    def _open(self, exclusive: bool) -> None:
        database = self.path / "journal.sqlite"
        if not exclusive and not database.exists():
            raise SpoolError(f"there is no spool in {safe_text(self.path)}")
        self._files = Files(self.path, self._min_free, self._step, self._segment_size if exclusive else 0)
        try:
            if exclusive:
                self._journal, self._rebuilt = open_journal(database)
            else:
                self._journal = visit_journal(database)
        except BaseException:
            self._files.close()
            raise
        self._ways = Ways()
        self._queues = Queues(
            *(self._journal, self._files, self._ways, self._step), remember=self._remember, owner=exclusive
        )
        self._intake = Intake(self._journal, self._files, self._ways, self._step, self.on_conflict)
        if exclusive:
            in_log = self._files.log.begin(self._queues.needed(), self._queues.still_needed)
            self._first = max(_recovery.first_number(self._journal, self._files), in_log + 1)
            self._files.shards.begin(self._first)

    def close(self) -> None:
        """Let go of it. May be called again."""
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()
            self._files.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def __enter__(self) -> Spool:
        return self if self._journal is not None else self.open()

    def __exit__(self, *error: object) -> None:
        self.close()

    def _owned(self) -> Journal:
        """The journal of a spool that is ours."""
        journal = self._opened
        if not self._exclusive:
            raise ValueError("a spool that is only looked into takes and gives nothing")
        return journal

    def recover(self, route: Route) -> Recovered:
        """Put right what a crash has left, and begin with what an earlier forwarder did not finish. Call it once.

        Files that are complete and in no entry are routed and get one; entries whose file is gone are counted as lost,
        and logged by name. Instances may be admitted meanwhile.

        Parameters
        ----------
        route : callable
            As for `admit`.

        Raises
        ------
        SpoolError
            The spool cannot be read or written.
        """
        journal = self._owned()
        try:
            self._queues.tidy()
            findings = _recovery.check_entries(journal, self._files, self._ways, self._first)
            for adopt_from in (_recovery.adopt_files, _recovery.adopt_records):
                adopt_from(journal, self._files, self._first, lambda name: self._intake.adopt(name, route), findings)
            self._queues.tidy()
        except OSError as exc:
            raise failure(exc, self.path, "read") from exc
        return Recovered(
            *(findings.readmitted, findings.removed, tuple(findings.lost), findings.n_lost),
            *(self._rebuilt, findings.unreadable),
        )

    # -- what arrives ---------------------------------------------------------------------------------------------

    def new_temp(self) -> TempFile:
        """A file that has no name yet, for an instance that is written while it arrives: `admit` gives it one.

        Raises
        ------
        SpoolFullError
            There is no room.
        SpoolError
            None can be made.
        """
        self._files.check_room(0)
        # Nobody knows how large it will be: what the log has in store must not be in its way.
        with contextlib.suppress(SpoolFullError):
            self._files.check_room(_LARGE)
        return self._files.new_temp()

    def admit(self, instance: Instance, origin: Origin, route: Route) -> Admitted:
        """Take an instance in. When this returns it is on stable storage with all that has to be delivered.

        Parameters
        ----------
        instance : Instance
            The instance, which stays the caller's to close.
        origin : Origin
            Where it came from.
        route : callable
            Gives the keys of the ways that it goes; none of them for nowhere. Where it raises a `DcmError` the
            instance is put into quarantine, with the way `NO_WAY`, until it can be routed.

        Raises
        ------
        SpoolFullError
            There is no room; nothing is left of it, and there may be room later.
        SpoolError
            It cannot be written; nothing is left of it.
        """
        (outcome,) = self.admit_all([Arrived(instance, origin, route)])
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def admit_all(self, arrived: Sequence[Arrived]) -> list[Admitted | BaseException]:
        """Take instances in that have come at the same time, which takes little longer than one.

        Parameters
        ----------
        arrived : sequence of Arrived
            Each with what `admit` wants to know.

        Returns
        -------
        list of Admitted or BaseException
            What was done with each, or what `admit` would have raised for it: one that cannot be kept keeps nobody else
            out.
        """
        self._owned()
        return self._intake.admit_all(arrived)

    # -- what is delivered ----------------------------------------------------------------------------------------

    def take(self, way: str, limit: int, now: float) -> list[Delivery]:
        """Some deliveries of a way that are due, in order of arrival.

        They are not given to anybody else before they are settled or given back. Of two with the same SOP Instance UID
        the second is not given before the first is. Those that wait to be tried again come when their time has come,
        in order of arrival as far as as many as are asked for are looked at.

        Parameters
        ----------
        way : str
            The key of the way; one that is held gives nothing.
        limit : int
            How many at most.
        now : float
            The time, in seconds since 1970.
        """
        self._owned()
        return self._queues.take(way, limit, now)

    def give_back(self, deliveries: Iterable[Delivery]) -> None:
        """Put deliveries back that were not tried: nothing is recorded, they can be taken again."""
        self._queues.give_back(delivery.id for delivery in deliveries)

    def next_due(self, way: str) -> float | None:
        """When a way has something to take, in seconds since 1970: 0 for at once, None where nothing is queued."""
        return self._queues.next_due(way)

    def instance(self, delivery: Delivery) -> Instance:
        """The instance of a delivery. One in the log is read, to see whether it is what was written.

        Raises
        ------
        SpoolError
            Its file is gone, or is not what was written.
        """
        uids = (delivery.sop_class_uid, delivery.sop_instance_uid, delivery.transfer_syntax_uid)
        name = self._queues.place(delivery)
        while True:
            try:
                return self._files.open(name, *uids, delivery.origin.calling_ae)
            except OSError as exc:  # noqa: PERF203 - it is done once, nearly always
                before, name = name, self._queues.place(delivery)
                if name == before:  # else it has moved just now
                    raise failure(exc, self._files.path(name), "read") from exc

    def settle(self, results: Iterable[Settled]) -> None:
        """Record what became of deliveries, on stable storage; files that nobody needs any more go after that.

        A result for a delivery that was dropped meanwhile counts only if the destination has it.

        Raises
        ------
        SpoolError
            It cannot be recorded: nothing is, and none of them is given to anybody. Call it again.
        """
        results = list(results)
        if not results:
            return
        self._owned()
        settlements = self._queues.settle(results)
        try:
            if self.on_settled is not None and settlements:
                self.on_settled(settlements)
        finally:
            self.tidy()

    def look_again(self) -> None:
        """Learn what another process has dropped: what nobody needs any more is removed.

        Raises
        ------
        SpoolError
            The journal cannot be read.
        """
        self._owned()
        with self._intake.pause():
            self._queues.recount()
        self.tidy()

    def hold(self, known_ways: Iterable[str]) -> None:
        """Say which ways there are: what is queued on any other is held, until there is such a way again."""
        known = set(map(clean, known_ways))
        with self._opened.write(durable=False) as db:
            for number, key in db.execute("SELECT id, key FROM way").fetchall():
                db.execute("UPDATE way SET known = ? WHERE id = ?", (int(key in known or key == NO_WAY), number))
        self._ways.forget()

    def know(self, ways: Iterable[str]) -> None:
        """Say that there are some ways, and nothing of others: what was moved to one of them is held no longer."""
        keys = [(clean(key),) for key in ways]
        with self._opened.write(durable=False) as db:
            db.executemany("UPDATE way SET known = 1 WHERE key = ? AND known = 0", keys)
        self._ways.forget()

    def reroute(self, route: Route) -> int:
        """Route anew what could not be routed and was queued again by `retry`; gives how many went somewhere."""
        waiting = self.ls(ways=(NO_WAY,), states=(DeliveryState.QUEUED,))
        n = sum(self._intake.reroute(delivery, self.instance, route) for delivery in waiting)
        self.tidy()
        return n
