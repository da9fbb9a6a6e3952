"""The syntax of an inline node, and what a host and an AE title may look like."""

from __future__ import annotations

import contextlib
import ipaddress
import re

from dcm.errors import NodeSyntaxError

__all__ = ["LOCALHOST", "check_ae_title", "check_host", "host_key", "parse_node"]

_ACCEPTED = "a node is HOST, HOST:AE, HOST:PORT, HOST:AE:PORT or AE@HOST:PORT, an IPv6 HOST in brackets"
_HOST_NAME = re.compile(r"(?!-)[\w-]{1,63}(?<!-)(\.(?!-)[\w-]{1,63}(?<!-))*\.?")
_LOOKS_LIKE_IPV4 = re.compile(r"(.*\.)?\d+\.?")
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")  # printable ASCII without the backslash

# The names of this machine that need no name server (RFC 6761 section 6.3), and what they stand for.
_LOOPBACK = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "127.0.0.1", "::1"})
#: What `host_key` makes of all of them.
LOCALHOST = "localhost"


def parse_node(text: str) -> tuple[str, str | None, int | None]:
    """Take an inline node apart; see `DcmNode.parse` for what one looks like.

    Returns
    -------
    tuple of str, str or None, int or None
        Host, AE title and port.

    Raises
    ------
    NodeSyntaxError
        The text is no node, or could be two.
    """
    if "://" in text:
        raise _syntax_error(text, "it is a URL, and DICOM's own protocol has none")
    ae_title, host, rest = _split_node(text.strip())
    if len(rest) > (2 if ae_title is None else 1):
        raise _syntax_error(text, "there are too many colons in it")
    if len(rest) == 2:
        if rest[0].isdecimal() and not rest[1].isdecimal():
            raise _syntax_error(text, f"the port comes last: {host}:{rest[1]}:{rest[0]}")
        return host, rest[0], _parse_port(text, rest[1])
    if rest and (rest[0].isdecimal() or ae_title is not None):
        return host, ae_title, _parse_port(text, rest[0])
    return host, rest[0] if rest else ae_title, None


def _syntax_error(text: str, why: str) -> NodeSyntaxError:
    return NodeSyntaxError(f"not a node: {text!r}: {why}", hint=_ACCEPTED)


def _split_node(text: str) -> tuple[str | None, str, list[str]]:
    """The AE title if given by ``@``, the host, and what else there is between colons."""
    if _is_ipv6(text):
        raise _syntax_error(text, f"an IPv6 address stands in brackets: [{text}]")
    ae_title: str | None = None
    rest = text
    if "@" in text:
        ae_title, _, rest = text.partition("@")
        if ":" in ae_title or "@" in rest:
            raise _syntax_error(text, "it can be read in two ways")
        if not ae_title:
            raise _syntax_error(text, "there is no AE title before the @")
    if rest.startswith("["):
        host, bracket, rest = rest[1:].partition("]")
        if not bracket or not _is_ipv6(host):
            raise _syntax_error(text, "there is no IPv6 address in the brackets")
        if rest and not rest.startswith(":"):
            raise _syntax_error(text, "a colon must follow the bracket")
        parts = rest.split(":")[1:]
    else:
        host, *parts = rest.split(":")
        if not host:
            raise _syntax_error(text, "there is no host")
        if host.isdecimal():
            raise _syntax_error(text, "a number alone is no host")
    if not all(parts):
        raise _syntax_error(text, "there is nothing behind a colon")
    return ae_title, host, parts


def _parse_port(text: str, port: str) -> int:
    if not (port.isascii() and port.isdecimal()) or not 1 <= int(port[:9]) <= 65535:
        raise _syntax_error(text, f"{port!r} is no port, which is a number from 1 to 65535")
    return int(port)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def check_host(host: str) -> str:
    """The host in its usual spelling, an IPv6 address without brackets."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if _is_ipv6(bare):
        return bare
    name = host.strip()
    if _LOOKS_LIKE_IPV4.fullmatch(name):
        try:
            return str(ipaddress.IPv4Address(name.rstrip(".")))
        except ValueError:
            pass  # and so it is no host: a name cannot end in a number
    elif len(name) <= 253 and _HOST_NAME.fullmatch(name):
        return name
    raise NodeSyntaxError(f"not a host: {host!r}", hint="a host is a name or an IP address")


def check_ae_title(ae_title: str) -> str:
    """The AE title without the spaces around it, which mean nothing (PS3.5 section 6.2)."""
    title = ae_title.strip(" ")
    if not _AE_TITLE.fullmatch(title):
        raise NodeSyntaxError(
            f"not an AE title: {ae_title!r}", hint="1 to 16 printable ASCII characters without a backslash"
        )
    return title


def host_key(host: str) -> str:
    """What tells one host from another, however it is written; no name server is asked."""
    host = host.lower().rstrip(".")
    with contextlib.suppress(ValueError):
        host = str(ipaddress.ip_address(host))
    return LOCALHOST if host in _LOOPBACK else host
