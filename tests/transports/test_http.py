"""What surrounds every route: errors as JSON, limits, compression; and what tells of workflows and health."""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientSession
from starlette.types import Receive, Scope, Send

from deployments.asgi.client import accepts_gzip
from deployments.asgi.guards import CatchFaults
from deployments.gateway.gateway import Gateway
from deployments.transports.app import build_app
from graphs.plan import InputField, OutputKind
from tests.transports.served import Feed, answering, app, asked, connected, one, plan, serving

TEXT = OutputKind("text", "sse-text")


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_a_prefix_that_serve_puts_before_all_paths_is_no_part_of_them(prefix: str) -> None:
    api = app(answering(...))

    async def prefixed(scope: Scope, receive: Receive, send: Send) -> None:
        await api({**scope, "root_path": "/there"}, receive, send)

    async with serving(prefixed) as address, ClientSession(f"{address}/there{prefix}/") as session:
        async with session.post("workflows/runs", json={"input": 1, "output_only": True}) as response:
            assert (response.status, await response.json()) == (200, 1)
        async with session.get("workflows") as response:
            assert response.status == 200


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "type", "message"),
    [
        ("GET", "/nowhere", 404, "not_found", "there is nothing at /nowhere; see /docs for what there is"),
        ("GET", "/api/workflow", 404, "not_found", "there is nothing at /api/workflow; did you mean /workflows?"),
        (
            "GET",
            "/workflows/runs",
            405,
            "method_not_allowed",
            "GET isn't allowed on /workflows/runs; use OPTIONS, POST",
        ),
        ("PUT", "/workflows", 405, "method_not_allowed", "PUT isn't allowed on /workflows; use GET, HEAD, OPTIONS"),
        (
            "GET",
            "/workflows/stor/schema",
            404,
            "not_found",
            "there is no workflow 'stor'; did you mean 'story'? The workflows are story",
        ),
    ],
)
async def test_what_is_not_there_is_told_as_json(method: str, path: str, status: int, type: str, message: str) -> None:
    response, body = await asked(method, path)
    assert (response.status, response.content_type) == (status, "application/json")
    error = json.loads(body)["error"]
    assert (error["type"], error["message"]) == (type, message)
    if status == 405:
        assert response.headers["Allow"] == message.partition("use ")[2]


async def test_options_tells_the_methods() -> None:
    response, body = await asked("OPTIONS", "/api/workflows/runs")
    assert (response.status, response.headers["Allow"], body) == (204, "OPTIONS, POST", b"")


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/api/workflows", 200), ("/nowhere", 404)])
async def test_head_answers_what_get_would_without_the_body(path: str, status: int) -> None:
    response, body = await asked("HEAD", path)
    assert (response.status, body) == (status, b"")
    assert int(response.headers["Content-Length"]) > 0


async def test_what_nobody_foresaw_is_a_500_whose_traceback_is_in_the_log_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raise ValueError("the inside")

    with caplog.at_level(logging.ERROR, "anabranch.http"):
        async with (
            serving(CatchFaults(broken)) as address,
            ClientSession() as session,
            session.get(address) as response,
        ):
            assert response.status == 500
            assert await response.json() == {
                "error": {"type": "internal_error", "message": "internal error; see the server's log"}
            }
    assert "the inside" in caplog.text


@pytest.mark.parametrize("method", ["PROPFIND", "TRACE", "CONNECT"])
async def test_a_method_that_no_route_has_is_a_405_with_those_there_are(method: str) -> None:
    async with serving(app(answering(1))) as address, connected(address) as wire:
        await wire.ask({}, path="/workflows/runs", method=method)
        status, headers = await wire.head()
        assert (status, headers["allow"], headers["content-type"]) == (405, "OPTIONS, POST", "application/json")
        assert json.loads(await wire.until(b"}}"))["error"]["type"] == "method_not_allowed"


# --- limits ----------------------------------------------------------------------------------------------------------


