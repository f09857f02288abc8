"""An Answer goes out over one connection, step by step."""

from __future__ import annotations

import asyncio
import socket
import struct

from aiohttp import web

from tests.fakes.http_server.answers import Answer, HalfClose, Hang, Pause, Raw, Reset, Step, Wait


class Unframed(web.StreamResponse):
    """A body that ends where its connection does, as in HTTP/1.0."""

    _length_check = False


async def give(answer: Answer, request: web.BaseRequest) -> web.StreamResponse:
    """Take the answer's steps; a caller who leaves cancels them."""
    kind = web.StreamResponse if answer.framed else Unframed
    response = kind(status=answer.status, headers=answer.headers)
    if not answer.framed:
        response.force_close()
    if answer.content_type is not None:
        response.headers["Content-Type"] = answer.content_type
    if answer.compressed:
        response.enable_compression(web.ContentCoding.gzip)
    giving = _Giving(request, response)
    for step in answer.first:
        await giving.take(step)
    await response.prepare(request)
    for step in answer.steps if request.method != "HEAD" else ():
        if type(step) is bytes:
            await response.write(step)
        else:
            await giving.take(step)
    await response.write_eof()
    return response


class _Giving:
    def __init__(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self._due = asyncio.get_running_loop().time()

    async def take(self, step: Step) -> None:
        match step:
            case bytes():
                await self._response.write(step)
            case Wait(event):
                await event.wait()
            case Pause(seconds):
                await self._pause(seconds)
            case Hang():
                await asyncio.Event().wait()
            case Reset():
                self._reset()
            case HalfClose():
                self._transport.write_eof()
                await asyncio.Event().wait()
            case Raw(data):
                self._transport.write(data)

    @property
    def _transport(self) -> asyncio.Transport:
        assert isinstance(self._request.transport, asyncio.Transport)
        return self._request.transport

    async def _pause(self, seconds: float) -> None:
        self._due += seconds
        wait = self._due - asyncio.get_running_loop().time()
        if wait > 0:
            await asyncio.sleep(wait)

    def _reset(self) -> None:
        # Closed with nothing to linger for, the kernel sends RST instead of FIN.
        found = self._transport.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
