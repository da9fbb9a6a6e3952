"""The last step of a delivery: an instance goes through the filter of its way, and to the destination."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from dcm.errors import DcmError, StoreError
from dcm.route import Outlet
from dcm.spool._ledger import Ledger
from dcm.spool._retry import Fate, Verdict, judge
from dcm.spool._words import DamagedInstanceError
from dcm.store.base import TransferMethod
from dcm.text import safe_text

if TYPE_CHECKING:
    from dcm._bridge import Bridge
    from dcm.instance import Instance
    from dcm.route import Way
    from dcm.spool._breaker import Breaker

__all__ = ["Dispatch", "log_end", "unopened"]

log = logging.getLogger(__name__)

# The methods of a way are for files of a source. Those in the spool are our own: whole, and soon to go, so that nobody
# may have a link to them.
_METHODS = (TransferMethod.LOCAL_COPY, TransferMethod.PROXY)

# With the UID, the way, and why.
_WORDS = {
    Fate.DELIVERED: (logging.INFO, "delivered %s to %s%s"),
    Fate.FILTERED: (logging.INFO, "a filter keeps %s back from %s%s"),
    Fate.RETRY: (logging.INFO, "%s is tried again later at %s%s"),
    Fate.QUARANTINE: (logging.WARNING, "%s is not delivered to %s: in quarantine now, see dcm spool ls%s"),
    Fate.LOST: (logging.WARNING, "%s is not delivered to %s: LOST%s"),
}


class Dispatch:
    """The open end of a way.

    Parameters
    ----------
    way : Way
    breaker : Breaker
        Learns how the destination is.
    idle : float
        After how many seconds without work the destination is closed.

    Attributes
    ----------
    cut : bool
        Whether what is on its way was given up.
    """

    def __init__(self, way: Way, breaker: Breaker, idle: float) -> None:
        self.cut = False
        self._way = way
        self._breaker = breaker
        self._ledger = Ledger()
        self._outlet = Outlet(way.sink, self._ledger, name=way.key, methods=_METHODS, idle=idle)

    async def filtered(self, instance: Instance, bridge: Bridge) -> Instance | Verdict:
        """What the filter of the way makes of an instance, in a worker thread; or why that is the end of it."""
        filt = self._way.filt
        if filt is None:
            return instance
        try:
            changed = await bridge.run(filt.apply, instance, cost=instance.size)
        except (StoreError, OSError, MemoryError) as error:
            return Verdict(Fate.RETRY, safe_text(f"cannot be read: {error}"))
        except Exception as error:
            # A filter is anybody's code, and pydicom raises all kinds of things for data sets that are not as they
            # should be. This instance waits for a human; the rest goes on.
            log.debug("%s", self._way, exc_info=error)
            return Verdict(Fate.QUARANTINE, safe_text(_reason(error)))
        return Verdict(Fate.FILTERED) if changed is None else changed

    async def place(self, instance: Instance, ticket: int) -> Verdict | None:
        """Send an instance, and see what the destination makes of it.

        Parameters
        ----------
        instance : Instance
        ticket : int
            From the breaker, which learns of the end.

        Returns
        -------
        Verdict or None
            None where it was given up, and has not got there.
        """
        verdict = await self._placed(instance)
        if verdict is None or verdict.sound is None:
            self._breaker.undecided(ticket)
        else:
            self._learn(verdict, ticket)
        return verdict

    async def _placed(self, instance: Instance) -> Verdict | None:
        uid = instance.sop_instance_uid
        safe, error = False, None
        try:
            await self._ledger.begin(uid)
        except asyncio.CancelledError:
            return None
        cancelled = False
        try:
            if not self.cut:
                safe = await self._outlet.place(instance)
        except asyncio.CancelledError:
            cancelled = True
        except Exception as exc:
            # Destinations can be anybody's code as well: whatever it is, this goes on.
            error = exc
            if not isinstance(exc, DcmError) and not self.cut:
                log.error("%s failed in an unforeseen way", self._way, exc_info=exc)
        verdict = judge(self._ledger.end(uid), safe=safe, error=error)
        # What has got there in the last moment has got there.
        return None if (cancelled or self.cut) and verdict.fate is not Fate.DELIVERED else verdict

    def _learn(self, verdict: Verdict, ticket: int) -> None:
        breaker = self._breaker
        closed = breaker.closed
        if verdict.sound:
            breaker.succeeded()
            if not closed:
                log.warning("%s works again", self._way.sink)
            return
        breaker.failed(ticket, verdict.reason, lost=verdict.lost)
        if closed and not breaker.closed:
            log.warning("%s is left alone for a while: %s", self._way.sink, verdict.reason)

    async def close(self, *, now: bool = False) -> None:
        """Close the destination when all has ended that is on its way.

        Parameters
        ----------
        now : bool, optional
            Give up what is on its way. What gets there all the same is known when this returns.
        """
        self.cut = self.cut or now
        await self._outlet.close(now=now)


def _reason(error: Exception) -> str:
    """Why a filter has failed, in words of ours: those of others may quote the data, and this goes into the journal."""
    cause = error.__cause__ if isinstance(error, DcmError) else error
    if isinstance(error, DcmError) and (cause is None or isinstance(cause, DcmError)):
        return error.message
    return f"the filter failed: {type(cause).__name__}"


def unopened(error: DcmError) -> Verdict:
    """What becomes of a delivery of which the instance cannot be had."""
    fate = Fate.RETRY
    if isinstance(error, DamagedInstanceError):
        fate = Fate.QUARANTINE
    elif isinstance(error.__cause__, FileNotFoundError):
        fate = Fate.LOST
    return Verdict(fate, safe_text(error.message))


def log_end(uid: str, way: Way, verdict: Verdict) -> None:
    """Say what became of a delivery; loudly where a human has to see to it."""
    level, words = _WORDS.get(verdict.fate, (logging.DEBUG, "%s was not tried at %s%s"))
    if log.isEnabledFor(level):
        why = f": {verdict.reason}" if verdict.reason else ""
        log.log(level, words, safe_text(uid, 80), safe_text(way), why)
