"""Which pages of browsers may ask, and read the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from deployments.asgi.cors import Cors
from tests.transports.served import Feed, answering, app, asked, connected, serving

PAGE = "https://page.test"


async def test_a_preflight_lets_in_what_the_contract_says_and_what_it_asks_for() -> None:
    headers = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-stainless-os",
    }
    response, _ = await asked("OPTIONS", "/workflows/runs", headers=headers, options={"origins": (PAGE,)})
    assert response.status == 204
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert response.headers["Access-Control-Allow-Headers"] == (
        "Accept, Authorization, Content-Type, Idempotency-Key, Last-Event-ID, x-stainless-os"
    )
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert response.headers["Vary"] == "Origin"


async def test_a_preflight_of_another_page_is_refused() -> None:
    headers = {"Origin": "https://other.test", "Access-Control-Request-Method": "POST"}
    response, body = await asked("OPTIONS", "/workflows/runs", headers=headers, options={"origins": (PAGE,)})
    assert response.status == 403
    assert "Access-Control-Allow-Origin" not in response.headers
    assert b"https://other.test" in body


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/workflows/runs", b"{}", 200),
        ("/workflows/runs", b"{", 400),
        ("/workflows/runs", b" " * 101, 413),
        ("/workflows/runs", b'{"inputs": 1}', 422),
        ("/nowhere", b"", 404),
    ],
)
async def test_answers_of_every_kind_are_marked_for_the_page(path: str, body: bytes, status: int) -> None:
    response, _ = await asked(
        "POST", path, headers={"Origin": PAGE}, options={"origins": (PAGE,), "max_request_size": 100}, data=body
    )
    assert response.status == status
    assert response.headers["Access-Control-Allow-Origin"] == PAGE
    assert "X-Run-Id" in response.headers["Access-Control-Expose-Headers"]
    assert "X-RateLimit-Remaining" in response.headers["Access-Control-Expose-Headers"]


async def test_a_stream_is_marked_too() -> None:
    response, _ = await asked(
        "POST",
        "/workflows/runs",
        invoke=Feed("a"),
        headers={"Origin": PAGE},
        options={"origins": ("*",)},
        json={"output_only": True},
    )
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in response.headers


async def test_without_origins_no_page_may_read() -> None:
    response, _ = await asked("GET", "/health", headers={"Origin": PAGE})
    assert response.status == 200
    assert not [name for name in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("origins", [(), (PAGE,)], ids=["no origins", "another origin"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{PAGE}.evil.example", "http://127.0.0.1:1"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/workflows/runs"), ("POST", "/api/workflows/runs"), ("POST", "/nowhere"), ("DELETE", "/workflows")],
)
async def test_a_page_that_is_not_allowed_cannot_ask_blindly(
    origins: tuple[str, ...], origin: str, method: str, path: str
) -> None:
    """A form, or `fetch` with `no-cors`: the browser asks nobody beforehand, and only keeps the answer from the page."""
    began: list[object] = []

    async def invoke(invocation: object) -> None:
        began.append(invocation)

    headers = {"Origin": origin, "Content-Type": "text/plain"}
    response, body = await asked(method, path, invoke=invoke, headers=headers, options={"origins": origins}, data=b"{}")
    assert (response.status, began) == (403, [])
    assert json.loads(body)["error"] == {
        "type": "forbidden",
        "message": f"the origin '{origin}' isn't allowed; add it to controller.origins",
    }
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(
    ("origin", "heads", "status"),
    [
        ("http://api.test", ["Host: api.test"], 200),
        ("http://api.test:8080", ["Host: api.test:8080"], 200),
        ("https://API.test", ["Host: Api.test:443"], 200),  # the proxy before it speaks TLS
        ("http://[::1]:8080", ["Host: [::1]:8080"], 200),
        ("https://api.test", ["Host: 10.0.0.7:8080", "X-Forwarded-Host: api.test"], 200),
        ("https://api.test", ["Host: 10.0.0.7:8080", "X-Forwarded-Host: api.test, inner.test"], 200),
        ("http://api.test:3000", ["Host: api.test:8080"], 403),
        ("http://api.test", ["Host: api.test:8080"], 403),
        ("http://evil.example", ["Host: api.test", "X-Forwarded-Host: api.test"], 403),
        ("http://xapi.test", ["Host: api.test"], 403),
        ("null", ["Host: null"], 403),
        ("", ["Host: "], 403),
        ("http://", ["Host: "], 403),
    ],
)
async def test_pages_of_the_server_itself_may_ask(origin: str, heads: list[str], status: int) -> None:
    async with serving(app(answering(1))) as address, connected(address) as wire:
        lines = ["POST /workflows/runs HTTP/1.1", *heads, f"Origin: {origin}", "Content-Length: 2", "", "{}"]
        await wire.send("\r\n".join(lines).encode())
        assert (await wire.head())[0] == status


@pytest.mark.parametrize("origins", [("*",), (PAGE,)])
async def test_allowed_pages_may_ask_blindly_too(origins: tuple[str, ...]) -> None:
    response, _ = await asked(
        "POST", "/workflows/runs", headers={"Origin": PAGE}, options={"origins": origins}, data=b"{}"
    )
    assert response.status == 200


@pytest.mark.parametrize(
    ("origin", "extensions", "answers"),
    [
        (None, {}, ["inside"]),
        (PAGE, {}, ["inside"]),
        ("http://api.test", {}, ["inside"]),
        ("https://evil.example", {}, ["websocket.close"]),
        (
            "https://evil.example",
            {"websocket.http.response": {}},
            ["websocket.http.response.start", "websocket.http.response.body"],
        ),
    ],
)
async def test_a_page_that_is_not_allowed_cannot_open_a_websocket(
    origin: str | None, extensions: Mapping[str, Any], answers: list[str]
) -> None:
    """No preflight goes before one, and its page may read all that comes."""
    told: list[str] = []

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        told.append("inside")

    async def send(message: Message) -> None:
        told.append(message["type"])

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    headers = [(b"host", b"api.test"), *([] if origin is None else [(b"origin", origin.encode())])]
    scope = {"type": "websocket", "path": "/v1/chat/completions", "headers": headers, "extensions": extensions}
    await Cors(inside, [PAGE])(scope, receive, send)
    assert told == answers
