"""A router that can be left running: it listens, keeps what comes in a spool, and delivers it by its routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING

from dcm._bridge import Bridge
from dcm.errors import DcmError, SpoolError
from dcm.net import EventFilter
from dcm.net._tasks import cancel_all
from dcm.spool._apart import check_apart
from dcm.spool._control import Bell
from dcm.spool._fleet import Fleet
from dcm.spool._notify import Notifier
from dcm.spool._reception import Ack, Reception, Tally, decide
from dcm.spool._snapshot import Snapshot
from dcm.spool._words import Counts, Recovered
from dcm.text import plural, safe_text

if TYPE_CHECKING:
    from dcm.instance import Instance
    from dcm.net import LocalEntity
    from dcm.net._listener import Listener
    from dcm.route import Router, Way
    from dcm.spool._spool import Spool
    from dcm.spool._words import Settlement

__all__ = ["Forwarder"]

log = logging.getLogger(__name__)

# Large instances are written by these while they come, and what is looked for in the journal is by them, too; small
# instances have a thread of their own.
_THREADS = 8
# What arrives within so many seconds is delivered together.
_GATHER = 0.1
# How often, at most, it is told how things stand.
_TELL_EVERY = 0.5
# What deliveries that are under way get in any case, when those who send to us have used up the time.
_LAST_SECONDS = 1.0


class Forwarder:
    """Receives, keeps and delivers, until it is asked to stop.

    Parameters
    ----------
    entity : LocalEntity
        Who listens, and where.
    router : Router
        Says where each instance goes.
    spool : Spool
        An open one. It is the caller's, who closes it.
    ack : Ack, optional
        When senders are told that we have an instance.
    ack_timeout : float, optional
        With `Ack.DELIVERED`: after how many seconds without a delivery a sender is told that it failed.
    stop_within : float, optional
        Seconds that those who send, and what is being delivered, have to finish when it stops.
    inactive_timeout : float, optional
        Stop when nothing came in for so many seconds, and nobody is connected. Not by itself where not given.
    idle : float, optional
        Seconds after which an association with a destination is released that nothing was sent on.
    notifier : Notifier, optional
        Who is told when it is ready and when it stops; by default what systemd has set.

    Raises
    ------
    UsageError
        A destination is the spool, or in it, or the other way round; or it is where we listen ourselves.

    Attributes
    ----------
    ready : callable
        Called with the port when it listens.
    progress : callable
        Called with a `Snapshot` now and then, when something has changed.
    before, now : Counts
        What was in the spool when it started, and what was when that was last looked at; in the end what is left.
    recovered : Recovered
        What a crash had left, and was put right at the start.
    tally : Tally
        What came in since the start.
    """

    def __init__(
        self,
        entity: LocalEntity,
        router: Router,
        spool: Spool,
        *,
        ack: Ack = Ack.DURABLE,
        ack_timeout: float = 60.0,
        stop_within: float = 10.0,
        inactive_timeout: float | None = None,
        idle: float = 20.0,
        notifier: Notifier | None = None,
    ) -> None:
        _check_ways(router, spool, entity)
        self.tally = Tally()
        self.before = self.now = Counts()
        self.recovered = Recovered()
        self.ready: Callable[[int], None] = lambda _: None
        self.progress: Callable[[Snapshot], None] = lambda _: None
        self._entity = entity
        self._router = router
        self._spool = spool
        self._ack = ack
        self._ack_timeout = ack_timeout
        self._stop_within = stop_within
        self._inactive_timeout = inactive_timeout
        self._notifier = notifier if notifier is not None else Notifier()
        gather = 0.0 if ack is Ack.DELIVERED else _GATHER
        self._fleet = Fleet(spool, idle=idle, gather=gather, changed=self._changed)
        self._bell = Bell(spool.path)
        self._asked = asyncio.Event()
        self._last_received = 0.0
        self._listener: Listener | None = None
        self._reception: Reception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._telling: asyncio.Task[None] | None = None
        self._rerouting: asyncio.Task[None] | None = None
        self._reroute_again = False
        self._over = False
        self._failure: DcmError | None = None

    def stop(self) -> None:
        """Ask it to stop, from the event loop. It finishes what is under way."""
        self._asked.set()

    async def use(self, router: Router) -> None:
        """Go on by other rules, while it runs.

        What is queued stays as it is: on ways that there are no more it is held, until there is such a way again.
        Studies of which a part has come are decided anew, with the rest of them.

        Parameters
        ----------
        router : Router
            Says where each instance goes from now on.

        Raises
        ------
        UsageError
            A destination is the spool, or where we listen ourselves: all stays as it was.
        SpoolError
            The spool cannot be used.
        """
        _check_ways(router, self._spool, self._entity)
        self._router = router
        if self._reception is not None:
            self._reception.router = router
        await self._bridge.run(self._spool.hold, [way.key for way in router.ways])
        self._fleet.add(router.ways)
        self._fleet.wake_all()
        self._changed()

    async def run(self) -> None:
        """Do it, until it is asked to stop or nothing has come for long enough.

        Raises
        ------
        ListenError
            The port is not to be had.
        SpoolError
            The spool cannot be used, or its journal turned out to be damaged: the next start mends it.
        """
        async with Bridge(_THREADS) as self._bridge:
            await self._bridge.run(self._bell.open)
            try:
                await self._bridge.run(self._spool.hold, [way.key for way in self._router.ways])
                self.before = self.now = await self._bridge.run(self._spool.counts)
                self._fleet.add(self._router.ways)
                self._bell.listen(self._rung)
                await self._recover()
                await self._serve()
            finally:
                self._bell.ignore()
                await self._fleet.stop(_LAST_SECONDS)
                await self._tell_last()
                await self._bridge.run(self._bell.close)
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: DcmError) -> None:
        """Stop, for there is no use in going on."""
        self._failure = error
        self.stop()

    async def _recover(self) -> None:
        """Put right what a crash has left."""
        ways: list[Way] = []
        recovered = self.recovered = await self._bridge.run(self._spool.recover, self._noting(ways))
        self._admitted(ways)
        if recovered.readmitted:
            log.warning("%s that a crash had left: taken in again", plural(recovered.readmitted, "instance"))
        await self._reroute()

    async def _reroute(self) -> None:
        """Route anew what could not be routed, and was given another try; learn what was moved from way to way."""
        ways: list[Way] = []
        await self._bridge.run(self._spool.look_again)
        await self._bridge.run(self._spool.know, [way.key for way in self._router.ways])
        await self._bridge.run(self._spool.reroute, self._noting(ways))
        self._admitted([*ways, *self._router.ways])

    def _noting(self, ways: list[Way]) -> Callable[[Instance], list[str]]:
        """The router as the spool asks it; the ways are noted, for couriers."""

        def route(instance: Instance) -> list[str]:
            decided = decide(self._router, instance, ways)
            return [way.key for way in decided]

        return route

    async def _serve(self) -> None:
        """Receive, then deliver what there is time for."""
        loop = asyncio.get_running_loop()
        reception = self._reception = self._make_reception()
        async with self._entity.listening() as listener:
            self._listener = listener
            await listener.register(
                *(reception, EventFilter(), self._spool.new_temp),
                unkept=reception.unkept,
                begin=reception.begin,
                refused=reception.refused,
            )
            self.ready(listener.port)
            self._notifier.ready("listening")
            self._changed()
            asked = await self._until_asked(listener)
            self._notifier.stopping("finishing what is under way")
            deadline = loop.time() + self._stop_within
            await listener.drain(self._stop_within)
            reception.verdicts.give_up()
        self._listener = None
        await reception.finish()
        if not asked:
            await self._unless_asked(self._fleet.drained())
        await self._fleet.stop(max(_LAST_SECONDS, deadline - loop.time()))

    def _make_reception(self) -> Reception:
        reception = Reception(
            *(self._spool, self._router, self._bridge, self._came, self._fail),
            ack=self._ack,
            ack_timeout=self._ack_timeout,
        )
        self.tally = reception.tally
        loop = asyncio.get_running_loop()

        def settled(settlements: Sequence[Settlement]) -> None:
            reception.verdicts.settled(settlements)
            loop.call_soon_threadsafe(self._changed)

        self._spool.on_settled = settled
        return reception

    def _came(self, ways: Sequence[Way]) -> None:
        """An instance has come in, for some ways."""
        self._last_received = asyncio.get_running_loop().time()
        self._admitted(ways)

    def _admitted(self, ways: Sequence[Way]) -> None:
        """Something is in the spool, for some ways."""
        self._fleet.add(ways)
        self._fleet.wake(ways)
        self._changed()

    def _rung(self) -> None:
        """Somebody has changed the journal."""
        self._fleet.wake_all()
        self._changed()
        if self._rerouting is None:
            self._begin_to_reroute()
        else:
            self._reroute_again = True

    def _begin_to_reroute(self) -> None:
        self._reroute_again = False
        self._rerouting = asyncio.get_running_loop().create_task(self._reroute())
        self._rerouting.add_done_callback(self._rerouted)

    def _rerouted(self, task: asyncio.Task[None]) -> None:
        self._rerouting = None
        _complain(task, "cannot route anew")
        if self._reroute_again and not self._over:
            self._begin_to_reroute()

    # -- the end

    async def _until_asked(self, listener: Listener) -> bool:
        """Wait until it is to stop; whether it was asked to."""
        if self._inactive_timeout is None:
            await self._asked.wait()
            return True
        return not await self._unless_asked(self._quiet(listener, self._inactive_timeout))

    async def _quiet(self, listener: Listener, seconds: float) -> None:
        """Wait until nothing came in for some time, and nobody is connected."""
        loop = asyncio.get_running_loop()
        self._last_received = loop.time()
        while True:
            await listener.deserted()
            left = self._last_received + seconds - loop.time()
            if left <= 0:
                return
            await asyncio.sleep(left)

    async def _unless_asked(self, coroutine: Coroutine[object, object, None]) -> bool:
        """Wait for something, but no longer than until it is asked to stop; whether it came to its end."""
        asked = asyncio.ensure_future(self._asked.wait())
        task = asyncio.ensure_future(coroutine)
        try:
            await asyncio.wait([asked, task], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            return bool(task.done())
        finally:
            await cancel_all(asked, task)

    # -- how things stand

    def _changed(self) -> None:
        """Something has changed, which is told in a moment, with all that changes until then."""
        if self._timer is None and self._telling is None and not self._over:
            self._timer = asyncio.get_running_loop().call_later(_TELL_EVERY, self._time_to_tell)

    def _time_to_tell(self) -> None:
        self._timer = None
        self._telling = asyncio.get_running_loop().create_task(self._tell())
        self._telling.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling = None
        _complain(task, "cannot say how things stand")

    async def _tell(self) -> None:
        self.now = await self._bridge.run(self._spool.counts)
        n_associations = self._listener.n_associations if self._listener is not None else 0
        snapshot = Snapshot(self.tally, self.before, self.now, tuple(self._fleet.lanes.values()), n_associations)
        self._notifier.status(snapshot.summary())
        self.progress(snapshot)

    async def _tell_last(self) -> None:
        """How things stand in the end."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        tasks = [task for task in (self._telling, self._rerouting) if task is not None]
        if tasks:
            await asyncio.wait(tasks)
        try:
            self.now = await self._bridge.run(self._spool.counts)
        except SpoolError as error:
            log.error("cannot say how things stand: %s", safe_text(error))


def _check_ways(router: Router, spool: Spool, entity: LocalEntity) -> None:
    """See that nothing is delivered to ourselves."""
    for way in router.ways:
        check_apart(way, spool.path, entity.local)


def _complain(task: asyncio.Task[None], what: str) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s: %s", what, safe_text(error))
