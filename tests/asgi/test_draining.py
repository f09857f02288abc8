"""Requests are counted, and new ones are refused once the server stops."""

import asyncio
import json

from deployments.asgi.draining import Draining


class Request:
    """A request to an application, and what it is answered."""

    def __init__(self, app: Draining) -> None:
        self.sent: list[dict] = []
        self.task = asyncio.ensure_future(
            app({"type": "http", "method": "GET", "path": "/"}, self._receive, self._send)
        )

    async def _receive(self) -> dict:
        return {"type": "http.request", "body": b""}

    async def _send(self, message) -> None:
        self.sent.append(message)


async def test_requests_under_way_end_new_ones_are_refused_and_then_it_is_drained():
    go_on = asyncio.Event()

    async def slow(scope, receive, send) -> None:
        await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    app = Draining(slow)
    first, second = Request(app), Request(app)
    await asyncio.sleep(0)
    draining = asyncio.ensure_future(app.drain())
    await asyncio.sleep(0)
    late = Request(app)
    await late.task
    assert late.sent[0]["status"] == 503
    assert json.loads(late.sent[1]["body"]) == {"error": {"type": "unavailable", "message": "the server is stopping"}}
    assert not draining.done()
    go_on.set()
    assert await draining == 2
    assert [each.sent[0]["status"] for each in (first, second)] == [200, 200]


async def test_a_request_that_fails_or_is_left_is_no_longer_under_way():
    async def broken(scope, receive, send) -> None:
        raise RuntimeError("a bug")

    async def endless(scope, receive, send) -> None:
        await asyncio.Event().wait()

    for app in (Draining(broken), Draining(endless)):
        request = Request(app)
        await asyncio.sleep(0)
        request.task.cancel()
        await asyncio.wait([request.task])
        if not request.task.cancelled():
            assert isinstance(request.task.exception(), RuntimeError)
        assert await app.drain() == 0


async def test_a_server_without_requests_is_drained_at_once():
    assert await Draining(lambda scope, receive, send: asyncio.sleep(0)).drain() == 0
