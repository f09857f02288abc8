"""Begin a response: the one way for requests by HTTP and over a socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from deployments.conversations.models import asked
from deployments.conversations.parameters import decoded
from deployments.gateway.gateway import Gateway
from deployments.gateway.kept import Keep
from deployments.gateway.running import Following
from deployments.transports.begun import begun
from deployments.transports.openai.responses.decode import conversation, repeated
from deployments.transports.openai.responses.encoder import About
from deployments.transports.openai.responses.items import check_calls
from deployments.transports.openai.responses.parameters import ResponseBody, check_parts_for_model
from deployments.transports.openai.responses.run import ResponseRun
from deployments.transports.openai.responses.stored import Remembered, as_request, chain, read_back, resolved
from graphs.errors import InvalidInput
from graphs.stream import Value

NOTHING: Remembered = MappingProxyType({})
DETACHED_FOR = 60.0
"""Seconds without a reader after which a stored response is cancelled, unless it runs in the background."""


async def respond(gateway: Gateway, said: Mapping[str, Any], remembered: Remembered = NOTHING) -> ResponseRun:
    """Begin the response that a request asks for, its JSON object given, and return it to be read.

    `previous_response_id` may name a response of `remembered`, or else a stored one. What a caller may remember of a response
    is its `said()`, once it was read to its end and is `answered`. Raise what is wrong with the request, named as OpenAI does.
    """
    body = decoded(ResponseBody, said)
    if body.background and body.store is False:
        raise InvalidInput(
            "background: a response that isn't stored can't be asked for later; leave out store, or background",
            field="background",
        )
    before = await chain(gateway, body.previous_response_id, remembered)
    own = await resolved(gateway, body.input or (), before)
    check_calls(before, own)
    talk, places = conversation(body, said, before, own)
    run = asked(gateway.plan, talk)
    if run.model.is_component:
        check_parts_for_model(body)
    keep = _keep(gateway, body, lambda: as_request(repeated(body, run.name, store=True), own, places))
    choice = await begun(gateway, run, talk, keep)
    if keep is not None and isinstance(choice.running, Following):
        return await read_back(gateway, choice.running, before)
    its = choice.running.run
    about = About(its.id, its.started_at, repeated(body, run.name, store=False), places)
    return ResponseRun(choice.running, about, own, before, gateway.plan.controller.primary)


def _keep(gateway: Gateway, body: ResponseBody, request: Callable[[], Value]) -> Keep | None:
    """Return how the run is kept; None if the response isn't stored, because the client or the server doesn't keep any."""
    wished = bool(body.store or body.background)
    if body.store is False or (gateway.plan.controller.store.url is None and not wished):
        return None
    return Keep("continue" if body.background else DETACHED_FOR, asked=wished, request=request())
