"""Sending instances to one peer (C-STORE as a user, PS3.4 annex B), straight from where they are, never decoded.

A peer answers each instance before it takes the next one, so most of the time goes by in waiting for it. Where that is
long, another association is tried, and kept if more gets through with it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dcm.net._send_line import Line, SendState
from dcm.net._tasks import cancel_all

if TYPE_CHECKING:
    from dcm._bridge import Bridge
    from dcm.net._owner import Owner
    from dcm.net._send_queue import SendQueue
    from dcm.node import DcmNode, RemoteNode
    from dcm.report import TransferReport

__all__ = ["Pace", "Sender"]

_MOST_LINES = 4
# What is looked at before anything is concluded, and what would not be worth another association.
_WINDOW = 24
_SPAN = 0.1
_LONG_WAIT = 0.0015
_GAIN = 1.1
# What an instance costs a peer beyond its bytes, in bytes.
_EACH = 100_000


class Pace:
    """Whether another association would help, or does.

    Parameters
    ----------
    most : int
        How many there may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._n_lines = 1
        self._asked = False
        self._on_trial = False
        self._best = 0.0
        self.start(0.0)

    def start(self, now: float) -> None:
        """Look anew from now on."""
        self._since = now
        self._n = 0
        self._work = 0
        self._waited = 0.0

    def answered(self, now: float, n_bytes: int, waited: float, backlog: int) -> int:
        """Note that an instance was answered.

        Parameters
        ----------
        now : float
        n_bytes : int
            How large it was.
        waited : float
            How long it took.
        backlog : int
            How many others wait for their turn; where none does, it is not the peer that is slow.

        Returns
        -------
        int
            1 if another association should be tried, -1 if the last one does not help, else 0.
        """
        if self._asked or (self._n_lines == self._most and not self._on_trial):
            return 0
        if not backlog or not self._since:
            self.start(now)
            return 0
        self._n += 1
        self._work += n_bytes + _EACH
        self._waited += waited
        if self._n < _WINDOW or now - self._since < _SPAN:
            return 0
        rate, mean = self._work / (now - self._since), self._waited / self._n
        self.start(now)
        if self._on_trial:
            self._on_trial = False
            if rate < self._best * _GAIN:
                self.stop()
                return -1
        if mean < _LONG_WAIT or self._n_lines == self._most:
            return 0
        self._best = rate
        self._n_lines += 1
        self._asked = True
        return 1

    def opened(self, now: float) -> None:
        """The other association is there."""
        self._asked = False
        self._on_trial = True
        self.start(now)

    def stop(self) -> None:
        """There is no use in trying once more."""
        self._most = self._n_lines
        self._asked = self._on_trial = False


class Sender:
    """Sends what comes through a queue.

    Parameters
    ----------
    local, remote : DcmNode, RemoteNode
    bridge : Bridge
        Large files are read in its threads.
    owner : Owner
        Answers what the peer may ask on our associations.
    report : TransferReport
    dest : str
        The name of the destination in the report.
    """

    def __init__(
        self,
        local: DcmNode,
        remote: RemoteNode,
        bridge: Bridge,
        owner: Owner,
        report: TransferReport,
        dest: str = "",
    ) -> None:
        self._state = SendState(local, remote, bridge, owner, report, dest)
        self._pace = Pace(min(remote.send_assoc, remote.max_assoc, _MOST_LINES))
        self._others: dict[asyncio.Task[None], Line] = {}

    async def run(self, queue: SendQueue) -> None:
        """Send until the queue ends.

        Raises
        ------
        NetworkError
            The peer cannot be reached, refuses us, or breaks every association.
        """
        self._queue = queue
        self._state.answered_one = self._answered
        try:
            await Line(self._state, queue).run()
        except BaseException as error:
            self._state.failure = error
            await cancel_all(*self._others)
            queue.fail(error)
            raise
        finally:
            await self._close()

    async def _close(self) -> None:
        """End the other lines: those that still wait to be let in at once, the rest in order."""
        for task, line in list(self._others.items()):
            if not line.opened:
                task.cancel()
        if self._others:
            await asyncio.wait(list(self._others))

    def _answered(self, n_bytes: int, waited: float) -> None:
        now = asyncio.get_running_loop().time()
        verdict = self._pace.answered(now, n_bytes, waited, self._queue.backlog)
        if verdict > 0:
            line = Line(self._state, self._queue, on_open=self._opened)
            task = asyncio.get_running_loop().create_task(line.run())
            self._others[task] = line
            task.add_done_callback(self._line_ended)
        elif verdict < 0 and self._others:
            list(self._others.values())[-1].retire()

    def _opened(self) -> None:
        self._pace.opened(asyncio.get_running_loop().time())

    def _line_ended(self, task: asyncio.Task[None]) -> None:
        del self._others[task]
        self._pace.stop()
