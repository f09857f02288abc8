"""The file that uses aiohttp's private side says what is missing, and reads what came before a failure."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol

from deployments.upstream import aiohttp_internals


def test_an_aiohttp_without_what_is_needed_is_named_with_its_version(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(aiohttp.StreamReader, "_read_nowait")
    monkeypatch.delattr(aiohttp.Payload, "consumed")
    with pytest.raises(ImportError) as failed:
        aiohttp_internals.check()
    assert f"aiohttp {aiohttp.__version__} has no StreamReader._read_nowait, Payload.consumed" in str(failed.value)


async def test_what_came_before_a_failure_can_still_be_taken():
    content = aiohttp.StreamReader(BaseProtocol(asyncio.get_running_loop()), 65536)
    content.feed_data(b"1")
    content.feed_data(b"2")
    content.set_exception(aiohttp.ClientPayloadError())
    assert aiohttp_internals.buffered(content) == b"12"
    assert aiohttp_internals.buffered(content) == b""
