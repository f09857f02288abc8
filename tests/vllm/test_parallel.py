"""A model split over two workers, which on a CPU are two processes."""

from tests.vllm import models
from tests.vllm.asks import SAID, ask, text
from tests.vllm.conftest import started


async def test_a_split_model_answers_as_a_whole_one_does():
    engine = await started("llama-chat", "chat-completion", tensor_parallel_size=2)
    try:
        assert await text(engine, ask()) == models.likeliest("llama-chat", SAID, 24)
    finally:
        await engine.aclose()
