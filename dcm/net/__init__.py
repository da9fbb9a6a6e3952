"""DICOM over a network: see `LocalEntity`."""

from dcm.net._entity import LocalEntity
from dcm.net._incoming import DicomEvent
from dcm.net._policy import AccessPolicy, EventFilter
from dcm.node import DcmNode, DicomOpType, DicomRole, QueryModel, RemoteNode, Timeouts, TlsConfig

__all__ = [
    "AccessPolicy",
    "DcmNode",
    "DicomEvent",
    "DicomOpType",
    "DicomRole",
    "EventFilter",
    "LocalEntity",
    "QueryModel",
    "RemoteNode",
    "Timeouts",
    "TlsConfig",
]