async def test_a_body_that_announces_too_much_is_refused_unread() -> None:
    async with serving(app(answering(1), max_request_size=10)) as address, connected(address) as wire:
        await wire.send(b"POST /workflows/runs HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\n")
        assert (await wire.head())[0] == 413
        assert json.loads(await wire.until(b"}}"))["error"]["max_request_size"] == 10


async def test_a_body_that_grows_too_large_is_refused_while_it_is_read() -> None:
    async with serving(app(answering(1), max_request_size=10)) as address, connected(address) as wire:
        await wire.send(
            b"POST /workflows/runs HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n        \r\n"
        )
        await wire.send(b"8\r\n        \r\n")
        assert (await wire.head())[0] == 413


async def test_a_chunked_body_within_the_limit_is_read() -> None:
    async with serving(app(answering(...), max_request_size=100)) as address, connected(address) as wire:
        body = b'1a\r\n{"output_only": true, "inp\r\n8\r\nut": 12}\r\n0\r\n\r\n'
        await wire.send(b"POST /workflows/runs HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        assert (await wire.head())[0] == 200
        assert await wire.reader.readexactly(2) == b"12"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, identity", "made-up"])
async def test_a_body_that_is_encoded_is_refused(coding: str) -> None:
    response, body = await asked("POST", "/workflows/runs", headers={"Content-Encoding": coding}, data=b"{}")
    assert response.status == 415
    assert json.loads(body)["error"] == {
        "type": "unsupported_media_type",
        "message": f"the body is encoded as {coding!r}, and only plain bodies are read; send it uncompressed, without the "
        "header Content-Encoding",
    }


async def test_a_body_that_says_it_is_plain_is_read() -> None:
    body = {"output_only": True, "input": 1}
    response, answer = await asked("POST", "/workflows/runs", headers={"Content-Encoding": "Identity"}, json=body)
    assert (response.status, answer) == (200, b"1")


# --- compression -----------------------------------------------------------------------------------------------------

LONG = "안녕 " * 1000


@pytest.mark.parametrize("accepted", ["gzip", "br;q=1.0, gzip;q=0.8", "*"])
@pytest.mark.parametrize("length", [1, 20])
async def test_long_answers_are_compressed_for_clients_that_accept_it(accepted: str, length: int) -> None:
    response, body = await asked(
        "POST",
        "/workflows/runs",
        headers={"Accept-Encoding": accepted},
        json={"output_only": True, "input": LONG * length},
    )
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Vary"] == "Accept-Encoding"
    assert json.loads(gzip.decompress(body)) == LONG * length


@pytest.mark.parametrize(("accepted", "value"), [("identity", LONG), ("gzip;q=0", LONG), ("gzip", "short")])
async def test_others_come_as_they_are(accepted: str, value: str) -> None:
    response, body = await asked(
        "POST", "/workflows/runs", headers={"Accept-Encoding": accepted}, json={"output_only": True, "input": value}
    )
    assert "Content-Encoding" not in response.headers
    assert json.loads(body) == value


@pytest.mark.parametrize(
    ("header", "accepts"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=1.0", True),
        ("*;q=0", False),
        ("gzip; q=0.0", False),
        ("br", False),
        ("", False),
    ],
)
def test_what_a_client_accepts_is_read_right(header: str, accepts: bool) -> None:
    assert accepts_gzip([(b"accept-encoding", header.encode())]) is accepts


async def test_a_stream_is_not_compressed_unless_the_document_asks() -> None:
    response, body = await asked(
        "POST", "/workflows/runs", invoke=Feed("a"), headers={"Accept-Encoding": "gzip"}, json={"output_only": True}
    )
    assert "Content-Encoding" not in response.headers
    assert body == b"data: a\n\nevent: end\ndata:\n\n"


async def test_a_compressed_stream_can_be_read_at_every_event() -> None:
    feed = Feed("one", ends=False)
    served = app(feed, one(TEXT), compression=True)
    async with serving(served) as address, connected(address) as wire:
        await wire.ask({"output_only": True}, "Accept-Encoding: gzip")
        _, headers = await wire.head()
        assert (headers["content-encoding"], headers["vary"]) == ("gzip", "Accept-Encoding")
        unzip = zlib.decompressobj(31)
        assert unzip.decompress(await wire.chunk()) == b"data: one\n\n"
        feed.give("둘")
        assert unzip.decompress(await wire.chunk()) == "data: 둘\n\n".encode()
        feed.end()
        assert unzip.decompress(await wire.chunk()) == b"event: end\ndata:\n\n"
        assert unzip.eof
        assert await wire.chunk() == b""


async def test_a_compressed_stream_is_plain_for_a_client_that_does_not_accept_it() -> None:
    response, body = await asked(
        "POST",
        "/workflows/runs",
        invoke=Feed("a"),
        headers={"Accept-Encoding": "identity"},
        options={"compression": True},
        json={"output_only": True},
    )
    assert "Content-Encoding" not in response.headers
    assert body.startswith(b"data: a\n\n")


# --- what there is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_workflows_are_listed_in_order(prefix: str) -> None:
    served = app(answering(1), one(title="A story", description="told"), one(id="poem"))
    async with (
        serving(served) as address,
        ClientSession() as session,
        session.get(f"{address}{prefix}/workflows") as response,
    ):
        assert await response.json() == {
            "workflows": [
                {"workflow_id": "story", "title": "A story", "description": "told", "default": True},
                {"workflow_id": "poem", "title": None, "description": None, "default": False},
            ]
        }


async def schema_of(*fields: InputField, secrets: Iterable[str] = (), **told: Any) -> dict[str, Any]:
    """Return what is told of a workflow that reads these fields."""
    story = one(OutputKind("text", "sse-text"), inputs=fields, **told)
    served = build_app(Gateway(replace(plan(story), secrets=frozenset(secrets)), answering(1)))
    async with (
        serving(served) as address,
        ClientSession() as session,
        session.get(f"{address}/api/workflows/story/schema") as response,
    ):
        return await response.json()


async def test_a_schema_tells_fields_and_output() -> None:
    told = await schema_of(
        InputField("prompt", "text", description="what to tell"),
        InputField("tone", "select", "calm,wild", default="calm", required=False, options=("calm", "wild")),
    )
    assert told["output"] == {"type": "text", "format": "sse-text", "streams": []}
    assert told["input"][1] == {
        "name": "tone", "type": "select", "subtype": "calm,wild", "format": None, "default": "calm", "required": False,
        "options": ["calm", "wild"], "description": None,
    }  # fmt: skip
    assert told["input_schema"]["required"] == ["prompt"]
    assert told["input_schema"]["properties"]["tone"] == {"type": "string", "enum": ["calm", "wild"], "default": "calm"}


async def test_a_schema_tells_no_secret() -> None:
    told = await schema_of(
        InputField("key", "text", default="sk-12345", required=False, options=("sk-12345", "Bearer sk-12345")),
        InputField("kind", "select", "a,sk-12345", options=("a", "sk-12345"), description="as sk-12345"),
        InputField("only", "select", "sk-12345", options=("sk-12345",)),
        title="Story sk-12345", description="sk-12345", secrets=["sk-12345", "kind", "string"],
    )  # fmt: skip
    assert "sk-12345" not in json.dumps(told)
    assert (told["title"], told["description"]) == ("Story ***", "***")
    assert [each["options"] for each in told["input"]] == [[], ["a"], []]
    assert [each["subtype"] for each in told["input"]] == [None, "a", None]
    assert told["input"][0]["default"] is None
    assert told["input_schema"]["properties"] == {  # names and types stay what they are
        "key": {"type": "string"},
        "kind": {"type": "string", "enum": ["a"], "description": "as ***"},
        "only": {"type": "string"},
    }


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_readiness_tells_each_component(prefix: str) -> None:
    async def ready() -> dict[str, str | None]:
        return {"a": None, "b": "updating"}

    served = build_app(Gateway(plan(), answering(1), ready))
    async with serving(served) as address, ClientSession() as session:
        async with session.get(f"{address}{prefix}/ready") as response:
            assert response.status == 503
            assert (await response.json())["components"] == {"a": "ready", "b": "updating"}
        async with session.get(f"{address}{prefix}/health") as response:
            assert response.status == 200
