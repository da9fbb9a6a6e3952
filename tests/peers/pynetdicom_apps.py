"""pynetdicom's applications as peers: a third implementation."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.peers.dcmtk import run_tool
from tests.peers.process import HOST, PeerProcess, require_module


class PynetdicomQrscp(PeerProcess):
    """``python -m pynetdicom qrscp``: an archive with C-ECHO, C-FIND, C-MOVE, C-GET and C-STORE.

    Whatever the level of a C-FIND, it answers once for each instance, so that studies and series come many times.

    Parameters
    ----------
    work_dir : Path
        Where its configuration, its log, its database and its files go.
    destinations : mapping of str to int
        The AE titles that it may move to, and their ports on this machine.
    """

    def __init__(
        self,
        work_dir: Path,
        destinations: Mapping[str, int] | None = None,
        *,
        ae_title: str = "PYQRSCP",
        port: int | None = None,
        max_pdu: int = 16382,
    ) -> None:
        super().__init__(work_dir, ae_title, port)
        require_module("sqlalchemy", "sqlalchemy")
        self.destinations = dict(destinations or {})
        self.max_pdu = max_pdu
        self.directory = work_dir / "instances"

    def command(self) -> Sequence[str]:
        config = self.work_dir / "qrscp.ini"
        config.write_text(
            "[DEFAULT]\n"
            f"ae_title: {self.ae_title}\nport: {self.port}\nmax_pdu: {self.max_pdu}\n"
            "acse_timeout: 30\ndimse_timeout: 30\nnetwork_timeout: 30\n"
            f"bind_address: {HOST}\n"
            f"instance_location: {self.directory}\ndatabase_location: {self.work_dir / 'instances.sqlite'}\n"
            "log_identifier: False\n"
            + "".join(f"[{ae}]\naddress: {HOST}\nport: {port}\n" for ae, port in self.destinations.items())
        )
        return [sys.executable, "-m", "pynetdicom", "qrscp", "-v", "-c", str(config)]

    def fill(self, paths: Iterable[Path]) -> None:
        """Send files to the running archive, with pynetdicom's own sender."""
        for path in paths:
            pynetdicom_storescu(self.port, self.ae_title, path)

    def received(self) -> list[Path]:
        """The files that it holds."""
        return sorted(self.directory.iterdir()) if self.directory.exists() else []


class PynetdicomStorescp(PeerProcess):
    """``python -m pynetdicom storescp``: a plain receiver that writes what it gets into `directory`."""

    def __init__(
        self,
        work_dir: Path,
        *,
        ae_title: str = "PYSTORESCP",
        port: int | None = None,
        max_pdu: int = 16382,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(work_dir, ae_title, port)
        self.max_pdu = max_pdu
        self.options = tuple(options)
        self.directory = work_dir / "received"
        self.directory.mkdir(parents=True, exist_ok=True)

    def command(self) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "pynetdicom", "storescp", "-v", "-aet", self.ae_title, "-pdu", str(self.max_pdu)),
            *("-od", str(self.directory), *self.options, str(self.port)),
        ]

    def received(self) -> list[Path]:
        """The files that it wrote so far."""
        return sorted(path for path in self.directory.iterdir() if path.is_file())


class PynetdicomEchoscp(PeerProcess):
    """``python -m pynetdicom echoscp``: C-ECHO and nothing else, so that all other contexts are rejected."""

    def __init__(
        self,
        work_dir: Path,
        *,
        ae_title: str = "PYECHOSCP",
        port: int | None = None,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(work_dir, ae_title, port)
        self.options = tuple(options)

    def command(self) -> Sequence[str]:
        return [
            *(sys.executable, "-m", "pynetdicom", "echoscp", "-v", "-aet", self.ae_title),
            *(*self.options, str(self.port)),
        ]


def pynetdicom_storescu(port: int, ae_title: str, path: Path, *, calling: str = "PYSTORESCU") -> None:
    """C-STORE a file, or the files of a directory, by pynetdicom.

    Its application does not say by its exit code whether all went well: look at what the receiver holds.
    """
    recurse = ("-r",) if path.is_dir() else ()
    app = (sys.executable, "-m", "pynetdicom", "storescu", "-aet", calling, "-aec", ae_title, "-cx")
    run_tool([*app, *recurse, HOST, str(port), str(path)])
