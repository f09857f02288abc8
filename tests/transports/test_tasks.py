"""Kept runs over a real socket: background and resumable ones, followed, stopped and forgotten at either replica."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientSession

from deployments.gateway.gateway import Gateway
from deployments.gateway.kept import AHEAD
from deployments.runs.events import Invocation
from deployments.transports import run_answer
from deployments.transports.app import build_app
from graphs.errors import ComponentFailed
from graphs.plan import OutputKind, Store, WorkflowPlan
from graphs.stream import Note
from tests.gateway.keeping import die, impatient, read, reading
from tests.runs.builders import Components, job, joining, workflow
from tests.transports.served import (
    DEADLINE,
    Feed,
    Feeds,
    Invoke,
    Wire,
    answering,
    connected,
    one,
    replicas,
    serving_all,
    soon,
)

TEXT = OutputKind("text", "sse-text")
JSON = OutputKind("json", "sse-json")
ANY = OutputKind()
RESUMABLE = {"output_only": True, "resumable": True}
BACKGROUND = {"wait_for_completion": False}


class Event(NamedTuple):
    id: int | None
    event: str
    data: str


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Event]:
        return events(self.body)


def events(body: bytes) -> list[Event]:
    """Server-sent events as a conforming reader takes them: what isn't ended by a blank line is dropped."""
    found: list[Event] = []
    *blocks, _ = body.split(b"\n\n")
    for block in map(bytes.decode, blocks):
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        if "data" in fields:
            number = fields.get("id")
            found.append(
                Event(
                    int(number[-1]) if number else None, fields.get("event", ["message"])[-1], "\n".join(fields["data"])
                )
            )
    return found


def text(got: list[Event]) -> str:
    return "".join(event.data for event in got if event.event == "message")


