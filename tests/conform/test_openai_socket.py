"""What users of the `openai` package rely on in its own socket for responses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

pytestmark = pytest.mark.quick

STORY = "Tell me a story."
FOREVER = "Go on for ever."


def until_end(connection: Any) -> list[Any]:
    events: list[Any] = []
    while not events or events[-1].type not in (
        "response.completed",
        "response.failed",
        "response.incomplete",
        "error",
    ):
        events.append(connection.recv())
    return events


def test_a_socket_gives_the_events_that_a_stream_gives(client: openai.OpenAI):
    streamed = [event.type for event in client.responses.create(model="scripted", input=STORY, stream=True)]
    with client.responses.connect() as connection:
        connection.response.create(model="scripted", input=STORY)
        events = until_end(connection)
        assert [event.type for event in events] == streamed
        assert events[-1].response.output[0].content[0].text == "Once upon a time"


def test_a_conversation_goes_on_in_its_socket(client: openai.OpenAI):
    """Not stored either: the socket knows its last response."""
    with client.responses.connect() as connection:
        connection.response.create(model="scripted", input=STORY, store=False)
        first = until_end(connection)[-1].response
        connection.response.create(
            model="scripted", input="Repeat what you were sent.", previous_response_id=first.id, store=False
        )
        final = until_end(connection)[-1].response
    sent = json.loads(final.output[0].content[0].text)["messages"]
    assert [text(message) for message in sent] == [STORY, "Once upon a time", "Repeat what you were sent."]


def test_an_error_on_a_socket_leaves_it_open(client: openai.OpenAI):
    with client.responses.connect() as connection:
        connection.response.create(model="gpt-17", input=STORY)
        error = until_end(connection)[-1]
        assert error.type == "error"
        assert error.status == 404
        assert error.error.code == "model_not_found"
        connection.response.create(model="scripted", input=STORY)
        assert until_end(connection)[-1].type == "response.completed"


def test_a_response_that_fails_on_a_socket_leaves_it_open(client: openai.OpenAI):
    with client.responses.connect() as connection:
        connection.response.create(model="scripted", input="Be cut.")
        assert until_end(connection)[-1].type == "response.failed"
        connection.response.create(model="scripted", input=STORY)
        assert until_end(connection)[-1].type == "response.completed"


def test_who_closes_a_socket_stops_its_run(client: openai.OpenAI, left: Callable[[str], None]):
    with client.responses.connect() as connection:
        connection.response.create(model="scripted", input=FOREVER, store=False)
        while connection.recv().type != "response.output_text.delta":
            pass
    left(FOREVER)


async def test_the_async_socket_gives_them_too(url: str):
    async with (
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk") as client,
        client.responses.connect() as connection,
    ):
        await connection.response.create(model="scripted", input=STORY)
        words = ""
        async for event in connection:
            if event.type == "response.output_text.delta":
                words += event.delta
            if event.type == "response.completed":
                break
    assert words == "Once upon a time"


def text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
