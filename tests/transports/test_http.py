"""What surrounds every route: errors as JSON, limits, CORS, compression, health and docs."""

from __future__ import annotations

import gzip
import json
import logging
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator
from starlette.types import Message, Receive, Scope, Send

from deployments.api import build_app
from deployments.gateway import Gateway
from deployments.http.compression import accepts_gzip
from deployments.http.cors import Cors
from deployments.http.guards import CatchFaults
from graphs.plan import InputField, OutputKind
from tests.transports.served import Feed, answering, app, connected, one, plan, serving

TEXT = OutputKind("text", "sse-text")
PAGE = "https://page.test"
PLAIN = {"Accept-Encoding": "identity"}


async def asked(
    method: str,
    path: str,
    *,
    invoke: Any = None,
    headers: Mapping[str, str] = {},
    options: Mapping[str, Any] = {},
    **body: Any,
) -> tuple[ClientResponse, bytes]:
    async with (
        serving(app(invoke or answering(...), **options)) as address,
        ClientSession(auto_decompress=False) as session,
        session.request(method, address + path, headers=headers, **body) as response,
    ):
        return response, await response.read()


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


# --- CORS ------------------------------------------------------------------------------------------------------------


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
        "Accept, Authorization, Content-Type, Last-Event-ID, x-stainless-os"
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


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_the_docs_describe_every_answer_of_a_run(prefix: str) -> None:
    response, body = await asked("GET", f"{prefix}/openapi.json", headers=PLAIN)
    paths = json.loads(body)["paths"]
    assert {"/workflows", "/workflows/{workflow_id}/schema", "/workflows/runs", "/health", "/ready"} <= set(paths)
    run = paths["/workflows/runs"]["post"]
    assert set(run["responses"]["200"]["content"]) == {
        "application/json",
        "text/event-stream",
        "application/octet-stream",
    }
    assert {"400", "403", "404", "413", "422", "500", "502", "503", "504"} <= set(run["responses"])
    assert run["requestBody"]["required"] is True  # an empty body is refused
    assert "session_id" in run["requestBody"]["content"]["application/json"]["schema"]["properties"]
    response, body = await asked("GET", f"{prefix}/docs", headers=PLAIN)
    assert f"{prefix}/openapi.json".encode() in body
    assert response.status == 200
    loads = re.findall(r'(?:src|href)="([^"]+)"', body.decode())
    assert loads
    for each in loads:  # all of it from here: there may be no network
        response, body = await asked("GET", each, headers=PLAIN)
        assert (response.status, len(body) > 1000) == (200, True)


async def described() -> dict[str, Any]:
    _, body = await asked("GET", "/openapi.json", headers=PLAIN)
    return json.loads(body)


def operations(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def within(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping within a value, itself included."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from within(each)


async def test_the_description_is_openapi() -> None:
    document = await described()
    assert document["openapi"].startswith("3.1")
    OpenAPI.model_validate(document)
    for each in within(document):
        if isinstance(schema := each.get("schema"), dict):
            Draft202012Validator.check_schema(schema)
    known = document["components"]["schemas"]
    for schema in known.values():
        Draft202012Validator.check_schema(schema)
    named = {each["$ref"] for each in within(document) if "$ref" in each}
    assert named == {f"#/components/schemas/{name}" for name in known}
    ids = [operation["operationId"] for operation in operations(document)]
    assert len(set(ids)) == len(ids)


async def test_every_error_is_described_in_the_one_shape_there_is() -> None:
    document = await described()
    assert "ValidationError" not in json.dumps(document)
    shape = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    del document["paths"]["/ready"]["get"]["responses"]["503"]  # no error, but an answer: what isn't ready
    for operation in operations(document):
        errors = {status: answer for status, answer in operation["responses"].items() if status != "200"}
        assert {"500", "default"} <= set(errors)
        assert all(answer["content"] == shape for answer in errors.values())


@pytest.mark.parametrize(
    ("path", "amiss", "status"),
    [
        ("/health", None, "200"),
        ("/ready", None, "200"),
        ("/ready", "updating", "503"),
        ("/workflows", None, "200"),
        ("/workflows/{workflow_id}/schema", None, "200"),
        ("/nowhere", None, "404"),
    ],
)
async def test_an_answer_is_as_described(path: str, amiss: str | None, status: str) -> None:
    async def ready() -> dict[str, str | None]:
        return {"a": amiss}

    document = await described()
    answers = document["paths"].get(path, document["paths"]["/workflows/{workflow_id}/schema"])["get"]["responses"]
    schema = answers[status]["content"]["application/json"]["schema"]
    assert schema  # an empty one would fit anything
    served = build_app(Gateway(plan(), answering(1), ready))
    async with (
        serving(served) as address,
        ClientSession() as session,
        session.get(address + path.replace("{workflow_id}", "story")) as response,
    ):
        assert str(response.status) == status
        Draft202012Validator({**schema, "components": document["components"]}).validate(await response.json())
