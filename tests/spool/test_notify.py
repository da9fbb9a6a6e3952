"""What systemd is told, on a socket as it gives one; and that nothing comes of it where it does not listen."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcm.spool._notify import Notifier


@contextlib.contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    """The end of the service manager."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sock:
        sock.bind(address)
        sock.setblocking(False)
        yield sock


def test_a_service_in_the_words_of_sd_notify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with manager(address) as sock:
        notifier = Notifier()
        assert notifier
        notifier.ready("listening")
        notifier.status("1 received")
        notifier.status("1 received")
        notifier.status("2 received")
        notifier.stopping()
        said = [sock.recv(1000) for _ in range(4)]
        with pytest.raises(BlockingIOError):
            sock.recv(1000)
    assert said == [b"READY=1\nSTATUS=listening", b"STATUS=1 received", b"STATUS=2 received", b"STOPPING=1"]


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_a_socket_without_a_file() -> None:
    with manager("\0dcm-test-notify") as sock:
        Notifier("@dcm-test-notify").ready()
        assert sock.recv(1000) == b"READY=1"


def test_a_status_is_one_line() -> None:
    with manager("\0dcm-test-status") as sock:
        Notifier("@dcm-test-status").status("a\nREADY=1 " + "x" * 500)
        said = sock.recv(1000).decode()
    assert "\n" not in said
    assert said.startswith("STATUS=a\\nREADY=1 x")
    assert len(said) < 250


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@nobody-listens-here", "/" + "x" * 300, "vsock:2:1"])
def test_nobody_listens(address: str) -> None:
    notifier = Notifier(address)
    notifier.ready()
    notifier.status("x")
    notifier.stopping("y")


def test_not_started_by_a_service_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not Notifier()


def test_a_manager_that_does_not_read_blocks_nobody(tmp_path: Path) -> None:
    with manager(str(tmp_path / "notify")):
        notifier = Notifier(str(tmp_path / "notify"))
        for number in range(1000):
            notifier.status(str(number))
