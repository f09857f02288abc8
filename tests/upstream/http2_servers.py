"""Servers that speak HTTP/2: hypercorn over an ASGI application, and one that says frame by frame what a test wants."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from hypercorn.asyncio import serve
from hypercorn.config import Config
from hyperframe.frame import GoAwayFrame

HOST = "localhost"


@dataclass(frozen=True)
class Certificates:
    """A certificate for localhost, and the authority's that signed it."""

    authority: Path
    chain: Path
    key: Path

    def context(self, *protocols: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        context.set_alpn_protocols(list(protocols))
        return context


def certificates(folder: Path) -> Certificates:
    authority = trustme.CA()
    issued = authority.issue_cert(HOST, "127.0.0.1")
    made = Certificates(folder / "ca.pem", folder / "chain.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(str(made.authority))
    made.key.write_bytes(issued.private_key_pem.bytes())
    made.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return made


@dataclass
class Heard:
    """What an ASGI server saw."""

    versions: list[str] = field(default_factory=list)
    peers: set[tuple[str, int]] = field(default_factory=set)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    bodies: list[bytes] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)


App = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


@asynccontextmanager
async def hypercorn(
    certificates: Certificates, app: App, *, alpn: tuple[str, ...] = ("h2", "http/1.1")
) -> AsyncIterator[str]:
    """Serve an application over TLS; yields its base URL."""
    config = Config()
    config.bind = [f"{HOST}:0"]
    config.certfile, config.keyfile = str(certificates.chain), str(certificates.key)
    config.alpn_protocols = list(alpn)
    config.graceful_timeout = 0.1
    config.errorlog = None
    sockets = config.create_sockets()
    port = sockets.secure_sockets[0].getsockname()[1]
    config.create_sockets = lambda: sockets  # type: ignore[method-assign]
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))  # pyright: ignore[reportArgumentType]
    try:
        yield f"https://{HOST}:{port}"
    finally:
        stop.set()
        await serving


class Talk:
    """One connection of a scripted server: what the client asked, and what is said to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False))
        self._reader, self._writer = reader, writer
        self.h2.initiate_connection()
        self.flush()
        self.bodies: dict[int, bytes] = {}
        self.left = asyncio.Event()
        """Set when the connection has ended."""

    async def event(self, *types: type[Any]) -> Any:
        """Return the next event of these types."""
        while True:
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionResetError
            found = None
            for event in self.h2.receive_data(data):
                if isinstance(event, DataReceived):
                    self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if isinstance(event, types):
                    found = found or event
            self.flush()
            if found is not None:
                return found

    async def request(self) -> RequestReceived:
        return await self.event(RequestReceived)

    async def reset(self) -> StreamReset:
        return await self.event(StreamReset)

    async def request_end(self) -> StreamEnded:
        return await self.event(StreamEnded)

    def answer(
        self,
        id: int,
        *data: bytes,
        end: bool = True,
        status: str = "200",
        kind: str = "text/event-stream",
        **headers: str,
    ) -> None:
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.h2.send_headers(id, [(":status", status), ("content-type", kind), *named])
        for piece in data:
            self.h2.send_data(id, piece)
        if end:
            self.h2.end_stream(id)
        self.flush()

    def go_away(self, last: int) -> None:
        """As a server says that it closes once what is under way has ended: h2 itself would stop at once."""
        self._writer.write(GoAwayFrame(0, last_stream_id=last).serialize())

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def flush(self) -> None:
        self._writer.write(self.h2.data_to_send())

    def close(self) -> None:
        self._writer.close()

    def cut(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def scripted(certificates: Certificates, *talks: Callable[[Talk], Awaitable[None]]) -> AsyncIterator[str]:
    """Serve one script a connection, the last one for all later ones; yields the base URL.

    Who asks for HTTP/1.1 gets one fixed answer.
    """
    left = list(talks)
    said: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.add(asyncio.current_task())  # type: ignore[arg-type]
        if writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nby 1.1 !")
            writer.close()
            return
        script = left.pop(0) if len(left) > 1 else left[0]
        talk = Talk(reader, writer)
        try:
            await script(talk)
            while await reader.read(65536):
                pass
        except ConnectionError:
            pass
        finally:
            talk.left.set()
            writer.transport.abort()

    server = await asyncio.start_server(connected, HOST, 0, ssl=certificates.context("h2", "http/1.1"))
    try:
        yield f"https://{HOST}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in said:
            task.cancel()
        await asyncio.gather(*said, return_exceptions=True)
