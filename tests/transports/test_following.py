"""Kept runs over a real socket: their streams and events, read from any number on, at either replica."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientSession

from deployments.gateway.kept import AHEAD
from deployments.transports import run_answer
from graphs.errors import ComponentFailed
from graphs.plan import OutputKind
from graphs.stream import Note
from tests.gateway.keeping import read, reading
from tests.runs.builders import Components, job, joining, workflow
from tests.transports.served import DEADLINE, Feed, Feeds, answering, connected, one
from tests.transports.tasks_api import ANY, JSON, RESUMABLE, TEXT, text, two

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
