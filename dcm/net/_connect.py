"""From a node to an open association: connect, negotiate, and say clearly why not."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING

from dcm.errors import AssociationRejectedError, ConnectionFailedError, NetworkError, NoContextError, ProtocolError
from dcm.net._association import Association
from dcm.net._registry import class_name
from dcm.net._talk import log_association
from dcm.net._tasks import within
from dcm.net.tls import client_context
from dcm.net.wire import AssociateRequest, Limits, ProposedContext
from dcm.net.wire.negotiation import ACCEPTANCE
from dcm.node import RemoteNode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dcm.net._owner import Owner
    from dcm.node import DcmNode

__all__ = ["connect"]


async def connect(
    local: DcmNode,
    remote: RemoteNode,
    contexts: Sequence[tuple[str, tuple[str, ...]]],
    owner: Owner,
    *,
    roles: Mapping[str, tuple[bool, bool]] | None = None,
    extended: Mapping[str, bytes] | None = None,
    limits: Limits | None = None,
) -> Association:
    """Open an association.

    Parameters
    ----------
    local, remote : DcmNode, RemoteNode
    contexts : sequence of (str, tuple of str)
        Abstract syntax and transfer syntaxes of each presentation context to propose, at most 128.
    owner : Owner
        Answers what the peer asks on it (C-STORE sub-operations).
    roles : mapping, optional
        SOP class to the roles proposed for us (SCU, SCP).
    extended : mapping, optional
        SOP class extended negotiation.
    limits : Limits, optional

    Returns
    -------
    Association
        At least one context was accepted.

    Raises
    ------
    ConnectionFailedError, AssociationRejectedError, AssociationAbortedError, NoContextError, PeerTimeoutError, \
ProtocolError
        Each names the peer and the likely cause.
    """
    limits = limits or Limits()
    association = await _open_connection(remote, owner, limits)
    proposed = tuple(ProposedContext(2 * i + 1, *context) for i, context in enumerate(contexts))
    request = AssociateRequest(
        local.ae_title, remote.ae_title, proposed, dict(roles or {}), limits.max_pdu, dict(extended or {})
    )
    try:
        await association.open(request)
        _check_answer(association, local, remote)
    except ProtocolError as error:
        await association.abort()
        if "unknown PDU type" in error.message:
            error.hint = "is this the port of a DICOM service?"
        raise
    except NetworkError as error:
        await association.abort()
        if not error.hint:
            tls = ", does it take our certificate" if remote.tls is not None else ""
            error.hint = (
                f"while negotiating; does the peer know us as {local.ae_title}{tls}, and is this its DICOM port?"
            )
        raise
    except BaseException:
        await association.abort()
        raise
    log_association(association)
    return association


async def _open_connection(remote: RemoteNode, owner: Owner, limits: Limits) -> Association:
    loop = asyncio.get_running_loop()
    context = client_context(remote.tls) if remote.tls is not None else None
    association = Association(str(remote), remote.timeouts, owner, limits)
    try:
        await within(
            loop.create_connection(lambda: association, remote.host, remote.port, ssl=context), remote.timeouts.connect
        )
    except (OSError, asyncio.TimeoutError, UnicodeError) as error:
        raise _connection_error(error, remote) from error
    except asyncio.CancelledError:
        # It may just have been made: nobody else knows of it.
        association.drop()
        raise
    return association


def _connection_error(error: Exception, remote: RemoteNode) -> ConnectionFailedError:
    """Our own error for what the operating system says (all of it arrives as OSError, but for the time-out)."""
    peer = str(remote)
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectionFailedError(
            f"the TLS certificate of {peer} is not trusted: {error.verify_message}",
            peer=peer,
            hint="check ca, and check_hostname, in its tls settings",
        )
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return ConnectionFailedError(
            f"no TLS with {peer}: {reason}", peer=peer, hint="is this its TLS port, and does it take our certificate?"
        )
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return ConnectionFailedError(
            f"unknown host {remote.host} ({peer})", peer=peer, hint="check the spelling, and DNS"
        )
    if _is_refusal(error):
        return ConnectionFailedError(
            f"{peer} refused the connection",
            peer=peer,
            hint=f"is the service running, and does it listen on port {remote.port}?",
        )
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        seconds = remote.timeouts.connect
        limit = f" within {seconds:g} s" if seconds is not None else ""
        return ConnectionFailedError(
            f"no connection to {peer}{limit}", peer=peer, hint="check host, port and firewalls"
        )
    code = getattr(error, "errno", None)
    if code in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        why = os.strerror(code)
        return ConnectionFailedError(f"{peer} cannot be reached: {why}", peer=peer, hint="check the network")
    return ConnectionFailedError(f"no connection to {peer}: {_reason(error)}", peer=peer)


def _is_refusal(error: Exception) -> bool:
    """Whether nobody listens there: every address of the host that was tried refused."""
    if isinstance(error, ConnectionRefusedError):
        return True
    # With several addresses asyncio gives one OSError without a number, and says in words what each of them met.
    tried = str(error).count("Connect call failed")
    return tried > 0 and str(error).count(f"[Errno {errno.ECONNREFUSED}]") == tried


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _check_answer(association: Association, local: DcmNode, remote: RemoteNode) -> None:
    peer = str(remote)
    rejected = association.rejected
    if rejected is not None:
        hints = {
            (1, 3): f"our AE title {local.ae_title} must be registered there, or choose another with --local",
            # dcmqrscp says so to callers it does not know, too.
            (1, 7): f"is {remote.ae_title} its AE title, and does it know us as {local.ae_title}?",
            (3, 1): "it is busy: try again later",
            (3, 2): "it has too many associations: try again later, or lower max_assoc",
        }
        raise AssociationRejectedError(
            f"{peer} rejected the association: {rejected.text}",
            peer=peer,
            hint=hints.get((rejected.source, rejected.reason), f"does it know us as {local.ae_title}?"),
            result=rejected.result,
            source=rejected.source,
            reason=rejected.reason,
        )
    accepted = association.accepted
    if accepted is not None and not any(context.result == ACCEPTANCE for context in accepted.contexts):
        assert association.request is not None
        classes = list(dict.fromkeys(context.abstract_syntax for context in association.request.contexts))
        names = ", ".join(class_name(uid) for uid in classes[:3]) + (", ..." if len(classes) > 3 else "")
        raise NoContextError(
            f"{peer} accepted no presentation context for {names}",
            peer=peer,
            hint="it does not offer that service, or not to us",
        )
