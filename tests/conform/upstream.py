"""An API behind the server, as a process: a chat completion in, and out comes what its last message asks for.

    Tell me a story.                          Once upon a time
    Think about it.                           a thought, and then 42
    What is the weather in Seoul and Paris?   a call of the first tool for each city; a story where there are no tools
    (the result of a tool)                    It is (the results) today.
    Who wrote the first program?              Ada as JSON: in a call of the first tool, if there is one
    Repeat what you were sent.                the request's body, as JSON
    Stop at the length.                       two words, and the finish reason `length`
    Refuse me. | Be busy. | Break.            400, 429 or 500, before the first chunk
    Be cut.                                   two words, and the connection is reset
    Fail after two words.                     two words, and an error in the stream
    Count to 2000.                            so many chunks, as fast as they are read
    Go on for ever.                           a word, and nothing more until the caller leaves

GET /left?said=… answers once a caller who said that has left.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import struct
from collections.abc import Iterator
from typing import Any

from aiohttp import web

ADA = json.dumps({"name": "Ada", "born": 1815})
REFUSED = {
    "Refuse me.": (400, "the upstream refuses this", "invalid_request_error"),
    "Be busy.": (429, "the upstream is busy", "rate_limit_error"),
    "Break.": (500, "the upstream broke", "server_error"),
}
RESET, SILENCE = object(), object()
"""What comes after some chunks instead of an end."""

Delta = dict[str, Any]

STORY: list[Any] = [{"content": word} for word in ("Once", " upon", " a", " time")]
SAYS: dict[str, list[Any]] = {
    "Think about it.": [{"reasoning_content": "Six times"}, {"reasoning_content": " seven."}, {"content": "42"}],
    "Who wrote the first program?": [{"content": ADA[:9]}, {"content": ADA[9:]}],
    "Count to 2000.": [{"content": f" {number}"} for number in range(1, 2001)],
    "Stop at the length.": STORY[:2],
    "Be cut.": [*STORY[:2], RESET],
    "Fail after two words.": [
        *STORY[:2],
        {"error": {"message": "the upstream ran out of memory", "type": "server_error", "code": None}},
    ],
    "Go on for ever.": [STORY[0], SILENCE],
}


class Upstream:
    def __init__(self) -> None:
        self._left: set[str] = set()
        self._bell = asyncio.Condition()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        said = text_of(body["messages"][-1])
        if said in REFUSED:
            status, message, kind = REFUSED[said]
            error = {"message": message, "type": kind, "param": None, "code": None}
            return web.json_response({"error": error}, status=status, headers={"Retry-After": "0"})
        deltas = answered(body)
        if not body.get("stream"):
            return web.json_response(whole(body, deltas))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self._stream(request, response, body, deltas)
        except (ConnectionError, asyncio.CancelledError):
            async with self._bell:
                self._left.add(said)
                self._bell.notify_all()
            raise
        return response

    async def left(self, request: web.Request) -> web.Response:
        async with self._bell:
            await self._bell.wait_for(lambda: request.query["said"] in self._left)
            self._left.discard(request.query["said"])
        return web.json_response({})

    async def _stream(self, request: web.Request, response: web.StreamResponse, body: Any, deltas: list[Any]) -> None:
        for delta in [{"role": "assistant", "content": ""}, *deltas]:
            if delta is SILENCE:
                await asyncio.Event().wait()
            elif delta is RESET:
                reset(request)
                return
            elif "error" in delta:
                await response.write(event(delta))
                return
            else:
                await response.write(event(chunk(choices=[{"index": 0, "delta": delta, "finish_reason": None}])))
        await response.write(event(chunk(choices=[{"index": 0, "delta": {}, "finish_reason": reason(body, deltas)}])))
        if (body.get("stream_options") or {}).get("include_usage"):
            await response.write(event(chunk(choices=[], usage=usage(body, deltas))))
        await response.write(b"data: [DONE]\n\n")


def answered(body: Any) -> list[Any]:
    """Return the deltas of an answer, and what becomes of it before its end."""
    last, tools = body["messages"][-1], body.get("tools") or []
    said = text_of(last)
    if last["role"] == "tool":
        told = [text_of(each) for each in body["messages"] if each["role"] == "tool"]
        return [{"content": word} for word in re.findall(r"\s*\S+", f"It is {' and '.join(told)} today.")]
    if tools and (found := re.fullmatch(r"What is the weather in (.*)\?", said)):
        cities = enumerate(found[1].split(" and "))
        name = tools[0]["function"]["name"]
        return [piece for place, city in cities for piece in call(place, name, json.dumps({"city": city}))]
    if tools and said == "Who wrote the first program?":
        return list(call(0, tools[-1]["function"]["name"], ADA))
    if said == "Repeat what you were sent.":
        return [{"content": json.dumps(body)}]
    return SAYS.get(said, STORY)


def text_of(message: Any) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])


def call(place: int, name: str, arguments: str) -> Iterator[Delta]:
    """A call of a tool: its name first, and its arguments in two pieces."""
    head = {"index": place, "id": f"call_{place + 1}", "type": "function", "function": {"name": name, "arguments": ""}}
    yield {"tool_calls": [head]}
    for piece in (arguments[:7], arguments[7:]):
        yield {"tool_calls": [{"index": place, "function": {"arguments": piece}}]}


def reason(body: Any, deltas: list[Any]) -> str:
    if any("tool_calls" in delta for delta in deltas):
        return "tool_calls"
    return "length" if text_of(body["messages"][-1]) == "Stop at the length." else "stop"


def usage(body: Any, deltas: list[Any]) -> dict[str, int]:
    """A message counts as ten tokens, a delta as one."""
    asked, given = 10 * len(body["messages"]), len(deltas)
    return {"prompt_tokens": asked, "completion_tokens": given, "total_tokens": asked + given}


def whole(body: Any, deltas: list[Any]) -> dict[str, Any]:
    content, reasoning = ("".join(each.get(key, "") for each in deltas) for key in ("content", "reasoning_content"))
    message: dict[str, Any] = {"role": "assistant", "content": content or None}
    if reasoning:
        message["reasoning_content"] = reasoning
    calls: list[Any] = []
    for piece in (piece for delta in deltas for piece in delta.get("tool_calls", [])):
        if "id" in piece:
            calls.append({"id": piece["id"], "type": "function", "function": dict(piece["function"])})
        else:
            calls[-1]["function"]["arguments"] += piece["function"]["arguments"]
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": reason(body, deltas)}
    return {**chunk(choices=[choice], usage=usage(body, deltas)), "object": "chat.completion"}


def chunk(**more: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted-1", **more}


def event(value: Any) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def reset(request: web.Request) -> None:
    # Closed with nothing to linger for, the kernel sends RST instead of FIN.
    assert isinstance(request.transport, asyncio.Transport)
    found = request.transport.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()


async def main() -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    upstream = Upstream()
    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", upstream.answer), web.get("/left", upstream.left)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)  # noqa: T201  (whoever started it reads where it is)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
