"""The upstream of the tests as a process: a System to start, what stands before it, and its log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from bench.peers import litellm, model_compose
from bench.systems import HOST, PEERS, SCRIPTS, Server, System

ANSWERS_WITHIN = 60.0

RUNS = "/api/workflows/runs"
RUN: Mapping[str, Any] = {"workflow_id": "words", "output_only": True}
CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Hello"}]


def _upstream(port: int, _: Path) -> list[str]:
    return [sys.executable, "-m", "tests.fakes.http_server", "--host", HOST, "--port", str(port)]


def anabranch(command: str, *documents: str) -> Callable[[int, Path], list[str]]:
    """Return what starts `anabranch dev` or `serve` with these documents."""

    def started(port: int, _: Path) -> list[str]:
        paths = [str(PEERS / document) for document in documents]
        return [str(SCRIPTS / "anabranch"), command, *paths, "--host", HOST, "--port", str(port)]

    return started


UPSTREAM = System(
    "upstream",
    "the upstream, read directly",
    _upstream,
    on_ray=False,
    path="/v1/chat/completions?count={repeat}&pace={interval}",
    envelope={"stream": True},
    mark=b'"delta": {"content": ',  # a role comes before the words, a finish reason and [DONE] after them
    ready="/health",
)
DEV = System("dev", "anabranch dev", anabranch("dev", "passing.yaml"), on_ray=False, path=RUNS, envelope=dict(RUN))
PLACED = System(
    "placed",
    "anabranch serve, in the ingress",
    anabranch("serve", "passing.yaml", "in_the_ingress.yaml"),
    path=RUNS,
    envelope=dict(RUN),
)
ANABRANCH = System(
    "anabranch", "anabranch serve, own deployment", anabranch("serve", "passing.yaml"), path=RUNS, envelope=dict(RUN)
)
MODEL_COMPOSE = System(
    "model-compose",
    f"model-compose {model_compose.VERSION}",
    lambda port, _: model_compose.command(port),
    on_ray=False,
    path=RUNS,
    envelope=dict(RUN),
    ready="/api/health",
)
LITELLM = System(
    "litellm",
    f"LiteLLM {litellm.VERSION}",
    lambda port, _: litellm.command(port),
    on_ray=False,
    path=CHAT,
    envelope={"model": "words", "stream": True, "messages": MESSAGES},
    mark=b'"delta":{"content":',
    ready="/health/readiness",
    environment=litellm.TOLD,
)


def before(upstream: Server, system: System) -> System:
    """Return the system, told to call this upstream."""
    url = f"http://{HOST}:{upstream.port}"
    return replace(system, environment={**system.environment, "UPSTREAM": url, "OPENAI_BASE_URL": f"{url}/v1"})


class Log:
    """What the upstream says of its calls; its times are those of `time.time()`."""

    def __init__(self, upstream: Server) -> None:
        timeout = aiohttp.ClientTimeout(total=ANSWERS_WITHIN)
        self._session = aiohttp.ClientSession(f"http://{HOST}:{upstream.port}", timeout=timeout)

    async def __aenter__(self) -> Log:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def forget(self) -> None:
        """Begin anew."""
        async with self._session.delete("/log"):
            pass

    async def calls(self, called: int = 0, left: int = 0) -> list[dict[str, Any]]:
        """Return the calls, once so many have come and so many callers have left."""
        async with self._session.get("/log", params={"calls": called, "left": left}) as answer:
            return (await answer.json())["calls"]
