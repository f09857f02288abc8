"""What requests look like on the wire, and what bindings can't do to them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deployments.components.http_client import HttpClient, HttpClientInput
from graphs.component import Stream, Whole
from graphs.errors import InvalidInput
from tests.fakes.calls import Ask, Client, everything, failure, one
from tests.fakes.http_server import Answer, Upstream


async def test_a_form_is_sent_when_the_header_says_so(ask: Ask, upstream: Upstream):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    await everything(ask(path="/echo", headers=form, body={"grant_type": "a b", "scope": ["x", "y"]}))
    assert upstream.calls[0].body == b"grant_type=a+b&scope=x&scope=y"


async def test_a_call_without_a_body_has_no_content_type(ask: Ask, upstream: Upstream):
    await everything(ask(path="/json"))
    assert "Content-Type" not in upstream.calls[0].headers
    assert upstream.calls[0].headers["Content-Length"] == "0"


async def test_credentials_of_a_url_become_a_header_and_stay_on_their_host(client: Client, upstream: Upstream):
    api = await client(base_url=upstream.base_url.replace("://", "://me:secret@"))
    async with Upstream() as other:
        upstream.queue("/old", Answer(status=307, headers={"Location": f"{other.base_url}/echo"}))
        await one(api, path="/echo")
        await one(api, path="/old")
        assert "Authorization" not in other.calls[0].headers
    assert upstream.calls[0].headers["Authorization"] == "Basic bWU6c2VjcmV0"


async def test_a_redirect_within_a_host_keeps_what_its_url_holds(client: Client, upstream: Upstream):
    upstream.queue("/old", Answer(status=307, headers={"Location": "/echo"}))
    await one(await client(base_url=upstream.base_url.replace("://", "://me:secret@")), path="/old")
    assert upstream.calls[1].headers["Authorization"] == "Basic bWU6c2VjcmV0"


@pytest.mark.parametrize("path", ["/a b\r\nX-Evil: 1", "/안녕 ", "/a\tb", "/%0d%0aX-Evil:%201"])
async def test_a_path_cannot_break_the_request_line(ask: Ask, upstream: Upstream, path: str):
    upstream.queue("/never", Answer())
    error = await failure(ask(path=path))
    assert "answered 404" in error.message
    assert "X-Evil" not in upstream.calls[0].headers
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("endpoint", ["https://evil.com\\@127.0.0.1/", "http://a.com:80:80/", "http://[::1/"])
async def test_an_endpoint_that_only_looks_like_a_url_is_wrong_input(ask: Ask, endpoint: str):
    error = await failure(ask(endpoint=endpoint))
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == "endpoint"


async def test_a_path_cannot_climb_out_of_its_base_url(client: Client, upstream: Upstream):
    api = await client(base_url=f"{upstream.base_url}/v1/tenants/me")
    error = await failure(api.run(HttpClientInput(path="/users/../../admin")))
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == "path"
    assert upstream.calls == []


async def test_nor_can_it_by_what_a_parser_of_urls_drops(client: Client, upstream: Upstream):
    api = await client(base_url=f"{upstream.base_url}/v1/public")
    assert isinstance(await failure(api.run(HttpClientInput(path="/.\t./.\n./admin"))), InvalidInput)
    assert upstream.calls == []


async def test_a_header_with_a_control_character_is_wrong_input(client: Client, upstream: Upstream):
    api = await client()
    error = await failure(api.run(HttpClientInput(path="/echo", headers={"X-Key": "a\x01b"})))
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == "headers.X-Key"
    assert upstream.calls == []


async def test_a_hash_is_part_of_a_path_and_the_end_of_an_endpoint(client: Client, upstream: Upstream):
    await failure((await client()).run(HttpClientInput(path="/languages/C#", params={"q": 1})))
    await one(await client(base_url=None), endpoint=f"{upstream.base_url}/echo#top", params={"q": 2})
    assert [(call.path, call.query) for call in upstream.calls] == [
        ("/languages/C#", {"q": ["1"]}),
        ("/echo", {"q": ["2"]}),
    ]


async def test_a_stream_is_closed_when_what_stands_beside_it_cannot_be_sent(client: Client):
    closed: list[bool] = []

    async def batches() -> AsyncIterator[list[str]]:
        yield ["a"]
        yield ["b"]

    async def close() -> None:
        closed.append(True)

    input = HttpClientInput(path="/echo", body=Stream(batches(), close), params={"filter": [{"a": 1}]})
    assert isinstance(await failure((await client()).run(input)), InvalidInput)
    assert closed == [True]


def test_headers_that_cannot_be_sent_are_found_wherever_they_stand():
    upstreams = ["https://a.com", {"base_url": "https://b.com", "headers": {"X Key": "1"}}]
    completion = {"type": "polling", "path": "/", "headers": {"X-Key": "a\x01b"}}
    found = dict(HttpClient.check({"upstreams": upstreams}, {"path": "/", "completion": completion}))
    assert found.keys() == {"upstreams.1.headers.X Key", "completion.headers.X-Key"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_this_machine_is_never_called_through_a_proxy(
    client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, host: str
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    api = await client(base_url=upstream.base_url.replace("127.0.0.1", host))
    assert await one(api, path="/text") == [Whole("Once upon a time")]
