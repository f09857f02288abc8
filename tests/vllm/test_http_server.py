"""An http-server that runs vLLM's own: its answers stream, and it goes with all its processes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from deployments.components.http_server import HttpServer
from graphs.component import Setup
from tests.fakes.calls import everything
from tests.servers.waiting import gone, parent_of
from tests.vllm import models

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

MESSAGES = [{"role": "user", "content": "Where does the river go?"}]
LENGTH = 12


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[HttpServer]:
    config = {
        "start": [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(models.model("llama-chat")),
            "--served-model-name", "tiny", "--port", "${port}", "--dtype", "float32", "--enforce-eager",
            "--kv-cache-memory-bytes", str(64 * 2**20), "--max-num-seqs", "4",
        ],
        "healthcheck": {"path": "/health", "max_wait": "9m"},
        "env": {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1", "PYTHONWARNINGS": "ignore"},
    }  # fmt: skip
    component = HttpServer(HttpServer.Config.model_validate(config), Setup("vllm"))
    try:
        await component.setup()
        yield component
    finally:
        await component.close()


async def test_its_chat_streams(server: HttpServer) -> None:
    body = {"model": "tiny", "messages": MESSAGES, "stream": True, "temperature": 0, "max_tokens": LENGTH}
    asked = {"path": "/v1/chat/completions", "body": body, "stream_format": "json"}
    *chunks, note = await everything(server.run(HttpServer.Input.model_validate(asked)))
    assert len(chunks) > 2
    assert note.data["finish_reason"] == "length"
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    # What ends in the middle of a character, vLLM leaves without it.
    meant = await asyncio.to_thread(models.likeliest, "llama-chat", MESSAGES, LENGTH)
    assert said == meant.rstrip("\N{REPLACEMENT CHARACTER}")


async def test_it_goes_with_all_its_processes(server: HttpServer) -> None:
    await server.healthy()
    assert server._server is not None
    assert server._server._up is not None
    family = of_family(server._server._up.process.pid)
    assert len(family) > 1  # vLLM runs its engine in a process of its own
    await server.close()
    for pid in family:
        assert await gone(pid)


def of_family(ancestor: int) -> list[int]:
    family = [ancestor]
    others = {int(entry.name): parent_of(int(entry.name)) for entry in Path("/proc").glob("[0-9]*")}
    for pid in family:
        family += [child for child, parent in others.items() if parent == pid and child != os.getpid()]
    return family