@dataclass
class Served:
    """Two replicas behind real servers."""

    gateways: list[Gateway]
    addresses: list[str]

    async def ask(
        self, method: str, path: str, body: Any = b"", *headers: str, at: int = 0, until: bytes | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        async with asyncio.timeout(DEADLINE), connected(self.addresses[at]) as wire:
            await wire.ask(body, *headers, path=path, method=method)
            return await answer(wire)

    async def start(self, at: int = 0, /, *headers: str, **body: Any) -> str:
        """The id of a background run."""
        accepted = await self.ask("POST", "/workflows/runs", {**BACKGROUND, **body}, *headers, at=at)
        assert accepted.status == 202, accepted.body
        return accepted.json["task_id"]

    async def finished(self, **body: Any) -> str:
        """The id of a run that has ended, as the store knows."""
        id = await self.start(**body)
        await read(self.gateways[1], id)
        return id


async def answer(wire: Wire) -> Answer:
    status, headers = await wire.head()
    if "content-length" in headers:
        return Answer(status, headers, await wire.reader.readexactly(int(headers["content-length"])))
    body = b""
    if status != 204:
        while chunk := await wire.chunk():
            body += chunk
    return Answer(status, headers, body)


@asynccontextmanager
async def two(invoke: Invoke, folder: Path, *workflows: WorkflowPlan, **controller: Any) -> AsyncIterator[Served]:
    async with (
        replicas(invoke, folder / "runs.db", *workflows, **controller) as gateways,
        serving_all(*map(build_app, gateways)) as addresses,
    ):
        yield Served(gateways, addresses)


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


# --- to follow -------------------------------------------------------------------------------------------------------


async def test_a_stream_is_resumed_by_header_or_by_query_and_the_header_wins(tmp_path: Path) -> None:
    async with two(Feed("a", "b", "c"), tmp_path, one(TEXT)) as served:
        path = f"/tasks/{await served.finished()}/stream"
        for at in (0, 1):
            assert text((await served.ask("GET", path, b"", "Last-Event-ID: 5", at=at)).events) == "c"
            assert text((await served.ask("GET", f"{path}?last_event_id=4", at=at)).events) == "bc"
            both = await served.ask("GET", f"{path}?last_event_id=4", b"", "Last-Event-ID: 5", at=at)
            assert text(both.events) == "c"
            assert text((await served.ask("GET", path, b"", "Last-Event-ID:", at=at)).events) == "abc"


async def test_a_head_request_is_answered_at_once_though_the_run_goes_on(tmp_path: Path) -> None:
    async with two(Feed("a", ends=False), tmp_path, one(TEXT)) as served:
        id = await served.start()
        async with asyncio.timeout(DEADLINE), ClientSession() as session:
            for kind in ("stream", "events"):
                async with session.head(f"{served.addresses[0]}/tasks/{id}/{kind}") as response:
                    assert (response.status, response.headers["x-run-id"]) == (200, id)
                    assert response.headers["content-type"].startswith("text/event-stream")
        await served.gateways[0].kept.cancel(id)


async def test_a_reader_that_saw_the_end_gets_204_and_one_beyond_it_the_end_alone(tmp_path: Path) -> None:
    async with two(Feed("a"), tmp_path, one(TEXT)) as served:
        id = await served.finished()
        for kind in ("stream", "events"):
            for at in (0, 1):
                whole = await served.ask("GET", f"/tasks/{id}/{kind}", at=at)
                last = whole.events[-1]
                done = await served.ask("GET", f"/tasks/{id}/{kind}", b"", f"Last-Event-ID: {last.id}", at=at)
                assert (done.status, done.body, done.headers["x-run-id"]) == (204, b"", id)
                for beyond in (last.id + 1, last.id + 1000):  # type: ignore[operator]
                    got = await served.ask("GET", f"/tasks/{id}/{kind}", b"", f"Last-Event-ID: {beyond}", at=at)
                    assert [(event.id, event.event) for event in got.events] == [(AHEAD, last.event)]
                gone = await served.ask("GET", f"/tasks/{id}/{kind}", b"", f"Last-Event-ID: {AHEAD}", at=at)
                assert gone.status == 204


async def test_a_number_that_is_none_is_refused(tmp_path: Path) -> None:
    async with two(Feed("a"), tmp_path) as served:
        id = await served.finished()
        for kind in ("stream", "events"):
            for number in ("x", "-1", "1.5", "²", "9" * 17, "1 2", "0x1"):
                refused = await served.ask("GET", f"/tasks/{id}/{kind}", b"", f"Last-Event-ID: {number}")
                assert refused.status == 400, number
                assert "expected Last-Event-ID to be the number of an event" in refused.json["error"]["message"]


async def test_what_comes_live_comes_at_once_at_both_replicas_and_ends_together(tmp_path: Path) -> None:
    feed = Feed()
    async with two(feed, tmp_path, one(TEXT)) as served:
        id = await served.start()
        async with connected(served.addresses[0]) as near, connected(served.addresses[1]) as far:
            for wire in (near, far):
                await wire.ask(b"", path=f"/tasks/{id}/stream", method="GET")
                status, headers = await wire.head()
                assert (status, headers["content-type"], headers["x-run-id"]) == (200, "text/event-stream", id)
                assert headers["cache-control"] == "no-cache"
            for number, word in ((4, "one"), (5, "two")):
                feed.give(word)
                for wire in (near, far):
                    assert await wire.chunk() == f"id: {number}\ndata: {word}\n\n".encode()
            feed.end()
            for wire in (near, far):
                assert await wire.until(b"\r\n0\r\n\r\n") == b"18\r\nid: 7\nevent: end\ndata:\n\n\r\n0\r\n\r\n"


BATCHES: list[tuple[str, OutputKind, list[list[Any]]]] = [
    ("text", TEXT, [["a"], ["b", "c", "d"], ["e"], ["f", "g"]]),
    ("lines", TEXT, [["a\r"], ["\nb", "\r", "\n", "c\n\nd"], ["\r\n"], ["e\r", "", "\nf", Note({"n": 1}), "\n"]]),
    ("any", ANY, [["a", 1, {"b": [None]}, Note({"usage": 1})], ["\u2028x", True], ["z"]]),
    ("characters", TEXT, [[b"\xec"], [b"\x95", b"\x88 ", b"\xed\x95"], [b"\x9c"], [b"\xf0\x9f", b"\x98", b"\x80"]]),
    ("cut off", TEXT, [[b"a\xec"], [b"\x95"]]),
    ("json", JSON, [["a\n", None, {"b": 1}], [b"\xec", b"\x95"], [[1, 2], ""], [Note({"n": 1}), "c"]]),
    ("bytes", ANY, [[b"\xec", b"\x95"], [b"", b"\x88"], [b"x"]]),
]


@pytest.mark.parametrize(("kind", "batches"), [each[1:] for each in BATCHES], ids=[each[0] for each in BATCHES])
async def test_after_any_number_of_a_finished_stream_comes_exactly_the_rest(
    kind: OutputKind, batches: list[list[Any]], tmp_path: Path
) -> None:
    feed = Feed()
    for batch in batches:
        feed.give(*batch)
    feed.end()
    async with two(feed, tmp_path, one(kind)) as served:
        id = await served.finished()
        whole = (await served.ask("GET", f"/tasks/{id}/stream")).events
        assert whole[-1].event == "end"
        last: int = whole[-1].id  # type: ignore[assignment]
        for number in range(-1, last):
            at = number % 2
            header = f"Last-Event-ID: {number}" if number >= 0 else "X-Nothing: 1"
            got = (await served.ask("GET", f"/tasks/{id}/stream", b"", header, at=at)).events
            assert got == [event for event in whole if (event.id if event.id is not None else last) > number], number


@pytest.mark.parametrize("kind", [TEXT, ANY, JSON])
async def test_a_kept_stream_says_the_same_as_one_that_is_not_kept(kind: OutputKind, tmp_path: Path) -> None:
    for name, of, batches in BATCHES:
        if of is not kind or name == "bytes":
            continue
        feeds = Feeds()
        for run in ("plain", "kept"):
            for batch in batches:
                feeds[run].give(*batch)
            feeds[run].end()
        async with two(feeds, tmp_path / name.replace(" ", ""), one(kind)) as served:
            plain = await served.ask("POST", "/workflows/runs", {"output_only": True, "input": "plain"})
            kept = await served.ask("POST", "/workflows/runs", {**RESUMABLE, "input": "kept"})
            later = await served.ask("GET", f"/tasks/{kept.headers['x-run-id']}/stream", at=1)
            said = [(event.event, event.data) for event in plain.events]
            assert [(event.event, event.data) for event in kept.events] == said
            assert [(event.event, event.data) for event in later.events] == said


async def test_bytes_without_a_format_are_raw_to_the_first_client_and_base64_to_those_that_follow(
    tmp_path: Path,
) -> None:
    async with two(Feed(b"\xff\x00", b"a"), tmp_path) as served:
        first = await served.ask("POST", "/workflows/runs", RESUMABLE)
        assert (first.headers["content-type"], first.body) == ("application/octet-stream", b"\xff\x00a")
        later = await served.ask("GET", f"/tasks/{first.headers['x-run-id']}/stream", at=1)
        assert [event.data for event in later.events] == ['"/wA="', '"YQ=="', ""]


async def test_named_streams_side_by_side_are_resumed_by_one_number(tmp_path: Path) -> None:
    both = workflow(job("a"), job("b"), output={"x": "${jobs.a.output}", "y": "${jobs.b.output}"}, reads=("a", "b"))
    a, b = Feed(), Feed()
    async with two(Components(a=a, b=b), tmp_path, both) as served:
        id = await served.start()
        async with connected(served.addresses[1]) as wire:
            await wire.ask(b"", path=f"/tasks/{id}/stream", method="GET")
            await wire.head()
            for feed, name, chunk in ((a, "x", "1"), (b, "y", "2"), (a, "x", "3")):
                feed.give(chunk)
                got = await wire.chunk()
                assert f'data: {{"name": "{name}", "chunk": "{chunk}"}}\n'.encode() in got
        a.end()
        b.end()
        await read(served.gateways[0], id)
        whole = (await served.ask("GET", f"/tasks/{id}/stream", at=1)).events
        assert [json.loads(event.data) for event in whole[:-1]] == [
            {"name": "x", "chunk": "1"},
            {"name": "y", "chunk": "2"},
            {"name": "x", "chunk": "3"},
        ]
        for index, event in enumerate(whole[:-1]):
            got = await served.ask("GET", f"/tasks/{id}/stream?last_event_id={event.id}", at=1)
            assert got.events == whole[index + 1 :]
        shown = (await served.ask("GET", f"/tasks/{id}")).json
        assert shown["output"] == {"x": "13", "y": "2"}


async def test_a_plain_result_stands_in_the_stream_once_wherever_it_is_resumed(tmp_path: Path) -> None:
    async with two(answering(...), tmp_path, one(TEXT)) as served:
        for output in ({"a": [1, "안"]}, "two\nlines", "", None, 0):
            id = await served.finished(input=output)
            whole = (await served.ask("GET", f"/tasks/{id}/stream")).events
            shown = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
            data = [("message", shown)] if output not in (None, "") else []
            assert [(event.event, event.data) for event in whole] == [*data, ("end", "")]
            last: int = whole[-1].id  # type: ignore[assignment]
            assert all(event.id is not None for event in whole)
            for number in range(last):
                got = await served.ask("GET", f"/tasks/{id}/stream?last_event_id={number}", at=1)
                assert got.events == [event for event in whole if event.id > number], number  # type: ignore[operator]


async def test_a_silent_stream_is_open_before_its_first_chunk(tmp_path: Path) -> None:
    feed = Feed()
    async with two(feed, tmp_path, one(TEXT)) as served:
        id = await served.start()
        for at in (0, 1):
            async with connected(served.addresses[at]) as wire:
                await wire.ask(b"", path=f"/tasks/{id}/stream", method="GET")
                assert (await wire.head())[0] == 200


async def test_a_replay_at_its_own_pace_has_the_pauses_that_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed()
    async with two(feed, tmp_path, one(TEXT)) as served:
        id = await served.start()
        log = served.gateways[0].kept._own[id].log
        now = 0.0
        log._clock = lambda: now
        async with reading(served.gateways[0], id) as reader:
            for chunk, moment in (("a", 100.0), ("b", 107.0), ("c", 109.0)):
                now = moment
                feed.give(chunk)
                await reader.chunks(chunk)
            now = 114.0
            feed.end()
            await reader.all()
        slept: list[float] = []
        playing = 50.0

        async def sleep(seconds: float) -> None:
            nonlocal playing
            if seconds > 0.001:
                slept.append(round(seconds, 3))
                playing += seconds

        fake = SimpleNamespace(sleep=sleep, get_running_loop=lambda: SimpleNamespace(time=lambda: playing))
        monkeypatch.setattr(run_answer, "asyncio", fake)
        for kind, after, pauses in (("stream", 4, [2.0, 5.0]), ("stream", 5, [5.0]), ("events", 4, [2.0, 5.0])):
            slept.clear()
            got = await served.ask("GET", f"/tasks/{id}/{kind}?pace=real&last_event_id={after}", at=1)
            assert slept == pauses
            assert got.events[-1].event in ("end", "completed")
        slept.clear()
        assert text((await served.ask("GET", f"/tasks/{id}/stream", at=1)).events) == "abc"
        assert slept == []
        assert (await served.ask("GET", f"/tasks/{id}/stream?pace=slow")).status == 422


# --- all that a run says ---------------------------------------------------------------------------------------------


async def test_the_events_tell_of_every_job_and_chunk_with_dense_numbers_and_times(tmp_path: Path) -> None:
    given = workflow(
        job("a"),
        job("b", "${jobs.a.output}", flows=("a",)),
        job("c", condition="${false}"),
        output="${jobs.b.output}",
        reads=("b",),
    )
    async with two(Components(a=Feed("x", "y"), b=joining, c=answering(1)), tmp_path, given) as served:
        id = await served.start(job_chunks=True, input={"q": 1}, session_id="s")
        await read(served.gateways[0], id)
        for at in (0, 1):
            told = (await served.ask("GET", f"/tasks/{id}/events?job_chunks=true", at=at)).events
            assert [event.id for event in told] == list(range(len(told)))
            data = [json.loads(event.data) for event in told]
            assert [event.event for event in told] == [each["type"] for each in data]
            assert all(each["at"].endswith("Z") for each in data)
            times = [each["at"] for each in data]
            assert times == sorted(times)
            bare = [{key: value for key, value in each.items() if key != "at"} for each in data]
            assert bare[0] == {"type": "accepted", "workflow_id": "w", "input": {"q": 1}, "session_id": "s"}
            assert bare[1] == {"type": "started"}
            assert bare[-1] == {"type": "completed", "output": "xy"}
            for expected in (
                {"type": "job_started", "job": "a"},
                {"type": "job_first_chunk", "job": "a"},
                {"type": "job_chunk", "job": "a", "chunk": "x"},
                {"type": "job_chunk", "job": "a", "chunk": "y"},
                {"type": "job_ended", "job": "a", "streamed": True},
                {"type": "job_ended", "job": "b", "output": "xy"},
            ):
                assert bare.count(expected) == 1, expected
            (skipped,) = [each for each in bare if each["type"] == "job_skipped"]
            assert skipped["job"] == "c"
            assert skipped["why"]
            without = (await served.ask("GET", f"/tasks/{id}/events", at=at)).events
            assert without == [event for event in told if event.event != "job_chunk"]
            for number in range(len(told) - 1):
                got = await served.ask("GET", f"/tasks/{id}/events?job_chunks=true&last_event_id={number}", at=at)
                assert got.events == told[number + 1 :]


async def test_the_chunks_are_left_out_of_the_events_where_that_is_asked_for(tmp_path: Path) -> None:
    feed = Feed()
    feed.give("a", Note({"usage": 2}), b"\xff")
    feed.end()
    async with two(feed, tmp_path, one(TEXT)) as served:
        id = await served.finished()
        told = (await served.ask("GET", f"/tasks/{id}/events")).events
        chunks = [json.loads(event.data) for event in told if event.event == "chunk"]
        assert [{key: value for key, value in each.items() if key != "at"} for each in chunks] == [
            {"type": "chunk", "chunk": "a"},
            {"type": "chunk", "note": {"usage": 2}},
            {"type": "chunk", "chunk": "/w=="},
        ]
        without = (await served.ask("GET", f"/tasks/{id}/events?chunks=false", at=1)).events
        assert without == [event for event in told if event.event != "chunk"]


async def test_the_events_of_a_run_that_fails_tell_which_job_and_why(tmp_path: Path) -> None:
    async with two(answering(ComponentFailed("it broke", part=3)), tmp_path) as served:
        id = await served.finished()
        told = (await served.ask("GET", f"/tasks/{id}/events", at=1)).events
        failed, end = (json.loads(event.data) for event in told[-2:])
        assert [event.event for event in told[-2:]] == ["job_failed", "failed"]
        assert failed["job"] == "a"
        for error in (failed["error"], end["error"]):
            assert (error["type"], error["part"], error["run_id"]) == ("component_failed", 3, id)
            assert "it broke" in error["message"]


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
