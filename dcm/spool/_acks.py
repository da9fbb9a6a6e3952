"""Waiting until every destination has an instance, for senders who are told only then."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from dcm.errors import DcmError
from dcm.spool._words import DeliveryState
from dcm.text import safe_text

if TYPE_CHECKING:
    from dcm.spool._words import Settlement

__all__ = ["Verdicts"]

log = logging.getLogger(__name__)

_GOOD = frozenset({DeliveryState.DELIVERED, DeliveryState.FILTERED})


class Verdicts:
    """Learns what becomes of deliveries, and tells those who wait for the entries that they belong to.

    Parameters
    ----------
    loop : asyncio.AbstractEventLoop
        Where they wait. All else may be called from any thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._cases: dict[int, list[_Case]] = {}
        self._over = False

    def expect(self, entry_id: int, states_of: Callable[[int], Mapping[int, DeliveryState]]) -> asyncio.Future[bool]:
        """Say that somebody is going to wait for an entry.

        Parameters
        ----------
        entry_id : int
        states_of : callable
            ``states_of(entry_id)`` reads the states of its deliveries from the journal, by their ids. It is called
            when settlements are heard of already, so that none falls in between.

        Returns
        -------
        Future
            Gets True when all of its destinations have it, False when one does not take it, or nobody can say. `forget`
            it in the end.
        """
        case = _Case(self._loop.create_future())
        with self._lock:
            self._cases.setdefault(entry_id, []).append(case)
        try:
            states = states_of(entry_id)
        except DcmError as error:
            # It is in the spool, and will be delivered: only to wait for that makes no sense.
            log.error("a sender is not told that all have its instance: %s", safe_text(error))
            self._tell(case, False)
            return case.future
        with self._lock:
            case.states = {**states, **case.states}
            case.known = True
            self._judge(case)
        return case.future

    def settled(self, settlements: Iterable[Settlement]) -> None:
        """Learn what was recorded of some deliveries."""
        with self._lock:
            for settlement in settlements:
                for case in self._cases.get(settlement.entry_id, ()):
                    case.states[settlement.delivery_id] = settlement.state
                    self._judge(case)

    def forget(self, entry_id: int, future: asyncio.Future[bool]) -> None:
        """Say that nobody waits for that any more."""
        with self._lock:
            left = [case for case in self._cases.get(entry_id, ()) if case.future is not future]
            if left:
                self._cases[entry_id] = left
            else:
                self._cases.pop(entry_id, None)

    def give_up(self) -> None:
        """Let nobody wait any longer, from now on: what is not delivered yet will not be in time."""
        with self._lock:
            self._over = True
            for cases in self._cases.values():
                for case in cases:
                    self._tell(case, False)

    def _judge(self, case: _Case) -> None:
        states = case.states.values()
        if any(state not in _GOOD and state is not DeliveryState.QUEUED for state in states):
            self._tell(case, False)
        elif case.known and all(state in _GOOD for state in states):
            self._tell(case, True)
        elif self._over:
            self._tell(case, False)

    def _tell(self, case: _Case, verdict: bool) -> None:
        self._loop.call_soon_threadsafe(_set, case.future, verdict)


class _Case:
    """One who waits, and what is known of the deliveries that he waits for."""

    def __init__(self, future: asyncio.Future[bool]) -> None:
        self.future = future
        self.states: dict[int, DeliveryState] = {}
        self.known = False  # the journal was read


def _set(future: asyncio.Future[bool], verdict: bool) -> None:
    if not future.done():
        future.set_result(verdict)
