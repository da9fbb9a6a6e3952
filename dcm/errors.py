"""The errors of dcm: one root, each class with the exit code of the command that it ends.

::

    DcmError (1)
    ├── UsageError (2)
    │   ├── ConfigError              the configuration file: names the section and the key
    │   ├── NodeSyntaxError          a node that cannot be parsed, or is ambiguous
    │   ├── TemplateError            an output path template
    │   └── QueryError               a query that makes no sense as asked
    ├── DataError (1)
    │   ├── InvalidDicomError        not DICOM, truncated, or without its identifiers
    │   ├── InconsistentDataError    contradicts the patient/study/series hierarchy seen so far
    │   ├── RouteError               no rule says where an instance goes, or what decides it cannot be read
    │   └── UndecidedError           a query result does not tell what a filter would do
    ├── StoreError (1)               a directory that cannot be read or written
    │   ├── ConflictError            something else has the name, and was to be left alone
    │   ├── SpoolError               the spool of a forwarder
    │   │   ├── SpoolBusyError (2)   another forwarder has it
    │   │   └── SpoolFullError       no room for another instance, until there is again
    │   ├── UnusableIndexError       the index of a directory, which is only there to save time
    │   └── UnsafePathError          a path that would leave its root, or meets a symlink under it
    ├── NetworkError (4)             always names the peer
    │   ├── ConnectionFailedError    unknown host, refused, unreachable, no answer in time, TLS
    │   ├── AssociationRejectedError the peer said no: calling or called AE title, no more room, ...
    │   ├── AssociationAbortedError  the peer aborted or hung up in the middle
    │   ├── NoContextError           the peer accepted none of the presentation contexts needed
    │   ├── PeerTimeoutError         a deadline passed: association or DIMSE
    │   ├── ProtocolError            bytes that PS3.7 and PS3.8 do not allow
    │   ├── ListenError              our own port is taken or not ours to take
    │   └── OperationFailedError     a DIMSE response with a failure status
    │       └── MoveDestinationError the peer does not know our AE title (0xA801)
    ├── PartialError (3)             some instances failed, are missing or conflict; the rest is done
    └── UnverifiedError (5)          done as far as known, but completeness is unknown

A foreign exception (OSError, ssl, pynetdicom) becomes one of these where it enters, once, and the message says
what failed, against what, and what to do.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AssociationAbortedError",
    "AssociationRejectedError",
    "ConfigError",
    "ConflictError",
    "ConnectionFailedError",
    "DataError",
    "DcmError",
    "InconsistentDataError",
    "InvalidDicomError",
    "ListenError",
    "MoveDestinationError",
    "NetworkError",
    "NoContextError",
    "NodeSyntaxError",
    "OperationFailedError",
    "PartialError",
    "PeerTimeoutError",
    "ProtocolError",
    "QueryError",
    "RouteError",
    "SpoolBusyError",
    "SpoolError",
    "SpoolFullError",
    "StoreError",
    "TemplateError",
    "UndecidedError",
    "UnsafePathError",
    "UnusableIndexError",
    "UnverifiedError",
    "UsageError",
]


class DcmError(Exception):
    """The root of every error that dcm raises on purpose.

    Parameters
    ----------
    message : str
        What failed and against what, on one line.
    hint : str, optional
        What the user can do about it, on one line.

    Attributes
    ----------
    exit_code : int
        What a ``dcm`` command that ends with this error exits with.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(DcmError):
    """What was asked for makes no sense: the command line, an argument, the configuration."""

    exit_code = 2


class ConfigError(UsageError):
    """The configuration file is wrong, or a name in it is; the message names section and key."""


class NodeSyntaxError(UsageError):
    """A text that should be a DICOM node is none, or could be read in two ways."""


class TemplateError(UsageError):
    """An output path template that cannot be used."""


class QueryError(UsageError):
    """A query that makes no sense: an unknown keyword, a level below its keys, a bad date."""


class DataError(DcmError):
    """Something is wrong with the data itself."""


class InvalidDicomError(DataError):
    """Not DICOM at all, cut short, or without the identifiers that it must have."""


class InconsistentDataError(DataError):
    """A data set that contradicts the hierarchy of those before it, one study with two patients say."""


class RouteError(DataError):
    """No rule of a route says where an instance goes, or what decides that cannot be read from it."""


class UndecidedError(DataError):
    """What a filter or a route does depends on attributes that a query result lacks: the data itself has to be seen."""


class StoreError(DcmError):
    """A directory or file that cannot be read or written."""


class ConflictError(StoreError):
    """Something else has the name that an instance should get, and nothing was to be done about it."""


class SpoolError(StoreError):
    """The spool of a forwarder cannot be read or written."""


class SpoolBusyError(SpoolError):
    """Another forwarder has the spool.

    Attributes
    ----------
    pid : int
        Its process, 0 where that is not known.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "", pid: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.pid = pid


class SpoolFullError(SpoolError):
    """There is no room in the spool for another instance; there may be later."""


class UnusableIndexError(StoreError):
    """The index of a directory cannot be read or written; the directory itself can be used without."""


class UnsafePathError(StoreError):
    """A path that would lead out of its root, or through a symbolic link below it."""


class NetworkError(DcmError):
    """Something went wrong with a peer.

    Parameters
    ----------
    message : str
        What failed, on one line, with the peer's name in it.
    peer : str
        The peer as ``host:ae_title:port``, or the address of a caller.
    hint : str, optional
        The likely cause, or what to do.
    """

    exit_code = 4

    def __init__(self, message: str, *, peer: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.peer = peer


class ConnectionFailedError(NetworkError):
    """No connection: unknown host, refused, unreachable, no answer in time, or TLS failed."""


class AssociationRejectedError(NetworkError):
    """The peer rejected the association (A-ASSOCIATE-RJ, PS3.8 section 9.3.4).

    Attributes
    ----------
    result, source, reason : int
        The three codes of the PDU.
    transient : bool
        True where the peer says that trying again later may help.
    """

    def __init__(
        self, message: str, *, peer: str = "", hint: str = "", result: int = 1, source: int = 0, reason: int = 0
    ) -> None:
        super().__init__(message, peer=peer, hint=hint)
        self.result = result
        self.source = source
        self.reason = reason

    @property
    def transient(self) -> bool:
        """True where the peer says that trying again later may help."""
        return self.result == 2


class AssociationAbortedError(NetworkError):
    """The peer aborted the association, or the connection was lost in the middle of it."""


class NoContextError(NetworkError):
    """The peer accepted none of the presentation contexts that the operation needs."""


class PeerTimeoutError(NetworkError):
    """The peer did not answer in time."""


class ProtocolError(NetworkError):
    """The peer sent bytes that PS3.7 or PS3.8 do not allow; the association was aborted."""


class ListenError(NetworkError):
    """We cannot listen: the port is taken, or it is not ours to take."""


class OperationFailedError(NetworkError):
    """The peer answered with a failure status.

    Attributes
    ----------
    status : int
        The DIMSE status (PS3.7 annex C).
    """

    def __init__(self, message: str, *, peer: str = "", hint: str = "", status: int = 0) -> None:
        super().__init__(message, peer=peer, hint=hint)
        self.status = status


class MoveDestinationError(OperationFailedError):
    """The peer refused a C-MOVE because it does not know our AE title (0xA801, PS3.4 section C.4.2.1.5)."""


class PartialError(DcmError):
    """Some instances failed, are missing or conflict; the rest is done."""

    exit_code = 3


class UnverifiedError(DcmError):
    """Done as far as known, but whether it is complete cannot be known."""

    exit_code = 5
