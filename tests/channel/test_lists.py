"""The way around the channel, without Ray: lists of chunks, and the actor that counts which of them were read."""

import asyncio
import functools
import warnings
from types import SimpleNamespace

import pytest

with warnings.catch_warnings():
    # Ray's own modules warn when they are imported, and warnings are errors here.
    warnings.simplefilter("ignore")
    from ray.exceptions import ActorDiedError

    from deployments.serve import list_call
    from deployments.serve.list_call import ListCalls
    from deployments.serve.lists import AHEAD, LIST_SIZE, Basket, Progress, answer_in_lists

from deployments.answering.messages import Answered, Erred, Question, Streamed
from deployments.runs.events import Invocation
from deployments.telemetry.redaction import Redactor
from graphs.context import RunContext
from graphs.errors import ComponentFailed, InvalidInput, Unavailable
from graphs.stream import Note

QUESTION = Question("go", None, RunContext("run-1", "w"), None)


@pytest.mark.parametrize("chunk", [{"v": "x" * 1000}, ["x" * 1000], Note({"v": "x" * 1000}), [b"x" * 1000]], ids=type)
async def test_a_list_holds_no_more_than_its_size_of_whatever_chunks(chunk):
    basket = Basket()
    while basket.put(chunk):
        pass
    waiting = asyncio.create_task(basket.room())
    await asyncio.sleep(0)
    assert len(basket.take()) <= LIST_SIZE // 1000 + 1
    await waiting


@pytest.mark.parametrize("chunk", [[10**5000], functools.reduce(lambda inner, _: [inner], range(2000), []), {1, 2}])
def test_a_chunk_that_the_channel_would_refuse_is_refused_in_the_same_words(chunk):
    basket = Basket()
    with pytest.raises(ComponentFailed, match="expected chunks of text, bytes or JSON values, got one with"):
        basket.put(chunk)
    assert not basket.take()


class Actor:
    """A Progress as its handle shows it; dead, every call fails."""

    def __init__(self, dead: bool = False) -> None:
        self.progress = Progress()
        self.dead = dead

    def __getattr__(self, name: str):
        return SimpleNamespace(remote=lambda *args: asyncio.ensure_future(self._called(name, args)))

    async def _called(self, name: str, args):
        if self.dead:
            if name == "close":
                return None
            raise ActorDiedError
        return await getattr(self.progress, name)(*args)


class Handle:
    """A component that answers every question with the number of the actor that counts."""

    def __init__(self, actors: list[Actor]) -> None:
        self.actors = actors

    def options(self, **_) -> "Handle":
        return self

    def remote(self, question: bytes, progress: Actor, stream: int):
        async def items():
            assert stream in progress.progress._taken
            yield Answered(self.actors.index(progress))

        return items()


def invocation(**input) -> Invocation:
    return Invocation("it", "go", input, RunContext("run-1", "w"))


@pytest.fixture
def actors(monkeypatch) -> list[Actor]:
    """Those that were started, in order."""
    actors: list[Actor] = []

    def start() -> Actor:
        actors.append(Actor())
        return actors[-1]

    monkeypatch.setattr(list_call, "start_progress", start)
    return actors


async def test_an_actor_that_died_gives_way_to_another_and_no_call_notices(actors: list[Actor]):
    handle = Handle(actors)
    calls = ListCalls(Redactor(frozenset()))
    assert await calls.call(invocation(), handle) == 0
    actors[0].dead = True
    assert await asyncio.gather(*(calls.call(invocation(), handle) for _ in range(5))) == [1] * 5
    assert len(actors) == 2


async def test_actors_that_keep_dying_are_not_the_components_fault(actors: list[Actor], monkeypatch):
    monkeypatch.setattr(list_call, "start_progress", lambda: Actor(dead=True))
    handle = Handle(actors)
    with pytest.raises(Unavailable, match=r"^the actor that counts which chunks were read has died; ask again$"):
        await ListCalls(Redactor(frozenset())).call(invocation(), handle)


async def test_an_actor_that_dies_in_the_middle_ends_the_answer_in_words_and_stops_the_component():
    stopped = asyncio.Event()

    async def answer(question, open):
        sink = open()
        try:
            while True:
                sink.put("x" * LIST_SIZE)
                await sink.room()
        finally:
            stopped.set()

    lists = answer_in_lists(SimpleNamespace(answer=answer), QUESTION, Actor(dead=True), 1)  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        items = [item async for item in lists]
    assert [len(item) for item in items[:-1]] == [1] * AHEAD
    assert isinstance(items[-1], Erred)
    assert items[-1].error["type"] == "unavailable"
    assert "has died; ask again" in str(items[-1].error["message"])
    assert stopped.is_set()


async def test_an_answer_of_a_few_lists_needs_no_count():
    async def answer(question, open):
        open().put("x")
        return Streamed(1)

    lists = answer_in_lists(SimpleNamespace(answer=answer), QUESTION, Actor(dead=True), 1)  # type: ignore[arg-type]
    assert [item async for item in lists] == [["x"], Streamed(1)]


async def test_an_input_nested_too_deep_is_the_callers_fault(actors: list[Actor]):
    handle = Handle(actors)
    with pytest.raises(InvalidInput, match="the input is nested too deep to travel"):
        await ListCalls(Redactor(frozenset())).call(
            invocation(deep=functools.reduce(lambda inner, _: [inner], range(2000), [])), handle
        )
