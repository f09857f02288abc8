"""`POST /v1/embeddings`: vectors from a model's or a workflow's output."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from deployments.gateway.gateway import Gateway
from deployments.transports.app import build_app
from graphs.errors import InvalidInput
from tests.transports.openai.models_api import EMBEDDINGS, Answering, ask, models_plan
from tests.transports.served import Feed, connected, serving, soon

V = [0.5, -1.0, 2]
TWO = {"model": "tiny", "input": ["one", "two"]}
ONE = {"model": "tiny", "input": "one"}


@pytest.mark.parametrize(
    "output", [[V, V], {"embeddings": [V, V]}, {"data": [{"embedding": V, "index": 0}, {"embedding": V, "index": 1}]}]
)
async def test_a_list_of_vectors_is_a_vector_for_each_text(output: Any) -> None:
    model = Answering(whole=output)
    answer = await ask(model, EMBEDDINGS, TWO)
    assert answer.headers["x-run-id"].startswith("run_")
    data = [{"object": "embedding", "index": index, "embedding": V} for index in (0, 1)]
    assert answer.json == {"object": "list", "data": data, "model": "tiny"}
    assert model.inputs == [{"input": ["one", "two"], "stream": False}]


@pytest.mark.parametrize("output", [V, [V], {"embedding": V}])
async def test_one_text_has_one_vector(output: Any) -> None:
    answer = await ask(Answering(whole=output), EMBEDDINGS, ONE)
    assert [each["embedding"] for each in answer.json["data"]] == [V]


async def test_base64_is_32_bit_floats_of_the_lowest_byte_first() -> None:
    answer = await ask(Answering(whole=V), EMBEDDINGS, {**ONE, "encoding_format": "base64", "dimensions": 3})
    (each,) = answer.json["data"]
    assert struct.unpack("<3f", base64.b64decode(each["embedding"])) == tuple(V)


async def test_a_workflow_reads_the_texts_as_its_question() -> None:
    asking = Answering(whole=[V, V])
    await ask(asking, EMBEDDINGS, {"input": ["one", "two"], "metadata": {"input": {"text": "mine"}}, "own": 1})
    (input,) = asking.inputs
    assert (input["input"], input["query"], input["text"], input["own"]) == (["one", "two"], ["one", "two"], "mine", 1)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("text", "gave no vector and no list of vectors, but text"),
        ([], "gave no vector"),
        ([["a"]], "gave no vector"),
        ([[True, False]], "gave no vector"),
        ([V, V, V], "gave 3 vectors for 2 texts"),
    ],
)
async def test_an_output_without_vectors_is_the_servers_fault(output: Any, told: str) -> None:
    answer = await ask(Answering(whole=output), EMBEDDINGS, TWO)
    assert (answer.status, answer.error["type"]) == (502, "server_error")
    assert told in answer.error["message"]
    assert answer.error["run_id"] == answer.headers["x-run-id"]


@pytest.mark.parametrize(
    ("more", "param", "told"),
    [
        ({"input": None}, "input", "got null"),
        ({"input": ""}, "input", "the text is empty"),
        ({"input": ["a", ""]}, "input", "text 1 of the list is empty"),
        ({"input": []}, "input", "expected 1 to 2048 texts, got 0"),
        ({"input": [[1, 2], [3]]}, "input", "langchain: check_embedding_ctx_length=False"),
        ({"input": [{}]}, "input", "expected text or a list of texts"),
        ({"encoding_format": "int8"}, "encoding_format", "expected one of 'float' or 'base64', got 'int8'"),
        ({"dimensions": 2}, "dimensions", "have 3 numbers, not 2; leave it out"),
        ({"temperature": 1}, "temperature", "unknown parameter"),
    ],
)
async def test_what_is_wrong_is_named(more: Any, param: str, told: str) -> None:
    answer = await ask(Answering(whole=V), EMBEDDINGS, {**ONE, **more})
    assert (answer.status, answer.error["param"]) == (400, param)
    assert told in answer.error["message"]


async def test_a_text_that_a_model_refuses_is_the_input() -> None:
    answer = await ask(Answering(whole=InvalidInput("too long", field="text")), EMBEDDINGS, ONE)
    assert (answer.status, answer.error["param"]) == (400, "input")


async def test_a_client_that_leaves_ends_the_run() -> None:
    feed = Feed()
    async with serving(build_app(Gateway(models_plan(), feed))) as address:
        async with connected(address) as wire:
            await wire.ask(ONE, path=EMBEDDINGS)
            await soon(feed.asked)
        await soon(feed.closed)
