"""What servers do to HTTP/2 connections, frame by frame: closing, resetting, refusing, flooding, falling silent."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

import pytest
from h2.errors import ErrorCodes
from h2.events import WindowUpdated
from h2.settings import SettingCodes
from yarl import URL

from deployments.components.http_client import HttpClientInput
from deployments.upstream import unpacking
from deployments.upstream.http1 import Http1
from deployments.upstream.http2 import connection, origins
from graphs.component import Stream, Whole
from graphs.errors import TimedOut, UpstreamFailed
from tests.fakes.calls import Client, failure, one
from tests.upstream.http2_servers import Certificates, Talk, scripted

EVENTS = {"path": "/events", "stream_format": "json"}


async def well(talk: Talk) -> None:
    while True:
        request = await talk.request()
        talk.answer(request.stream_id, b"data: 1\n\n")


async def test_what_is_under_way_goes_on_after_the_server_says_that_it_closes(client: Client, trusted: Certificates):
    async def leaving(talk: Talk) -> None:
        request = await talk.request()
        talk.answer(request.stream_id, b"data: 1\n\n", end=False)
        talk.go_away(request.stream_id)
        talk.h2.send_data(request.stream_id, b"data: 2\n\n", end_stream=True)
        talk.flush()

    async with scripted(trusted, leaving, well) as url:
        api = await client(base_url=url)
        assert await one(api, **EVENTS) == [1, 2]
        assert await one(api, **EVENTS) == [1]


@pytest.mark.parametrize("refusal", ["go away", "refused"])
async def test_a_request_that_was_not_looked_at_is_sent_again(client: Client, trusted: Certificates, refusal: str):
    async def refusing(talk: Talk) -> None:
        request = await talk.request()
        if refusal == "go away":
            talk.go_away(0)
        else:
            talk.h2.reset_stream(request.stream_id, ErrorCodes.REFUSED_STREAM)
            talk.flush()
            await well(talk)

    async with scripted(trusted, refusing, well) as url:
        assert await one(await client(base_url=url), **EVENTS) == [1]


@pytest.mark.parametrize("refusal", ["go away", "no streams", "close"])
async def test_a_server_that_takes_no_requests_is_asked_only_so_often(
    client: Client, trusted: Certificates, refusal: str
):
    talks: list[Talk] = []

    async def refusing(talk: Talk) -> None:
        talks.append(talk)
        match refusal:
            case "go away":
                talk.go_away(0)
            case "no streams":
                talk.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 0})
                talk.flush()
            case _:
                talk.close()

    async with scripted(trusted, refusing) as url:
        api = await client(base_url=url)
        async with asyncio.timeout(5):
            error = await failure(api.run(HttpClientInput.model_validate(EVENTS)))
        assert isinstance(error, UpstreamFailed)
        assert "takes no requests now" in error.message or "closed before an answer" in error.message
        assert len(talks) <= origins.TRIES
        async with asyncio.timeout(5):
            await asyncio.gather(*(talk.left.wait() for talk in talks))


async def test_a_call_that_one_connection_refuses_goes_over_the_next(client: Client, trusted: Certificates):
    async def leaving(talk: Talk) -> None:
        talk.go_away(0)

    async with scripted(trusted, leaving, leaving, well) as url:
        assert await one(await client(base_url=url), **EVENTS) == [1]


async def test_a_connection_that_nobody_came_for_is_closed(
    client: Client, trusted: Certificates, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "IDLE", 0.01)
    opened = asyncio.get_running_loop().create_future()

    async def unused(talk: Talk) -> None:
        opened.set_result(talk)

    async with scripted(trusted, unused) as url:
        transport = origins.Negotiating(Http1(5), 5, None)
        connected = asyncio.create_task(transport._dial(URL(url)))
        async with asyncio.timeout(5):
            await connected
            await (await opened).left.wait()
        await transport.close()


async def test_a_stream_that_is_reset_in_the_middle_is_an_error_not_an_end(client: Client, trusted: Certificates):
    async def breaking(talk: Talk) -> None:
        request = await talk.request()
        talk.answer(request.stream_id, b"data: 1\n\n", end=False)
        talk.h2.reset_stream(request.stream_id, ErrorCodes.INTERNAL_ERROR)
        talk.flush()

    async with scripted(trusted, breaking) as url:
        chunks = (await client(base_url=url)).run(HttpClientInput.model_validate(EVENTS))
        assert await anext(chunks) == 1
        assert "in the middle of the answer" in (await failure(chunks)).message


async def test_a_connection_that_is_cut_is_an_error_for_every_stream_on_it(client: Client, trusted: Certificates):
    async def cutting(talk: Talk) -> None:
        for _ in range(2):
            request = await talk.request()
            talk.answer(request.stream_id, b"data: 1\n\n", end=False)
        talk.cut()

    async with scripted(trusted, cutting, well) as url:
        api = await client(base_url=url)
        both = [api.run(HttpClientInput.model_validate(EVENTS)) for _ in range(2)]
        for chunks in both:
            assert await anext(chunks) == 1
        for chunks in both:
            assert "in the middle of the answer" in (await failure(chunks)).message
        assert await one(api, **EVENTS) == [1]


async def test_what_is_not_http2_is_an_error(client: Client, trusted: Certificates):
    async def babbling(talk: Talk) -> None:
        await talk.request()
        talk.write(b"\x00\x00\x01\x00\x01\x00\x00\x00\x09x")

    async with scripted(trusted, babbling) as url:
        error = await failure((await client(base_url=url)).run(HttpClientInput.model_validate(EVENTS)))
    assert isinstance(error, UpstreamFailed)


async def test_a_server_that_falls_silent_times_out_and_its_connection_is_not_used_again(
    client: Client, trusted: Certificates
):
    async def silent(talk: Talk) -> None:
        await talk.request()

    async with scripted(trusted, silent, well) as url:
        api = await client(base_url=url, timeout=1)
        assert isinstance(await failure(api.run(HttpClientInput.model_validate(EVENTS))), TimedOut)
        assert await one(api, **EVENTS) == [1]


async def test_a_call_beyond_what_one_connection_takes_opens_another(client: Client, trusted: Certificates):
    async def one_at_a_time(talk: Talk) -> None:
        talk.h2.update_settings({3: 1})
        talk.flush()
        request = await talk.request()
        talk.answer(request.stream_id, b"data: 1\n\n", end=False)

    async with scripted(trusted, one_at_a_time) as url:
        api = await client(base_url=url)
        first, second = (api.run(HttpClientInput.model_validate(EVENTS)) for _ in range(2))
        assert await anext(first) == 1
        assert await anext(second) == 1
        for chunks in (first, second):
            await chunks.aclose()  # type: ignore[attr-defined]


async def test_a_server_may_send_more_only_as_it_is_read(client: Client, trusted: Certificates):
    windows: list[int] = []

    async def flooding(talk: Talk) -> None:
        id = (await talk.request()).stream_id
        talk.answer(id, b"", end=False, kind="application/octet-stream")
        sent = 0
        while sent < 4 * connection.STREAM_WINDOW:
            if not (room := min(talk.h2.local_flow_control_window(id), 16384)):
                windows.append(sent)
                await talk.event(WindowUpdated)
                continue
            talk.h2.send_data(id, b"x" * room)
            talk.flush()
            sent += room
        talk.h2.end_stream(id)
        talk.flush()

    async with scripted(trusted, flooding) as url:
        chunks = await one(await client(base_url=url), path="/")
    assert sum(map(len, chunks)) >= 4 * connection.STREAM_WINDOW
    assert windows[0] == connection.STREAM_WINDOW


async def test_answers_nobody_reads_hold_up_no_other(
    client: Client, trusted: Certificates, monkeypatch: pytest.MonkeyPatch
):
    """Four answers fill what a connection could hold, were each not given back as it comes."""
    monkeypatch.setattr(connection, "CONNECTION_WINDOW", 2 * connection.STREAM_WINDOW)

    async def flooding(talk: Talk) -> None:
        for _ in range(4):
            request = await talk.request()
            talk.answer(request.stream_id, b"data: 1\n\n", *[b":" + b"x" * 16000] * 12, end=False)
        await well(talk)

    async with scripted(trusted, flooding) as url, AsyncExitStack() as unread:
        api = await client(base_url=url)
        for _ in range(4):
            chunks = await unread.enter_async_context(aclosing(api.run(HttpClientInput.model_validate(EVENTS))))  # type: ignore[type-var]
            assert await anext(chunks) == 1
        assert await one(api, **EVENTS) == [1]


async def test_a_call_cancelled_before_its_answer_resets_its_stream(client: Client, trusted: Certificates):
    asked, reset = asyncio.Event(), asyncio.Event()

    async def silent(talk: Talk) -> None:
        await talk.request()
        asked.set()
        assert (await talk.reset()).error_code == ErrorCodes.CANCEL
        reset.set()
        await well(talk)

    async with scripted(trusted, silent) as url:
        api = await client(base_url=url)
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(one(api, **EVENTS))
            await asked.wait()
            call.cancel()
        async with asyncio.timeout(5):
            await reset.wait()
        assert await one(api, **EVENTS) == [1]


async def test_leaving_in_the_middle_of_an_upload_stops_its_source(client: Client, trusted: Certificates):
    begun, closed = asyncio.Event(), asyncio.Event()

    async def batches() -> AsyncIterator[list[bytes]]:
        try:
            yield [b"x"]
            begun.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def listening(talk: Talk) -> None:
        await talk.request()
        await talk.reset()

    async with scripted(trusted, listening) as url:
        api = await client(base_url=url)
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(one(api, path="/", body=Stream(batches())))
            await begun.wait()
            call.cancel()
        async with asyncio.timeout(5):
            await closed.wait()


async def test_an_answer_may_come_before_the_upload_has_ended(client: Client, trusted: Certificates):
    async def batches() -> AsyncIterator[list[bytes]]:
        yield [b"x"]
        await asyncio.Event().wait()

    async with scripted(trusted, well) as url:
        assert await one(await client(base_url=url), **EVENTS, body=Stream(batches())) == [1]


async def test_a_large_body_waits_for_room(client: Client, trusted: Certificates):
    """The server gives room as it reads: h2's own first window is 64 KiB."""
    got: list[int] = []

    async def reading(talk: Talk) -> None:
        request = await talk.request()
        await talk.request_end()
        got.append(len(talk.bodies[request.stream_id]))
        talk.answer(request.stream_id, b"data: 1\n\n")

    async with scripted(trusted, reading) as url:
        assert await one(await client(base_url=url), **EVENTS, body=b"x" * 1_000_000) == [1]
    assert got == [1_000_000]


