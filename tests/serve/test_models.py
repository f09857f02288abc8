"""Models in replicas on Ray Serve, asked over HTTP: loaded before they are ready, streaming, or failed in one line."""

import asyncio
import textwrap
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from ray import serve

from deployments.components import registry
from graphs.app import compose
from graphs.load import load_inline
from tests.engines import tiny
from tests.serve.api import END, Api, calling

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = """
    component:
      id: writer
      type: model
      task: chat-completion
      models: [{llama}, {gpt2}]
      max_models: 1
      action:
        model: ${{input.model | llama-chat}}
        messages: ${{input.prompt}}
        streaming: ${{input.stream | true}}
        params: {{max_output_length: "${{input.length as integer | 40}}", temperature: 0}}
    workflow:
      output: ${{output as text;sse-text}}
"""
BROKEN = """
    component:
      id: broken
      type: model
      task: chat-completion
      model: {bert}
      action:
        messages: ${{input.prompt}}
"""


def document(text: str) -> str:
    folders = {kind: tiny.model(name) for kind, name in (("llama", "llama-chat"), ("gpt2", "gpt2"), ("bert", "bert"))}
    return textwrap.dedent(text).format(**folders)


def build(text: str) -> Any:
    types = registry()
    return compose(load_inline(document(text), types), types)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(cluster: str) -> AsyncIterator[Api]:
    serve.run(build(CHAT), name="models", route_prefix="/")
    async with calling(cluster) as api:
        yield api
    serve.delete("models")


def joined(body: bytes) -> str:
    """Return the text of a stream of events that has ended well."""
    assert body.endswith(END)
    events = body.removesuffix(END).decode().split("\n\n")
    return "".join("\n".join(line.removeprefix("data: ") for line in event.split("\n")) for event in events if event)


async def test_a_model_streams_what_it_gives_whole(api: Api):
    streamed = await api.run(prompt="Hello")
    assert streamed.headers["Content-Type"].startswith("text/event-stream")
    whole = await api.run(prompt="Hello", stream=False)
    assert joined(streamed.body) == whole.json() != ""


async def test_callers_are_served_side_by_side_and_alike(api: Api):
    answers = await asyncio.gather(*(api.run(prompt="Hello") for _ in range(16)))
    assert len({joined(answer.body) for answer in answers}) == 1


async def test_a_caller_who_leaves_takes_no_place(api: Api):
    expected = joined((await api.run(prompt="Hello")).body)
    for _ in range(10):
        async with api.stream(prompt="Hello", length=200) as reading:
            await reading.event()
    assert joined((await api.run(prompt="Hello")).body) == expected


async def test_another_of_the_models_is_loaded_when_it_is_called(api: Api):
    assert joined((await api.run(prompt="Hello", model="gpt2")).body)
    assert joined((await api.run(prompt="Hello")).body)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"prompt": "river " * 500}, "this model's maximum context length is 256"),
        ({"prompt": "a\0b"}, "NUL character"),
        ({"prompt": [{"content": "Hi"}]}, "write {role: user, content: …}"),
        ({"prompt": "Hi", "model": "gpt3"}, "the component has no model 'gpt3'"),
    ],
)
async def test_what_a_model_cannot_read_is_refused_before_the_stream(api: Api, asked: dict[str, Any], said: str):
    answer = await api.run(**asked)
    assert answer.status == 422
    assert said in answer.error()["message"]


async def test_a_model_that_cannot_be_loaded_fails_its_deployment_in_one_line(cluster: str):
    with pytest.raises(RuntimeError):
        await asyncio.to_thread(serve.run, build(BROKEN), name="broken", route_prefix="/broken")
    message = serve.status().applications["broken"].deployments["broken"].message
    (line,) = (each for each in message.splitlines() if "does not generate text" in each)
    assert "component 'broken' could not be set up: model " in line
    assert "write `task: text-embedding`" in line
    serve.delete("broken")
