"""The hosts that a client's request may lead to: listed names, addresses and networks, or every public address."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PUBLIC = "*"
"""In a list of hosts, every public address."""

_NAT64 = ip_network("64:ff9b::/96")
_UNICAST = ip_network("2000::/3")
"""The only IPv6 addresses that are assigned; the rest is local, retired, or not in use."""
_SPECIAL = (
    ip_network("192.0.0.0/24"),  # IETF protocols; clouds put their metadata there
    ip_network("192.88.99.0/24"),  # 6to4 relays, retired
    ip_network("168.63.129.16"),  # Azure's own: DNS, keys and state of its machines
    ip_network("3fff::/20"),  # examples in documents
)
"""Not public, though some releases of Python take them for public."""


class Hosts:
    """A list of hosts, or every public address."""

    def __init__(self, listed: Iterable[str] | None = None) -> None:
        """Take names, `*.example.com`, addresses, networks, and `*` for every public address; None means `*`."""
        entries = tuple(listed) if listed is not None else (PUBLIC,)
        self.is_list = listed is not None
        self._public = PUBLIC in entries
        self._networks = tuple(found for found in map(_network, entries) if found is not None)
        names = (name for name in entries if name != PUBLIC and _network(name) is None)
        self._names = frozenset(_in_urls(name).lower().rstrip(".") for name in names)

    def name(self, host: str) -> bool:
        """Return whether a name is listed: a listed name may lead to any address."""
        host = host.lower().rstrip(".")
        parts = host.split(".")
        return host in self._names or any(f"*.{'.'.join(parts[at:])}" in self._names for at in range(1, len(parts)))

    def allow(self, address: Address) -> bool:
        """Return whether an address may be called."""
        address = _embedded(address)
        if any(address in network for network in self._networks):
            return True
        special = address.is_multicast or any(address in network for network in _SPECIAL)
        unicast = isinstance(address, IPv4Address) or address in _UNICAST
        return self._public and address.is_global and unicast and not special


def host_pattern(text: str) -> str:
    """Return an entry of a list of hosts, or raise a ValueError that says what to write."""
    name = text.removeprefix("*.")
    odd = not name or any(char in "/:@*?#" or char.isspace() for char in name) or is_numeric(name)
    if text != PUBLIC and _network(text) is None and (odd or not _in_urls(name)):
        raise ValueError(f"expected a host, got {text!r}; write api.example.com, *.example.com, 10.0.0.0/8 or *")
    return text


def is_numeric(host: str) -> bool:
    """Return whether a connector takes a host for an address, so that it asks no resolver."""
    return ":" in host or host.replace(".", "").isdigit()


def written_address(host: str) -> Address | None:
    """Return the address that a numeric host is, in any spelling that systems accept (`127.1`, `2130706433`)."""
    with suppress(ValueError):
        return ip_address(host)
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _in_urls(name: str) -> str:
    """Return a name in ASCII (`xn--…`), as it is resolved; empty if it can't be written so."""
    if name.isascii():
        return name
    # yarl spells it as aiohttp will; it is heavy, and few documents need it.
    from yarl import URL

    try:
        return URL.build(scheme="http", host=name).raw_host or ""
    except ValueError:
        return ""


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
