"""`POST /v1/completions` over a real socket."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.transports.openai.completions import decode
from graphs.stream import Note
from tests.transports.openai.models_api import COMPLETIONS, USAGE, Answering, ask, refused, scored

ONE = {"model": "tiny", "prompt": "Once upon"}
TWO = {"model": "tiny", "prompt": ["Once upon", "What is"]}


async def test_a_stream_is_openais_to_the_byte() -> None:
    answer = await ask(Answering(" a", " time"), COMPLETIONS, {**ONE, "stream": True})
    first = answer.chunks[0]
    said = answer.body.decode().replace(first["id"], "ID").replace(str(first["created"]), "NOW")
    head = 'data: {"id": "ID", "object": "text_completion", "created": NOW, "model": "tiny", "choices": [{"index": 0, '
    assert said == (
        f'{head}"text": " a", "logprobs": null, "finish_reason": null}}]}}\n\n'
        f'{head}"text": " time", "logprobs": null, "finish_reason": null}}]}}\n\n'
        f'{head}"text": "", "logprobs": null, "finish_reason": "stop"}}]}}\n\n'
        "data: [DONE]\n\n"
    )


async def test_a_whole_answer_is_openais() -> None:
    model = Answering(" a", " time", finish="length")
    answer = await ask(model, COMPLETIONS, {**ONE, "max_tokens": 2})
    said = answer.json
    assert said.pop("id") == f"cmpl-{answer.headers['x-run-id'].removeprefix('run_')}"
    assert isinstance(said.pop("created"), int)
    choice = {"index": 0, "text": " a time", "logprobs": None, "finish_reason": "length"}
    assert said == {"object": "text_completion", "model": "tiny", "choices": [choice], "usage": USAGE}
    assert model.inputs == [{"prompt": "Once upon", "max_tokens": 2, "stream": False}]


@pytest.mark.parametrize("stream", [False, True])
async def test_each_prompt_has_its_choices_and_is_counted_once(*, stream: bool) -> None:
    model = Answering(" x")
    more = {"n": 2, "echo": True, "stream": stream, "stream_options": {"include_usage": True}}
    answer = await ask(model, COMPLETIONS, {**TWO, **more})
    said = answer.chunks if stream else [answer.json]
    texts = dict.fromkeys(range(4), "")
    for choice in (choice for chunk in said for choice in chunk["choices"]):
        texts[choice["index"]] += choice["text"]
    assert list(texts.values()) == ["Once upon x", "Once upon x", "What is x", "What is x"]
    assert said[-1]["usage"] == {"prompt_tokens": 10, "completion_tokens": 8, "total_tokens": 18}


async def test_a_workflow_reads_the_prompt_as_the_question() -> None:
    asking = Answering("x")
    await ask(asking, COMPLETIONS, {"prompt": ["One", "Two"]})
    assert sorted(input["prompt"] for input in asking.inputs) == ["One", "Two"]
    assert all(input["question"] == input["prompt"] for input in asking.inputs)


async def test_what_has_no_place_in_a_text_is_left_out() -> None:
    call = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    model = Answering({"reasoning_content": "Hm."}, {"content": "Yes"}, call, {"refusal": "No."})
    (choice,) = (await ask(model, COMPLETIONS, ONE)).json["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("YesNo.", "stop")
    chunks = (await ask(model, COMPLETIONS, {**ONE, "stream": True})).chunks
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["Yes", "No.", ""]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("stream", [False, True])
async def test_probabilities_are_told_with_the_text_of_their_tokens(*, stream: bool) -> None:
    tokens = [scored(" a", " b"), scored(" time")]
    model = Answering(Note({"logprobs": tokens[:1]}), " a", Note({"logprobs": tokens[1:]}), " time")
    answer = await ask(model, COMPLETIONS, {**ONE, "logprobs": 1, "stream": stream})
    assert model.inputs[0]["logprobs"] == 1
    said = [each["choices"][0] for each in (answer.chunks if stream else [answer.json])]
    told = [each["logprobs"] for each in said if each["logprobs"]]
    tables = {name: [item for each in told for item in each[name]] for name in told[0]}
    assert tables == {
        "tokens": [" a", " time"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{" b": -0.25}, {}],
        "text_offset": [0, 2],
    }
    assert [bool(each["logprobs"]) for each in said] == ([True, True, False] if stream else [True])


@pytest.mark.parametrize(
    ("more", "param", "told"),
    [
        ({"prompt": None}, "prompt", "got null"),
        ({"prompt": ""}, "prompt", "the text is empty"),
        ({"prompt": []}, "prompt", "expected 1 to 2048 texts, got 0"),
        ({"prompt": [1, 2]}, "prompt", "got token ids; send the texts themselves"),
        ({"prompt": [[1, 2]]}, "prompt", "got token ids; send the texts themselves"),
        ({"prompt": ["x"] * 20, "n": 16}, "prompt", "at most 128 choices come at once, not 20 prompts with 16 choices"),
        ({"suffix": "end"}, "suffix", "leave it out"),
        ({"best_of": 2}, "best_of", "leave it out, or write 1"),
        ({"logprobs": 6}, "logprobs", "expected at most 5, got 6"),
        ({"logprobs": 1, "echo": True}, "logprobs", "leave it out, or leave echo out"),
        ({"messages": []}, "messages", "unknown parameter 'messages'"),
        ({"echo": 1}, "echo", "expected true or false, got 1"),
    ],
)
def test_what_is_wrong_is_named(more: Any, param: str, told: str) -> None:
    error = refused(decode, {**ONE, **more})
    assert error["param"] == param
    assert told in error["message"]
