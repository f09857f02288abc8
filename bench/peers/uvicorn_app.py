"""The floor: a raw ASGI application in one uvicorn process, without framework, proxy or Ray."""

from __future__ import annotations

import asyncio
from typing import Any

from bench.peers.words import Request, event, words

HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer GET with an empty 200, and POST with the stream that its body asks for."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    if scope["method"] == "POST":
        gone = asyncio.ensure_future(receive())  # sending to a client that left does nothing, so listen for it
        async for chunk in words(Request.model_validate_json(body)):
            if gone.done():
                return
            await send({"type": "http.response.body", "body": event(chunk), "more_body": True})
        gone.cancel()
    await send({"type": "http.response.body", "body": b""})
