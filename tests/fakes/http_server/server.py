"""The server itself: every path has its known API, or the Answers a test has queued for it; each request becomes a Call."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from typing import Any, Self

from aiohttp import web

from tests.fakes.http_server.answers import Answer, Hang, json_answer
from tests.fakes.http_server.demand import WORDS, answer, demand
from tests.fakes.http_server.giving import give
from tests.fakes.http_server.log import Call, Log

FIXED: Mapping[str, Answer] = {
    "json": json_answer({"words": WORDS["en"]}),
    "bytes": Answer([bytes(range(256))], "application/octet-stream"),
    "hang": Answer(first=[Hang()]),
}
ALWAYS_STREAMS = frozenset({"/v1/messages"})
"""Where a stream is answered to a body that doesn't ask for one, unless it declines."""


class Upstream:
    """`async with Upstream() as upstream:` then call `upstream.base_url`.

    Known APIs: POST /v1/chat/completions and /v1/completions (OpenAI, streaming when the body says so), /v1/messages
    (Anthropic), /events, /ndjson, /json, /text, /bytes, /status/{code}, /hang (answers nothing), /echo (the request, as
    JSON), /health; their queries ask for everything else (`demand.py`), or `input: {repeat, interval}` in
    a body for count and pace. GET /log tells the calls so far, DELETE forgets them; `?calls=2&left=1` waits for so many.
    `queue(path, answer, …)` comes first: its Answers are given one a request, the last one for ever.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host = host
        self._port = port
        self._log = Log()
        self._queued: dict[str, deque[Answer]] = defaultdict(deque)
        self._seen: Counter[str] = Counter()
        self._runner = web.ServerRunner(
            web.Server(self._serve, handler_cancellation=True), shutdown_timeout=1, access_log=None
        )

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, backlog=4096)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def base_url(self) -> str:
        return f"http://{self.authority}"

    @property
    def authority(self) -> str:
        return f"{self._host}:{self._port}"

    @property
    def calls(self) -> list[Call]:
        """The requests so far that have come whole."""
        return self._log.calls

    @property
    def begun(self) -> list[Call]:
        """The requests so far whose headers have come."""
        return self._log.begun

    @property
    def connections(self) -> int:
        """How many TCP connections the calls so far came over."""
        return len({call.peer for call in self.calls})

    def queue(self, path: str, *answers: Answer) -> None:
        """Answer the next requests for a path with these, in order, and all later ones with the last."""
        self._queued[path].extend(answers)

    async def called(self, count: int = 1) -> Call:
        """Return the count-th request, when it has come."""
        await self._log.until(lambda: len(self.calls) >= count)
        return self.calls[count - 1]

    async def sending(self, count: int = 1) -> Call:
        """Return the count-th request when its headers have come; its body may still be on the way."""
        await self._log.until(lambda: len(self._log.begun) >= count)
        return self._log.begun[count - 1]

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/log":
            return await self._tell_log(request)
        call = Call(
            request.method,
            request.path,
            {name: request.query.getall(name) for name in request.query},
            request.headers,
            request.transport.get_extra_info("peername")[:2] if request.transport else ("", 0),
        )
        self._log.begin(call)
        try:
            response = await self._answered(call, request)
        except (asyncio.CancelledError, ConnectionError):
            self._log.leave(call)
            raise
        self._log.answer(call)
        return response

    async def _answered(self, call: Call, request: web.BaseRequest) -> web.StreamResponse:
        queued = self._next_queued(call.path)
        if queued is None or queued.reads:
            while piece := await request.content.readany():
                call.pieces.append(piece)
        self._log.received(call)
        return await give(queued or self._known(call), request)

    def _next_queued(self, path: str) -> Answer | None:
        queued = self._queued.get(path)
        if not queued:
            return None
        return queued.popleft() if len(queued) > 1 else queued[0]

    def _known(self, call: Call) -> Answer:
        match call.path.strip("/").split("/"):
            case ["status", code]:
                return json_answer({"error": {"message": f"told to answer {code}"}}, int(code))
            case ["echo"]:
                return json_answer({"path": call.path, "headers": dict(call.headers), "body": call.body.decode()})
            case ["health"]:
                return json_answer("well")
            case _:
                pass
        key = f"{call.path}?{dict(call.query)}"
        seen, self._seen[key] = self._seen[key], self._seen[key] + 1
        body = _read(call)
        asked = answer(call.path, _streams(call, body), demand({**_paced(body), **call.query}), seen)
        return asked or FIXED.get(call.path.strip("/")) or json_answer({"error": "no such path"}, 404)

    async def _tell_log(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "DELETE":
            self._log.begun.clear()
            self._log.calls.clear()
            return web.json_response({})
        calls, left = (int(request.query.get(name, "0")) for name in ("calls", "left"))
        await self._log.until(
            lambda: len(self.calls) >= calls and sum(call.left.is_set() for call in self.calls) >= left
        )
        return web.json_response({"calls": [call.summary() for call in self.calls]})


def _read(call: Call) -> Mapping[str, Any]:
    """Return the fields of a body, if it has any."""
    try:
        body: Any = json.loads(call.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _streams(call: Call, body: Mapping[str, Any]) -> bool:
    """Whether a body asks for a stream."""
    asked = body.get("stream")
    return bool(asked) if asked is not None else call.path in ALWAYS_STREAMS


def _paced(body: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what a body asks for with `input: {repeat, interval}`: gateways hand their clients' bodies on, not their queries."""
    match body.get("input"):
        case {"repeat": int(count), "interval": int(pace) | float(pace)}:
            return {"count": [str(count)], "pace": [str(pace)]}
        case _:
            return {}
