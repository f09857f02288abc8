"""Kept runs over a real socket: background and resumable ones, followed, stopped and forgotten at either replica."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from deployments.gateway.kept import AHEAD
from deployments.runs.events import Invocation
from graphs.errors import ComponentFailed
from graphs.plan import Store
from tests.gateway.keeping import die, impatient, read, reading
from tests.transports.served import DEADLINE, Feed, Feeds, answering, connected, one, soon
from tests.transports.tasks_api import BACKGROUND, RESUMABLE, TEXT, Event, events, text, two

# --- to start --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_a_background_run_is_accepted_with_its_task_and_where_it_is(prefix: str, tmp_path: Path) -> None:
    async with two(Feed("a"), tmp_path, one(TEXT)) as served:
        accepted = await served.ask("POST", f"{prefix}/workflows/runs", {**BACKGROUND, "session_id": "s"})
        task = accepted.json
        assert accepted.status == 202
        assert accepted.headers["location"] == f"{prefix}/tasks/{task['task_id']}"
        assert accepted.headers["x-run-id"] == task["task_id"]
        assert task["status"] in ("pending", "processing", "streaming")
        assert (task["workflow_id"], task["session_id"]) == ("story", "s")
        assert "completed_at" not in task
        stream = await served.ask("GET", f"{accepted.headers['location']}/stream")
        assert text(stream.events) == "a"
        await read(served.gateways[1], task["task_id"])
        shown = (await served.ask("GET", accepted.headers["location"], at=1)).json
        assert (shown["status"], shown["output"]) == ("completed", "a")
        assert shown["last_event_id"] == stream.events[-1].id
        assert shown["completed_at"] >= shown["created_at"] == task["created_at"]


async def test_a_resumable_stream_has_numbers_and_a_plain_one_has_none(tmp_path: Path) -> None:
    async with two(Feeds(), tmp_path, one(TEXT)) as served:
        feeds: Any = served.gateways[0]._invoke
        for name in ("plain", "kept"):
            for chunk in ("a", "b\nc"):
                feeds[name].give(chunk)
            feeds[name].end()
        plain = await served.ask("POST", "/workflows/runs", {"output_only": True, "input": "plain"})
        assert plain.body == b"data: a\n\ndata: b\ndata: c\n\nevent: end\ndata:\n\n"
        kept = await served.ask("POST", "/workflows/runs", {**RESUMABLE, "input": "kept"})
        assert [event.id for event in kept.events] == [4, 5, 7]
        assert kept.body == b"id: 4\ndata: a\n\nid: 5\ndata: b\ndata: c\n\nid: 7\nevent: end\ndata:\n\n"
        again = await served.ask("GET", f"/tasks/{kept.headers['x-run-id']}/stream", at=1)
        assert again.body == kept.body
        assert (await served.ask("GET", f"/tasks/{plain.headers['x-run-id']}")).status == 404


async def test_what_is_asked_wrongly_is_refused_by_name(tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], int, str]] = [
        ({"on_disconnect": "continue"}, 422, "on_disconnect is for runs that are kept"),
        ({**RESUMABLE, "on_disconnect": "stay"}, 422, "expected cancel, continue or"),
        ({**RESUMABLE, "on_disconnect": {"detach": "0.5s"}}, 422, "at least 1 s"),
        ({**RESUMABLE, "on_disconnect": {"detach": "60s", "x": 1}}, 422, "expected cancel, continue or"),
        ({**BACKGROUND, "workflow_id": "stroy"}, 404, "did you mean 'story'"),
        ({**BACKGROUND, "session_id": "\0"}, 422, "session_id"),
    ]
    async with two(Feed(), tmp_path) as served:
        for body, status, said in wrong:
            refused = await served.ask("POST", "/workflows/runs", body)
            assert refused.status == status, body
            assert said in refused.json["error"]["message"]


async def test_a_task_that_is_waited_for_is_kept_too_and_has_its_output(tmp_path: Path) -> None:
    async with two(Feed("a", "b"), tmp_path, one(TEXT)) as served:
        waited = await served.ask("POST", "/workflows/runs", {"resumable": True})
        assert (waited.status, waited.json["status"], waited.json["output"]) == (200, "completed", "ab")
        await read(served.gateways[1], waited.json["task_id"])
        shown = (await served.ask("GET", f"/tasks/{waited.json['task_id']}", at=1)).json
        assert {**waited.json, "last_event_id": shown["last_event_id"]} == shown


async def test_all_runs_are_kept_where_the_document_says_so_and_are_run_without_while_the_store_is_down(
    tmp_path: Path,
) -> None:
    (tmp_path / "in_the_way").write_text("")
    asking = {"output_only": True, "input": 7}
    async with two(answering(...), tmp_path, store=Store(f"sqlite:///{tmp_path}/runs.db", "all")) as served:
        plain = await served.ask("POST", "/workflows/runs", asking)
        assert (plain.status, plain.json) == (200, 7)
        await read(served.gateways[1], plain.headers["x-run-id"])
        shown = await served.ask("GET", f"/tasks/{plain.headers['x-run-id']}?output_only=true", at=1)
        assert (shown.status, shown.json) == (200, 7)
    async with two(answering(...), tmp_path, store=Store(f"sqlite:///{tmp_path}/in_the_way/runs.db", "all")) as served:
        plain = await served.ask("POST", "/workflows/runs", asking)
        assert (plain.status, plain.json) == (200, 7)
        assert (await served.ask("GET", f"/tasks/{plain.headers['x-run-id']}", at=1)).status == 404
        assert (await served.ask("POST", "/workflows/runs", {**asking, "resumable": True})).status == 503


async def test_a_store_that_is_read_only_is_told_to_those_that_need_it_alone(tmp_path: Path) -> None:
    (tmp_path / "in_the_way").write_text("")
    async with two(answering(...), tmp_path / "in_the_way") as served:
        plain = await served.ask("POST", "/workflows/runs", {"output_only": True, "input": 7})
        assert (plain.status, plain.json) == (200, 7)
        for method, path, body in (
            ("POST", "/workflows/runs", {**RESUMABLE, "input": 7}),
            ("POST", "/workflows/runs", {**BACKGROUND, "input": 7}),
        ):
            refused = await served.ask(method, path, body)
            error = refused.json["error"]
            assert (refused.status, error["type"]) == (503, "unavailable")
            assert "in_the_way/runs.db can't be used" in error["message"]


# --- Idempotency-Key -------------------------------------------------------------------------------------------------


async def test_the_same_key_and_body_are_the_same_run_at_both_replicas_and_another_body_is_refused(
    tmp_path: Path,
) -> None:
    feeds = Feeds()
    key = "Idempotency-Key: once"
    body = {**RESUMABLE, "input": "x"}
    async with two(feeds, tmp_path, one(TEXT)) as served, connected(served.addresses[0]) as wire:
        await wire.ask(body, key)
        feeds["x"].give("a")
        _, headers = await wire.head()
        assert await wire.chunk() == b"id: 4\ndata: a\n\n"
        second = asyncio.create_task(
            served.ask("POST", "/workflows/runs", {"input": "x", "resumable": True, "output_only": True}, key, at=1)
        )
        feeds["x"].give("b")
        feeds["x"].end()
        again = await second
        assert again.headers["x-run-id"] == headers["x-run-id"]
        assert text(again.events) == "ab"
        other = await served.ask("POST", "/workflows/runs", {**body, "input": "y"}, key)
        assert (other.status, other.json["error"]["field"]) == (422, "Idempotency-Key")
        for bad in ("", "x" * 256):
            assert (await served.ask("POST", "/workflows/runs", body, f"Idempotency-Key: {bad}")).status == 400
        accepted = {**BACKGROUND, "input": "z"}
        ids = {
            (await served.ask("POST", "/workflows/runs", accepted, "Idempotency-Key: z", at=at)).json["task_id"]
            for at in (0, 1)
        }
        assert len(ids) == 1
    assert feeds.called == ["x", "z"]


# --- ends ------------------------------------------------------------------------------------------------------------


async def test_a_failed_run_shows_its_error_as_task_as_output_and_in_its_stream(tmp_path: Path) -> None:
    feed = Feed("a", ends=False)
    feed.fail(ComponentFailed("it broke", part=3))
    async with two(feed, tmp_path, one(TEXT)) as served:
        id = await served.finished()
        for at in (0, 1):
            shown = (await served.ask("GET", f"/tasks/{id}", at=at)).json
            assert shown["status"] == "failed"
            assert "output" not in shown
            bare = await served.ask("GET", f"/tasks/{id}?output_only=true", at=at)
            assert bare.status == 502
            chunk, end = (await served.ask("GET", f"/tasks/{id}/stream", at=at)).events
            assert (chunk.data, end.event, end.id) == ("a", "error", shown["last_event_id"])
            errors = [shown["error"], bare.json["error"], json.loads(end.data)["error"]]
            assert errors == [errors[0]] * 3
            assert (errors[0]["type"], errors[0]["part"], errors[0]["run_id"]) == ("component_failed", 3, id)


async def test_a_stopped_run_says_so_to_all_its_readers_and_is_stopped_once(tmp_path: Path) -> None:
    feed = Feed("a", ends=False)
    async with two(feed, tmp_path, one(TEXT)) as served, connected(served.addresses[0]) as wire:
        await wire.ask(RESUMABLE)
        _, headers = await wire.head()
        await wire.chunk()
        id = headers["x-run-id"]
        early = await served.ask("GET", f"/tasks/{id}?output_only=true", at=1)
        assert (early.status, early.json["error"]["type"]) == (409, "conflict")
        assert f"/tasks/{id}/stream" in early.json["error"]["message"]
        assert (await served.ask("DELETE", f"/tasks/{id}", at=1)).status == 409
        stopped = await served.ask("POST", f"/tasks/{id}/cancel", at=1)
        assert (stopped.status, stopped.json["status"]) == (200, "cancelled")
        await soon(feed.closed)
        (end,) = events(await wire.chunk())
        assert (end.event, json.loads(end.data)["error"]["type"]) == ("error", "cancelled")
        for at in (0, 1):
            again = await served.ask("POST", f"/tasks/{id}/cancel", at=at)
            assert (again.status, again.json) == (200, stopped.json)
            shown = (await served.ask("GET", f"/tasks/{id}", at=at)).json
            assert shown == stopped.json
            assert shown["error"]["type"] == "cancelled"
            assert (await served.ask("GET", f"/tasks/{id}?output_only=true", at=at)).status == 499


async def test_the_bare_output_of_a_run_is_its_json(tmp_path: Path) -> None:
    async with two(answering(...), tmp_path) as served:
        id = await served.finished(input={"a": ["안"]})
        for at in (0, 1):
            bare = await served.ask("GET", f"/tasks/{id}?output_only=true", at=at)
            assert (bare.status, bare.json, bare.headers["x-run-id"]) == (200, {"a": ["안"]}, id)


async def test_a_run_is_forgotten_once(tmp_path: Path) -> None:
    async with two(Feed("a"), tmp_path) as served:
        id = await served.finished()
        gone = await served.ask("DELETE", f"/tasks/{id}", at=1)
        assert (gone.status, gone.body) == (204, b"")
        for at in (0, 1):
            assert (await served.ask("DELETE", f"/tasks/{id}", at=at)).status == 404


async def test_an_unknown_run_is_not_found_on_any_route(tmp_path: Path) -> None:
    async with two(Feed("a"), tmp_path) as served:
        for _ in range(2):  # without a store, and with one
            for id in ("run_0", "%00", "x" * 2000, "%ff", "a%2Fb"):
                for method, path in (
                    ("GET", ""), ("GET", "?output_only=true"), ("GET", "/stream"), ("GET", "/events"),
                    ("POST", "/cancel"), ("DELETE", ""),
                ):  # fmt: skip
                    unknown = await served.ask(method, f"/api/tasks/{id}{path}")
                    assert (unknown.status, unknown.json["error"]["type"]) == (404, "not_found"), (id, method, path)
            await served.start()


async def test_runs_are_listed_by_pages_that_hold_each_once(tmp_path: Path) -> None:
    async with two(answering(...), tmp_path, one(id="a"), one(id="b")) as served:
        assert (await served.ask("GET", "/tasks")).json == {"tasks": [], "next": None}
        ids = [await served.finished(workflow_id="ab"[index % 2], session_id=f"s{index % 3}") for index in range(5)]
        expected = sorted(ids, reverse=True)
        for at in (0, 1):
            pages: list[list[str]] = []
            query = "limit=2"
            while query:
                page = (await served.ask("GET", f"/tasks?{query}", at=at)).json
                pages.append([task["task_id"] for task in page["tasks"]])
                query = f"limit=2&before={page['next']}" if page["next"] else ""
            assert pages == [expected[:2], expected[2:4], expected[4:]]
            whole = (await served.ask("GET", "/api/tasks?limit=5", at=at)).json
            assert whole["next"] is None
            assert [task["task_id"] for task in whole["tasks"]] == expected
            assert {task["status"] for task in whole["tasks"]} == {"completed"}
            only = (await served.ask("GET", "/tasks?workflow_id=b&session_id=s1&status=completed", at=at)).json
            assert {task["task_id"] for task in only["tasks"]} == {ids[1]}
            assert (await served.ask("GET", "/tasks?status=failed", at=at)).json["tasks"] == []
            for wrong in ("status=done", "limit=0", "limit=501", "limit=x"):
                assert (await served.ask("GET", f"/tasks?{wrong}", at=at)).status == 422


# --- clients that leave ----------------------------------------------------------------------------------------------


async def test_a_resumable_run_goes_on_when_its_client_leaves_and_is_read_on_elsewhere(tmp_path: Path) -> None:
    feed = Feed("a", ends=False)
    async with two(feed, tmp_path, one(TEXT)) as served:
        async with connected(served.addresses[0]) as wire:
            await wire.ask(RESUMABLE)
            _, headers = await wire.head()
            assert await wire.chunk() == b"id: 4\ndata: a\n\n"
        feed.give("b")
        feed.end()
        got = await served.ask("GET", f"/tasks/{headers['x-run-id']}/stream", b"", "Last-Event-ID: 4", at=1)
        assert text(got.events) == "b"


@pytest.mark.parametrize("how", [{"on_disconnect": "cancel"}, {"session_id": "s", "resumable": False}])
async def test_a_run_that_says_so_is_cancelled_when_its_client_leaves(how: dict[str, Any], tmp_path: Path) -> None:
    feed = Feed("a", ends=False)
    async with two(feed, tmp_path, one(TEXT)) as served:
        async with connected(served.addresses[0]) as wire:
            await wire.ask({**RESUMABLE, **how})
            _, headers = await wire.head()
            await wire.chunk()
        await soon(feed.closed)
        end = (await served.ask("GET", f"/tasks/{headers['x-run-id']}/stream", at=1)).events[-1]
        assert json.loads(end.data)["error"]["message"] == "its client disconnected"


async def test_a_reader_ahead_of_what_its_dead_replica_had_kept_gets_the_end_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    async with two(Feed("a", ends=False), tmp_path, one(TEXT)) as served:
        id = await served.start()
        here, there = served.gateways
        async with reading(there, id) as reader:
            await reader.chunks("a")
        async with connected(served.addresses[1]) as wire:
            await wire.ask(b"", "Last-Event-ID: 9", path=f"/tasks/{id}/stream", method="GET")
            assert (await wire.head())[0] == 200
            await die(here)
            (end,) = events(await wire.chunk())
            assert (end.id, end.event, json.loads(end.data)["error"]["type"]) == (AHEAD, "error", "lost")
            assert await wire.chunk() == b""
        for kind in ("stream", "events"):
            got = await served.ask("GET", f"/tasks/{id}/{kind}", b"", "Last-Event-ID: 9", at=1)
            assert [event.id for event in got.events] == [AHEAD]


@pytest.mark.parametrize("seed", range(2))
async def test_a_client_that_is_cut_again_and_again_puts_the_text_together(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    pieces: list[Any] = ["word ", "안녕", "\n", "\r", "\r\nx", "", "y" * 500]
    between: Any = "|"
    if seed:
        pieces = [piece.encode() for piece in pieces] + [b"\xf0", b"\x9f\x98", b"\x80"]
        between = b"|"
    batches = [[dice.choice(pieces) for _ in range(dice.randrange(1, 5))] for _ in range(150)]
    feed = Feed()
    async with two(feed, tmp_path, one(TEXT)) as served:
        id = await served.start()
        waiting = iter(batches)

        def more() -> None:
            for batch in islice(waiting, 3):
                feed.give(*batch, between)
            if next(waiting, None) is None:
                feed.end()

        seen, got, cuts = -1, "", 0
        while True:
            part = await _some(served.addresses[dice.randrange(2)], id, seen, dice, more)
            got += text(part)
            cuts += 1
            seen = max([seen, *(event.id for event in part if event.id is not None)])
            if part and part[-1].event == "end":
                break
        assert cuts > 20
        whole = (await served.ask("GET", f"/tasks/{id}/stream")).events
        assert got == text(whole)
        assert got.count("y" * 500) > 20


async def _some(address: str, id: str, seen: int, dice: random.Random, more: Callable[[], None]) -> list[Event]:
    """The events that a client gets until it cuts the connection, in the middle of whatever comes, by FIN or by RST."""
    async with asyncio.timeout(DEADLINE), connected(address) as wire:
        header = [f"Last-Event-ID: {seen}"] if seen >= 0 else []
        await wire.ask(b"", *header, path=f"/tasks/{id}/stream", method="GET")
        status, _ = await wire.head()
        assert status == 200
        raw, most = b"", dice.randrange(20, 600)
        while len(raw) < most:
            more()
            chunk = await wire.chunk()
            raw += chunk
            if not chunk or b"event: end" in raw:
                return events(raw)
        if dice.random() < 0.5:
            cut: socket.socket = wire.writer.get_extra_info("socket")
            cut.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.writer.transport.abort()
        return events(raw[:most])


async def test_a_component_of_a_background_run_is_stopped_at_shut_down_and_the_run_is_lost(tmp_path: Path) -> None:
    cancelled = asyncio.Event()

    async def invoke(_: Invocation) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with two(invoke, tmp_path) as served:
        id = await served.start()
        async with connected(served.addresses[1]) as wire:
            await wire.ask(b"", path=f"/tasks/{id}/stream", method="GET")
            await wire.head()
            async with reading(served.gateways[0], id) as reader:
                await reader.until(lambda entries: len(entries) >= 3)
                await served.gateways[0].aclose()
            await soon(cancelled)
            (end,) = events(await wire.chunk())
            assert (end.event, json.loads(end.data)["error"]["type"]) == ("error", "lost")
