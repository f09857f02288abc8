"""What answers in OpenAI's and Anthropic's protocols say of their tokens and their end comes in a note, in OpenAI's words."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.component import Note, Whole
from tests.fakes.calls import Ask, everything, failure
from tests.fakes.http_server import Answer, Hang, Upstream, events
from tests.fakes.http_server.answers import NDJSON, SSE, anthropic_said, chat_chunk, dumps, json_answer, json_lines

DETAILS = {"prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 1}}
COUNTS = {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
BEGUN, ENDED = chat_chunk({"content": "Once"}), chat_chunk({})
USED = {"object": "chat.completion.chunk", "choices": [], "usage": {**COUNTS, **DETAILS, "cost": 0.1}}


async def stream(ask: Ask, upstream: Upstream, *chunks: Any, kind: str = SSE, **action: Any) -> list[Any]:
    """Return all that comes of these chunks."""
    path = f"/stream/{len(upstream.calls)}"
    upstream.queue(path, Answer(json_lines(chunks) if kind == NDJSON else events(*map(dumps, chunks)), kind))
    return await everything(ask(path=path, **{"stream_format": "json", **action}))


async def noted(ask: Ask, upstream: Upstream, *chunks: Any, **action: Any) -> Any:
    """Return the data of the one note, which follows the chunks."""
    *came, note = await stream(ask, upstream, *chunks, **action)
    assert came == list(chunks)
    assert isinstance(note, Note)
    return note.data


@pytest.mark.parametrize("kind", [SSE, NDJSON])
async def test_openais_last_chunk_says_the_usage(ask: Ask, upstream: Upstream, kind: str):
    usage = {**COUNTS, **DETAILS}
    assert await noted(ask, upstream, BEGUN, ENDED, USED, kind=kind) == {"usage": usage, "finish_reason": "stop"}


async def test_without_a_usage_the_end_is_noted_alone(ask: Ask, upstream: Upstream):
    assert await noted(ask, upstream, BEGUN, {**ENDED, "usage": None}) == {"finish_reason": "stop"}


async def test_a_usage_may_come_with_the_end_and_again_after_it(ask: Ask, upstream: Upstream):
    together = await noted(ask, upstream, BEGUN, {**ENDED, "usage": COUNTS})
    assert together == {"usage": COUNTS, "finish_reason": "stop"}
    later = {**chat_chunk({"content": ""}), "usage": COUNTS}
    assert await noted(ask, upstream, BEGUN, ENDED, later) == together


async def test_of_several_choices_the_first_says_the_end(ask: Ask, upstream: Upstream):
    ends = [
        {"choices": [{"index": at, "delta": {}, "finish_reason": end}]} for at, end in enumerate(("length", "stop"))
    ]
    for chunks in (ends, ends[::-1]):
        assert await noted(ask, upstream, *chunks) == {"finish_reason": "length"}


async def test_the_note_waits_for_nothing_after_done(ask: Ask, upstream: Upstream):
    steps = [*events(dumps(BEGUN), dumps(ENDED), "[DONE]"), Hang()]
    upstream.queue("/stream", Answer(steps, SSE))
    assert (await everything(ask(path="/stream", stream_format="json")))[-1] == Note({"finish_reason": "stop"})


def anthropic(reason: str, started: dict[str, Any], **used: Any) -> list[dict[str, Any]]:
    said = anthropic_said(["Once", " upon"])
    said[0]["message"]["usage"] = started
    said[-2].update(delta={"stop_reason": reason, "stop_sequence": None}, usage=used)
    return said


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"),
        ("refusal", "content_filter"), ("tired", "tired"),
    ],
)  # fmt: skip
async def test_anthropics_two_counts_and_its_end_are_put_in_openais_words(
    ask: Ask, upstream: Upstream, reason: str, finish: str
):
    said = anthropic(reason, {"input_tokens": 4, "output_tokens": 1}, output_tokens=3)
    assert await noted(ask, upstream, *said) == {"usage": COUNTS, "finish_reason": finish}


async def test_what_anthropic_reads_from_its_cache_counts_as_prompt(ask: Ask, upstream: Upstream):
    started = {"input_tokens": 1, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1, "output_tokens": 1}
    noted_usage = (await noted(ask, upstream, *anthropic("end_turn", started, output_tokens=3)))["usage"]
    assert noted_usage == {**COUNTS, "prompt_tokens_details": {"cached_tokens": 2}}


RESPONSE = {
    "object": "response",
    "status": "completed",
    "output": [{"type": "message"}],
    "usage": {
        "input_tokens": 4, "output_tokens": 3, "total_tokens": 7, "input_tokens_details": {"cached_tokens": 2},
        "output_tokens_details": {"reasoning_tokens": 1},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "finish"),
    [
        ({}, "stop"),
        ({"output": [{"type": "reasoning"}, {"type": "function_call"}]}, "tool_calls"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
    ],
)
async def test_one_of_openais_responses_says_both_at_its_end(
    ask: Ask, upstream: Upstream, changed: dict[str, Any], finish: str
):
    response = {**RESPONSE, **changed}
    chunks = [{"type": "response.output_text.delta", "delta": "Once"}]
    chunks += [{"type": f"response.{response['status']}", "response": response}]
    told = {"usage": {**COUNTS, **DETAILS}, "finish_reason": finish}
    assert await noted(ask, upstream, *chunks) == told
    upstream.queue("/whole", json_answer(response))
    assert await everything(ask(path="/whole")) == [Whole(response, told)]


COMPLETION = {"object": "chat.completion", "choices": [{"index": 0, "message": {}, "finish_reason": "length"}]}
MESSAGE = {"type": "message", "role": "assistant", "content": [], "stop_reason": "max_tokens"}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({**COMPLETION, "usage": COUNTS}, {"usage": COUNTS, "finish_reason": "length"}),
        (COMPLETION, {"finish_reason": "length"}),
        ({**MESSAGE, "usage": {"input_tokens": 4, "output_tokens": 3}}, {"usage": COUNTS, "finish_reason": "length"}),
        (
            {"object": "list", "data": [], "usage": {"prompt_tokens": 4, "total_tokens": 4}},
            {"usage": {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4}},
        ),
    ],
)
async def test_a_whole_answer_has_its_note_with_it(ask: Ask, upstream: Upstream, answer: Any, told: Any):
    upstream.queue("/whole", *[json_answer(answer)] * 2)
    assert await everything(ask(path="/whole")) == [Whole(answer, told)]
    assert await everything(ask(path="/whole", stream_format="json")) == [answer, Note(told)]


STRANGE: list[Any] = [
    1, None, [], "text", {"choices": ["red", "blue"]}, {"choices": [{"colour": "red"}], "usage": COUNTS},
    {"object": "list", "usage": "much"}, {"type": ["message_delta"]}, {"type": "message_delta", "usage": 3, "delta": None},
    {"type": "response.completed", "response": "none"}, {"type": "message", "text": "hello"}, {"usage": COUNTS},
    {"object": "list", "usage": {"prompt_tokens": "4"}}, {"type": {}},
]  # fmt: skip


@pytest.mark.parametrize("value", STRANGE)
async def test_of_other_answers_nothing_is_noted(ask: Ask, upstream: Upstream, value: Any):
    assert await stream(ask, upstream, value) == [value]
    upstream.queue("/whole", *[json_answer(value)] * 2)
    assert await everything(ask(path="/whole")) == [Whole(value)]
    assert await everything(ask(path="/whole", stream_format="json")) == [value]


async def test_a_stream_that_was_cut_has_no_note(ask: Ask, upstream: Upstream):
    upstream.queue("/stream", Answer(events(dumps(BEGUN), dumps(USED)), SSE))
    chunks = ask(path="/stream", stream_format="json")
    assert [await anext(chunks), await anext(chunks)] == [BEGUN, USED]
    assert "ended before its end mark" in (await failure(chunks)).message
