"""A listener and a dialer in one process: what a caller's replica and its worker have between them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from deployments.channel.connection import Connection
from deployments.channel.dialer import Dialer
from deployments.channel.flow import Inlet, Outlet
from deployments.channel.listener import Listener


class Pair:
    """Streams from `outlet` arrive at `inlet`; both ends of the one connection can be reached."""

    def __init__(self, listener: Listener, dialer: Dialer, far: Connection) -> None:
        self.listener = listener
        self.dialer = dialer
        self.far = far
        """The worker's end."""

    @property
    def near(self) -> Connection:
        (connection,) = self.listener._friends
        return connection

    def stream(self) -> tuple[Outlet, Inlet]:
        inlet = self.listener.expect()
        outlet = self.far.write(inlet.id)
        outlet.open()
        return outlet, inlet


@asynccontextmanager
async def connected() -> AsyncIterator[Pair]:
    listener, dialer = Listener("127.0.0.1"), Dialer()
    try:
        yield Pair(listener, dialer, await dialer.dial(await listener.start()))
    finally:
        await dialer.aclose()
        await listener.aclose()


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with connected() as pair:
        before = asyncio.all_tasks()
        yield pair
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        assert not left, "a test left tasks behind"


async def send(outlet: Outlet, chunks) -> None:
    for chunk in chunks:
        if not outlet.put(chunk):
            await outlet.room()
    outlet.finish()


async def read(inlet: Inlet) -> list:
    return [chunk async for batch in inlet.batches() for chunk in batch]


async def collect(inlet: Inlet, got: list, after_each=lambda: None) -> None:
    """Read into `got`, which keeps what came before an error."""
    async for batch in inlet.batches():
        got += batch
        after_each()
