"""Who talks to whom: application entities and what we know of them.

A :class:`DcmNode` is an address. A :class:`RemoteNode` is an address with settings: what the peer can do, and how we
treat it. Both are frozen and hashable, so that they can be keys and travel between tasks without being copied.

Two nodes are equal when they are of one class and all their settings are equal; ``a.address == b.address`` asks
whether they are the same application entity.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, TypeVar

from dcm._node_text import check_ae_title, check_host, parse_node
from dcm.errors import NodeSyntaxError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "DEFAULT_AE_TITLE",
    "DEFAULT_PORT",
    "DcmNode",
    "DicomOpType",
    "DicomRole",
    "QueryModel",
    "RemoteNode",
    "RetrieveMethod",
    "Timeouts",
    "TlsConfig",
]

DEFAULT_AE_TITLE = "ANYAE"
DEFAULT_PORT = 11112

RetrieveMethod = Literal["GET", "MOVE"]

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_CHARSET = re.compile(r"|GB18030|GBK|ISO_IR \d{1,3}|ISO 2022 (IR \d{1,3}|GBK|B5)")

_EnumT = TypeVar("_EnumT", bound=enum.Enum)


class DicomOpType(enum.Enum):
    """The DIMSE operations (PS3.7 section 9.1) that a node may take part in."""

    ECHO = "ECHO"
    FIND = "FIND"
    MOVE = "MOVE"
    GET = "GET"
    STORE = "STORE"


class DicomRole(enum.Enum):
    """The side of a service that an application entity takes (PS3.7 section 6.2)."""

    USER = "SCU"
    PROVIDER = "SCP"


class QueryModel(enum.Enum):
    """The query/retrieve information models (PS3.4 section C.6)."""

    PATIENT_ROOT = "PATIENT_ROOT"
    STUDY_ROOT = "STUDY_ROOT"


@dataclass(frozen=True)
class Timeouts:
    """How long to wait for a peer, in seconds; None, or infinity, waits for ever.

    Parameters
    ----------
    connect : float or None
        For the connection, the TLS handshake included.
    association : float or None
        For the answer to an association request, or to a release.
    dimse : float or None
        For the next sign of life in an operation: any data from the peer starts it anew.
    """

    connect: float | None = 10.0
    association: float | None = 30.0
    dimse: float | None = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            seconds = getattr(self, field.name)
            if seconds is not None and not seconds > 0:
                raise UsageError(f"the {field.name} timeout must be more than 0 seconds, not {seconds}")
            if seconds == math.inf:
                object.__setattr__(self, field.name, None)


@dataclass(frozen=True)
class TlsConfig:
    """How to secure associations with a peer (PS3.15 annex B, the BCP 195 profiles).

    Parameters
    ----------
    ca : str or None
        PEM file with the certificates that sign the peer's; None means those of the operating system.
    cert, key : str or None
        PEM files with our certificate and its private key (None: the key is in the file of the certificate).
    verify : bool
        Check the peer's certificate. False is for tests only: anyone may then be the peer.
    check_hostname : bool
        Check that the peer's certificate is for its host name. Medical devices often have certificates without one.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    verify: bool = True
    check_hostname: bool = True

    def __post_init__(self) -> None:
        if self.key is not None and self.cert is None:
            raise UsageError("a TLS key without its certificate", hint="give cert as well")


