"""DCMTK's servers and tools as peers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.peers.process import HOST, PeerProcess, require_program


def nodelay_env(nodelay: bool) -> dict[str, str]:
    """DCMTK leaves Nagle's algorithm on unless this is set, and is a different peer with it."""
    return {"TCP_NODELAY": "1"} if nodelay else {}


class DcmtkQrscp(PeerProcess):
    """``dcmqrscp``: an archive with C-ECHO, C-FIND, C-MOVE, C-GET and C-STORE.

    Parameters
    ----------
    work_dir : Path
        Where its configuration, its log and its database go.
    destinations : mapping of str to int
        The AE titles that it may move to, and their ports on this machine.
    nodelay : bool
        Run it with ``TCP_NODELAY=1``.
    max_pdu : int
        What it receives at most in one P-DATA-TF PDU.
    options : sequence of str
        More command line options, ``--disable-get`` say.
    """

    def __init__(
        self,
        work_dir: Path,
        destinations: Mapping[str, int] | None = None,
        *,
        ae_title: str = "DCMQRSCP",
        port: int | None = None,
        nodelay: bool = True,
        max_pdu: int = 16384,
        max_associations: int = 16,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(work_dir, ae_title, port)
        self.program = require_program("dcmqrscp", "dcmtk")
        self.destinations = dict(destinations or {})
        self.nodelay = nodelay
        self.max_pdu = max_pdu
        self.max_associations = max_associations
        self.options = tuple(options)
        self.database = work_dir / "database"
        self.database.mkdir(parents=True, exist_ok=True)
        self._n_files = 0

    def environment(self) -> Mapping[str, str]:
        return nodelay_env(self.nodelay)

    def command(self) -> Sequence[str]:
        config = self.work_dir / "dcmqrscp.cfg"
        hosts = "".join(f"host{i} = ({ae}, {HOST}, {port})\n" for i, (ae, port) in enumerate(self.destinations.items()))
        config.write_text(
            f"NetworkTCPPort = {self.port}\n"
            f"MaxPDUSize = {self.max_pdu}\n"
            f"MaxAssociations = {self.max_associations}\n"
            f"HostTable BEGIN\n{hosts}HostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\n{self.ae_title} {self.database} RW (500, 4096mb) ANY\nAETable END\n"
        )
        return [self.program, "--log-level", "info", "-c", str(config), *self.options]

    def fill(self, paths: Iterable[Path]) -> None:
        """Put files into the archive without the network, and so with exactly the bytes that they have.

        The files are linked or copied into its database; it may be running or not.
        """
        index = require_program("dcmqridx", "dcmtk")
        links = []
        for path in paths:
            self._n_files += 1
            link = self.database / f"fill_{self._n_files:06d}.dcm"
            _link_or_copy(path, link)
            links.append(str(link))
        for start in range(0, len(links), 1000):
            run_tool([index, str(self.database), *links[start : start + 1000]])


class DcmtkStorescp(PeerProcess):
    """``storescp``: a plain receiver that writes what it gets into `received`.

    Parameters
    ----------
    options : sequence of str
        More command line options: ``+xa`` accepts all transfer syntaxes, ``--abort-during`` aborts,
        `Certificates.dcmtk_options` gives those for TLS.
    bit_preserving : bool
        Write the data sets exactly as received.
    """

    def __init__(
        self,
        work_dir: Path,
        *,
        ae_title: str = "STORESCP",
        port: int | None = None,
        nodelay: bool = True,
        bit_preserving: bool = True,
        options: Sequence[str] = ("+xa",),
    ) -> None:
        super().__init__(work_dir, ae_title, port)
        self.program = require_program("storescp", "dcmtk")
        self.nodelay = nodelay
        self.options = (*options, *(("+B",) if bit_preserving else ()))
        self.directory = work_dir / "received"
        self.directory.mkdir(parents=True, exist_ok=True)

    def environment(self) -> Mapping[str, str]:
        return nodelay_env(self.nodelay)

    def command(self) -> Sequence[str]:
        return [
            *(self.program, "--log-level", "info", "-aet", self.ae_title, "-od", str(self.directory)),
            *(*self.options, str(self.port)),
        ]

    def received(self) -> list[Path]:
        """The files that it wrote so far."""
        return sorted(path for path in self.directory.iterdir() if path.is_file())


def run_tool(
    command: Sequence[str], *, nodelay: bool = True, check: bool = True, timeout: float = 25
) -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's tools to its end; a failure shows what it printed."""
    done = subprocess.run(
        command,
        env={**os.environ, **nodelay_env(nodelay)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command[:12])} ended with {done.returncode}:\n{done.stdout[-5000:]}")
    return done


def echoscu(
    port: int, ae_title: str, *, calling: str = "ECHOSCU", options: Sequence[str] = (), check: bool = True
) -> bool:
    """C-ECHO by DCMTK; whether it succeeded."""
    program = require_program("echoscu", "dcmtk")
    command = [program, "-aet", calling, "-aec", ae_title, *options, HOST, str(port)]
    return run_tool(command, check=check).returncode == 0


def storescu(
    port: int,
    ae_title: str,
    paths: Sequence[Path],
    *,
    calling: str = "STORESCU",
    options: Sequence[str] = (),
    nodelay: bool = True,
    check: bool = True,
    timeout: float = 25,
) -> subprocess.CompletedProcess[str]:
    """C-STORE files and, recursively, the files of directories by DCMTK.

    By default it proposes only uncompressed transfer syntaxes; say ``-xs``, ``-xv``, ... or ``-R`` in `options`.
    """
    program = require_program("storescu", "dcmtk")
    recurse = ("+sd", "+r") if any(path.is_dir() for path in paths) else ()
    command = [program, "-aet", calling, "-aec", ae_title, *recurse, *options, HOST, str(port), *map(str, paths)]
    return run_tool(command, nodelay=nodelay, check=check, timeout=timeout)


def findscu(
    port: int, ae_title: str, keys: Sequence[str], out_dir: Path, *, calling: str = "FINDSCU", model: str = "-S"
) -> list[Path]:
    """C-FIND by DCMTK: the responses' identifiers, as files. `model` is ``-P`` or ``-S``; keys as ``Keyword=value``."""
    program = require_program("findscu", "dcmtk")
    out_dir.mkdir(parents=True, exist_ok=True)
    key_args = [arg for key in keys for arg in ("-k", key)]
    run_tool([program, "-aet", calling, "-aec", ae_title, model, "-X", "-od", str(out_dir), *key_args, HOST, str(port)])
    return sorted(out_dir.iterdir())


def getscu(port: int, ae_title: str, keys: Sequence[str], out_dir: Path, *, calling: str = "GETSCU") -> list[Path]:
    """C-GET (study root) by DCMTK: the files it received, with the data sets as they came."""
    program = require_program("getscu", "dcmtk")
    out_dir.mkdir(parents=True, exist_ok=True)
    key_args = [arg for key in keys for arg in ("-k", key)]
    run_tool([program, "-aet", calling, "-aec", ae_title, "-S", "+B", "-od", str(out_dir), *key_args, HOST, str(port)])
    return sorted(out_dir.iterdir())


def movescu(
    port: int, ae_title: str, dest_ae: str, keys: Sequence[str], *, calling: str = "MOVESCU", check: bool = True
) -> subprocess.CompletedProcess[str]:
    """C-MOVE (study root) by DCMTK to an AE title that the archive knows."""
    program = require_program("movescu", "dcmtk")
    key_args = [arg for key in keys for arg in ("-k", key)]
    command = [program, "-aet", calling, "-aec", ae_title, "-aem", dest_ae, "-S", *key_args, HOST, str(port)]
    return run_tool(command, check=check)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        target.write_bytes(source.read_bytes())
