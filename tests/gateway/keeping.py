"""Kept runs of two replicas over one store, and readers that write down what they get."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from deployments.gateway import kept as kept_runs
from deployments.gateway.entries import Entry
from deployments.gateway.gateway import Gateway
from deployments.gateway.kept import Keep, RunInfo
from deployments.gateway.replicas import Replicas
from deployments.gateway.tails import Tails
from deployments.runs.events import Delta, JobChunks, RunFailed
from tests.transports.served import DEADLINE


async def started(gateway: Gateway, input: Any = None, *, session: str | None = None, **keep: Any) -> str:
    """The id of a run that is kept; its reader never begins to read."""
    running = await gateway.keep(None, input, session, Keep(**{"on_disconnect": "continue", **keep}))
    await running.aclose()
    return running.run.id


async def read(gateway: Gateway, id: str, after: int = -1) -> list[Entry]:
    """All that follows a number, up to the end."""
    async with asyncio.timeout(DEADLINE), gateway.kept.following(id, after) as entries:
        return [entry async for entry in entries]


class Reader:
    """Reads a run in a task of its own, and can leave at any time."""

    def __init__(self, gateway: Gateway, id: str, after: int = -1) -> None:
        self.after = after
        self.entries: list[Entry] = []
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._read(gateway, id, after))

    async def _read(self, gateway: Gateway, id: str, after: int) -> None:
        async with gateway.kept.following(id, after) as entries:
            async for entry in entries:
                self.entries.append(entry)
                self._news.set()

    async def until(self, met: Callable[[list[Entry]], bool]) -> None:
        """Wait until what has come meets a condition."""
        async with asyncio.timeout(DEADLINE):
            while not met(self.entries):
                self._news.clear()
                waiting = asyncio.create_task(self._news.wait())
                await asyncio.wait([waiting, self._task], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if self._task.done():
                    self._task.result()
                    assert met(self.entries), "it ended before"

    async def chunks(self, *chunks: Any) -> None:
        """Wait until these chunks have come last."""
        await self.until(lambda entries: said(entries)[-len(chunks) :] == list(chunks))

    async def all(self) -> list[Entry]:
        """Wait for the end."""
        async with asyncio.timeout(DEADLINE):
            await self._task
        return self.entries

    async def leave(self) -> list[Entry]:
        self._task.cancel()
        await asyncio.wait([self._task])
        return self.entries


@asynccontextmanager
async def reading(gateway: Gateway, id: str, after: int = -1) -> AsyncIterator[Reader]:
    reader = Reader(gateway, id, after)
    try:
        yield reader
    finally:
        await reader.leave()


def said(entries: list[Entry]) -> list[Any]:
    """The chunks of the output."""
    return [chunk for entry in entries if isinstance(entry.event, Delta) for chunk in entry.event.chunks]


def end(entries: list[Entry]) -> Any:
    return entries[-1].event


def told(entries: list[Entry]) -> list[Any]:
    """The entries, errors as data: two errors are never equal."""
    return [
        (entry.first, entry.at, entry.event.error.to_data() if isinstance(entry.event, RunFailed) else entry.event)
        for entry in entries
    ]


def numbers(entries: list[Entry]) -> list[int]:
    return [number for entry in entries for number in range(entry.first, entry.last + 1)]


def by_number(entries: list[Entry]) -> dict[int, Any]:
    """What every number stands for; no number may come twice."""
    assert len(set(numbers(entries))) == len(numbers(entries))
    return {
        entry.first + index: each
        for entry in entries
        for index, each in enumerate(
            entry.event.chunks if isinstance(entry.event, Delta | JobChunks) else [type(entry.event)]
        )
    }


async def ended(gateway: Gateway, id: str) -> RunInfo:
    """The run, once it has ended."""
    await read(gateway, id)
    return await gateway.kept.find(id)


def impatient(monkeypatch: pytest.MonkeyPatch, patience: float = 0.4) -> None:
    """Replicas that look at each other often, and take one that is silent for dead soon."""
    monkeypatch.setattr(kept_runs, "Replicas", partial(Replicas, every=0.02, patience=patience))
    monkeypatch.setattr(kept_runs, "Tails", partial(Tails, every=0.005))


async def die(gateway: Gateway) -> None:
    """End a replica as a killed process does: its tasks stop in the middle, and nothing is written any more."""
    kept = gateway.kept
    store: Any = kept._store
    store._writer._closed = True
    store._writer._unset_timer()
    doomed = [store._writer._task, kept._replicas._task]  # type: ignore[union-attr]
    if kept._tails is not None and kept._tails._task is not None:
        doomed.append(kept._tails._task)
    for keeper in kept._own.values():
        keeper.log.lose()
        keeper._done = lambda _: None
        doomed.append(keeper._task)
    for task in doomed:
        task.cancel()
    await asyncio.wait(doomed)
    await store._database.aclose()
    kept._store = kept._replicas = kept._tails = None
    kept._own.clear()
