"""Send requests to a server of this replica: they wait while it restarts, and an answer that a crash cut is an error."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial

import aiohttp

from deployments.servers.server import Server, Up
from deployments.upstream.call_fields import CallerConfig
from deployments.upstream.exchange import Exchange
from deployments.upstream.http1 import Response
from deployments.upstream.request import Request


class Call:
    """One call of a server; `up` is the life of it that got the latest request."""

    def __init__(self, up: Up) -> None:
        self.url = up.url
        self.up = up

    def request(self, request: Request) -> Request:
        """Return a request as one of this call's."""
        return ServerRequest(request.method, request.url, request.headers, request.body, call=self)


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

    def __init__(self, id: str, config: CallerConfig, server: Server) -> None:
        super().__init__(id, config)
        self._server = server

    async def call(self) -> Call:
        """Return a new call; wait while the server is down."""
        return Call(await self._server.up(asyncio.get_running_loop().time() + self._config.timeout))

    async def _send(self, request: Request, guarded: bool) -> Response:
        """Send a request; if it can't connect because the server died, wait for the server and send it again."""
        if guarded or not isinstance(request, ServerRequest) or request.path is None:
            return await super()._send(request, guarded)
        call = request.call
        until = asyncio.get_running_loop().time() + self._config.timeout
        while True:
            call.up = await self._server.up(until)
            try:
                response = await super()._send(replace(request, url=call.up.url + request.path), guarded)
            except aiohttp.ClientConnectorError:
                if await self._server.gone(call.up) is None:
                    raise
            else:
                coding = response.headers.get("Transfer-Encoding", "")
                if "Content-Length" not in response.headers and "chunked" not in coding.lower():
                    # Such an answer ends when the connection is closed.
                    response.at_end = partial(self._check_end, call.up)
                return response

    async def _check_end(self, up: Up) -> None:
        """Raise if the server died instead of ending an answer: a closed connection looks the same."""
        if await self._server.cut(up):
            raise aiohttp.ClientPayloadError
