"""Real servers and tools to test against, each in a process of its own on a free port, and a proxy that makes faults.

A peer that is not installed skips the tests that need it, with a reason; where ``DCM_REQUIRE_PEERS=1`` is set, as in
CI, it fails them.
"""

from __future__ import annotations

from tests.peers.dcmtk import DcmtkQrscp, DcmtkStorescp, echoscu, findscu, getscu, movescu, run_tool, storescu
from tests.peers.orthanc import OrthancPeer
from tests.peers.process import HOST, PeerProcess, PeerStartError, free_port, require_module, require_program
from tests.peers.proxy import Fault, FaultProxy
from tests.peers.pynetdicom_apps import PynetdicomEchoscp, PynetdicomQrscp, PynetdicomStorescp, pynetdicom_storescu
from tests.peers.tls import Certificates, KeyPair, make_certificates

__all__ = [
    "HOST",
    "Certificates",
    "DcmtkQrscp",
    "DcmtkStorescp",
    "Fault",
    "FaultProxy",
    "KeyPair",
    "OrthancPeer",
    "PeerProcess",
    "PeerStartError",
    "PynetdicomEchoscp",
    "PynetdicomQrscp",
    "PynetdicomStorescp",
    "echoscu",
    "findscu",
    "free_port",
    "getscu",
    "make_certificates",
    "movescu",
    "pynetdicom_storescu",
    "require_module",
    "require_program",
    "run_tool",
    "storescu",
]