async def test_a_server_that_gives_no_room_times_out(client: Client, trusted: Certificates):
    async def deaf(talk: Talk) -> None:
        await asyncio.Event().wait()

    async with scripted(trusted, deaf) as url:
        api = await client(base_url=url, timeout=0.2)
        assert isinstance(await failure(api.run(HttpClientInput(path="/", body=b"x" * 1_000_000))), TimedOut)


async def test_calls_to_a_server_that_hangs_wait_together_not_in_line(client: Client):
    accepted: list[asyncio.StreamWriter] = []

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        api = await client(base_url=url, timeout=0.2)
        calls = [failure(api.run(HttpClientInput(path="/"))) for _ in range(20)]
        errors = await asyncio.gather(*calls)
        assert all(isinstance(error, TimedOut) for error in errors)
        assert all("no connection within 0.2 s" in error.message for error in errors)
        assert len(accepted) == 1


async def test_a_server_that_wants_http1_for_its_requests_gets_it(client: Client, trusted: Certificates):
    async def old(talk: Talk) -> None:
        request = await talk.request()
        talk.h2.reset_stream(request.stream_id, ErrorCodes.HTTP_1_1_REQUIRED)
        talk.flush()

    async with scripted(trusted, old) as url:
        api = await client(base_url=url)
        for _ in range(2):
            assert await one(api, path="/", method="GET") == [Whole("by 1.1 !")]


