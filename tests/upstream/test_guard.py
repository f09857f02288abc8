"""URLs that come with requests lead to public places alone, unless the component lists others; the document's own are trusted."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from deployments.components.http_client import HttpClientInput
from deployments.upstream.guard import Guard, HostRefused
from deployments.upstream.hosts import Hosts
from graphs.component import Whole
from graphs.errors import AnabranchError, InvalidInput
from tests.fakes.calls import Client, everything, failure, one
from tests.fakes.http_server import Answer, Upstream
from tests.fakes.http_server.answers import json_answer


def from_request(fixed: str = "", **action: Any) -> HttpClientInput:
    """An Input whose endpoint came with a request, after the text that the document holds."""
    input = HttpClientInput.model_validate(action)
    input.trace({"endpoint": fixed})
    return input


async def asked(client: Client, url: str, fixed: str = "", **config: Any) -> list[Any]:
    api = await client(**{"base_url": None, **config})
    return await everything(api.run(from_request(fixed, endpoint=url, method="GET")))


async def refused(client: Client, url: str, fixed: str = "", **config: Any) -> AnabranchError:
    api = await client(**{"base_url": None, **config})
    return await failure(api.run(from_request(fixed, endpoint=url, method="GET")))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
async def test_a_url_of_a_request_does_not_lead_inside(client: Client, upstream: Upstream, host: str):
    port = upstream.authority.partition(":")[2]
    error = await refused(client, f"http://{host}:{port}/json")
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == "endpoint"
    assert "its address is private; to allow it, list it in allow_hosts" in error.message
    assert error.message.startswith(f"component 'api': GET {host}:{port}/json: ")
    assert upstream.calls == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_nor_does_it_over_tls(client: Client, upstream: Upstream, host: str):
    port = upstream.authority.partition(":")[2]
    error = await refused(client, f"https://{host}:{port}/json")
    assert isinstance(error, InvalidInput)
    assert "its address is private" in error.message


@pytest.mark.parametrize("listed", ["127.0.0.1", "127.0.0.0/8"])
async def test_what_is_listed_may_be_called(client: Client, upstream: Upstream, listed: str):
    assert await asked(client, f"{upstream.base_url}/text", allow_hosts=[listed]) == [Whole("Once upon a time")]


@pytest.mark.parametrize("listed", ["localhost", "127.0.0.1"])
async def test_a_name_may_be_listed_by_itself_or_by_its_address(client: Client, upstream: Upstream, listed: str):
    url = f"http://localhost:{upstream.authority.partition(':')[2]}/text"
    assert await asked(client, url, allow_hosts=[listed]) == [Whole("Once upon a time")]


async def test_what_is_not_listed_says_so(client: Client, upstream: Upstream):
    error = await refused(client, f"{upstream.base_url}/text", allow_hosts=["api.example.com", "*"])
    assert "it is not listed" in error.message


async def test_a_url_that_the_document_holds_is_trusted(client: Client, upstream: Upstream):
    url = f"{upstream.base_url}/text"
    assert await asked(client, url, fixed=url) == [Whole("Once upon a time")]
    assert await asked(client, url, fixed=f"{upstream.base_url}/") == [Whole("Once upon a time")]


@pytest.mark.parametrize("cut", ["", "http://", "http://127.0.0.1", "http://127.0.0.1:"])
async def test_a_host_that_a_request_could_finish_is_not_the_documents(client: Client, upstream: Upstream, cut: str):
    assert isinstance(await refused(client, f"{upstream.base_url}/text", fixed=cut), InvalidInput)


async def test_the_components_own_upstream_is_trusted_wherever_its_url_comes_from(client: Client, upstream: Upstream):
    url = f"{upstream.base_url}/text"
    assert await asked(client, url, base_url=upstream.base_url) == [Whole("Once upon a time")]
    async with Upstream() as other:
        assert isinstance(await refused(client, f"{other.base_url}/", base_url=upstream.base_url), InvalidInput)


async def test_a_redirect_to_another_host_is_judged_as_a_url_of_a_request(client: Client, upstream: Upstream):
    port = upstream.authority.partition(":")[2]
    upstream.queue("/old", Answer(status=307, headers={"Location": f"http://localhost:{port}/text"}))
    api = await client()
    error = await failure(api.run(HttpClientInput(path="/old")))
    assert "a request may not lead to 'localhost'" in error.message
    assert len(upstream.calls) == 1
    assert await one(await client(allow_hosts=["localhost"]), path="/old") == [Whole("Once upon a time")]


async def test_a_url_that_an_upstream_gives_for_a_job_is_judged_too(client: Client, upstream: Upstream):
    async with Upstream() as other:
        upstream.queue("/jobs", json_answer({}))
        completion = {"type": "polling", "endpoint": f"{other.base_url}/json", "interval": 0.001}
        input = HttpClientInput.model_validate({"path": "/jobs", "completion": completion})
        input.trace({"path": "/jobs"})
        error = await failure((await client()).run(input))
        assert isinstance(error, InvalidInput)
        assert other.calls == []


async def test_a_host_that_an_upstream_names_for_a_job_is_not_told_the_component_s_headers(
    client: Client, upstream: Upstream
):
    async with Upstream() as other:
        upstream.queue("/jobs", json_answer({}))
        api = await client(headers={"Authorization": "Bearer ours"}, allow_hosts=["localhost"])
        elsewhere = f"http://localhost:{other.authority.partition(':')[2]}/json"
        completion = {"type": "polling", "endpoint": elsewhere, "headers": {"X-Own": "1"}, "interval": 0.001}
        input = HttpClientInput.model_validate({"path": "/jobs", "completion": completion})
        input.trace({"path": "/jobs"})
        await everything(api.run(input))
        assert upstream.calls[0].headers["Authorization"] == "Bearer ours"
        (asked,) = other.calls
        assert "Authorization" not in asked.headers
        assert asked.headers["X-Own"] == "1"


async def test_a_guarded_call_never_uses_a_connection_that_was_opened_unguarded(client: Client, upstream: Upstream):
    api = await client(base_url=f"http://localhost:{upstream.authority.partition(':')[2]}", allow_hosts=["10.0.0.0/8"])
    await one(api, path="/json")
    error = await failure(api.run(from_request(endpoint=f"{upstream.base_url}/json")))
    assert isinstance(error, InvalidInput)


async def test_behind_a_proxy_names_are_judged_before_it_is_asked(
    client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("http_proxy", upstream.base_url)
    for host in ("localhost", "no-such-name.invalid"):
        assert isinstance(await refused(client, f"http://{host}/text"), InvalidInput)
    assert upstream.calls == []
    found = await asked(client, "http://no-such-name.invalid/text", allow_hosts=["*.invalid"])
    assert found == [Whole("Once upon a time")]


# The resolver, over names that lead where a test says


class Names(AbstractResolver):
    def __init__(self, names: dict[str, list[str]]) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=each, port=port, family=socket.AF_INET, proto=0, flags=0)
            for each in self._names[host]
        ]

    async def close(self) -> None:
        pass


def names(**addresses: list[str]) -> Callable[[], AbstractResolver]:
    return lambda: Names(addresses)


async def test_of_a_names_addresses_only_public_ones_are_connected_to():
    resolver = Guard(Hosts(), names(both=["10.0.0.1", "8.8.8.8"], inside=["10.0.0.1"])).resolver()
    assert [each["host"] for each in await resolver.resolve("both")] == ["8.8.8.8"]
    with pytest.raises(HostRefused):
        await resolver.resolve("inside")


async def test_a_listed_name_may_lead_anywhere():
    resolver = Guard(Hosts(["inside"]), names(inside=["10.0.0.1"], outside=["8.8.8.8"])).resolver()
    assert [each["host"] for each in await resolver.resolve("inside")] == ["10.0.0.1"]
    with pytest.raises(HostRefused):
        await resolver.resolve("outside")
