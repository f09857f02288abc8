"""What users of the `openai` package rely on in responses that are kept, and in those that run in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest
from pydantic import BaseModel

pytestmark = pytest.mark.quick

STORY = "Tell me a story."
FOREVER = "Go on for ever."


class Person(BaseModel):
    name: str
    born: int


def test_a_response_is_kept_until_it_is_deleted(client: openai.OpenAI):
    response = client.responses.create(model="scripted", input=STORY)
    kept = client.responses.retrieve(response.id)
    assert kept.to_dict() == response.to_dict()
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_a_response_that_is_not_stored_is_not_kept(client: openai.OpenAI):
    response = client.responses.create(model="scripted", input=STORY, store=False)
    assert response.output_text == "Once upon a time"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_the_items_of_the_input_are_listed_page_by_page(client: openai.OpenAI):
    items: Any = [{"role": "user", "content": f"Number {number}"} for number in range(5)]
    response = client.responses.create(model="scripted", input=items)
    listed = [text(item.to_dict()) for item in client.responses.input_items.list(response.id, limit=2, order="asc")]
    assert listed == [f"Number {number}" for number in range(5)]
    newest = [text(item.to_dict()) for item in client.responses.input_items.list(response.id)]
    assert newest == listed[::-1]


def test_a_response_in_the_background_is_asked_for_until_it_is_there(client: openai.OpenAI):
    response = client.responses.create(model="scripted", input=STORY, background=True)
    assert response.status in ("queued", "in_progress", "completed")
    assert response.background is True
    while response.status in ("queued", "in_progress"):
        response = client.responses.retrieve(response.id)
    assert (response.status, response.output_text) == ("completed", "Once upon a time")


def test_a_stream_goes_on_after_the_last_event_that_came(client: openai.OpenAI):
    with client.responses.create(model="scripted", input="Count to 2000.", background=True, stream=True) as stream:
        first = [event for event, _ in zip(stream, range(50), strict=False)]
    assert first[0].type == "response.created"
    rest = list(client.responses.retrieve(first[0].response.id, stream=True, starting_after=first[-1].sequence_number))
    numbers = [event.sequence_number for event in [*first, *rest]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    words = "".join(event.delta for event in [*first, *rest] if event.type == "response.output_text.delta")
    assert words.split() == [str(number) for number in range(1, 2001)]
    assert rest[-1].type == "response.completed"


def test_the_streaming_helper_goes_on_too(client: openai.OpenAI):
    response = client.responses.create(model="scripted", input=STORY, background=True)
    with client.responses.stream(response_id=response.id, starting_after=4) as stream:
        events = list(stream)
        assert stream.get_final_response().output_text == "Once upon a time"
    assert min(event.sequence_number for event in events) == 5


def test_a_response_in_the_background_is_cancelled(client: openai.OpenAI):
    response = client.responses.create(model="scripted", input=FOREVER, background=True)
    cancelled = client.responses.cancel(response.id)
    assert (cancelled.id, cancelled.status) == (response.id, "cancelled")
    assert client.responses.retrieve(response.id).status == "cancelled"


def test_who_leaves_a_response_in_the_background_finds_it_again(client: openai.OpenAI, left: Callable[[str], None]):
    started: dict[str, str] = {}
    with client.responses.create(model="scripted", input=FOREVER, background=True, stream=True) as stream:
        for event in stream:
            if event.type == "response.created":
                started["id"] = event.response.id
            if event.type == "response.output_text.delta":
                break
    assert client.responses.retrieve(started["id"]).status == "in_progress"
    assert client.responses.cancel(started["id"]).status == "cancelled"
    left(FOREVER)


async def test_the_async_client_streams_and_parses(url: str):
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk", max_retries=0) as client:

        async def ask() -> str:
            async with client.responses.stream(model="scripted", input=STORY) as stream:
                return (await stream.get_final_response()).output_text

        assert await asyncio.gather(*(ask() for _ in range(10))) == ["Once upon a time"] * 10
        asked = "Who wrote the first program?"
        assert (await client.responses.parse(model="scripted", input=asked, text_format=Person)).output_parsed


def text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
