"""The file that uses aiohttp's private side says what is missing, and reads what came before a failure."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol

from deployments.upstream import aiohttp_internals
from deployments.upstream.aiohttp_internals import Silence


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


class Watched:
    """A protocol of aiohttp's, as far as a Silence uses it."""

    read_timeout: float | None = 60.0

    def __init__(self) -> None:
        self.timed_out = 0

    def start_timeout(self) -> None:
        assert self.read_timeout is None, "aiohttp's own timer must not start again"

    def _on_read_timeout(self) -> None:
        self.timed_out += 1


async def test_only_a_read_that_waits_for_the_whole_timeout_is_silence():
    protocol = Watched()
    silence = Silence(SimpleNamespace(connection=SimpleNamespace(protocol=protocol)), 60.0)  # type: ignore[arg-type]
    now = asyncio.get_running_loop().time()
    for since in (None, now, now - 59):  # the reader is busy elsewhere, has just begun to wait, has waited for long
        silence.since = since
        silence._look()
        assert protocol.timed_out == 0
    silence.since = now - 60
    silence._look()
    assert protocol.timed_out == 1
    silence.cancel()


async def test_a_body_that_came_with_its_headers_has_nothing_to_wait_for():
    silence = Silence(SimpleNamespace(connection=None), 60.0)  # type: ignore[arg-type]
    assert silence._timer is None
    silence.cancel()
