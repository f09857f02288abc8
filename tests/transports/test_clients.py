"""Clients as people write them, the snippets of the streaming pages first, get the text from our bytes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import requests
from aiohttp import ClientSession

from graphs.plan import OutputKind
from tests.transports.served import Feed, app, one, serving

WORDS = ["Once", " upon", " a", " 시간", ",", "  two", " 👩‍👩‍👧"]
PAYLOAD = {"input": {"prompt": "Hello"}, "output_only": True, "wait_for_completion": True}


def served(*chunks: Any) -> Any:
    return app(Feed(*chunks), one(OutputKind("text", "sse-text")))


async def test_requests_line_by_line() -> None:
    def read(url: str) -> list[str]:
        chunks: list[str] = []
        with requests.post(url, json=PAYLOAD, stream=True, timeout=10) as response:
            for line in response.iter_lines():
                if line:
                    text = line.decode("utf-8")
                    if text.startswith("data: "):
                        chunks.append(text[6:])
        return chunks

    async with serving(served(*WORDS)) as address:
        assert await asyncio.to_thread(read, f"{address}/api/workflows/runs") == WORDS


async def test_aiohttp_line_by_line() -> None:
    chunks: list[str] = []
    async with (
        serving(served(*WORDS)) as address,
        ClientSession() as session,
        session.post(f"{address}/api/workflows/runs", json=PAYLOAD) as response,
    ):
        async for raw in response.content:
            line = raw.decode("utf-8").strip()
            if line.startswith("data: "):
                chunks.append(line[6:])
    assert chunks == WORDS


async def test_fetch_split_at_newlines() -> None:
    chunks: list[str] = []
    async with (
        serving(served(*WORDS)) as address,
        ClientSession() as session,
        session.post(f"{address}/api/workflows/runs", json=PAYLOAD) as response,
    ):
        async for piece, _ in response.content.iter_chunks():
            for line in piece.decode().split("\n"):
                if line.startswith("data: "):
                    chunks.append(line[6:])
    assert chunks == WORDS


async def test_curl_as_it_is_printed() -> None:
    async with serving(served(*WORDS)) as address:
        curl = await asyncio.create_subprocess_exec(
            "curl", "-sS", "--no-buffer", f"{address}/api/workflows/runs", "-H", "Content-Type: application/json", "-d", json.dumps(PAYLOAD),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await curl.communicate()
    assert out.decode() == "".join(f"data: {word}\n\n" for word in WORDS) + "event: end\ndata:\n\n"


async def test_requests_raises_where_bytes_break_off() -> None:
    feed = Feed(b"\xff", ends=False)
    feed.fail(RuntimeError("it broke"))

    def read(url: str) -> bytes:
        with requests.post(url, json=PAYLOAD, stream=True, timeout=10) as response:
            return b"".join(response.iter_content(None))

    async with serving(app(feed)) as address:
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            await asyncio.to_thread(read, f"{address}/workflows/runs")
