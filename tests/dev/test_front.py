"""One graph after another: streams under way end with what they began with, components live as long as they are needed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from deployments.dev import graph
from deployments.dev.graph import Changes, Front
from graphs.errors import Unavailable
from graphs.plan import Plan
from tests.dev.marked import TYPES, Marked, document
from tests.local.acting import turns
from tests.serve.api import DEADLINE, END, Api, calling, data, error_of
from tests.transports.served import serving
from tests.transports.socketed import talking, text

WHOLE = {mark: data(mark, "end") + END for mark in ("a", "b", "c")}


class Served:
    """A front, and a client of it."""

    def __init__(self, front: Front, api: Api) -> None:
        self.front, self.api = front, api

    async def load(self, plan: Plan | None = None, **components: str) -> Changes:
        return await self.front.load(plan or document(**components), TYPES, lambda _: None)

    async def run(self, id: str) -> bytes:
        return (await self.api.run(id)).body

    async def begin(self, stack: AsyncExitStack, id: str, gate: str) -> Callable[[], AsyncIterator]:
        """Begin a stream that waits at a gate; returns what reads the rest."""
        reading = await stack.enter_async_context(self.api.stream(id, gate=gate))
        await reading.event()
        return reading.rest


@asynccontextmanager
async def serving_first(**components: str) -> AsyncIterator[Served]:
    Marked.begin()
    front = Front()
    await front.load(document(**components), TYPES, lambda _: None)
    try:
        async with asyncio.timeout(DEADLINE), serving(front) as url, calling(url) as api:
            yield Served(front, api)
    finally:
        await front.aclose()
    assert sorted(each for each in Marked.log if each.endswith("closed")) == sorted(
        f"{each.split()[0]} closed" for each in Marked.log if not each.endswith("closed")
    ), "each that was set up, or could not be, is closed once"


async def test_a_change_serves_new_requests_and_streams_under_way_end_with_what_they_began_with():
    async with serving_first(it="mark: a") as served, AsyncExitStack() as stack:
        rest = await served.begin(stack, "it", "go")
        changes = await served.load(it="mark: b")
        assert (list(changes.fresh), list(changes.gone), changes.kept) == (["it"], ["it"], {})
        assert await served.run("it") == WHOLE["b"]
        assert "a closed" not in Marked.log
        Marked.gate("go").set()
        assert await rest() == data("end") + END
        await Marked.said("a closed")
        assert await served.run("it") == WHOLE["b"]


async def test_a_socket_ends_its_requests_with_what_they_began_with_and_is_closed():
    async with serving_first(it="mark: a") as served, talking(served.api.url) as idle, talking(served.api.url) as busy:
        await busy.ask("hi", model="it", metadata={"input": {"gate": "go"}})
        frames = [await busy.frame(), await busy.frame()]
        await served.load(it="mark: b")
        assert (await idle.ended())[0] == 1001
        Marked.gate("go").set()
        assert text([*frames, *await busy.answer()]) == "aend"
        assert (await busy.ended())[0] == 1001
        await Marked.said("a closed")
        async with talking(served.api.url) as fresh:
            await fresh.ask("hi", model="it")
            assert text(await fresh.answer()) == "bend"


async def test_a_component_that_has_not_changed_is_kept_and_what_is_written_around_it_may_change():
    async with serving_first(kept="mark: a", other="mark: b") as served:
        changes = await served.load(first="mark: c", kept="mark: a")
        assert (list(changes.kept), list(changes.fresh), list(changes.gone)) == (["kept"], ["first"], ["other"])
        await Marked.said("b closed")
        assert Marked.log == ["a set up", "b set up", "c set up", "b closed"]
        assert await served.run("kept") == WHOLE["a"]
        assert (await served.api.get("/ready")).json()["components"] == {"first": "ready", "kept": "ready"}


async def test_a_component_is_closed_when_the_last_of_several_graphs_that_use_it_has_drained():
    async with serving_first(it="mark: a") as served, AsyncExitStack() as stack:
        first = await served.begin(stack, "it", "first")
        await served.load(it="mark: a", second="mark: b")
        second = await served.begin(stack, "it", "second")
        await served.load(third="mark: c")
        Marked.gate("second").set()
        assert await second() == data("end") + END
        await Marked.said("b closed")
        assert "a closed" not in Marked.log
        Marked.gate("first").set()
        assert await first() == data("end") + END
        await Marked.said("a closed")


async def test_a_component_that_still_runs_for_an_older_graph_is_taken_again():
    async with serving_first(it="mark: a") as served, AsyncExitStack() as stack:
        rest = await served.begin(stack, "it", "go")
        await served.load(it="mark: b")
        changes = await served.load(it="mark: a")
        assert list(changes.kept) == ["it"]
        Marked.gate("go").set()
        assert await rest() == data("end") + END
        await Marked.said("b closed")
        assert await served.run("it") == WHOLE["a"]
        assert Marked.log == ["a set up", "b set up", "b closed"]


async def test_an_older_graph_that_drains_while_its_component_is_taken_again_leaves_it_running():
    async with serving_first(it="mark: a") as served, AsyncExitStack() as stack:
        rest = await served.begin(stack, "it", "go")
        await served.load(it="mark: b")

        loaded = Marked.gate("set up c")
        loading = asyncio.ensure_future(served.load(it="mark: a", more="mark: c"))
        await Marked.said("c begins")
        Marked.gate("go").set()
        assert await rest() == data("end") + END
        await turns()
        loaded.set()
        await loading
        await Marked.said("b closed")
        assert "a closed" not in Marked.log
        assert await served.run("it") == WHOLE["a"]


async def test_a_component_that_cannot_be_set_up_leaves_the_old_graph_as_it_is(caplog):
    async with serving_first(it="mark: a") as served:
        with pytest.raises(Unavailable, match="component 'it' could not be set up: RuntimeError: broken b"):
            await served.load(it="mark: b, breaks: true", more="mark: c")
        await Marked.said("c closed")
        assert "a closed" not in Marked.log
        assert await served.run("it") == WHOLE["a"]
        assert (await served.api.run("more")).status == 404


async def test_a_first_graph_that_fails_is_followed_by_one_that_is_served():
    Marked.begin()
    front = Front()
    with pytest.raises(Unavailable, match="broken a"):
        await front.load(document(it="mark: a, breaks: true"), TYPES, lambda _: None)
    await front.load(document(it="mark: a"), TYPES, lambda _: None)
    async with serving(front) as url, calling(url) as api:
        assert (await api.run("it")).body == WHOLE["a"]
    await front.aclose()


async def test_secrets_of_a_change_are_hidden_in_the_log_of_a_component_that_cannot_be_set_up(caplog):
    environ = {"KEY": "mark-4711"}
    plan = document(environ, it="mark: '${env.KEY}', breaks: true")
    async with serving_first(it="mark: a") as served:
        with pytest.raises(Unavailable, match=r"broken \*\*\*"):
            await served.load(plan)
    assert "could not be set up" in caplog.text
    assert "mark-4711" not in caplog.text


# --- ports -----------------------------------------------------------------------------------------------------------


async def test_what_holds_a_port_is_closed_before_its_successor_is_set_up_and_requests_wait_meanwhile():
    async with serving_first(it="mark: a, port: 7", other="mark: c") as served, AsyncExitStack() as stack:
        rest = await served.begin(stack, "it", "go")
        loading = asyncio.ensure_future(served.load(it="mark: b, port: 7", other="mark: c"))
        waiting = asyncio.ensure_future(served.run("other"))
        Marked.gate("go").set()
        assert await rest() == data("end") + END
        changes = await loading
        assert await waiting == WHOLE["c"]
        assert (list(changes.waiting), list(changes.kept)) == (["it"], ["other"])
        assert Marked.log == ["a set up", "c set up", "a closed", "b set up"]
        assert await served.run("it") == WHOLE["b"]


async def test_a_component_on_another_port_or_on_any_is_set_up_beside_the_old_one():
    async with serving_first(it="mark: a, port: 7", any="mark: c, port: 0") as served:
        changes = await served.load(it="mark: b, port: 8", any="mark: d, port: 0")
        assert changes.waiting == {}
        assert Marked.log[:4] == ["a set up", "c set up", "b set up", "d set up"]
        await Marked.said("a closed")
        await Marked.said("c closed")


async def test_a_port_that_moves_to_another_component_is_handed_over_too():
    async with serving_first(it="mark: a, port: 7") as served:
        await served.load(other="mark: b, port: 7")
        assert Marked.log == ["a set up", "a closed", "b set up"]


async def test_what_held_a_port_comes_back_where_its_successor_cannot_be_set_up():
    async with serving_first(it="mark: a, port: 7") as served:
        with pytest.raises(Unavailable, match="broken b"):
            await served.load(it="mark: b, port: 7, breaks: true", more="mark: c")
        assert await served.run("it") == WHOLE["a"]
        assert Marked.log[:4] == ["a set up", "c set up", "a closed", "b broken"]
        assert Marked.log[-2:] == ["a set up", "c closed"]
        changes = await served.load(it="mark: a, port: 7", more="mark: c")
        assert list(changes.kept) == ["it"]


async def test_what_held_a_port_and_cannot_come_back_at_once_comes_back_later(monkeypatch):
    monkeypatch.setattr("deployments.local.component.FIRST_DELAY", 0.0)
    async with serving_first(it="mark: a, port: 7") as served:
        Marked.broken.add("a")
        with pytest.raises(Unavailable, match="broken b"):
            await served.load(it="mark: b, port: 7, breaks: true")
        answer = await served.api.run("it")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert (await served.api.get("/ready")).status == 503
        Marked.log.remove("a set up")
        Marked.broken.clear()
        await Marked.said("a set up")
        assert await served.run("it") == WHOLE["a"]
        Marked.log[:] = ["a set up"]


async def test_requests_that_do_not_end_in_time_are_cut_where_their_component_must_be_closed(monkeypatch):
    monkeypatch.setattr(graph, "LAST_CALLS", 0.0)
    async with serving_first(it="mark: a, port: 7") as served, AsyncExitStack() as stack:
        rest = await served.begin(stack, "it", "never")
        await served.load(it="mark: b, port: 7")
        error = error_of(await rest())
        assert (error["type"], error["component"]) == ("unavailable", "it")
        assert "component 'it' was stopped while answering" in error["message"]
        assert await served.run("it") == WHOLE["b"]


async def test_streams_of_older_graphs_are_waited_for_too_where_a_port_changes_hands():
    async with serving_first(it="mark: a, port: 7") as served, AsyncExitStack() as stack:
        rest = await served.begin(stack, "it", "go")
        await served.load(it="mark: a, port: 7", more="mark: c")
        loading = asyncio.ensure_future(served.load(it="mark: b, port: 7"))
        answer = asyncio.ensure_future(served.run("it"))
        await turns()
        assert "a closed" not in Marked.log
        Marked.gate("go").set()
        assert await rest() == data("end") + END
        await loading
        assert await answer == WHOLE["b"]


async def test_a_hand_over_that_is_given_up_leaves_the_old_component_running():
    async with serving_first(it="mark: a, port: 7") as served, AsyncExitStack() as stack:
        rest = await served.begin(stack, "it", "go")
        loading = asyncio.ensure_future(served.load(it="mark: b, port: 7"))
        await asyncio.sleep(0)
        loading.cancel()
        await asyncio.wait([loading])
        assert loading.cancelled()
        Marked.gate("go").set()
        assert await rest() == data("end") + END
        assert await served.run("it") == WHOLE["a"]


async def test_a_hand_over_that_is_given_up_half_way_brings_the_old_component_back():
    async with serving_first(it="mark: a, port: 7") as served:
        Marked.gate("set up b")
        loading = asyncio.ensure_future(served.load(it="mark: b, port: 7"))
        await Marked.said("b begins")
        loading.cancel()
        await asyncio.wait([loading])
        assert await served.run("it") == WHOLE["a"]
        changes = await served.load(it="mark: a, port: 7")
        assert list(changes.kept) == ["it"]


async def test_closing_cuts_what_is_under_way_and_closes_components_of_every_graph():
    async with serving_first(it="mark: a") as served, AsyncExitStack() as stack:
        first = await served.begin(stack, "it", "never")
        await served.load(it="mark: b")
        second = await served.begin(stack, "it", "never")
        assert served.front.under_way == 2
        await served.front.aclose()
        for rest in (first, second):
            assert "was stopped while answering" in error_of(await rest())["message"]
