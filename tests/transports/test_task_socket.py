"""The events of a kept run over a WebSocket: those that the same path's event stream sends, and how the socket ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.transports.served import Feed, one, soon
from tests.transports.socketed import Talk, talking
from tests.transports.tasks_api import TEXT, Served, two

RUN = one(TEXT)


async def streamed(served: Served, id: str, query: str = "") -> list[dict[str, Any]]:
    """What the event stream says, with its numbers."""
    answer = await served.ask("GET", f"/tasks/{id}/events{query}")
    return [{"id": event.id, **json.loads(event.data)} for event in answer.events]


async def until(talk: Talk, type: str) -> list[dict[str, Any]]:
    frames = [await talk.frame()]
    while frames[-1]["type"] != type:
        frames.append(await talk.frame())
    return frames


@pytest.mark.parametrize("query", ["", "?chunks=false", "?last_event_id=2", "?job_chunks=true"])
async def test_a_run_says_the_same_as_over_its_event_stream(tmp_path: Path, query: str) -> None:
    async with two(Feed("One", " and", " two"), tmp_path, RUN) as served:
        id = await served.finished(input={"text": "hi"}, job_chunks=True)
        for address, prefix in zip(served.addresses, ("", "/api"), strict=True):
            async with talking(address, f"{prefix}/tasks/{id}/ws{query}") as talk:
                assert await until(talk, "completed") == await streamed(served, id, query)
                assert (await talk.ended())[0] == 1000


async def test_a_run_under_way_is_followed_at_any_replica_as_it_goes_on(tmp_path: Path) -> None:
    feed = Feed()
    async with two(feed, tmp_path, RUN) as served:
        id = await served.start()
        here, there = served.addresses
        async with talking(here, f"/tasks/{id}/ws") as near, talking(there, f"/tasks/{id}/ws") as far:
            for word in ("One", "two"):
                feed.give(word)
                for talk in (near, far):
                    assert (await until(talk, "chunk"))[-1]["chunk"] == word
            feed.end()
            assert await until(near, "completed") == await until(far, "completed")


async def test_who_has_seen_the_end_is_told_that_there_is_no_more(tmp_path: Path) -> None:
    async with two(Feed("One"), tmp_path, RUN) as served:
        id = await served.finished()
        last = (await streamed(served, id))[-1]["id"]
        async with talking(served.addresses[0], f"/tasks/{id}/ws?last_event_id={last}") as talk:
            assert (await talk.ended())[0] == 1000


@pytest.mark.parametrize(
    ("id", "query", "code"), [("run_0", "", 4404), (None, "?last_event_id=x", 4400), (None, "?pace=slow", 4422)]
)
async def test_what_can_not_be_followed_is_said_before_the_socket_is_closed(
    tmp_path: Path, id: str | None, query: str, code: int
) -> None:
    async with two(Feed("One"), tmp_path, RUN) as served:
        id = id or await served.finished()
        async with talking(served.addresses[0], f"/tasks/{id}/ws{query}") as talk:
            assert set(await talk.error()) >= {"type", "message"}
            assert (await talk.ended())[0] == code


async def test_to_leave_stops_the_reading_and_not_a_run_in_the_background(tmp_path: Path) -> None:
    feed = Feed("One", ends=False)
    async with two(feed, tmp_path, RUN) as served:
        id = await served.start()
        async with talking(served.addresses[0], f"/tasks/{id}/ws") as talk:
            await until(talk, "chunk")
        feed.end()
        async with talking(served.addresses[0], f"/tasks/{id}/ws") as talk:
            assert (await until(talk, "completed"))[-1]["streamed"]


async def test_to_leave_cancels_a_run_that_ends_with_its_last_reader(tmp_path: Path) -> None:
    feed = Feed("One", ends=False)
    async with two(feed, tmp_path, RUN) as served:
        id = await served.start(on_disconnect="cancel")
        async with talking(served.addresses[0], f"/tasks/{id}/ws") as talk:
            await until(talk, "chunk")
        await soon(feed.closed)
        assert (await streamed(served, id))[-1]["type"] == "cancelled"


async def test_the_socket_takes_pings_and_no_requests(tmp_path: Path) -> None:
    async with two(Feed("One", ends=False), tmp_path, RUN) as served:
        id = await served.start()
        async with talking(served.addresses[0], f"/tasks/{id}/ws") as talk:
            await until(talk, "chunk")
            await talk.say(type="ping")
            assert await talk.frame() == {"type": "pong"}
            await talk.say(model="story")
            assert "takes no requests" in (await talk.error())["message"]
        await served.ask("POST", f"/tasks/{id}/cancel")
