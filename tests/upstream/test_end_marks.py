"""A stream in OpenAI's or Anthropic's protocol that ends without that protocol's end mark was cut, and fails the call."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.components.http_client import HttpClient, HttpClientInput
from graphs.component import Whole
from graphs.errors import AnabranchError, UpstreamFailed
from tests.fakes.calls import Ask, Client, everything, failure, one, said
from tests.fakes.http_server import Answer, Upstream, anthropic_events, events, json_lines, openai_events
from tests.fakes.http_server.answers import NDJSON, SSE, chat_chunk, dumps, json_answer

WORDS = ["Once", " upon"]
OPENAI = openai_events(WORDS, done=False)
"""Role, two words, finish_reason."""
ANTHROPIC = anthropic_events(WORDS)
NO_FINISH = "no finish_reason and no [DONE]"


def of_choice(index: int, finish_reason: str | None = None) -> str:
    delta = {} if finish_reason else {"content": "word"}
    return dumps({"choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]})


async def cut(ask: Ask, upstream: Upstream, steps: list[bytes], kind: str = SSE, **action: Any) -> tuple[int, str]:
    """Stream these steps; return how many chunks came before the error, and what it says."""
    path = f"/stream/{len(upstream.calls)}"
    upstream.queue(path, Answer(steps, kind))
    came = 0
    try:
        async for _ in ask(path=path, **{"stream_format": "json", **action}):
            came += 1
    except UpstreamFailed as error:
        return came, error.message
    raise AssertionError


async def whole(ask: Ask, upstream: Upstream, steps: list[bytes], kind: str = SSE, **action: Any) -> int:
    """Stream these steps; return how many chunks came."""
    path = f"/stream/{len(upstream.calls)}"
    upstream.queue(path, Answer(steps, kind))
    return len(await said(ask(path=path, **{"stream_format": "json", **action})))


@pytest.mark.parametrize("came", [1, 2, 3])
async def test_an_openai_stream_without_its_end_fails_after_its_chunks(ask: Ask, upstream: Upstream, came: int):
    chunks, message = await cut(ask, upstream, OPENAI[:came])
    assert chunks == came
    assert message.startswith(
        f"component 'api': POST {upstream.authority}/stream/0: the stream ended before its end mark"
    )
    assert f"{came} chunk{'s' * (came > 1)} came, but {NO_FINISH}" in message
    assert "`complete: false`" in message


@pytest.mark.parametrize("came", range(1, len(ANTHROPIC)))
async def test_an_anthropic_stream_without_its_end_fails(ask: Ask, upstream: Upstream, came: int):
    chunks, message = await cut(ask, upstream, ANTHROPIC[:came])
    assert chunks == came
    assert "no message_stop" in message


@pytest.mark.parametrize(
    "steps",
    [
        OPENAI, openai_events(WORDS), [*OPENAI[:2], *events("[DONE]")], ANTHROPIC,
        [*OPENAI, *events(dumps({"object": "chat.completion.chunk", "choices": [], "usage": {}}))],
        [*OPENAI, *events(of_choice(0))],
        [*OPENAI[:-1], OPENAI[-1].rstrip(b"\n")],
    ],
)  # fmt: skip
async def test_a_stream_with_its_end_mark_is_whole(ask: Ask, upstream: Upstream, steps: list[bytes]):
    assert await whole(ask, upstream, steps)


@pytest.mark.parametrize(
    "value",
    [
        {"choices": [{"text": "Once"}]},
        {"object": "chat.completion.chunk", "choices": []},
        {"choices": [{"delta": {}, "finish_reason": ""}]},
        chat_chunk({"content": "Once"}),
    ],
)
@pytest.mark.parametrize("kind", [SSE, NDJSON, "text/plain"])
async def test_every_way_to_write_openais_chunks_is_known(ask: Ask, upstream: Upstream, value: Any, kind: str):
    steps = json_lines([value]) if kind == NDJSON else events(dumps(value))
    _, message = await cut(ask, upstream, steps, kind)
    assert NO_FINISH in message


async def test_each_of_several_choices_has_its_own_end(ask: Ask, upstream: Upstream):
    first_alone = events(of_choice(0), of_choice(1), of_choice(0, "stop"))
    _, message = await cut(ask, upstream, first_alone)
    assert NO_FINISH in message
    assert await whole(ask, upstream, [*first_alone, *events(of_choice(1, "length"))]) == 4
    assert await whole(ask, upstream, [*first_alone, *events("[DONE]")]) == 3


@pytest.mark.parametrize(
    "value", [{"word": "a"}, 5, ["choices"], {"choices": "ab"}, {"choices": ["a", "b"]}, {"type": "x"}]
)
async def test_a_stream_of_no_known_protocol_ends_where_its_body_does(ask: Ask, upstream: Upstream, value: Any):
    assert await whole(ask, upstream, json_lines([value, value]), NDJSON) == 2


@pytest.mark.parametrize("steps", [OPENAI[:2], ANTHROPIC[:2]])
async def test_complete_false_takes_any_end(ask: Ask, upstream: Upstream, steps: list[bytes]):
    assert await whole(ask, upstream, steps, complete=False) == 2


@pytest.mark.parametrize("format", [None, "text"])
async def test_what_is_not_read_as_json_has_no_end_mark(ask: Ask, upstream: Upstream, format: str | None):
    assert await whole(ask, upstream, OPENAI[:2], stream_format=format)


@pytest.mark.parametrize("format", ["json", "text"])
async def test_complete_true_demands_an_end_mark_of_every_stream(ask: Ask, upstream: Upstream, format: str):
    chunks, message = await cut(ask, upstream, events("1", "2"), stream_format=format, complete=True)
    assert chunks == 2
    assert message.endswith("the stream ended before its end mark: 2 chunks came, but no [DONE]")


async def test_complete_true_is_content_with_any_known_end(ask: Ask, upstream: Upstream):
    for steps in (events("1", "[DONE]"), OPENAI, ANTHROPIC):
        assert await whole(ask, upstream, steps, complete=True)


@pytest.mark.parametrize("complete", [None, True])
async def test_a_document_of_json_is_whole_in_itself(ask: Ask, upstream: Upstream, complete: bool | None):
    upstream.queue("/json", json_answer({"choices": [{"index": 0, "text": "Once", "finish_reason": None}]}))
    assert await everything(ask(path="/json", stream_format="json", complete=complete))
    assert isinstance((await everything(ask(path="/json")))[0], Whole)


async def test_a_cut_stream_is_not_sent_again_and_counts_against_its_upstream(client: Client, upstream: Upstream):
    upstream.queue("/stream", Answer(OPENAI[:2], SSE))
    api = await client(max_retries=3, retry_delay=0)
    error = await failure(api.run(HttpClientInput(path="/stream", stream_format="json")))
    assert isinstance(error, UpstreamFailed)
    assert len(upstream.calls) == 1
    assert api._upstreams[0].health._in_a_row == 1


async def test_an_error_in_the_stream_comes_before_its_missing_end(ask: Ask, upstream: Upstream):
    error = dumps({"error": {"message": "out of memory"}})
    _, message = await cut(ask, upstream, [*OPENAI[:2], *events(error)])
    assert message.endswith("the stream ended with an error: out of memory")


def test_an_end_mark_is_demanded_only_of_a_stream_that_is_read():
    found = dict(HttpClient.check({"base_url": "https://api.example.com"}, {"path": "/", "complete": True}))
    assert found["complete"] == "only a stream that is read has an end mark; write `stream_format: json`"
    assert "complete" not in dict(HttpClient.check({}, {"path": "/", "complete": True, "stream_format": "text"}))


async def test_the_fakes_own_streams_have_their_ends(client: Client):
    api = await client()
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/messages"):
        asked = {"path": path, "body": {"stream": True}, "stream_format": "json", "complete": True}
        assert await one(api, **asked)
        with pytest.raises(AnabranchError):
            await one(api, **asked, params={"at": 2, "end": "close"})
