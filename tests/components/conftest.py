"""The upstream that component tests call, and components made ready for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from deployments.components.http_client import HttpClient, HttpClientInput
from deployments.components.model import Model
from graphs.component import Setup
from tests.engines import tiny
from tests.fakes.calls import Ask, Client
from tests.fakes.certificates import Certificates, certificates
from tests.fakes.http_server import Upstream


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[Client]:
    """`await client(timeout=…)`: an http-client set up against the upstream, closed after the test."""
    async with AsyncExitStack() as stack:

        async def make(**config: Any) -> HttpClient:
            written = {"base_url": upstream.base_url, **config}
            component = HttpClient(HttpClient.Config.model_validate(written), Setup(id="api"))
            await component.setup()
            stack.push_async_callback(component.close)
            return component

        yield make


@pytest.fixture
async def ask(client: Client) -> Ask:
    """`ask(path=…, stream_format=…)`: one call with an http-client of its default settings."""
    component = await client()

    def call(**action: Any) -> AsyncIterator[Any]:
        return component.run(HttpClientInput.model_validate(action))

    return call


@pytest.fixture
async def make() -> AsyncIterator[Any]:
    """`await make("gpt2", task=…)`: a component set up over a tiny model, closed after the test."""
    async with AsyncExitStack() as stack:

        async def made(kind: str | None = "gpt2", **config: Any) -> Model:
            written = {"task": "text-generation", **({"model": str(tiny.model(kind))} if kind else {}), **config}
            component = Model(Model.Config.model_validate(written), Setup(id="writer"))
            stack.push_async_callback(component.close)
            await component.setup()
            return component

        yield made


@pytest.fixture(scope="session")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def trusted(issued: Certificates, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    monkeypatch.setenv("SSL_CERT_FILE", str(issued.authority))
    return issued
