"""Send requests to a server of this replica: they wait while it restarts, and an answer that a crash cut is an error."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import aiohttp

from deployments.servers.server import Server, Up
from deployments.upstream.exchange import Exchange, Policy
from deployments.upstream.request import Request
from deployments.upstream.transport import Response, Transport


class Call:
    """One call of a server; `up` is the life of it that got the latest request."""

    def __init__(self, up: Up) -> None:
        self.url = up.url
        self.up = up

    def request(self, request: Request) -> Request:
        """Return a request as one of this call's."""
        return ServerRequest(**{each.name: getattr(request, each.name) for each in fields(Request)}, call=self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRequest(Request):
    """A request of a call; its URL begins with the one that the server had when the call began."""

    call: Call

    @property
    def path(self) -> str | None:
        """What follows the server's URL; None where a redirect has led elsewhere."""
        path = self.url.removeprefix(self.call.url)
        return path if path != self.url and path.startswith("/") else None


class ServerExchange(Exchange):
    """An Exchange with the server of this replica."""

    def __init__(self, id: str, policy: Policy, server: Server) -> None:
        super().__init__(id, policy)
        self._server = server
        self._timeout = policy.timeout
        self._transport = WaitingTransport(self._transport, server, policy.timeout)

    async def call(self) -> Call:
        """Return a new call; wait while the server is down."""
        return Call(await self._server.up(self._timeout))


class WaitingTransport:
    """A Transport that waits while the server restarts."""

    def __init__(self, transport: Transport, server: Server, timeout: float) -> None:
        self._transport = transport
        self._server = server
        self._timeout = timeout

    async def send(self, request: Request) -> Response:
        """Send a request; if it can't connect because the server died, wait for the server and send it again."""
        if not isinstance(request, ServerRequest) or request.path is None:
            return await self._transport.send(request)
        call, until = request.call, asyncio.get_running_loop().time() + self._timeout
        while True:
            call.up = await self._server.up(self._timeout, until)
            try:
                response = await self._transport.send(replace(request, url=call.up.url + request.path))
            except aiohttp.ClientConnectorError:
                if await self._server.gone(call.up) is None:
                    raise
            else:
                return ClosedAtEnd(response, self._server, call.up) if _ends_by_closing(response) else response

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()


class ClosedAtEnd:
    """A Response that ends when the server closes the connection, which is also what a crash looks like."""

    def __init__(self, response: Response, server: Server, up: Up) -> None:
        self._response = response
        self._server = server
        self._up = up

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def method(self) -> str:
        return self._response.method

    @property
    def url(self) -> str:
        return self._response.url

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    async def read(self) -> bytes:
        """Return the next bytes; raise if the server died instead of ending the answer."""
        packet = await self._response.read()
        if not packet and await self._server.cut(self._up):
            raise aiohttp.ClientPayloadError
        return packet

    def close(self) -> None:
        """Let go of the connection."""
        self._response.close()


def _ends_by_closing(response: Response) -> bool:
    coding = response.headers.get("Transfer-Encoding", "")
    return "Content-Length" not in response.headers and "chunked" not in coding.lower()
