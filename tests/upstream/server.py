"""The server itself: every path has its known API, or the Answers a test has queued for it; each request becomes a Call."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tests.upstream.answers import (
    NDJSON,
    SSE,
    Answer,
    Hang,
    Reset,
    Step,
    Wait,
    anthropic_events,
    json_answer,
    json_lines,
    openai_events,
)

WORDS = ("Once", " upon", " a", " time")


FIXED: Mapping[str, Answer] = {
    "v1/messages": Answer(anthropic_events(WORDS), SSE),
    "ndjson": Answer(json_lines({"word": word} for word in WORDS), NDJSON),
    "json": json_answer({"words": WORDS}),
    "text": Answer(["".join(WORDS).encode()], "text/plain; charset=utf-8"),
    "bytes": Answer([bytes(range(256))], "application/octet-stream"),
    "hang": Answer(first=[Hang()]),
}


@dataclass(slots=True)
class Call:
    """One request as it came, and what became of it."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    peer: tuple[str, int]
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the caller went away before the answer's end."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the whole answer has been sent."""

    def json(self) -> Any:
        return json.loads(self.body)


class Upstream:
    """`async with Upstream() as upstream:` then call `upstream.base_url`.

    Known APIs: POST /v1/chat/completions (OpenAI, streaming when the body says so), POST /v1/messages
    (Anthropic), /ndjson, /json, /text, /bytes, /status/{code}, /hang (answers nothing), /echo (the request, as JSON).
    `queue(path, answer, …)` comes first: its Answers are given one a request, the last one for ever.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._queued: dict[str, deque[Answer]] = defaultdict(deque)
        self._arrived = asyncio.Condition()
        self._runner = web.ServerRunner(
            web.Server(self._serve, handler_cancellation=True), shutdown_timeout=1, access_log=None
        )
        self._port = 0

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def connections(self) -> int:
        """How many TCP connections the calls so far came over."""
        return len({call.peer for call in self.calls})

    def queue(self, path: str, *answers: Answer) -> None:
        """Answer the next requests for a path with these, in order, and all later ones with the last."""
        self._queued[path].extend(answers)

    async def called(self, count: int = 1) -> Call:
        """Return the count-th request, when it has come."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.calls) >= count)
        return self.calls[count - 1]

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        call = Call(
            request.method,
            request.path,
            {name: request.query.getall(name) for name in request.query},
            request.headers,
            await request.read(),
            request.transport.get_extra_info("peername")[:2] if request.transport else ("", 0),
        )
        async with self._arrived:
            self.calls.append(call)
            self._arrived.notify_all()
        try:
            response = await _give(self._answer(call), request)
        except (asyncio.CancelledError, ConnectionError):
            call.left.set()
            raise
        call.answered.set()
        return response

    def _answer(self, call: Call) -> Answer:
        if queued := self._queued.get(call.path):
            return queued.popleft() if len(queued) > 1 else queued[0]
        return _known(call)


def _known(call: Call) -> Answer:
    match call.path.strip("/").split("/"):
        case ["v1", "chat", "completions"]:
            return _openai(call.json())
        case ["status", code]:
            return json_answer({"error": {"message": f"told to answer {code}"}}, int(code))
        case ["echo"]:
            return json_answer({"path": call.path, "headers": dict(call.headers), "body": call.body.decode()})
        case parts:
            return FIXED.get("/".join(parts)) or json_answer({"error": "no such path"}, 404)


def _openai(body: Any) -> Answer:
    if body.get("stream"):
        return Answer(openai_events(WORDS), SSE)
    message = {"role": "assistant", "content": "".join(WORDS)}
    return json_answer({"object": "chat.completion", "choices": [{"index": 0, "message": message}]})


async def _give(answer: Answer, request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    if answer.content_type is not None:
        response.headers["Content-Type"] = answer.content_type
    if answer.compressed:
        response.enable_compression(web.ContentCoding.gzip)
    for step in answer.first:
        await _take(step, request, response)
    await response.prepare(request)
    for step in answer.steps if request.method != "HEAD" else ():
        await _take(step, request, response)
    await response.write_eof()
    return response


async def _take(step: Step, request: web.BaseRequest, response: web.StreamResponse) -> None:
    match step:
        case bytes():
            await response.write(step)
        case Wait(event):
            await event.wait()
        case Hang():
            await asyncio.Event().wait()
        case Reset():
            assert request.transport is not None
            request.transport.abort()
