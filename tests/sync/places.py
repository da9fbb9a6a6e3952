"""Directories and real archives under one roof: what they are called on a command line, and what they hold."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydicom import Dataset, dcmread

from dcm.net import DcmNode, LocalEntity
from dcm.part10 import pack_meta, read_meta
from dcm.store.local_dir import LocalDir
from dcm.store.net_repo import NetRepo
from tests import data
from tests.peers import HOST, DcmtkQrscp, OrthancPeer, PynetdicomQrscp
from tests.peers.process import PeerProcess

Archive = DcmtkQrscp | OrthancPeer | PynetdicomQrscp

EXPLICIT = "1.2.840.10008.1.2.1"
# In explicit or implicit VR little endian, without its padding.
_PATIENT_ID = re.compile(rb"\x10\x00\x20\x00(?:LO..|....)([^\x00-\x20]*)", re.DOTALL)


class Held(NamedTuple):
    """One instance: its data set as it is encoded, and in what."""

    transfer_syntax_uid: str
    encoded: bytes

    @property
    def data_set(self) -> Dataset:
        """What is encoded."""
        return Dataset(dcmread(io.BytesIO(pack_meta("1.2", "1.2", self.transfer_syntax_uid) + self.encoded)))


@dataclass(frozen=True)
class Place:
    """Something that data comes from or goes to.

    Parameters
    ----------
    kind : str
        For the names of tests and patients.
    name : str
        As one types it.
    files : callable
        The content of all DICOM files that it has.
    """

    kind: str
    name: str
    files: Callable[[], Iterable[bytes]]

    def store(self) -> LocalDir | NetRepo:
        """The same from Python."""
        if self.kind == "dir":
            return LocalDir(self.name)
        return NetRepo(LocalEntity(DcmNode(HOST, "LOCALAE")), DcmNode.parse(self.name))

    def holds(self, patient_id: str = "") -> dict[str, Held]:
        """SOP instance UID to data set, of all that it has or of one patient.

        Nothing may be there twice, or be no DICOM file.
        """
        found: dict[str, Held] = {}
        for content in self.files():
            meta = read_meta(content)
            assert meta is not None, f"{self.name} has a file that is not DICOM"
            assert meta.sop_instance_uid not in found, f"{self.name} has an instance twice"
            held = Held(meta.transfer_syntax_uid, data.data_set_of(content))
            if not patient_id or _PATIENT_ID.findall(held.encoded) == [patient_id.encode()]:
                found[meta.sop_instance_uid] = held
        return found


def files_in(directory: Path) -> list[Path]:
    """All files below a directory, hidden ones too."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


def directory(path: Path) -> Place:
    """A directory; all that is in it counts."""
    return Place("dir", str(path), lambda: [file.read_bytes() for file in files_in(path)])


def archive(peer: Archive) -> Place:
    """A running archive; what counts is what it really holds, and not what it answers."""
    if isinstance(peer, DcmtkQrscp):
        database = peer.database
        return Place("dcmtk", node(peer), lambda: [p.read_bytes() for p in files_in(database) if p.name != "index.dat"])
    if isinstance(peer, OrthancPeer):
        return Place("orthanc", node(peer), lambda: [content for _, content in peer.files()])
    return Place("pynetdicom", node(peer), lambda: [path.read_bytes() for path in peer.received()])


def node(peer: PeerProcess) -> str:
    """A peer as one types it."""
    return f"{HOST}:{peer.ae_title}:{peer.port}"