@dataclass(frozen=True)
class DcmNode:
    """The address of a DICOM application entity.

    Parameters
    ----------
    host : str
        Host name or IP address; an IPv6 address with or without brackets.
    ae_title : str
        Application entity title (VR AE, PS3.5 section 6.2): 1 to 16 printable ASCII characters, no backslash. Spaces
        around it mean nothing and are dropped.
    port : int
        TCP port. 0 lets the system choose one, which is of use only to a local node that listens.

    Raises
    ------
    NodeSyntaxError
        One of the three is not possible.
    """

    host: str
    ae_title: str = DEFAULT_AE_TITLE
    port: int = DEFAULT_PORT

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", check_host(self.host))
        object.__setattr__(self, "ae_title", check_ae_title(self.ae_title))
        if not _is_number(self.port, 0, 65535):
            raise NodeSyntaxError(f"not a port: {self.port!r}", hint="a port is a number from 1 to 65535")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.ae_title}:{self.port}"

    @property
    def address(self) -> DcmNode:
        """The bare address of this node, without any settings."""
        return self if type(self) is DcmNode else DcmNode(self.host, self.ae_title, self.port)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an inline node.

        Parameters
        ----------
        text : str
            ``host``, ``host:ae``, ``host:port``, ``host:ae:port``, ``ae@host`` or ``ae@host:port``. Digits alone in
            second place are a port. An IPv6 address stands in brackets. An AE title with a colon or an ``@`` in it can
            only be given by the constructor or the configuration file.

        Returns
        -------
        DcmNode
            Where parts are missing, with the defaults.

        Raises
        ------
        NodeSyntaxError
            The text is none of these, or could be two of them.
        """
        host, ae_title, port = parse_node(text)
        return cls(host, DEFAULT_AE_TITLE if ae_title is None else ae_title, DEFAULT_PORT if port is None else port)


@dataclass(frozen=True)
class RemoteNode(DcmNode):
    """A peer: its address, what it can do and how we treat it.

    Parameters
    ----------
    host, ae_title, port
        See `DcmNode`.
    supported_ops : iterable of DicomOpType or their names
        What the peer provides.
    query_models : iterable of QueryModel or their names
        The information models that it knows, the preferred one first.
    retrieve_methods : iterable of "GET" and "MOVE"
        How to fetch from it, the preferred way first.
    transfer_syntaxes : iterable of str
        The UIDs of the transfer syntaxes to propose for storage, the preferred one first; empty: all that we know.
    include_storage_classes, exclude_storage_classes : iterable of str
        Which storage SOP classes to propose and accept: UIDs, or regular expressions searched for in their names,
        whatever the case. Nothing included means all; what is excluded is out in any case.
    private_store_classes : iterable of str
        UIDs of storage SOP classes that are in no edition of the standard.
    max_assoc : int
        How many associations we may have with it at a time.
    timeouts : Timeouts
        How long to wait for it.
    tls : TlsConfig or None
        None is plain TCP.
    relational : bool or None
        Whether it takes relational queries and retrievals (PS3.4 section C.5.1.1.2.1). None: believe what it says
        when the association is negotiated.
    charset : str
        The Specific Character Set (0008,0005) of its answers where they do not say.

    Raises
    ------
    NodeSyntaxError
        The address is not possible.
    UsageError
        A setting is not possible.
    """

    supported_ops: frozenset[DicomOpType] = frozenset(DicomOpType)
    query_models: tuple[QueryModel, ...] = (QueryModel.STUDY_ROOT, QueryModel.PATIENT_ROOT)
    retrieve_methods: tuple[RetrieveMethod, ...] = ("GET", "MOVE")
    transfer_syntaxes: tuple[str, ...] = ()
    include_storage_classes: tuple[str, ...] = ()
    exclude_storage_classes: tuple[str, ...] = ()
    private_store_classes: tuple[str, ...] = ()
    max_assoc: int = 5
    send_assoc: int = 1
    timeouts: Timeouts = Timeouts()
    tls: TlsConfig | None = None
    relational: bool | None = None
    charset: str = ""

    def __post_init__(self) -> None:
        DcmNode.__post_init__(self)
        ops = _members(DicomOpType, self.supported_ops, "supported_ops")
        models = _members(QueryModel, self.query_models, "query_models")
        methods = tuple(method.upper() for method in _strings(self.retrieve_methods, "retrieve_methods"))
        if not methods or len(set(methods)) < len(methods) or not set(methods) <= {"GET", "MOVE"}:
            raise UsageError(f"retrieve_methods must be GET, MOVE or both in order of preference, not {methods}")
        if not models:
            raise UsageError("query_models must name PATIENT_ROOT, STUDY_ROOT or both in order of preference")
        object.__setattr__(self, "supported_ops", frozenset(ops))
        object.__setattr__(self, "query_models", models)
        object.__setattr__(self, "retrieve_methods", methods)
        for name in ("transfer_syntaxes", "private_store_classes"):
            object.__setattr__(self, name, tuple(_check_uid(uid, name) for uid in _strings(getattr(self, name), name)))
        for name in ("include_storage_classes", "exclude_storage_classes"):
            patterns = _strings(getattr(self, name), name)
            object.__setattr__(self, name, tuple(_check_pattern(pattern, name) for pattern in patterns))
        for name in ("max_assoc", "send_assoc"):
            if not _is_number(getattr(self, name), 1, 1000):
                raise UsageError(f"{name} must be a number from 1 to 1000, not {getattr(self, name)!r}")
        if not all(_CHARSET.fullmatch(term) for term in self.charset.split("\\")):
            raise UsageError(
                f"not a Specific Character Set: {self.charset!r}", hint="ISO_IR 100, ISO_IR 192 and GB18030 are some"
            )

    @classmethod
    def from_node(cls, node: DcmNode) -> Self:
        """The node itself where it has settings, else its address with the default settings."""
        return node if isinstance(node, cls) else cls(node.host, node.ae_title, node.port)

    def supports(self, op: DicomOpType) -> bool:
        """Whether the peer provides an operation, as far as the settings say."""
        return op in self.supported_ops

    def wants_storage_class(self, uid: str, name: str = "") -> bool:
        """Whether instances of a storage SOP class go to and from this peer.

        Parameters
        ----------
        uid : str
            UID of the SOP class.
        name : str
            Its name, where it has one.
        """

        def listed(patterns: tuple[str, ...]) -> bool:
            return any(
                uid == item if _UID.fullmatch(item) else re.search(item, name, re.IGNORECASE) is not None
                for item in patterns
            )

        if self.include_storage_classes and not listed(self.include_storage_classes):
            return False
        return not listed(self.exclude_storage_classes)


def _is_number(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _listed(values: Iterable[object], name: str) -> tuple[object, ...]:
    if isinstance(values, str):
        raise UsageError(f"{name} must be a list, not the text {values!r}")
    return tuple(values)


def _strings(values: Iterable[str], name: str) -> tuple[str, ...]:
    return tuple(str(value) for value in _listed(values, name))


def _members(kind: type[_EnumT], values: Iterable[object], name: str) -> tuple[_EnumT, ...]:
    """Members of an enum that are given by themselves or by name, without repetitions."""
    found: dict[_EnumT, None] = {}
    for value in _listed(values, name):
        member = value if isinstance(value, kind) else kind.__members__.get(str(value).upper())
        if member is None:
            raise UsageError(f"{name} has no {value!r}", hint=f"there are {', '.join(kind.__members__)}")
        found[member] = None
    return tuple(found)


def _check_uid(uid: str, name: str) -> str:
    if len(uid) > 64 or not _UID.fullmatch(uid):
        raise UsageError(f"{name} must list UIDs, not {uid!r}")
    return uid


def _check_pattern(pattern: str, name: str) -> str:
    try:
        re.compile(pattern)
    except re.error as exc:
        raise UsageError(f"{name} has {pattern!r}, which is neither a UID nor a regular expression: {exc}") from exc
    return pattern
