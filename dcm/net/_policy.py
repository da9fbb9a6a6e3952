"""Who may call a listener, and which of its handlers wants what they ask for: values that decide, and do nothing."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from dcm._node_text import check_ae_title
from dcm.errors import UsageError
from dcm.text import safe_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from dcm.node import DicomOpType

__all__ = ["AccessPolicy", "EventFilter"]

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED_BITS: Final = 96  # ::ffff:0:0/96 holds all IPv4 addresses (RFC 4291 section 2.5.5.2)


@dataclass(frozen=True)
class EventFilter:
    """Which requests a handler wants.

    Parameters
    ----------
    event_types : set of DicomOpType, optional
        The operations; None for all that a listener takes (ECHO and STORE).
    ae_titles : set of str, optional
        The calling AE titles; None for all.
    """

    event_types: AbstractSet[DicomOpType] | None = None
    ae_titles: AbstractSet[str] | None = None

    def __post_init__(self) -> None:
        if self.event_types is not None:
            object.__setattr__(self, "event_types", frozenset(self.event_types))
        if self.ae_titles is not None:
            object.__setattr__(self, "ae_titles", frozenset(self.ae_titles))

    def matches(self, event_type: DicomOpType, calling_ae: str) -> bool:
        """Whether a handler with this filter wants such an event."""
        return (self.event_types is None or event_type in self.event_types) and (
            self.ae_titles is None or calling_ae in self.ae_titles
        )

    def collides(self, other: EventFilter) -> bool:
        """Whether there can be an event that both match."""
        return _meet(self.event_types, other.event_types) and _meet(self.ae_titles, other.ae_titles)


def _meet(left: AbstractSet[object] | None, right: AbstractSet[object] | None) -> bool:
    return left is None or right is None or bool(left & right)


@dataclass(frozen=True)
class AccessPolicy:
    """Whom a listener lets in. AE titles are what callers say they are: only TLS proves anything.

    Parameters
    ----------
    calling_ae_titles : iterable of str, optional
        The callers that are let in; None for all.
    addresses : iterable of str, optional
        The addresses and networks (``10.0.0.0/8``, ``fd00::/8``) that are let in; None for all. An IPv4 address is the
        same one where it comes mapped into IPv6 (``::ffff:10.0.0.1``).
    require_called_ae : bool
        Refuse callers that do not call us by our AE title.
    max_associations : int
        In all at a time; beyond that callers are told to come back later.
    max_per_address : int
        From one address at a time.
    max_per_peer : int, optional
        Of one calling AE title at one address at a time; None for no limit beside the other two.
    idle : float
        Seconds without a request after which an association is ended.

    Raises
    ------
    UsageError
        Something in it is no AE title, no address or no limit.
    """

    calling_ae_titles: frozenset[str] | None = None
    addresses: frozenset[str] | None = None
    require_called_ae: bool = False
    max_associations: int = 200
    max_per_address: int = 100
    max_per_peer: int | None = None
    idle: float = 300.0
    _networks: tuple[_Network, ...] = field(default=(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.calling_ae_titles is not None:
            titles = frozenset(map(check_ae_title, _members(self.calling_ae_titles, "calling AE titles")))
            object.__setattr__(self, "calling_ae_titles", titles)
        if self.addresses is not None:
            addresses = _members(self.addresses, "addresses")
            object.__setattr__(self, "addresses", frozenset(addresses))
            object.__setattr__(self, "_networks", tuple(_network(text) for text in addresses))
        for name in ("max_associations", "max_per_address", "max_per_peer"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise UsageError(f"{name.replace('_', ' ')} must be at least 1, not {limit}")

    def admits_address(self, address: str) -> bool:
        """Whether a caller from an address is let in."""
        if self.addresses is None:
            return True
        try:
            caller = _unmapped(ipaddress.ip_address(address.partition("%")[0]))
        except ValueError:
            return False
        return any(caller.version == network.version and caller in network for network in self._networks)

    def admits_caller(self, calling_ae: str) -> bool:
        """Whether a caller with an AE title is let in."""
        return self.calling_ae_titles is None or calling_ae in self.calling_ae_titles

    def admits_call(self, called_ae: str, our_ae: str) -> bool:
        """Whether someone who calls for an AE title means us, where our AE title is another one."""
        return called_ae == our_ae or not self.require_called_ae


def _members(texts: Iterable[str], what: str) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise UsageError(f"{what} are a list, not '{safe_text(texts, 100)}'")
    members = tuple(texts)
    if not members:
        raise UsageError(f"no {what} at all: nobody could call", hint="leave it out to let all of them in")
    return members


def _unmapped(address: _Address) -> _Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def _network(text: str) -> _Network:
    """An address or a network; one of IPv4 addresses mapped into IPv6 is the IPv4 network."""
    try:
        if "%" in text:  # which would look as if callers on another interface were kept out
            raise ValueError("an interface")
        network = ipaddress.ip_network(text.strip(), strict=True)
    except ValueError as exc:
        raise UsageError(f"not an address or a network: '{safe_text(text, 100)}'", hint=_meant(text)) from exc
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def _meant(text: str) -> str:
    """What to write instead: an address with bits behind the prefix is one address, or the network that it is in."""
    if "%" in text:
        return f"which interface it is at is not looked at: {safe_text(text.partition('%')[0], 60)} is the address"
    try:
        interface = ipaddress.ip_interface(text.strip())
    except ValueError:
        return "10.1.2.3 is an address, 10.0.0.0/8 a network, fd00::/8 too"
    return f"the network is {interface.network}, the address {interface.ip}"
