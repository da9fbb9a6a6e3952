"""Telling systemd how a service is doing, as sd_notify(3) does: a datagram to the socket that it names."""

from __future__ import annotations

import contextlib
import logging
import os
import socket

from dcm.text import safe_text

__all__ = ["Notifier"]

log = logging.getLogger(__name__)

_ENVIRONMENT = "NOTIFY_SOCKET"
_MAX_STATUS = 200  # characters: what `systemctl status` shows on a line


class Notifier:
    """Tells the service manager that started us, where there is one. Nothing that goes wrong with it is an error.

    Parameters
    ----------
    address : str, optional
        Path of its socket, or ``@name`` for one in the abstract name space of Linux. By default what the environment
        says (``NOTIFY_SOCKET``), '' for nobody.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = os.environ.get(_ENVIRONMENT, "") if address is None else address
        self._status = ""

    def __bool__(self) -> bool:
        """Whether anybody listens, as far as we were told."""
        return bool(self.address)

    def ready(self, status: str = "") -> None:
        """We have started, and do our work."""
        self._send("READY=1", *_status_line(status))

    def stopping(self, status: str = "") -> None:
        """We were asked to end, and will."""
        self._send("STOPPING=1", *_status_line(status))

    def status(self, text: str) -> None:
        """What we are doing, for people: shown by ``systemctl status``. Said again only when it has changed."""
        if text != self._status:
            self._status = text
            self._send(*_status_line(text))

    def _send(self, *assignments: str) -> None:
        if not self.address or not assignments:
            return
        # The first byte of an abstract name is zero (unix(7)); systemd writes it as "@".
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(assignments).encode(), address)
        except (OSError, ValueError, AttributeError) as error:  # AttributeError: a system without AF_UNIX
            log.debug("the service manager cannot be told: %s", error)


def _status_line(text: str) -> list[str]:
    return [f"STATUS={safe_text(text, _MAX_STATUS)}"] if text else []
