"""Reading the rules of a forwarder anew while it runs."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from dcm.errors import DcmError
from dcm.text import safe_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from dcm.route import Router
    from dcm.spool import Forwarder

__all__ = ["Rules"]

log = logging.getLogger(__name__)


class Rules:
    """Reads the rules anew when it is asked to; a fault in them leaves everything as it was.

    Parameters
    ----------
    forwarder : Forwarder
        Goes on by them.
    read : callable
        Reads them, in a worker thread.
    """

    def __init__(self, forwarder: Forwarder, read: Callable[[], Router]) -> None:
        self._forwarder = forwarder
        self._read = read
        self._task: asyncio.Task[None] | None = None

    def renew(self) -> None:
        """Begin to, in the event loop."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        try:
            router = await asyncio.to_thread(self._read)
            await self._forwarder.use(router)
        except DcmError as error:
            log.error("the rules stay as they are: %s", safe_text(error))
        else:
            log.warning("the rules were read anew: to %s", safe_text(", ".join(map(str, router.ways))) or "nowhere")
