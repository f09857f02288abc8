"""Stored responses, found by their ids at any replica: one of them, the chain that leads to it, and single items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deployments.asgi.json_values import shortened
from deployments.gateway.entries import Accepted
from deployments.gateway.gateway import Gateway
from deployments.gateway.kept import RunInfo
from deployments.gateway.running import Following
from deployments.transports.openai.responses.encoder import About, response_id
from deployments.transports.openai.responses.items import Item
from deployments.transports.openai.responses.run import ResponseRun
from graphs.errors import BadRequest, InvalidInput, NotFound
from graphs.stream import Value

Remembered = Mapping[str, Sequence[Item]]
"""All that was said up to the end of responses that aren't stored, by their ids."""


def as_request(asked: Mapping[str, Value], own: Sequence[Item], places: Sequence[str]) -> Value:
    """Return what is kept with the run of a stored response: `opened` reads it."""
    return {"response": asked, "input": list(own), "places": list(places)}


async def opened(gateway: Gateway, id: str) -> ResponseRun:
    """Return a stored response, to be read; raise NotFound."""
    try:
        return await read_back(gateway, await gateway.follow(_run_of(id)))
    except NotFound:
        raise NotFound(f"there is no response '{shortened(id)}': it was not stored, or is deleted") from None


async def read_back(gateway: Gateway, running: Following, before: Sequence[Item] = ()) -> ResponseRun:
    """Return the response that a kept run makes; raise NotFound where it makes none. `before` is what led to it."""
    entries = running.entries()
    try:
        event = (await anext(entries)).event
        match event.request if isinstance(event, Accepted) else None:
            case {"response": Mapping() as asked, "input": [*own], "places": [*places]}:
                about = About(running.run.id, running.info.created_at, asked, places)
                return ResponseRun(running, about, own, before, gateway.plan.controller.primary, entries)
            case _:
                raise NotFound("this run makes no response")
    except BaseException:
        await entries.aclose()
        raise


async def cancelled(gateway: Gateway, id: str) -> ResponseRun:
    """Stop a response, unless it has ended, and return it."""
    await (await opened(gateway, id)).aclose()
    await gateway.kept.cancel(_run_of(id))
    return await opened(gateway, id)


async def info(gateway: Gateway, id: str) -> RunInfo:
    """Return what is known of the run of a stored response; raise NotFound."""
    await (await opened(gateway, id)).aclose()
    return await gateway.kept.find(_run_of(id))


async def chain(gateway: Gateway, id: str | None, remembered: Remembered) -> list[Item]:
    """Return all that was said up to the end of a response, in order: each response's input, then its output."""
    turns: list[Sequence[Item]] = []
    first = id
    while id is not None:
        if id in remembered:
            turns.append(remembered[id])
            break
        run = await _previous(gateway, id, first)
        turns.append(run.said())
        id = run.about.asked["previous_response_id"]
    return [item for turn in reversed(turns) for item in turn]


async def _previous(gateway: Gateway, id: str, first: str | None) -> ResponseRun:
    """Return a response of a chain, read."""
    whose = "" if id == first else f" (which led to '{first}')"
    try:
        run = await opened(gateway, id)
    except NotFound as error:
        message = f"previous_response_id: {error.message}{whose}"
        raise NotFound(message, field="previous_response_id", code="previous_response_not_found") from None
    response = await run.now()
    if not run.answered:
        raise BadRequest(
            f"previous_response_id: the response '{id}' is {response['status']}{whose}; only one that has been answered can be "
            "continued",
            field="previous_response_id",
        )
    return run


async def resolved(gateway: Gateway, items: Sequence[Item], before: Sequence[Item]) -> list[Item]:
    """Return the items with what they refer to in place of references: items of the chain, or of any stored response."""
    known = {item["id"]: item for item in before if "id" in item}
    own: list[Item] = []
    for index, item in enumerate(items):
        if item["type"] != "item_reference":
            own.append(item)
            continue
        id = item["id"]
        if id not in known:
            known |= await _items_beside(gateway, id)
        if id not in known:
            raise InvalidInput(
                f"input[{index}]: there is no item '{shortened(id)}': its response was not stored, or is deleted; send the item "
                "itself",
                field=f"input[{index}].id",
            )
        own.append(known[id])
    return own


async def _items_beside(gateway: Gateway, id: str) -> dict[str, Item]:
    """Return the items of the response that an item's id names."""
    _, _, rest = id.partition("_")
    run, _, place = rest.rpartition("_")
    if not place:
        return {}
    try:
        response = await opened(gateway, response_id(run))
    except NotFound:
        return {}
    await response.now()
    return {item["id"]: item for item in response.said()}


def _run_of(id: str) -> str:
    """Return the id of the run behind a response; one that no run has, for a text that is no response's id."""
    return f"run_{id.removeprefix('resp_')}" if id.startswith("resp_") else ""
