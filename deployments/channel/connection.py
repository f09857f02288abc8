"""One socket between two replicas: what their streams' ends send goes out, what comes in goes to the ends it is for."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import socket
import ssl
from contextlib import suppress
from functools import cache
from typing import Protocol, cast

from deployments.channel.flow import WHOLE, Inlet, Outlet
from deployments.channel.frames import CREDIT, END, ERR, HELLO, OPEN, RESET, WELCOME, BadFrame, FrameParser, header
from deployments.streams.codec import MAX_CHUNK, NOTE, TEXT, Left, Lost
from graphs.errors import AnabranchError

logger = logging.getLogger("anabranch.channel")

MAGIC = b"anabranch/1 "
TOKEN_BYTES = 32
HELLO_DEADLINE = 5.0
WRITE_BUFFER = 1024 * 1024
"""What the socket may have left to send before producers wait for it."""

USER_TIMEOUT = 60_000
"""Milliseconds that what was sent may stay unacknowledged, or find no room at a peer whose process doesn't read."""

TLS_FILES = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")


class Home(Protocol):
    """The listener, as its connections see it."""

    @property
    def token(self) -> bytes: ...
    def admit(self, connection: Connection) -> None: ...
    def welcome(self, connection: Connection) -> None: ...
    def gone(self, connection: Connection) -> None: ...
    def opened(self, id: int, connection: Connection, whole: bool) -> bool: ...
    def wanted(self, id: int, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One socket between two replicas, and the ends of the streams that it carries."""

    def __init__(self, home: Home | None = None, token: bytes | None = None) -> None:
        self.paused = False
        self.greeted = False
        self._home = home
        self._token = token
        self._loop = asyncio.get_running_loop()
        self._parser = FrameParser(len(MAGIC) + TOKEN_BYTES)
        self._inlets: dict[int, Inlet] = {}
        self._outlets: dict[int, Outlet] = {}
        self._out: list[bytes] = []
        self._flush_due = False
        self._transport: asyncio.Transport | None = None
        self._hello_deadline: asyncio.TimerHandle | None = None
        self._welcomed: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self.lost = False

    async def welcomed(self) -> None:
        """Wait for the listener's answer to our hello."""
        await self._welcomed

    def read(self, id: int) -> Inlet:
        """Return the reading end of a stream that the peer offers."""
        inlet = Inlet(id)
        if self.lost:
            inlet.fail(Lost("the connection is lost"))
            return inlet
        self.attach(inlet)
        return inlet

    def write(self, id: int) -> Outlet:
        """Return the writing end of a stream that the peer expects, or asked for."""
        outlet = Outlet(id, self)
        if self.lost:
            outlet.stop(Lost("the connection is lost"))
        else:
            self._outlets[id] = outlet
        return outlet

    def attach(self, inlet: Inlet) -> None:
        """Let this connection deliver to an inlet that was waiting for one."""
        inlet.bind(self)
        self._inlets[inlet.id] = inlet

    # What the ends ask for.

    def send(self, kind: int, stream: int, body: bytes = b"") -> None:
        """Queue a frame: all of one turn of the loop leave in one write."""
        out = self._out
        out.append(header(kind, stream, len(body)))
        if body:
            out.append(body)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush_turn)

    def flush(self) -> None:
        """Write what is queued now."""
        if self._out and self._transport is not None:
            data = b"".join(self._out)
            self._out.clear()
            if not self.lost:
                self._transport.write(data)

    def forget(self, stream: int) -> None:
        """Drop the end of a stream that is over."""
        self._inlets.pop(stream, None)
        self._outlets.pop(stream, None)

    def drop(self, reason: str) -> None:
        """Close a connection whose peer is broken, or hasn't shown the token."""
        peer = self._transport.get_extra_info("peername") if self._transport is not None else None
        logger.warning("dropped a connection from %s: %s", peer, reason)
        self.abort()

    async def aclose(self) -> None:
        """Send what is queued, and close."""
        if self._transport is not None and not self.lost:
            self.flush()
            self._transport.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._closed), 1.0)
            self._transport.abort()

    def abort(self) -> None:
        """Close the connection at once."""
        self._end()
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        _keep_alive(transport.get_extra_info("socket"))
        if self._home is not None:
            self._hello_deadline = self._loop.call_later(HELLO_DEADLINE, self.drop, "no hello came")
            self._home.admit(self)
        elif self._token is not None:
            self.send(HELLO, 0, MAGIC + self._token)
            self.flush()

    def data_received(self, data: bytes) -> None:
        inlets = self._inlets
        try:
            for kind, stream, body in self._parser.feed(data):
                if TEXT <= kind <= NOTE and self.greeted:
                    # Chunks without an inlet were under way when their reader left.
                    if (inlet := inlets.get(stream)) is not None:
                        inlet.deliver(kind, body)
                elif not self.greeted:
                    self._greet(kind, body)
                else:
                    self._signal(kind, stream, body)
                if self.lost:
                    return
        except BadFrame as error:
            self.drop(f"it sent what can't be read: {error}")

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        for outlet in list(self._outlets.values()):
            outlet.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._end()
        if not self._closed.done():
            self._closed.set_result(None)

    def _flush_turn(self) -> None:
        self._flush_due = False
        self.flush()

    def _greet(self, kind: int, body: bytes) -> None:
        """Take the first frame: the token, or the answer to it."""
        if self._home is None:
            if kind != WELCOME:
                raise BadFrame("no welcome came")
            if not self._welcomed.done():  # the dialing side may have given up a moment ago
                self._welcomed.set_result(None)
        else:
            if kind != HELLO or not hmac.compare_digest(body, MAGIC + self._home.token):
                raise BadFrame("its hello was wrong")
            if self._hello_deadline is not None:
                self._hello_deadline.cancel()
            self._home.welcome(self)
            self.send(WELCOME, 0)
        self.greeted = True
        self._parser.limit = MAX_CHUNK

    def _signal(self, kind: int, stream: int, body: bytes) -> None:
        if kind == OPEN:
            if self._home is None or not self._home.opened(stream, self, body == WHOLE):
                self.send(RESET, stream)
        elif kind == CREDIT:
            outlet = self._outlets.get(stream)
            if outlet is not None:
                outlet.credit(body)
            elif self._home is not None:
                self._home.wanted(stream, self)
        elif kind == RESET:
            if (outlet := self._outlets.get(stream)) is not None:
                outlet.stop(Left())
        elif kind in (END, ERR):
            if (inlet := self._inlets.get(stream)) is not None:
                (inlet.end if kind == END else inlet.err)(body)
        else:
            raise BadFrame(f"a frame of kind {kind} in the middle")

    def _end(self) -> None:
        if self.lost:
            return
        self.lost = True
        if self._hello_deadline is not None:
            self._hello_deadline.cancel()
        if self._home is not None:
            self._home.gone(self)
        if not self._welcomed.done():
            self._welcomed.set_exception(Lost("the listener hung up"))
            self._welcomed.exception()  # mark it as seen: the dialing side may have given up
        inlets, outlets = list(self._inlets.values()), list(self._outlets.values())
        for inlet in inlets:
            inlet.fail(Lost("the connection was lost"))
        for outlet in outlets:
            outlet.stop(Lost("the connection was lost"))
        self._inlets.clear()
        self._outlets.clear()
        self._out.clear()


def _keep_alive(sock: socket.socket | None) -> None:
    """Let the kernel notice within about a minute that the peer's machine is gone, or that its process is stuck.

    Probes find it while nothing is under way; none are sent while data waits to be acknowledged, so that has a limit of
    its own. Where the kernel doesn't know that limit, data under way is given up when its retransmissions are.
    """
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": USER_TIMEOUT}
    for name, value in options.items():
        # getattr: macOS has no TCP_KEEPIDLE and no TCP_USER_TIMEOUT.
        if (option := getattr(socket, name, None)) is not None:
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


def tls_context(protocol: int) -> ssl.SSLContext | None:
    """Return the context of one end by Ray's own TLS settings, None where Ray runs without. The listener asks for the dialing side's certificate too, as Ray's servers do."""
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return None
    missing = [name for name in TLS_FILES if not os.environ.get(name)]
    if missing:
        raise AnabranchError(f"RAY_USE_TLS is set, and {', '.join(missing)} is not; write the file's path there")
    return _context(protocol, *(os.environ[name] for name in TLS_FILES))


@cache
def _context(protocol: int, certificate: str, key: str, authority: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
