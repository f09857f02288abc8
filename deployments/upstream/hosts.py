"""Which hosts may be called at a request's word: names, addresses and networks that are listed, or every public address."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PUBLIC = "*"
"""Stands for every public address in a list of hosts."""

_NAT64 = ip_network("64:ff9b::/96")
_SPECIAL = (ip_network("192.0.0.0/24"), ip_network("64:ff9b:1::/48"))
"""Not public, though older releases of Python take them for it; clouds put their metadata there."""


class Hosts:
    """A list of hosts; without one, every public address."""

    def __init__(self, listed: Iterable[str] | None = None) -> None:
        """Take names, `*.example.com`, addresses, networks, and `*` for every public address."""
        entries = tuple(listed) if listed is not None else (PUBLIC,)
        self.is_list = listed is not None
        self._public = PUBLIC in entries
        self._networks = tuple(found for found in map(_network, entries) if found is not None)
        self._names = frozenset(name.lower().rstrip(".") for name in entries if _network(name) is None) - {PUBLIC}

    def name(self, host: str) -> bool:
        """Whether a name is listed: then it may lead wherever it does."""
        host = host.lower().rstrip(".")
        parts = host.split(".")
        return host in self._names or any(f"*.{'.'.join(parts[at:])}" in self._names for at in range(1, len(parts)))

    def allow(self, address: Address) -> bool:
        """Whether an address may be called."""
        address = _embedded(address)
        if any(address in network for network in self._networks):
            return True
        special = address.is_multicast or any(address in network for network in _SPECIAL)
        return self._public and address.is_global and not special


def host_pattern(text: str) -> str:
    """Return what can stand in a list of hosts, or raise a ValueError that says what to write."""
    name = text.removeprefix("*.")
    odd = not name or any(char in "/:@*?#" or char.isspace() for char in name) or is_numeric(name)
    if odd and text != PUBLIC and _network(text) is None:
        raise ValueError(f"expected a host, got {text!r}; write api.example.com, *.example.com, 10.0.0.0/8 or *")
    return text


def is_numeric(host: str) -> bool:
    """Whether a host is an address for those who connect, so that no resolver is asked."""
    return ":" in host or host.replace(".", "").isdigit()


def written_address(host: str) -> Address | None:
    """Return the address that a host is, in any spelling that systems take (`127.1`, `2130706433`)."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    if not is_numeric(host):
        return None
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _network(text: str) -> Network | None:
    try:
        return ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def _embedded(address: Address) -> Address:
    """Return the IPv4 address inside an IPv6 one, where there is one."""
    if not isinstance(address, IPv6Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
