"""`/v1/responses` over a real socket: made, streamed, read again at any replica and after a restart, stopped, deleted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from deployments.store.rows import StoreDown
from graphs.errors import ComponentFailed, InvalidInput
from graphs.plan import Store
from tests.gateway.keeping import die, impatient
from tests.transports.openai.responding import CUT, create, events, everything, follow, made, store, streamed, types
from tests.transports.served import DEADLINE, Feed, answering, app, asked, connected, one, serving, soon
from tests.transports.tasks_api import answer, two

NO_STORE = {"store": Store(None)}


def failing(*chunks: Any, error: Exception) -> Feed:
    feed = Feed(*chunks, ends=False)
    feed.fail(error)
    return feed


# --- made and read again ---------------------------------------------------------------------------------------------


async def test_a_stored_response_is_the_same_streamed_read_replayed_at_every_replica_and_after_a_restart(
    tmp_path: Path,
) -> None:
    async with two(everything(), tmp_path, one()) as served:
        whole = await streamed(served)
        response = whole[-1]["response"]
        id = response["id"]
        assert (response["status"], response["store"], response["model"]) == ("completed", True, "story")
        assert [event["sequence_number"] for event in whole] == list(range(len(whole)))
        for at in (0, 1):
            assert await streamed(served, f"{id}?stream=true", at=at) == whole
            assert (await served.ask("GET", f"/v1/responses/{id}", at=at)).json == response
    async with two(everything(), tmp_path, one()) as served:
        assert await streamed(served, f"{id}?stream=true") == whole
        assert (await served.ask("GET", f"/v1/responses/{id}")).json == response


async def test_what_follows_any_event_is_the_rest_of_the_whole_at_either_replica(tmp_path: Path) -> None:
    async with two(everything(), tmp_path, one()) as served:
        whole = await streamed(served)
        path = f"{whole[-1]['response']['id']}?stream=true&starting_after="
        for number in range(len(whole) + 2):
            for at in (0, 1):
                assert await streamed(served, f"{path}{number}", at=at) == whole[number + 1 :]


async def test_a_response_that_is_not_streamed_is_the_one_that_its_stream_would_have_ended_with(tmp_path: Path) -> None:
    async with two(everything(), tmp_path, one()) as served:
        answered = await create(served)
        replayed = await streamed(served, f"{answered.json['id']}?stream=true", at=1)
        assert answered.json == replayed[-1]["response"]
        assert answered.headers["x-run-id"] == answered.json["id"].replace("resp_", "run_")
        assert answered.headers["x-request-id"] == answered.headers["x-run-id"]


async def test_the_id_of_a_stored_response_is_told_before_its_first_piece_and_reading_goes_on_elsewhere(
    tmp_path: Path,
) -> None:
    feed = Feed()
    async with two(feed, tmp_path, one()) as served, connected(served.addresses[0]) as wire:
        await wire.ask({"model": "story", "input": "Hello", "stream": True}, path="/v1/responses")
        status, _ = await wire.head()
        begun = await wire.until(b'"sequence_number": 1}\n\n')
        id = json.loads(begun.partition(b"data: ")[2].partition(b"\n")[0])["response"]["id"]
        assert status == 200
        await wire.leave()
        reading = asyncio.create_task(streamed(served, f"{id}?stream=true&starting_after=1", at=1))
        shown = (await served.ask("GET", f"/v1/responses/{id}", at=1)).json
        assert (shown["status"], shown["output"]) == ("in_progress", [])
        feed.give("It is")
        await follow(served, f"{id}?stream=true", b'"delta": "It is"')
        shown = (await served.ask("GET", f"/v1/responses/{id}")).json
        [item] = shown["output"]
        assert (shown["status"], item["status"], item["content"][0]["text"]) == ("in_progress", "in_progress", "It is")
        feed.give(" cold")
        feed.end()
        tail = await reading
        assert [event["sequence_number"] for event in tail] == list(range(2, 2 + len(tail)))
        assert tail[-1]["response"]["status"] == "completed"


async def test_a_plain_output_is_one_delta_like_a_stream(tmp_path: Path) -> None:
    async with two(answering("It is cold"), tmp_path, one()) as served:
        whole = await streamed(served)
        assert types(whole).count("output_text.delta") == 1
        assert whole[-1]["response"]["output"][0]["content"][0]["text"] == "It is cold"


async def test_what_the_request_says_comes_back_with_the_response(tmp_path: Path) -> None:
    tool = {"type": "function", "name": "look_up", "parameters": {"type": "object"}}
    schema = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}
    async with two(Feed("a"), tmp_path, one()) as served:
        response = await made(
            served, instructions="Be brief.", tools=[tool], tool_choice={"type": "function", "name": "look_up"},
            metadata={"a": "b"}, text={"format": schema}, reasoning={"effort": "low"}, temperature=0, top_p=0.5,
            max_output_tokens=9, parallel_tool_calls=False, user="u",
        )  # fmt: skip
        assert (await served.ask("GET", f"/v1/responses/{response['id']}", at=1)).json == response
    assert {name: response[name] for name in (
        "instructions", "tools", "tool_choice", "metadata", "text", "reasoning", "temperature", "top_p", "max_output_tokens",
        "parallel_tool_calls", "user", "truncation", "previous_response_id", "background",
    )} == {
        "instructions": "Be brief.", "tools": [{**tool, "description": None, "strict": None}],
        "tool_choice": {"type": "function", "name": "look_up"}, "metadata": {"a": "b"},
        "text": {"format": {"description": None, "strict": False, **schema}}, "reasoning": {"effort": "low", "summary": None},
        "temperature": 0, "top_p": 0.5, "max_output_tokens": 9, "parallel_tool_calls": False, "user": "u",
        "truncation": "disabled", "previous_response_id": None, "background": False,
    }  # fmt: skip


async def test_an_answer_that_was_cut_is_incomplete(tmp_path: Path) -> None:
    async with two(Feed("It is", CUT), tmp_path, one()) as served:
        whole = await streamed(served)
        assert whole[-1]["type"] == "response.incomplete"
        assert whole[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


# --- not stored ------------------------------------------------------------------------------------------------------


async def test_a_response_that_is_not_stored_leaves_nothing(tmp_path: Path) -> None:
    async with two(Feed("a"), tmp_path, one()) as served:
        whole = await streamed(served, store=False)
        assert types(whole)[:2] == ["created", "in_progress"]
        assert whole[-1]["response"]["store"] is False
        shown = await served.ask("GET", f"/v1/responses/{whole[-1]['response']['id']}")
        assert (shown.status, shown.json["error"]["type"]) == (404, "invalid_request_error")
        assert not store(tmp_path).exists()


@pytest.mark.parametrize("body", [{}, {"stream": True}])
async def test_a_response_that_is_not_stored_and_fails_before_its_first_piece_is_an_http_error(
    body: dict[str, Any],
) -> None:
    asking = {"model": "story", "input": "Hello", "store": False, **body}
    response, said = await asked("POST", "/v1/responses", invoke=answering(InvalidInput("no", field="x")), json=asking)
    assert (response.status, json.loads(said)["error"]["message"]) == (
        400,
        "workflow 'story', job 'a', component 'a': no",
    )


async def test_where_no_runs_are_kept_a_response_is_answered_and_says_that_it_is_not_stored() -> None:
    asking = {"model": "story", "input": "Hello"}
    response, said = await asked("POST", "/v1/responses", invoke=answering("a"), options=NO_STORE, json=asking)
    assert (response.status, json.loads(said)["store"]) == (200, False)


@pytest.mark.parametrize("wish", ["store", "background"])
async def test_where_no_runs_are_kept_and_the_client_asks_for_it_it_hears_why_not(wish: str) -> None:
    asking = {"model": "story", "input": "Hello", wish: True}
    response, said = await asked("POST", "/v1/responses", invoke=answering("a"), options=NO_STORE, json=asking)
    error = json.loads(said)["error"]
    assert (response.status, error["type"]) == (503, "server_error")
    assert "controller.store: postgresql://" in error["message"]


async def test_while_the_store_is_down_a_response_is_stored_only_if_the_client_does_not_insist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(answering("a"), tmp_path, one()) as served:

        async def down(**_: Any) -> Any:
            raise StoreDown("the store is full")

        monkeypatch.setattr(served.gateways[0].kept, "store", down)
        assert (await made(served))["store"] is False
        refused = await create(served, store=True)
        assert (refused.status, refused.json["error"]["message"]) == (503, "the store is full")


# --- how they end ----------------------------------------------------------------------------------------------------


async def test_a_failure_is_an_http_error_or_the_last_event_and_the_stored_response_tells_it(tmp_path: Path) -> None:
    async with two(failing("It is", error=ComponentFailed("it broke")), tmp_path, one()) as served:
        whole = await streamed(served)
        assert types(whole)[-1] == "failed"
        response = whole[-1]["response"]
        assert response["error"] == {
            "code": "server_error",
            "message": "workflow 'story', job 'a', component 'a': it broke",
        }
        assert response["output"][0]["status"] == "incomplete"
        assert (await served.ask("GET", f"/v1/responses/{response['id']}", at=1)).json == response
    async with two(answering(InvalidInput("no")), tmp_path, one()) as served:
        refused = await create(served)
        assert refused.status == 400
        id = refused.headers["x-run-id"].replace("run_", "resp_")
        shown = (await served.ask("GET", f"/v1/responses/{id}", at=1)).json
        assert (shown["status"], shown["error"]["code"]) == ("failed", "invalid_prompt")


async def test_a_response_that_is_not_stored_and_fails_after_its_first_piece_ends_with_response_failed() -> None:
    async with serving(app(failing("It is", error=ComponentFailed("it broke")))) as address, connected(address) as wire:
        await wire.ask({"model": "story", "input": "Hello", "store": False, "stream": True}, path="/v1/responses")
        whole = events(await answer(wire))
    assert types(whole)[-1] == "failed"
    assert whole[-1]["response"]["output"][0]["content"][0]["text"] == "It is"


async def test_a_background_response_is_answered_at_once_and_goes_on(tmp_path: Path) -> None:
    feed = Feed()
    async with two(feed, tmp_path, one()) as served:
        response = await made(served, background=True)
        assert (response["status"], response["background"], response["output"]) == ("queued", True, [])
        await soon(feed.asked)
        shown = await served.ask("GET", f"/v1/responses/{response['id']}", at=1)
        assert shown.json["status"] in ("queued", "in_progress")
        feed.give("a")
        feed.end()
        whole = await streamed(served, f"{response['id']}?stream=true", at=1)
        assert types(whole)[:3] == ["created", "queued", "in_progress"]
        assert whole[-1]["response"]["status"] == "completed"


async def test_a_background_response_can_be_streamed_too(tmp_path: Path) -> None:
    async with two(Feed("a"), tmp_path, one()) as served:
        assert types(await streamed(served, background=True))[:3] == ["created", "queued", "in_progress"]


@pytest.mark.parametrize("at", [0, 1])
async def test_a_response_is_stopped_at_any_replica_and_one_that_has_ended_stays_as_it_is(
    tmp_path: Path, at: int
) -> None:
    feed = Feed("It is", ends=False)
    async with two(feed, tmp_path, one()) as served:
        id = (await made(served, background=True))["id"]
        await follow(served, f"{id}?stream=true", b'"delta": "It is"')
        stopped = await served.ask("POST", f"/v1/responses/{id}/cancel", at=at)
        await soon(feed.closed)
        assert (stopped.status, stopped.json["status"]) == (200, "cancelled")
        assert stopped.json["error"] is None
        assert stopped.json["output"][0]["content"][0]["text"] == "It is"
        again = await served.ask("POST", f"/v1/responses/{id}/cancel", at=1 - at)
        assert again.json == stopped.json
        whole = await streamed(served, f"{id}?stream=true")
        assert (types(whole)[-1], whole[-1]["response"]) == ("failed", stopped.json)


async def test_who_waits_for_a_response_that_is_stopped_gets_it_as_it_is(tmp_path: Path) -> None:
    feed = Feed()
    async with two(feed, tmp_path, one()) as served:
        waiting = asyncio.create_task(create(served))
        await soon(feed.asked)
        [run] = await served.gateways[0].kept.list(workflow=None, status=None, session=None, before=None, limit=2)
        await served.ask("POST", f"/v1/responses/{run.id.replace('run_', 'resp_')}/cancel")
        answered = await waiting
        assert (answered.status, answered.json["status"]) == (200, "cancelled")


async def test_a_response_whose_replica_died_has_failed_and_a_reader_that_is_ahead_hears_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    async with two(Feed("It is", ends=False), tmp_path, one()) as served:
        id = (await made(served, background=True))["id"]
        await follow(served, f"{id}?stream=true", b'"delta": "It is"', at=1)
        await die(served.gateways[0])
        async with asyncio.timeout(DEADLINE):
            whole = await streamed(served, f"{id}?stream=true", at=1)
        assert types(whole)[-1] == "failed"
        assert whole[-1]["response"]["status"] == "failed"
        for ahead in (len(whole) - 1, len(whole) + 5):
            [end] = await streamed(served, f"{id}?stream=true&starting_after={ahead}", at=1)
            assert (end["type"], end["sequence_number"]) == ("response.failed", ahead + 1)


# --- deleted, and their input ----------------------------------------------------------------------------------------


async def test_a_response_that_has_ended_is_deleted_and_one_under_way_is_not(tmp_path: Path) -> None:
    feeds = Feed("a", ends=False)
    async with two(feeds, tmp_path, one()) as served:
        id = (await made(served, background=True))["id"]
        refused = await served.ask("DELETE", f"/v1/responses/{id}", at=1)
        assert refused.status == 409
        assert f"/v1/responses/{id}/cancel" in refused.json["error"]["message"]
        await served.ask("POST", f"/v1/responses/{id}/cancel")
        deleted = await served.ask("DELETE", f"/v1/responses/{id}", at=1)
        assert (deleted.status, deleted.json) == (200, {"id": id, "object": "response.deleted", "deleted": True})
        for method, rest in (
            ("GET", ""),
            ("GET", "?stream=true"),
            ("DELETE", ""),
            ("POST", "/cancel"),
            ("GET", "/input_items"),
        ):
            gone = await served.ask(method, f"/v1/responses/{id}{rest}")
            assert (gone.status, gone.json["error"]["type"]) == (404, "invalid_request_error")
            assert f"there is no response '{id}'" in gone.json["error"]["message"]


async def test_the_items_of_an_input_are_listed_in_pages(tmp_path: Path) -> None:
    said = [{"role": "user", "content": text} for text in "abcde"]
    async with two(Feed("z"), tmp_path, one()) as served:
        id = (await made(served, said))["id"]

        async def page(asking: str = "") -> tuple[str, bool]:
            got = (await served.ask("GET", f"/v1/responses/{id}/input_items{asking}", at=1)).json
            data = got["data"]
            assert (got["first_id"], got["last_id"]) == ((data[0]["id"], data[-1]["id"]) if data else (None, None))
            return "".join(item["content"][0]["text"] for item in data), got["has_more"]

        assert await page() == ("edcba", False)
        assert await page("?order=asc") == ("abcde", False)
        assert await page("?order=asc&limit=2") == ("ab", True)
        second = (await served.ask("GET", f"/v1/responses/{id}/input_items?order=asc&limit=2")).json["last_id"]
        assert await page(f"?order=asc&limit=2&after={second}") == ("cd", True)
        assert await page(f"?after={second}") == ("a", False)
        unknown = await served.ask("GET", f"/v1/responses/{id}/input_items?after=x")
        assert (unknown.status, unknown.json["error"]["param"]) == (400, "after")
        refused = await served.ask("GET", f"/v1/responses/{id}/input_items?limit=0")
        assert (refused.status, refused.json["error"]["param"]) == (400, "limit")


@pytest.mark.parametrize("id", ["resp_0", "run_0", "x", "resp_", "resp_%00"])
async def test_an_unknown_response_is_not_found(tmp_path: Path, id: str) -> None:
    async with two(Feed(), tmp_path, one()) as served:
        assert (await served.ask("GET", f"/v1/responses/{id}")).status == 404


async def test_a_run_that_makes_no_response_is_none(tmp_path: Path) -> None:
    async with two(Feed("a"), tmp_path, one()) as served:
        id = (await served.finished()).replace("run_", "resp_")
        for method, rest in (("GET", ""), ("POST", "/cancel"), ("DELETE", "")):
            assert (await served.ask(method, f"/v1/responses/{id}{rest}")).status == 404


async def test_starting_after_is_for_events(tmp_path: Path) -> None:
    async with two(Feed("a"), tmp_path, one()) as served:
        id = (await made(served))["id"]
        refused = await served.ask("GET", f"/v1/responses/{id}?starting_after=1")
        assert (refused.status, refused.json["error"]["param"]) == (400, "starting_after")
