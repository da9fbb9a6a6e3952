"""Orthanc as a peer, and its REST API, which says what it really holds."""

from __future__ import annotations

import contextlib
import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.peers.process import HOST, PeerProcess, free_port, require_program

DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

# Never by a proxy that the environment names: Orthanc is on this machine.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class OrthancPeer(PeerProcess):
    """``Orthanc``: an archive with C-ECHO, C-FIND, C-MOVE, C-GET, C-STORE and storage commitment.

    Parameters
    ----------
    work_dir : Path
        Where its configuration, its log and its storage go.
    destinations : mapping of str to int
        The AE titles that it may move to, and their ports on this machine.
    dicomweb : bool
        Load the DICOMweb plugin; without it Orthanc starts faster.
    settings : mapping
        Further or other settings of its configuration, ``{"LimitFindResults": 10}`` say.
    """

    # Asked politely, it takes seconds to end its idle threads.
    stop_signal = signal.SIGKILL

    def __init__(
        self,
        work_dir: Path,
        destinations: Mapping[str, int] | None = None,
        *,
        ae_title: str = "ORTHANC",
        port: int | None = None,
        dicomweb: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(work_dir, ae_title, port)
        self.program = require_program("Orthanc", "orthanc")
        self.destinations = dict(destinations or {})
        self.http_port = free_port()
        self.dicomweb = dicomweb
        self.settings = dict(settings or {})

    def configuration(self) -> dict[str, Any]:
        """What is written into its configuration file."""
        storage = str(self.work_dir / "storage")
        return {
            "Name": self.ae_title,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomPort": self.port,
            "DicomAet": self.ae_title,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowFindWorklist": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "DicomAlwaysAllowStore": True,
            "UnknownSopClassAccepted": True,
            "DicomModalities": {ae: [ae, HOST, port] for ae, port in self.destinations.items()},
            "StorageDirectory": storage,
            "IndexDirectory": storage,
            "Plugins": [str(DICOMWEB_PLUGIN)] if self.dicomweb else [],
            "StableAge": 1,
            **self.settings,
        }

    def command(self) -> Sequence[str]:
        path = self.work_dir / "orthanc.json"
        path.write_text(json.dumps(self.configuration(), indent=2))
        return [self.program, "--verbose-dicom", str(path)]

    def ready(self) -> bool:
        try:
            self.get("/system")
        except OSError:
            return False
        return super().ready()

    def request(self, method: str, path: str, body: bytes | None = None, timeout: float = 20) -> bytes:
        """One request to the REST API: the body of its answer. An HTTP error shows what Orthanc says about it."""
        url = f"http://{HOST}:{self.http_port}{path}"
        request = urllib.request.Request(url, data=body, method=method)
        try:
            with _opener.open(request, timeout=timeout) as response:
                answer: bytes = response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{method} {path}: {error} {error.read()[:500]!r}") from None
        return answer

    def get(self, path: str) -> Any:
        """GET a JSON answer."""
        return json.loads(self.request("GET", path))

    def fill(self, paths: Iterable[Path]) -> list[Path]:
        """Upload files by REST; returns those that Orthanc refused."""
        refused = []
        for path in paths:
            try:
                self.request("POST", "/instances", path.read_bytes())
            except AssertionError:
                refused.append(path)
        return refused

    def instance_ids(self) -> list[str]:
        """Orthanc's own identifiers of all instances that it holds."""
        ids: list[str] = self.get("/instances")
        return ids

    def sop_instance_uids(self) -> set[str]:
        """The SOP instance UIDs of all instances that it holds."""
        return {item["MainDicomTags"]["SOPInstanceUID"] for item in self.get("/instances?expand")}

    def files(self) -> Iterator[tuple[str, bytes]]:
        """SOP instance UID and DICOM file of each instance, as it is stored."""
        for item in self.get("/instances?expand"):
            yield item["MainDicomTags"]["SOPInstanceUID"], self.request("GET", f"/instances/{item['ID']}/file")

    def clear(self) -> None:
        """Delete all that it holds."""
        for patient in self.get("/patients"):
            self.request("DELETE", f"/patients/{patient}")

    def set_destination(self, ae_title: str, port: int) -> None:
        """Let it know an AE title to move to, while it runs."""
        body = json.dumps({"AET": ae_title, "Host": HOST, "Port": port}).encode()
        self.request("PUT", f"/modalities/{ae_title}", body)

    def remove_destination(self, ae_title: str) -> None:
        """Let it forget an AE title, while it runs."""
        with contextlib.suppress(AssertionError):
            self.request("DELETE", f"/modalities/{ae_title}")
