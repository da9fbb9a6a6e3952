"""What senders give us goes into the spool, and only then are they told that we have it."""

from __future__ import annotations

import asyncio
import enum
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcm.errors import DcmError, SpoolFullError
from dcm.route import UnroutedError
from dcm.spool._acks import Verdicts
from dcm.spool._intake import Arrived
from dcm.spool._journal import DamagedError, failure
from dcm.spool._words import Admitted, Arrival, DeliveryState, OnConflict, Origin
from dcm.text import plural, safe_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from dcm._bridge import Bridge
    from dcm.instance import Instance
    from dcm.net import DicomEvent
    from dcm.net._incoming import Pending
    from dcm.route import Router, Way
    from dcm.spool._intake import Route
    from dcm.spool._spool import Spool

    _Outcome: TypeAlias = "tuple[Admitted | BaseException, asyncio.Future[bool] | None]"

__all__ = ["Ack", "Reception", "Tally", "decide"]

log = logging.getLogger(__name__)

_SUCCESS = 0x0000
_OUT_OF_RESOURCES = 0xA700
_TELL_FULL_EVERY = 60.0
# With `Ack.RECEIVED`: for so long after something could not be kept senders are told only of what is kept.
_CAREFUL_FOR = 60.0
# With `Ack.RECEIVED`: what may wait for the disk before senders have to.
_MAX_LATE = 64 << 20


class Ack(enum.Enum):
    """When a sender is told that we have an instance."""

    DURABLE = "durable"  #: when it is on stable storage in the spool
    DELIVERED = "delivered"  #: when every destination has it
    #: when it has come: what is not on the disk yet is lost with the process. Not while the disk takes nothing.
    RECEIVED = "received"


@dataclass
class Tally:
    """What came in since the start.

    Attributes
    ----------
    received, n_bytes : int
        Instances, and their bytes; each is in one of the counts below.
    new, repeated, conflicts : int
        Instances that were kept: seen for the first time, or again with the same or with other bytes. They were
        acknowledged, unless they are among the `late`.
    refused : int
        Instances that could not be kept, or were no proper requests, and whose senders were told so.
    lost : int
        With `Ack.RECEIVED`: instances that could not be kept, and whose senders were told that we have them.
    late : int
        With `Ack.DELIVERED`: instances that were kept, but did not reach every destination in time, so that their
        senders were told that they failed.
    """

    received: int = 0
    n_bytes: int = 0
    new: int = 0
    repeated: int = 0
    conflicts: int = 0
    refused: int = 0
    lost: int = 0
    late: int = 0

    @property
    def acknowledged(self) -> int:
        """Instances whose senders were told that we have them."""
        return self.new + self.repeated + self.conflicts + self.lost - self.late


class _Arrival:
    """An instance that has come, and what to do when it is kept."""

    __slots__ = ("instance", "origin", "then", "ways")

    def __init__(self, instance: Instance, origin: Origin, then: Callable[[_Arrival, _Outcome], None]) -> None:
        self.instance = instance
        self.origin = origin
        self.then = then
        self.ways: list[Way] = []


