"""Which workflow is run, who gets a place, and what a whole output is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from deployments.gateway.admission import Admission
from deployments.gateway.gateway import Gateway, new_run_id
from deployments.gateway.kept import Keep
from deployments.runs.events import Delta, Joining
from deployments.store.rows import StoreDown
from graphs.errors import BadRequest, NotFound, Overloaded, TooLarge
from graphs.plan import Plan, Store
from graphs.stream import MAX_WHOLE, Note
from tests.transports.served import Feed, answering, one, plan


def gateway(*ids: str, default: bool = True) -> Gateway:
    return Gateway(plan(*(one(id=id) for id in ids), default=default), answering(...))


def test_the_workflow_named_is_run_else_the_default_else_the_only_one() -> None:
    assert gateway("a", "b").workflow("b").id == "b"
    assert gateway("a", "b").workflow(None).id == "a"
    assert gateway("a", default=False).workflow(None).id == "a"


def test_none_named_among_several_lists_them() -> None:
    with pytest.raises(BadRequest, match="write one of a, b"):
        gateway("a", "b", default=False).workflow(None)


def test_an_unknown_workflow_is_answered_with_the_nearest_and_all_there_are() -> None:
    with pytest.raises(NotFound, match="no workflow 'chta'; did you mean 'chat'\\? The workflows are chat, draw"):
        gateway("chat", "draw").workflow("chta")


def test_a_very_long_id_is_not_echoed() -> None:
    with pytest.raises(NotFound) as caught:
        gateway("a").workflow("x" * 10_000)
    assert len(caught.value.message) < 200


def test_a_document_without_workflows_says_so() -> None:
    empty = plan()
    without = Plan(empty.controller, {}, {}, None)
    with pytest.raises(NotFound, match="this document has no workflow"):
        Gateway(without, answering(1)).workflow(None)


def test_ids_of_runs_sort_by_time_and_never_repeat() -> None:
    earlier, later, again = new_run_id(1_900_000_000.0), new_run_id(1_900_000_000.001), new_run_id(1_900_000_000.001)
    assert earlier < min(later, again)
    assert later != again


async def test_a_run_begins_when_its_events_are_read() -> None:
    feed = Feed("a")
    running = Gateway(plan(), feed).start(None, {})
    assert not feed.asked.is_set()
    assert (await running.finish()).output == "a"
    assert feed.asked.is_set()


async def test_closing_a_run_nobody_read_is_no_error() -> None:
    await Gateway(plan(), Feed()).start(None, {}).aclose()


@asynccontextmanager
async def a_place(admission: Admission) -> AsyncGenerator[None]:
    """Hold a place of the admission."""
    await admission.enter()
    try:
        yield
    finally:
        admission.leave()


async def test_places_are_given_in_order_and_given_back() -> None:
    admission = Admission(places=1, queue=2)
    order: list[str] = []

    async def take(name: str) -> None:
        async with a_place(admission):
            order.append(name)

    async with a_place(admission):
        waiting = [asyncio.create_task(take(name)) for name in ("b", "c")]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await take("d")
        assert refused.value.details == {"retry_after": 1}
        assert order == []
    await asyncio.gather(*waiting)
    await take("e")
    assert order == ["b", "c", "e"]


async def test_who_leaves_the_line_leaves_a_place_in_it() -> None:
    admission = Admission(places=1, queue=1)

    async def take() -> None:
        async with a_place(admission):
            pass

    async with a_place(admission):
        first = asyncio.create_task(take())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        second = asyncio.create_task(take())
        await asyncio.sleep(0)
        assert not second.done()
    await second


def test_chunks_are_joined_by_name_and_notes_left_out() -> None:
    joining = Joining(["b", "a"])
    joining.add(Delta(["x", Note({})], "a"))
    joining.add(Delta([[1]], "c", whole=True))
    joining.add(Delta(["y", ""], "a"))
    assert joining.value() == {"b": "", "a": "xy", "c": [1]}


def test_joined_outputs_stand_in_the_documents_order_whichever_was_known_first() -> None:
    joining = Joining(["b"], order=["n", "a", "b"])
    joining.add(Delta(["y"], "b"))
    joining.add(Delta([1], "a", whole=True))
    assert list(joining.value().items()) == [("a", 1), ("b", "y")]


def test_an_output_too_large_to_be_joined_is_told_before_it_is_held() -> None:
    joining = Joining()
    joining.add(Delta(["x" * MAX_WHOLE]))
    with pytest.raises(TooLarge, match="output_only: true"):
        joining.add(Delta(["x"]))


async def test_a_server_without_a_store_says_what_to_write_and_lists_no_run():
    given = plan(one())
    given = replace(given, controller=replace(given.controller, store=Store(None)))
    gateway = Gateway(given, answering(...))
    with pytest.raises(StoreDown, match=r"this server keeps no runs: .*; write controller\.store: postgresql://"):
        await gateway.keep(None, 1, None, Keep())
    assert await gateway.kept.list(workflow=None, status=None, session=None, before=None, limit=5) == []
    with pytest.raises(NotFound):
        await gateway.kept.find("run_1")
