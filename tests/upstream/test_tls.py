"""HTTPS: HTTP/1.1 is what is spoken, with servers that the environment's authorities vouch for and no others."""

from __future__ import annotations

from deployments.components.http_client import HttpClientInput
from graphs.component import Whole
from graphs.errors import UpstreamFailed
from tests.fakes.calls import Client, failure, one
from tests.fakes.certificates import Certificates, over_tls


async def test_a_server_that_offers_http2_too_is_spoken_to_in_http1_over_one_connection(
    client: Client, trusted: Certificates
):
    versions: list[str | None] = []
    async with over_tls(trusted, versions) as url:
        api = await client(base_url=url)
        assert [await one(api, path="/", method="GET") for _ in range(2)] == [[Whole("well")]] * 2
    assert versions == ["http/1.1"]


async def test_a_certificate_that_no_authority_vouches_for_is_refused(client: Client, issued: Certificates):
    versions: list[str | None] = []
    async with over_tls(issued, versions) as url:
        error = await failure((await client(base_url=url)).run(HttpClientInput(path="/", method="GET")))
    assert isinstance(error, UpstreamFailed)
    assert "its TLS certificate is not trusted" in error.message
    assert versions == []


async def test_a_certificate_for_another_name_is_refused(client: Client, trusted: Certificates):
    async with over_tls(trusted, []) as url:
        api = await client(base_url=url.replace("localhost", "127.0.0.2"))
        error = await failure(api.run(HttpClientInput(path="/", method="GET")))
    assert "its TLS certificate is not trusted" in error.message or "can't connect" in error.message
