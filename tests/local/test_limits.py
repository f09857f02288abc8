"""Calls under way and waiting are limited, and a place is free again however its call ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from graphs.component import Chunk, Whole
from graphs.errors import AnabranchError, Overloaded, TimedOut
from tests.local.acting import Acting, Given, acting, calling, component, read, turns


class Doors:
    """Calls that stand until they are told to go on; each by the text it is given."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self._opened: dict[str, asyncio.Event] = {}

    def open(self, name: str) -> None:
        self._door(name).set()

    def type(self) -> type[Acting]:
        async def run(input: Given) -> AsyncIterator[Chunk]:
            self.inside.append(input.text)
            await self._door(input.text).wait()
            if input.text.startswith("fails"):
                raise ValueError(input.text)
            if input.text.startswith("streams"):
                yield "a"
                await asyncio.Event().wait()
            yield Whole(input.text)

        return acting(run)

    def _door(self, name: str) -> asyncio.Event:
        return self._opened.setdefault(name, asyncio.Event())


async def test_no_more_calls_run_than_are_allowed_and_the_others_wait_in_order():
    doors = Doors()
    async with calling(component(doors.type(), max_concurrent_count=2)) as call:
        asking = {name: asyncio.ensure_future(call(name)) for name in "abcd"}
        await turns()
        assert doors.inside == ["a", "b"]
        doors.open("b")
        await asking["b"]
        await turns()
        assert doors.inside == ["a", "b", "c"]
        for name in "acd":
            doors.open(name)
        assert await asyncio.gather(*asking.values()) == list("abcd")


async def test_a_full_queue_refuses_at_once_and_says_when_to_try_again():
    doors = Doors()
    async with calling(component(doors.type(), max_concurrent_count=1, max_queued=2)) as call:
        asking = [asyncio.ensure_future(call(name)) for name in "abc"]
        await turns()
        with pytest.raises(Overloaded, match="component 'it' has a full queue") as refused:
            await call("d")
        assert refused.value.details == {"retry_after": 1}
        for name in "abc":
            doors.open(name)
        assert await asyncio.gather(*asking) == list("abc")
        doors.open("d")
        assert await call("d") == "d"


async def test_a_queue_of_nothing_has_one_place_as_in_a_deployment():
    doors = Doors()
    async with calling(component(doors.type(), max_concurrent_count=1, max_queued=0)) as call:
        asking = [asyncio.ensure_future(call(name)) for name in "ab"]
        await turns()
        with pytest.raises(Overloaded):
            await call("c")
        doors.open("a")
        doors.open("b")
        assert await asyncio.gather(*asking) == ["a", "b"]


@pytest.mark.parametrize(
    "ends", ["well", "fails", "streams", "cancelled", "cancelled while it waits", "late while it waits"]
)
async def test_a_place_is_free_again_however_the_call_that_had_it_ends(ends: str):
    doors = Doors()
    async with calling(component(doors.type(), max_concurrent_count=1, max_queued=1)) as call:
        for n in range(3):
            name = f"{ends} {n}"
            asking = asyncio.ensure_future(call(name))
            await turns()
            match ends:
                case "cancelled":
                    asking.cancel()
                case "cancelled while it waits":
                    second = asyncio.ensure_future(call("second"))
                    await turns()
                    second.cancel()
                    await asyncio.wait([second])
                    assert second.cancelled()
                case "late while it waits":
                    with pytest.raises(TimedOut, match="component 'it' did not finish before the run's deadline"):
                        await call("second", remaining=0.01)
            doors.open(name)
            await asyncio.wait([asking])
            if ends == "streams":
                await asking.result().aclose()
            else:
                assert asking.cancelled() or isinstance(asking.exception(), AnabranchError | None)
        assert "second" not in doors.inside
        doors.open("last")
        assert await call("last") == "last"


async def test_a_stream_that_is_being_read_has_its_place_until_its_end():
    async def run(input: Given) -> AsyncIterator[Chunk]:
        yield input.text
        yield "end"

    async with calling(component(acting(run), max_concurrent_count=1)) as call:
        first = await call("a")
        second = asyncio.ensure_future(call("b"))
        assert await read(first) == (["a", "end"], None)
        assert await read(await second) == (["b", "end"], None)
