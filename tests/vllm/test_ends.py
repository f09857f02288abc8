"""How an engine ends, and what it says to those who wait."""

import asyncio
import os
import signal

import pytest

from graphs.errors import Unavailable
from tests.vllm.asks import answer, ask
from tests.vllm.conftest import started

LONG = ask(max_output_length=200, min_output_length=200)


async def test_a_closed_engine_tells_its_readers_and_takes_no_more():
    engine = await started("llama-chat", "chat-completion")
    reader = engine.generate(LONG)
    await anext(reader)
    await engine.aclose()
    with pytest.raises(Unavailable, match="was stopped before the answer was complete"):
        await rest(reader)
    with pytest.raises(Unavailable):
        await answer(engine, ask())


async def test_an_engine_whose_process_died_says_so_to_readers_and_to_the_health_check():
    engine = await started("llama-chat", "chat-completion")
    reader = engine.generate(LONG)
    await anext(reader)
    for process in engine._llm.engine_core.resources.engine_manager.processes:
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match="its vLLM engine died"):
        await asyncio.wait_for(rest(reader), 30)
    with pytest.raises(Unavailable, match="its vLLM engine died"):
        await engine.healthy()
    await engine.aclose()


async def rest(reader):
    async for _ in reader:
        pass
