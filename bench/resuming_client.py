"""A client of kept runs: a request in, its numbered events out, cut off at any byte, by FIN or RST; and taken up again."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from itertools import pairwise
from time import perf_counter
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from bench.upstream import RUNS
from bench.wire import Answer, BadLoad

LIMIT = 60.0
"""Seconds for a run that takes a few."""

_RESET = struct.pack("ii", 1, 0)
"""Linger for no time: to close sends RST."""
_RUN_ID = re.compile(rb"\r\nx-run-id: (\S+)")


class Event(NamedTuple):
    """A server-sent event; data is that of a chunk, where it has no name."""

    number: int
    name: str
    data: str
    at: float


class Reading(asyncio.Protocol):
    """One connection. It takes no byte beyond `cut`, and is closed there, by RST or by FIN."""

    def __init__(self, request: bytes, cut: int | None = None, reset: bool = False) -> None:
        self.run = ""
        self.known = asyncio.Event()
        """Set once the run's id is there."""
        self.events: list[Event] = []
        self.was_cut = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request, self._left, self._reset = request, cut, reset
        self._answer = Answer()
        self._rest = b""

    async def read(self, port: int) -> Reading:
        """Connect, and return once the answer is complete, or cut."""
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", port)
        async with asyncio.timeout(LIMIT):
            await self.over
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)
        if self._left == 0:
            self._cut()

    def data_received(self, data: bytes) -> None:
        if self.over.done():
            return  # it reads on until the server has closed: else the kernel would answer with RST
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        try:
            self._take(self._answer.feed(data), perf_counter())
        except (BadLoad, ValueError) as error:
            self._end(error)
            return
        if self._answer.complete:
            self._end(None)
        elif self._left == 0:
            self._cut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or BadLoad("the connection was closed before the end of the body"))

    def _take(self, body: bytes, now: float) -> None:
        if not self.run and (found := _RUN_ID.search(self._answer.head)):
            self.run = found[1].decode()
            self.known.set()
        *events, self._rest = (self._rest + body).split(b"\n\n")
        for event in events:
            lines = [line.partition(":")[::2] for line in event.decode().split("\n")]
            fields = {name: value.removeprefix(" ") for name, value in lines}
            if "id" in fields:
                text = "\n".join(value.removeprefix(" ") for name, value in lines if name == "data")
                self.events.append(Event(int(fields["id"]), fields.get("event", ""), text, now))

    def _cut(self) -> None:
        self.was_cut = True
        if self._reset:
            sock = cast("socket.socket", self._transport.get_extra_info("socket"))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        else:
            self._transport.write_eof()
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if not self.over.done():
            if error is None:
                self.over.set_result(None)
            else:
                self.over.set_exception(error)
            if not self.was_cut:
                self._transport.close()


def posted(port: int, body: dict[str, Any], key: str | None = None) -> bytes:
    """Return the request that starts a run."""
    content = json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    if key is not None:
        headers["Idempotency-Key"] = key
    return _head("POST", RUNS, port, headers) + content


def followed(port: int, run: str, last: int | None = None) -> bytes:
    """Return the request that takes a run's stream up again."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    return _head("GET", f"{RUNS.removesuffix('/workflows/runs')}/tasks/{run}/stream", port, headers)


async def started(port: int, body: dict[str, Any]) -> str:
    """Start a run that nobody waits for, and return its id."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(posted(port, {**body, "wait_for_completion": False}))
    try:
        async with asyncio.timeout(LIMIT):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
        found = _RUN_ID.search(head)
        if not head.startswith(b"http/1.1 202") or found is None:
            raise BadLoad(f"expected 202 and a run, got {head[:300].decode(errors='replace')}")
        return found[1].decode()
    finally:
        writer.close()


def port_of(url: str) -> int:
    """Return the port of a server's URL."""
    port = urlsplit(url).port
    assert port is not None
    return port


def text_of(events: list[Event]) -> str:
    """Return the text of a stream's events; raise BadLoad if they don't end, repeat or go back."""
    numbers = [event.number for event in events]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise BadLoad(f"numbers that don't grow: {numbers}")
    if not events or events[-1].name != "end":
        raise BadLoad(f"a stream without its end: {events[-1:]}")
    return "".join(event.data for event in events if not event.name)


def _head(method: str, path: str, port: int, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Accept: text/event-stream"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
