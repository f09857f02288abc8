"""The bytes of one HTTP/1.1 answer in, the chunks of its event stream counted out; cheap enough not to matter.

Python's HTTP clients cost more for a chunk than the servers measured here, so the load tool reads the wire itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast
from urllib.parse import urlsplit

MARK = b"data: "
"""Stands once in every chunk's event and nowhere else: the words hold none, and `event: end` has an empty `data:`."""


class BadLoad(Exception):
    """The server answered something else than the streams it was asked for; what was measured means nothing."""


@dataclass(frozen=True)
class Target:
    """Where a request goes, its bytes, and what marks a chunk in the answer."""

    host: str
    port: int
    request: bytes
    mark: bytes = MARK

    @classmethod
    def post(cls, url: str, envelope: dict[str, Any], fields: dict[str, Any], mark: bytes = MARK) -> Target:
        """Return the target of the fields, posted as JSON: as `input` of the envelope, or bare where that is empty.

        A field's name in braces in the URL stands for its value.
        """
        parts = urlsplit(url.format_map(fields))
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"expected a URL with host and port, got {url}; write http://127.0.0.1:8080/path")
        content = json.dumps(envelope | {"input": fields} if envelope else fields).encode()
        head = (
            f"POST {parts.path or '/'}{parts.query and '?' + parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: text/event-stream\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return cls(parts.hostname, parts.port, head.encode() + content, mark)


class Answer:
    """Takes the head and the chunked framing of one answer away; a proxy may cut them anywhere."""

    def __init__(self) -> None:
        self.complete = False
        self.head = b""
        """The status and the headers, in small letters, once they are there."""
        self._rest = b""
        self._left = 0
        """Bytes of the current chunk still to come, its closing CRLF among them."""
        self._headed = False

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the body that `data` brings."""
        if self.complete:
            return b""
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = 0 if self._headed else self._read_head(data)
        body: list[bytes] = []
        while at < len(data):
            if self._left:
                inside = data[at : at + self._left]
                at += len(inside)
                payload = self._left - 2
                self._left -= len(inside)
                if payload > 0:
                    body.append(inside[:payload])
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._rest = data[at:]
                break
            size = int(data[at:end].partition(b";")[0], 16)
            if size == 0:
                self.complete = True
                break
            at, self._left = end + 2, size + 2
        return body[0] if len(body) == 1 else b"".join(body)

    def _read_head(self, data: bytes) -> int:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._rest = data
            return len(data)
        head = data[:end].lower()
        if not head.startswith(b"http/1.1 200") or b"transfer-encoding: chunked" not in head:
            raise BadLoad(f"expected 200 and a chunked body, got {data[: end + 500].decode(errors='replace')}")
        self._headed = True
        self.head = head
        return end + 4


class Reader(asyncio.Protocol):
    """Sends one request and counts the chunks of its answer; those of one packet count at the packet's time."""

    def __init__(self, target: Target, arrived: Callable[[Reader, float, int], None]) -> None:
        self.sent = self.first = self.last = 0.0
        self.chunks = self.bytes = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self._target = target
        self._mark = target.mark
        self._arrived = arrived
        self._answer = Answer()
        self._tail = b""

    async def start(self) -> Reader:
        """Connect, send the request, and return; `sent` is the time before connecting."""
        self.sent = perf_counter()
        await asyncio.get_running_loop().create_connection(lambda: self, self._target.host, self._target.port)
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._target.request)

    def data_received(self, data: bytes) -> None:
        now = perf_counter()
        self.bytes += len(data)
        try:
            body = self._tail + self._answer.feed(data)
        except (BadLoad, ValueError) as error:
            self._end(error)
            return
        count = body.count(self._mark)
        if b"event: error" in body:
            self._end(BadLoad(f"the stream failed: {body.decode(errors='replace')}"))
            return
        self._tail = body[1 - len(self._mark) :]
        if count:
            self.first = self.first or now
            self.chunks += count
            self._arrived(self, now, count)
            self.last = now
        if self._answer.complete:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or BadLoad(f"the connection was closed after {self.chunks} chunks, before the end of the body"))

    @property
    def failed(self) -> bool:
        """Whether the answer was something else than what was asked for."""
        return self.ended.done() and not self.ended.cancelled() and self.ended.exception() is not None

    def pause(self) -> None:
        """Stop reading, and stay."""
        assert self.transport is not None
        self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        assert self.transport is not None
        self.transport.resume_reading()

    def close(self) -> None:
        """Leave, as a client does that has seen enough."""
        if not self.ended.done():
            self.ended.cancel()
        if self.transport:
            self.transport.close()

    def _end(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
            self.ended.exception()  # many readers fail alike; the first that is asked tells
        if self.transport:
            self.transport.close()