async def test_only_so_many_origins_are_remembered(
    client: Client, trusted: Certificates, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(origins, "MAX_ORIGINS", 1)
    async with scripted(trusted, well) as first, scripted(trusted, well) as second:
        api = await client(base_url=first)
        for url in (first, second, first):
            assert await one(api, endpoint=f"{url}/events", stream_format="json") == [1]


async def test_a_status_that_is_none_is_not_http(client: Client, trusted: Certificates):
    async def odd(talk: Talk) -> None:
        request = await talk.request()
        talk.h2.config.validate_outbound_headers = False
        talk.h2.send_headers(request.stream_id, [(":status", "abc")], end_stream=True)
        talk.flush()

    async with scripted(trusted, odd) as url:
        error = await failure((await client(base_url=url)).run(HttpClientInput(path="/")))
    assert "the answer is not valid HTTP" in error.message


# Packed answers


@pytest.mark.parametrize("encoding", ["br", "gzip"])
async def test_the_status_wins_over_a_body_that_cannot_be_unpacked(
    client: Client, trusted: Certificates, encoding: str
):
    async def down(talk: Talk) -> None:
        request = await talk.request()
        talk.answer(request.stream_id, b"xx", status="503", content_encoding=encoding)
        await well(talk)

    async with scripted(trusted, down) as url:
        assert await one(await client(base_url=url, max_retries=1, retry_delay=0), **EVENTS) == [1]


@pytest.mark.parametrize("members", [1, 2])
async def test_a_packed_answer_is_unpacked_in_pieces(
    client: Client, trusted: Certificates, monkeypatch: pytest.MonkeyPatch, members: int
):
    monkeypatch.setattr(unpacking, "MAX_PIECE", 1000)
    packed = b"".join(gzip.compress(b"0123456789" * 1000) for _ in range(members))

    async def packing(talk: Talk) -> None:
        request = await talk.request()
        pieces = [packed[:20], packed[20:]]
        talk.answer(request.stream_id, *pieces, kind="application/octet-stream", content_encoding="gzip")

    async with scripted(trusted, packing) as url:
        chunks = await one(await client(base_url=url), path="/")
    assert b"".join(chunks) == b"0123456789" * 1000 * members
    assert max(map(len, chunks)) <= 1000


@pytest.mark.parametrize(
    ("body", "encoding", "message"),
    [
        (gzip.compress(b"x" * 100)[:-4], "gzip", "broke off in the middle"),
        (b"no gzip", "gzip", "not the gzip that its Content-Encoding says"),
        (b"x", "br", "which was not asked for"),
    ],
)
async def test_a_packed_answer_that_cannot_be_read_is_an_error(
    client: Client, trusted: Certificates, body: bytes, encoding: str, message: str
):
    async def packing(talk: Talk) -> None:
        request = await talk.request()
        talk.answer(request.stream_id, body, kind="application/octet-stream", content_encoding=encoding)

    async with scripted(trusted, packing) as url:
        error = await failure((await client(base_url=url)).run(HttpClientInput(path="/")))
    assert message in error.message


async def test_an_answer_without_headers_is_null(client: Client, trusted: Certificates):
    async def nothing(talk: Talk) -> None:
        request = await talk.request()
        talk.h2.send_headers(request.stream_id, [(":status", "204")], end_stream=True)
        talk.flush()

    async with scripted(trusted, nothing) as url:
        assert await one(await client(base_url=url), path="/", method="DELETE") == [Whole(None)]
