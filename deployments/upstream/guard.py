"""Check the host of a URL that came with a client's request, at the moment its address is about to be connected to."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address
from urllib.request import getproxies

from aiohttp import DefaultResolver
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from deployments.upstream.hosts import Hosts, is_numeric, written_address


class HostRefused(OSError):
    """Raised for a host that may not be called; an OSError, as a resolver's failures are."""

    def __init__(self, host: str, listed: bool) -> None:
        super().__init__(host)
        self.host = host
        self.listed = listed
        """Whether there is a list of hosts, which this one is not on."""


class Guard:
    """Checks the calls to URLs that came with clients' requests."""

    def __init__(self, hosts: Hosts, resolver: Callable[[], AbstractResolver] = DefaultResolver) -> None:
        self._hosts = hosts
        self._resolver = resolver
        self._proxied = frozenset(getproxies())

    def resolver(self) -> Resolver:
        """Return a resolver for a connector, which returns only addresses that may be called."""
        return Resolver(self._hosts, self._resolver())

    async def check(self, url: str) -> None:
        """Raise HostRefused for what no resolver sees: an address written as a number, and a call through a proxy."""
        parts = URL(url)
        host = parts.raw_host or ""
        if is_numeric(host):
            address = written_address(host)
            if address is None or not self._hosts.allow(address):
                raise HostRefused(host, self._hosts.is_list)
        elif parts.scheme in self._proxied and not self._hosts.name(host):
            # The proxy resolves the name itself, so a name that can't be checked here is refused.
            resolver = self.resolver()
            try:
                await resolver.resolve(host)
            except OSError:
                raise HostRefused(host, self._hosts.is_list) from None
            finally:
                await resolver.close()


class Resolver(AbstractResolver):
    """Resolves names by another resolver, and leaves out the addresses that may not be called."""

    def __init__(self, hosts: Hosts, inner: AbstractResolver) -> None:
        self._hosts = hosts
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name that may be called. Raise HostRefused if it has no such address."""
        found = await self._inner.resolve(host, port, family)
        if not self._hosts.name(host):
            found = [each for each in found if self._hosts.allow(ip_address(each["host"]))]
        if not found:
            raise HostRefused(host, self._hosts.is_list)
        return found

    async def close(self) -> None:
        """Release the inner resolver."""
        await self._inner.close()
