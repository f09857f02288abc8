"""Several models share a replica: each loaded once, the longest unused one let go, none while it is in use."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from deployments.engines.engine import Ask, Engine, Pooled
from deployments.engines.model_pool import Pool
from graphs.errors import Unavailable


class Named(Engine):
    """Knows its name, and whether it was let go."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    async def generate(self, ask: Ask) -> Any:
        yield self.name

    async def count(self, ask: Ask) -> int:
        raise NotImplementedError

    async def pool(self, texts: Any, batch_size: int, max_input_length: int | None) -> Pooled:
        raise NotImplementedError

    async def healthy(self) -> None:
        if self.closed:
            raise Unavailable("closed")

    async def aclose(self) -> None:
        self.closed = True


class Starts:
    """Starts engines, held until `go` where `hold` says so; `live` are those not let go."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.engines: list[Named] = []
        self.hold: dict[str, asyncio.Event] = {}

    async def __call__(self, name: str) -> Engine:
        self.count[name] += 1
        if name in self.hold:
            await self.hold[name].wait()
        if name == "broken":
            raise Unavailable("no such model")
        self.engines.append(Named(name))
        return self.engines[-1]

    @property
    def live(self) -> list[str]:
        return [engine.name for engine in self.engines if not engine.closed]


@pytest.fixture
def starts() -> Starts:
    return Starts()


async def used(pool: Pool, name: str) -> str:
    async with pool.use(name) as engine:
        assert isinstance(engine, Named)
        return engine.name


async def settled() -> None:
    """Let everything go on that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_model_is_loaded_once_for_all_who_ask_at_once(starts: Starts):
    pool = Pool(starts, 2)
    assert await asyncio.gather(*(used(pool, "a") for _ in range(10))) == ["a"] * 10
    assert starts.count == {"a": 1}
    await pool.aclose()
    assert starts.live == []


async def test_the_model_unused_the_longest_makes_room(starts: Starts):
    pool = Pool(starts, 2)
    for name in ("a", "b", "a", "c"):
        await used(pool, name)
    assert starts.live == ["a", "c"]
    await used(pool, "b")
    assert starts.live == ["c", "b"]
    await pool.aclose()


async def test_the_old_model_is_gone_before_the_new_one_is_loaded(starts: Starts):
    live_at_start: list[list[str]] = []

    async def start(name: str) -> Engine:
        live_at_start.append(starts.live)
        return await starts(name)

    pool = Pool(start, 1)
    await used(pool, "a")
    await used(pool, "b")
    assert live_at_start == [[], []]
    await pool.aclose()


async def test_a_model_in_use_stays_and_the_next_waits_for_it(starts: Starts):
    pool = Pool(starts, 1)
    async with pool.use("a"):
        waiting = asyncio.create_task(used(pool, "b"))
        await settled()
        assert not waiting.done()
        assert starts.live == ["a"]
    assert await waiting == "b"
    assert starts.live == ["b"]
    await pool.aclose()


async def test_others_go_on_while_one_is_loaded(starts: Starts):
    starts.hold["b"] = asyncio.Event()
    pool = Pool(starts, 2)
    waiting = asyncio.create_task(used(pool, "b"))
    await settled()
    assert await used(pool, "a") == "a"
    starts.hold["b"].set()
    assert await waiting == "b"
    await pool.aclose()


async def test_a_busy_model_does_not_keep_its_place_for_ever(starts: Starts):
    pool = Pool(starts, 2)
    async with AsyncExitStack() as first:
        await first.enter_async_context(pool.use("a"))
        async with pool.use("b"):
            waiting = asyncio.create_task(used(pool, "c"))
            late = asyncio.create_task(used(pool, "a"))  # comes after who waits for room, and a is the one to leave
            await settled()
            assert await used(pool, "b") == "b"  # b may stay, and takes new users
            assert not waiting.done()
            assert not late.done()
            await first.aclose()
            assert await waiting == "c"
            assert starts.live[0] == "b"
    assert await late == "a"
    await pool.aclose()


async def test_who_leaves_the_line_is_forgotten(starts: Starts):
    pool = Pool(starts, 1)
    async with pool.use("a"):
        waiting = asyncio.create_task(used(pool, "b"))
        await settled()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await used(pool, "a") == "a"
    assert starts.count == {"a": 1}
    await pool.aclose()


async def test_who_leaves_in_the_moment_of_getting_its_place_gives_it_back(starts: Starts):
    pool = Pool(starts, 1)
    async with AsyncExitStack() as first:
        await first.enter_async_context(pool.use("a"))
        waiting = asyncio.create_task(used(pool, "b"))
        await settled()
        await first.aclose()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert await used(pool, "c") == "c"
    await pool.aclose()


async def test_who_leaves_while_a_model_is_loaded_does_not_stop_the_loading(starts: Starts):
    starts.hold["a"] = asyncio.Event()
    pool = Pool(starts, 1)
    leaving, staying = (asyncio.create_task(used(pool, "a")) for _ in range(2))
    await settled()
    leaving.cancel()
    await settled()
    starts.hold["a"].set()
    assert await staying == "a"
    assert starts.count == {"a": 1}
    await pool.aclose()


async def test_a_model_that_cannot_be_loaded_is_told_and_takes_no_place(starts: Starts):
    pool = Pool(starts, 1)
    with pytest.raises(Unavailable, match="no such model"):
        await used(pool, "broken")
    assert await used(pool, "a") == "a"
    with pytest.raises(Unavailable):
        await used(pool, "broken")
    assert starts.count["broken"] == 2
    await pool.aclose()


async def test_what_exits_while_it_is_loaded_is_told_and_ends_nothing_else(starts: Starts):
    async def start(name: str) -> Engine:
        if name == "exits":
            raise SystemExit("no such card")
        return await starts(name)

    pool = Pool(start, 2)
    with pytest.raises(Unavailable, match="model 'exits' could not be loaded: SystemExit: no such card; "):
        async with pool.use("exits"):
            pass
    async with pool.use("a") as engine:
        await engine.healthy()
    await pool.aclose()


async def test_as_many_as_have_room_are_loaded_beforehand(starts: Starts):
    pool = Pool(starts, 2)
    await pool.preload(["a", "b", "c"])
    assert starts.live == ["a", "b"]
    await pool.aclose()


async def test_a_pool_is_as_well_as_its_models(starts: Starts):
    pool = Pool(starts, 2)
    await pool.preload(["a", "b"])
    await pool.healthy()
    await starts.engines[1].aclose()
    with pytest.raises(Unavailable, match="closed"):
        await pool.healthy()
    await pool.aclose()


async def test_a_closing_pool_sends_away_those_who_wait(starts: Starts):
    pool = Pool(starts, 1)
    async with pool.use("a"):
        waiting = asyncio.create_task(used(pool, "b"))
        await settled()
        await pool.aclose()
        with pytest.raises(Unavailable, match="the replica is closing"):
            await waiting
    with pytest.raises(Unavailable, match="the replica is closing"):
        await used(pool, "a")
