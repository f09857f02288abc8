"""A document with `driver: vllm`, served by Ray: its answer streams, and leaving frees the model."""

import asyncio
import textwrap
import warnings
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import pytest_asyncio

with warnings.catch_warnings():
    # Ray's own modules warn when they are imported, and warnings are errors here.
    warnings.simplefilter("ignore")
    import ray
    from ray import serve

from deployments.components import registry
from deployments.components.model import Model
from graphs.app import compose
from graphs.load import load_inline
from tests.serve.api import END, Api, calling, until
from tests.serve.clusters import running
from tests.serve.drill import Latch, heard, tell
from tests.vllm import models

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Watched(Model):
    """A model that tells how many answers its engine has under way whenever one has ended."""

    async def setup(self):
        await super().setup()
        async with self._pool.use(self.config.model) as engine:
            self.outputs = engine._llm.output_processor

    async def run(self, input):
        try:
            async with aclosing(super().run(input)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            tell("under way", self.outputs.get_num_unfinished_requests())


ENDLESS = 100_000
"""Tokens that nobody waits for."""

TYPES = {**registry(), "model": Watched}

DOCUMENT = """
    component:
      id: writer
      type: model
      driver: vllm
      task: text-generation
      model: {model}
      precision: float32
      options: {{kv_cache_memory_bytes: 268435456, max_num_seqs: 4}}
      action:
        text: ${{input.prompt as text}}
        streaming: true
        params:
          max_output_length: ${{input.most as integer | 24}}
          min_output_length: ${{input.most as integer | 24}}
    workflow:
      output: ${{output as text;sse-text}}
"""


@pytest.fixture(scope="module")
def served() -> str:
    with running() as cluster:
        latch = ray.remote(Latch).options(name="latch", namespace="tests", num_cpus=0).remote()
        document = textwrap.dedent(DOCUMENT.format(model=models.model("llama", ENDLESS)))
        serve.run(compose(load_inline(document, TYPES, {}), TYPES), route_prefix="/")
        yield cluster.url
        ray.kill(latch)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(served: str) -> AsyncIterator[Api]:
    async with calling(served) as api:
        yield api


async def test_who_leaves_frees_the_place_in_the_engine(api):
    async with api.stream(prompt="Once upon a time", most=ENDLESS - 100) as reading:
        await reading.event()
    assert await until(lambda: heard("under way"), lambda count: count is not None) == 0


async def test_the_answer_comes_piece_by_piece(api):
    async with api.stream(prompt="Once upon a time") as reading:
        first = await reading.event()
        rest = await reading.rest()
    assert first.startswith(b"data: ")
    assert rest.count(b"data: ") > 5
    assert rest.endswith(END)


async def test_two_streams_at_once_are_each_what_they_are_alone(api):
    alone = (await api.run(prompt="Once upon a time")).body
    both = await asyncio.gather(*(api.run(prompt="Once upon a time") for _ in range(2)))
    assert [each.body for each in both] == [alone, alone]


async def test_a_prompt_beyond_the_context_is_refused_in_words(api):
    answer = await api.run(prompt="river " * ENDLESS)
    assert answer.status == 422
    assert str(ENDLESS) in answer.error()["message"]
