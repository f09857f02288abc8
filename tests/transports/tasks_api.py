"""Two replicas of the HTTP API over one store, and what they answer, taken apart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from deployments.gateway.gateway import Gateway
from deployments.transports.app import build_app
from graphs.plan import OutputKind, WorkflowPlan
from tests.gateway.keeping import read
from tests.transports.served import DEADLINE, Invoke, Wire, connected, replicas, serving_all

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