class Reception:
    """The handler of a listener: keeps what comes, and decides on the answer.

    Parameters
    ----------
    spool : Spool
        Where it is kept.
    router : Router
        Says where it goes.
    bridge : Bridge
        A lane of it writes small instances, all that have come meanwhile at a time; its other threads write large ones.
    admitted : callable
        Called in the event loop with the ways on which there is something new.
    broken : callable
        Called with the error when the journal is damaged, which another start mends.
    ack : Ack, optional
    ack_timeout : float, optional
        With `Ack.DELIVERED`: seconds until a sender is told that it failed.

    Attributes
    ----------
    router : Router
        May be replaced at any time.
    """

    def __init__(
        self,
        spool: Spool,
        router: Router,
        bridge: Bridge,
        admitted: Callable[[Sequence[Way]], None],
        broken: Callable[[DcmError], None],
        *,
        ack: Ack = Ack.DURABLE,
        ack_timeout: float = 60.0,
    ) -> None:
        self.tally = Tally()
        self._spool = spool
        self.router = router
        self._bridge = bridge
        self._admitted = admitted
        self._broken = broken
        self._ack = ack
        self._ack_timeout = ack_timeout
        self._write = bridge.lane(self._admit, _go_on)
        self._late: set[asyncio.Task[None]] = set()
        self._late_bytes = 0
        self._full = False
        self._told_full = self._failed = -math.inf
        self.verdicts = Verdicts(asyncio.get_running_loop())

    async def __call__(self, event: DicomEvent) -> int:
        """Take what a sender asks us to store; the status of the answer (PS3.4 section B.2.3)."""
        instance = event.instance
        if instance is None:
            return _SUCCESS  # C-ECHO
        origin = _origin(event)
        self._came(instance)
        try:
            if self._ack is Ack.RECEIVED and await self._may_keep_later(instance):
                self._keep_later(instance, origin)
                return _SUCCESS
            admitted, future = await self._keep(instance, origin)
        except asyncio.CancelledError:
            self._came(instance, -1)
            raise
        except (DcmError, OSError) as error:
            self.tally.refused += 1
            self._not_kept(_uid(instance), origin, error)
            return _OUT_OF_RESOURCES
        if future is None:
            return _SUCCESS
        return await self._delivered(admitted.entry_id, future)

    def begin(self, event: DicomEvent, pending: Pending) -> bool:
        """Take a small instance, and answer when it is kept, without a task: that would be half of the work.

        False where it takes more than that.
        """
        instance = event.instance
        if self._ack is not Ack.DURABLE or instance is None or not instance.in_memory:
            return False

        def then(arrival: _Arrival, outcome: _Outcome) -> None:
            admitted = outcome[0]
            if not pending.answer(_SUCCESS if isinstance(admitted, Admitted) else _OUT_OF_RESOURCES):
                self._came(arrival.instance, -1)
            elif isinstance(admitted, Admitted):
                self._kept(arrival, admitted)
            else:
                self.tally.refused += 1
                self._not_kept(_uid(arrival.instance), arrival.origin, admitted)

        self._came(instance)
        self._write(_Arrival(instance, _origin(event), then))
        return True

    def _came(self, instance: Instance, n: int = 1) -> None:
        """Count it; or not, where time was up when it came: nobody is told anything, and it comes again."""
        self.tally.received += n
        self.tally.n_bytes += n * instance.size

    async def finish(self) -> None:
        """Wait until what was acknowledged beforehand is kept; who waits for a delivery waits no longer."""
        self.verdicts.give_up()
        if self._late:
            await asyncio.wait(self._late)

    async def _keep(self, instance: Instance, origin: Origin) -> tuple[Admitted, asyncio.Future[bool] | None]:
        done: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()

        def then(arrival: _Arrival, outcome: _Outcome) -> None:
            if not done.done():  # time was up when it came
                done.set_result(outcome)

        arrival = _Arrival(instance, origin, then)
        if instance.in_memory:
            self._write(arrival)
        else:
            # A large one takes its time: nobody waits for that.
            _go_on(await self._bridge.run(self._admit, [arrival]))
        admitted, future = await done
        if isinstance(admitted, BaseException):
            raise admitted
        self._kept(arrival, admitted)
        return admitted, future

    def _kept(self, arrival: _Arrival, admitted: Admitted) -> None:
        """Count an instance that is kept, and have it delivered."""
        uid, origin = arrival.instance.sop_instance_uid, arrival.origin
        if self._full:
            self._full = False
            log.warning("there is room in the spool again")
        if admitted.kind is Arrival.NEW:
            self.tally.new += 1
        elif admitted.kind is Arrival.REPEATED:
            self.tally.repeated += 1
        else:
            self.tally.conflicts += 1
            what = "it is delivered as well"
            if self._spool.on_conflict is OnConflict.QUARANTINE:
                what = "it is in quarantine now, see dcm spool ls"
            log.warning("%s of %s was here before, with other bytes: %s", safe_text(uid, 80), _sender(origin), what)
        if log.isEnabledFor(logging.INFO):
            kind, dests = admitted.kind.value, plural(admitted.n_deliveries, "destination")
            log.info("received %s of %s: %s, for %s", safe_text(uid, 80), _sender(origin), kind, dests)
        self._admitted(arrival.ways if admitted.n_deliveries else ())

    def _admit(self, batch: Sequence[_Arrival]) -> list[tuple[_Arrival, _Outcome]]:
        """Keep some, in a worker thread."""
        admitted: Sequence[Admitted | BaseException]
        try:
            admitted = self._spool.admit_all([Arrived(each.instance, each.origin, self._route(each)) for each in batch])
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to those who wait
            admitted = [error for _ in batch]
        finally:
            for arrival in batch:
                arrival.instance.close()
        return [(arrival, self._outcome(each)) for arrival, each in zip(batch, admitted, strict=True)]

    def _outcome(self, admitted: Admitted | BaseException) -> _Outcome:
        try:
            return admitted, self._expect(admitted)
        except DcmError as error:
            return error, None

    def _route(self, arrival: _Arrival) -> Route:
        return lambda instance: [way.key for way in decide(self.router, instance, arrival.ways)]

    def _expect(self, admitted: Admitted | BaseException) -> asyncio.Future[bool] | None:
        """Where the sender waits for it: what becomes of an instance."""
        if self._ack is Ack.DELIVERED and isinstance(admitted, Admitted) and admitted.entry_id:
            return self.verdicts.expect(admitted.entry_id, self._states_of)
        return None

    def _states_of(self, entry_id: int) -> dict[int, DeliveryState]:
        return {delivery.id: delivery.state for delivery in self._spool.deliveries_of(entry_id)}

    async def _delivered(self, entry_id: int, future: asyncio.Future[bool]) -> int:
        """Wait until every destination has it; for a time."""
        try:
            await asyncio.wait([future], timeout=self._ack_timeout)
            if future.done() and future.result():
                return _SUCCESS
        finally:
            self.verdicts.forget(entry_id, future)
        self.tally.late += 1
        return _OUT_OF_RESOURCES

    async def _may_keep_later(self, instance: Instance) -> bool:
        """Whether its sender need not wait for the disk; waits itself while too much does.

        Where something could not be kept a moment ago, a full disk say, the next one may not be either: what was
        acknowledged would be lost.
        """
        while time.monotonic() - self._failed > _CAREFUL_FOR:
            if not self._late or self._late_bytes + instance.size <= _MAX_LATE:
                return True
            await asyncio.wait(self._late, return_when=asyncio.FIRST_COMPLETED)
        return False

    def _keep_later(self, instance: Instance, origin: Origin) -> None:
        """Begin to keep it."""
        self._late_bytes += instance.size
        task = asyncio.get_running_loop().create_task(self._keep_now(instance, origin))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _keep_now(self, instance: Instance, origin: Origin) -> None:
        try:
            await self._keep(instance, origin)
        except (DcmError, OSError) as error:
            self.tally.lost += 1
            log.error("LOST, though acknowledged: %s", _uid(instance))
            self._not_kept(_uid(instance), origin, error)
        finally:
            self._late_bytes -= instance.size

    def unkept(self, event: DicomEvent, uid: str, error: Exception) -> None:
        """Learn of an instance that could not be written while it came; its sender is told so."""
        self.tally.received += 1
        self.tally.refused += 1
        if isinstance(error, OSError):
            error = failure(error, self._spool.path)  # a full disk is called the same, whoever meets it
        self._not_kept(uid, _origin(event), error)

    def refused(self) -> None:
        """Learn of a request that nobody can make anything of; its sender is told so."""
        self.tally.received += 1
        self.tally.refused += 1

    def _not_kept(self, uid: str, origin: Origin, error: BaseException) -> None:
        """Say why; that the disk is full is said now and then, and not for every instance that is sent meanwhile."""
        if isinstance(error, DcmError) and isinstance(error.__cause__, DamagedError):
            self._broken(error)
        self._failed = time.monotonic()
        if not isinstance(error, SpoolFullError):
            log.error("cannot keep %s of %s: %s", uid, _sender(origin), safe_text(error))
        elif not self._full and time.monotonic() - self._told_full > _TELL_FULL_EVERY:
            # Where small instances still fit, and large ones do not, it is full and not full all the time.
            self._full = True
            self._told_full = time.monotonic()
            log.error("%s: senders are told to come back later", safe_text(error))


def _go_on(outcomes: Sequence[tuple[_Arrival, _Outcome]]) -> None:
    """Let those go on whose instances were written."""
    for arrival, outcome in outcomes:
        try:
            arrival.then(arrival, outcome)
        except Exception:  # noqa: PERF203 - the others are to be answered
            log.exception("%s is kept, but what comes then failed", _uid(arrival.instance))


def decide(router: Router, instance: Instance, noted: list[Way]) -> tuple[Way, ...]:
    """Where an instance goes; all ways of it are noted as well, for couriers, also where some are not known."""
    try:
        ways = router.decide(instance)
    except UnroutedError as error:
        noted += [way for way in error.ways if way not in noted]
        raise
    noted += [way for way in ways if way not in noted]
    return ways


def _origin(event: DicomEvent) -> Origin:
    return Origin(event.calling_ae, event.called_ae, event.address)


def _uid(instance: Instance) -> str:
    return safe_text(instance.sop_instance_uid, 80)


def _sender(origin: Origin) -> str:
    return safe_text(f"{origin.calling_ae}@{origin.address}", 60)
