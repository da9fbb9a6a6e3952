"""What anybody may do with a spool, also while a forwarder has it: look into it, and mend it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from dcm.errors import SpoolError
from dcm.spool import _mending
from dcm.spool._journal import Journal
from dcm.spool._mending import Choice
from dcm.spool._queue import Queues
from dcm.spool._records import Ways
from dcm.spool._words import Counts, Delivery, DeliveryState
from dcm.text import safe_text

__all__ = ["SpoolView"]

_log = logging.getLogger(__name__)

_ALIVE = (DeliveryState.QUEUED, DeliveryState.HELD, DeliveryState.QUARANTINED)


class SpoolView:
    """The half of a spool that says what is in it, and what became of it.

    Attributes
    ----------
    path : Path
        Its directory.
    """

    path: Path
    _journal: Journal | None
    _ways: Ways
    _queues: Queues

    @property
    def _opened(self) -> Journal:
        if self._journal is None:
            raise SpoolError(f"the spool {safe_text(self.path)} is closed")
        return self._journal

    def counts(self) -> Counts:
        """What has passed through, and what is in it."""
        return _mending.counts(self._opened)

    def ls(
        self,
        *,
        uids: Sequence[str] = (),
        ways: Sequence[str] | None = None,
        states: Sequence[DeliveryState] = _ALIVE,
    ) -> Iterator[Delivery]:
        """Yield deliveries in order of arrival.

        Parameters
        ----------
        uids : sequence of str, optional
            Of these SOP Instance UIDs.
        ways : sequence of str, optional
            Of these ways, or to these destinations; `NO_WAY` for what could not be routed.
        states : sequence of DeliveryState, optional
            In these states, by default all that are not at an end. Of an entry that is through less is known.
        """
        return _mending.deliveries(self._opened, self._ways, Choice(uids, ways, states))

    def retry(
        self,
        *,
        uids: Sequence[str] = (),
        ways: Sequence[str] | None = None,
        states: Sequence[DeliveryState] = (DeliveryState.QUARANTINED,),
    ) -> int:
        """Queue deliveries anew, to be tried at once; gives how many. The parameters are those of `ls`."""
        return _mending.retry(self._opened, self._ways, Choice(uids, ways, states))

    def drop(
        self,
        *,
        uids: Sequence[str] = (),
        ways: Sequence[str] | None = None,
        states: Sequence[DeliveryState] = (DeliveryState.QUARANTINED,),
    ) -> int:
        """Give deliveries up; gives how many. The parameters are those of `ls`."""
        n = _mending.drop(self._opened, self._ways, Choice(uids, ways, states))
        self.tidy()
        return n

    def move(
        self,
        way: str,
        *,
        uids: Sequence[str] = (),
        ways: Sequence[str] | None = None,
        states: Sequence[DeliveryState] = _ALIVE,
    ) -> int:
        """Have deliveries go another way instead, from now on; gives how many.

        Parameters
        ----------
        way : str
            The key of the way: see `dcm.route.Way`. It is held until a forwarder has a route that goes there.
        uids, ways, states
            Those of `ls`.
        """
        n = _mending.move(self._opened, self._ways, Choice(uids, ways, states), way)
        self.tidy()
        return n

    def deliveries_of(self, entry_id: int) -> tuple[Delivery, ...]:
        """The deliveries of an entry as they are now; empty when all of them are through."""
        return _mending.of_entry(self._opened, self._ways, entry_id)

    def ways(self) -> tuple[str, ...]:
        """The keys of all ways that there ever was something to deliver on."""
        with self._opened.read() as db:
            return tuple(key for (key,) in db.execute("SELECT key FROM way WHERE key <> '' ORDER BY key"))

    def tidy(self) -> None:
        """Remember what is through, and remove its files; what cannot be done now is done the next time."""
        try:
            self._queues.tidy()
        except SpoolError as exc:
            _log.warning("what is delivered stays in the spool for now: %s", safe_text(exc))
