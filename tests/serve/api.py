"""A served application's API as a client meets it: what is asked in, the answer's bytes out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import ClientResponse, ClientSession, ClientTimeout

DEADLINE = 30.0
"""Seconds for what must come; nothing waits this long unless it is broken."""
INTERVAL = 0.1
"""Seconds between two looks at a state that must change."""

RUNS = "/api/workflows/runs"
END = b"event: end\ndata:\n\n"

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def error(self) -> dict[str, Any]:
        return self.json()["error"]


class Reading:
    """A stream of server-sent events, read one by one."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response

    async def event(self) -> bytes:
        """The next event's bytes with the blank line that ends it; empty at the end of the body."""
        return await self.response.content.readuntil(b"\n\n")

    async def rest(self) -> bytes:
        return await self.response.content.read()


class Api:
    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def get(self, path: str) -> Answer:
        async with self._session.get(f"{self.url}{path}") as response:
            return Answer(response.status, response.headers, await response.read())

    async def post(self, body: Any, path: str = RUNS) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        async with self._session.post(f"{self.url}{path}", data=data, headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    async def run(self, workflow: str | None = None, output_only: bool = True, **input: Any) -> Answer:
        """Run a workflow and read the answer to its end."""
        return await self.post({"workflow_id": workflow, "input": input, "output_only": output_only})

    @asynccontextmanager
    async def stream(self, workflow: str | None = None, **input: Any) -> AsyncIterator[Reading]:
        """Run a workflow and read its answer as it comes; whoever goes before the end hangs up."""
        asked = {"workflow_id": workflow, "input": input, "output_only": True}
        async with self._session.post(f"{self.url}{RUNS}", json=asked) as response:
            try:
                yield Reading(response)
            finally:
                response.close()


@asynccontextmanager
async def calling(url: str) -> AsyncIterator[Api]:
    async with ClientSession(timeout=ClientTimeout(total=2 * DEADLINE)) as session:
        yield Api(session, url)


def data(*chunks: str) -> bytes:
    return b"".join(f"data: {chunk}\n\n".encode() for chunk in chunks)


def error_of(event: bytes) -> dict[str, Any]:
    """The error that a stream's last event tells."""
    head, said = event.split(b"\n", 1)
    assert head == b"event: error"
    return json.loads(said.removeprefix(b"data: "))["error"]


async def until(look: Callable[[], Awaitable[T]], fits: Callable[[T], object], within: float = DEADLINE) -> T:
    """Look until what is seen fits, and return it."""
    seen: Any = None
    try:
        async with asyncio.timeout(within):
            while not fits(seen := await look()):  # noqa: ASYNC110  (states of other processes tell nobody when they change)
                await asyncio.sleep(INTERVAL)
    except TimeoutError:
        raise AssertionError(f"still {seen!r} after {within:g} s") from None
    return seen
